"""Requests and what comes of them, over a machine in memory and in virtual time."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from emulator.controllers.balancer import Refused
from emulator.model.errors import (
    EngineError,
    EngineUnavailableError,
    InvalidRequestException,
    InvalidStateException,
    ResourceNotFoundException,
    StoreError,
)
from emulator.model.identifiers import Epoch
from emulator.model.instance import ContainerState, Endpoint, InstanceState
from emulator.model.service import ServiceStatus
from emulator.ports import LogLine
from tests.fakes.emulators import Emulator, Machine, configuration
from tests.fakes.world import Behaviour

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
async def emulator(machine):
    async with Emulator(machine) as running:
        yield running


async def created(emulator, **scaling):
    await emulator.platform.create("hello", configuration(**scaling))
    return await emulator.at_rest()


def balancer(emulator):
    return emulator.platform.worker(emulator.platform.ledger("hello").service.id).balancer


def states(emulator):
    service = emulator.platform.ledger("hello").service
    return [i.state for i in emulator.platform.worker(service.id).instances()]


class TestCreate:
    async def test_serves_once_the_instance_is_healthy(self, emulator, machine):
        service = await created(emulator)
        assert service.status is ServiceStatus.RUNNING
        assert machine.world.running(service.id) == {"r1": 1}
        lease = await balancer(emulator).acquire()
        assert lease.endpoint.port == 8080

    async def test_a_name_is_taken_until_its_service_is_deleted(self, emulator):
        await created(emulator)
        with pytest.raises(InvalidRequestException, match="already exists: hello"):
            await emulator.platform.create("hello", configuration())
        await emulator.platform.delete("hello")
        await emulator.at_rest()
        second, _ = await emulator.platform.create("hello", configuration())
        assert second.live

    async def test_parallel_creates_of_one_name_give_one_service(self, emulator):
        wanted = [emulator.platform.create("hello", configuration()) for _ in range(8)]
        results = await asyncio.gather(*wanted, return_exceptions=True)
        assert len([r for r in results if not isinstance(r, Exception)]) == 1
        assert len(emulator.platform.services()) == 1

    async def test_an_image_that_is_not_there_fails_the_creation(self, emulator):
        await emulator.platform.create("hello", configuration("missing:1"))
        service = await emulator.at_rest()
        assert service.status is ServiceStatus.CREATE_FAILED
        assert any("no such image: missing:1" in e for e in await emulator.events())
        assert await emulator.operations() == ["CREATE_SERVICE FAILED"]

    async def test_an_application_that_exits_fails_it_with_its_exit_code(self, emulator, machine):
        machine.world.behaviours["sha256:app1"] = Behaviour(boot=9, crashes_after=1, exit_code=3)
        await emulator.platform.create("hello", configuration())
        service = await emulator.at_rest()
        assert service.status is ServiceStatus.CREATE_FAILED
        assert any("Container exit code: 3" in e for e in await emulator.events())
        assert await emulator.until(lambda: machine.world.of(service.id) == [], within=10)

    async def test_an_application_that_ends_before_its_start_is_answered_fails_it_at_once(
        self, emulator, machine
    ):
        machine.world.behaviours["sha256:app1"] = Behaviour(crashes_after=0, exit_code=3)
        await emulator.platform.create("hello", configuration())
        service = await emulator.at_rest(within=5)
        assert service.status is ServiceStatus.CREATE_FAILED
        assert any("Container exit code: 3" in e for e in await emulator.events())

    async def test_an_application_on_the_wrong_port_is_told_which(self, emulator, machine):
        wrong = Endpoint(host="0.0.0.0", port=5000)
        machine.world.behaviours["sha256:app1"] = Behaviour(listens_on=wrong)
        await emulator.platform.create("hello", configuration())
        assert (await emulator.at_rest()).status is ServiceStatus.CREATE_FAILED
        assert any(
            "listens on 0.0.0.0:5000, not on port 8080" in e for e in await emulator.events()
        )

    async def test_an_application_on_loopback_only_is_told_so(self, emulator, machine):
        hidden = Endpoint(host="127.0.0.1", port=8080)
        machine.world.behaviours["sha256:app1"] = Behaviour(listens_on=hidden)
        await emulator.platform.create("hello", configuration())
        await emulator.at_rest()
        assert any("let it listen on 0.0.0.0" in e for e in await emulator.events())

    async def test_an_update_mends_a_failed_creation(self, emulator):
        await emulator.platform.create("hello", configuration("missing:1"))
        await emulator.at_rest()
        await emulator.platform.update("hello", configuration("app:1"))
        assert (await emulator.at_rest()).status is ServiceStatus.RUNNING


class TestDeployment:
    async def test_old_instances_go_only_after_the_new_ones_serve(self, emulator, machine):
        service = await created(emulator)
        seen = []
        machine.world.behaviours["sha256:app2"] = Behaviour(boot=2.0)
        await emulator.platform.update("hello", configuration("app:2"))

        def settled():
            seen.append(machine.world.running(service.id))
            return machine.world.running(service.id) == {"r2": 1}

        assert await emulator.until(settled, within=30)
        assert {"r1": 1, "r2": 1} in seen
        assert all(sum(counts.values()) >= 1 for counts in seen)

    async def test_requests_in_flight_keep_the_old_instance(self, emulator, machine):
        service = await created(emulator)
        lease = await balancer(emulator).acquire()
        await emulator.platform.update("hello", configuration("app:2"))
        await emulator.at_rest()
        assert machine.world.running(service.id) == {"r1": 1, "r2": 1}
        assert InstanceState.DRAINING in states(emulator)
        lease.release()
        gone = {"r2": 1}
        assert await emulator.until(lambda: machine.world.running(service.id) == gone, within=4)

    async def test_a_failed_one_leaves_the_old_revision_serving(self, emulator, machine):
        service = await created(emulator)
        machine.world.behaviours["sha256:app2"] = Behaviour(boot=9, crashes_after=1)
        await emulator.platform.update("hello", configuration("app:2"))
        after = await emulator.at_rest()
        assert after.status is ServiceStatus.RUNNING
        assert after.configuration == service.configuration
        assert (await emulator.operations())[0] == "UPDATE_SERVICE ROLLBACK_SUCCEEDED"
        assert machine.world.running(service.id) == {"r1": 1}

    async def test_an_engine_that_refuses_the_start_rolls_back(self, emulator, machine):
        await created(emulator)
        original = machine.instances.start

        async def refuse(instance, revision):
            if revision.id == "r2":
                raise EngineError("no space left on device")
            return await original(instance, revision)

        machine.instances.start = refuse
        await emulator.platform.update("hello", configuration("app:2"))
        await emulator.at_rest()
        assert (await emulator.operations())[0] == "UPDATE_SERVICE ROLLBACK_SUCCEEDED"
        assert any("no space left" in e for e in await emulator.events())

    async def test_a_rollback_serves_the_revision_before_without_a_build(self, emulator, machine):
        await created(emulator)
        await emulator.platform.update("hello", configuration("app:2"))
        await emulator.at_rest()
        await emulator.platform.rollback("hello")
        service = await emulator.at_rest()
        assert service.revision == "r1"
        assert machine.builder.built == []

    async def test_there_must_be_something_to_roll_back_to(self, emulator):
        await created(emulator)
        with pytest.raises(InvalidRequestException, match="no earlier revision"):
            await emulator.platform.rollback("hello")
        with pytest.raises(InvalidRequestException, match="no kept revision 'r9'"):
            await emulator.platform.rollback("hello", to="r9")


class TestOneAtATime:
    async def test_a_second_operation_is_refused_by_its_own_error(self, emulator):
        await emulator.platform.create("hello", configuration())
        with pytest.raises(InvalidStateException, match="OPERATION_IN_PROGRESS"):
            await emulator.platform.pause("hello")
        with pytest.raises(InvalidRequestException, match="isn't in RUNNING"):
            await emulator.platform.start_deployment("hello")

    async def test_of_two_at_the_same_moment_one_wins(self, emulator):
        await created(emulator)
        both = [emulator.platform.pause("hello"), emulator.platform.delete("hello")]
        results = await asyncio.gather(*both, return_exceptions=True)
        assert len([r for r in results if isinstance(r, InvalidStateException)]) == 1

    async def test_what_is_not_there_is_not_found(self, emulator):
        with pytest.raises(ResourceNotFoundException):
            await emulator.platform.delete("nobody")


class TestPauseAndDelete:
    async def test_a_paused_service_runs_nothing_and_refuses_requests(self, emulator, machine):
        service = await created(emulator)
        await emulator.platform.pause("hello")
        assert (await emulator.at_rest()).status is ServiceStatus.PAUSED
        assert machine.world.of(service.id) == []
        with pytest.raises(Refused):
            await balancer(emulator).acquire()

    async def test_resume_serves_again(self, emulator, machine):
        service = await created(emulator)
        await emulator.platform.pause("hello")
        await emulator.at_rest()
        await emulator.platform.resume("hello")
        await emulator.at_rest()
        assert machine.world.running(service.id) == {"r1": 1}

    async def test_a_deleted_service_leaves_nothing_and_stays_describable(self, emulator, machine):
        service = await created(emulator)
        await emulator.platform.delete("hello")
        assert (await emulator.at_rest()).status is ServiceStatus.DELETED
        assert machine.world.of(service.id) == []
        assert machine.world.networks == set()
        assert emulator.platform.services() == ()


class TestScaling:
    async def test_more_requests_than_fit_start_more_instances(self, emulator, machine):
        service = await created(emulator, max_concurrency=1, max_size=3)
        leases = await asyncio.gather(*(balancer(emulator).acquire() for _ in range(3)))
        assert machine.world.running(service.id) == {"r1": 3}
        assert len({lease.instance for lease in leases}) == 3

    async def test_beyond_the_maximum_a_request_waits_its_turn(self, emulator):
        await created(emulator, max_concurrency=1, max_size=1)
        first = await balancer(emulator).acquire()
        second = asyncio.get_running_loop().create_task(balancer(emulator).acquire())
        await emulator.machine.clock.sleep(1)
        assert not second.done()
        first.release()
        assert (await second).instance == first.instance

    async def test_the_event_log_says_once_that_an_instance_is_set_aside(self, emulator):
        await created(emulator)
        for _ in range(3):
            lease = await balancer(emulator).acquire()
            lease.failed()
            await emulator.machine.clock.sleep(1)
        said = [event for event in await emulator.events() if lease.instance[:8] in event]
        assert [event for event in said if "gets no requests for a while" in event] == [
            f"Instance {lease.instance[:8]} gets no requests for a while: it accepts no connection."
        ]

    async def test_freezes_then_goes_to_zero_then_wakes(self, emulator, machine):
        service = await created(emulator)
        assert await emulator.until(
            lambda: states(emulator)[:1] == [InstanceState.FROZEN], within=10
        )
        assert await emulator.until(lambda: machine.world.running(service.id) == {}, within=40)
        standbys = [s.state for s in machine.world.of(service.id)]
        assert standbys == [ContainerState.CREATED]
        before = asyncio.get_running_loop().time()
        lease = await balancer(emulator).acquire()
        assert asyncio.get_running_loop().time() - before < 0.6
        lease.release()

    async def test_a_cold_start_is_told_in_its_phases(self, emulator, machine):
        service = await created(emulator)
        assert await emulator.until(lambda: machine.world.running(service.id) == {}, within=40)
        lease = await balancer(emulator).acquire()
        assert not lease.warm
        await machine.clock.sleep(0.01)  # the application thinks
        phases = dict(lease.answered())
        lease.release()
        # The fake engine starts in 150 ms, the application boots in 200.
        assert phases["start"] == pytest.approx(0.15, abs=0.02)
        assert phases["port"] == pytest.approx(0.2, abs=0.25)
        assert phases["app"] == pytest.approx(0.01)
        await machine.clock.sleep(1)
        (told,) = [e for e in await emulator.events() if "after it was needed" in e]
        assert f"{1000 * sum(phases.values()):.0f} ms" in told
        assert "first byte 10 ms" in told
        start = emulator.platform.worker(service.id).last_start
        assert (start.instance, dict(start.phases)) == (lease.instance, phases)
        warm = await balancer(emulator).acquire()
        assert warm.warm

    async def test_that_background_work_stands_still_is_told_once_for_a_service(
        self, emulator, machine
    ):
        await created(emulator)
        await emulator.platform.advance(6)
        (await balancer(emulator).acquire()).release()
        await emulator.platform.advance(6)
        (resting, *_) = emulator.platform.worker(emulator.platform.services()[0].id).instances()
        assert (resting.state, resting.because) == (InstanceState.FROZEN, "no request for 5 s")
        async with Emulator(machine) as another:
            await another.until(lambda: states(another)[:1] == [InstanceState.FROZEN], within=10)
            (told,) = [e for e in await another.events() if "background work" in e]
        assert "has no CPU until the next request: no request for 5 s." in told

    async def test_refused_requests_are_told_once_a_minute(self, emulator, machine):
        await created(emulator, max_concurrency=1, max_size=1)
        lease = await balancer(emulator).acquire()
        for _ in range(3):
            with pytest.raises(Refused):
                await balancer(emulator).acquire(within=25)
        first = "Refused a request with 429: every instance was busy for 25 seconds."
        assert [e for e in await emulator.events() if "Refused" in e] == [first]
        await machine.clock.sleep(15)  # nothing has to happen for the others to be told
        lease.release()
        assert [e for e in await emulator.events() if "Refused" in e] == [
            first,
            "Refused 2 requests with 429: every instance was busy for 25 seconds.",
        ]

    async def test_probes_neither_wake_nor_count_and_a_long_answer_keeps_it_active(
        self, emulator, machine
    ):
        service = await created(emulator)
        lease = await balancer(emulator).acquire()
        await emulator.platform.advance(600)
        assert states(emulator)[:1] == [InstanceState.ACTIVE]
        lease.release()
        (instance, *_) = emulator.platform.worker(service.id).instances()
        assert len(instance.checks) >= 1
        assert await emulator.until(lambda: machine.world.running(service.id) == {}, within=35)

    async def test_the_last_twenty_health_checks_are_kept(self, emulator, machine):
        wanted = configuration()
        awake = replace(wanted.extensions, scale_to_zero_after=None, freeze_after=None)
        await emulator.platform.create("hello", replace(wanted, extensions=awake))
        service = await emulator.at_rest()
        await machine.clock.sleep(300)
        (instance, *_) = emulator.platform.worker(service.id).instances()
        assert len(instance.checks) == 20
        assert all(check.healthy for check in instance.checks)
        moments = [check.at for check in instance.checks]
        assert moments[-1] - moments[0] == pytest.approx(19 * 5, abs=1)

    async def test_a_request_thaws_a_frozen_instance(self, emulator, machine):
        service = await created(emulator)
        frozen = [InstanceState.FROZEN]
        assert await emulator.until(lambda: states(emulator)[:1] == frozen, within=10)
        lease = await balancer(emulator).acquire()
        await lease.ready
        running = [s for s in machine.world.of(service.id) if s.state is ContainerState.RUNNING]
        assert [s.id for s in running] == [lease.instance]

    async def test_what_was_thawed_for_a_short_request_is_frozen_again_in_time(self, emulator):
        await created(emulator)
        frozen = lambda: states(emulator)[:1] == [InstanceState.FROZEN]  # noqa: E731
        assert await emulator.until(frozen, within=10)
        lease = await balancer(emulator).acquire()
        await lease.ready
        lease.release()
        assert not frozen()
        assert await emulator.until(frozen, within=5.6)

    async def test_a_service_that_must_not_sleep_does_not(self, emulator, machine):
        wanted = configuration()
        awake = replace(wanted.extensions, scale_to_zero_after=None, freeze_after=None)
        await emulator.platform.create("hello", replace(wanted, extensions=awake))
        service = await emulator.at_rest()
        await emulator.machine.clock.sleep(3600)
        assert machine.world.running(service.id) == {"r1": 1}
        assert states(emulator)[0] is InstanceState.IDLE


class TestDrift:
    async def test_a_container_removed_by_hand_is_replaced(self, emulator, machine):
        service = await created(emulator)
        (running,) = [s for s in machine.world.of(service.id) if s.endpoint]
        machine.world.remove_by_hand(running.id)
        replaced = lambda: machine.world.running(service.id) == {"r1": 1}  # noqa: E731
        assert await emulator.until(replaced, within=10)
        assert running.id not in machine.world.containers
        assert any("removed from outside" in e for e in await emulator.events())

    async def test_an_engine_that_restarts_finds_its_services_running_again(
        self, emulator, machine
    ):
        service = await created(emulator)
        machine.world.restart_engine(machine.clock.now())
        assert machine.world.running(service.id) == {}
        again = lambda: machine.world.running(service.id) == {"r1": 1}  # noqa: E731
        assert await emulator.until(again, within=10)
        lease = await balancer(emulator).acquire()
        assert lease.instance in machine.world.containers

    async def test_a_crash_loop_is_held_back_and_told_in_few_words(self, emulator, machine):
        await created(emulator, min_size=1)
        machine.world.behaviours["sha256:app1"] = Behaviour(boot=0.1, crashes_after=0.5)
        for container in machine.world.containers.values():
            container.dies_at = machine.clock.now() + 1
        await emulator.machine.clock.sleep(1)
        for _ in range(100):
            await emulator.machine.clock.sleep(1)
            machine.world.advance(machine.clock.now())
            balancer(emulator).last_activity = machine.clock.now()
            with suppress(Refused):
                (await balancer(emulator).acquire(within=0.1)).failed()
        told = [e for e in await emulator.events() if "Container exit code" in e]
        assert len(told) == 3
        assert told[0].endswith("A new instance replaces it.")
        assert told[-1].startswith("Crash loop: Your application stopped or failed to start.")
        assert "That is 3 times in a row." in told[-1]
        events = await emulator.events()
        later = events[events.index(told[-1]) + 1 :]  # neither starts nor refused connections
        assert all(each.startswith("Refused") for each in later)
        machine.world.behaviours["sha256:app1"] = Behaviour(boot=0.1)
        for _ in range(240):
            await emulator.machine.clock.sleep(1)
            balancer(emulator).last_activity = machine.clock.now()
        (over,) = [e for e in await emulator.events() if "loop is over" in e]
        assert over.startswith("The crash loop is over: no crash for 120 s, after ")

    async def test_an_instance_that_fails_its_checks_is_replaced_and_told(self, emulator, machine):
        service = await created(emulator)
        (sick,) = [c for c in machine.world.containers.values() if c.seen.endpoint]
        await machine.logs.write(
            service.id,
            [LogLine(at=Epoch(1.0), stream=f"instance/{sick.seen.id}", text="out of threads")],
        )
        sick.ready_at = float("inf")
        lease = await balancer(emulator).acquire()  # keeps it from resting
        await machine.clock.sleep(40)
        lease.release()
        healthy = lambda: machine.world.running(service.id) == {"r1": 1}  # noqa: E731
        assert await emulator.until(healthy, within=10)
        assert sick.seen.id not in machine.world.containers
        (told,) = [e for e in await emulator.events() if "A new instance replaces it" in e]
        assert told.startswith("Health check failed on protocol `TCP` [Port: '8080'].")
        assert told.endswith("Last lines of the application log:\n  out of threads")

    @pytest.mark.assumed
    async def test_an_instance_that_turns_unhealthy_is_replaced_and_the_reason_is_told(
        self, emulator, machine
    ):
        wanted = configuration(min_size=1)
        awake = replace(wanted.extensions, freeze_after=None)
        await emulator.platform.create("hello", replace(wanted, extensions=awake))
        await emulator.at_rest()
        [sick] = [c for c in machine.world.containers.values() if c.ready_at < float("inf")]
        sick.ready_at = float("inf")
        gone = lambda: sick.seen.id not in machine.world.containers  # noqa: E731
        assert await emulator.until(gone, within=60)
        assert await emulator.until(lambda: InstanceState.IDLE in states(emulator), within=10)
        [told] = [e for e in await emulator.events() if e.startswith("Health check failed")]
        assert "(connection refused) The application does not listen on any port." in told
        assert told.endswith("A new instance replaces it.")

    async def test_an_engine_that_is_away_is_told_once_and_waited_for(self, emulator, machine):
        service = await created(emulator)
        machine.instances.failure = EngineError("the daemon does not answer")
        machine.world.tell(service.id)
        await emulator.machine.clock.sleep(20)
        machine.instances.failure = None
        told = [e for e in await emulator.events() if "does not answer" in e]
        assert 1 <= len(told) <= 2
        assert (await emulator.at_rest()).status is ServiceStatus.RUNNING


class TestMetering:
    async def test_an_instance_is_metered_from_its_start_to_its_end(self, emulator, machine):
        service = await created(emulator)
        await emulator.until(lambda: machine.world.running(service.id) == {}, within=60)
        await emulator.platform.meter.flush()
        usage = await machine.store.usage(service.id)
        provisioned = [u for u in usage if u.meter == "provisioned"]
        assert len(provisioned) == 1
        assert 29 < provisioned[0].seconds(machine.clock.now()) < 33


async def test_a_full_disk_is_waited_for(emulator, machine):
    service = await created(emulator)
    machine.store.failure = StoreError("no space left on device")
    (running,) = [s for s in machine.world.of(service.id) if s.endpoint]
    machine.world.remove_by_hand(running.id)
    await emulator.machine.clock.sleep(10)
    machine.store.failure = None
    replaced = lambda: machine.world.running(service.id) == {"r1": 1}  # noqa: E731
    assert await emulator.until(replaced, within=10)
    await emulator.platform.update("hello", configuration("app:2"))
    assert (await emulator.at_rest()).revision == "r2"


async def test_an_engine_that_is_away_is_no_crash_of_the_application(emulator, machine):
    service = await created(emulator)
    original = machine.instances.start

    async def away(_instance, _revision):
        raise EngineUnavailableError("no engine answers")

    machine.instances.start = away
    (running,) = [s for s in machine.world.of(service.id) if s.endpoint]
    machine.world.remove_by_hand(running.id)
    await emulator.machine.clock.sleep(30)
    machine.instances.start = original
    back = lambda: machine.world.running(service.id) == {"r1": 1}  # noqa: E731
    assert await emulator.until(back, within=4)
    assert not any("in a row" in e for e in await emulator.events())


async def test_who_waits_for_a_slow_start_is_told_why(emulator, machine):
    machine.world.behaviours["sha256:app1"] = Behaviour(boot=14.0)
    await emulator.platform.create("hello", configuration())
    assert (await emulator.at_rest()).status is ServiceStatus.RUNNING
    told = [e for e in await emulator.events() if "is not healthy after 10 s" in e]
    assert len(told) == 1
    assert "connection refused" in told[0]


async def test_a_mistake_of_ours_in_one_service_does_not_take_the_others_along(emulator, machine):
    service = await created(emulator)
    await emulator.platform.create("other", configuration())
    await emulator.at_rest("other")
    original = machine.instances.start

    async def bug(_instance, _revision):
        machine.instances.start = original
        raise ZeroDivisionError

    machine.instances.start = bug
    (running,) = [s for s in machine.world.of(service.id) if s.endpoint]
    machine.world.remove_by_hand(running.id)
    back = lambda: machine.world.running(service.id) == {"r1": 1}  # noqa: E731
    assert await emulator.until(back, within=10)
    assert any("starts over" in e for e in await emulator.events())
    assert not emulator.dead
    lease = await balancer(emulator).acquire()
    assert lease.instance


async def test_a_full_disk_while_the_deleted_are_forgotten_does_not_end_the_emulator(machine):
    async with Emulator(machine) as emulator:
        await created(emulator)
        await emulator.platform.delete("hello")
        await emulator.at_rest()
        machine.store.failure = StoreError("no space left on device")
        await machine.clock.sleep(2 * 3600)
        assert not emulator.dead
        machine.store.failure = None
        await machine.clock.sleep(1200)
        assert emulator.platform.ledgers() == ()


async def test_an_operation_s_time_does_not_run_while_no_emulator_does(machine):
    machine.world.behaviours["sha256:app1"] = Behaviour(boot=4.0)
    async with Emulator(machine) as emulator:
        await emulator.platform.create("hello", configuration())
        ledger = emulator.platform.ledger("hello")
        assert await emulator.until(lambda: ledger.revisions, within=10)
    await machine.clock.sleep(24 * 3600)
    async with Emulator(machine) as emulator:
        service = await emulator.at_rest()
        assert service.status is ServiceStatus.RUNNING
        assert await emulator.operations() == ["CREATE_SERVICE SUCCEEDED"]
