"""A tree that is changed into another one is as if it had been laid as a whole."""

import asyncio
from contextlib import aclosing
from itertools import permutations

import pytest

from emulator.drivers.clock import SystemClock
from emulator.drivers.docker.files import InstanceFiles
from emulator.drivers.docker.records import Record, Records
from emulator.drivers.git import GitRepositories
from emulator.drivers.watch import Watcher
from emulator.model.identifiers import Epoch, InstanceId, RevisionId, ServiceId
from emulator.model.revision import Revision, SourceTree
from tests.helpers import GIT_ENVIRONMENT, git_repository

pytestmark = pytest.mark.timeout(60)
TREES = {
    "one": {"app.py": "1", "web/a/b.html": "1", "same": "s", "name": "a file"},
    "edited": {"app.py": "2", "web/a/b.html": "1", "same": "s", "name": "a file"},
    "directory": {"app.py": "1", "name/inside": "was a file", "new/deep/er.txt": "n", "same": "s"},
    "fewer": {"same": "s"},
}


class Counting(GitRepositories):
    """Knows how much was exported."""

    exported = ()

    async def archive(self, repository, tree, paths=()):
        self.exported = (*self.exported, tuple(paths))
        async with aclosing(super().archive(repository, tree, paths)) as pieces:
            async for piece in pieces:
                yield piece


@pytest.fixture
async def world(tmp_path):
    repository = git_repository(tmp_path)
    ports = Counting(GIT_ENVIRONMENT, {}, Watcher(SystemClock()))
    trees = {}
    for name, files in TREES.items():
        gone = {p: None for p in repository.git("ls-files").splitlines() if p not in files}
        for path in gone:
            repository.git("rm", "-qr", path)
        commit = repository.commit(files)
        trees[name] = await ports.tree(str(repository), commit, "")
    records = Records(tmp_path / "instances")
    yield str(repository), ports, trees, records, InstanceFiles(None, "owner", records, ports)
    await ports.close()


def revision(repository, tree):
    return Revision(
        id=RevisionId("r1"),
        service=ServiceId("s"),
        image="image",
        source=SourceTree(repository=repository, tree=tree, links=(("linked", "/opt"),)),
        created_at=Epoch(0),
    )


def content(directory):
    found = {}
    for path in directory.rglob("*"):
        inside = path.read_text() if path.is_file() and not path.is_symlink() else None
        found[path.relative_to(directory)] = (path.lstat().st_mode, inside)
    return found


@pytest.mark.parametrize(("old", "new"), list(permutations(TREES, 2)))
async def test_a_change_comes_to_the_same_as_a_whole(world, old, new):
    repository, _, trees, records, files = world
    changed, whole = InstanceId("changed"), InstanceId("whole")
    for instance in (changed, whole):
        await records.create(instance, Record(service=ServiceId("s"), image="image"))
    await files.lay(changed, revision(repository, trees[old]))
    await files.lay(changed, revision(repository, trees[new]))
    await files.lay(whole, revision(repository, trees[new]))
    one = await asyncio.to_thread(content, records.app(changed))
    assert one == await asyncio.to_thread(content, records.app(whole))
    assert (await records.find(changed)).tree == trees[new]


async def test_only_what_has_changed_is_exported(world):
    repository, ports, trees, records, files = world
    instance = InstanceId("one")
    await records.create(instance, Record(service=ServiceId("s"), image="image"))
    await files.lay(instance, revision(repository, trees["one"]))
    await files.lay(instance, revision(repository, trees["edited"]))
    assert ports.exported == ((), ("app.py",))


async def test_where_an_application_has_run_the_tree_is_laid_as_a_whole(world):
    repository, ports, trees, records, files = world
    instance = InstanceId("one")
    await records.create(instance, Record(service=ServiceId("s"), image="image"))
    await files.lay(instance, revision(repository, trees["one"]))
    await records.update(instance, revision=RevisionId("r1"))
    await files.lay(instance, revision(repository, trees["edited"]))
    assert ports.exported == ((), ())
