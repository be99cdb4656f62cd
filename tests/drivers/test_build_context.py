"""The tar stream that a build reads, in whatever pieces it comes."""

import io
import tarfile

import pytest
from hypothesis import given, strategies as st

from emulator.drivers.docker.build_context import (
    DOCKERFILE,
    TarFilter,
    context,
    end_of_archive,
    member,
)

LONG = "d" * 90 + "/" + "e" * 200 + "/x.py"
FILES = {"a.txt": b"a" * 700, "b/c.txt": b"", LONG: b"long", "ü.txt": b"u", "z": b"z" * 512}


def archive(files=FILES, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def read(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def filtered(data, keep, size):
    chosen = TarFilter(keep)
    return b"".join(chosen.feed(data[at : at + size]) for at in range(0, len(data), size))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@given(size=st.integers(1, 2000), dropped=st.sets(st.sampled_from(sorted(FILES))))
def test_drops_members_and_passes_on_the_rest_unharmed(form, size, dropped):
    left = filtered(archive(form=form), lambda path: path not in dropped, size)
    assert read(left) == {name: data for name, data in FILES.items() if name not in dropped}


def test_keeps_the_stream_byte_for_byte_when_nothing_is_dropped():
    assert filtered(archive(), lambda _: True, 1000) == archive()


def test_a_global_header_is_no_member():
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "abc"}
    ) as tar:
        tar.addfile(tarfile.TarInfo("kept"))
    seen = []
    assert read(filtered(out.getvalue(), lambda path: not seen.append(path), 512)) == {"kept": b""}
    assert seen == ["kept"]


def test_members_of_ours_need_no_end_of_archive():
    data = member("x", b"1") + member("y" * 300, b"2" * 512) + end_of_archive()
    assert read(data) == {"x": b"1", "y" * 300: b"2" * 512}


async def tree(*, ended):
    try:
        yield archive({"app.py": b"1"})
    finally:
        ended.append(True)


async def test_ours_come_first_and_the_tree_after_them():
    ended = []
    data = b"".join([c async for c in context("FROM a", [("extra", b"e")], tree(ended=ended))])
    found = read(data)
    assert found[DOCKERFILE] == b"FROM a"
    assert list(found)[2:] == ["extra", "app.py"]
    assert ended


async def test_without_a_tree_it_is_an_archive_of_ours():
    data = b"".join([chunk async for chunk in context("FROM a")])
    assert list(read(data)) == [DOCKERFILE, ".dockerignore"]


async def test_leaving_early_ends_the_tree_s_stream():
    ended = []
    stream = context("FROM a", (), tree(ended=ended))
    await anext(stream)
    await anext(stream)
    await stream.aclose()
    assert ended
