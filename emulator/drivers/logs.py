"""Log streams as files: `logs/<service>/<stream>.log`, lines of `<epoch> <text>`.

Bounded: a stream keeps two halves (`.log` and the older `.log.1`), a service a number of
streams. All writing, and every look at which files there are, happens in one thread: a follower
that registers there gets each line exactly once, from the history or as news.
"""

import asyncio
import logging
import re
import shutil
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from emulator.drivers.log_history import History, decoded, encoded, tail_of
from emulator.model.identifiers import Epoch, ServiceId
from emulator.ports import LogLine

STREAMS = 200  # per service
BACKLOG = 10_000  # lines that a slow follower may be behind
_NAME = re.compile(r"(?!\.)[A-Za-z0-9_.-]{1,200}")
_logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Selection = Callable[[LogLine], bool]


class FileLogs:
    """`ports.Logs`. `limit` is bytes per stream. A full disk loses lines, nothing else."""

    def __init__(self, state_dir: Path, *, limit: int = 10_000_000, streams: int = STREAMS) -> None:
        self._root = state_dir / "logs"
        self._half = limit // 2
        self._streams = streams
        self._whole: set[Path] = set()  # files known to end with a whole line
        self._followers: dict[ServiceId, list[_Follower]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="logs")

    def close(self) -> None:
        """What was asked for before is still written."""
        self._thread.shutdown(wait=False)

    async def write(self, service: ServiceId, lines: Sequence[LogLine]) -> None:
        if lines:
            await self._run(lambda: self._write(service, lines))

    async def read(
        self,
        service: ServiceId,
        *,
        prefix: str = "",
        since: Epoch | None = None,
        follow: bool = False,
    ) -> AsyncIterator[LogLine]:
        def selected(line: LogLine) -> bool:
            return line.stream.startswith(prefix) and (since is None or line.at >= since)

        follower = _Follower(selected) if follow else None
        try:
            with closing(await self._run(lambda: self._open(service, prefix, follower))) as history:
                async for line in history.lines(selected):
                    yield line
            while follower is not None:
                yield await follower.next()
        finally:
            if follower is not None:
                self._unregister(service, follower)

    async def tail(self, service: ServiceId, stream: str, count: int) -> tuple[str, ...]:
        path = self._path(service, stream)
        return await self._run(lambda: tail_of((older(path), path), count))

    async def forget(self, service: ServiceId) -> None:
        await self._run(lambda: self._forget(service))

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _unregister(self, service: ServiceId, follower: "_Follower") -> None:
        """Not in the thread: a reader that is cancelled cannot wait for it."""
        follower.gone = True
        followers = self._followers.get(service, [])
        if follower in followers:
            followers.remove(follower)

    # What follows runs in the thread.

    def _write(self, service: ServiceId, lines: Sequence[LogLine]) -> None:
        by_stream: dict[str, list[bytes]] = {}
        for line in lines:
            by_stream.setdefault(line.stream, []).extend(encoded(line))
        for stream, records in by_stream.items():
            path = self._path(service, stream)
            try:
                self._append(path, records)
            except OSError as error:
                _logger.warning("lost log lines of %s: %s", path, error.strerror)
        if followers := tuple(self._followers.get(service, ())):
            news = [
                decoded(s, record[:-1]) for s, records in by_stream.items() for record in records
            ]
            for follower in followers:
                follower.announce(news)

    def _append(self, path: Path, records: Sequence[bytes]) -> None:
        if not path.exists():
            self._make_room(path)
        for piece in self._pieces(path, records):
            content = piece if self._ends_whole(path) else b"\n" + piece
            self._whole.discard(path)
            with path.open("ab") as file:
                file.write(content)
            self._whole.add(path)

    def _pieces(self, path: Path, records: Sequence[bytes]) -> Iterator[bytes]:
        """Pieces that fit; whoever asks for the next has written the last, so it may rotate."""
        size = path.stat().st_size if path.exists() else 0
        piece: list[bytes] = []
        for record in records:
            if size and size + len(record) > self._half:
                if piece:
                    yield b"".join(piece)
                path.replace(older(path))
                size, piece = 0, []
            piece.append(record)
            size += len(record)
        yield b"".join(piece)

    def _ends_whole(self, path: Path) -> bool:
        """A crash or a full disk may have left half a line."""
        if path in self._whole or not path.exists():
            return True
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 1))
            return file.read() in {b"", b"\n"}

    def _make_room(self, path: Path) -> None:
        """For a new stream: those that were written to longest ago go."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = _streams(path.parent.parent)
        paths.sort(key=lambda each: each.stat().st_mtime_ns)
        for oldest in paths[: max(0, len(paths) - self._streams + 1)]:
            oldest.unlink(missing_ok=True)
            older(oldest).unlink(missing_ok=True)
            self._whole.discard(oldest)

    def _open(self, service: ServiceId, prefix: str, follower: "_Follower | None") -> History:
        """The files of the matching streams as they are now; what comes later is news."""
        directory = self._root / _checked(service)
        history = History()
        for path in _streams(directory):
            stream = path.relative_to(directory).as_posix().removesuffix(".log")
            if stream.startswith(prefix):
                history.add(stream, (older(path), path))
        if follower is not None and not follower.gone:
            self._followers.setdefault(service, []).append(follower)
        return history

    def _forget(self, service: ServiceId) -> None:
        directory = self._root / _checked(service)
        shutil.rmtree(directory, ignore_errors=True)
        self._whole = {path for path in self._whole if directory not in path.parents}

    def _path(self, service: ServiceId, stream: str) -> Path:
        kind, _, name = stream.partition("/")
        return self._root / _checked(service) / _checked(kind) / f"{_checked(name)}.log"


class _Follower:
    """Takes news from the thread to a reader in its loop; made inside that loop."""

    def __init__(self, selected: Selection) -> None:
        self.gone = False
        self._loop = asyncio.get_running_loop()
        self._selected = selected
        self._lines: deque[LogLine] = deque()
        self._skipped = 0
        self._news = asyncio.Event()

    def announce(self, lines: Sequence[LogLine]) -> None:
        """In the thread."""
        chosen = [line for line in lines if self._selected(line)]
        if chosen and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._add, chosen)

    async def next(self) -> LogLine:
        while not self._lines:
            self._news.clear()
            await self._news.wait()
        line = self._lines.popleft()
        if not self._lines and self._skipped:
            text = f"[{self._skipped} lines left out: they came faster than they were read]"
            self._lines.append(LogLine(at=line.at, stream=line.stream, text=text))
            self._skipped = 0
        return line

    def _add(self, lines: Sequence[LogLine]) -> None:
        room = max(0, BACKLOG - len(self._lines))
        self._lines.extend(lines[:room])
        self._skipped += max(0, len(lines) - room)
        self._news.set()


def older(path: Path) -> Path:
    """Where the older half of a stream is."""
    return path.with_name(f"{path.name}.1")


def _streams(directory: Path) -> list[Path]:
    return [*directory.glob("*/*.log")]


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a log stream")
    return name
