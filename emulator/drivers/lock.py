"""One emulator per state directory: a lock that the kernel gives back when its holder dies."""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from emulator.model.errors import StoreError

FILE_NAME = "lock"
_ATTEMPTS = 1000  # a look from outside holds the lock for an instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The emulator that runs; `api` is empty until it listens."""

    pid: int
    api: str = ""

    def __str__(self) -> str:
        return f"process {self.pid}" + (f", {self.api}" if self.api else "")


class StateLock:
    """Held from `acquire` to `release` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, state_dir: Path) -> "StateLock":
        """Raises StoreError naming the holder where there is one."""
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(state_dir / FILE_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"{state_dir}: {error.strerror}") from error
        if not _locked_alone(descriptor):
            raise _refusal(descriptor, state_dir)
        lock = cls(descriptor)
        lock.announce("")
        return lock

    def announce(self, api: str) -> None:
        """Write down where the API listens, for the command line."""
        content = json.dumps({"pid": os.getpid(), "api": api}).encode()
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))

    def release(self) -> None:
        """Also twice. The file stays: removing it would let two emulators lock two files."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def holder(state_dir: Path) -> Holder | None:
    """The emulator that holds the lock at this moment."""
    try:
        descriptor = os.open(state_dir / FILE_NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _try(descriptor, fcntl.LOCK_SH) else _read(descriptor)
    finally:
        os.close(descriptor)


def _locked_alone(descriptor: int) -> bool:
    """Shared locks are those of `holder` looking; an emulator's is exclusive."""
    for _ in range(_ATTEMPTS):
        if _try(descriptor, fcntl.LOCK_EX):
            return True
        if not _try(descriptor, fcntl.LOCK_SH):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.sched_yield()
    return False


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> Holder:
    """A holder that has not written yet is process 0."""
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
        return Holder(pid=int(content["pid"]), api=str(content["api"]))
    except (ValueError, KeyError, TypeError):
        return Holder(pid=0)


def _refusal(descriptor: int, state_dir: Path) -> StoreError:
    other = _read(descriptor)
    os.close(descriptor)
    return StoreError(
        f"{state_dir} is in use by another emulator ({other}):"
        " stop it with `apprunner stop`, or choose another --state-dir"
    )
