"""Deployments that end before they are done, over a machine in memory and in virtual time."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from emulator.decisions.cancelling import IN_A_ROW, PATIENCE
from emulator.model.errors import (
    AppRunnerError,
    InvalidStateException,
    ResourceNotFoundException,
)
from emulator.model.instance import ContainerState
from emulator.model.service import ServiceStatus
from emulator.model.settings import Pace, PaceMode
from tests.fakes.emulators import SETTINGS, Emulator, Killed, Machine, code, configuration
from tests.fakes.world import Behaviour

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(30)]
APP = {"requirements.txt": "flask\n", "app.py": "print(1)\n"}
REASON = "cancelled by the user"
FAILED = ["CREATE_SERVICE FAILED"]
ROLLED_BACK = "START_DEPLOYMENT ROLLBACK_SUCCEEDED"
AT_ONCE = 3.0  # seconds, of which a stop of an instance may take one


@pytest.fixture
def machine():
    made = Machine()
    made.builder.build_time = 30.0
    made.first = made.repository.commit_files("/repo", APP, "First")
    return made


@pytest.fixture
async def emulator(machine):
    async with Emulator(machine) as running:
        yield running


def ledger(emulator):
    return emulator.platform.ledger("hello")


def building(machine):
    return bool(machine.world.helpers)


async def created(emulator, wanted=None):
    await emulator.platform.create("hello", wanted or code())
    return await emulator.at_rest()


async def newest(emulator):
    return (await emulator.machine.store.operations(ledger(emulator).service.id))[0]


def commit(machine, number):
    """One that changes the dependencies, so that there is something to build."""
    files = {"requirements.txt": f"flask=={number}\n"}
    return machine.repository.commit_files("/repo", files, f"c{number}")


def serving(emulator):
    revision = ledger(emulator).revisions.get(ledger(emulator).service.revision)
    return revision.commit if revision else None


async def nothing_left(emulator, revision=None):
    """No build, and no instance but those of what serves."""
    machine, service = emulator.machine, ledger(emulator).service
    wanted = {revision: 1} if revision else {}

    def gone():
        made = [s for s in machine.world.of(service.id) if s.state is not ContainerState.CREATED]
        return machine.world.running(service.id) == wanted and len(made) == len(wanted)

    assert not building(machine)
    return await emulator.until(gone, within=10)


class TestByTheUser:
    async def test_a_create_that_builds_ends_at_once_and_leaves_nothing(self, emulator, machine):
        await emulator.platform.create("hello", code())
        assert await emulator.until(lambda: building(machine), within=5)
        await emulator.platform.cancel("hello")
        service = await emulator.at_rest(within=AT_ONCE)
        assert service.status is ServiceStatus.CREATE_FAILED
        assert await emulator.operations() == FAILED
        assert (await newest(emulator)).reason == REASON
        assert await nothing_left(emulator)
        assert machine.builder.built == []

    async def test_it_is_told_and_why(self, emulator, machine):
        await emulator.platform.create("hello", code())
        await emulator.until(lambda: building(machine), within=5)
        await emulator.platform.cancel("hello")
        await emulator.at_rest()
        id_ = (await newest(emulator)).deployment_id
        assert (await emulator.events())[-4:] == [
            f"Ending deployment with ID : {id_}. Reason : {REASON}",
            f"Deployment with ID : {id_} failed. Failure reason : {REASON}",
            "Service creation failed.",
            "Service status is set to CREATE_FAILED.",
        ]

    async def test_a_deployment_that_builds_leaves_the_old_version_serving(self, emulator, machine):
        await created(emulator)
        commit(machine, 1)
        await emulator.until(lambda: building(machine), within=5)
        await emulator.platform.cancel("hello")
        service = await emulator.at_rest(within=AT_ONCE)
        assert service.status is ServiceStatus.RUNNING
        assert (await emulator.operations())[0] == ROLLED_BACK
        assert serving(emulator) == machine.first
        assert await nothing_left(emulator, service.revision)

    async def test_what_was_cancelled_is_not_deployed_by_itself_later(self, emulator, machine):
        await created(emulator)
        commit(machine, 1)
        await emulator.until(lambda: building(machine), within=5)
        await emulator.platform.cancel("hello")
        await emulator.at_rest()
        await machine.clock.sleep(120)
        assert len(await emulator.operations()) == 2
        await emulator.platform.start_deployment("hello")
        await emulator.at_rest()
        assert (await emulator.operations())[0] == "START_DEPLOYMENT SUCCEEDED"

    async def test_instances_of_the_target_go_away(self, emulator, machine):
        await created(emulator, configuration("app:1"))
        machine.world.behaviours["sha256:app2"] = Behaviour(boot=15)
        await emulator.platform.update("hello", configuration("app:2"))
        running = machine.world.running
        id_ = ledger(emulator).service.id
        assert await emulator.until(lambda: running(id_) == {"r1": 1, "r2": 1}, within=10)
        await emulator.platform.cancel("hello")
        service = await emulator.at_rest(within=AT_ONCE)
        assert running(id_) == {"r1": 1}
        assert service.configuration.source.identifier == "app:1"
        assert (await emulator.operations())[0] == "UPDATE_SERVICE ROLLBACK_SUCCEEDED"
        assert (await newest(emulator)).reason == REASON

    async def test_a_create_whose_instance_boots_ends_when_it_is_gone(self, emulator, machine):
        machine.world.behaviours["sha256:app1"] = Behaviour(boot=15)
        await emulator.platform.create("hello", configuration("app:1"))
        id_ = ledger(emulator).service.id
        assert await emulator.until(lambda: machine.world.running(id_) == {"r1": 1}, within=10)
        await emulator.platform.cancel("hello")
        await emulator.at_rest(within=AT_ONCE)
        assert machine.world.running(id_) == {}
        assert await emulator.operations() == FAILED

    async def test_a_pull_is_ended(self, emulator, machine):
        machine.builder.registry["registry/app:1"] = "sha256:pulled"
        machine.builder.pull_time = 50.0
        await emulator.platform.create("hello", configuration("registry/app:1"))
        await machine.clock.sleep(1)
        await emulator.platform.cancel("hello")
        await emulator.at_rest(within=AT_ONCE)
        await machine.clock.sleep(60)
        assert "registry/app:1" not in machine.world.images

    async def test_one_that_was_only_just_accepted_can_be_cancelled(self, emulator):
        await emulator.platform.create("hello", code())
        await emulator.platform.cancel("hello")
        await emulator.at_rest(within=AT_ONCE)
        assert await emulator.operations() == FAILED

    async def test_asking_twice_is_asking_once(self, emulator, machine):
        await emulator.platform.create("hello", code())
        await emulator.until(lambda: building(machine), within=5)
        both = await asyncio.gather(*(emulator.platform.cancel("hello") for _ in range(2)))
        assert len({operation.id for _, operation in both}) == 1
        await emulator.at_rest()
        assert len([e for e in await emulator.events() if e.startswith("Ending")]) == 1

    async def test_a_cancelled_service_can_be_deployed_again(self, emulator, machine):
        await emulator.platform.create("hello", code())
        await emulator.until(lambda: building(machine), within=5)
        await emulator.platform.cancel("hello")
        await emulator.at_rest()
        await emulator.platform.update("hello", code())
        assert (await emulator.at_rest()).status is ServiceStatus.RUNNING

    async def test_a_delete_is_refused_before_and_possible_after(self, emulator, machine):
        await emulator.platform.create("hello", code())
        await emulator.until(lambda: building(machine), within=5)
        with pytest.raises(InvalidStateException, match="OPERATION_IN_PROGRESS"):
            await emulator.platform.delete("hello")
        await emulator.platform.cancel("hello")
        await emulator.at_rest()
        await emulator.platform.delete("hello")
        assert (await emulator.at_rest()).status is ServiceStatus.DELETED


class TestRefusals:
    async def test_where_nothing_is_under_way(self, emulator):
        await created(emulator, configuration())
        with pytest.raises(InvalidStateException, match="nothing to cancel"):
            await emulator.platform.cancel("hello")

    @pytest.mark.parametrize("request_", ["pause", "delete"])
    async def test_what_is_no_deployment(self, emulator, request_):
        await created(emulator, configuration())
        await getattr(emulator.platform, request_)("hello")
        with pytest.raises(InvalidStateException, match="only a deployment can"):
            await emulator.platform.cancel("hello")

    async def test_what_is_not_there_any_more(self, emulator):
        await created(emulator, configuration())
        await emulator.platform.delete("hello")
        await emulator.at_rest()
        with pytest.raises(ResourceNotFoundException):
            await emulator.platform.cancel("hello")


class TestPace:
    async def test_nobody_waits_for_the_end_of_what_is_cancelled(self, machine):
        pace = Pace(mode=PaceMode.REALISTIC)
        async with Emulator(machine, settings=replace(SETTINGS, pace=pace)) as emulator:
            await emulator.platform.create("hello", configuration())
            await machine.clock.sleep(100)
            await emulator.platform.cancel("hello")
            await emulator.at_rest(within=AT_ONCE)
            assert await emulator.operations() == FAILED
            await emulator.platform.update("hello", configuration())
            await emulator.at_rest(within=300)
            await emulator.platform.update("hello", configuration("app:2"))
            await machine.clock.sleep(100)
            await emulator.platform.cancel("hello")
            await emulator.at_rest(within=AT_ONCE)
            assert (await emulator.operations())[0] == "UPDATE_SERVICE ROLLBACK_SUCCEEDED"


async def test_a_cancellation_outlives_a_kill_at_any_point():
    point, passed = 0, False
    while not passed:
        point += 1
        machine = Machine()
        machine.repository.commit_files("/repo", APP)
        machine.builder.build_time = 30.0
        accepted = False
        async with Emulator(machine) as emulator:
            await emulator.platform.create("hello", code())
            await emulator.until(lambda m=machine: building(m), within=5)
        machine.world.helpers.clear()  # swept, as at every start
        async with Emulator(machine, point) as emulator:
            with suppress(Killed, AppRunnerError):
                await emulator.until(lambda m=machine: building(m), within=5)
                await emulator.platform.cancel("hello")
                accepted = True
            await emulator.until(lambda: False, within=10)
            passed = not emulator.fuse.blown
        machine.world.helpers.clear()
        async with Emulator(machine) as emulator:
            if accepted:
                await emulator.at_rest(within=AT_ONCE)
                assert await emulator.operations() == FAILED
                assert await nothing_left(emulator)
    assert point > 10


async def test_a_cancellation_that_was_accepted_is_kept_whatever_is_stored_at_the_moment():
    outcomes = set()
    for hundredths in range(0, 300, 3):
        machine = Machine()
        machine.repository.commit_files("/repo", APP)
        machine.builder.build_time = 0.2
        store = machine.store.save

        async def slow(*changes, machine=machine, store=store):
            await machine.clock.sleep(0.05)
            await store(*changes)

        machine.store.save = slow
        async with Emulator(machine) as emulator:
            await emulator.platform.create("hello", code())
            await machine.clock.sleep(hundredths / 100)
            try:
                await emulator.platform.cancel("hello")
            except InvalidStateException:
                wanted = "CREATE_SERVICE SUCCEEDED"
            else:
                wanted = "CREATE_SERVICE FAILED"
            await emulator.at_rest(within=10)
            assert await emulator.operations() == [wanted], hundredths
        outcomes.add(wanted)
    assert len(outcomes) == 2


class TestNewerCommits:
    async def deploying(self, emulator, machine, number=1):
        """A service, and a commit whose automatic deployment builds."""
        await created(emulator)
        made = commit(machine, number)
        assert await emulator.until(lambda: building(machine), within=5)
        return made

    async def test_the_build_of_an_older_one_is_ended_and_the_newest_deployed(
        self, emulator, machine
    ):
        await self.deploying(emulator, machine)
        newer = commit(machine, 2)
        assert await emulator.until(lambda: serving(emulator) == newer, within=40)
        succeeded, superseded, _ = await machine.store.operations(ledger(emulator).service.id)
        assert (superseded.status, succeeded.status) == ("ROLLBACK_SUCCEEDED", "SUCCEEDED")
        assert superseded.reason == f"superseded by commit {newer[:7]}"
        assert superseded.ended_at - superseded.started_at < AT_ONCE
        assert ledger(emulator).service.superseded == 0

    async def test_what_was_asked_for_is_let_finish(self, emulator, machine):
        await self.deploying(emulator, machine)
        await emulator.platform.cancel("hello")
        await emulator.at_rest()
        await emulator.platform.start_deployment("hello")
        await emulator.until(lambda: building(machine), within=5)
        newer = commit(machine, 2)
        assert await emulator.until(lambda: serving(emulator) == newer, within=80)
        assert (await emulator.operations())[1] == "START_DEPLOYMENT SUCCEEDED"

    async def test_what_was_pushed_is_let_finish(self, emulator, machine):
        await created(emulator)
        pushed = commit(machine, 1)
        assert (await emulator.platform.look("hello", code().source)).id == pushed
        await emulator.until(lambda: building(machine), within=5)
        commit(machine, 2)
        assert await emulator.until(lambda: serving(emulator) == pushed, within=40)

    async def test_a_push_that_its_watcher_saw_first_is_let_finish_too(self, emulator, machine):
        pushed = await self.deploying(emulator, machine)
        await emulator.platform.look("hello", code().source)
        newer = commit(machine, 2)
        await emulator.platform.look("hello", code().source)
        assert await emulator.until(lambda: serving(emulator) == pushed, within=40)
        assert await emulator.until(lambda: serving(emulator) == newer, within=40)

    async def test_a_first_deployment_is_let_finish(self, emulator, machine):
        await emulator.platform.create("hello", code())
        await emulator.until(lambda: building(machine), within=5)
        commit(machine, 1)
        await machine.clock.sleep(5)
        assert not ledger(emulator).operation.cancelled

    async def test_a_long_build_is_let_finish(self, emulator, machine):
        machine.builder.build_time = PATIENCE + 15
        older = await self.deploying(emulator, machine)
        await machine.clock.sleep(PATIENCE + 5)
        commit(machine, 2)
        assert await emulator.until(lambda: serving(emulator) == older, within=40)

    @pytest.mark.parametrize("every", [0.5, 2.0, 10.0, 29.0])
    async def test_commits_that_come_faster_than_builds_do_not_starve_them(
        self, emulator, machine, every
    ):
        """A version is deployed at least every third build, however fast commits come."""
        await created(emulator)
        seen, since, longest = serving(emulator), machine.clock.now(), 0.0
        for number in range(int(400 / every)):
            last = commit(machine, number)
            await machine.clock.sleep(every)
            now = machine.clock.now()
            if serving(emulator) != seen:
                seen, since = serving(emulator), now
            longest = max(longest, now - since)
        worst = (IN_A_ROW + 1) * (machine.builder.build_time + AT_ONCE)
        assert longest < worst
        assert await emulator.until(lambda: serving(emulator) == last, within=2 * worst)
