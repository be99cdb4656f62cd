"""Why a deployment starts before `git commit` has returned: references are watched, not polled.

Only what moves when a branch moves is watched (never the index or the objects), by one observer
for all repositories. A slow look at the same files is the safety net: for file systems that tell
nothing, for a machine whose watches are used up, for a repository that goes away and returns.
"""

import asyncio
import logging
import os
import threading
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from emulator.model.identifiers import Epoch
from emulator.ports import Clock

EVERY = 5.0  # seconds between two looks where events come as well
ALONE = 1.0  # where none come
SETTLE = 0.003  # one commit moves several files: they are told as one change
MOST_DIRECTORIES = 512  # of nested branch names: a watch each
MOST_REFERENCES = 10_000  # looked at

LOCK = ".lock"  # git writes what comes next there, and renames it
TOP = frozenset({"HEAD", "packed-refs", "refs", "reftable"})
HEADS = frozenset({"heads"})
TABLES = frozenset({"tables.list"})
KINDS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]

# The observer complains, needlessly, when several nested directories are made at once.
warnings.filterwarnings("ignore", "Callback with id .* already exists", RuntimeWarning)

logger = logging.getLogger(__name__)


def common_directory(path: str) -> Path | None:
    """The git directory that holds objects and branches for `path`: a repository, a worktree,
    a bare repository or a directory inside one. None if there is none.
    """
    here = Path(path).absolute()
    if not here.is_dir():
        return None
    for directory in (here, *here.parents):
        for candidate in (directory / ".git", directory):
            with suppress(OSError):
                if found := _followed(candidate):
                    return found
    return None


def _followed(candidate: Path) -> Path | None:
    """A git directory as it is, or by way of a `gitdir:` file or of a worktree's `commondir`."""
    if candidate.is_file():
        candidate = candidate.parent / _first_line(candidate).removeprefix("gitdir:").strip()
    if not os.path.lexists(candidate / "HEAD"):
        return None
    with suppress(FileNotFoundError):
        candidate /= _first_line(candidate / "commondir")
    if not ((candidate / "objects").is_dir() and (candidate / "refs").is_dir()):
        return None
    return Path(os.path.normpath(candidate))


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        return file.readline().strip()


@dataclass(frozen=True, slots=True)
class Place:
    """A directory to watch, by path and identity; `names` are those of interest, if not all,
    `apart` are paths below that are of none.
    """

    path: str
    identity: tuple[int, int]
    recursive: bool = False
    names: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()

    def matters(self, event: FileSystemEvent) -> bool:
        path = os.fsdecode(event.dest_path or event.src_path)
        if any(path == each or path.startswith(f"{each}/") for each in self.apart):
            return False
        name = Path(path).name
        return not name.endswith(LOCK) and (not self.names or name in self.names)


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look sees: where to watch, and a fingerprint of all references."""

    places: tuple[Place, ...] = ()
    references: int = 0

    @property
    def empty(self) -> bool:
        return not self.places


def look(path: str) -> Sight:
    """Costs a stat per loose reference, and never fails: what cannot be seen is not there."""
    with suppress(OSError):
        if directory := common_directory(path):
            return _look(directory)
    return Sight()


def _look(directory: Path) -> Sight:
    top = _place(directory, names=TOP)
    rest, references = _references(directory)
    files = (*references, directory / "HEAD", directory / "packed-refs")
    return Sight((top, rest), hash(tuple(map(_fingerprint, files))))


def _references(directory: Path) -> tuple[Place, tuple[Path, ...]]:
    reftable, heads = directory / "reftable", directory / "refs" / "heads"
    if reftable.is_dir():
        return _place(reftable, names=TABLES), (reftable / "tables.list",)
    if not heads.is_dir():
        return _place(heads.parent, names=HEADS), ()
    nested = sum(1 for _ in islice(os.walk(heads), MOST_DIRECTORIES + 1))
    files = tuple(islice(_files(heads), MOST_REFERENCES))
    return _place(heads, recursive=nested <= MOST_DIRECTORIES), files


def _files(directory: Path) -> Iterator[Path]:
    for root, _, names in os.walk(directory):
        yield from (Path(root, name) for name in names if not name.endswith(LOCK))


def _fingerprint(file: Path) -> tuple[str, int, int, int]:
    with suppress(FileNotFoundError):
        seen = file.stat()
        return str(file), seen.st_mtime_ns, seen.st_size, seen.st_ino
    return str(file), 0, 0, 0


def _place(path: Path, *, recursive: bool = False, names: frozenset[str] = frozenset()) -> Place:
    seen = path.stat()
    return Place(str(path), (seen.st_dev, seen.st_ino), recursive, names)


Look = Callable[[str], Awaitable[Sight]]


async def _look_aside(path: str) -> Sight:
    return await asyncio.to_thread(look, path)


class Watcher:
    """Tells of changes in any number of repositories; needs no closing but that of `watch`."""

    def __init__(self, clock: Clock, *, every: float = EVERY, alone: float = ALONE) -> None:
        self._clock = clock
        self._every = every
        self._alone = alone
        self._notifier = _Notifier()

    async def watch(self, path: str) -> AsyncGenerator[None]:
        """Yields at once, and after each change to the references of the repository at `path`;
        also when the repository goes away, and when it is back.
        """
        async with aclosing(self.follow(path, _look_aside, SETTLE)) as moments:
            async for _ in moments:
                yield

    async def follow(self, path: str, look: Look, settle: float) -> AsyncGenerator[Epoch]:
        """The same for whatever `look` sees: the moment at which each change was first heard of.
        What comes within `settle` seconds is one change.
        """
        changed = asyncio.Event()
        listener = _Listener(asyncio.get_running_loop(), changed)
        heard = self._clock.now()
        try:
            while True:
                sight = await look(path)
                told = await asyncio.to_thread(self._notifier.listen, listener, sight.places)
                yield heard
                every = self._every if told else self._alone
                looking = self._look_for_change(path, look, sight, changed, every)
                await self._change(changed, looking)
                heard = self._clock.now()
                await self._clock.sleep(settle)
                changed.clear()
        finally:
            await asyncio.to_thread(self._notifier.forget, listener)

    async def _change(self, changed: asyncio.Event, looking: Coroutine[None, None, None]) -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(looking)
            await changed.wait()
            task.cancel()

    async def _look_for_change(
        self, path: str, look: Look, sight: Sight, changed: asyncio.Event, every: float
    ) -> None:
        while not changed.is_set():
            await self._clock.sleep(every)
            if await look(path) != sight:
                changed.set()


@dataclass(slots=True, eq=False)
class _Listener:
    """Who wants to know; `gone` is guarded by the notifier's lock."""

    loop: asyncio.AbstractEventLoop
    changed: asyncio.Event
    places: tuple[Place, ...] = ()
    gone: bool = False

    def tell(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self.changed.set)


@dataclass(slots=True, eq=False)
class _Watched(FileSystemEventHandler):
    """One watched directory and everyone who listens there; called by the observer's thread."""

    place: Place
    listeners: set[_Listener] = field(default_factory=set)
    watch: ObservedWatch | None = None

    def on_any_event(self, event: FileSystemEvent) -> None:
        if self.place.matters(event):
            for listener in tuple(self.listeners):
                listener.tell()


class _Notifier:
    """The one observer: it lives while somebody listens. Its methods block: call them in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._observer: BaseObserver | None = None
        self._watched: dict[str, _Watched] = {}
        self._warned = False

    def listen(self, listener: _Listener, places: tuple[Place, ...]) -> bool:
        """Listen at these places and no others; False if not all of them can be watched."""
        with self._lock:
            if listener.gone:  # cancelled while this waited for a thread
                return False
            for place in listener.places:
                if place not in places:
                    self._leave(listener, place)
            listener.places = places
            try:
                for place in places:
                    self._enter(listener, place)
            except OSError as error:
                self._warn(error)
                return False
            return bool(places)

    def forget(self, listener: _Listener) -> None:
        with self._lock:
            listener.gone = True
            for place in listener.places:
                self._leave(listener, place)

    def _enter(self, listener: _Listener, place: Place) -> None:
        watched = self._watched.get(place.path)
        if watched is None or watched.place != place:  # new, or another directory of that name
            watched = self._schedule(place)
        watched.listeners.add(listener)

    def _leave(self, listener: _Listener, place: Place) -> None:
        watched = self._watched.get(place.path)
        if watched is not None:
            watched.listeners.discard(listener)
            if not watched.listeners:
                self._unschedule(watched)
        if not self._watched:
            self._stop()

    def _schedule(self, place: Place) -> _Watched:
        old = self._watched.get(place.path)
        if old is not None:
            self._unschedule(old)
        watched = _Watched(place, old.listeners if old else set())
        watched.watch = self._running().schedule(
            watched, place.path, recursive=place.recursive, event_filter=KINDS
        )
        self._watched[place.path] = watched
        return watched

    def _unschedule(self, watched: _Watched) -> None:
        del self._watched[watched.place.path]
        if self._observer is not None and watched.watch is not None:
            self._observer.unschedule(watched.watch)

    def _running(self) -> BaseObserver:
        if self._observer is None:
            observer = Observer()
            observer.start()
            self._observer = observer
        return self._observer

    def _stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def _warn(self, error: OSError) -> None:
        if not self._warned and not isinstance(error, FileNotFoundError | NotADirectoryError):
            self._warned = True
            logger.warning(
                "Repositories cannot be watched (%s): new commits are looked for every second."
                " On Linux, raise fs.inotify.max_user_watches and fs.inotify.max_user_instances.",
                error.strerror or error,
            )
