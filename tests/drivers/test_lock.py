"""One emulator per state directory, against the kernel's own lock."""

import os
import subprocess
import sys

import pytest

from emulator.drivers.lock import FILE_NAME, Holder, StateLock, holder
from emulator.model.errors import StoreError

HOLD = """
import sys, pathlib
from emulator.drivers.lock import StateLock
lock = StateLock.acquire(pathlib.Path(sys.argv[1]))
lock.announce("http://127.0.0.1:8400")
print("held", flush=True)
sys.stdin.read()
"""


def test_the_second_is_refused_and_told_who_holds_it(tmp_path):
    first = StateLock.acquire(tmp_path)
    first.announce("http://127.0.0.1:8400")
    expected = rf"process {os.getpid()}, http://127\.0\.0\.1:8400.*apprunner stop"
    with pytest.raises(StoreError, match=expected):
        StateLock.acquire(tmp_path)
    first.release()


def test_after_a_release_it_is_free(tmp_path):
    first = StateLock.acquire(tmp_path)
    first.release()
    first.release()
    assert holder(tmp_path) is None
    StateLock.acquire(tmp_path).release()


def test_the_holder_can_be_looked_up(tmp_path):
    assert holder(tmp_path) is None
    lock = StateLock.acquire(tmp_path)
    assert holder(tmp_path) == Holder(pid=os.getpid())
    lock.announce("http://127.0.0.1:18400")
    lock.announce("http://127.0.0.1:1")
    assert holder(tmp_path) == Holder(pid=os.getpid(), api="http://127.0.0.1:1")
    lock.release()


def test_looking_up_leaves_it_free(tmp_path):
    StateLock.acquire(tmp_path).release()
    assert holder(tmp_path) is None
    StateLock.acquire(tmp_path).release()


def test_a_killed_holder_leaves_nothing_behind(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        assert holder(tmp_path) == Holder(pid=process.pid, api="http://127.0.0.1:8400")
        with pytest.raises(StoreError, match=str(process.pid)):
            StateLock.acquire(tmp_path)
        process.kill()
    assert holder(tmp_path) is None
    StateLock.acquire(tmp_path).release()


def test_a_damaged_file_does_not_matter(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"\xff[")
    lock = StateLock.acquire(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"\xff[")
    with pytest.raises(StoreError, match="in use"):
        StateLock.acquire(tmp_path)
    lock.release()


def test_a_place_where_nothing_can_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        StateLock.acquire(tmp_path / "file" / "state")
