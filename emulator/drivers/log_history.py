"""What a log stream's file holds, and reading many of them as one, in order of time."""

import asyncio
import heapq
import io
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from emulator.model.identifiers import Epoch
from emulator.ports import LogLine

LONGEST_LINE = 262_144  # bytes, as in CloudWatch Logs
CUT = b" [line cut]"
BATCH = 500  # lines that are read at once
SMALL = 65_536  # bytes: such a file is read at once, so that few need to stay open
UNKNOWN = Epoch(0.0)


@dataclass(frozen=True, slots=True)
class _Part:
    """A file up to the `size` that it had."""

    file: BinaryIO
    size: int


class History:
    """Streams as they were when they were added. Close it."""

    def __init__(self) -> None:
        self._streams: list[tuple[str, list[_Part]]] = []

    def add(self, stream: str, paths: Iterable[Path]) -> None:
        """The files of one stream, oldest first; a missing one is empty."""
        self._streams.append((stream, [_open(path) for path in paths if path.exists()]))

    def close(self) -> None:
        for _, parts in self._streams:
            for part in parts:
                part.file.close()

    async def lines(self, selected: Callable[[LogLine], bool]) -> AsyncIterator[LogLine]:
        """Those selected, of all streams, in order of time."""
        merged = heapq.merge(*(_lines(*each) for each in self._streams), key=lambda line: line.at)
        chosen = filter(selected, merged)
        while batch := await asyncio.to_thread(lambda: [*islice(chosen, BATCH)]):
            for line in batch:
                yield line


def encoded(line: LogLine) -> Iterator[bytes]:
    """Its records; a text of several lines makes several. What is not Unicode is spelled out."""
    for text in line.text.split("\n"):
        content = text.encode("utf-8", "backslashreplace")
        if len(content) > LONGEST_LINE:
            content = content[:LONGEST_LINE] + CUT
        yield b"%s %s\n" % (repr(float(line.at)).encode(), content)


def decoded(stream: str, record: bytes, fallback: Epoch = UNKNOWN) -> LogLine:
    """The line of a record without its end; `fallback` is the time of one that was torn."""
    head, _, content = record.partition(b" ")
    try:
        at = Epoch(float(head))
    except ValueError:
        at, content = fallback, record
    return LogLine(at=at, stream=stream, text=content.decode("utf-8", "replace"))


def tail_of(paths: Iterable[Path], count: int) -> tuple[str, ...]:
    """The last lines of a stream's files, which come oldest first."""
    records: list[bytes] = []
    for path in reversed([*paths]):
        if len(records) < count and path.exists():
            content = path.read_bytes().removesuffix(b"\n")
            records = [*content.split(b"\n"), *records] if content else records
    return tuple(decoded("", record).text for record in records[max(0, len(records) - count) :])


def _open(path: Path) -> _Part:
    size = path.stat().st_size
    if size <= SMALL:
        return _Part(io.BytesIO(path.read_bytes()), size)
    return _Part(path.open("rb"), size)


def _lines(stream: str, parts: Iterable[_Part]) -> Iterator[LogLine]:
    at = UNKNOWN
    for part in parts:
        left = part.size
        while left > 0 and (record := part.file.readline(left)):
            left -= len(record)
            line = decoded(stream, record.removesuffix(b"\n"), at)
            at = line.at
            yield line
