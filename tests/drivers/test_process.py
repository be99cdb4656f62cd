"""Other programs never outlive what started them, and never block it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from emulator.drivers.clock import SystemClock
from emulator.drivers.process import (
    MissingProgramError,
    ProcessError,
    ProcessTimeoutError,
    run,
    stream,
)
from tests.helpers import on_both_loops, until

MEGABYTE = 1_048_576


def alive(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def pids(path: Path) -> list[int]:
    """The two process ids that a program writes as soon as it runs."""
    while len(found := await asyncio.to_thread(numbers, path)) < 2:
        await SystemClock().sleep(0.001)
    return found


def numbers(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


PARENT_AND_CHILD = 'sleep 1000 & echo $$ $! > "$0"; wait'


@on_both_loops
async def test_returns_the_exit_code_and_both_outputs():
    finished = await run("sh", "-c", "echo out; echo oops >&2; exit 3")
    assert (finished.code, finished.out, finished.err) == (3, b"out\n", b"oops\n")
    assert finished.complaint == "oops"


@on_both_loops
async def test_names_the_signal_that_ended_it():
    finished = await run("sh", "-c", "kill -TERM $$")
    assert finished.code == -signal.SIGTERM


@on_both_loops
async def test_passes_no_environment_but_the_one_it_was_given():
    finished = await run("/usr/bin/env", environment={"ONLY": "this"})
    assert finished.out == b"ONLY=this\n"


@on_both_loops
async def test_runs_in_the_directory_it_was_given(tmp_path):
    finished = await run("pwd", "-P", cwd=str(tmp_path))
    assert finished.out.decode().strip() == str(tmp_path.resolve())


@on_both_loops
async def test_standard_input_is_empty_unless_given():
    assert (await run("cat")).out == b""


@on_both_loops
async def test_feeds_bytes_larger_than_a_pipe():
    data = os.urandom(4 * MEGABYTE)
    assert (await run("cat", input=data)).out == data


@on_both_loops
async def test_feeds_an_iterator_no_faster_than_it_is_read():
    made = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal made
        while made < 1000:
            made += 1
            yield bytes(MEGABYTE)

    with pytest.raises(ProcessTimeoutError):
        await run("sleep", "1000", input=pieces(), timeout=0.2)
    assert made < 10


@on_both_loops
async def test_feeds_all_of_an_iterator():
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(300):
            yield bytes([number % 256]) * 10_000

    finished = await run("cat", input=pieces())
    assert finished.out == b"".join([bytes([number % 256]) * 10_000 for number in range(300)])


@on_both_loops
async def test_a_program_that_does_not_read_its_input_is_no_error():
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(MEGABYTE)

    assert (await run("true", input=bytes(MEGABYTE))).code == 0
    assert (await run("true", input=pieces())).code == 0


@on_both_loops
async def test_an_error_of_the_input_ends_the_program_and_is_raised_as_it_is(tmp_path):
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"
        await pids(tmp_path / "pids")
        raise LookupError

    with pytest.raises(LookupError):
        await run("sh", "-c", PARENT_AND_CHILD, str(tmp_path / "pids"), input=pieces())
    shell, child = await pids(tmp_path / "pids")
    assert not await asyncio.to_thread(exists, shell)
    await until(lambda: not alive(child))


@on_both_loops
async def test_a_missing_program_is_named():
    with pytest.raises(MissingProgramError, match="no-such-program is not installed"):
        await run("no-such-program", environment={"PATH": "/usr/bin"})


@on_both_loops
async def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(ProcessError, match=r"there is no directory .*gone"):
        await run("true", cwd=str(tmp_path / "gone"))


@on_both_loops
async def test_cancelling_kills_the_whole_group_and_reaps_it(tmp_path):
    path = tmp_path / "pids"
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run("sh", "-c", PARENT_AND_CHILD, str(path)))
        shell, child = await pids(path)
        task.cancel()
    assert task.cancelled()
    assert not await asyncio.to_thread(exists, shell)
    await until(lambda: not alive(child))


@on_both_loops
async def test_a_timeout_kills_even_what_ignores_a_polite_request(tmp_path):
    path = tmp_path / "pids"
    with pytest.raises(ProcessTimeoutError, match=r"sh took longer than 0.3 s"):
        await run("sh", "-c", "trap '' TERM INT; " + PARENT_AND_CHILD, str(path), timeout=0.3)
    shell, child = await pids(path)
    assert not await asyncio.to_thread(exists, shell)
    await until(lambda: not alive(child))


@on_both_loops
async def test_a_timeout_ends_a_child_that_outlived_its_parent_with_the_pipe(tmp_path):
    path = tmp_path / "pids"
    with pytest.raises(ProcessTimeoutError):
        await run("sh", "-c", 'sleep 1000 & echo $$ $! > "$0"', str(path), timeout=0.3)
    _, child = await pids(path)
    await until(lambda: not alive(child))


@on_both_loops
async def test_streams_output_while_the_program_runs(tmp_path):
    script = 'echo first; while ! test -e "$0"; do sleep 0.01; done; echo second'
    seen = []
    async for data in stream("sh", "-c", script, str(tmp_path / "go")):
        seen.append(data)
        (tmp_path / "go").touch()
    assert seen == [b"first\n", b"second\n"]


@on_both_loops
async def test_streams_everything_in_pieces_of_at_most_a_chunk():
    sizes = [len(d) async for d in stream("head", "-c", "3000001", "/dev/zero", chunk=1000)]
    assert sum(sizes) == 3_000_001
    assert max(sizes) <= 1000


@on_both_loops
async def test_a_slow_reader_holds_the_program_back():
    script = "yes | head -c 100000000"
    async with aclosing(stream("sh", "-c", script + "; echo done >&2")) as output:
        await anext(output)
        out = output.ag_frame.f_locals["child"].out
        await until(lambda: out.paused)
        assert sum(map(len, out.pieces)) < MEGABYTE


@on_both_loops
async def test_a_stream_that_fails_says_so_at_its_end():
    output = stream("sh", "-c", "echo some; echo why >&2; exit 4")
    assert await anext(output) == b"some\n"
    with pytest.raises(ProcessError, match="sh failed with exit code 4") as caught:
        await anext(output)
    assert (caught.value.code, caught.value.complaint) == (4, "why")


@on_both_loops
async def test_closing_a_stream_early_kills_the_program(tmp_path):
    script = 'echo $$ $$ > "$0"; exec yes'
    async with aclosing(stream("sh", "-c", script, str(tmp_path / "pids"))) as output:
        await anext(output)
    pid, _ = await pids(tmp_path / "pids")
    assert not await asyncio.to_thread(exists, pid)


@on_both_loops
async def test_streams_what_is_fed_while_it_is_fed():
    seen = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await seen.wait()
        yield b"second" * MEGABYTE

    output = []
    async for data in stream("cat", input=pieces()):
        output.append(data)
        seen.set()
    assert output[0] == b"first"
    assert b"".join(output[1:]) == b"second" * MEGABYTE


@on_both_loops
async def test_a_stream_whose_input_fails_ends_and_raises_that_error(tmp_path):
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"
        await pids(tmp_path / "pids")
        raise LookupError

    with pytest.raises(LookupError):
        async for _ in stream("sh", "-c", PARENT_AND_CHILD, str(tmp_path / "pids"), input=pieces()):
            pass
    shell, child = await pids(tmp_path / "pids")
    assert not await asyncio.to_thread(exists, shell)
    await until(lambda: not alive(child))


@on_both_loops
async def test_a_stream_that_does_not_read_its_input_is_no_error():
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(MEGABYTE)

    assert [data async for data in stream("echo", "done", input=pieces())] == [b"done\n"]


@on_both_loops
async def test_closing_a_stream_early_ends_its_input():
    ended = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(MEGABYTE)
        finally:
            ended.append(True)

    async with aclosing(stream("cat", input=pieces())) as output:
        await anext(output)
    assert ended == [True]


@on_both_loops
async def test_a_hundred_programs_at_once_leave_nothing_open():
    await run("true")
    before = open_files()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run("echo", str(number))) for number in range(100)]
    assert [int(task.result().out) for task in tasks] == list(range(100))
    await until(lambda: open_files() <= before)


@on_both_loops
async def test_the_end_is_noticed_where_the_kernel_has_no_descriptors_for_processes(monkeypatch):
    monkeypatch.delattr(os, "pidfd_open")
    assert (await run("sh", "-c", "echo out; exit 3")).code == 3
    with pytest.raises(ProcessTimeoutError):
        await run("sleep", "1000", timeout=0.05)


@on_both_loops
async def test_a_program_that_closes_its_input_and_goes_on_is_not_waited_for():
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(MEGABYTE)

    finished = await run("sh", "-c", "exec 0<&-; sleep 0.2; echo done", input=pieces())
    assert finished.out == b"done\n"
