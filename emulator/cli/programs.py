"""Other programs that the command line runs in the user's name, with the user's environment."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from emulator.cli import clock
from emulator.cli.settings import process_environment

PAUSE = 0.01
Child = subprocess.Popen[bytes]
# Inside a git hook these would redirect every git that we run.
GIT_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")


@dataclass(frozen=True, slots=True)
class Result:
    """A program that ended."""

    code: int
    out: str
    err: str


def git(directory: str | Path, *arguments: str) -> Result:
    """FileNotFoundError without git."""
    argv = ["git", "-C", str(directory), *arguments]
    environment = process_environment()
    for variable in GIT_VARIABLES:
        environment.pop(variable, None)
    done = subprocess.run(  # noqa: S603 - no shell, and the arguments are ours
        argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return Result(done.returncode, done.stdout.decode().strip(), done.stderr.decode().strip())


def run_here(argv: Sequence[str], **variables: str) -> int:
    """Run on this terminal to the end; its exit code as a shell gives it.

    Ctrl-C reaches the program by itself, as both are on the terminal; a SIGTERM is passed on.
    What the program makes of them is the answer.
    """
    children: list[Child] = []
    told = False

    def pass_on(*_: object) -> None:
        nonlocal told
        told = True
        for child in children:
            child.terminate()

    # Before it starts, so that there is no moment at which a signal would be ours. Functions, as
    # the program would inherit SIG_IGN.
    with (
        _handled(signal.SIGINT, lambda *_: None),
        _handled(signal.SIGTERM, pass_on),
        subprocess.Popen(argv, env=process_environment(**variables)) as child,  # noqa: S603 - the user's own command
    ):
        children.append(child)
        if told:
            child.terminate()
        code = child.wait()
    return 128 - code if code < 0 else code


@contextmanager
def _handled(number: signal.Signals, handler: Callable[..., None]) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def emulator(arguments: Sequence[str], *, log: BinaryIO, ready: int) -> Child:
    """This very program in a session of its own, writing to `log`; it inherits `ready`."""
    # -P: a directory called emulator where the user stands must not be taken for ours.
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-P", "-m", "emulator", *arguments],
        env=process_environment(PYTHONPATH=root),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        pass_fds=[ready],
    )


def gone(pid: int, patience: float) -> bool:
    """Wait until a process has ended, its parent's or not; False when patience is at its end."""
    if hasattr(os, "pidfd_open"):
        return _gone_by_descriptor(pid, patience)
    end = clock.elapsed() + patience
    while _exists(pid):
        if clock.elapsed() > end:
            return False
        clock.sleep(PAUSE)
    return True


def _gone_by_descriptor(pid: int, patience: float) -> bool:
    """Also tells of one that nobody has reaped yet, unlike a signal."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], patience)[0])
    finally:
        os.close(descriptor)


def _exists(pid: int) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
