"""The working tree as a git tree: what a commit of everything would have, and no trace of it."""

import asyncio
import os
import shutil
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from emulator.drivers.clock import SystemClock
from emulator.drivers.git import GitRepositories
from emulator.drivers.watch import Watcher
from emulator.model.errors import RepositoryError
from tests.helpers import GIT_ENVIRONMENT, git_repository

pytestmark = pytest.mark.timeout(60)
FILES = {
    "app.py": "print(1)\n",
    "web/index.html": "<h1>1</h1>\n",
    "old.txt": "old\n",
    ".gitignore": "*.log\nnode_modules/\n",
}


@pytest.fixture
def repository(tmp_path):
    return git_repository(tmp_path, FILES)


@pytest.fixture
async def ports(tmp_path):
    watcher = Watcher(SystemClock(), every=3600, alone=3600)
    made = GitRepositories(GIT_ENVIRONMENT, {}, watcher, scratch=tmp_path / "scratch: 1")
    yield made
    await made.close()


def write(repository, files):
    for name, content in files.items():
        path = Path(os.fsdecode(os.path.join(os.fsencode(repository.path), os.fsencode(name))))  # noqa: PTH118 - bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


async def listed(ports, repository):
    tree = await ports.snapshot(str(repository.path))
    files = await ports.files(str(repository.path), tree)
    return {f.path: await ports.read(str(repository.path), f.blob) for f in files}


def everything(directory):
    """Every file below, with its content."""
    files = (Path(root, name) for root, _, names in os.walk(directory) for name in names)
    return {str(path): path.read_bytes() for path in files}


async def test_an_unchanged_working_tree_is_the_commit_s_own_tree(ports, repository):
    name = str(repository.path)
    commit = await ports.resolve(name, "main")
    assert await ports.snapshot(name) == await ports.tree(name, commit.id, "")


async def test_what_is_new_changed_and_deleted_is_in_it(ports, repository):
    write(repository, {"app.py": "print(2)\n", "new/deep.txt": "new\n"})
    (repository.path / "old.txt").unlink()
    found = await listed(ports, repository)
    assert found["app.py"] == b"print(2)\n"
    assert found["new/deep.txt"] == b"new\n"
    assert "old.txt" not in found


async def test_what_is_ignored_is_not_in_it_unless_it_is_committed(ports, repository):
    write(repository, {"kept.log": "kept\n"})
    repository.git("add", "--force", "kept.log")
    repository.git("commit", "--quiet", "--message", "Kept")
    write(repository, {"a.log": "x", "node_modules/x/index.js": "x", "kept.log": "changed\n"})
    write(repository, {".git/info/exclude": "private\n", "private": "x", ".app.py.swp": "x"})
    found = await listed(ports, repository)
    assert found.keys() == {*FILES, "kept.log"}
    assert found["kept.log"] == b"changed\n"


async def test_what_was_added_although_it_is_ignored_is_in_it_until_it_is_taken_out(
    ports, repository
):
    write(repository, {"a.log": "1\n", "b.log": "no\n"})
    assert (await listed(ports, repository)).keys() == FILES.keys()
    repository.git("add", "--force", "a.log")
    assert (await listed(ports, repository)).keys() == {*FILES, "a.log"}
    write(repository, {"a.log": "2\n"})
    assert (await listed(ports, repository))["a.log"] == b"2\n"
    repository.git("rm", "--cached", "--force", "--quiet", "a.log")
    assert (await listed(ports, repository)).keys() == FILES.keys()


async def test_modes_links_and_names_in_any_encoding_are_kept(ports, repository):
    write(repository, {"run.sh": "#!/bin/sh\n", b"n\xe9 w": "latin\n", "-x": "option\n"})
    (repository.path / "run.sh").chmod(0o755)
    (repository.path / "link").symlink_to("app.py")
    tree = await ports.snapshot(str(repository.path))
    modes = {f.path: f.mode for f in await ports.files(str(repository.path), tree)}
    assert modes["run.sh"] == "100755"
    assert modes["link"] == "120000"
    assert modes[os.fsdecode(b"n\xe9 w")] == modes["-x"] == "100644"


async def test_it_can_be_exported_although_no_commit_has_it(ports, repository):
    write(repository, {"app.py": "print(2)\n"})
    name = str(repository.path)
    tree = await ports.snapshot(name)
    async with aclosing(ports.archive(name, tree)) as pieces:
        archive = b"".join([piece async for piece in pieces])
    assert b"print(2)" in archive
    assert await ports.tree(name, tree, "web")


async def test_the_user_s_repository_is_untouched(ports, repository):
    write(repository, {"app.py": "print(2)\n", "staged.txt": "staged\n"})
    repository.git("add", "staged.txt")
    before = everything(repository.path)
    await ports.snapshot(str(repository.path))
    write(repository, {"app.py": "print(3)\n"})
    before |= {k: v for k, v in everything(repository.path).items() if k.endswith("app.py")}
    await ports.snapshot(str(repository.path))
    assert everything(repository.path) == before


async def test_a_commit_meanwhile_changes_nothing_of_it(ports, repository):
    write(repository, {"app.py": "print(2)\n"})
    name = str(repository.path)
    before = await ports.snapshot(name)
    repository.git("commit", "--quiet", "--all", "--message", "Second")
    assert await ports.snapshot(name) == before


async def test_two_worktrees_of_one_repository_have_a_tree_each(ports, repository, tmp_path):
    other = tmp_path / "other"
    repository.git("worktree", "add", "-b", "other", str(other))
    write(repository, {"app.py": "print(2)\n"})
    (other / "app.py").write_text("print(3)\n")
    one, two = await asyncio.gather(
        ports.snapshot(str(repository.path)), ports.snapshot(str(other))
    )
    assert one != two
    assert len(await ports.files(str(repository.path), two)) == len(FILES)


async def test_a_killed_git_s_lock_is_not_for_ever(ports, repository, tmp_path):
    await ports.snapshot(str(repository.path))
    (index,) = (tmp_path / "scratch: 1").glob("work-*/*.index")
    shutil.copy(index, f"{index}.lock")
    write(repository, {"app.py": "print(2)\n"})
    assert (await listed(ports, repository))["app.py"] == b"print(2)\n"


async def test_a_bare_repository_has_none(ports, tmp_path):
    path = tmp_path / "bare.git"
    for name in ("objects", "refs/heads"):
        (path / name).mkdir(parents=True)
    (path / "HEAD").write_text("ref: refs/heads/main\n")
    with pytest.raises(RepositoryError, match="is a bare repository"):
        await ports.snapshot(str(path))


async def test_saves_are_heard_of_but_not_what_is_ignored(ports, repository):
    write(repository, {"node_modules/x/index.js": "x"})
    heard = asyncio.Queue()

    async def listen():
        async with aclosing(ports.saves(str(repository.path))) as moments:
            async for moment in moments:
                heard.put_nowait(moment)

    task = asyncio.get_running_loop().create_task(listen())
    try:
        async with asyncio.timeout(20):
            await heard.get()
            write(repository, {"app.py": "print(2)\n"})
            await heard.get()
            write(repository, {"node_modules/x/index.js": "y", "new/a.txt": "a"})
            await heard.get()
            write(repository, {"new/b.txt": "b"})  # in a directory that is new
            await heard.get()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    write(repository, {"node_modules/x/other.js": "z"})
    assert heard.qsize() <= 2
