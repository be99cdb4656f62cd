"""From a repository that anybody may have written to what an instance or a build gets of it."""

import asyncio
import io
import os
import tarfile
import tracemalloc
import uuid
from contextlib import aclosing, suppress

import pytest

from emulator import bootstrap
from emulator.controllers.deployment import Planner
from emulator.drivers import git, yaml
from emulator.drivers.clock import SystemClock
from emulator.drivers.docker.build_context import context
from emulator.drivers.docker.builder import DockerBuilder
from emulator.drivers.docker.engine import Engine, NotFoundError
from emulator.drivers.docker.trees import lay_tree
from emulator.drivers.git import GitRepositories
from emulator.drivers.watch import Watcher
from emulator.model.configuration import CodeSource
from emulator.model.errors import EngineError, RepositoryError
from emulator.model.identifiers import OperationId, ServiceId
from emulator.model.settings import Limits
from emulator.ports import BuildRequest
from tests.conftest import ENVIRONMENT
from tests.helpers import GIT_ENVIRONMENT, git_repository

pytestmark = pytest.mark.timeout(120)
PACKS = bootstrap._buildpacks()
PYTHON = {"app.py": "from flask import Flask\napp = Flask('')\n", "requirements.txt": "flask\n"}
NAMES = [
    b"caf\xe9.txt",
    "café ☕.txt".encode(),
    b"two\nlines",
    b"quotes '\" and `$(touch x)`",
    b"-rf",
    b" blanks at both ends ",
    b"back\\slash",
    b"tab\t*?[a]",
    b"n" * 255,
    b"/".join([b"d" * 90] * 4) + b"/" + "ü".encode() * 100,
    b"\xff\xfe/\x80",
]


@pytest.fixture
async def subject():
    repositories = GitRepositories(GIT_ENVIRONMENT, {}, Watcher(SystemClock()))
    yield repositories
    await repositories.close()


def source(repository, directory="/"):
    return CodeSource(repository=str(repository), branch="main", source_directory=directory)


def planner(subject):
    return Planner(subject, buildpacks=PACKS, parse=yaml.load)


async def snapshot(subject, repository, directory="/"):
    return await planner(subject).snapshot(source(repository, directory), None)


async def plan(subject, repository, directory="/"):
    found = await snapshot(subject, repository, directory)
    return planner(subject).decide(found, source(repository, directory), {}).plan


# -- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["apprunner.yaml", "Dockerfile", "requirements.txt", "any/other"])
async def test_a_link_out_of_the_repository_is_refused_with_its_target(tmp_path, subject, name):
    (tmp_path / "host-file").write_text("secret")
    app = git_repository(tmp_path, {"app.py": "", "any/file": ""})
    (app.path / name).symlink_to(tmp_path / "host-file")
    app.commit({})
    with pytest.raises(RepositoryError, match=rf"{name} -> {tmp_path}/host-file: .* leads out"):
        await snapshot(subject, app)
    with pytest.raises(RepositoryError, match="leads out"):
        await planner(subject).working_tree(source(app), await subject.snapshot(str(app)))


async def test_a_link_to_another_file_of_the_repository_is_that_file(tmp_path, subject):
    app = git_repository(tmp_path, {"shared/requirements.txt": "flask\n", "web/app.py": ""})
    for name in ("app.py", "requirements.txt"):
        (app.path / "web" / name).unlink(missing_ok=True)
    (app.path / "list.txt").symlink_to("shared/requirements.txt")
    (app.path / "web/requirements.txt").symlink_to("../list.txt")
    app.commit({"web/app.py": PYTHON["app.py"]})
    found = await snapshot(subject, app, "/web")
    assert found.contents["requirements.txt"] == b"flask\n"
    assert found.trails["requirements.txt"] == (
        "web/requirements.txt",
        "list.txt",
        "shared/requirements.txt",
    )
    assert (await plan(subject, app, "/web")).inputs == ("requirements.txt",)


def tar_of(*entries):
    """Of (name, type, target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, target in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info, io.BytesIO())
    return out.getvalue()


async def laid(tmp_path, *entries):
    async def pieces():
        yield tar_of(*entries)

    directory = tmp_path / "laid"
    directory.mkdir()
    await lay_tree(pieces(), (), directory)
    return directory


FILE, LINK, DIRECTORY = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize(
    "entries",
    [
        [("out", LINK, "/etc/passwd")],
        [("a/up", LINK, ".."), ("out", LINK, "a/up/../x")],
        [("../x", FILE, "")],
        [("/x", FILE, "")],
        [("hard", tarfile.LNKTYPE, "/etc/passwd")],
        [("device", tarfile.CHRTYPE, "")],
    ],
)
async def test_an_archive_that_leads_out_is_not_laid(tmp_path, entries):
    with pytest.raises(EngineError, match=r"leaves the source tree|is neither a file"):
        await laid(tmp_path, *entries)
    assert {p.name for p in tmp_path.iterdir()} == {"laid"}


async def test_links_inside_are_laid_also_over_other_links(tmp_path):
    inside = [("app.py", FILE, ""), ("deep/er/x", FILE, ""), ("d", LINK, "deep/er")]
    directory = await laid(tmp_path, *inside, ("app", LINK, "d/../../app.py"))
    assert (directory / "app").resolve() == directory / "app.py"


async def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "outside").mkdir()
    await laid(tmp_path, ("a", LINK, "b"), ("a/x", FILE, ""), ("b", DIRECTORY, ""))
    assert not list((tmp_path / "laid" / "b").iterdir())


@pytest.mark.parametrize("path", ["..", ".git", ".GIT"])
async def test_a_tree_that_git_would_never_check_out_is_refused(tmp_path, subject, path):
    app = git_repository(tmp_path, PYTHON)
    blob = app.git("hash-object", "-w", "--stdin", data=b"#!/bin/sh\n")
    inner = app.git("mktree", data=f"100755 blob {blob}\thook\n".encode())
    tree = app.git("mktree", data=f"040000 tree {inner}\t{path}\n".encode())
    app.git("update-ref", "refs/heads/main", app.git("commit-tree", "-m", "Hostile", tree))
    with pytest.raises(RepositoryError, match="no path that git would check out"):
        await snapshot(subject, app)


async def test_pointers_of_large_files_are_named(tmp_path, subject):
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 9\n"
    app = git_repository(tmp_path, {**PYTHON, "model.bin": pointer})
    (warning,) = (await plan(subject, app)).warnings
    assert warning.startswith("model.bin (9 bytes) is a Git LFS pointer")


async def test_a_missing_submodule_is_a_warning_of_the_plan(tmp_path, subject):
    library = git_repository(tmp_path, {"lib.py": ""}, name="library")
    app = git_repository(tmp_path, PYTHON)
    app.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    app.commit({})
    assert (await plan(subject, app)).warnings == ()
    app.git("clone", "--quiet", "--bare", str(app), str(tmp_path / "bare"))
    await asyncio.to_thread(library.path.rename, tmp_path / "away")
    (warning,) = (await plan(subject, tmp_path / "bare")).warnings
    assert warning.startswith(f"the submodule lib ({library}, commit ")


# -- names ---------------------------------------------------------------------------------------


@pytest.fixture
def named(tmp_path):
    """Files whose content is their name."""
    app = git_repository(tmp_path)
    app.write({os.fsdecode(name): name for name in NAMES})
    app.commit({"Dockerfile": "FROM scratch\nCOPY . /app\n"})
    return app


def found_in(tar):
    """Names and contents; the one Dockerfile is not of interest."""
    return {
        os.fsencode(member.name): tar.extractfile(member).read()
        for member in tar
        if member.isfile() and not member.name.endswith("Dockerfile")
    }


async def test_names_in_any_encoding_reach_an_instance_and_a_context(named, subject, tmp_path):
    seen = await snapshot(subject, named)
    assert {os.fsencode(p) for p in seen.files} == {*NAMES, b"Dockerfile"}
    assert await subject.snapshot(str(named)) == seen.root
    laid = tmp_path / "laid"
    laid.mkdir()
    await lay_tree(subject.archive(str(named), seen.root), (), laid)
    for name in NAMES:
        assert (laid / os.fsdecode(name)).read_bytes() == name
    dropped = {os.fsdecode(NAMES[0]), "Dockerfile"}
    pieces = context("", (), subject.archive(str(named), seen.root), lambda p: p not in dropped)
    data = io.BytesIO(b"".join([piece async for piece in pieces]))
    with tarfile.open(fileobj=data) as tar:
        kept = found_in(tar)
    assert {n: c for n, c in kept.items() if n in NAMES} == {n: n for n in NAMES[1:]}


@pytest.mark.docker
async def test_names_in_any_encoding_reach_an_image(named, subject):
    tag = f"apprunner-emulator-test:{uuid.uuid4().hex}"
    seen = await snapshot(subject, named)
    request = BuildRequest(
        service=ServiceId("s" * 32),
        operation=OperationId("o"),
        dockerfile="FROM scratch\nCOPY . /app\n",
        tag=tag,
        repository=str(named),
        tree=seen.root,
        own=True,
    )
    async with await Engine.connect(ENVIRONMENT) as engine:
        builder = DockerBuilder(
            engine,
            owner=uuid.uuid4().hex,
            repository=subject,
            clock=SystemClock(),
            environment=ENVIRONMENT,
            limits=Limits(),
        )
        try:
            image = await builder.build(request, lambda _: None)
            body = {"Image": image, "Cmd": ["none"]}
            container = (await engine.post("/containers/create", json=body))["Id"]
            try:
                stream = engine.chunks("GET", f"/containers/{container}/archive", {"path": "/app"})
                data = io.BytesIO(b"".join([piece async for piece in stream]))
            finally:
                await engine.delete(f"/containers/{container}")
            with tarfile.open(fileobj=data) as tar:
                found = {n.removeprefix(b"app/"): c for n, c in found_in(tar).items()}
            assert found == {name: name for name in NAMES}
        finally:
            with suppress(NotFoundError, EngineError):
                await engine.delete(f"/images/{tag}")


# -- size ----------------------------------------------------------------------------------------


async def test_a_large_file_is_never_in_memory(tmp_path, subject):
    size = 64_000_000
    app = git_repository(tmp_path)
    app.commit({"large": os.urandom(1_000_000) * (size // 1_000_000)})
    tree = (await snapshot(subject, app)).root

    async def consumed():
        async with aclosing(context("", (), subject.archive(str(app), tree), lambda _: True)) as s:
            return sum([len(piece) async for piece in s])

    (tmp_path / "laid").mkdir()
    tracemalloc.start()
    try:
        assert await consumed() > size
        await lay_tree(subject.archive(str(app), tree), (), tmp_path / "laid")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "laid" / "large").stat().st_size == size
    assert most < size // 2  # what a tree may have in memory, and a few pieces


async def test_a_few_objects_that_name_too_many_files_do_not_fill_the_memory(
    tmp_path, subject, monkeypatch
):
    monkeypatch.setattr(git, "MOST_FILES", 10_000)
    app = git_repository(tmp_path)
    blob = app.git("hash-object", "-w", "--stdin", data=b"x")
    entry = f"100644 blob {blob}"
    for _ in range(12):
        lines = "".join(f"{entry}\t{name}\n" for name in "abcdefghij")
        tree = app.git("mktree", data=lines.encode())
        entry = f"040000 tree {tree}"
    app.git("update-ref", "refs/heads/main", app.git("commit-tree", "-m", "Bomb", tree))
    with pytest.raises(RepositoryError, match=r"more than 10,000 files .* too many to deploy"):
        await snapshot(subject, app)
