"""Repositories that are pushed to: made whole or not at all, on nobody's terms but ours."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from emulator.drivers.git_remote import GitRemotes
from emulator.model.errors import RepositoryError
from emulator.ports import GitRequest, PushedRepositories
from tests.helpers import GIT_ENVIRONMENT, GitRepository, git_repository

PUSH, FETCH = "git-receive-pack", "git-upload-pack"


@pytest.fixture
def remotes(tmp_path):
    return GitRemotes(GIT_ENVIRONMENT, tmp_path / "pushed")


@pytest.fixture
def repository(tmp_path):
    return git_repository(tmp_path, {"app.py": "print(1)\n"})


async def asked(remotes, service=PUSH, name="hello"):
    """Status, headers and body of what git answers to a first question."""
    request = GitRequest(service=service, advertise=True)
    async with remotes.serve(name, request, None) as answer:
        body = b"".join([piece async for piece in answer.body])
        return answer.status, dict(answer.headers), body


async def pushed_to(remotes, repository, name="hello"):
    """By path: what is looked at is the repository, not the way there."""
    path = remotes.path(name)
    await asyncio.to_thread(repository.git, "push", "--quiet", path, "main")
    return GitRepository(Path(path))


def head(remotes, name="hello"):
    return Path(remotes.path(name), "HEAD").read_text()


def leftovers(bare):
    return [*bare.glob("objects/*incoming*"), *bare.rglob("*.lock"), *bare.parent.glob(".*")]


async def test_it_is_the_port(remotes):
    port: PushedRepositories = remotes
    assert port.path("hello").endswith("/pushed/hello.git")


async def test_the_first_question_of_a_push_makes_it(remotes):
    status, headers, body = await asked(remotes)
    assert status == 200
    assert headers["Content-Type"] == "application/x-git-receive-pack-advertisement"
    assert body.startswith(b"001f# service=git-receive-pack\n")
    assert head(remotes) == "ref: refs/heads/main\n"


async def test_a_fetch_makes_nothing(remotes, tmp_path):
    with pytest.raises(RepositoryError, match="nothing was pushed to hello yet"):
        await asked(remotes, FETCH)
    assert not (tmp_path / "pushed").exists()


async def test_it_is_made_once_and_keeps_what_it_has(remotes, repository):
    async with asyncio.TaskGroup() as group:
        made = [group.create_task(remotes.make("hello")) for _ in range(5)]
    assert {task.result() for task in made} == {"sha1"}
    bare = await pushed_to(remotes, repository)
    assert await remotes.make("hello") == "sha1"
    assert await asyncio.to_thread(bare.git, "rev-parse", "main")


async def test_an_empty_one_takes_the_other_kind_of_ids_a_full_one_does_not(remotes, repository):
    await remotes.make("hello")
    assert await remotes.make("hello", "sha256") == "sha256"
    assert await remotes.make("hello") == "sha256"
    await remotes.make("world")
    await pushed_to(remotes, repository, "world")
    with pytest.raises(RepositoryError, match="holds sha1 commits already"):
        await remotes.make("world", "sha256")


async def test_what_a_killed_emulator_left_is_in_nobody_s_way(remotes, repository, tmp_path):
    await remotes.make("hello")
    bare = Path(remotes.path("hello"))
    (bare / "objects" / "tmp_objdir-incoming-x" / "pack").mkdir(parents=True)
    (bare / "refs" / "heads" / "main.lock").touch()
    (bare / "packed-refs.lock").touch()
    half = bare.with_name(".world.git")
    half.mkdir()
    (half / "config").write_text("[half")
    again = GitRemotes(GIT_ENVIRONMENT, tmp_path / "pushed")
    await again.make("hello")
    await pushed_to(again, repository)
    await again.make("world")
    assert leftovers(bare) == []


async def test_no_hook_of_the_machine_gets_in_and_none_runs(remotes, repository, tmp_path):
    template = tmp_path / "template" / "hooks"
    template.mkdir(parents=True)
    (template / "post-receive").write_text("#!/bin/sh\ntouch ran\n")
    (template / "post-receive").chmod(0o755)
    environment = GIT_ENVIRONMENT | {"GIT_TEMPLATE_DIR": str(template.parent)}
    remotes = GitRemotes(environment, tmp_path / "pushed")
    await remotes.make("hello")
    bare = Path(remotes.path("hello"))
    assert not (bare / "hooks").exists()
    (bare / "hooks").mkdir()
    (template / "post-receive").rename(bare / "hooks" / "post-receive")
    await pushed_to(remotes, repository)
    assert not (bare / "ran").exists()


async def test_a_clone_checks_out_the_branch_that_is_pointed_at(remotes):
    await remotes.make("hello")
    await remotes.point("hello", "trunk")
    await remotes.point("hello", "trunk")
    assert head(remotes) == "ref: refs/heads/trunk\n"


async def test_a_body_of_the_wrong_type_is_refused_by_git(remotes):
    async def pieces():
        yield b"0000"

    request = GitRequest(service=PUSH, content_type="text/plain")
    body = pieces()
    async with aclosing(body), remotes.serve("hello", request, body) as answer:
        assert answer.status == 415


async def test_what_git_cannot_read_ends_early(remotes):
    async def pieces():
        yield b"0065nonsense"

    request = GitRequest(service=PUSH, content_type="application/x-git-receive-pack-request")
    async with remotes.serve("hello", request, pieces()) as answer:
        assert answer.status == 200
        assert [piece async for piece in answer.body] == []


async def test_without_git_it_says_what_to_install(tmp_path):
    remotes = GitRemotes({"PATH": str(tmp_path)}, tmp_path / "pushed")
    with pytest.raises(RepositoryError, match="apt-get install git"):
        await asked(remotes)


async def test_without_http_backend_it_says_what_to_install(remotes, tmp_path):
    """Some distributions keep it in a package of its own."""
    await remotes.make("hello")
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text("#!/bin/sh\necho \"git: 'http-backend' is not a git command.\" >&2\nexit 1\n")
    git.chmod(0o755)
    poor = GitRemotes({"PATH": f"{git.parent}:/bin:/usr/bin"}, tmp_path / "pushed")
    with pytest.raises(RepositoryError, match="no http-backend"):
        await asked(poor)
