"""Log streams as files: `logs/<service>/<stream>.log`, lines of `<epoch> <text>`.

Bounded: a stream keeps two halves (`.log` and the older `.log.1`), a service a number of
streams. All writing, and every look at which files there are, happens in one thread: a follower
that registers there sees each line exactly once, in the history or as news.
"""

import asyncio
import heapq
import itertools
import logging
import os
import re
import shutil
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from emulator.model.identifiers import Epoch, ServiceId
from emulator.ports import LogLine

STREAMS = 200  # per service
LONGEST_LINE = 262_144  # bytes, as in CloudWatch Logs
BACKLOG = 10_000  # lines that a slow follower may be behind
BATCH = 500  # lines read at once
CUT = b" [line cut]"
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
        self._whole: set[Path] = set()  # files that end with a whole line
        self._followers: dict[ServiceId, list[_Follower]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="logs")

    def close(self) -> None:
        """What was asked for before is still written."""
        self._thread.shutdown(wait=False)

    async def write(self, service: ServiceId, lines: Sequence[LogLine]) -> None:
        if lines:
            split = [part for line in lines for part in _split(line)]
            await self._run(lambda: self._write(service, split))

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

        follower = _Follower(asyncio.get_running_loop(), selected) if follow else None
        try:
            files = await self._run(lambda: self._open(service, prefix, follower))
            async for line in _history(files, selected):
                yield line
            while follower is not None:
                yield await follower.next()
        finally:
            if follower is not None:
                self._unregister(service, follower)

    async def tail(self, service: ServiceId, stream: str, count: int) -> tuple[str, ...]:
        files = await self._run(lambda: self._open(service, stream, None))
        lines = deque[str](maxlen=count)
        async for line in _history([file for file in files if file.stream == stream], _every):
            lines.append(line.text)
        return tuple(lines)

    async def forget(self, service: ServiceId) -> None:
        await self._run(lambda: self._forget(service))

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _unregister(self, service: ServiceId, follower: "_Follower") -> None:
        """Not in the thread: a cancelled reader may not wait for it."""
        followers = self._followers.get(service, [])
        if follower in followers:
            followers.remove(follower)

    # What follows runs in the thread.

    def _write(self, service: ServiceId, lines: Sequence[LogLine]) -> None:
        by_stream: dict[str, list[LogLine]] = {}
        for line in lines:
            by_stream.setdefault(line.stream, []).append(line)
        for stream, written in by_stream.items():
            path = self._path(service, stream)
            try:
                self._append(path, [_record(line, self._half) for line in written])
            except OSError as error:
                _logger.warning("lost %d log lines of %s: %s", len(written), path, error.strerror)
        for follower in tuple(self._followers.get(service, ())):
            follower.announce(lines)

    def _append(self, path: Path, records: Sequence[bytes]) -> None:
        if not path.exists():
            self._make_room(path)
        for chunk in self._halves(path, records):
            content = chunk if self._ends_whole(path) else b"\n" + chunk
            self._whole.discard(path)
            with path.open("ab") as file:
                file.write(content)
            self._whole.add(path)

    def _halves(self, path: Path, records: Sequence[bytes]) -> Iterator[bytes]:
        """The records in pieces that fit; between two of them the files have been rotated."""
        size = path.stat().st_size if path.exists() else 0
        piece: list[bytes] = []
        for record in records:
            if size and size + len(record) > self._half:
                if piece:
                    yield b"".join(piece)
                path.replace(_older(path))
                size, piece = 0, []
            piece.append(record)
            size += len(record)
        yield b"".join(piece)

    def _ends_whole(self, path: Path) -> bool:
        """A crash or a full disk may have left half a line."""
        if path in self._whole or not path.exists() or not path.stat().st_size:
            return True
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"

    def _make_room(self, path: Path) -> None:
        """For a new stream; the ones written to longest ago go."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = self._paths(path.parent.parent)
        if len(paths) < self._streams:
            return
        paths.sort(key=lambda each: each.stat().st_mtime_ns)
        for oldest in paths[: len(paths) - self._streams + 1]:
            oldest.unlink(missing_ok=True)
            _older(oldest).unlink(missing_ok=True)
            self._whole.discard(oldest)

    def _open(
        self, service: ServiceId, prefix: str, follower: "_Follower | None"
    ) -> "list[_File]":
        """Every file of the matching streams as it is now."""
        directory = self._root / _checked(service)
        if follower is not None:
            self._followers.setdefault(service, []).append(follower)
        with ExitStack() as stack:
            files = []
            for path in self._paths(directory):
                stream = path.relative_to(directory).as_posix().removesuffix(".log")
                if stream.startswith(prefix):
                    files.append(stack.enter_context(_File.open(stream, path)))
            stack.pop_all()
        return files

    def _paths(self, directory: Path) -> list[Path]:
        return [*directory.glob("*/*.log")]

    def _forget(self, service: ServiceId) -> None:
        directory = self._root / _checked(service)
        shutil.rmtree(directory, ignore_errors=True)
        self._whole = {path for path in self._whole if directory not in path.parents}

    def _path(self, service: ServiceId, stream: str) -> Path:
        kind, _, name = stream.partition("/")
        return self._root / _checked(service) / _checked(kind) / f"{_checked(name)}.log"
