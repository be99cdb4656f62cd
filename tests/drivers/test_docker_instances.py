"""What only Docker's instances promise: real processes, files, logs, and what kills leave behind."""

import asyncio
import contextlib
from contextlib import aclosing
from dataclasses import replace

import pytest

from emulator.decisions.app_configuration import split_command
from emulator.drivers.docker import consumption, sandbox
from emulator.drivers.docker.engine import Engine, NotFoundError
from emulator.drivers.docker.events import Changes
from emulator.drivers.docker.labels import ROLE, Role, labels
from emulator.model.errors import EngineError
from emulator.model.instance import ContainerState, Endpoint
from tests.conftest import ENVIRONMENT
from tests.drivers.docker_world import (
    APPLICATION,
    DockerRig,
    Relay,
    ask,
    find_image,
    new_instance,
    new_service,
)

docker = pytest.mark.docker

# 30 MB at once, three times what one of the engine's files holds, then a line now and then.
BURST = r"""
$| = 1;
printf "%06d %s\n", $_, "x" x 73 for 1 .. 200000;
for (1 .. 1000) { print "tick $_\n"; select undef, undef, undef, 0.1 }
"""


@pytest.fixture
async def rig(tmp_path):
    async with await Engine.connect(ENVIRONMENT) as engine:
        rig = DockerRig(engine, await find_image(engine), tmp_path)
        yield rig
        await rig.close()
        assert await rig.containers() == []
        assert await rig.networks() == []
        assert rig.directories() == []


@docker
class TestProcesses:
    async def test_running_out_of_memory_is_reported(self, rig):
        instance, _ = await rig.launch(rig.revision(EAT="1"))
        seen = await rig.until(instance, ContainerState.EXITED)
        assert str(seen.exit) == "out of memory"

    async def test_a_command_that_does_not_exist_is_an_exit(self, rig):
        instance, _ = await rig.launch(replace(rig.revision(), command=("no-such-thing",)))
        assert (await rig.until(instance, ContainerState.EXITED)).exit.code == 127

    async def test_what_cannot_be_started_is_no_standby_any_more(self, rig):
        instance, revision = new_instance(), replace(rig.revision(), directory="/app/text")
        await rig.instances.prepare(instance, rig.service, revision)
        with pytest.raises(EngineError):
            await rig.instances.start(instance, revision)
        seen = await rig.seen(instance)
        assert seen.state is ContainerState.EXITED
        assert seen.exit.code != 0

    async def test_an_instance_never_starts_twice(self, rig):
        revision = rig.crashing(1)
        instance, _ = await rig.launch(revision)
        await rig.until(instance, ContainerState.EXITED)
        with pytest.raises(EngineError, match="never starts twice"):
            await rig.instances.start(instance, revision)

    async def test_is_asked_to_end_before_it_is_made_to(self, rig):
        async with rig.running():
            instance, endpoint = await rig.launch(rig.revision())
            await rig.answer(endpoint)
            await rig.instances.stop(instance, grace=10)
            assert (await rig.seen(instance)).exit.code == 0
            await rig.instances.remove(instance)
        assert "terminated" in await rig.tail(instance)

    async def test_gets_its_limits_and_no_more_rights_than_it_needs(self, rig):
        instance, _ = await rig.launch(rig.revision())
        shown = await rig.engine.get(await rig.path(instance, Role.INSTANCE) + "/json")
        host = shown["HostConfig"]
        assert (host["NanoCpus"], host["Memory"]) == (250_000_000, 512 * 1024 * 1024)
        assert host["MemorySwap"] == host["Memory"]
        assert host["PidsLimit"] == 1024
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert not {"NET_RAW", "CAP_NET_RAW"} & set(host["CapAdd"])
        assert "PORT=8080" in shown["Config"]["Env"]

    async def test_uses_what_the_kernel_and_the_engine_say_alike(self, rig):
        instance, endpoint = await rig.launch(rig.revision())
        await rig.answer(endpoint)
        mine = await rig.instances.consumption(instance)
        container = (await rig.path(instance, Role.INSTANCE)).rsplit("/", 1)[-1]
        theirs = await consumption.ask(rig.engine, container)
        assert mine.cpu == pytest.approx(theirs.cpu, abs=0.5)
        assert mine.memory == pytest.approx(theirs.memory, abs=32 * 2**20)

    async def test_is_not_seen_while_it_is_being_prepared(self, rig):
        instance, sights = new_instance(), []
        async with asyncio.TaskGroup() as group:
            work = group.create_task(rig.instances.prepare(instance, rig.service, rig.revision()))
            while not work.done():
                sights.append((await rig.instances.observe(), work.done()))
        assert all(seen == () for seen, done in sights if not done)
        assert (await rig.seen(instance)).state is ContainerState.CREATED


@docker
class TestSandboxes:
    @pytest.mark.parametrize("method", ["remove", "kill", "restart"])
    async def test_an_instance_without_its_network_counts_as_ended(self, rig, method):
        instance, endpoint = await rig.launch(rig.revision())
        await rig.answer(endpoint)
        path = await rig.path(instance, Role.SANDBOX)
        match method:
            case "remove":
                await rig.engine.delete(path, {"force": True})
            case "kill":
                await rig.engine.post(f"{path}/kill")
            case "restart":
                await rig.engine.post(f"{path}/restart", {"t": 0})
        seen = await rig.until(instance, ContainerState.EXITED)
        assert (seen.exit.code, seen.endpoint) == (255, None)

    async def test_a_standby_whose_sandbox_died_is_prepared_anew(self, rig):
        instance, revision = new_instance(), rig.revision()
        await rig.instances.prepare(instance, rig.service, revision)
        await rig.engine.delete(await rig.path(instance, Role.SANDBOX), {"force": True})
        assert (await rig.seen(instance)).state is ContainerState.EXITED
        await rig.instances.prepare(instance, rig.service, revision)
        assert await rig.answer(await rig.instances.start(instance, revision)) == "one"

    async def test_a_network_that_somebody_removed_is_made_again(self, rig):
        await rig.instances.prepare(new_instance(), rig.service, rig.revision())
        for found in await rig.containers():
            await rig.engine.delete(f"/containers/{found['Id']}", {"force": True})
        (network,) = await rig.networks()
        await rig.engine.delete(f"/networks/{network['Id']}")
        _, endpoint = await rig.launch(rig.revision())
        assert await rig.answer(endpoint) == "one"

    async def test_a_connection_that_nobody_accepts_is_seen_to_wait(self, rig):
        instance, endpoint = await rig.launch(rig.revision())
        assert await rig.answer(endpoint) == "one"
        _, held = await asyncio.open_connection(endpoint.host, endpoint.port)  # one at a time
        _, waiting = await asyncio.open_connection(endpoint.host, endpoint.port)
        while await rig.instances.takes(instance, 8080):
            await rig.clock.sleep(0.01)
        held.close()
        waiting.close()
        while not await rig.instances.takes(instance, 8080):
            await rig.clock.sleep(0.01)

    async def test_works_through_published_ports_where_addresses_cannot_be_dialled(self, rig):
        await rig.apart()
        tree = rig.trees.make({"server.pl": APPLICATION, "text": "afar"})
        revision = rig.revision_of(tree, links=(("etc", "/etc"),))
        instance, endpoint = await rig.launch(revision)
        assert endpoint.host == "127.0.0.1"
        assert await rig.answer(endpoint) == "afar"
        assert (await rig.seen(instance)).endpoint == endpoint
        assert await rig.instances.listening(instance) == (Endpoint(host="0.0.0.0", port=8080),)
        assert await rig.instances.takes(instance, 8080)  # as nobody can say
        await rig.instances.freeze(instance)
        assert (await rig.seen(instance)).state is ContainerState.FROZEN
        await rig.instances.freeze(instance)
        for _ in range(2):
            await rig.instances.thaw(instance)
        assert await rig.answer(endpoint) == "afar"


@docker
class TestFreezing:
    async def test_a_request_to_a_frozen_instance_is_answered_after_the_thaw(self, rig):
        instance, endpoint = await rig.launch(rig.revision())
        await rig.answer(endpoint)
        await rig.instances.freeze(instance)
        async with asyncio.TaskGroup() as group:
            request = group.create_task(ask(endpoint))
            done, _ = await asyncio.wait([request], timeout=0.2)
            assert not done
            await rig.instances.thaw(instance)
            assert await request == "one"

    async def test_a_thaw_that_overtakes_a_freeze_wins(self, rig):
        instance, endpoint = await rig.launch(rig.revision())
        await rig.answer(endpoint)
        for restarted in [True, False] * 15:
            if restarted:  # then both must look for it first
                rig.restart()
            await asyncio.gather(rig.instances.freeze(instance), rig.instances.thaw(instance))
            assert (await rig.seen(instance)).state is ContainerState.RUNNING

    async def test_a_restarted_emulator_finds_it_frozen_and_can_thaw_it(self, rig):
        instance, endpoint = await rig.launch(rig.revision())
        await rig.answer(endpoint)
        await rig.instances.freeze(instance)
        rig.restart()
        seen = await rig.seen(instance)
        assert (seen.state, seen.revision) == (ContainerState.FROZEN, "r1")
        rig.restart()
        await rig.instances.thaw(instance)
        assert await rig.answer(seen.endpoint) == "one"


@docker
class TestFiles:
    async def test_instances_do_not_see_each_others_writes(self, rig):
        _, first = await rig.launch(rig.revision())
        _, second = await rig.launch(rig.revision())
        assert await rig.answer(first, "/write") == "onew"
        assert await rig.answer(second) == "one"

    async def test_a_tree_that_leaves_itself_is_refused_by_name(self, rig):
        tree = rig.trees.make({"server.pl": APPLICATION}, {"deep/down": "../../outside"})
        with pytest.raises(EngineError, match="deep/down"):
            await rig.instances.prepare(new_instance(), rig.service, rig.revision_of(tree))
        assert await rig.containers() == []
        assert rig.directories() == []

    async def test_nothing_of_the_older_tree_is_left(self, rig):
        old = rig.trees.make({"server.pl": APPLICATION, "text": "old", "written": "old"})
        new = rig.trees.make({"server.pl": APPLICATION, "text": "new"})
        instance = new_instance()
        await rig.instances.prepare(instance, rig.service, rig.revision_of(old))
        endpoint = await rig.instances.start(instance, rig.revision_of(new, 2))
        assert await rig.answer(endpoint) == "new"

    async def test_files_of_another_user_are_removed_by_a_helper(self, rig):
        instance, endpoint = await rig.launch(rig.revision())
        await rig.answer(endpoint, "/write")
        app = rig.state_dir / "instances" / instance / "app"
        await rig.instances._files._empty_inside(app, rig.image)
        assert list(app.iterdir()) == []


@docker
class TestLogs:
    async def test_are_kept_when_the_instance_is_gone(self, rig):
        async with rig.running():
            instance, endpoint = await rig.launch(rig.revision())
            await rig.answer(endpoint)
            await rig.instances.remove(instance)
        assert set(await rig.tail(instance)) >= {"complaint", "listening"}

    @pytest.mark.observed
    async def test_no_shell_touches_the_words_of_a_start_command(self, rig):
        command = split_command('/bin/echo "a  $PORT" && `b` > *')
        instance, _ = await rig.launch(replace(rig.revision(), command=command))
        await rig.until(instance, ContainerState.EXITED)
        await rig.instances.remove(instance)
        assert await rig.tail(instance) == ('"a $PORT" && `b` > *',)

    async def test_are_kept_even_if_nobody_followed_them(self, rig):
        instance, _ = await rig.launch(rig.revision(EXIT="3"))
        await rig.until(instance, ContainerState.EXITED)
        await rig.instances.remove(instance)
        tail = await rig.tail(instance)  # the engine reads stdout and stderr separately
        assert sorted(tail) == ["complaint", "leaving"]

    async def test_arrive_while_the_instance_runs(self, rig):
        async with rig.running(), asyncio.timeout(10):
            instance, _ = await rig.launch(rig.revision())
            async with aclosing(
                rig.logs.read(rig.service.id, prefix=f"instance/{instance}", follow=True)
            ) as lines:
                async for line in lines:
                    if line.text == "listening":
                        break
        assert abs(line.at - rig.clock.now()) < 30

    async def test_go_on_after_a_restart_without_a_line_lost_or_doubled(self, rig):
        async with rig.running():
            instance, endpoint = await rig.launch(rig.revision(LINES_WANTED="2000"))
            await rig.answer(endpoint)
            while "listening" not in await rig.tail(instance):
                await rig.clock.sleep(0.01)
        rig.restart()
        async with rig.running():
            await rig.instances.observe()
            await rig.instances.stop(instance, grace=10)
            await rig.instances.remove(instance)
        tail = [text for text in await rig.tail(instance) if text != "complaint"]
        assert tail == [*(f"line {n}" for n in range(1, 2001)), "listening", "terminated"]

    @pytest.mark.timeout(180)
    async def test_a_burst_that_rotates_the_engines_files_does_not_silence_what_follows(self, rig):
        """Docker 20.10 stops following after it, and sends lines twice."""
        async with rig.running():
            instance, _ = await rig.launch(replace(rig.revision(), command=("perl", "-e", BURST)))
            async with asyncio.timeout(60):
                while "tick 50" not in (await rig.tail(instance))[-100:]:
                    await rig.clock.sleep(0.1)
            await rig.instances.remove(instance)
        tail = await rig.tail(instance)
        assert len(tail) == len(set(tail))
        ticks = [text for text in tail if text.startswith("tick")]
        assert ticks == [f"tick {n}" for n in range(1, len(ticks) + 1)]

    async def test_a_full_disk_does_not_lose_what_comes_after_it(self, rig):
        rig.logs.failure = OSError("no space left on device")
        async with rig.running():
            instance, endpoint = await rig.launch(rig.revision())
            await rig.answer(endpoint)
            rig.logs.failure = None
            await rig.instances.remove(instance)
        assert "listening" in await rig.tail(instance)


@docker
class TestLeftovers:
    async def test_a_sandbox_without_an_instance_is_swept(self, rig):
        instance = new_instance()
        await rig.instances.prepare(instance, rig.service, rig.revision())
        await rig.remove_by_hand(instance)
        (removed,) = await rig.instances.sweep([rig.service.id], [])
        assert instance in removed
        assert await rig.containers() == []
        assert rig.directories() == []

    async def test_files_without_containers_are_swept(self, rig):
        (rig.state_dir / "instances" / new_instance() / "app").mkdir(parents=True)
        (removed,) = await rig.instances.sweep([rig.service.id], [])
        assert removed.startswith("files of instance")
        assert rig.directories() == []

    async def test_a_prepared_instance_is_left_alone(self, rig):
        instance = new_instance()
        await rig.instances.prepare(instance, rig.service, rig.revision())
        rig.restart()
        assert await rig.instances.sweep([rig.service.id], []) == ()
        assert (await rig.seen(instance)).state is ContainerState.CREATED

    async def test_a_service_that_is_just_beginning_is_left_alone(self, rig):
        instance = new_instance()
        await rig.instances.prepare(instance, rig.service, rig.revision())
        assert await rig.instances.sweep(["another"], []) == ()
        assert await rig.seen(instance) is not None

    async def test_a_kill_at_any_moment_of_prepare_can_be_finished(self, rig):
        instance, revision = new_instance(), rig.revision()
        for milliseconds in (5, 20, 40, 80, 160, 240, 320):
            with contextlib.suppress(TimeoutError, EngineError):
                async with asyncio.timeout(milliseconds / 1000):
                    await rig.instances.prepare(instance, rig.service, revision)
            rig.restart()
        await rig.instances.prepare(instance, rig.service, revision)
        assert await rig.answer(await rig.instances.start(instance, revision)) == "one"

    @pytest.mark.parametrize("late", ["instance", "sandbox"])
    async def test_what_a_killed_emulator_asked_for_may_arrive_late(self, rig, late):
        own = rig.engine
        async with Late(own.connection, late) as rig.engine:
            rig.restart()
            _, endpoint = await rig.launch(rig.revision())
            assert await rig.answer(endpoint) == "one"
            assert rig.engine.arrived
            assert len(await rig.containers()) == 2
        rig.engine = own

    async def test_old_images_and_build_containers_are_swept(self, rig):
        kept, old = await built(rig, "kept"), await built(rig, "old")
        labelled = labels(rig.owner, Role.BUILD)
        body = {"Image": rig.image, "Cmd": ["true"], "Labels": labelled}
        await rig.engine.post("/containers/create", json=body)
        assert await rig.instances.sweep([rig.service.id], [kept]) == ()
        rig.clock.shift = 10.0
        rig.restart()
        removed = await rig.instances.sweep([rig.service.id], [kept])
        assert [word for word in removed if "image" in word] == [f"image {old}"]
        assert await rig.containers() == []
        assert await rig.engine.get(f"/images/{kept}/json")
        with pytest.raises(NotFoundError):
            await rig.engine.get(f"/images/{old}/json")

    async def test_a_name_that_the_user_gave_to_an_image_of_ours_stays(self, rig):
        image, theirs = await built(rig, "tagged"), f"apprunner-test:{rig.owner}"
        params = {"repo": "apprunner-test", "tag": rig.owner}
        await rig.engine.post(f"/images/{image}/tag", params)
        removed = await rig.instances.sweep([], [])
        assert f"image {image}" in removed
        assert (await rig.engine.get(f"/images/{theirs}/json"))["RepoTags"] == [theirs]
        await rig.engine.delete(f"/images/{theirs}")

    async def test_another_owners_things_are_left_alone(self, rig, tmp_path):
        (tmp_path / "other").mkdir()
        other = DockerRig(rig.engine, rig.image, tmp_path / "other")
        instance, _ = await other.launch(other.revision())
        await rig.instances.sweep([], [])
        assert await rig.instances.observe() == ()
        assert (await other.seen(instance)).state is ContainerState.RUNNING
        await other.close()


class Late(Engine):
    """An engine in which a predecessor's create of one container overtakes ours."""

    def __init__(self, connection, role):
        super().__init__(connection)
        self.role = role
        self.arrived = False

    async def post(self, path, params=None, **parts):
        body = parts.get("json") or {}
        wanted = path == "/containers/create" and body["Labels"][ROLE] == self.role
        if wanted and not self.arrived:
            with contextlib.suppress(NotFoundError):  # the sandbox's image is not there yet
                await super().post(path, params, **parts)
                self.arrived = True
        return await super().post(path, params, **parts)


async def built(rig, name):
    """A tiny image as a build leaves it, with a tag that only this test uses."""
    tag = f"apprunner-emulator/test-{name}:{rig.owner}"
    changes = [f'LABEL {key}="{value}"' for key, value in labels(rig.owner, Role.BUILD).items()]
    repository, _, version = tag.partition(":")
    params = {"fromSrc": "-", "repo": repository, "tag": version, "changes": changes}
    await rig.engine.post("/images/create", params, data=sandbox.image_archive("x86_64"))
    return tag


@docker
class TestChanges:
    async def test_what_we_end_ourselves_is_no_news(self, rig):
        instance, _ = await rig.launch(rig.revision())
        stays, _ = await rig.launch(rig.revision())
        changes = rig.instances.changes()
        async with aclosing(changes), asyncio.TaskGroup() as group:
            news = group.create_task(anext(changes))
            await rig.instances.stop(instance, grace=5)
            await rig.instances.remove(instance)
            assert not news.done()
            await rig.engine.post(await rig.path(stays, Role.INSTANCE) + "/kill")
            assert await news == rig.service.id

    async def test_says_so_when_the_engine_was_away(self, rig, tmp_path):
        async with Relay(tmp_path / "relay", rig.engine.connection.socket) as relay, relay.engine:
            follow = Changes(relay.engine, rig.owner, rig.clock).follow()
            async with aclosing(follow), asyncio.timeout(30):
                await hear_of_a_removal(rig, follow)
                await relay.cut()
                await relay.mend()
                await hear(follow, None)
                rig.service = new_service("another")
                await hear_of_a_removal(rig, follow)


async def hear_of_a_removal(rig, follow):
    """By hand, of an instance of the rig's service."""
    instance, _ = await rig.launch(rig.revision())
    async with asyncio.TaskGroup() as group:
        group.create_task(hear(follow, rig.service.id))
        await rig.clock.sleep(0)
        await rig.remove_by_hand(instance)


async def hear(follow, news):
    """Wait for these; others may be told twice."""
    while await anext(follow) != news:
        pass
