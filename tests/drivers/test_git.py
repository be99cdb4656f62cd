"""Repositories: the contract of ports.Repository on the fake and on git, then what only git knows."""

import asyncio
import io
import shutil
import tarfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from emulator.drivers.clock import SystemClock
from emulator.drivers.git import GitRepositories
from emulator.drivers.watch import Watcher
from emulator.model.errors import RepositoryError
from emulator.model.source import Commit, TreeFile
from emulator.ports import Repository
from tests.fakes.repository import FakeRepository
from tests.helpers import GIT_ENVIRONMENT, git_repository, needs_reftable

FILES = {
    "app.py": "print('hello')\n",
    "web/index.html": "<h1>hello</h1>\n",
    "web/static/é and b.css": b"\x00\xff",
    "web.txt": "sorts between\n",
    "-x": "looks like an option",
}


class Real:
    """The subject of a contract test: git."""

    def __init__(self, directory: Path) -> None:
        self.ports = repositories()
        self.repository = git_repository(directory, options=("--object-format=sha1",))
        self.name = str(self.repository)

    async def commit(self, files, message="Change"):
        return await asyncio.to_thread(self.repository.commit, files, message)

    async def branch(self, name, at):
        await asyncio.to_thread(self.repository.branch, name, at)

    async def take_away(self):
        await asyncio.to_thread(self.repository.path.rename, f"{self.name}-away")

    async def bring_back(self):
        await asyncio.to_thread(Path(f"{self.name}-away").rename, self.name)


class Fake:
    """The subject of a contract test: the fake."""

    def __init__(self, directory: Path) -> None:
        self.ports = FakeRepository()
        self.name = str(directory / "app")
        self.ports.create(self.name)

    async def commit(self, files, message="Change"):
        return self.ports.commit_files(self.name, files, message)

    async def branch(self, name, at):
        self.ports.branch(self.name, name, at)

    async def take_away(self):
        self.ports.take_away(self.name)

    async def bring_back(self):
        self.ports.bring_back(self.name)


def repositories(mapped=None, environment=GIT_ENVIRONMENT):
    watcher = Watcher(SystemClock(), every=0.05, alone=0.05)
    return GitRepositories(environment, mapped or {}, watcher)


@pytest.fixture(params=[Fake, Real])
def subject(request, tmp_path):
    return request.param(tmp_path)


async def unpack(pieces: AsyncIterator[bytes]) -> dict[str, bytes]:
    data = b"".join([piece async for piece in pieces])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = [member for member in archive if member.isfile()]
        return {member.name: archive.extractfile(member).read() for member in files}


# The contract.


async def test_both_are_a_repository(subject):
    repository: Repository = subject.ports
    assert repository


async def test_a_branch_resolves_to_its_newest_commit(subject):
    await subject.commit(FILES)
    newest = await subject.commit({"app.py": "2\n"}, "Second version\n\nWith details.")
    found = await subject.ports.resolve(subject.name, "main")
    assert found == Commit(id=newest, subject="Second version")


async def test_a_subject_of_several_lines_is_told_in_one(subject):
    commit = await subject.commit(FILES, "One\ntwo\n\nthree")
    assert await subject.ports.commit(subject.name, commit) == Commit(id=commit, subject="One two")
    assert (await subject.ports.resolve(subject.name, "main")).subject == "One two"


async def test_a_commit_is_found_by_the_beginning_of_its_id(subject):
    commit = await subject.commit(FILES, "First")
    found = await subject.ports.commit(subject.name, commit[:10])
    assert found == Commit(id=commit, subject="First")


async def test_the_fake_computes_the_ids_that_git_computes(tmp_path):
    ids = []
    for subject in (Fake(tmp_path), Real(tmp_path)):
        await subject.commit(FILES, "First")
        commit = await subject.commit({"web/index.html": None, "b/c/d": "new"}, "Second")
        ids.append((commit, await subject.ports.tree(subject.name, commit, "b")))
    assert ids[0] == ids[1]


async def test_files_are_listed_recursively_relative_to_the_tree_and_in_gits_order(subject):
    commit = await subject.commit(FILES)
    tree = await subject.ports.tree(subject.name, commit, "")
    files = await subject.ports.files(subject.name, tree)
    assert [f.path for f in files] == sorted(FILES, key=str.encode)
    assert files[1] == TreeFile(
        path="app.py", mode="100644", blob="b376c9941fda362c8d2c5c8ddb35db3e0b003402", size=15
    )


@pytest.mark.parametrize("directory", ["web", "/web", "/web/", "./web/.", "web//"])
async def test_a_directory_has_a_tree_of_its_own(subject, directory):
    commit = await subject.commit(FILES)
    tree = await subject.ports.tree(subject.name, commit, directory)
    files = await subject.ports.files(subject.name, tree)
    assert [f.path for f in files] == ["index.html", "static/é and b.css"]


@pytest.mark.parametrize("directory", ["", "/", "."])
async def test_the_root_is_a_directory_too(subject, directory):
    commit = await subject.commit({"a": "a"})
    tree = await subject.ports.tree(subject.name, commit, directory)
    assert [f.path for f in await subject.ports.files(subject.name, tree)] == ["a"]


async def test_the_same_content_is_the_same_tree_in_another_commit(subject):
    first = await subject.commit(FILES)
    second = await subject.commit({"app.py": "changed"})
    trees = [await subject.ports.tree(subject.name, c, "web") for c in (first, second)]
    roots = [await subject.ports.tree(subject.name, c, "") for c in (first, second)]
    assert trees[0] == trees[1]
    assert roots[0] != roots[1]


async def test_a_blob_is_read_as_it_is(subject):
    commit = await subject.commit(FILES)
    tree = await subject.ports.tree(subject.name, commit, "web/static")
    (file,) = await subject.ports.files(subject.name, tree)
    for _ in range(2):  # asked again, it may come from memory
        assert await subject.ports.read(subject.name, file.blob) == b"\x00\xff"


async def test_many_blobs_are_read_at_once(subject):
    commit = await subject.commit(FILES)
    tree = await subject.ports.tree(subject.name, commit, "")
    blobs = {f.path: f.blob for f in await subject.ports.files(subject.name, tree)}
    read = await subject.ports.read_all(subject.name, [*blobs.values(), blobs["-x"]])
    assert {path: read[blob] for path, blob in blobs.items()} == {
        path: text.encode() if isinstance(text, str) else text for path, text in FILES.items()
    }
    assert await subject.ports.read_all(subject.name, []) == {}


async def test_an_archive_holds_all_files_of_a_tree(subject):
    commit = await subject.commit(FILES)
    tree = await subject.ports.tree(subject.name, commit, "")
    contents = {n: c.encode() if isinstance(c, str) else c for n, c in FILES.items()}
    assert await unpack(subject.ports.archive(subject.name, tree)) == contents


async def test_an_archive_can_be_of_some_files_only(subject):
    commit = await subject.commit({**FILES, "web[1].txt": "", "*.txt": ""})
    tree = await subject.ports.tree(subject.name, commit, "")
    paths = ["app.py", "web/static", "*.txt", "-x"]
    found = await unpack(subject.ports.archive(subject.name, tree, paths))
    assert set(found) == {"app.py", "web/static/é and b.css", "*.txt", "-x"}


async def test_an_archive_of_nothing_is_an_archive(subject):
    commit = await subject.commit({})
    tree = await subject.ports.tree(subject.name, commit, "")
    assert await unpack(subject.ports.archive(subject.name, tree)) == {}


async def test_an_archive_names_a_file_that_is_not_there(subject):
    commit = await subject.commit(FILES)
    tree = await subject.ports.tree(subject.name, commit, "")
    with pytest.raises(RepositoryError, match=rf"has no file 'nope' in tree {tree[:7]}"):
        await unpack(subject.ports.archive(subject.name, tree, ["app.py", "nope"]))


async def test_a_repository_without_a_commit_says_how_to_make_one(subject):
    with pytest.raises(
        RepositoryError, match=r"has no commit yet; make one: .*git add . && git com"
    ):
        await subject.ports.resolve(subject.name, "main")


async def test_a_missing_branch_is_answered_with_those_that_exist(subject):
    commit = await subject.commit(FILES)
    await subject.branch("develop", commit)
    with pytest.raises(RepositoryError, match="has no branch 'mian'; its branches are ") as caught:
        await subject.ports.resolve(subject.name, "mian")
    assert "main" in str(caught.value)
    assert "develop" in str(caught.value)


@pytest.mark.parametrize("branch", ["m*", "mai", "refs/heads/main", "", "-h", "main^{tree}", "a b"])
async def test_only_the_exact_name_of_a_branch_finds_it(subject, branch):
    await subject.commit(FILES)
    with pytest.raises(RepositoryError, match="has no branch"):
        await subject.ports.resolve(subject.name, branch)


async def test_a_missing_directory_is_answered_with_those_that_exist(subject):
    commit = await subject.commit(FILES)
    with pytest.raises(RepositoryError, match=r"has no directory 'wbe'.* directories are web"):
        await subject.ports.tree(subject.name, commit, "/wbe")
    with pytest.raises(RepositoryError, match=r"'app.py' in .* is a file"):
        await subject.ports.tree(subject.name, commit, "app.py")
    with pytest.raises(RepositoryError, match="leads out of the repository"):
        await subject.ports.tree(subject.name, commit, "/web/../../etc")


async def test_an_object_that_is_not_there_is_named(subject):
    commit = await subject.commit(FILES)
    nowhere = "0123456789" * 4
    for question in (
        subject.ports.commit(subject.name, nowhere),
        subject.ports.tree(subject.name, nowhere, ""),
        subject.ports.tree(subject.name, nowhere, "web"),
        subject.ports.files(subject.name, nowhere),
        subject.ports.read(subject.name, nowhere),
        subject.ports.read(subject.name, commit),
        unpack(subject.ports.archive(subject.name, nowhere)),
    ):
        with pytest.raises(RepositoryError, match=rf"has no object ({nowhere}|{commit})"):
            await question


async def test_a_repository_that_is_gone_says_so(subject):
    await subject.commit(FILES)
    await subject.take_away()
    with pytest.raises(RepositoryError, match=r"there is no directory .*app"):
        await subject.ports.resolve(subject.name, "main")


async def test_watching_yields_at_once_and_after_each_commit(subject):
    async with aclosing(subject.ports.watch(subject.name)) as changes:
        await anext(changes)
        for number in range(3):
            newest = await subject.commit({"a": str(number)})
            await anext(changes)
            assert (await subject.ports.resolve(subject.name, "main")).id == newest


async def test_watching_sees_a_branch_move(subject):
    first = await subject.commit({"a": "1"})
    await subject.commit({"a": "2"})
    await subject.branch("release/1", first)
    async with aclosing(subject.ports.watch(subject.name)) as changes:
        await anext(changes)
        second = await subject.commit({"a": "3"})
        await anext(changes)
        await subject.branch("release/1", second)
        while (await subject.ports.resolve(subject.name, "release/1")).id != second:
            await anext(changes)


async def test_watching_outlives_a_repository_that_goes_away_and_returns(subject):
    await subject.commit({"a": "1"})
    async with aclosing(subject.ports.watch(subject.name)) as changes:
        await anext(changes)
        await subject.take_away()
        await anext(changes)
        await subject.bring_back()
        await anext(changes)
        newest = await subject.commit({"a": "2"})
        while (await subject.ports.resolve(subject.name, "main")).id != newest:
            await anext(changes)


# What only git knows.


@pytest.fixture
def app(tmp_path):
    return git_repository(tmp_path, FILES)


async def resolved(name, branch="main", **options):
    return (await repositories(**options).resolve(str(name), branch)).id


async def test_is_found_by_path_file_url_and_mapping(app):
    commit = app.git("rev-parse", "HEAD")
    url = "https://github.com/me/app"
    assert await resolved(app.path) == commit
    assert await resolved(app.path / "web" / "static") == commit
    assert await resolved(app.path.as_uri()) == commit
    for spelling in (url, f"{url}/", f"{url}.git"):
        assert await resolved(spelling, mapped={url: str(app)}) == commit
    assert await resolved(url, mapped={f"{url}.git": app.path.as_uri()}) == commit


async def test_is_found_where_the_path_is_awkward(tmp_path):
    awkward = git_repository(tmp_path, FILES, name="50% of\n'é'; *")
    assert await resolved(awkward.path) == await resolved(awkward.path.as_uri())


async def test_a_url_that_is_mapped_nowhere_says_where_to_map_it():
    with pytest.raises(RepositoryError, match=r"(?s)is not on this machine.*\[repositories\]"):
        await resolved("https://github.com/me/app")
    with pytest.raises(RepositoryError, match="is not an absolute path"):
        await resolved("../app")


async def test_a_directory_without_a_repository_says_how_to_make_one(tmp_path):
    with pytest.raises(RepositoryError, match=r"is not a git repository; make it one: .* git init"):
        await resolved(tmp_path)
    (tmp_path / ".git").write_text("gitdir: nowhere")
    with pytest.raises(RepositoryError, match="is not a git repository"):
        await resolved(tmp_path)
    with pytest.raises(RepositoryError, match="is a file"):
        await resolved(tmp_path / ".git")


async def test_git_that_is_not_installed_says_how_to_install_it(app, tmp_path):
    with pytest.raises(RepositoryError, match=r"git is not installed.*apt-get install git"):
        await resolved(app, environment={"PATH": str(tmp_path)})


async def test_a_branch_of_a_remote_only_says_how_to_make_it_local(app, tmp_path):
    app.branch("feature")
    app.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    with pytest.raises(
        RepositoryError, match=r"only origin/feature; .*branch feature origin/feature"
    ):
        await resolved(tmp_path / "clone", "feature")


async def test_many_branches_are_not_all_listed(app):
    for number in range(30):
        app.branch(f"topic/{number}")
    with pytest.raises(RepositoryError, match=r"and 21 more .did you mean topic/7") as caught:
        await resolved(app, "topics/7")
    assert len(str(caught.value)) < 400


async def whole(name, repositories):
    commit = (await repositories.resolve(str(name), "main")).id
    tree = await repositories.tree(str(name), commit, "")
    return commit, await unpack(repositories.archive(str(name), tree))


@pytest.mark.parametrize("option", ["--bare", "--shared", "--depth=1", "--separate-git-dir={}/x"])
async def test_works_on_clones_of_every_kind(app, tmp_path, option):
    app.commit({"app.py": "second\n"})
    clone = tmp_path / "clone"
    app.git("clone", "--quiet", option.format(tmp_path), app.path.as_uri(), str(clone))
    assert await whole(clone, repositories()) == await whole(app, repositories())


async def test_works_on_worktrees_packed_references_and_packed_objects(app, tmp_path):
    expected = await whole(app, repositories())
    app.git("worktree", "add", "-q", str(tmp_path / "tree"), "-b", "other")
    app.git("gc", "--quiet")
    app.git("pack-refs", "--all")
    assert await whole(app, repositories()) == expected
    assert await whole(tmp_path / "tree", repositories()) == expected
    assert await whole(tmp_path / "tree" / "web", repositories()) == expected


async def test_works_with_sha256(tmp_path):
    app = git_repository(tmp_path, FILES, options=("--object-format=sha256",))
    commit, files = await whole(app, repositories())
    assert len(commit) == 64
    assert set(files) == set(FILES)
    assert (await repositories().commit(str(app), commit[:9])).id == commit


@needs_reftable
async def test_works_with_reftable_where_git_does(tmp_path):
    app = git_repository(tmp_path, FILES, options=("--ref-format=reftable",))
    assert set((await whole(app, repositories()))[1]) == set(FILES)


ATTRIBUTES = """\
[attr]hidden export-ignore
docs export-ignore
secret.txt hidden
*.py export-subst
*.bat eol=crlf
*.auto text=auto
*.id ident
*.big filter=loud
*.utf working-tree-encoding=UTF-16
"""
ATTRIBUTED = {
    ".gitattributes": ATTRIBUTES,
    "docs/index.md": "kept out of archives\n",
    "docs/.gitattributes": "* export-ignore\n",
    "secret.txt": "x\n",
    "version.py": "$Format:%H$\n",
    "run.bat": "a\nb\n",
    "mixed.auto": "a\nb\n",
    "who.id": "$Id$\n",
    "model.big": "big\n",
    "wide.utf": "é\n".encode("utf-16"),
    "plain.txt": "a\r\nb\n",
}


async def test_an_archive_is_what_a_clone_checks_out_whatever_attributes_say(app, tmp_path):
    app.commit(ATTRIBUTED)
    app.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = tmp_path / "clone"
    # What this machine and this repository are set up to do is not what App Runner does.
    for name, value in (
        ("core.autocrlf", "true"),
        ("core.eol", "crlf"),
        ("filter.loud.smudge", "tr a-z A-Z"),
        ("filter.loud.required", "true"),
        ("core.attributesFile", str(clone / "others")),
        ("tar.umask", "0777"),
    ):
        app.git("config", name, value)
    (clone / "others").write_text("*.txt eol=crlf\n")
    (app.path / ".git" / "info" / "attributes").write_text("* export-ignore\n")
    _, files = await whole(app, repositories())
    assert files == {name: (clone / name).read_bytes() for name in [*FILES, *ATTRIBUTED]}
    assert files["version.py"] == b"$Format:%H$\n"
    assert files["run.bat"] == b"a\r\nb\r\n"


async def test_modes_and_links_are_those_of_a_clone(app):
    (app.path / "link").symlink_to("web/index.html")
    app.write({"run.sh": "#!/bin/sh\n"})
    (app.path / "run.sh").chmod(0o700)
    commit, subject = app.commit({}), repositories()
    tree = await subject.tree(str(app), commit, "")
    data = b"".join([piece async for piece in subject.archive(str(app), tree)])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = {member.name: member for member in archive}
    assert oct(members["run.sh"].mode) == "0o755"
    assert oct(members["app.py"].mode) == "0o644"
    assert members["link"].linkname == "web/index.html"
    modes = {file.path: file.mode for file in await subject.files(str(app), tree)}
    assert (modes["run.sh"], modes["link"]) == ("100755", "120000")


async def test_nothing_is_written_into_the_repository_and_nothing_of_it_runs(app, tmp_path):
    for name in ("core.fsmonitor", "core.pager", "core.sshCommand", "diff.external"):
        app.git("config", name, f"touch {tmp_path}/ran")
    before = await asyncio.to_thread(snapshot, app.path)
    subject = repositories()
    await whole(app, subject)
    with pytest.raises(RepositoryError):
        await subject.resolve(str(app), "nope")
    assert await asyncio.to_thread(snapshot, app.path) == before
    assert not await asyncio.to_thread((tmp_path / "ran").exists)


def snapshot(directory: Path):
    return {path: path.lstat().st_mtime_ns for path in directory.rglob("*")}


async def test_a_source_directory_that_is_a_link_names_what_it_points_to(app):
    (app.path / "link").symlink_to("web/static")
    with pytest.raises(RepositoryError, match=r"'link' in .* is a symbolic link to 'web/static'"):
        await repositories().tree(str(app), app.commit({}), "link")


async def test_a_replaced_object_is_deployed_as_it_was_committed(app):
    blob = app.git("rev-parse", "HEAD:app.py")
    app.git("replace", blob, app.git("hash-object", "-w", "--stdin", data=b"replaced"))
    _, files = await whole(app, repositories())
    assert files["app.py"] == FILES["app.py"].encode()


async def test_a_branch_that_was_force_moved_resolves_anew(app):
    subject = repositories()
    first = (await subject.resolve(str(app), "main")).id
    app.commit({"app.py": "2"})
    app.git("reset", "--quiet", "--hard", first)
    assert (await subject.resolve(str(app), "main")).id == first
    app.git("commit", "--quiet", "--amend", "--message", "Amended")
    assert (await subject.resolve(str(app), "main")).subject == "Amended"


async def test_a_repository_made_anew_at_the_same_path_is_another(app, tmp_path):
    subject = repositories()
    commit, _ = await whole(app, subject)
    await asyncio.to_thread(shutil.rmtree, app.path)
    await asyncio.to_thread(git_repository, tmp_path, {"other": ""})
    assert (await whole(app, subject))[0] != commit


async def test_the_empty_repositories_are_made_again_when_tidied_away(app):
    subject = repositories()
    expected = await whole(app, subject)
    await asyncio.to_thread(lambda: shutil.rmtree(subject._empty.directory()))
    assert await whole(app, subject) == expected
    place = await asyncio.to_thread(subject._empty.directory)
    await subject.close()
    assert not await asyncio.to_thread(place.exists)


async def test_memory_is_bounded_and_large_answers_are_not_kept(app):
    subject = repositories()
    subject._memory._limit = 80_000
    for number in range(30):
        app.write({f"large/{number}": str(number) * 4000})
    commit = app.commit({"huge": "x" * 20_000})
    tree = await subject.tree(str(app), commit, "")
    for file in await subject.files(str(app), tree):
        await subject.read(str(app), file.blob)
    kept = [a for a, _ in subject._memory._answers.values() if isinstance(a, bytes)]
    assert sum(map(len, kept)) <= 80_000
    assert b"29" * 4000 in kept
    assert max(map(len, kept)) < 20_000


async def test_an_archive_that_is_dropped_halfway_leaves_no_process(app):
    app.commit({"big": bytes(10_000_000)})
    subject = repositories()
    tree = await subject.tree(str(app), app.git("rev-parse", "HEAD"), "")
    async with aclosing(subject.archive(str(app), tree)) as pieces:
        await anext(pieces)
        assert children()
    assert not children()


def children() -> str:
    return "".join(file.read_text() for file in Path("/proc/self/task").glob("*/children"))


async def test_many_questions_at_once_are_answered(app):
    subject = repositories()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(whole(app, subject)) for _ in range(20)]
    assert len({task.result()[0] for task in tasks}) == 1


async def test_ids_that_are_no_ids_never_reach_git(app):
    for name in ("--help", "HEAD", "main", "", "a" * 65, "0123456\n"):
        with pytest.raises(RepositoryError, match="is not the id of a git object"):
            await repositories().files(str(app), name)
