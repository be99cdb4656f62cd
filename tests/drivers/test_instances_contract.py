"""The promises of the `Instances` port, kept by the fake and by Docker alike."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from emulator.drivers.docker.engine import Engine
from emulator.model.errors import EngineError
from emulator.model.identifiers import Epoch, RevisionId
from emulator.model.instance import ContainerState, Endpoint, Exit
from emulator.model.revision import Revision, SourceTree
from tests.conftest import ENVIRONMENT
from tests.drivers.docker_world import DockerRig, find_image, new_instance, new_service
from tests.fakes.clock import LoopClock
from tests.fakes.instances import FakeInstances
from tests.fakes.world import Behaviour, World


class FakeRig:
    """The same for the fake: an application answers with the name of its source tree."""

    kind = "fake"

    def __init__(self) -> None:
        self.world = World()
        self.clock = LoopClock()
        self.service = new_service()
        self.restart()

    def restart(self) -> FakeInstances:
        self.instances = FakeInstances(self.world, self.clock)
        self.instances.start_time = self.instances.stop_time = 0.001
        return self.instances

    def revision(self, text: str = "one", number: int = 1, **env: str) -> Revision:
        return Revision(
            id=RevisionId(f"r{number}"),
            service=self.service.id,
            image="image",
            source=SourceTree(repository="somewhere", tree=text),
            env=env,
            commit=text,
            created_at=Epoch(0),
        )

    def crashing(self, code: int) -> Revision:
        self.world.behaviours["crashing"] = Behaviour(boot=0, crashes_after=0.01, exit_code=code)
        return self.revision("crashing")

    def local(self) -> Revision:
        elsewhere = Endpoint(host="127.0.0.1", port=8080)
        self.world.behaviours["local"] = Behaviour(boot=0, listens_on=elsewhere)
        return self.revision("local")

    async def answer(self, endpoint: Endpoint) -> str:
        (found,) = (c for c in self.world.containers.values() if c.seen.endpoint == endpoint)
        assert found.seen.state is ContainerState.RUNNING
        assert found.revision is not None
        assert found.revision.source is not None
        return found.revision.source.tree

    async def remove_by_hand(self, instance) -> None:
        self.world.remove_by_hand(instance)

    launch = DockerRig.launch
    seen = DockerRig.seen
    until = DockerRig.until


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
async def rig(request, tmp_path):
    if request.param == "fake":
        yield FakeRig()
        return
    async with await Engine.connect(ENVIRONMENT) as engine:
        rig = DockerRig(engine, await find_image(engine), tmp_path)
        yield rig
        await rig.close()


async def test_an_instance_lives_from_prepared_to_removed(rig):
    instance, revision = new_instance(), rig.revision("one")
    await rig.instances.prepare(instance, rig.service, revision)
    seen = await rig.seen(instance)
    assert seen.state is ContainerState.CREATED
    assert (seen.service, seen.fingerprint) == (rig.service.id, revision.fingerprint)
    assert (seen.revision, seen.endpoint, seen.exit) == (None, None, None)
    assert await rig.instances.consumption(instance) is None

    endpoint = await rig.instances.start(instance, revision)
    assert await rig.answer(endpoint) == "one"
    seen = await rig.seen(instance)
    assert seen.state is ContainerState.RUNNING
    assert (seen.revision, seen.endpoint) == (revision.id, endpoint)
    assert abs(seen.started_at - rig.clock.now()) < 60
    used = await rig.instances.consumption(instance)
    assert used.cpu > 0
    assert 2**20 < used.memory < 2**31

    await rig.instances.freeze(instance)
    assert (await rig.seen(instance)).state is ContainerState.FROZEN
    await rig.instances.thaw(instance)
    assert (await rig.seen(instance)).state is ContainerState.RUNNING
    assert await rig.answer(endpoint) == "one"

    await rig.instances.stop(instance, grace=5)
    seen = await rig.seen(instance)
    assert seen.state is ContainerState.EXITED
    assert seen.exit is not None
    assert seen.revision == revision.id

    await rig.instances.remove(instance)
    assert await rig.seen(instance) is None


async def test_a_standby_serves_another_tree_of_the_same_fingerprint(rig):
    instance, newer = new_instance(), rig.revision("two", number=2)
    await rig.instances.prepare(instance, rig.service, rig.revision("one"))
    endpoint = await rig.instances.start(instance, newer)
    assert await rig.answer(endpoint) == "two"
    assert (await rig.seen(instance)).revision == "r2"


async def test_a_standby_does_not_serve_another_configuration(rig):
    instance = new_instance()
    await rig.instances.prepare(instance, rig.service, rig.revision("one"))
    with pytest.raises(EngineError):
        await rig.instances.start(instance, rig.revision("one", number=2, COLOUR="blue"))
    assert (await rig.seen(instance)).state is ContainerState.CREATED


async def test_what_was_never_prepared_cannot_be_started(rig):
    with pytest.raises(EngineError):
        await rig.instances.start(new_instance(), rig.revision())


async def test_every_call_can_be_repeated(rig):
    instance, revision = new_instance(), rig.revision()
    for _ in range(2):
        await rig.instances.prepare(instance, rig.service, revision)
    endpoints = [await rig.instances.start(instance, revision) for _ in range(2)]
    assert endpoints[0] == endpoints[1]
    assert await rig.answer(endpoints[0]) == "one"
    for _ in range(2):
        await rig.instances.freeze(instance)
    assert (await rig.seen(instance)).state is ContainerState.FROZEN
    for _ in range(2):
        await rig.instances.thaw(instance)
    assert (await rig.seen(instance)).state is ContainerState.RUNNING
    for _ in range(2):
        await rig.instances.stop(instance, grace=5)
    assert (await rig.seen(instance)).state is ContainerState.EXITED
    for _ in range(2):
        await rig.instances.remove(instance)
    for _ in range(2):
        await rig.instances.clear(rig.service.id)
    assert await rig.instances.observe() == ()


async def test_stopping_what_is_gone_is_not_an_error(rig):
    await rig.instances.stop(new_instance(), grace=1)
    await rig.instances.remove(new_instance())


async def test_a_frozen_instance_is_woken_to_be_stopped(rig):
    instance, endpoint = await rig.launch(rig.revision())
    await rig.answer(endpoint)
    await rig.instances.freeze(instance)
    async with asyncio.timeout(5):
        await rig.instances.stop(instance, grace=30)
    assert (await rig.seen(instance)).state is ContainerState.EXITED


async def test_several_start_at_once(rig):
    launched = await asyncio.gather(*(rig.launch(rig.revision()) for _ in range(3)))
    assert len({endpoint for _, endpoint in launched}) == 3
    for _, endpoint in launched:
        assert await rig.answer(endpoint) == "one"


async def test_an_exit_is_reported_with_its_code(rig):
    instance, _ = await rig.launch(rig.crashing(7))
    seen = await rig.until(instance, ContainerState.EXITED)
    assert seen.exit == Exit(code=7, at=seen.exit.at)
    assert abs(seen.exit.at - rig.clock.now()) < 60


async def test_what_somebody_removed_by_hand_is_gone(rig):
    instance, _ = await rig.launch(rig.revision())
    await rig.remove_by_hand(instance)
    assert await rig.seen(instance) is None
    await rig.instances.remove(instance)


async def test_a_change_by_itself_names_its_service(rig):
    instance, _ = await rig.launch(rig.revision())
    changes = rig.instances.changes()
    async with aclosing(changes), asyncio.TaskGroup() as group:
        news = group.create_task(anext(changes))
        await rig.clock.sleep(0.001)
        await rig.remove_by_hand(instance)
        assert await news == rig.service.id


async def test_an_end_that_is_told_can_be_seen(rig):
    changes = rig.instances.changes()
    async with aclosing(changes), asyncio.TaskGroup() as group:
        news = group.create_task(anext(changes))
        await rig.clock.sleep(0.001)
        instance, _ = await rig.launch(rig.crashing(7))
        while not news.done():
            await rig.clock.sleep(0.01)
            await rig.instances.listening(instance)  # in the fake's world, time passes when asked
        assert (await rig.seen(instance)).state is ContainerState.EXITED


async def test_clearing_a_service_leaves_the_others_alone(rig):
    kept, other = new_instance(), new_service("other")
    await rig.instances.prepare(kept, other, replace(rig.revision(), service=other.id))
    await rig.launch(rig.revision())
    await rig.instances.prepare(new_instance(), rig.service, rig.revision())
    await rig.instances.clear(rig.service.id)
    assert [seen.id for seen in await rig.instances.observe()] == [kept]


async def test_a_sweep_removes_what_unknown_services_left_behind(rig):
    kept, other = new_instance(), new_service("other")
    await rig.instances.prepare(kept, other, replace(rig.revision(), service=other.id))
    await rig.launch(rig.revision())
    rig.clock.shift = 61.0
    removed = await rig.instances.sweep([other.id], [])
    assert removed
    assert [seen.id for seen in await rig.instances.observe()] == [kept]
    assert await rig.instances.sweep([other.id], []) == ()


async def test_tells_where_a_process_listens(rig):
    instance, _ = await rig.launch(rig.local())
    while not (found := await rig.instances.listening(instance)):
        await rig.clock.sleep(0.01)
    assert found == (Endpoint(host="127.0.0.1", port=8080),)


async def test_nothing_listens_before_the_start_and_after_the_end(rig):
    instance = new_instance()
    assert await rig.instances.listening(instance) == ()
    await rig.instances.prepare(instance, rig.service, rig.revision())
    assert await rig.instances.listening(instance) == ()


async def test_a_process_takes_connections_once_it_listens_and_not_before(rig):
    instance = new_instance()
    assert not await rig.instances.takes(instance, 8080)
    revision = rig.revision()
    await rig.instances.prepare(instance, rig.service, revision)
    assert not await rig.instances.takes(instance, 8080)
    await rig.instances.start(instance, revision)
    while not await rig.instances.takes(instance, 8080):
        await rig.clock.sleep(0.01)


async def test_a_warm_standby_serves_another_tree_of_the_same_fingerprint(rig):
    instance, newer = new_instance(), rig.revision("two", number=2)
    await rig.instances.prepare(instance, rig.service, rig.revision("one"), warm=True)
    seen = await rig.seen(instance)
    assert seen.state is ContainerState.CREATED
    assert (seen.revision, seen.endpoint, seen.started_at) == (None, None, None)
    endpoint = await rig.instances.start(instance, newer)
    assert await rig.answer(endpoint) == "two"
    seen = await rig.seen(instance)
    assert (seen.state, seen.revision) == (ContainerState.RUNNING, "r2")
    assert await rig.instances.start(instance, newer) == endpoint


async def test_a_warm_standby_outlives_a_restart_and_can_be_removed(rig):
    used, unused = new_instance(), new_instance()
    for instance in (used, unused):
        await rig.instances.prepare(instance, rig.service, rig.revision("one"), warm=True)
    rig.restart()
    assert (await rig.seen(used)).state is ContainerState.CREATED
    endpoint = await rig.instances.start(used, rig.revision("one"))
    assert await rig.answer(endpoint) == "one"
    await rig.instances.remove(unused)
    assert await rig.seen(unused) is None


async def test_an_application_that_dies_behind_its_gate_is_seen_to(rig):
    instance = new_instance()
    await rig.instances.prepare(instance, rig.service, rig.crashing(3), warm=True)
    await rig.instances.start(instance, rig.crashing(3))
    assert (await rig.until(instance, ContainerState.EXITED)).exit.code == 3
