"""At App Runner's own pace: what a pipeline that polls sees, over a machine in memory."""

from contextlib import suppress
from dataclasses import replace
from itertools import groupby

import pytest

from emulator.controllers.balancer import Refused
from emulator.model.errors import BuildError
from emulator.model.service import ServiceStatus
from emulator.model.settings import Pace, PaceMode
from tests.fakes.clock import START
from tests.fakes.emulators import SETTINGS, Emulator, Killed, Machine, code, configuration
from tests.fakes.world import Behaviour

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
EVERY = 5.0  # seconds between two questions of a pipeline
SETTLING = 2.0  # seconds that are the emulator's own
CREATING = "CREATE_SERVICE IN_PROGRESS", "OPERATION_IN_PROGRESS"


@pytest.fixture
def machine():
    return Machine()


def realistic(machine, speed=1.0, kill_at=None):
    pace = Pace(mode=PaceMode.REALISTIC, speed=speed)
    return Emulator(machine, kill_at, settings=replace(SETTINGS, pace=pace))


async def seen(emulator):
    """The newest operation and the service's status, as a client may ask for them."""
    ledger = emulator.platform.ledger("hello")
    while True:
        newest = (await emulator.operations())[0]
        if newest.endswith(("PENDING", "IN_PROGRESS")) is (ledger.operation is not None):
            return newest, str(ledger.service.status)
        await emulator.machine.clock.sleep(0.001)  # stored first, mirrored in memory after


async def polled(emulator, *, within=1000.0):
    """What a pipeline sees until the operation is over, in order, without repetitions."""
    answers = [await seen(emulator)]
    while answers[-1][1] == ServiceStatus.OPERATION_IN_PROGRESS:
        assert len(answers) * EVERY < within
        await emulator.machine.clock.sleep(EVERY)
        answers.append(await seen(emulator))
    return [answer for answer, _ in groupby(answers)]


async def ended(emulator):
    """The operation's outcome, and how many seconds after the request it came."""
    await emulator.at_rest(within=1000)
    service = emulator.platform.ledger("hello").service
    newest = (await emulator.machine.store.operations(service.id))[0]
    return str(newest.status), newest.ended_at - newest.started_at


async def created(emulator):
    await emulator.platform.create("hello", configuration())
    await emulator.at_rest(within=300)


def running(machine):
    (service,) = machine.store._services.values()
    return machine.world.running(service.id)


@pytest.mark.documented(source="AWS CLI, example of list-operations")
async def test_a_create_is_in_progress_for_203_seconds(machine):
    async with realistic(machine) as emulator:
        await emulator.platform.create("hello", configuration())
        await machine.clock.sleep(202.5)
        assert await seen(emulator) == CREATING
        assert running(machine) == {"r1": 1}
        await machine.clock.sleep(1)
        assert await seen(emulator) == ("CREATE_SERVICE SUCCEEDED", "RUNNING")
        assert await ended(emulator) == ("SUCCEEDED", pytest.approx(203, abs=0.1))


async def test_a_pipeline_sees_the_states_in_order(machine):
    async with realistic(machine) as emulator:
        await emulator.platform.create("hello", configuration())
        assert await polled(emulator) == [
            ("CREATE_SERVICE PENDING", "OPERATION_IN_PROGRESS"),
            CREATING,
            ("CREATE_SERVICE SUCCEEDED", "RUNNING"),
        ]


async def test_nobody_is_served_before_app_runner_would(machine):
    async with realistic(machine) as emulator:
        await emulator.platform.create("hello", configuration())
        await machine.clock.sleep(100)
        service = emulator.platform.ledger("hello").service
        balancer = emulator.platform.worker(service.id).balancer
        with pytest.raises(Refused):
            await balancer.acquire()
        await emulator.at_rest(within=300)
        await balancer.acquire()


async def test_the_event_log_has_the_same_lines_in_the_same_order(machine):
    async with realistic(machine) as emulator:
        await created(emulator)
        slow = await emulator.events()
    other = Machine()
    async with Emulator(other) as emulator:
        await created(emulator)
        assert slow == await emulator.events()


async def test_what_app_runner_does_at_the_end_is_told_at_the_end(machine):
    async with realistic(machine) as emulator:
        await created(emulator)
        service = emulator.platform.ledger("hello").service
        told = [(e.text, e.at - START) for e in await machine.store.events(service.id)]
    early = [text for text, at in told if at < SETTLING]
    late = [text for text, at in told if at >= 203]
    assert early + late == [text for text, _ in told]
    assert early[-1].startswith("Performing health check")
    assert late[0] == "Health check is successful. Routing traffic to application."
    assert late[-1] == "Service status is set to RUNNING."


@pytest.mark.parametrize("lived", [0.1, 1.0, 100.0, 202.0])
async def test_a_kill_during_the_wait_changes_nothing(machine, lived):
    async with realistic(machine) as emulator:
        await emulator.platform.create("hello", configuration())
        await machine.clock.sleep(lived)
    async with realistic(machine) as emulator:
        assert await polled(emulator) == [CREATING, ("CREATE_SERVICE SUCCEEDED", "RUNNING")]
        assert await ended(emulator) == ("SUCCEEDED", pytest.approx(203, abs=SETTLING))
        assert running(machine) == {"r1": 1}


async def test_what_was_to_end_while_nobody_looked_ends_at_the_next_start(machine):
    async with realistic(machine) as emulator:
        await emulator.platform.create("hello", configuration())
        await machine.clock.sleep(100)
    await machine.clock.sleep(150)
    async with realistic(machine) as emulator:
        assert await emulator.at_rest(within=SETTLING)
        assert (await emulator.operations()) == ["CREATE_SERVICE SUCCEEDED"]


async def test_the_pace_may_change_at_a_restart(machine):
    """Although the operation's deadline is sooner than its end at the new pace."""
    async with Emulator(machine) as emulator:
        machine.world.behaviours["sha256:app1"] = Behaviour(boot=10)
        await emulator.platform.create("hello", configuration())
        await machine.clock.sleep(5)
    async with realistic(machine) as emulator:
        assert await ended(emulator) == ("SUCCEEDED", pytest.approx(203, abs=SETTLING))
        await emulator.platform.pause("hello")
        await machine.clock.sleep(5)
    async with Emulator(machine) as emulator:
        assert (await emulator.at_rest(within=SETTLING)).status is ServiceStatus.PAUSED


@pytest.mark.observed(source="roadmap issues 128, 147")
async def test_each_operation_takes_its_time(machine):
    async with realistic(machine) as emulator:
        await created(emulator)
        platform = emulator.platform
        requests = [
            (platform.start_deployment, 180),
            (lambda name: platform.update(name, configuration("app:2")), 180),
            (platform.pause, 120),
            (platform.resume, 120),
            (platform.delete, 60),
        ]
        for request, seconds in requests:
            await request("hello")
            assert await ended(emulator) == ("SUCCEEDED", pytest.approx(seconds, abs=0.1))


async def test_speed_divides_the_time(machine):
    async with realistic(machine, speed=20) as emulator:
        began = machine.clock.now()
        await emulator.platform.create("hello", configuration())
        assert await ended(emulator) == ("SUCCEEDED", pytest.approx(203, abs=SETTLING))
        assert machine.clock.now() - began == pytest.approx(203 / 20, abs=0.5)


async def test_work_that_takes_longer_is_waited_for(machine):
    machine.world.behaviours["sha256:app1"] = Behaviour(boot=15)
    async with realistic(machine, speed=20) as emulator:
        await emulator.platform.create("hello", configuration())
        assert await ended(emulator) == ("SUCCEEDED", pytest.approx(20 * 15, abs=20 * SETTLING))


class TestFailure:
    @pytest.mark.observed(source="users saw failing deployments declared after 6 to 19 minutes")
    async def test_a_failed_create_is_explained_early_and_ends_after_six_minutes(self, machine):
        machine.world.behaviours["sha256:app1"] = Behaviour(boot=9, crashes_after=1, exit_code=3)
        async with realistic(machine) as emulator:
            await emulator.platform.create("hello", configuration())
            await machine.clock.sleep(5)
            assert await seen(emulator) == CREATING
            assert "Container exit code: 3" in (await emulator.events())[-1]
            assert running(machine) == {}
            assert await polled(emulator) == [CREATING, ("CREATE_SERVICE FAILED", "CREATE_FAILED")]
            assert await ended(emulator) == ("FAILED", pytest.approx(360, abs=0.1))
            events = await emulator.events()
            assert events[-2:] == [
                "Service creation failed.",
                "Service status is set to CREATE_FAILED.",
            ]
            assert len([e for e in events if "Container exit code: 3" in e]) == 1

    async def test_it_has_the_same_lines_as_at_the_fast_pace(self, machine):
        logs = []
        for emulator in (realistic(machine), Emulator(Machine())):
            async with emulator:
                await emulator.platform.create("hello", configuration("missing:1"))
                await emulator.at_rest(within=400)
                logs.append(await emulator.events())
        assert logs[0] == logs[1]

    async def test_a_failed_build_is_not_tried_again_after_a_kill(self, machine):
        builds = []

        async def fail(request, _on_line):
            builds.append(request)
            raise BuildError("pip failed", exit_code=1)

        machine.builder.build = fail
        machine.repository.commit_files("/repo", {"requirements.txt": "x\n", "app.py": "y\n"})
        async with realistic(machine) as emulator:
            await emulator.platform.create("hello", code())
            await machine.clock.sleep(30)
            told = await emulator.events()
            assert "pip failed" in told[-1]
        async with realistic(machine) as emulator:
            assert await ended(emulator) == ("FAILED", pytest.approx(360, abs=0.1))
            assert await emulator.events() == [
                *told,
                "Service creation failed.",
                "Service status is set to CREATE_FAILED.",
            ]
        assert len(builds) == 1

    async def test_a_failed_create_ends_once_wherever_the_emulator_is_killed(self):
        point, passed = 0, False
        while not passed:
            point += 1
            machine = Machine()
            machine.world.behaviours["sha256:app1"] = Behaviour(boot=9, crashes_after=1)
            async with realistic(machine, 20, kill_at=point) as emulator:
                with suppress(Killed):
                    await emulator.platform.create("hello", configuration())
                await emulator.until(lambda: False, within=30)
                passed = not emulator.fuse.blown
            async with realistic(machine, 20) as emulator:
                if not emulator.platform.services():
                    continue  # killed before it was accepted
                assert (await emulator.at_rest()).status is ServiceStatus.CREATE_FAILED
                assert await emulator.operations() == ["CREATE_SERVICE FAILED"]
                events = await emulator.events()
                assert len([e for e in events if "Failure reason" in e]) == 1, point
                assert await emulator.until(lambda m=machine: running(m) == {}, within=10)
        assert point > 20

    @pytest.mark.observed(source="roadmap issue 147")
    async def test_a_rollback_takes_a_quarter_of_an_hour_and_the_old_version_serves(self, machine):
        machine.world.behaviours["sha256:app2"] = Behaviour(boot=9, crashes_after=1)
        async with realistic(machine) as emulator:
            await created(emulator)
            await emulator.platform.update("hello", configuration("app:2"))
            await machine.clock.sleep(100)
            rolling = ("UPDATE_SERVICE ROLLBACK_IN_PROGRESS", "OPERATION_IN_PROGRESS")
            assert await seen(emulator) == rolling
        async with realistic(machine) as emulator:
            assert await polled(emulator) == [
                rolling,
                ("UPDATE_SERVICE ROLLBACK_SUCCEEDED", "RUNNING"),
            ]
            assert await ended(emulator) == ("ROLLBACK_SUCCEEDED", pytest.approx(900, abs=0.1))

    async def test_a_version_that_dies_during_the_wait_never_serves(self, machine):
        machine.world.behaviours["sha256:app2"] = Behaviour(crashes_after=60)
        async with realistic(machine) as emulator:
            await created(emulator)
            await emulator.platform.update("hello", configuration("app:2"))
            assert (await ended(emulator))[0] == "ROLLBACK_SUCCEEDED"
            assert "r2" not in running(machine)
