"""Policy time: an hour passes at once, and all is as if it had passed; what is real stays real."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings, strategies as st

from emulator.controllers.billing import bill_of, journals
from emulator.model.configuration import Extensions
from emulator.model.errors import InvalidRequestException
from emulator.model.instance import InstanceState
from emulator.model.service import ServiceStatus
from emulator.model.settings import Pace, PaceMode
from tests.fakes.clock import START, LoopPolicyClock
from tests.fakes.emulators import SETTINGS, Emulator, Machine, configuration
from tests.fakes.world import Behaviour

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
QUARTER = 900.0
HOUR = 3600.0
IDLE = replace(
    configuration(), extensions=Extensions(scale_to_zero_after=QUARTER, freeze_after=10.0)
)


@pytest.fixture
def machine():
    return Machine()


async def created(emulator, wanted=IDLE):
    await emulator.platform.create("hello", wanted)
    await emulator.at_rest()
    return emulator.platform.worker(emulator.platform.ledger("hello").service.id)


def states(worker):
    return [i.state for i in worker.instances() if i.state is not InstanceState.PROVISIONING]


async def journal(emulator):
    """What was metered: meter, start and end to the second, since the start."""
    await emulator.platform.meter.flush()
    return [
        (str(u.meter), round(u.start - START), u.end and round(u.end - START))
        for u in await emulator.machine.store.usage()
    ]


async def answered(worker):
    lease = await worker.balancer.acquire()
    await lease.ready
    lease.release()


async def test_after_fifteen_idle_minutes_it_is_at_zero_and_the_bill_says_so(machine):
    """The next request takes a cold start. 1 vCPU, 2 GB: 900 s of memory, a minute of vCPU."""
    async with Emulator(machine) as emulator:
        worker = await created(emulator)
        before = machine.clock.now()
        await emulator.platform.advance(11)
        assert states(worker) == [InstanceState.FROZEN]
        await emulator.platform.advance(HOUR)
        assert states(worker) == []
        real = machine.clock.now() - before
        assert real < 2
        await emulator.platform.meter.flush()
        found = await journals(machine.store, emulator.platform.ledgers(), machine.policy)
        bill = bill_of(found, emulator.platform.settings.prices, "us-east-1")
        rest = next(a for a in bill.alternatives if "scale-to-zero" in a.name)
        # From the start of the instance to zero: 900 s and what starting and stopping took.
        memory, cpu = Decimal("0.007") * 2, Decimal("0.064")
        assert (rest.total - 60 * cpu / 3600) / memory * 3600 == pytest.approx(901, abs=1)
        await answered(worker)
        assert states(worker) == [InstanceState.IDLE]
        told = [e for e in await emulator.events() if "no request for 900 s" in e]
        assert told == ["Scaling from 1 to 0 instances: no request for 900 s: scaled to zero."]
    (at,) = [e.at - START for e in machine.store._events.values() if e.text in told]
    assert at == pytest.approx(QUARTER, abs=1)


async def test_instances_go_a_minute_after_they_were_needed_for_the_last_time(machine):
    """Also where all of them stay busy, so that nothing tells of it at that moment."""
    wanted = configuration(max_concurrency=2, max_size=3)
    off = replace(wanted, extensions=Extensions(scale_to_zero_after=None, freeze_after=None))
    async with Emulator(machine) as emulator:
        worker = await created(emulator, off)
        leases = await asyncio.gather(*(worker.balancer.acquire() for _ in range(6)))
        one_each = {lease.instance: lease for lease in leases}
        assert len(one_each) == 3
        await emulator.platform.advance(100)
        for lease in one_each.values():
            lease.release()
        await machine.clock.sleep(20)
        await emulator.platform.advance(39)
        assert len(states(worker)) == 3
        await emulator.platform.advance(2)
        left = [state for state in states(worker) if state is not InstanceState.DRAINING]
        assert len(left) == 2
        for lease in leases:
            lease.release()


async def passed(emulator, seconds, *, advanced):
    """In pieces, each waited for or leapt over."""
    for piece in advanced:
        await emulator.platform.advance(piece)
    await emulator.machine.clock.sleep(seconds - sum(advanced))


PIECES = st.lists(st.floats(0.01, 40.0), min_size=1, max_size=4)


@settings(max_examples=15)
@given(PIECES)
async def test_what_is_leapt_over_is_as_if_it_had_passed(pieces):
    """A request now and then, the same in both lives; the journals agree to the second."""
    journals = []
    for advanced in ([], pieces):
        machine = Machine()
        machine.clock.start -= machine.clock.steady()  # examples share a loop
        async with Emulator(machine) as emulator:
            worker = await created(emulator, configuration())  # freezes after 5 s, zero after 30
            for request_at in (15.0, 70.0):
                left = START + request_at - machine.policy.now()
                leapt = [p for n, p in enumerate(advanced) if sum(advanced[: n + 1]) < left]
                await passed(emulator, left, advanced=leapt)
                await answered(worker)
            await passed(emulator, 40.0, advanced=[])
            journals.append(await journal(emulator))
            texts = [e for e in await emulator.events() if " ms" not in e]
            journals[-1].append(texts)
    waited, leapt = journals
    assert waited.pop() == leapt.pop()
    assert [row[0] for row in waited] == [row[0] for row in leapt]
    for (_, *one), (_, *other) in zip(waited, leapt, strict=True):
        assert one == pytest.approx(other, abs=1.01)


async def test_policy_time_runs_on_after_a_restart_and_never_goes_back(machine):
    async with Emulator(machine) as emulator:
        await created(emulator)
        await emulator.platform.advance(HOUR)
        ahead = machine.policy.now()
    machine.policy = LoopPolicyClock(machine.clock, await machine.store.timeline())
    await machine.clock.sleep(10)
    async with Emulator(machine) as emulator:
        assert machine.policy.now() == pytest.approx(ahead + 10, abs=0.1)
        await answered(emulator.platform.worker(emulator.platform.ledger("hello").service.id))
    moments = [e.at for e in machine.store._events.values()]
    assert moments == sorted(moments)


async def test_sixty_seconds_pass_in_one_at_that_speed(machine):
    fast = replace(SETTINGS, pace=Pace(speed=60))
    async with Emulator(machine, settings=fast) as emulator:
        worker = await created(emulator)
        await machine.clock.sleep(14)
        assert states(worker) == [InstanceState.FROZEN]
        await machine.clock.sleep(2)
        assert states(worker) == []
        ((_, start, end), *_) = await journal(emulator)
        assert end - start == pytest.approx(QUARTER, abs=90)  # a real second and a half


async def test_app_runners_pace_passes_as_fast_as_the_clock_is_advanced(machine):
    realistic = replace(SETTINGS, pace=Pace(mode=PaceMode.REALISTIC))
    async with Emulator(machine, settings=realistic) as emulator:
        await emulator.platform.create("hello", IDLE)
        await machine.clock.sleep(2)
        await emulator.platform.advance(200)
        assert emulator.platform.ledger("hello").operation is not None
        await emulator.platform.advance(30)
        service = emulator.platform.ledger("hello").service
        (created,) = await machine.store.operations(service.id)
        assert created.ended_at - created.started_at == pytest.approx(203, abs=0.1)
        assert machine.clock.now() - START < 5


async def test_work_that_is_under_way_has_the_machines_time(machine):
    """A build, a boot and its limit are not leapt over: the deployment goes on."""
    machine.world.behaviours["sha256:app1"] = Behaviour(boot=15)
    async with Emulator(machine) as emulator:
        await emulator.platform.create("hello", IDLE)
        await machine.clock.sleep(1)
        await emulator.platform.advance(24 * HOUR)
        assert emulator.platform.ledger("hello").operation is not None
        assert (await emulator.at_rest()).status is ServiceStatus.RUNNING


async def test_the_machines_sleep_is_not_metered_and_told_once(machine):
    async with Emulator(machine) as emulator:
        worker = await created(emulator)
        await machine.clock.sleep(100)
        machine.clock.start += HOUR  # as the wall clock is when a laptop wakes
        await machine.clock.sleep(30)
        assert states(worker) == []  # nobody asked for it for an hour
        (memory, again) = [row for row in await journal(emulator) if row[0] == "provisioned"]
        assert memory[1:] == pytest.approx((0, 100), abs=2)
        assert again[1:] == pytest.approx((HOUR + 100, HOUR + 101), abs=2)
        (told,) = [e for e in await emulator.events() if "slept" in e]
        assert told.startswith("This machine slept for 3600 s, or its clock was set ahead")
    async with Emulator(machine) as emulator:  # remembered
        found = await journals(machine.store, emulator.platform.ledgers(), machine.policy)
        bill = bill_of(found, emulator.platform.settings.prices, "us-east-1")
        hours = next(line.quantity for line in bill.lines if line.meter == "provisioned") / 2
        assert hours * 3600 == pytest.approx(130, abs=5)
        assert all(each.observed == pytest.approx(130, abs=5) for each in found)


async def test_a_clock_that_is_set_back_stops_nothing(machine):
    async with Emulator(machine) as emulator:
        worker = await created(emulator)
        before = machine.policy.now()
        await machine.clock.sleep(5)
        machine.clock.start -= HOUR
        await machine.clock.sleep(QUARTER)
        assert machine.policy.now() == pytest.approx(before + 5 + QUARTER, abs=1)
        assert states(worker) == []


@pytest.mark.parametrize("seconds", [-1, 0, float("nan"), "1h"])
async def test_the_clock_is_never_set_back(machine, seconds):
    async with Emulator(machine) as emulator:
        before = machine.policy.now()
        with pytest.raises(InvalidRequestException):
            await emulator.platform.advance(seconds)
        assert machine.policy.now() == before
