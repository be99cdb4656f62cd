"""What instances print, copied from the engine into the log streams while they run.

The engine's own files are bounded and end with the container; the streams stay. After a restart
of the emulator a copy goes on where it stopped: beside each instance stands the time of the last
line, and how many lines were copied with exactly that time. (A kill between a batch and that note
repeats the batch: rather twice than never.)

An engine that has rotated its files may send lines again, or fall silent for good though more is
printed (20.10 does both). So a copy that sees an old line again, or hears nothing for a while after
a lot, hangs up and asks again from the last line that is safe.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from emulator.drivers.docker.concurrency import to_the_end
from emulator.drivers.docker.engine import Engine, Frame, NotFoundError
from emulator.drivers.docker.records import read_json, write_json
from emulator.model.errors import EngineError, StoreError
from emulator.model.identifiers import Epoch, InstanceId, ServiceId
from emulator.ports import Clock, LogLine, Logs

BATCH: Final = 500  # lines
PAUSE: Final = 0.05  # seconds between two looks: bounds what one chatty instance can take
LONGEST: Final = 16_384  # characters of a line; the engine splits there too
SLICE: Final = 250  # lines that are read without giving way to others
QUIET: Final = 2.0  # seconds of silence after
MUCH: Final = 65_536  # bytes, that make it worth asking again
_REORDERED: Final = 100_000_000  # nanoseconds: stdout and stderr overtake each other by less
_RECENT: Final = 4096  # lines
_PATIENCE: Final = 10.0  # seconds for the rest of a log before its container is removed
_RETRY: Final = 1.0
_CURSOR: Final = "log.json"
_SECOND: Final = 1_000_000_000
_UP_TO_SECONDS: Final = len("2006-01-02T15:04:05")


@dataclass(frozen=True, slots=True)
class Line:
    """One line as the engine keeps it; `at` in nanoseconds."""

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last line that is safe: `at` in nanoseconds, `count` lines with exactly that time."""

    at: int = 0
    count: int = 0

    def after(self, lines: Sequence[Line]) -> "Cursor":
        last = max(line.at for line in lines)
        if last < self.at:
            return self
        same = sum(line.at == last for line in lines)
        return Cursor(last, same + (self.count if last == self.at else 0))


@dataclass(slots=True)
class Order:
    """What one connection has brought, to notice when it begins again."""

    newest: int = 0
    recent: deque[Line] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def until_repeated(self, lines: Sequence[Line]) -> list[Line]:
        """Those before the first that came before."""
        for number, line in enumerate(lines):
            if self._repeats(line):
                return list(lines[:number])
            self.newest = max(self.newest, line.at)
            self.recent.append(line)
        return list(lines)

    def _repeats(self, line: Line) -> bool:
        """A line may be older than another without being old: but not by much, nor twice."""
        older = self.newest - line.at
        return older > _REORDERED or (older > 0 and line in self.recent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One instance's log on its way; `done` once all that it printed is safe."""

    instance: InstanceId
    service: ServiceId
    container: str
    done: asyncio.Event = field(default_factory=asyncio.Event)


class ApplicationLogs:
    """`directory` says where an instance's files are; logs are followed while `run` runs."""

    def __init__(
        self, engine: Engine, logs: Logs, clock: Clock, directory: Callable[[InstanceId], Path]
    ) -> None:
        self._engine = engine
        self._logs = logs
        self._clock = clock
        self._directory = directory
        self._copies: dict[InstanceId, Copy] = {}
        self._tasks: dict[InstanceId, asyncio.Task[None]] = {}
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    for copy in self._copies.values():
                        if copy.instance not in self._tasks:
                            self._tasks[copy.instance] = group.create_task(self._follow(copy))
                    self._wanted.clear()
                    await self._wanted.wait()
        finally:
            self._tasks.clear()

    def follow(self, instance: InstanceId, service: ServiceId, container: str) -> None:
        """From where the last copy ended; asking again changes nothing."""
        if instance not in self._copies:
            self._copies[instance] = Copy(instance=instance, service=service, container=container)
            self._wanted.set()

    async def complete(self, instance: InstanceId, service: ServiceId, container: str) -> None:
        """Wait for all that an ended container has printed, but not for ever.

        A full disk or a lost engine must not keep an instance alive.
        """
        copy = Copy(instance=instance, service=service, container=container)
        with suppress(TimeoutError, EngineError, StoreError, OSError):
            async with asyncio.timeout(_PATIENCE):
                if instance in self._tasks:
                    await self._copies[instance].done.wait()
                else:
                    await self._transfer(copy, follow=False)
        self._copies.pop(instance, None)
        if task := self._tasks.pop(instance, None):
            task.cancel()

    async def _follow(self, copy: Copy) -> None:
        """What fails on the way is tried again."""
        while not copy.done.is_set():
            try:
                await self._transfer(copy, follow=True)
                await self._clock.sleep(PAUSE)
                if not await self._runs(copy):
                    await self._transfer(copy, follow=False)
                    copy.done.set()
            except NotFoundError:
                copy.done.set()
            except (EngineError, StoreError, OSError):
                await self._clock.sleep(_RETRY)

    async def _runs(self, copy: Copy) -> bool:
        """A followed log may end early, when the engine stops for example."""
        return bool(
            (await self._engine.get(f"/containers/{copy.container}/json"))["State"]["Running"]
        )

    async def _transfer(self, copy: Copy, *, follow: bool) -> None:
        """One connection's worth."""
        path = self._directory(copy.instance) / _CURSOR
        cursor = await asyncio.to_thread(_read_cursor, path)
        arrivals = self._arrivals(copy.container, cursor, follow=follow)
        async with aclosing(arrivals):
            async for lines in arrivals:
                cursor = cursor.after(lines)
                await to_the_end(self._keep(copy, lines, cursor, path))
                if follow:
                    await self._clock.sleep(PAUSE)

    async def _keep(self, copy: Copy, lines: Sequence[Line], cursor: Cursor, path: Path) -> None:
        for start in range(0, len(lines), BATCH):
            batch = lines[start : start + BATCH]
            await self._logs.write(copy.service, [_log_line(copy, line) for line in batch])
        await asyncio.to_thread(write_json, path, asdict(cursor))

    async def _arrivals(
        self, container: str, cursor: Cursor, *, follow: bool
    ) -> AsyncGenerator[list[Line], None]:
        """New lines; the engine's `since` includes those that the cursor counts."""
        params = {
            "stdout": True,
            "stderr": True,
            "timestamps": True,
            "follow": follow,
            "since": f"{cursor.at // _SECOND}.{cursor.at % _SECOND:09d}" if cursor.at else None,
        }
        known, order = cursor.count, Order()
        frames = self._engine.frames("GET", f"/containers/{container}/logs", params)
        arrivals = until_quiet(frames) if follow else frames
        async with aclosing(frames), aclosing(arrivals):
            async for arrived in arrivals:
                lines = await self._parsed(arrived, cursor)
                while known and lines and lines[0].at == cursor.at:
                    del lines[0]
                    known -= 1
                fresh = order.until_repeated(lines) if follow else lines
                if fresh:
                    yield fresh
                if len(fresh) < len(lines):
                    return

    async def _parsed(self, frames: Sequence[Frame], cursor: Cursor) -> list[Line]:
        """What the cursor covers is left out, should the engine send it all the same."""
        lines: list[Line] = []
        for start in range(0, len(frames), SLICE):
            for frame in frames[start : start + SLICE]:
                lines += [line for line in parse_frame(frame, cursor.at) if line.at >= cursor.at]
            await self._clock.sleep(0)
        return lines


async def until_quiet(
    frames: AsyncGenerator[list[Frame], None],
) -> AsyncGenerator[list[Frame], None]:
    """Ends when nothing comes for a while after a lot has come."""
    carried = 0
    while True:
        try:
            async with asyncio.timeout(QUIET if carried > MUCH else None):
                arrived = await anext(frames, None)
        except TimeoutError:
            return
        if arrived is None:
            return
        carried += sum(len(content) for _, content in arrived)
        yield arrived


def parse_frame(frame: Frame, otherwise: int = 0) -> list[Line]:
    """A time, a blank and a line, or the part of a long one; `otherwise` where no time is."""
    stamp, _, text = frame[1].decode(errors="replace").partition(" ")
    at = _nanoseconds(stamp) or otherwise
    text = text.rstrip("\r\n")
    return [Line(at, text[i : i + LONGEST]) for i in range(0, len(text), LONGEST)] or [Line(at, "")]


def _nanoseconds(stamp: str) -> int:
    """Of 2006-01-02T15:04:05.999999999Z."""
    try:
        seconds = datetime.fromisoformat(stamp[:_UP_TO_SECONDS]).replace(tzinfo=UTC)
    except ValueError:
        return 0
    fraction = stamp[_UP_TO_SECONDS:].strip(".Z").ljust(9, "0")
    return int(seconds.timestamp()) * _SECOND + int(fraction)


def _log_line(copy: Copy, line: Line) -> LogLine:
    return LogLine(at=Epoch(line.at / _SECOND), stream=f"instance/{copy.instance}", text=line.text)


def _read_cursor(path: Path) -> Cursor:
    try:
        return Cursor(**read_json(path))
    except TypeError:
        return Cursor()
