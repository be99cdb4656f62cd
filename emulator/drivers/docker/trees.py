"""Source trees: from a tar stream into an instance's private /app.

A tree comes from a repository that anybody may have written: nothing of it may land outside.
Links are made after all files, so that no file is ever written through one.
"""

import asyncio
import os
import posixpath
import shutil
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Final

from emulator.decisions.source_tree import trail
from emulator.drivers.docker.concurrency import to_the_end
from emulator.model.errors import EngineError

MOUNT: Final = "/app"
# Bytes; a larger tree waits in a file beside its directory: /tmp may be memory, too.
_IN_MEMORY: Final = 16 * 1024 * 1024
_AT_ONCE: Final = 1024 * 1024
_PLAIN, _EXECUTABLE, _DIRECTORY = 0o644, 0o755, 0o755

Links = Sequence[tuple[str, str]]
Entry = tuple[tarfile.TarInfo, IO[bytes] | None]


async def lay_tree(archive: AsyncIterator[bytes], links: Links, directory: Path) -> None:
    """Make a directory hold the tree and the links (path, absolute target in the image) alone."""
    with SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(directory.parent)) as spool:
        await _collect(archive, spool)
        await to_the_end(asyncio.to_thread(_unpack, spool, links, directory))


async def change_tree(
    archive: AsyncIterator[bytes], removed: Sequence[str], directory: Path
) -> None:
    """The same for a directory that holds another tree and nothing else, if between the two only
    plain files come, go or change: `archive` has those that come or change.
    """
    with SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(directory.parent)) as spool:
        await _collect(archive, spool)
        await to_the_end(asyncio.to_thread(_change, spool, removed, directory))


async def pack_tree(archive: AsyncIterator[bytes], links: Links) -> AsyncGenerator[bytes, None]:
    """The same as a tar stream for a container's root, for engines that cannot mount."""
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as packed:
        with SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
            await _collect(archive, spool)
            await to_the_end(asyncio.to_thread(_pack, spool, links, packed))
        while chunk := await asyncio.to_thread(packed.read, _AT_ONCE):
            yield chunk


def empty_directory(directory: Path) -> None:
    """Keep the directory itself, it may be mounted; raises PermissionError for root's files."""
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                Path(entry.path).unlink()


async def _collect(archive: AsyncIterator[bytes], spool: IO[bytes]) -> None:
    """Small trees never leave memory; larger ones are written in a thread."""
    pending = bytearray()
    async for chunk in archive:
        pending += chunk
        if len(pending) >= _AT_ONCE:
            await asyncio.to_thread(spool.write, bytes(pending))
            pending.clear()
    await asyncio.to_thread(spool.write, bytes(pending))
    await asyncio.to_thread(spool.seek, 0)


def _unpack(spool: IO[bytes], links: Links, directory: Path) -> None:
    try:
        empty_directory(directory)
        _write_all(spool, links, directory)
    except (OSError, tarfile.TarError) as error:
        raise EngineError(f"the source tree cannot be laid out: {error}") from error


def _change(spool: IO[bytes], removed: Sequence[str], directory: Path) -> None:
    """What goes is gone first: a directory may become a file, and a file a directory."""
    try:
        for name in removed:
            path = directory / _safe(name)
            path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                for parent in path.relative_to(directory).parents[:-1]:
                    (directory / parent).rmdir()
        if spool.read(1):
            spool.seek(0)
            _write_all(spool, (), directory)
    except (OSError, tarfile.TarError) as error:
        raise EngineError(f"the source tree cannot be changed: {error}") from error


def _write_all(spool: IO[bytes], links: Links, directory: Path) -> None:
    made = {directory}
    for entry, content in _entries(spool, links):
        _write(entry, content, directory / entry.name, made)


def _pack(spool: IO[bytes], links: Links, packed: IO[bytes]) -> None:
    root = MOUNT.lstrip("/")
    with tarfile.open(fileobj=packed, mode="w") as result:
        result.addfile(_entry(root, tarfile.DIRTYPE, _DIRECTORY))
        for entry, content in _entries(spool, links):
            entry.name = f"{root}/{entry.name}"
            result.addfile(entry, content)
    packed.seek(0)


def _entries(spool: IO[bytes], links: Links) -> Iterator[Entry]:
    """What is allowed, with git's two modes; the tree's own links, then the image's, which win."""
    pending: dict[str, str] = {}
    with tarfile.open(fileobj=spool, mode="r:") as tar:
        for entry in tar:
            if entry.issym():
                pending[_safe(entry.name)] = entry.linkname
            else:
                yield _plain(tar, entry)
    for path, target in pending.items():
        if trail(path, pending) is None:
            raise EngineError(f"{path} is a link to {target}, which leaves the source tree")
    for path, target in (*pending.items(), *links):
        link = _entry(_safe(path), tarfile.SYMTYPE, 0o777)
        link.linkname = target
        yield link, None


def _plain(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Entry:
    name = _safe(entry.name)
    if entry.isdir():
        return _entry(name, tarfile.DIRTYPE, _DIRECTORY), None
    if not entry.isreg():
        raise EngineError(f"{entry.name} is neither a file, a directory nor a symbolic link")
    file = _entry(name, tarfile.REGTYPE, _EXECUTABLE if entry.mode & 0o100 else _PLAIN)
    file.size, file.mtime = entry.size, entry.mtime
    return file, tar.extractfile(entry)


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry


def _safe(name: str) -> str:
    """A path that stays in the tree."""
    path = posixpath.normpath(name)
    if path == ".." or path.startswith(("/", "../")):
        raise EngineError(f"{name} leaves the source tree")
    return path


def _write(entry: tarfile.TarInfo, content: IO[bytes] | None, path: Path, made: set[Path]) -> None:
    if entry.isdir():
        _make_directory(path, made)
        return
    _make_directory(path.parent, made)
    if content is None:
        _make_link(path, entry.linkname)
        return
    with path.open("wb") as file:
        shutil.copyfileobj(content, file)
    path.chmod(entry.mode)


def _make_directory(path: Path, made: set[Path]) -> None:
    """Readable for any user that the image may run as, whatever this process's umask."""
    if path in made:
        return
    _make_directory(path.parent, made)
    path.mkdir(exist_ok=True)
    path.chmod(_DIRECTORY)
    made.add(path)


def _make_link(path: Path, target: str) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
