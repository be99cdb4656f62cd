"""Git repositories in memory, with git's own ids, that obey the contract of the real driver."""

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from emulator.model.errors import RepositoryError
from emulator.model.identifiers import Epoch
from emulator.model.source import Commit, Submodule, TreeFile
from tests.fakes.clock import LoopClock
from tests.helpers import turn

Content = str | bytes | None
SIGNATURE = "Test <test@example.com> 1767225600 +0000"


@dataclass
class _Known:
    """One repository: what each branch points to, and every commit, tree and blob there ever was.

    `commits` maps an id to (subject, the id of its tree), `trees` an id to the files of it.
    """

    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, tuple[str, str]] = field(default_factory=dict)
    trees: dict[str, tuple[TreeFile, ...]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    changed: set[asyncio.Event] = field(default_factory=set)
    saved: dict[str, bytes] | None = None  # the working tree, where it is not what is committed
    away: bool = False


class FakeRepository:
    """ports.Repository, with `create`, `commit_files`, `branch`, `take_away` and `bring_back`."""

    def __init__(self) -> None:
        self._repositories: dict[str, _Known] = {}

    def create(self, repository: str) -> None:
        """An empty repository, without a commit."""
        self._repositories[repository] = _Known()

    def commit_files(
        self,
        repository: str,
        files: Mapping[str, Content],
        message: str = "Change",
        *,
        branch: str = "main",
    ) -> str:
        """Add a commit to a branch (None removes a file); the new commit's id."""
        known = self._repositories.setdefault(repository, _Known())
        parent = known.branches.get(branch)
        content = self._contents(known, parent) | dict(files)
        kept = {path: _bytes(text) for path, text in content.items() if text is not None}
        tree = _store(known, kept)
        commit = _commit_id(tree, parent, message)
        known.commits[commit] = (" ".join(message.partition("\n\n")[0].splitlines()), tree)
        self._point(known, branch, commit)
        return commit

    def save_files(self, repository: str, files: Mapping[str, Content]) -> str:
        """Write into the working tree (None removes a file); the id of its tree."""
        known = self._repositories[repository]
        content = self._working(known) | dict(files)
        known.saved = {path: _bytes(text) for path, text in content.items() if text is not None}
        _tell(known)
        return _store(known, known.saved)

    def branch(self, repository: str, name: str, at: str) -> None:
        """Make or move a branch."""
        self._point(self._repositories[repository], name, at)

    def take_away(self, repository: str) -> None:
        self._repositories[repository].away = True
        _tell(self._repositories[repository])

    def bring_back(self, repository: str) -> None:
        self._repositories[repository].away = False
        _tell(self._repositories[repository])

    async def resolve(self, repository: str, branch: str) -> Commit:
        known = self._find(repository)
        await turn()
        if not known.branches:
            raise RepositoryError(
                f"{repository} has no commit yet; make one: git add . && git commit"
            )
        if branch not in known.branches:
            names = ", ".join(known.branches)
            text = f"{repository} has no branch {branch!r}; its branches are {names}"
            raise RepositoryError(text)
        return await self.commit(repository, known.branches[branch])

    async def commit(self, repository: str, commit: str) -> Commit:
        known = self._find(repository)
        await turn()
        found = [name for name in known.commits if name.startswith(commit)]
        if len(found) != 1:
            raise RepositoryError(f"{repository} has no object {commit}")
        return Commit(id=found[0], subject=known.commits[found[0]][0])

    async def tree(self, repository: str, commit: str, directory: str) -> str:
        """`commit` may be a tree as well."""
        known = self._find(repository)
        root = known.trees.get(commit)
        if root is None:
            found = await self.commit(repository, commit)
            root = known.trees[known.commits[found.id][1]]
        path = "/".join(part for part in PurePosixPath(directory.strip("/")).parts if part != ".")
        if ".." in path.split("/"):
            raise RepositoryError(f"the source directory {directory} leads out of the repository")
        files = root
        inside = {f.path: known.blobs[f.blob] for f in files if _is_inside(f.path, path)}
        if any(f.path == path for f in files):
            raise RepositoryError(f"{path!r} in {repository} is a file")
        if path and not inside:
            raise RepositoryError(_no_directory(repository, commit, path, files))
        return _store(known, {name.removeprefix(f"{path}/"): d for name, d in inside.items()})

    async def files(self, repository: str, tree: str) -> tuple[TreeFile, ...]:
        known = self._find(repository)
        await turn()
        if tree not in known.trees:
            raise RepositoryError(f"{repository} has no object {tree}")
        return known.trees[tree]

    async def read(self, repository: str, blob: str) -> bytes:
        known = self._find(repository)
        await turn()
        if blob not in known.blobs:
            raise RepositoryError(f"{repository} has no object {blob}")
        return known.blobs[blob]

    async def read_all(self, repository: str, blobs: Sequence[str]) -> Mapping[str, bytes]:
        return {blob: await self.read(repository, blob) for blob in blobs}

    async def submodules(self, repository: str, tree: str) -> tuple[Submodule, ...]:
        """It has none."""
        await self.files(repository, tree)
        return ()

    async def archive(
        self, repository: str, tree: str, paths: Sequence[str] = ()
    ) -> AsyncGenerator[bytes]:
        files = await self.files(repository, tree)
        for path in paths:
            if not any(_is_inside(f.path, path) or f.path == path for f in files):
                raise RepositoryError(f"{repository} has no file {path!r} in tree {tree[:7]}")
        blobs = self._find(repository).blobs
        wanted = [f for f in files if not paths or _is_wanted(f.path, paths)]
        yield await asyncio.to_thread(_tar, {f.path: blobs[f.blob] for f in wanted})

    async def watch(self, repository: str) -> AsyncGenerator[None]:
        changed = asyncio.Event()
        known = self._repositories.setdefault(repository, _Known(away=True))
        known.changed.add(changed)
        try:
            while True:
                yield
                await changed.wait()
                changed.clear()
        finally:
            known.changed.discard(changed)

    async def snapshot(self, repository: str) -> str:
        known = self._find(repository)
        await turn()
        return _store(known, {p: _bytes(c) for p, c in self._working(known).items()})

    async def saves(self, repository: str) -> AsyncGenerator[Epoch]:
        async with aclosing(self.watch(repository)) as changes:
            async for _ in changes:
                yield LoopClock().now()

    def _working(self, known: _Known) -> dict[str, Content]:
        if known.saved is not None:
            return dict(known.saved)
        return self._contents(known, next(iter(known.branches.values()), None))

    def _find(self, repository: str) -> _Known:
        known = self._repositories.get(repository)
        if known is None or known.away:
            raise RepositoryError(f"there is no directory {repository}")
        return known

    def _contents(self, known: _Known, commit: str | None) -> dict[str, Content]:
        if commit is None:
            return {}
        return {f.path: known.blobs[f.blob] for f in known.trees[known.commits[commit][1]]}

    def _point(self, known: _Known, branch: str, commit: str) -> None:
        known.branches[branch] = commit
        _tell(known)


def _tell(known: _Known) -> None:
    for event in known.changed:
        event.set()


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _id(kind: str, content: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()


def _store(known: _Known, files: Mapping[str, bytes]) -> str:
    """Remember a tree and its blobs; the tree's id."""
    blobs = {path: _id("blob", data) for path, data in files.items()}
    known.blobs.update({blobs[path]: data for path, data in files.items()})
    tree = _tree_id(blobs)
    known.trees[tree] = tuple(
        TreeFile(path=path, mode="100644", blob=blobs[path], size=len(files[path]))
        for path in sorted(files, key=str.encode)
    )
    return tree


def _tree_id(blobs: Mapping[str, str]) -> str:
    """As git computes it: entries in order of name, directories as if they ended in a slash."""
    inner: dict[str, dict[str, str]] = {}
    entries = []
    for path, blob in blobs.items():
        name, slash, rest = path.partition("/")
        if slash:
            inner.setdefault(name, {})[rest] = blob
        else:
            entries.append((name.encode(), b"100644", blob))
    entries += [(f"{name}/".encode(), b"40000", _tree_id(rest)) for name, rest in inner.items()]
    lines = [m + b" " + n.rstrip(b"/") + b"\0" + bytes.fromhex(i) for n, m, i in sorted(entries)]
    return _id("tree", b"".join(lines))


def _commit_id(tree: str, parent: str | None, message: str) -> str:
    above = f"parent {parent}\n" if parent else ""
    text = f"tree {tree}\n{above}author {SIGNATURE}\ncommitter {SIGNATURE}\n\n{message}\n"
    return _id("commit", text.encode())


def _is_inside(path: str, directory: str) -> bool:
    return not directory or path.startswith(f"{directory}/")


def _is_wanted(path: str, paths: Sequence[str]) -> bool:
    return any(path == wanted or _is_inside(path, wanted) for wanted in paths)


def _no_directory(repository: str, commit: str, path: str, files: Sequence[TreeFile]) -> str:
    names = sorted({f.path.partition("/")[0] for f in files if "/" in f.path})
    text = f"{repository} has no directory {path!r} at commit {commit[:7]}"
    return f"{text}; its directories are {', '.join(names)}" if names else f"{text}; there is none"


def _tar(files: Mapping[str, bytes]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for path, data in files.items():
            about = tarfile.TarInfo(path)
            about.size, about.mode = len(data), 0o644
            archive.addfile(about, io.BytesIO(data))
    return output.getvalue()
