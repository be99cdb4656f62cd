"""Log streams on disk: order, bounds, any bytes, and following without a line lost or doubled."""

import asyncio
import contextlib
import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from emulator.drivers import logs as driver
from emulator.drivers.log_history import CUT, LONGEST_LINE
from emulator.drivers.logs import FileLogs
from emulator.model.identifiers import Epoch, ServiceId
from emulator.ports import LogLine

ONE, TWO = ServiceId("1" * 32), ServiceId("2" * 32)


def line(at, text="text", stream="instance/a") -> LogLine:
    return LogLine(at=Epoch(at), stream=stream, text=text)


async def history(logs, service=ONE, **options):
    return [found async for found in logs.read(service, **options)]


@pytest.fixture
def logs(tmp_path):
    opened = FileLogs(tmp_path)
    yield opened
    opened.close()


class TestReading:
    async def test_lines_come_back_as_they_were(self, logs):
        written = [line(1_800_000_000.123456, "a"), line(1_800_000_000.2, " b  ")]
        await logs.write(ONE, written)
        assert await history(logs) == written

    async def test_streams_are_merged_by_time(self, logs):
        await logs.write(ONE, [line(1.0, "1"), line(3.0, "3"), line(5.0, "5")])
        await logs.write(ONE, [line(t, f"{t:g}", "deployment/x") for t in (2.0, 4.0)])
        assert [found.text for found in await history(logs)] == ["1", "2", "3", "4", "5"]

    async def test_many_lines_of_many_streams_are_merged_too(self, logs):
        for stream in range(5):
            times = range(stream, 5000, 5)
            await logs.write(ONE, [line(t, "x" * 90, f"instance/{stream}") for t in times])
        assert [found.at for found in await history(logs)] == [*range(5000)]

    async def test_a_prefix_and_a_time_select(self, logs):
        await logs.write(ONE, [line(1.0), line(2.0), line(2.0, "b", "deployment/x"), line(3.0)])
        found = await history(logs, prefix="instance/", since=Epoch(2.0))
        assert found == [line(2.0), line(3.0)]

    async def test_services_are_kept_apart(self, logs):
        await logs.write(ONE, [line(1.0)])
        assert await history(logs, TWO) == []

    async def test_survives_a_restart(self, logs, tmp_path):
        await logs.write(ONE, [line(1.0)])
        again = FileLogs(tmp_path)
        await again.write(ONE, [line(2.0)])
        assert await history(again) == [line(1.0), line(2.0)]
        again.close()

    async def test_forgets_a_service(self, logs):
        await logs.write(ONE, [line(1.0)])
        await logs.write(TWO, [line(1.0)])
        await logs.forget(ONE)
        await logs.forget(ONE)
        assert await history(logs) == []
        assert await history(logs, TWO) == [line(1.0)]
        await logs.write(ONE, [line(2.0)])
        assert await history(logs) == [line(2.0)]

    async def test_the_tail_is_the_last_lines_of_one_stream(self, logs):
        await logs.write(ONE, [line(float(n), f"{n}") for n in range(10)])
        await logs.write(ONE, [line(11.0, "other", "instance/ab")])
        assert await logs.tail(ONE, "instance/a", 3) == ("7", "8", "9")
        assert await logs.tail(ONE, "instance/a", 99) == tuple(f"{n}" for n in range(10))
        assert await logs.tail(ONE, "instance/a", 0) == ()
        assert await logs.tail(ONE, "instance/none", 3) == ()

    async def test_names_cannot_leave_the_directory(self, logs):
        for stream in ("../x", "instance/../../x", "instance/", "x", "instance/.x", "/etc/x"):
            with pytest.raises(ValueError, match="cannot be the name"):
                await logs.write(ONE, [line(1.0, "x", stream)])
        with pytest.raises(ValueError, match="cannot be the name"):
            await logs.forget(ServiceId(".."))


class TestAnyBytes:
    async def test_a_text_of_several_lines_becomes_several_lines(self, logs):
        await logs.write(ONE, [line(1.0, "a\nb\n")])
        assert [found.text for found in await history(logs)] == ["a", "b", ""]

    @pytest.mark.parametrize("text", ["", " ", "\r", "\0", "\x85\u2028\x1c", "1.5 x", "ä€𝄞"])
    async def test_only_a_newline_ends_a_line(self, logs, text):
        await logs.write(ONE, [line(1.0, text), line(2.0)])
        assert await history(logs) == [line(1.0, text), line(2.0)]
        assert await logs.tail(ONE, "instance/a", 2) == (text, "text")

    async def test_what_is_no_unicode_is_spelled_out(self, logs):
        await logs.write(ONE, [line(1.0, b"a\xff".decode("utf-8", "surrogateescape"))])
        assert [found.text for found in await history(logs)] == ["a\\udcff"]

    async def test_an_endless_line_is_cut(self, logs):
        await logs.write(ONE, [line(1.0, "x" * (LONGEST_LINE + 1))])
        (found,) = await history(logs)
        assert found.text == "x" * LONGEST_LINE + CUT.decode()

    async def test_half_a_line_left_by_a_crash_spoils_no_other(self, logs, tmp_path):
        await logs.write(ONE, [line(1.0, "a")])
        with (tmp_path / "logs" / ONE / "instance" / "a.log").open("ab") as file:
            file.write("2.0 hä".encode()[:-1])
        again = FileLogs(tmp_path)
        await again.write(ONE, [line(3.0, "b")])
        assert [found.text for found in await history(again)] == ["a", "h\ufffd", "b"]
        again.close()

    async def test_garbage_keeps_the_time_of_the_line_before(self, logs, tmp_path):
        await logs.write(ONE, [line(1.0, "a")])
        with (tmp_path / "logs" / ONE / "instance" / "a.log").open("ab") as file:
            file.write(b"\xff\xfe garbage\n")
        assert [(found.at, found.text) for found in await history(logs)] == [
            (1.0, "a"),
            (1.0, "\ufffd\ufffd garbage"),
        ]


class TestBounds:
    async def test_a_stream_keeps_its_newest_lines_within_its_limit(self, tmp_path):
        logs = FileLogs(tmp_path, limit=1000)
        for number in range(200):
            await logs.write(ONE, [line(float(number), "x" * 20)])
        found = [each.at for each in await history(logs)]
        assert found == [*range(200 - len(found), 200)]
        files = [*(tmp_path / "logs" / ONE / "instance").iterdir()]
        assert sorted(file.name for file in files) == ["a.log", "a.log.1"]
        assert 500 < sum(file.stat().st_size for file in files) <= 1000
        assert len(await logs.tail(ONE, "instance/a", len(found))) == len(found)
        logs.close()

    async def test_one_large_batch_is_bounded_as_well(self, tmp_path):
        logs = FileLogs(tmp_path, limit=1000)
        await logs.write(ONE, [line(float(number), "x" * 20) for number in range(200)])
        found = [each.at for each in await history(logs)]
        assert found == [*range(200 - len(found), 200)]
        assert len(found) > 15
        logs.close()

    async def test_a_service_keeps_its_newest_streams(self, tmp_path):
        logs = FileLogs(tmp_path, streams=3)
        for number in range(6):
            await logs.write(ONE, [line(float(number), "x", f"instance/{number}")])
            path = tmp_path / "logs" / ONE / "instance" / f"{number}.log"
            os.utime(path, (number, number))
        assert [found.at for found in await history(logs)] == [3.0, 4.0, 5.0]
        logs.close()

    async def test_a_full_disk_loses_lines_and_nothing_else(self, logs, monkeypatch, caplog):
        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(FileLogs, "_append", full)
            await logs.write(ONE, [line(1.0)])
        assert "No space left" in caplog.text
        await logs.write(ONE, [line(2.0)])
        assert await history(logs) == [line(2.0)]

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.lists(st.text(alphabet="aä\n ", max_size=30), max_size=8), max_size=12))
    async def test_what_is_kept_is_always_the_end_of_what_was_written(self, batches):
        with tempfile.TemporaryDirectory() as directory:
            logs = FileLogs(Path(directory), limit=200)
            for batch in batches:
                await logs.write(ONE, [line(1.0, text) for text in batch])
            written = [part for batch in batches for text in batch for part in text.split("\n")]
            kept = [found.text for found in await history(logs)]
            logs.close()
        assert kept == written[len(written) - len(kept) :]
        assert bool(kept) == bool(written)


async def registered(logs):
    """The first round trip lets the reader begin, the second ends after it has registered."""
    for _ in range(2):
        await logs.tail(ONE, "instance/none", 1)
    assert logs._followers[ONE]


@contextlib.asynccontextmanager
async def following(logs, **options):
    stream = logs.read(ONE, follow=True, **options)
    try:
        yield stream
    finally:
        await stream.aclose()


class TestFollowing:
    async def test_goes_on_with_what_is_written_later(self, logs):
        await logs.write(ONE, [line(1.0)])
        async with following(logs) as stream:
            assert await anext(stream) == line(1.0)
            waiting = asyncio.ensure_future(anext(stream))  # noqa: TID251 - awaited below
            await logs.write(ONE, [line(2.0, "a\nb")])
            assert await waiting == line(2.0, "a")
            assert await anext(stream) == line(2.0, "b")

    async def test_selects_news_as_it_selects_history(self, logs):
        async with following(logs, prefix="deployment/", since=Epoch(5.0)) as stream:
            waiting = asyncio.ensure_future(anext(stream))  # noqa: TID251 - awaited below
            await logs.write(ONE, [line(9.0), line(4.0, "old", "deployment/x")])
            await logs.write(TWO, [line(9.0, "other", "deployment/x")])
            await logs.write(ONE, [line(6.0, "new", "deployment/x")])
            assert await waiting == line(6.0, "new", "deployment/x")

    async def test_gets_each_line_once_while_another_writes(self, logs):
        count = 2000

        async def write_all():
            for number in range(0, count, 10):
                await logs.write(ONE, [line(float(n)) for n in range(number, number + 10)])

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write_all())
            async with following(logs) as stream:
                found = [await anext(stream) for _ in range(count)]
        assert [each.at for each in found] == [*range(count)]

    async def test_a_slow_reader_is_told_what_it_missed(self, logs, monkeypatch):
        monkeypatch.setattr(driver, "BACKLOG", 3)
        async with following(logs) as stream:
            waiting = asyncio.ensure_future(anext(stream))  # noqa: TID251 - awaited below
            await registered(logs)
            await logs.write(ONE, [line(float(number)) for number in range(10)])
            found = [await waiting] + [await anext(stream) for _ in range(3)]
        assert [each.at for each in found[:3]] == [0.0, 1.0, 2.0]
        assert found[3].text == "[7 lines left out: they came faster than they were read]"

    async def test_a_cancelled_reader_leaves_nothing_behind(self, logs):
        waiting = asyncio.ensure_future(history(logs, follow=True))  # noqa: TID251 - cancelled
        await registered(logs)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert logs._followers == {ONE: []}
