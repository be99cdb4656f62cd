"""Submodules: what is on this machine is part of the source, what is not is named."""

import asyncio
import shutil

import pytest

from emulator.drivers.clock import SystemClock
from emulator.drivers.git import GitRepositories
from emulator.drivers.submodules import resolved
from emulator.drivers.watch import Watcher
from emulator.model.errors import RepositoryError
from emulator.model.source import Submodule
from tests.drivers.test_git import unpack
from tests.helpers import GIT_ENVIRONMENT, git_repository

pytestmark = pytest.mark.timeout(60)
ALLOWED = ("-c", "protocol.file.allow=always")


class Nest:
    """An application with a library below vendor/, which has one of its own; all of them local."""

    def __init__(self, directory):
        self.directory = directory
        self.inner = git_repository(directory, {"inner.txt": "inner"}, name="inner")
        self.library = git_repository(directory, {"lib.py": "1"}, name="library")
        self.add(self.library, self.inner, "deep/inner")
        self.app = git_repository(directory, {"app.py": "", "vendor/own.py": ""}, name="app")
        self.add(self.app, self.library, "vendor/lib")
        self.app.git(*ALLOWED, "submodule", "--quiet", "update", "--init", "--recursive")
        self.commit = self.app.git("rev-parse", "HEAD")

    def add(self, repository, library, path):
        repository.git(*ALLOWED, "submodule", "--quiet", "add", str(library), path)
        repository.commit({})


WHOLE = {
    "app.py": b"",
    "vendor/own.py": b"",
    "vendor/lib/lib.py": b"1",
    "vendor/lib/deep/inner/inner.txt": b"inner",
}


@pytest.fixture
def nest(tmp_path):
    return Nest(tmp_path)


def repositories(scratch=None, mapped=None):
    watcher = Watcher(SystemClock(), every=0.05, alone=0.05)
    return GitRepositories(GIT_ENVIRONMENT, mapped or {}, watcher, scratch=scratch)


async def exported(subject, name, tree):
    files = await unpack(subject.archive(str(name), tree))
    return {path: data for path, data in files.items() if not path.endswith(".gitmodules")}


async def whole(subject, name, commit):
    return await exported(subject, name, await subject.tree(str(name), commit, ""))


async def test_what_git_has_initialised_is_part_of_the_tree(nest):
    """Also where the place that it came from is gone."""
    for library in (nest.library, nest.inner):
        await asyncio.to_thread(shutil.rmtree, library.path)
    subject = repositories()
    tree = await subject.tree(str(nest.app), nest.commit, "")
    assert await exported(subject, nest.app, tree) == WHOLE
    assert await subject.submodules(str(nest.app), tree) == ()
    listed = await subject.files(str(nest.app), tree)
    assert {f.path for f in listed if not f.path.endswith(".gitmodules")} == WHOLE.keys()
    assert {f.mode for f in listed} == {"100644"}


async def test_a_directory_may_be_inside_of_a_submodule_and_is_a_tree_of_its_own(nest):
    subject = repositories()
    tree = await subject.tree(str(nest.app), nest.commit, "/vendor/lib/deep")
    assert await exported(subject, nest.app, tree) == {"inner/inner.txt": b"inner"}


async def test_a_tree_outlives_the_emulator_that_made_it(nest, tmp_path):
    """A revision names it; instances are laid from it after a restart."""
    first = repositories(tmp_path / "scratch")
    tree = await first.tree(str(nest.app), nest.commit, "")
    await first.close()
    assert await exported(repositories(tmp_path / "scratch"), nest.app, tree) == WHOLE


async def test_nothing_is_written_into_any_of_the_repositories(nest):
    def state():
        return {p: p.lstat().st_mtime_ns for p in nest.directory.rglob("*")}

    before = await asyncio.to_thread(state)
    await whole(repositories(), nest.app, nest.commit)
    assert await asyncio.to_thread(state) == before


@pytest.fixture
def bare(nest):
    """As a push would bring it: no working tree, no submodule's objects."""
    nest.app.git("clone", "--quiet", "--bare", str(nest.app), str(nest.directory / "pushed"))
    return nest.directory / "pushed"


async def test_a_local_url_is_where_it_says(nest, bare):
    assert await whole(repositories(), bare, nest.commit) == WHOLE


async def test_what_is_not_here_is_named_with_commit_and_url_and_left_out(nest, bare):
    inner = nest.library.git("rev-parse", "HEAD:deep/inner")
    await asyncio.to_thread(shutil.rmtree, nest.inner.path)
    await asyncio.to_thread(shutil.rmtree, nest.library.path / ".git" / "modules")
    subject = repositories()
    tree = await subject.tree(str(bare), nest.commit, "")
    assert await subject.submodules(str(bare), tree) == (
        Submodule(path="vendor/lib/deep/inner", commit=inner, url=str(nest.inner)),
    )
    files = await exported(subject, bare, tree)
    assert files == {p: d for p, d in WHOLE.items() if "inner" not in p}
    await asyncio.to_thread(shutil.rmtree, nest.library.path)
    with pytest.raises(RepositoryError, match="is a submodule that is not on this machine"):
        await repositories().tree(str(bare), nest.commit, "vendor/lib")


async def test_what_comes_later_is_found(nest, bare):
    subject, away = repositories(), nest.directory / "away"
    await asyncio.to_thread(nest.library.path.rename, away)
    without = await subject.tree(str(bare), nest.commit, "")
    await asyncio.to_thread(away.rename, nest.library.path)
    tree = await subject.tree(str(bare), nest.commit, "")
    assert tree != without
    assert await exported(subject, bare, tree) == WHOLE


async def test_a_mapping_says_where_a_clone_is(nest, bare):
    clone = nest.directory / "elsewhere"
    await asyncio.to_thread(nest.library.path.rename, clone)
    mapped = {str(nest.library): str(clone)}
    assert await whole(repositories(mapped=mapped), bare, nest.commit) == WHOLE


async def test_what_is_saved_in_a_submodule_is_part_of_the_working_tree(nest):
    (nest.app.path / "vendor/lib/deep/inner/inner.txt").write_text("saved")
    (nest.app.path / "vendor/lib/new.py").write_text("new")
    subject = repositories()
    tree = await subject.snapshot(str(nest.app))
    files = await exported(subject, nest.app, tree)
    assert files == WHOLE | {
        "vendor/lib/deep/inner/inner.txt": b"saved",
        "vendor/lib/new.py": b"new",
    }
    assert await whole(subject, nest.app, nest.commit) == WHOLE
    inside = await subject.tree(str(nest.app), tree, "vendor/lib")
    assert "new.py" in await exported(subject, nest.app, inside)


async def test_an_unchanged_working_tree_is_the_commit_s_own_with_submodules_too(nest):
    subject = repositories()
    committed = await subject.tree(str(nest.app), nest.commit, "")
    assert await subject.snapshot(str(nest.app)) == committed


@pytest.mark.parametrize(
    "text",
    [
        '[submodule "../../evil"]\n\tpath = vendor/lib\n\turl = ../x\n',
        '[submodule "x"]\n\tpath = ../../etc\n\turl = /etc\n',
        '[submodule "x"]\n\tpath = -vendor\n\turl = --upload-pack=touch\n',
        "[include]\n\tpath = /etc/passwd\n",
        "not a configuration [",
        "",
    ],
)
async def test_a_hostile_list_of_submodules_is_no_trouble(nest, text):
    await asyncio.to_thread(shutil.rmtree, nest.app.path / ".git" / "modules")
    await asyncio.to_thread(shutil.rmtree, nest.library.path)
    blob = nest.app.git("hash-object", "-w", "--stdin", data=text.encode())
    nest.app.git("update-index", "--cacheinfo", f"100644,{blob},.gitmodules")
    tree = nest.app.git("write-tree")
    commit = nest.app.git("commit-tree", "-m", "Hostile", tree)
    files = await whole(repositories(), nest.app, commit)
    assert files.keys() == {"app.py", "vendor/own.py"}


@pytest.mark.parametrize(
    ("url", "base", "expected"),
    [
        ("../lib.git", "https://host/me/app.git", "https://host/me/lib.git"),
        ("../../other/lib", "git@host:me/app", "git@host:other/lib"),
        ("./lib", "/home/me/app/", "/home/me/app/lib"),
        ("https://host/lib", "/home/me/app", "https://host/lib"),
    ],
)
def test_relative_urls_are_relative_to_the_superproject_s(url, base, expected):
    assert resolved(url, base) == expected
