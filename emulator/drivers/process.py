"""The one door to other programs: started, fed, read and, whatever happens, ended and reaped.

Every program gets a process group of its own, so that what it started ends with it. It inherits
nothing but what the caller names: no environment, no standard input.
"""

import asyncio
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE
from typing import Any, cast

CHUNK = 65_536
AHEAD = 4  # chunks read ahead of a slow consumer
KEPT_ERROR = 65_536  # the last bytes of stderr that are kept: enough for any message

OUT, ERR = 1, 2


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended; a negative code is the signal that ended it."""

    code: int
    out: bytes
    err: bytes

    @property
    def complaint(self) -> str:
        """What it said on stderr, as text."""
        return self.err.decode(errors="replace").strip()


class ProcessError(Exception):
    """A program that failed, did not start or took too long."""

    def __init__(self, message: str, *, code: int, err: bytes = b"") -> None:
        super().__init__(message)
        self.code = code
        self.err = err

    @property
    def complaint(self) -> str:
        """What it said on stderr, as text."""
        return self.err.decode(errors="replace").strip()


class MissingProgramError(ProcessError):
    """The program cannot be started: not on the PATH it was given, or not executable."""


class ProcessTimeoutError(ProcessError):
    """The program took longer than it may, and was killed."""


async def run(
    *argv: str,
    input: AsyncIterator[bytes] | bytes | None = None,  # noqa: A002 - as subprocess calls it
    environment: Mapping[str, str] | None = None,
    cwd: str | None = None,
    timeout: float | None = None,
) -> Finished:
    """Run a program to its end, whatever its exit code; `timeout` in seconds.

    An error of the `input` iterator ends the program and is raised as it is. A program that does
    not read its input is not an error.
    """
    async with _child(argv, environment, cwd, fed=input is not None) as child:
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                await _feed_until_closed(child, input)
        except TimeoutError as error:
            if not limit.expired():
                raise  # the input's own
            text = f"{argv[0]} took longer than {timeout:g} s"
            raise ProcessTimeoutError(text, code=-signal.SIGKILL, err=bytes(child.err)) from error
        return Finished(child.code, b"".join(child.out), bytes(child.err))


async def stream(
    *argv: str,
    environment: Mapping[str, str] | None = None,
    cwd: str | None = None,
    chunk: int = CHUNK,
) -> AsyncGenerator[bytes]:
    """What a program writes to stdout, as it comes, in pieces of at most `chunk` bytes.

    Raises ProcessError at the end if the exit code is not 0. Closing it early kills the program.
    """
    async with _child(argv, environment, cwd, ahead=AHEAD * chunk) as child:
        while data := await child.take(chunk):
            yield data
        await child.closed.wait()
        if child.code:
            text = f"{argv[0]} failed with exit code {child.code}"
            raise ProcessError(text, code=child.code, err=bytes(child.err))


class _Child(asyncio.SubprocessProtocol):
    """Collects what a program writes; with `ahead`, no more than that waits to be taken."""

    def __init__(self, ahead: int | None) -> None:
        self.transport: asyncio.SubprocessTransport
        self.out: deque[bytes] = deque()
        self.err = bytearray()
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()  # exited, and all output is here
        self.reads = True  # its stdin is open
        self.writable = asyncio.Event()
        self.writable.set()
        self._ahead = ahead
        self._waiting = 0
        self._paused = False
        self._open = {OUT, ERR}
        self._news = asyncio.Event()  # something to take, or nothing more will come

    @property
    def code(self) -> int:
        code = self.transport.get_returncode()
        return -signal.SIGKILL if code is None else code

    @property
    def _stdin(self) -> asyncio.WriteTransport:
        return cast("asyncio.WriteTransport", self.transport.get_pipe_transport(0))

    @property
    def _stdout(self) -> asyncio.ReadTransport:
        return cast("asyncio.ReadTransport", self.transport.get_pipe_transport(OUT))

    async def take(self, most: int) -> bytes:
        """The next bytes of stdout; none at its end."""
        while not self.out and OUT in self._open:
            self._news.clear()
            await self._news.wait()
        if not self.out:
            return b""
        data = self.out.popleft()
        if len(data) > most:
            self.out.appendleft(data[most:])
            data = data[:most]
        self._waiting -= len(data)
        self._resume()
        return data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == ERR:
            self.err += data
            del self.err[:-KEPT_ERROR]  # the end says what went wrong
            return
        self.out.append(data)
        self._waiting += len(data)
        self._news.set()
        self._pause()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        if fd == 0:
            self._stop_reading()
        self._open.discard(fd)
        self._news.set()
        self._settle()

    def process_exited(self) -> None:
        self.exited.set()
        self._stop_reading()
        self._settle()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def feed(self, data: bytes) -> None:
        if self.reads and not self._stdin.is_closing():
            self._stdin.write(data)

    def feed_no_more(self) -> None:
        if self.reads and not self._stdin.is_closing():
            self._stdin.close()

    def _stop_reading(self) -> None:
        self.reads = False
        self.writable.set()

    def _settle(self) -> None:
        # Not connection_lost: uvloop may call it before the last output has come.
        if self.exited.is_set() and not self._open:
            self.closed.set()

    def _pause(self) -> None:
        if self._ahead is not None and self._waiting >= self._ahead and not self._paused:
            self._paused = True
            self._stdout.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._ahead is not None and self._waiting < self._ahead:
            self._paused = False
            self._stdout.resume_reading()


@asynccontextmanager
async def _child(
    argv: tuple[str, ...],
    environment: Mapping[str, str] | None,
    cwd: str | None,
    *,
    fed: bool = False,
    ahead: int | None = None,
) -> AsyncGenerator[_Child]:
    loop = asyncio.get_running_loop()
    starting = loop.subprocess_exec(
        lambda: _Child(ahead),
        *argv,
        stdin=PIPE if fed else DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env={"PATH": os.defpath} if environment is None else dict(environment),
        cwd=cwd,
        start_new_session=True,  # a group of its own, and no terminal to ask at
    )
    try:
        child = await _started(starting)
    except OSError as error:
        raise await asyncio.to_thread(_not_started, argv[0], cwd, error) from error
    try:
        yield child
    finally:
        await _end(child)


async def _started(starting: Coroutine[Any, Any, tuple[Any, _Child]]) -> _Child:
    """A start is over in a millisecond, but half a start cannot be undone: it is not cancelled."""
    task = asyncio.get_running_loop().create_task(starting)
    cancelled = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    _, child = task.result()
    if cancelled:
        await _end(child)
        raise cancelled
    return child


async def _end(child: _Child) -> None:
    """Kill what is left of the group, and reap the program."""
    if not child.closed.is_set():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.transport.get_pid(), signal.SIGKILL)
    child.transport.close()
    await child.exited.wait()


def _not_started(program: str, cwd: str | None, error: OSError) -> ProcessError:
    if cwd is not None and not os.path.isdir(cwd):  # noqa: PTH112 - not in a coroutine
        return ProcessError(f"there is no directory {cwd}", code=127)
    if isinstance(error, FileNotFoundError):
        return MissingProgramError(f"{program} is not installed or not on the PATH", code=127)
    return MissingProgramError(f"{program} cannot be started: {error.strerror}", code=126)


async def _feed_until_closed(child: _Child, data: AsyncIterator[bytes] | bytes | None) -> None:
    if not isinstance(data, AsyncIterator):
        if data is not None:
            child.feed(data)
            child.feed_no_more()
        await child.closed.wait()
        return
    try:
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(_feed(child, data))
            await child.closed.wait()
            feeding.cancel()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _feed(child: _Child, data: AsyncIterator[bytes]) -> None:
    try:
        async for piece in data:
            await child.writable.wait()
            if not child.reads:
                break
            child.feed(piece)
            await asyncio.sleep(0)  # noqa: TID251 - not for time: others, and its end, come first
        child.feed_no_more()
    finally:
        if isinstance(data, AsyncGenerator):
            await data.aclose()
