"""What is saved and not committed, as a git tree, without a trace in the user's repository.

The index and the new objects are ours, in a directory beside the empty repository that everything
else is read through; of the user's repository only HEAD is read, and its objects are borrowed (git
renews the date of one that it would have made again: its own care that no clean-up takes it), and
its index is asked for what was added although it is ignored (`git add -f`). So a
working tree is deployed by its id like any commit's, and the same content has the same id.

Only what `git add --all` would take is in it: what is ignored is not, and neither is what editors
leave beside a file while it is open.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from emulator.drivers.process import ProcessError, run
from emulator.drivers.watch import Place, Sight, Watcher
from emulator.model.errors import RepositoryError
from emulator.model.identifiers import Epoch

PATIENCE = 60.0  # seconds for one question to git
SETTLE = 0.01  # seconds: what an editor does to save one file is one change
SHA1_DIGITS = 40
IGNORE = ".gitignore"
DROPPINGS = ("*.sw[a-p]", "*~", ".#*", "\\#*#", "4913", ".goutputstream-*", "*___jb_???___")
SAME_AS_COMMITTED = (
    *("-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "core.attributesFile=/dev/null"),
    *("-c", "core.safecrlf=false", "-c", "advice.addEmbeddedRepo=false"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A working tree: its root, git's directory of it (a worktree has its own), and that of its
    repository; where the empty repositories are, and how git is run.
    """

    root: Path
    directory: Path
    repository: Path
    empty: Path
    environment: Mapping[str, str]
    safe: Sequence[str]

    @property
    def own(self) -> Path:
        return own_directory(self.empty, self.repository)

    @property
    def index(self) -> Path:
        return self.own / f"{digest(self.root)}.index"

    @property
    def exclude(self) -> Path:
        return self.own / f"{digest(self.root)}.exclude"


def find(path: str) -> tuple[Path, Path] | None:
    """Root and git directory of the working tree that `path` is in; None for a bare repository."""
    here = Path(path).absolute()
    for root in (here, *here.parents):
        directory = root / ".git"
        if directory.is_dir():
            return root, directory
        if directory.is_file():
            text = directory.read_text(errors="surrogateescape").strip()
            return root, root / text.removeprefix("gitdir:").strip()
    return None


def own_directory(empty: Path, repository: Path) -> Path:
    """For what is ours about a repository (by git's directory of it)."""
    return empty / f"work-{digest(repository)}"


def digest(path: Path) -> str:
    """A directory's name for what is ours about it."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def alternate(objects: Path) -> str:
    """A directory of objects as git's list of them takes it, whatever its name holds."""
    text = str(objects).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


@dataclass(slots=True)
class WorkingTree:
    """One of them. Raises RepositoryError."""

    origin: Origin
    _head: str | None = None
    _form: str = "sha1"
    _forced: tuple[str, ...] = ()
    _asked: tuple[int, int] = (0, 0)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def snapshot(self) -> str:
        """The id of its tree, as it would be committed now."""
        async with self._lock:
            await self._prepare()
            await self._git("add", "--all")
            return (await self._git("write-tree")).decode().strip()

    async def saves(self, watcher: Watcher) -> AsyncGenerator[Epoch]:
        """Yields at first, and then the moment of each change of what is not ignored."""
        looks = _Looks(self)
        async with aclosing(watcher.follow(str(self.origin.root), looks.look, SETTLE)) as moments:
            async for moment in moments:
                yield moment

    async def ignored(self) -> frozenset[str]:
        """Paths of directories and files that git ignores, the uppermost only."""
        async with self._lock:
            await self._prepare()
            question = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard")
            answer = await self._git(*question, "--directory")
        return frozenset(os.fsdecode(path).rstrip("/") for path in answer.split(b"\0") if path)

    async def _prepare(self) -> None:
        """An index of ours that knows what is committed: that is never ignored."""
        head = await self._committed()
        await asyncio.to_thread(self._make_directories)
        forced = await self._added_by_force()
        if (head, forced) == (self._head, self._forced):
            return
        if self._head is None or forced != self._forced:
            self._head = None
            await asyncio.to_thread(self.origin.index.unlink, missing_ok=True)
        if head:
            merge = ("-m",) if self._head else ()  # keeps what is known of unchanged files
            self._head, self._form = None, "sha1" if len(head) <= SHA1_DIGITS else "sha256"
            await self._git("read-tree", *merge, head)
        if forced:
            named = ("--pathspec-from-file=-", "--pathspec-file-nul")
            data = b"\0".join(map(os.fsencode, forced))
            await self._git("add", "--force", "--ignore-errors", *named, data=data)
        self._head, self._forced = head, forced

    async def _committed(self) -> str:
        """The tree of HEAD, "" where nothing is committed yet."""
        environment = {**self.origin.environment, "GIT_DIR": str(self.origin.directory)}
        argv = ("git", *self.origin.safe, "rev-parse", "--quiet", "--verify", "HEAD^{tree}")
        return (await self._answer(argv, environment, quietly=True)).decode().strip()

    async def _added_by_force(self) -> tuple[str, ...]:
        """What the user's own index has although it is ignored; asked when that has changed."""
        index = self.origin.directory / "index"
        seen = await asyncio.to_thread(_stamp, index)
        if seen == self._asked:
            return self._forced
        environment = {**self.origin.environment, "GIT_DIR": str(self.origin.directory)}
        question = ("ls-files", "-z", "--cached", "--ignored", "--exclude-standard")
        argv = ("git", *self.origin.safe, *question)
        answer = await self._answer(argv, environment, quietly=True)
        self._asked = seen
        paths = [os.fsdecode(path) for path in answer.split(b"\0") if path]
        return await asyncio.to_thread(_those_there, self.origin.root, paths)

    def _make_directories(self) -> None:
        origin = self.origin
        (origin.own / "objects").mkdir(parents=True, exist_ok=True)
        origin.index.with_suffix(".index.lock").unlink(missing_ok=True)  # of one that was killed
        excluded = [*DROPPINGS]
        for file in (origin.repository / "info" / "exclude", self._users_own()):
            with suppress(OSError):
                excluded.append(file.read_text(errors="surrogateescape"))
        origin.exclude.write_text("\n".join(excluded), errors="surrogateescape")

    def _users_own(self) -> Path:
        return Path(self.origin.environment.get("HOME", "/nonexistent"), ".config/git/ignore")

    async def _git(self, *arguments: str, data: bytes | None = None) -> bytes:
        origin = self.origin
        environment = {
            **origin.environment,
            "GIT_DIR": str(origin.empty / self._form),
            "GIT_WORK_TREE": str(origin.root),
            "GIT_INDEX_FILE": str(origin.index),
            "GIT_OBJECT_DIRECTORY": str(origin.own / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternate(origin.repository / "objects"),
        }
        exclude = ("-c", f"core.excludesFile={origin.exclude}")
        argv = ("git", *origin.safe, *SAME_AS_COMMITTED, *exclude, *arguments)
        return await self._answer(argv, environment, data=data)

    async def _answer(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        data: bytes | None = None,
        quietly: bool = False,
    ) -> bytes:
        root, limit = str(self.origin.root), PATIENCE
        try:
            finished = await run(
                *argv, input=data, environment=environment, cwd=root, timeout=limit
            )
        except ProcessError as error:
            raise RepositoryError(f"git cannot read the files of {root}: {error}") from error
        if finished.code and not quietly:
            complaint = finished.complaint.splitlines() or ["git failed"]
            raise RepositoryError(f"git cannot read the files of {root}: {complaint[-1]}")
        return finished.out


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """What there is that is not ignored; `fresh` are directories that nobody has judged yet."""

    directories: frozenset[str]
    fresh: bool
    files: int
    ignores: int


class _Looks:
    """Where to watch: the root, and all of each directory in it that is not ignored (an observer
    each, of which there may not be many). Git is only asked when there are new directories, or
    other rules.
    """

    def __init__(self, tree: WorkingTree) -> None:
        self._tree = tree
        self._root = str(tree.origin.root)
        self._ignored: frozenset[str] = frozenset()
        self._known: frozenset[str] = frozenset()
        self._ignores = 0

    async def look(self, _: str) -> Sight:
        """Never fails: what cannot be seen is not there."""
        seen = await asyncio.to_thread(self._walk, self._known)
        if seen.fresh or seen.ignores != self._ignores:
            with suppress(RepositoryError):
                self._ignored = await self._tree.ignored()
            seen = await asyncio.to_thread(self._walk, None)
        self._known, self._ignores = seen.directories, seen.ignores
        watched = sorted(d for d in seen.directories if "/" not in d)
        places = await asyncio.to_thread(lambda: tuple(self._places(watched)))
        return Sight(places, seen.files)

    def _places(self, directories: Sequence[str]) -> Iterator[Place]:
        for directory in directories:
            with suppress(OSError):
                path = Path(self._root, directory)
                seen = path.stat()
                apart = {f"{self._root}/{p}" for p in self._ignored if _below(p, directory)}
                identity = (seen.st_dev, seen.st_ino)
                yield Place(str(path), identity, bool(directory), apart=frozenset(apart))

    def _walk(self, known: Collection[str] | None) -> _Walk:
        directories, files, ignores, fresh = {""}, [], [], False
        pending = [""]
        while pending:
            for path, entry in self._entries(pending.pop()):
                if entry.is_dir(follow_symlinks=False):
                    if known is not None and path not in known:
                        fresh = True
                        continue
                    directories.add(path)
                    pending.append(path)
                else:
                    seen = _fingerprint(path, entry)
                    files.append(seen)
                    ignores += [seen] if entry.name == IGNORE else []
        return _Walk(
            directories=frozenset(directories),
            fresh=fresh or known == frozenset(),
            files=hash(tuple(sorted(files))),
            ignores=hash(tuple(sorted(ignores))),
        )

    def _entries(self, directory: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        with suppress(OSError), os.scandir(Path(self._root, directory)) as entries:
            for entry in entries:
                path = f"{directory}/{entry.name}" if directory else entry.name
                if entry.name != ".git" and path not in self._ignored:
                    yield path, entry


def _those_there(root: Path, paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(path for path in paths if os.path.lexists(root / path)))


def _stamp(file: Path) -> tuple[int, int]:
    with suppress(OSError):
        seen = file.stat()
        return seen.st_mtime_ns, seen.st_size
    return 0, 0


def _below(path: str, directory: str) -> bool:
    """The root is watched by itself: what is in its directories is no concern of it."""
    return path.startswith(f"{directory}/") if directory else "/" not in path


def _fingerprint(path: str, entry: os.DirEntry[str]) -> tuple[str, int, int, int]:
    with suppress(OSError):
        seen = entry.stat(follow_symlinks=False)
        return path, seen.st_mtime_ns, seen.st_size, seen.st_ino
    return path, 0, 0, 0
