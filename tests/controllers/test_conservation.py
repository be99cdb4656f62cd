"""No second is lost or made up: what is metered is what ran, whatever happened to the emulator.

And instances live as `docs/scaling.md` says that they do.
"""

import re
from collections import defaultdict
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from emulator.controllers.balancer import Refused
from emulator.controllers.meter import TICK
from emulator.decisions.metering import quantities
from emulator.model.errors import AppRunnerError
from emulator.model.instance import ContainerState, InstanceState
from emulator.model.service import ServiceStatus
from emulator.model.usage import Meter
from tests.fakes.emulators import Emulator, Machine, configuration

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(120)]
GIGABYTES = 2
STEP = st.one_of(
    st.tuples(st.sampled_from(["wait", "advance", "sleep"]), st.floats(0.1, 80.0)),
    st.tuples(st.just("request"), st.floats(0.0, 10.0)),
    st.tuples(st.sampled_from(["pause", "resume", "deploy", "crash", "kill"]), st.just(0.0)),
)
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"


@cache
def successors() -> dict[str, set[str]]:
    """Of each state, as the document's table has them."""
    rows = [line.split("|")[1:4] for line in DOCUMENT.read_text().splitlines() if "|" in line]
    states = {str(state) for state in InstanceState}
    table: dict[str, set[str]] = {}
    for first, _, last in (row for row in rows if len(row) == 3):
        for name in states & set(re.findall(r"`([a-z]+)`", first)):
            table[name] = set(re.findall(r"`([a-z]+)`", last))
    assert table.keys() == states
    return table


def leads_to(state: str) -> set[str]:
    """Whatever may follow, sooner or later; or nothing has changed."""
    reached, new = set(), {state}
    while new:
        reached |= new
        new = {after for each in new for after in successors()[each]} - reached
    return reached


def test_an_instance_never_comes_back_from_its_end():
    assert leads_to("draining") == {"draining", "stopped"}
    assert leads_to("failed") == {"failed", "draining", "stopped"}
    assert leads_to("provisioning") == {str(state) for state in InstanceState}


class Life:
    """One machine; emulators come and go on it. `slept` is policy time that nobody lived."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.machine.clock.start -= self.machine.clock.steady()  # examples share a loop
        self.slept: list[tuple[float, float]] = []
        self.states: dict[str, str] = {}
        self.kills = 0

    async def live(self, steps) -> None:
        left = [*steps, ("end", 0.0)]
        while left:
            async with Emulator(self.machine) as emulator:
                await self.begin(emulator)
                while left:
                    step, value = left.pop(0)
                    self.look(emulator)
                    if step == "kill":
                        self.kills += 1
                        self.states.clear()  # the next one has to learn what is healthy
                        break
                    await self.take(emulator, step, value)

    def look(self, emulator) -> None:
        """An instance's state is one that the last one seen may lead to."""
        worker = emulator.platform.worker(emulator.platform.services()[0].id)
        for instance in worker.instances():
            before = self.states.get(instance.id, InstanceState.PROVISIONING)
            assert str(instance.state) in leads_to(str(before))
            self.states[instance.id] = instance.state

    async def begin(self, emulator) -> None:
        if not emulator.platform.services():
            await emulator.platform.create("hello", configuration(max_concurrency=1))
            await emulator.at_rest()

    async def take(self, emulator, step, value) -> None:
        clock, platform = self.machine.clock, emulator.platform
        if step == "wait":
            await clock.sleep(value)
        elif step == "advance":
            await platform.advance(value)
        elif step == "sleep":
            now = self.machine.policy.now()
            clock.start += value + 2  # the wall clock, not the steady one
            self.slept.append((now, now + value + 2))
            await clock.sleep(TICK + 0.1)  # who dies before he looks at the clock cannot tell
        elif step == "request":
            await self.ask(platform, value)
        elif step == "crash":
            await self.crash()
        elif step == "end":
            await self.end(emulator)
        else:
            await self.order(emulator, step)

    async def ask(self, platform, seconds) -> None:
        """Two at once, which is one more than an instance takes."""
        balancer = platform.worker(platform.services()[0].id).balancer
        leases = []
        for _ in range(2):
            try:
                leases.append(await balancer.acquire(within=5))
            except Refused:
                return
        await self.machine.clock.sleep(seconds)
        for lease in leases:
            lease.release()

    async def crash(self) -> None:
        """Of whatever runs."""
        now = self.machine.clock.now()
        for container in self.machine.world.containers.values():
            if container.seen.state is ContainerState.RUNNING:
                container.dies_at = now
        self.machine.world.advance(now)
        await self.machine.clock.sleep(0.01)

    async def order(self, emulator, verb) -> None:
        platform = emulator.platform
        orders = {"pause": platform.pause, "resume": platform.resume}
        try:
            await orders.get(verb, platform.start_deployment)("hello")
        except AppRunnerError:
            return
        if verb != "deploy":  # that one goes on beside the rest
            await emulator.at_rest()

    async def end(self, emulator) -> None:
        """Until nothing runs any more."""
        service = await emulator.at_rest()
        if service.status is ServiceStatus.RUNNING:
            await emulator.platform.pause("hello")
            await emulator.at_rest()
        await emulator.platform.meter.flush()
        worker = emulator.platform.worker(service.id)
        assert {i.state for i in worker.instances()} <= {InstanceState.PROVISIONING}

    def lived(self) -> dict[str, float]:
        """Seconds of policy time that each instance ran while the machine was awake."""
        spans = self.machine.world.lives
        asleep = {
            i: sum(max(0.0, min(b, woke) - max(a, fell)) for fell, woke in self.slept)
            for i, (a, b) in spans.items()
        }
        return {i: b - a - asleep[i] for i, (a, b) in spans.items()}


@settings(max_examples=40)
@given(st.lists(STEP, max_size=12))
async def test_metered_seconds_are_those_that_instances_ran(steps):
    life = Life()
    await life.live(steps)
    usage = await life.machine.store.usage()
    assert all(each.end is not None for each in usage)
    metered, active = defaultdict(float), defaultdict(float)
    for each in usage:
        sums = metered if each.meter is Meter.PROVISIONED else active
        sums[each.instance] += each.seconds(each.end)
    truth = life.lived()
    within = 0.05 + 1.2 * life.kills  # a second at most at each crash, and a start under way
    for instance in truth.keys() | metered.keys():
        assert metered[instance] == pytest.approx(truth.get(instance, 0.0), abs=within)
        assert active[instance] <= metered[instance] + within
    # What is exported is what is metered, but for rounding up.
    stretches = sum(each.meter is Meter.PROVISIONED for each in usage)
    exported = quantities(usage, life.machine.policy.now()).memory / GIGABYTES
    assert 0 <= exported - Decimal(sum(metered.values())) + Decimal("0.01") < stretches + 1
