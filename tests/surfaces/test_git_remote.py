"""`git push` to the emulator: real git, real HTTP, over a machine in memory."""

import asyncio
import gzip
import os
from dataclasses import replace

import aiohttp
import pytest

from emulator.model.configuration import CodeSource, ImageSource, ServiceConfiguration
from emulator.model.errors import BuildError
from tests.helpers import GitRepository, git_repository, until
from tests.surfaces.git_world import FILES, git_world

pytestmark = pytest.mark.timeout(30)
CAPABILITIES = "report-status side-band-64k object-format=sha1"
NOTHING = "0" * 40


@pytest.fixture
async def world(tmp_path):
    async with git_world(tmp_path / "pushed") as running:
        yield running


@pytest.fixture
def repository(tmp_path):
    return git_repository(tmp_path, FILES)


async def commit(repository, version):
    return await asyncio.to_thread(repository.commit, {"app.py": f"print({version})\n"})


async def broken(world, repository):
    """The next commit is one whose build fails."""
    id_ = await asyncio.to_thread(repository.commit, {"requirements.txt": "flask\nno-such\n"})
    tree = await asyncio.to_thread(repository.git, "rev-parse", "HEAD^{tree}")
    world.machine.builder.failures[tree] = BuildError("pip3 install ended with exit code 1")
    return id_


async def updated(world, **values):
    """The service with another configuration."""
    service = world.service()
    await world.emulator.platform.update(service.id, replace(service.configuration, **values))
    await world.emulator.at_rest()


# -- what a push does ------------------------------------------------------------------------------


async def test_the_first_push_creates_the_service_and_tells_the_pusher_how(world, repository):
    pushed = await world.push(repository)
    assert pushed.code == 0
    assert pushed.remote[0] == "hello is created, from the branch main."
    assert "Service creation started." in pushed.remote
    assert "│ [Build] Step 1/1 : built" in pushed.remote
    *_, running, url, local = pushed.remote
    assert running.startswith("hello is RUNNING after ")
    assert url.endswith(".us-east-1.awsapprunner.localhost:8443")
    assert local.strip() == f"http://127.0.0.1:{world.service().port}"
    assert world.service().configuration.auto_deploy


async def test_the_lines_come_while_the_build_goes_on(world, repository):
    world.machine.builder.build_time = 1000
    process = await world.start(repository, "push", world.url(), "main")
    seen = b""
    while b"Starting source code build." not in seen:
        seen += await process.stderr.readline()
    await world.interrupt(process)


async def test_a_later_push_deploys_its_commit(world, repository):
    await world.push(repository)
    id_ = await commit(repository, 2)
    pushed = await world.push(repository)
    assert pushed.code == 0
    assert pushed.remote[0] == f"Commit {id_[:7]} (Change) is deployed."
    assert any("started. Triggering event : SERVICE_DEPLOY" in line for line in pushed.remote)
    assert len(set(pushed.remote)) == len(pushed.remote)
    assert pushed.remote[-3].startswith("hello is RUNNING after ")
    assert world.emulator.platform.ledger("hello").revisions["r2"].commit == id_


async def test_a_build_that_fails_refuses_neither_the_push_nor_what_runs(world, repository):
    await world.push(repository)
    id_ = await broken(world, repository)
    pushed = await world.push(repository)
    assert pushed.code == 0
    assert "hello: " in pushed.seen
    assert pushed.remote[-3].endswith("pip3 install ended with exit code 1")
    assert pushed.remote[-2] == "What was deployed before goes on serving."
    assert pushed.remote[-1].startswith("apprunner events hello tells the story, apprunner logs")
    assert (world.service().status, world.service().revision) == ("RUNNING", "r1")
    listed = await world.git(repository, "ls-remote", world.url(), "main")
    assert listed.seen.split()[0] == id_


async def test_a_push_mends_a_creation_that_failed(world, repository):
    await broken(world, repository)
    failed = await world.push(repository)
    assert failed.code == 0
    assert failed.remote[-2].endswith("pip3 install ended with exit code 1")
    await asyncio.to_thread(repository.commit, {"requirements.txt": "flask\n"})
    pushed = await world.push(repository)
    assert pushed.remote[-3].startswith("hello is RUNNING after ")


async def test_the_pushed_branch_becomes_the_service_s_and_a_clone_checks_it_out(
    world, repository, tmp_path
):
    await asyncio.to_thread(repository.git, "branch", "-m", "trunk")
    await world.push(repository, "trunk")
    assert world.service().configuration.source.branch == "trunk"
    cloned = await world.git(repository, "clone", world.url(), str(tmp_path / "clone"))
    assert cloned.code == 0
    assert (tmp_path / "clone" / "app.py").read_text() == FILES["app.py"]
    assert "trunk" in (tmp_path / "clone" / ".git" / "HEAD").read_text()


async def test_of_several_pushed_branches_main_is_deployed(world, repository):
    await asyncio.to_thread(repository.branch, "a-feature")
    await world.push(repository, "--all")
    assert world.service().configuration.source.branch == "main"


async def test_a_push_to_another_branch_is_stored_and_says_so(world, repository):
    await world.push(repository)
    await asyncio.to_thread(repository.git, "checkout", "--quiet", "-b", "feature")
    await commit(repository, 2)
    pushed = await world.push(repository, "feature")
    first, second = pushed.remote
    assert first == "Stored, but not deployed: hello deploys the branch main, not feature."
    assert second.endswith(f"apprunner deploy {world.root}/hello.git --name hello --branch feature")
    assert world.service().revisions == 1


async def test_a_tag_deploys_nothing_and_says_so(world, repository):
    await world.push(repository)
    await asyncio.to_thread(repository.git, "tag", "v1")
    pushed = await world.push(repository, "v1")
    assert pushed.remote == ["No branch was pushed: nothing is deployed."]


async def test_a_paused_service_is_not_deployed_and_the_pusher_is_told(world, repository):
    await world.push(repository)
    await world.emulator.platform.pause("hello")
    await world.emulator.at_rest()
    await commit(repository, 2)
    pushed = await world.push(repository)
    assert pushed.remote[0].endswith("is not deployed: the service is paused.")
    assert pushed.remote[-1] == "To deploy it: apprunner resume hello"


async def test_without_automatic_deployments_the_pusher_is_told_what_deploys(world, repository):
    await world.push(repository)
    await updated(world, auto_deploy=False)
    await commit(repository, 2)
    pushed = await world.push(repository)
    assert pushed.remote[-1] == "To deploy it: apprunner redeploy hello"
    assert world.service().revisions == 2  # the update's


async def test_a_service_with_another_source_is_left_alone(world, repository):
    image = ServiceConfiguration(source=ImageSource(identifier="app:1"))
    await world.emulator.platform.create("hello", image)
    pushed = await world.push(repository)
    assert pushed.remote[0] == "Stored, but not deployed: hello runs the image app:1."
    other = replace(image, source=CodeSource(repository=str(repository), branch="main"))
    await world.emulator.platform.create("other", other)
    pushed = await world.push(repository, name="other")
    assert pushed.remote[0] == f"Stored, but not deployed: other is deployed from {repository}."


async def test_what_cannot_be_created_is_told_with_what_to_do(world, repository):
    settings = world.emulator.platform.settings
    world.emulator.platform.settings = replace(
        settings, quotas=replace(settings.quotas, services=0)
    )
    pushed = await world.push(repository)
    assert pushed.code == 0
    assert pushed.remote[0].startswith("Stored, but nothing is deployed: ")
    assert pushed.remote[1].endswith(f"apprunner deploy {world.root}/hello.git")


async def test_a_push_during_a_deployment_is_queued_and_then_watched(world, repository):
    await world.push(repository)
    world.machine.builder.build_time = 0.5
    first = await asyncio.to_thread(repository.commit, {"requirements.txt": "flask\nrich\n"})
    async with asyncio.TaskGroup() as group:
        pushing = group.create_task(world.push(repository))
        ledger = world.emulator.platform.ledger("hello")
        await until(lambda: ledger.operation is not None and ledger.operation.commit == first)
        second = await commit(repository, 3)
        queued = await world.push(repository)
    assert pushing.result().remote[-3].startswith("hello is RUNNING")
    assert (
        queued.remote[0] == f"Commit {second[:7]} (Change) is queued: an operation is in progress."
    )
    assert queued.remote[-3].startswith("hello is RUNNING")
    assert [r.commit for r in ledger.revisions.values()][1:] == [first, second]


async def test_a_pusher_who_leaves_misses_the_story_and_nothing_else(world, repository):
    process = await world.start(repository, "push", world.url(), "main")
    while b"Service creation started." not in await process.stderr.readline():
        pass
    await world.interrupt(process)
    assert (await world.emulator.at_rest()).status == "RUNNING"


async def test_an_emulator_that_stops_ends_the_push_well(world, repository):
    world.machine.builder.build_time = 1000
    process = await world.start(repository, "push", world.url(), "main")
    while b"Starting source code build." not in await process.stderr.readline():
        pass
    await world.stop_serving()
    _, rest = await process.communicate()
    assert process.returncode == 0
    assert b"remote: The emulator stops: what is not finished goes on at its next start." in rest


async def test_a_deleted_service_leaves_its_repository_for_the_next_push(world, repository):
    await world.push(repository)
    first = world.service().id
    await world.emulator.platform.delete("hello")
    await commit(repository, 2)
    pushed = await world.push(repository)
    assert pushed.remote[0] == "hello is created, from the branch main."
    assert world.service().id != first
    assert (await world.git(repository, "ls-remote", world.url())).code == 0


async def test_two_services_never_share_a_repository(world, repository):
    async with asyncio.TaskGroup() as group:
        group.create_task(world.push(repository, name="hello"))
        group.create_task(world.push(repository, name="world"))
    sources = {world.service(n).configuration.source.repository for n in ("hello", "world")}
    assert sources == {f"{world.root}/hello.git", f"{world.root}/world.git"}


async def test_two_first_pushes_at_once_make_one_service(world, repository):
    await asyncio.to_thread(repository.branch, "other")
    async with asyncio.TaskGroup() as group:
        both = [group.create_task(world.push(repository, name)) for name in ("main", "other")]
    told = sorted(task.result().remote[0] for task in both)
    assert [task.result().code for task in both] == [0, 0]
    assert told[0].startswith("Stored, but not deployed: hello deploys the branch ")
    assert told[1].startswith("hello is created, from the branch ")


# -- what git does ---------------------------------------------------------------------------------


async def test_the_branch_that_is_deployed_cannot_be_deleted(world, repository):
    await world.push(repository)
    pushed = await world.push(repository, ":main")
    assert pushed.code == 1
    assert "deletion of the current branch prohibited" in pushed.seen
    assert world.service().status == "RUNNING"


async def test_a_push_that_git_refuses_deploys_nothing(world, repository):
    await world.push(repository)
    await asyncio.to_thread(repository.git, "commit", "--amend", "--message", "Rewritten")
    pushed = await world.push(repository)
    assert pushed.code == 1
    assert pushed.remote == []
    forced = await world.push(repository, "--force", "main")
    assert forced.remote[-3].startswith("hello is RUNNING")


async def test_a_shallow_clone_may_push(world, repository, tmp_path):
    await commit(repository, 2)
    source = f"file://{repository.path}"
    await world.git(repository, "clone", "--depth=1", source, str(tmp_path / "shallow"))
    pushed = await world.push(GitRepository(tmp_path / "shallow"))
    assert pushed.remote[-3].startswith("hello is RUNNING")


async def test_ids_of_both_kinds_can_be_pushed(world, tmp_path):
    modern = git_repository(tmp_path, FILES, options=("--object-format=sha256",))
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{world.base}/_emulator/git/hello?format=sha256") as answer,
    ):
        assert await answer.json() == {
            "Name": "hello",
            "Url": world.url(),
            "Repository": f"{world.root}/hello.git",
            "ObjectFormat": "sha256",
        }
    pushed = await world.push(modern)
    assert pushed.remote[-3].startswith("hello is RUNNING")
    assert len(world.emulator.platform.ledger("hello").revisions["r1"].commit) == 64


async def test_a_big_push_comes_in_chunks_and_goes_out_again(world, repository, tmp_path):
    """Over the limit of the other endpoints' bodies, and of git's buffer."""
    await asyncio.to_thread(repository.commit, {"data.bin": os.urandom(12_000_000)})
    pushed = await world.push(repository)
    assert pushed.remote[-3].startswith("hello is RUNNING")
    await world.git(repository, "clone", "--quiet", world.url(), str(tmp_path / "clone"))
    data = (tmp_path / "clone" / "data.bin").read_bytes()
    assert data == (repository.path / "data.bin").read_bytes()


async def test_a_fetch_whose_request_git_compresses_is_understood(world, repository, tmp_path):
    """Git compresses a request over a kilobyte: here, what is wanted."""
    for number in range(60):
        await commit(repository, number)
        await asyncio.to_thread(repository.branch, f"branch-{number}")
    await world.push(repository, "--all")
    cloned = await world.git(repository, "clone", world.url(), str(tmp_path / "clone"))
    assert cloned.code == 0
    clone = GitRepository(tmp_path / "clone")
    assert "origin/branch-59" in await asyncio.to_thread(clone.git, "branch", "--remotes")


# -- requests that git makes elsewhere, or not at all ----------------------------------------------


def request_of(repository, capabilities=CAPABILITIES):
    """The body of a first push of main."""
    head = repository.git("rev-parse", "HEAD")
    pack = repository.path / "pack"
    pack.mkdir()
    repository.git("pack-objects", "--quiet", "--revs", "pack/p", data=f"{head}\n".encode())
    (content,) = [path.read_bytes() for path in pack.glob("*.pack")]
    command = f"{NOTHING} {head} refs/heads/main\0 {capabilities}".encode()
    return f"{len(command) + 4:04x}".encode() + command + b"0000" + content


async def sent(world, body, *, headers=None, **more):
    """Status and content of the answer to a push whose repository is not there yet."""
    about = {"Content-Type": "application/x-git-receive-pack-request"} | (headers or {})
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{world.url()}/git-receive-pack", data=body, headers=about, **more) as answer,
    ):
        return answer.status, await answer.read()


async def pieces(body):
    yield body[:7]
    yield body[7:]


async def test_a_compressed_push_is_understood(world, repository):
    body = gzip.compress(await asyncio.to_thread(request_of, repository))
    status, answer = await sent(world, body, headers={"Content-Encoding": "gzip"})
    assert status == 200
    assert b"ok refs/heads/main" in answer
    assert b"hello is RUNNING" in answer
    assert answer.endswith(b"0000")


async def test_a_push_that_asks_before_it_sends_is_let_go_on(world, repository):
    body = await asyncio.to_thread(request_of, repository)
    status, answer = await sent(world, pieces(body), expect100=True)
    assert (status, b"hello is RUNNING" in answer) == (200, True)


async def test_a_pusher_without_a_side_band_gets_the_report_alone(world, repository):
    body = await asyncio.to_thread(request_of, repository, "report-status")
    _, answer = await sent(world, body)
    assert answer == b"000eunpack ok\n0017ok refs/heads/main\n0000"
    assert (await world.emulator.at_rest()).status == "RUNNING"


async def test_half_a_push_is_thrown_away(world, repository):
    body = await asyncio.to_thread(request_of, repository)
    host, port = world.base.removeprefix("http://").split(":")
    head = (
        f"POST /_emulator/git/hello.git/git-receive-pack HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Content-Type: application/x-git-receive-pack-request\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + body[:-30])
    await writer.drain()
    await until(lambda: any(world.root.glob("hello.git/objects/*incoming*")))
    writer.close()
    await writer.wait_closed()
    await until(lambda: not any(world.root.glob("hello.git/objects/*incoming*")))
    pushed = await world.push(repository)
    assert pushed.remote[0] == "hello is created, from the branch main."


@pytest.mark.parametrize(
    "name",
    ["x", "..", "%2e%2e", "hello%2F..%2Fother", "hello%00", ".hello", "h\u00e9llo", "a" * 41],
)
async def test_what_cannot_be_a_service_s_name_is_no_repository(world, repository, name):
    pushed = await world.push(repository, name=name)
    assert pushed.code == 128
    assert not world.root.exists()


async def test_a_bad_name_is_explained_to_the_pusher(world, repository):
    pushed = await world.push(repository, name="x")
    assert "'serviceName' failed to satisfy constraint" in "".join(pushed.remote)


async def test_nothing_is_to_be_fetched_before_something_was_pushed(world, repository, tmp_path):
    cloned = await world.git(repository, "clone", world.url(), str(tmp_path / "clone"))
    assert cloned.code == 128
    assert cloned.remote == ["nothing was pushed to hello yet"]
    assert not world.root.exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Host": "evil.example:8400"},
        {"Sec-Fetch-Mode": "no-cors"},
    ],
)
async def test_a_web_page_cannot_make_a_repository(world, headers):
    asked = f"{world.url()}/info/refs?service=git-receive-pack"
    async with aiohttp.ClientSession() as session, session.get(asked, headers=headers) as answer:
        assert answer.status == 403
    assert not world.root.exists()


@pytest.mark.parametrize(
    "path",
    ["config", "HEAD", "info/refs", "info/refs?service=git-upload-archive", "objects/info/packs"],
)
async def test_the_repository_s_files_are_not_served(world, repository, path):
    await world.push(repository)
    async with aiohttp.ClientSession() as session, session.get(f"{world.url()}/{path}") as answer:
        assert answer.status == 404
