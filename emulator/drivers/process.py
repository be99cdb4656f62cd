"""The one door to other programs: started, fed, read and, whatever happens, ended and reaped.

Every program gets a process group of its own, so that what it started ends with it. It inherits
nothing but what the caller names: no environment, no standard input.

The start is left to a thread and to `subprocess`, which does not copy this process to start
another: uvloop's own way stops the event loop for 3 to 5 ms each time. Pipes are read by readiness,
not by transports: uvloop's close their descriptor twice, and by then it may be somebody else's.
"""

import asyncio
import os
import select
import signal
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE, Popen
from typing import IO, cast

CHUNK = 65_536
AHEAD = 4  # chunks read ahead of a slow consumer
BREATH = 100  # milliseconds after which a blocked write looks whether it is still wanted
WITHOUT_LIMIT = 1 << 62
KEPT_ERROR = 65_536  # the last bytes of stderr that are kept: enough for any message


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
    fed = input is not None
    async with _child(argv, environment, cwd, fed=fed, ahead=WITHOUT_LIMIT) as child:
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                await _feed_until_closed(child, input)
        except TimeoutError as error:
            if not limit.expired():
                raise  # the input's own
            text = f"{argv[0]} took longer than {timeout:g} s"
            raise ProcessTimeoutError(
                text, code=-signal.SIGKILL, err=bytes(child.err.data)
            ) from error
        return Finished(child.code, b"".join(child.out.pieces), bytes(child.err.data))


async def stream(
    *argv: str,
    input: AsyncIterator[bytes] | bytes | None = None,  # noqa: A002 - as subprocess calls it
    environment: Mapping[str, str] | None = None,
    cwd: str | None = None,
    chunk: int = CHUNK,
) -> AsyncGenerator[bytes]:
    """What a program writes to stdout, as it comes, in pieces of at most `chunk` bytes, while it
    is fed.

    Raises ProcessError at the end if the exit code is not 0. Closing it early kills the program.
    An error of the `input` iterator does, too, and is raised as it is.
    """
    fed = input is not None
    async with _child(argv, environment, cwd, fed=fed, ahead=AHEAD * chunk) as child:
        failed: list[Exception] = []
        feeding = asyncio.get_running_loop().create_task(_feed_or_end(child, input, failed))
        try:
            while data := await child.out.take(chunk):
                yield data
            await child.closed.wait()
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        if failed:
            raise failed[0]
        if child.code:
            text = f"{argv[0]} failed with exit code {child.code}"
            raise ProcessError(text, code=child.code, err=bytes(child.err.data))


class _Reader:
    """A pipe out of the program, owned until it ends or is closed."""

    def __init__(self, pipe: IO[bytes], ended: Callable[[], None]) -> None:
        self.open = True
        self._pipe = pipe
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        os.set_blocking(pipe.fileno(), False)
        self._resume()

    def receive(self, data: bytes) -> None:
        raise NotImplementedError

    def close(self) -> None:
        if self.open:
            self.open = False
            self._pause()
            self._pipe.close()
            self._ended()

    def _pause(self) -> None:
        self._loop.remove_reader(self._pipe.fileno())

    def _resume(self) -> None:
        self._loop.add_reader(self._pipe.fileno(), self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._pipe.fileno(), CHUNK)
        except BlockingIOError:
            return
        if data:
            self.receive(data)
        else:
            self.close()


class _Output(_Reader):
    """Stdout, piece by piece; not much more than `ahead` bytes wait to be taken."""

    def __init__(self, pipe: IO[bytes], ended: Callable[[], None], ahead: int) -> None:
        super().__init__(pipe, ended)
        self.pieces: deque[bytes] = deque()
        self.paused = False
        self._ahead = ahead
        self._waiting = 0
        self._news = asyncio.Event()  # something to take, or nothing more will come

    async def take(self, most: int) -> bytes:
        """The next bytes; none at the end."""
        while not self.pieces and self.open:
            self._news.clear()
            await self._news.wait()
        if not self.pieces:
            return b""
        data = self.pieces.popleft()
        if len(data) > most:
            self.pieces.appendleft(data[most:])
            data = data[:most]
        self._waiting -= len(data)
        if self.paused and self.open and self._waiting < self._ahead:
            self.paused = False
            self._resume()
        return data

    def receive(self, data: bytes) -> None:
        self.pieces.append(data)
        self._waiting += len(data)
        self._news.set()
        if self._waiting >= self._ahead:
            self.paused = True
            self._pause()

    def close(self) -> None:
        super().close()
        self._news.set()


class _Complaint(_Reader):
    """Stderr: its end is kept, because that says what went wrong."""

    def __init__(self, pipe: IO[bytes], ended: Callable[[], None]) -> None:
        super().__init__(pipe, ended)
        self.data = bytearray()

    def receive(self, data: bytes) -> None:
        self.data += data
        del self.data[:-KEPT_ERROR]


class _Input:
    """Stdin, written by a thread; what the program no longer reads is lost, and no error."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.open = True
        self._pipe = pipe
        self._writing = threading.Lock()
        os.set_blocking(pipe.fileno(), False)

    async def write(self, data: bytes) -> None:
        await asyncio.to_thread(self._write, data)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def abort(self) -> None:
        self.open = False

    def _close(self) -> None:
        with self._writing:
            self.open = False
            self._pipe.close()

    def _write(self, data: bytes) -> None:
        with self._writing:
            poll, left = select.poll(), memoryview(data)
            if self.open:
                poll.register(self._pipe, select.POLLOUT)
            while left and self.open:
                poll.poll(BREATH)
                try:
                    left = left[os.write(self._pipe.fileno(), left) :]
                except BlockingIOError:
                    continue
                except OSError:
                    self.open = False


class _Child:
    """A running program and its pipes."""

    def __init__(self, process: Popen[bytes], ahead: int) -> None:
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()  # exited, and all output is here
        self._process = process
        self._loop = asyncio.get_running_loop()
        self.input = _Input(process.stdin) if process.stdin else None
        self.out = _Output(cast("IO[bytes]", process.stdout), self._settle, ahead)
        self.err = _Complaint(cast("IO[bytes]", process.stderr), self._settle)
        self._expect_the_end()

    @property
    def code(self) -> int:
        code = self._process.returncode
        return -signal.SIGKILL if code is None else code

    async def end(self) -> None:
        """Kill what is left of the group, close the pipes, reap."""
        if not self.closed.is_set():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self.out.close()
        self.err.close()
        if self.input is not None:
            self.input.abort()
            await self.input.close()
        await self.exited.wait()

    def _expect_the_end(self) -> None:
        try:
            descriptor = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):  # not Linux, or before 5.3
            threading.Thread(target=self._wait, daemon=True).start()
            return
        self._loop.add_reader(descriptor, self._read_the_end, descriptor)

    def _read_the_end(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        self._process.poll()  # reaps
        self._exit()

    def _wait(self) -> None:
        self._process.wait()
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._exit)

    def _exit(self) -> None:
        self.exited.set()
        if self.input is not None:
            self.input.abort()  # nobody reads it any more
        self._settle()

    def _settle(self) -> None:
        if self.exited.is_set() and not self.out.open and not self.err.open:
            self.closed.set()


@asynccontextmanager
async def _child(
    argv: tuple[str, ...],
    environment: Mapping[str, str] | None,
    cwd: str | None,
    *,
    fed: bool = False,
    ahead: int,
) -> AsyncGenerator[_Child]:
    def spawn() -> Popen[bytes]:
        return Popen(
            argv,
            stdin=PIPE if fed else DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            bufsize=0,
            env={"PATH": os.defpath} if environment is None else environment,
            cwd=cwd,
            start_new_session=True,  # a group of its own, and no terminal to ask at
        )

    try:
        child = await _started(spawn, ahead)
    except OSError as error:
        raise await asyncio.to_thread(_not_started, argv[0], cwd, error) from error
    try:
        yield child
    finally:
        await child.end()


async def _started(spawn: Callable[[], Popen[bytes]], ahead: int) -> _Child:
    """A start is over in a millisecond, but half a start cannot be undone: it is not cancelled."""

    async def start() -> _Child:
        return _Child(await asyncio.to_thread(spawn), ahead)

    task = asyncio.get_running_loop().create_task(start())
    cancelled = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    child = task.result()
    if cancelled:
        await child.end()
        raise cancelled
    return child


def _not_started(program: str, cwd: str | None, error: OSError) -> ProcessError:
    if cwd is not None and not os.path.isdir(cwd):  # noqa: PTH112 - no Path needed for it
        return ProcessError(f"there is no directory {cwd}", code=127)
    if isinstance(error, FileNotFoundError):
        return MissingProgramError(f"{program} is not installed or not on the PATH", code=127)
    return MissingProgramError(f"{program} cannot be started: {error.strerror}", code=126)


async def _feed_until_closed(child: _Child, data: AsyncIterator[bytes] | bytes | None) -> None:
    if child.input is None or data is None:
        await child.closed.wait()
        return
    try:
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(_feed(child.input, data))
            await child.closed.wait()
            feeding.cancel()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _feed_or_end(
    child: _Child, data: AsyncIterator[bytes] | bytes | None, failed: list[Exception]
) -> None:
    """Beside whoever reads the output: with the program's end, that ends too."""
    if child.input is None or data is None:
        return
    try:
        await _feed(child.input, data)
    except Exception as error:  # noqa: BLE001 - the reader raises it
        failed.append(error)
        await child.end()


async def _feed(program: _Input, data: AsyncIterator[bytes] | bytes) -> None:
    if isinstance(data, bytes):
        await program.write(data)
        await program.close()
        return
    try:
        async for piece in data:
            await program.write(piece)
            if not program.open:
                break
        await program.close()
    finally:
        if isinstance(data, AsyncGenerator):
            await data.aclose()
