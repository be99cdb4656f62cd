"""Local repositories by git's own command line, read-only and on our own terms.

A repository is someone else's: nothing is written into it, and nothing that is configured there
or on this machine (hooks, filters, attributes) may run or change what is deployed. Branches are
read from the repository itself, objects through an empty git directory of our own that only
borrows the repository's objects: what is exported there is what a fresh `git clone` would check
out, also the files that `.gitattributes` keeps out of archives.

Submodules that are on this machine are part of a tree: a tree of ours holds theirs in place of
git's link, so that all that goes by a tree's id (contexts, instances, keys) has them as well. Such
trees are kept with the state directory, as revisions name them.
"""

import asyncio
import atexit
import re
import shlex
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from os import R_OK, X_OK, access, fsdecode, fsencode
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from emulator.decisions.source_tree import LINK
from emulator.drivers import working_tree
from emulator.drivers.process import MissingProgramError, ProcessError, run, stream
from emulator.drivers.submodules import QUESTION, Declared, declared, places, resolved
from emulator.drivers.watch import Watcher, common_directory
from emulator.drivers.working_tree import Origin, WorkingTree
from emulator.model.errors import RepositoryError
from emulator.model.identifiers import Epoch
from emulator.model.source import Commit, Submodule, TreeFile

PATIENCE = 60.0  # seconds for one question to git
REMEMBERED = 8_000_000  # bytes, about, of immutable answers
LISTED = 10  # names in a message
MOST_FILES = 1_000_000  # of one tree
NESTED = 4  # submodules in submodules: git follows not many more links to objects
TREES = "trees-"  # what begins so is kept when the emulator ends

# Nothing of the user's or the system's configuration; no prompt, no network, no locks.
ALONE = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "LC_ALL": "C",
}
SAFE = (
    "--no-optional-locks",
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*"),
)
AS_A_CLONE = (
    *("-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "core.attributesFile=/dev/null"),
    *("-c", "tar.umask=0022"),
)
NOT_AN_ARCHIVE = "* -export-ignore -export-subst\n"
FORMATS = {
    "sha1": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
    "sha256": "[core]\n\trepositoryformatversion = 1\n\tbare = true\n"
    "[extensions]\n\tobjectFormat = sha256\n",
}
SHA1_DIGITS = 40
FIRST_COMMIT = "git add . && git commit -m 'First version'"

FORBIDDEN = "permission denied|insufficient permission|dubious ownership"
NO_OBJECT = (
    "not a valid object|not a tree object|single revision|bad object|bad file|unable to read"
    "|missing object|could not read"
)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Place:
    """A repository: the path it was named by, git's directory of it, and the empty ones of ours."""

    path: str
    directory: Path
    empty: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """A root with the submodules that are here; those that are not."""

    tree: str
    missing: tuple[Submodule, ...] = ()


class GitRepositories:
    """ports.Repository. A repository is named by an absolute path, a `file://` URL, or a URL that
    `repositories` maps to a local clone; of `environment`, PATH and HOME are passed on.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        repositories: Mapping[str, str],
        watcher: Watcher,
        *,
        scratch: Path | None = None,
    ) -> None:
        passed = {name: environment[name] for name in ("PATH", "HOME") if name in environment}
        self._environment = passed | ALONE
        self._repositories = {_plain(url): path for url, path in repositories.items()}
        self._watcher = watcher
        self._memory = _Memory(REMEMBERED)
        self._empty = _EmptyRepositories(scratch)
        self._working: dict[Path, WorkingTree] = {}

    async def resolve(self, repository: str, branch: str) -> Commit:
        place = await self._find(repository)
        wanted = f"refs/heads/{branch}"
        form = "--format=%(refname)%00%(objectname)%00%(tree)%00%(subject)"
        for line in await self._references(place, form, wanted):
            name, commit, tree, subject = line.split("\0", 3)
            if name == wanted:
                return self._remember(place, Commit(id=commit, subject=subject), tree)
        raise RepositoryError(await self._why_no_branch(place, branch))

    async def commit(self, repository: str, commit: str) -> Commit:
        """`commit` may be abbreviated."""
        place = await self._find(repository)
        if (known := self._memory.get(("commit", place.directory, commit), Commit)) is not None:
            return known
        question = f"{_checked(commit)}^{{commit}}\n".encode()
        answer = await self._git(place, "cat-file", "--batch", data=question)
        head, _, text = answer.partition(b"\n")
        match head.split():
            case [name, b"commit", _]:
                return Commit(id=name.decode(), subject=_subject(text))
            case _:
                raise RepositoryError(_no_object(place, commit))

    def _remember(self, place: _Place, commit: Commit, tree: str) -> Commit:
        """What is asked next, usually, and can never change."""
        self._memory.put(("commit", place.directory, commit.id), commit, len(commit.subject))
        self._memory.put(("tree", place.directory, commit.id, ""), tree, len(tree))
        return commit

    async def tree(self, repository: str, commit: str, directory: str) -> str:
        place, path = await self._find(repository), _inside(directory)
        root = (await self._whole(place, commit)).tree
        if not path:
            return root
        key = ("tree", place.directory, root, path)
        if (known := self._memory.get(key, str)) is None:
            known = await self._directory(place, commit, root, path)
            self._memory.put(key, known, len(known))
        return known

    async def submodules(self, repository: str, tree: str) -> tuple[Submodule, ...]:
        place = await self._find(repository)
        told = self._memory.get(("missing", place.directory, tree), tuple)
        return (await self._whole(place, tree)).missing if told is None else told

    async def files(self, repository: str, tree: str) -> tuple[TreeFile, ...]:
        """Submodules that are not here are among them: mode 160000, no content."""
        place = await self._find(repository)
        key = ("files", place.directory, tree)
        if (known := self._memory.get(key, tuple)) is None:
            known = await self._listing(place, tree)
            self._memory.put(key, known, 400 * len(known))
        return known

    async def _listing(self, place: _Place, tree: str) -> tuple[TreeFile, ...]:
        """As it comes: a few objects can name more files than there is memory for."""
        listing = ("ls-tree", "-rlz", "--full-tree", _checked(tree))
        found: list[TreeFile] = []
        rest = b""
        try:
            pieces = stream("git", *SAFE, *listing, environment=self._borrow(place, tree))
            async with aclosing(pieces):
                async for piece in pieces:
                    *lines, rest = (rest + piece).split(b"\0")
                    found += (_tree_file(fsdecode(line)) for line in lines)
                    if len(found) > MOST_FILES:
                        text = f"{place.path} has more than {MOST_FILES:,} files in tree {tree[:7]}"
                        raise RepositoryError(f"{text}: too many to deploy")
        except ProcessError as error:
            raise _failure(place, error, tree) from error
        return tuple(found)

    async def read(self, repository: str, blob: str) -> bytes:
        place = await self._find(repository)
        key = ("blob", place.directory, blob)
        if (known := self._memory.get(key, bytes)) is None:
            known = await self._objects(place, blob, "cat-file", "blob", blob)
            self._memory.put(key, known, len(known))
        return known

    async def read_all(self, repository: str, blobs: Sequence[str]) -> Mapping[str, bytes]:
        place = await self._find(repository)
        found = {b: self._memory.get(("blob", place.directory, b), bytes) for b in blobs}
        asked = [_checked(blob) for blob, known in found.items() if known is None]
        if asked:
            question = "".join(f"{blob}\n" for blob in asked).encode()
            arguments = ("cat-file", "--batch")
            answer = await _answer(place, self._borrow(place, asked[0]), arguments, data=question)
            for blob, content in zip(asked, _batch(place, asked, answer), strict=True):
                self._memory.put(("blob", place.directory, blob), content, len(content))
                found[blob] = content
        return {blob: content for blob, content in found.items() if content is not None}

    async def archive(
        self, repository: str, tree: str, paths: Sequence[str] = ()
    ) -> AsyncGenerator[bytes]:
        place = await self._find(repository)
        argv = ("git", *SAFE, *AS_A_CLONE, "archive", "--format=tar", _checked(tree), "--", *paths)
        try:
            async with aclosing(stream(*argv, environment=self._borrow(place, tree))) as pieces:
                async for piece in pieces:
                    yield piece
        except ProcessError as error:
            raise _failure(place, error, tree) from error

    async def watch(self, repository: str) -> AsyncGenerator[None]:
        async with aclosing(self._watcher.watch(self._path(repository))) as changes:
            async for _ in changes:
                yield

    async def snapshot(self, repository: str) -> str:
        tree = await self._working_tree(repository)
        saved = await tree.snapshot()
        place = await self._find(repository)
        return (await self._whole(place, saved, working=tree.origin.root)).tree

    async def saves(self, repository: str) -> AsyncGenerator[Epoch]:
        tree = await self._working_tree(repository)
        async with aclosing(tree.saves(self._watcher)) as moments:
            async for moment in moments:
                yield moment

    async def _working_tree(self, repository: str) -> WorkingTree:
        """One for each place, as they do not work on the same index at once."""
        place = await self._find(repository)
        found = await asyncio.to_thread(working_tree.find, place.path)
        if found is None:
            raise RepositoryError(f"{place.path} is a bare repository: it has no files to work on")
        root, directory = found
        known = self._working.get(root)
        if known is None or known.origin.empty != place.empty:
            origin = Origin(
                root=root,
                directory=directory,
                repository=place.directory,
                empty=place.empty,
                environment=self._environment,
                safe=SAFE,
            )
            known = self._working[root] = WorkingTree(origin)
        return known

    async def close(self) -> None:
        """Remove the empty repositories (the end of the process would, too)."""
        await asyncio.to_thread(self._empty.remove)

    def _path(self, repository: str) -> str:
        path = self._repositories.get(_plain(repository), repository)
        url = urlsplit(path)
        if url.scheme == "file" and url.netloc in {"", "localhost"}:
            path = unquote(url.path)
        if path.startswith("/"):
            return path
        raise RepositoryError(_not_local(repository))

    async def _find(self, repository: str) -> _Place:
        path = self._path(repository)
        place = await asyncio.to_thread(self._look, path)
        if place is None:
            raise RepositoryError(await asyncio.to_thread(_why_no_repository, path))
        return place

    def _look(self, path: str) -> _Place | None:
        directory = common_directory(path)
        return _Place(path, directory, self._empty.directory()) if directory else None

    async def _whole(
        self, place: _Place, name: str, *, working: Path | None = None, depth: int = 0
    ) -> "_Whole":
        """The root of a commit or a tree with its submodules in it; for a working tree, whose
        root is `working`, what is saved in those as well.
        """
        known = self._memory.get(("whole", place.directory, _checked(name)), _Whole)
        if known is not None and working is None:
            return known
        root, modules = await self._root(place, name)
        found = _Whole(tree=root)
        if modules and depth < NESTED:
            found = await self._with_submodules(place, root, modules, working, depth)
        self._memory.put(("missing", place.directory, found.tree), found.missing, 0)
        if not found.missing and working is None:
            for each in {name, found.tree}:
                self._memory.put(("whole", place.directory, each), found, len(each))
        return found

    async def _root(self, place: _Place, name: str) -> tuple[str, str]:
        """Its tree, and the blob of .gitmodules where there is one."""
        question = f"{name}^{{tree}}\n{name}:.gitmodules\n".encode()
        environment = self._borrow(place, name)
        answer = await _answer(
            place, environment, ("cat-file", "--batch-check"), name, data=question
        )
        root, modules = (line.split() for line in answer.splitlines())
        if root[1] != b"tree":  # let git say what is wrong
            plainly = ("rev-parse", "--verify", "--end-of-options", f"{name}^{{tree}}")
            return (await self._objects(place, name, *plainly)).decode().strip(), ""
        return root[0].decode(), modules[0].decode() if modules[1] == b"blob" else ""

    async def _with_submodules(
        self, place: _Place, root: str, modules: str, working: Path | None, depth: int
    ) -> "_Whole":
        said = await self._declared(place, modules)
        listing = ("ls-tree", "-z", "--full-tree", root, "--", *said)
        entries = map(_tree_entry, _split(await self._objects(place, root, *listing)))
        pinned = {entry.path: entry.id for entry in entries if entry.kind == "commit"}
        origin = await self._origin(place) if pinned else ""
        found: dict[str, str] = {}
        missing: list[Submodule] = []
        for path, commit in pinned.items():
            url = resolved(said[path].url, origin)
            mapped = self._repositories.get(_plain(url))
            likely = list(places(said[path], url, place.directory, mapped))
            saved = str(working / path) if working else ""
            whole = await self._submodule(place, commit, likely, saved, depth)
            if whole is None:
                missing.append(Submodule(path=path, commit=commit, url=url))
            else:
                found[path] = whole.tree
                inner = (replace(m, path=f"{path}/{m.path}") for m in whole.missing)
                missing += inner
        own = working_tree.own_directory(place.empty, place.directory)
        into = (own if working else _trees(place)) / "objects"
        tree = await self._put(place, root, found, into) if found else root
        return _Whole(tree=tree, missing=tuple(missing))

    async def _declared(self, place: _Place, modules: str) -> Mapping[str, Declared]:
        question = (
            "config",
            "-z",
            "--no-includes",
            "--blob",
            modules,
            "--get-regexp",
            QUESTION,
        )
        try:
            return declared(await self._objects(place, modules, *question))
        except RepositoryError:
            return {}  # it says nothing, or nothing that git understands

    async def _origin(self, place: _Place) -> str:
        question = ("config", "--default", "", "--get", "remote.origin.url")
        return fsdecode(await self._git(place, *question)).strip() or place.path

    async def _submodule(
        self, place: _Place, commit: str, likely: Sequence[str], saved: str, depth: int
    ) -> "_Whole | None":
        """The first of the places that has the commit; None if none has."""
        own = await asyncio.to_thread(common_directory, saved) if saved else None
        if own not in {None, place.directory}:
            inner = await self._find(saved)
            tree = await self.snapshot(saved)
            await asyncio.to_thread(_share, place, inner)
            return _Whole(tree=tree)
        for path in likely:
            there = await asyncio.to_thread(self._look, path)
            if there is None or there.directory == place.directory:
                continue
            with suppress(RepositoryError):
                whole = await self._whole(there, commit, depth=depth + 1)
                await asyncio.to_thread(_share, place, there)
                return whole
        return None

    async def _put(self, place: _Place, tree: str, found: Mapping[str, str], into: Path) -> str:
        """A tree with other trees (by path) in it, among our own objects in `into`."""
        inner: dict[str, dict[str, str]] = {}
        for path, new in found.items():
            head, _, rest = path.partition("/")
            inner.setdefault(head, {})[rest] = new
        listing = await self._objects(place, tree, "ls-tree", "-z", tree)
        lines: list[bytes] = []
        for line in filter(None, listing.split(b"\0")):
            entry = _tree_entry(fsdecode(line))
            put = inner.get(entry.path)
            if put is None:
                lines.append(line)
                continue
            new = put[""] if "" in put else await self._put(place, entry.id, put, into)
            lines.append(f"040000 tree {new}\t".encode() + fsencode(entry.path))
        environment = self._borrow(place, tree)
        theirs = environment["GIT_OBJECT_DIRECTORY"]
        environment["GIT_OBJECT_DIRECTORY"] = str(into)
        environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] += (
            f":{working_tree.alternate(Path(theirs))}"
        )
        data = b"".join(line + b"\0" for line in lines)
        answer = await _answer(place, environment, ("mktree", "-z", "--missing"), data=data)
        return answer.decode().strip()

    async def _directory(self, place: _Place, commit: str, root: str, path: str) -> str:
        listing = ("ls-tree", "-z", "--full-tree")
        answer = await self._objects(place, root, *listing, root, "--", path)
        for entry in map(_tree_entry, _split(answer)):
            if entry.kind == "tree":
                return entry.id
            if entry.mode == LINK:
                target = fsdecode(await self.read(place.path, entry.id))
                raise RepositoryError(_linked_directory(place, path, target))
            raise RepositoryError(_no_directory(place, path, entry.kind))
        names = await self._objects(place, root, *listing, "-d", "--name-only", root)
        raise RepositoryError(_missing_directory(place, commit, path, _split(names)))

    async def _references(self, place: _Place, *question: str) -> list[str]:
        answer = await self._git(place, "for-each-ref", *question)
        return fsdecode(answer).splitlines()

    async def _why_no_branch(self, place: _Place, branch: str) -> str:
        newest = ("--sort=-committerdate", "--format=%(refname)")
        names = await self._references(place, *newest, "refs/heads", "refs/remotes")
        return _no_branch(place, branch, names)

    async def _git(self, place: _Place, *arguments: str, data: bytes | None = None) -> bytes:
        """A question about the repository itself."""
        environment = self._environment | {"GIT_DIR": str(place.directory)}
        return await _answer(place, environment, arguments, data=data)

    async def _objects(self, place: _Place, about: str, *arguments: str) -> bytes:
        """A question about an object, asked in the empty repository."""
        return await _answer(place, self._borrow(place, _checked(about)), arguments, about)

    def _borrow(self, place: _Place, about: str) -> dict[str, str]:
        form = "sha1" if len(about) <= SHA1_DIGITS else "sha256"
        return self._environment | {
            "GIT_DIR": str(place.empty / form),
            "GIT_OBJECT_DIRECTORY": str(place.directory / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": ":".join(
                working_tree.alternate(own / "objects")
                for own in (
                    working_tree.own_directory(place.empty, place.directory),
                    _trees(place),
                )
            ),
        }


async def _answer(
    place: _Place,
    environment: Mapping[str, str],
    arguments: Sequence[str],
    about: str = "",
    *,
    data: bytes | None = None,
) -> bytes:
    argv = ("git", *SAFE, *arguments)
    try:
        finished = await run(*argv, input=data, environment=environment, timeout=PATIENCE)
    except ProcessError as error:
        raise _failure(place, error, about) from error
    if finished.code:
        failed = ProcessError("git failed", code=finished.code, err=finished.err)
        raise _failure(place, failed, about)
    return finished.out


class _EmptyRepositories:
    """One empty bare repository per object format, in `scratch` or a temporary directory, made
    when needed.

    Its own attributes outrank those in a tree: nothing is left out or substituted.
    """

    def __init__(self, scratch: Path | None) -> None:
        self._lock = threading.Lock()
        self._scratch = scratch
        self._root: Path | None = None

    def directory(self) -> Path:
        """Blocks; made again if something tidied the temporary directory away."""
        with self._lock:
            if self._root is None or not all(
                (self._root / form / "HEAD").exists() for form in FORMATS
            ):
                self._root = self._new_root()
                for form, configuration in FORMATS.items():
                    _make_empty(self._root / form, configuration)
            return self._root

    def _new_root(self) -> Path:
        """What a killed process left in `scratch` is made anew."""
        if self._scratch is not None:
            _tidy(self._scratch)
            return self._scratch
        root = Path(tempfile.mkdtemp(prefix="apprunner-git-"))
        atexit.register(shutil.rmtree, root, ignore_errors=True)
        return root

    def remove(self) -> None:
        with self._lock:
            if self._root is not None and self._root == self._scratch:
                _tidy(self._root)
            elif self._root is not None:
                shutil.rmtree(self._root, ignore_errors=True)
            self._root = None


def _tidy(scratch: Path) -> None:
    """All but the trees that revisions name, and whatever cannot be removed."""
    with suppress(FileNotFoundError):
        for path in scratch.iterdir():
            if not path.name.startswith(TREES):
                shutil.rmtree(path, ignore_errors=True)


def _trees(place: _Place) -> Path:
    """For the trees of ours that hold submodules."""
    return place.empty / f"{TREES}{working_tree.digest(place.directory)}"


def _share(place: _Place, inner: _Place) -> None:
    """Let trees of ours in one repository hold objects of another: git's own way."""
    info = _trees(place) / "objects" / "info"
    info.mkdir(parents=True, exist_ok=True)
    file = info / "alternates"
    own = working_tree.own_directory(inner.empty, inner.directory)
    known = file.read_text(errors="surrogateescape").splitlines() if file.exists() else []
    for directory in (inner.directory, own, _trees(inner)):
        line = working_tree.alternate(directory / "objects")
        known += [] if line in known else [line]
    fresh = file.with_suffix(".new")
    fresh.write_text("".join(f"{line}\n" for line in known), errors="surrogateescape")
    fresh.replace(file)


def _make_empty(directory: Path, configuration: str) -> None:
    for name in ("objects", "refs", "info"):
        (directory / name).mkdir(parents=True)
    (directory / "config").write_text(configuration)
    (directory / "info" / "attributes").write_text(NOT_AN_ARCHIVE)
    (directory / "HEAD").write_text("ref: refs/heads/none\n")


class _Memory:
    """Answers that cannot change, the least recently asked for forgotten first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._answers: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()

    def get(self, key: Hashable, kind: type[Answer]) -> Answer | None:
        answer, _ = self._answers.get(key, (None, 0))
        if not isinstance(answer, kind):
            return None
        self._answers.move_to_end(key)
        return answer

    def put(self, key: Hashable, answer: object, size: int) -> None:
        size += 300  # the key, and the place it takes
        if key in self._answers or size > self._limit // 8:
            return
        self._answers[key] = (answer, size)
        self._size += size
        while self._size > self._limit:
            _, (_, freed) = self._answers.popitem(last=False)
            self._size -= freed


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of `git ls-tree`."""

    mode: str
    kind: str
    id: str
    path: str
    size: int = 0


def _split(answer: bytes) -> list[str]:
    return [fsdecode(part) for part in answer.split(b"\0") if part]


def _tree_entry(line: str) -> _Entry:
    about, _, path = line.partition("\t")
    mode, kind, name, *size = about.split()
    return _Entry(mode, kind, name, path, int(size[0]) if size and size[0].isdigit() else 0)


def _batch(place: _Place, asked: Sequence[str], answer: bytes) -> Iterator[bytes]:
    """From `git cat-file --batch`: a line about each, and its content."""
    at = 0
    for name in asked:
        end = answer.index(b"\n", at)
        match answer[at:end].split():
            case [_, _, size]:
                start = end + 1
                at = start + int(size) + 1
                yield answer[start : at - 1]
            case _:
                raise RepositoryError(_no_object(place, name))


def _tree_file(line: str) -> TreeFile:
    entry = _tree_entry(line)
    return TreeFile(path=entry.path, mode=entry.mode, blob=entry.id, size=entry.size)


def _subject(commit: bytes) -> str:
    """The first paragraph of the message in one line, as git shows it."""
    headers, _, message = commit.partition(b"\n\n")
    encoding = re.search(rb"^encoding (\S+)$", headers, re.MULTILINE)
    try:
        text = message.decode(encoding[1].decode() if encoding else "utf-8", errors="replace")
    except LookupError:
        text = message.decode(errors="replace")
    return " ".join(text.strip().partition("\n\n")[0].splitlines())


def _checked(name: str) -> str:
    """Only ids go to git's command line: a word could be an option, or mean something else."""
    if not re.fullmatch(r"[0-9a-f]{4,64}", name):
        raise RepositoryError(f"{name!r} is not the id of a git object: 4 to 64 digits of 0-9a-f")
    return name


def _inside(directory: str) -> str:
    parts = [part for part in PurePosixPath(directory.strip("/")).parts if part != "."]
    if ".." in parts:
        raise RepositoryError(f"the source directory {directory} leads out of the repository")
    return "/".join(parts)


def _plain(url: str) -> str:
    return url.rstrip("/").removesuffix(".git")


# What went wrong, and what to do about it.


def _not_local(repository: str) -> str:
    if "://" not in repository and not repository.startswith("git@"):
        return f"{repository} is not an absolute path; name a local repository as /path/to/it"
    return (
        f"{repository} is not on this machine, and nothing is cloned from elsewhere. Clone it and"
        f" say where it is, in emulator.toml:\n[repositories]\n{repository!r} = '/path/to/the/clone'"
    )


def _why_no_repository(path: str) -> str:
    directory, quoted = Path(path), shlex.quote(path)
    if not directory.exists():
        return f"there is no directory {path}: if the repository has moved, name its new place"
    if not directory.is_dir():
        return f"{path} is a file; name the directory of a git repository"
    if not access(directory, R_OK | X_OK):
        return _forbidden(path)
    return f"{path} is not a git repository; make it one: cd {quoted} && git init && {FIRST_COMMIT}"


def _no_branch(place: _Place, branch: str, references: Iterable[str]) -> str:
    names = [name.removeprefix("refs/heads/") for name in references if "refs/heads/" in name]
    remotes = [name.removeprefix("refs/remotes/") for name in references if "refs/remotes/" in name]
    if not names and not remotes:
        quoted = shlex.quote(place.path)
        return f"{place.path} has no commit yet; make one: cd {quoted} && {FIRST_COMMIT}"
    text = f"{place.path} has no branch {branch!r}"
    for remote in remotes:
        if remote.partition("/")[2] == branch:
            make = f"git -C {shlex.quote(place.path)} branch {shlex.quote(branch)} {remote}"
            return f"{text}, only {remote}; make it a local one: {make}"
    return f"{text}; {_listed('its branches are', names)}{_meant(branch, names)}"


def _missing_directory(place: _Place, commit: str, path: str, names: Sequence[str]) -> str:
    text = f"{place.path} has no directory {path!r} at commit {commit[:7]}"
    return f"{text}; {_listed('its directories are', names)}{_meant(path, names)}"


def _no_directory(place: _Place, path: str, kind: str) -> str:
    if kind == "commit":
        return (
            f"{path!r} in {place.path} is a submodule that is not on this machine:"
            f" git submodule update --init {shlex.quote(path)}"
        )
    return f"{path!r} in {place.path} is a file; the source directory must be a directory"


def _linked_directory(place: _Place, path: str, target: str) -> str:
    return (
        f"{path!r} in {place.path} is a symbolic link to {target!r}; name the directory itself as"
        " the source directory"
    )


def _no_object(place: _Place, name: str) -> str:
    return (
        f"{place.path} has no object {name}: it was rewritten and cleaned away, or the clone is"
        f" shallow or partial (git fetch --unshallow, git fetch --refetch --no-filter)"
    )


def _forbidden(path: str) -> str:
    return f"{path} may not be read by the user who runs the emulator; change its owner or mode"


def _listed(what: str, names: Sequence[str]) -> str:
    if not names:
        return "there is none"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{what} {', '.join(names[:LISTED])}{more}"


def _meant(name: str, names: Sequence[str]) -> str:
    close = get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _failure(place: _Place, error: ProcessError, about: str) -> RepositoryError:
    complaint = error.complaint or str(error)
    if isinstance(error, MissingProgramError):
        return RepositoryError(f"{error}: install it (apt-get install git, brew install git)")
    if unmatched := re.search(r"pathspec '(.*)' did not match any files", complaint):
        return RepositoryError(f"{place.path} has no file {unmatched[1]!r} in tree {about[:7]}")
    if re.search(
        r"permission denied|insufficient permission|dubious ownership", complaint, re.IGNORECASE
    ):
        return RepositoryError(_forbidden(place.path))
    if about and re.search(NO_OBJECT, complaint, re.IGNORECASE):
        return RepositoryError(_no_object(place, about))
    return RepositoryError(f"git cannot read {place.path}: {complaint.splitlines()[-1]}")
