"""The context of a build as a tar stream: some members of ours, then a tree, never in memory."""

import asyncio
import io
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from enum import Enum, auto

from emulator.decisions.build_inputs import Input

DOCKERFILE = ".apprunner.Dockerfile"
IGNORE = ".dockerignore"
# The engine itself takes these two out of the context if they are ignored: `COPY . .` is clean.
_OURS_IGNORED = f"{DOCKERFILE}\n{IGNORE}\n".encode()
_BLOCK = 512
_EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME)
Keep = Callable[[str], bool]


def member(name: str, content: bytes) -> bytes:
    """A file in a tar stream, without the end of an archive."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % _BLOCK)


async def plain_files(archive: AsyncIterator[bytes]) -> Mapping[str, Input]:
    """Those of a small tar stream, by path; no directories and links."""
    content = b"".join([piece async for piece in archive])
    return await asyncio.to_thread(_plain_files, content) if content else {}


def _plain_files(content: bytes) -> Mapping[str, Input]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        files = ((entry, tar.extractfile(entry)) for entry in tar if entry.isreg())
        return {entry.name: Input(entry.mode, file.read()) for entry, file in files if file}


def end_of_archive() -> bytes:
    return bytes(2 * _BLOCK)


async def context(
    dockerfile: str,
    files: Iterable[tuple[str, bytes]] = (),
    tree: AsyncIterator[bytes] | None = None,
    keep: Keep | None = None,
) -> AsyncGenerator[bytes, None]:
    """`keep` says which members of the tree go into the context, by path; all without it."""
    ours = [(DOCKERFILE, dockerfile.encode()), (IGNORE, _OURS_IGNORED), *files]
    try:
        yield b"".join(member(name, content) for name, content in ours)
        if tree is None:
            yield end_of_archive()
            return
        chosen = TarFilter(keep) if keep else None
        async for chunk in tree:
            data = chosen.feed(chunk) if chosen else chunk
            if data:
                yield data
    finally:
        await close(tree)


async def close(source: AsyncIterator[bytes] | None) -> None:
    """End a stream early; one that is just being read ends with its reader."""
    if isinstance(source, AsyncGenerator):
        with suppress(RuntimeError):
            await source.aclose()


class _Reading(Enum):
    HEADER = auto()
    EXTENDED = auto()  # a long path for the member that follows
    PAYLOAD = auto()
    REST = auto()  # after the last member


class TarFilter:
    """Drops members from a tar stream as it passes; keeps at most a block and a long path."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._buffer = bytearray()
        self._reading = _Reading.HEADER
        self._left = 0  # bytes of payload still to come, padding included
        self._keeps = True
        self._held = b""  # extended headers whose member has not come yet
        self._path = ""

    def feed(self, chunk: bytes) -> bytes:
        """What of the stream so far may go on."""
        self._buffer += chunk
        out = bytearray()
        while self._step(out):
            pass
        return bytes(out)

    def _step(self, out: bytearray) -> bool:
        """Whether there is more to do with what is here."""
        match self._reading:
            case _Reading.HEADER:
                return self._header(out)
            case _Reading.EXTENDED:
                return self._extended()
            case _Reading.PAYLOAD:
                return self._payload(out)
            case _Reading.REST:
                out += self._take(len(self._buffer))
                return False

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _header(self, out: bytearray) -> bool:
        if len(self._buffer) < _BLOCK:
            return False
        if not any(self._buffer[:_BLOCK]):
            self._reading = _Reading.REST
            return True
        block = self._take(_BLOCK)
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        self._left = (info.size + _BLOCK - 1) // _BLOCK * _BLOCK
        if info.type in _EXTENDED:
            self._held += block
            self._reading = _Reading.EXTENDED
            return True
        self._member(info, block, out)
        return True

    def _member(self, info: tarfile.TarInfo, block: bytes, out: bytearray) -> None:
        """A file, a directory or a link; a global header belongs to no member."""
        path = self._path or info.name
        self._keeps = info.type == tarfile.XGLTYPE or self._keep(path)
        if self._keeps:
            out += self._held + block
        self._held, self._path = b"", ""
        self._reading = _Reading.PAYLOAD if self._left else _Reading.HEADER

    def _extended(self) -> bool:
        if len(self._buffer) < self._left:
            return False
        payload = self._take(self._left)
        self._held += payload
        self._path = _long_path(payload) or self._path
        self._reading = _Reading.HEADER
        return True

    def _payload(self, out: bytearray) -> bool:
        taken = self._take(min(self._left, len(self._buffer)))
        self._left -= len(taken)
        if self._keeps:
            out += taken
        if not self._left:
            self._reading = _Reading.HEADER
        return bool(taken)


def _long_path(payload: bytes) -> str:
    """From a pax header (`27 path=…`) or GNU's long name, which is nothing but the path."""
    at = 0
    while at < len(payload) and payload[at : at + 1].isdigit():
        length = int(payload[at : payload.index(b" ", at)])
        key, _, value = payload[at : at + length - 1].partition(b" ")[2].partition(b"=")
        if key == b"path":
            return value.decode(errors="surrogateescape")
        at += length
    return "" if at else payload.rstrip(b"\0").decode(errors="surrogateescape")
