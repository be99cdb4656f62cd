"""The meter on virtual time: what is written, how little, and that no second is lost or made up."""

import asyncio
import contextlib
import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings, strategies as st

from emulator.controllers.meter import SHORTEST_GAP, Meter
from emulator.model.configuration import InstanceSize
from emulator.model.errors import StoreError
from emulator.model.identifiers import Epoch, InstanceId, RevisionId, ServiceId
from emulator.model.instance import ContainerState, Exit, ObservedInstance
from emulator.model.revision import Revision
from emulator.model.usage import Meter as Metered, UsageInterval
from emulator.ports import Heartbeat
from tests.fakes.clock import LoopClock, LoopPolicyClock
from tests.fakes.store import FakeStore

pytestmark = pytest.mark.looptime
A, B, SERVICE = InstanceId("a"), InstanceId("b"), ServiceId("s")


@dataclass
class Bench:
    """A meter that runs, and what it wrote, relative to the start."""

    clock: LoopClock
    store: FakeStore
    meter: Meter
    zero: float

    async def at(self, second: float) -> None:
        await self.clock.sleep(second - (self.clock.now() - self.zero))

    async def written(self, meter: Metered = Metered.ACTIVE, instance: InstanceId = A):
        return [
            (self.since(each.start), self.since(each.end))
            for each in await self.store.usage(SERVICE)
            if (each.meter, each.instance) == (meter, instance)
        ]

    def since(self, moment: float | None) -> float | None:
        return None if moment is None else round(moment - self.zero, 3)

    def provision(self, instance: InstanceId = A) -> None:
        self.meter.provisioned(instance, SERVICE, cpu=1024, memory=2048)


@contextlib.asynccontextmanager
async def running(store=None, linger=0.0):
    clock = LoopClock()
    store = store or FakeStore()
    meter = Meter(store, LoopPolicyClock(clock), clock, linger=linger)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(meter.run())
        yield Bench(clock, store, meter, clock.now())
        task.cancel()


class TestActivity:
    async def test_an_instance_is_metered_from_start_to_end(self):
        async with running() as bench:
            bench.provision()
            await bench.at(1.5)
            assert await bench.written(Metered.PROVISIONED) == [(0, None)]
            bench.meter.ended(A)
            await bench.at(3)
            assert await bench.written(Metered.PROVISIONED) == [(0, 1.5)]

    async def test_the_engines_time_of_the_end_counts_where_it_is_known(self):
        async with running() as bench:
            bench.provision()
            bench.meter.activity(A, active=True)
            await bench.at(5)
            bench.meter.ended(A, Epoch(bench.zero + 4.25))
            bench.meter.ended(A)
            await bench.meter.flush()
            assert await bench.written(Metered.PROVISIONED) == [(0, 4.25)]
            assert await bench.written() == [(0, 4.25)]

    async def test_requests_make_it_active(self):
        async with running() as bench:
            bench.provision()
            await bench.at(10)
            bench.meter.activity(A, active=True)
            await bench.at(12.5)
            bench.meter.activity(A, active=False)
            await bench.at(20)
            assert await bench.written() == [(10, 12.5)]

    async def test_it_is_active_while_it_starts(self):
        async with running() as bench:
            bench.provision()
            bench.meter.starting(A)
            await bench.at(3)
            bench.meter.started(A)
            await bench.at(10)
            assert await bench.written() == [(0, 3)]

    async def test_a_request_that_came_with_the_start_prolongs_it(self):
        async with running() as bench:
            bench.provision()
            bench.meter.starting(A)
            await bench.at(3)
            bench.meter.activity(A, active=True)
            bench.meter.started(A)
            await bench.at(8)
            bench.meter.activity(A, active=False)
            await bench.at(20)
            assert await bench.written() == [(0, 8)]

    async def test_a_busy_client_makes_one_interval(self):
        async with running() as bench:
            bench.provision()
            for number in range(100):
                await bench.at(number * 0.5)
                bench.meter.activity(A, active=True)
                await bench.at(number * 0.5 + 0.01)
                bench.meter.activity(A, active=False)
            await bench.at(60)
            assert await bench.written() == [(0, 49.51)]

    async def test_a_rest_of_a_second_ends_it(self):
        async with running() as bench:
            bench.provision()
            for second in (0, 1.5):
                await bench.at(second)
                bench.meter.activity(A, active=True)
                await bench.at(second + 0.5)
                bench.meter.activity(A, active=False)
            await bench.at(5)
            assert await bench.written() == [(0, 0.5), (1.5, 2)]

    async def test_lingers_as_long_as_it_is_told(self):
        async with running(linger=10.0) as bench:
            bench.provision()
            for second in (0, 8, 30):
                await bench.at(second)
                bench.meter.activity(A, active=True)
                await bench.at(second + 1)
                bench.meter.activity(A, active=False)
            await bench.at(35)
            bench.meter.ended(A)
            await bench.meter.flush()
            assert await bench.written() == [(0, 19), (30, 35)]

    async def test_an_unknown_instance_is_nothing(self):
        async with running() as bench:
            bench.meter.activity(A, active=True)
            bench.meter.starting(A)
            bench.meter.started(A)
            bench.meter.ended(A)
            await bench.at(5)
            assert await bench.store.usage() == ()

    async def test_telling_it_twice_changes_nothing(self):
        async with running() as bench:
            bench.provision()
            bench.meter.activity(A, active=True)
            await bench.at(2)
            bench.provision()
            bench.meter.activity(A, active=True)
            await bench.at(3)
            bench.meter.activity(A, active=False)
            await bench.at(3.5)
            bench.meter.activity(A, active=False)
            await bench.at(9)
            assert await bench.written() == [(0, 3)]
            assert await bench.written(Metered.PROVISIONED) == [(0, None)]

    async def test_a_build_is_written_down(self):
        async with running() as bench:
            bench.meter.build(SERVICE, Epoch(bench.zero - 5), Epoch(bench.zero))
            await bench.at(2)
            build = UsageInterval(
                service=SERVICE,
                meter=Metered.BUILD,
                start=Epoch(bench.zero - 5),
                end=Epoch(bench.zero),
            )
            assert await bench.store.usage() == (build,)


class TestWriting:
    async def test_writes_nothing_while_nothing_runs(self):
        async with running() as bench:
            bench.provision()
            await bench.at(5)
            bench.meter.ended(A)
            await bench.at(10)
            before = bench.store.saves
            await bench.at(1000)
            assert bench.store.saves == before

    async def test_writes_once_a_second_whatever_happens(self):
        async with running() as bench:
            bench.provision(A)
            bench.provision(B)
            for number in range(100):
                bench.meter.activity(A, active=number % 2 == 0)
                bench.meter.activity(B, active=number % 3 == 0)
                await bench.at(number / 10)
            assert bench.store.saves <= 10

    async def test_gives_a_sign_of_life_while_something_runs(self):
        async with running() as bench:
            bench.provision()
            await bench.at(7.5)
            assert bench.since(await bench.store.heartbeat()) == 7

    async def test_a_store_that_fails_loses_nothing(self, caplog):
        async with running() as bench:
            bench.store.failure = StoreError("the disk is full")
            bench.provision()
            bench.meter.activity(A, active=True)
            await bench.at(3)
            bench.meter.activity(A, active=False)
            await bench.at(10)
            assert await bench.store.usage() == ()
            assert caplog.text.count("the disk is full") == 1
            bench.store.failure = None
            await bench.at(12)
            assert await bench.written() == [(0, 3)]
            assert await bench.written(Metered.PROVISIONED) == [(0, None)]

    async def test_a_newer_state_is_not_replaced_by_an_older_one_that_failed(self):
        class SlowStore(FakeStore):
            async def save(self, *changes):
                await LoopClock().sleep(5)
                await super().save(*changes)

        store = SlowStore()
        async with running(store) as bench:
            bench.provision()
            await bench.at(3)  # the first write is under way since second 1
            bench.meter.ended(A)
            store.failure = StoreError("just once")
            await bench.at(6.5)
            store.failure = None
            await bench.at(20)
            assert await bench.written(Metered.PROVISIONED) == [(0, 3)]

    async def test_closing_ends_activity_and_leaves_instances_running(self):
        async with running() as bench:
            bench.provision()
            bench.meter.activity(A, active=True)
            await bench.at(2.25)
            await bench.meter.close()
            assert await bench.written() == [(0, 2.25)]
            assert await bench.written(Metered.PROVISIONED) == [(0, None)]


def observed(state=ContainerState.RUNNING, instance=A, started=None, ended=None):
    return ObservedInstance(
        id=instance,
        service=SERVICE,
        state=state,
        fingerprint="f",
        revision=RevisionId("r1"),
        started_at=started,
        exit=Exit(code=1, at=ended) if state is ContainerState.EXITED else None,
    )


class TestRecovery:
    START = LoopClock().start

    @pytest.fixture
    async def store(self):
        """Of an emulator that died at second 10 after the start."""
        store = FakeStore()
        for meter in (Metered.PROVISIONED, Metered.ACTIVE):
            interval = UsageInterval(
                service=SERVICE, meter=meter, start=Epoch(self.START - 100), instance=A, cpu=1024
            )
            await store.save(interval, Heartbeat(Epoch(self.START - 10)))
        return store

    async def test_what_still_runs_stays_open_but_is_no_longer_active(self, store):
        async with running(store) as bench:
            await bench.meter.recover([observed(ContainerState.FROZEN)])
            assert await bench.written(Metered.PROVISIONED) == [(-100, None)]
            assert await bench.written() == [(-100, -10)]
            await bench.at(5)
            bench.meter.activity(A, active=True)
            await bench.at(7)
            bench.meter.ended(A)
            await bench.at(9)
            assert await bench.written(Metered.PROVISIONED) == [(-100, 7)]
            assert await bench.written() == [(-100, -10), (5, 7)]

    async def test_what_ended_meanwhile_ends_when_its_container_did(self, store):
        async with running(store) as bench:
            exited = observed(ContainerState.EXITED, ended=Epoch(bench.zero - 4))
            await bench.meter.recover([exited])
            assert await bench.written(Metered.PROVISIONED) == [(-100, -4)]
            assert await bench.written() == [(-100, -10)]

    @pytest.mark.parametrize("found", [[], [observed(ContainerState.EXITED)]])
    async def test_or_else_at_the_last_sign_of_life(self, store, found):
        async with running(store) as bench:
            await bench.meter.recover(found)
            assert await bench.written(Metered.PROVISIONED) == [(-100, -10)]

    async def test_an_end_before_the_beginning_is_no_negative_time(self, store):
        async with running(store) as bench:
            exited = observed(ContainerState.EXITED, ended=Epoch(bench.zero - 500))
            await bench.meter.recover([exited])
            assert await bench.written(Metered.PROVISIONED) == [(-100, -100)]

    async def test_finds_what_was_started_just_before_the_crash(self):
        store = FakeStore()
        async with running(store) as bench:
            await self.save_revision(store)
            start = Epoch(bench.zero - 3)
            await bench.meter.recover(
                [
                    observed(started=start),
                    observed(ContainerState.EXITED, B, start, Epoch(bench.zero - 2)),
                    observed(ContainerState.CREATED, InstanceId("standby")),
                ]
            )
            await bench.at(4)
            bench.meter.ended(A)
            await bench.at(6)
            assert await bench.written(Metered.PROVISIONED) == [(-3, 4)]
            assert await bench.written(Metered.PROVISIONED, B) == [(-3, -2)]
            assert {each.memory for each in await store.usage()} == {512}

    async def test_recovering_again_changes_nothing(self, store):
        async with running(store) as bench:
            exited = observed(ContainerState.EXITED, started=Epoch(1.0), ended=Epoch(bench.zero))
            await bench.meter.recover([exited])
            before = await store.usage()
            await bench.meter.recover([exited])
            assert await store.usage() == before

    @staticmethod
    async def save_revision(store):
        size = InstanceSize(cpu=256, memory=512)
        revision = Revision(
            id=RevisionId("r1"), service=SERVICE, image="i", size=size, created_at=Epoch(0)
        )
        store._revisions[SERVICE, revision.id] = revision


@dataclass
class Machine:
    """The truth: when each instance ran and had requests, whatever becomes of the emulator."""

    started: dict[InstanceId, float] = field(default_factory=dict)
    ended: dict[InstanceId, float] = field(default_factory=dict)
    requests: dict[InstanceId, list[list[float]]] = field(default_factory=dict)
    serving: set[InstanceId] = field(default_factory=set)

    def runs(self, instance: InstanceId) -> bool:
        return instance in self.started and instance not in self.ended

    def request(self, instance: InstanceId, now: float, *, begins: bool) -> None:
        if begins and instance not in self.serving:
            self.serving.add(instance)
            self.requests.setdefault(instance, []).append([now, now])
        elif not begins and instance in self.serving:
            self.serving.remove(instance)
            self.requests[instance][-1][1] = now

    def end_requests(self, now: float) -> None:
        for instance in [*self.serving]:
            self.request(instance, now, begins=False)

    def observe(self) -> list[ObservedInstance]:
        return [
            observed(
                ContainerState.RUNNING if self.runs(instance) else ContainerState.EXITED,
                instance,
                started,
                self.ended.get(instance),
            )
            for instance, started in self.started.items()
        ]

    def active_seconds(self, instance: InstanceId, linger: float, cuts: list[float]) -> float:
        """Each stretch lingers and short gaps are filled, but nothing outlives its instance or
        (a cut) the emulator.
        """
        limits = [*cuts, self.ended[instance]]
        total, covered = 0.0, -1e9
        for start, end in self.requests.get(instance, []):
            limit = min(cut for cut in limits if cut >= end)
            within_gap = start - covered < SHORTEST_GAP and not any(
                covered <= cut < start for cut in cuts
            )
            begin = covered if within_gap else start
            covered = max(covered, min(end + linger, limit))
            total += max(0.0, covered - begin)
        return total


PAUSES = st.sampled_from([0.0, 0.3, 0.999, 1.0, 1.001, 7.25, 60.0]) | st.floats(0.0, 5.0)
STEPS = ["start", "request", "request", "request end", "request end", "end", "crash"]
SCRIPTS = st.lists(st.tuples(PAUSES, st.sampled_from(STEPS), st.sampled_from([A, B])), max_size=40)
DOWNTIME = 20.0


class Story:
    """A random life: the same steps on the truth and on a meter that crashes now and then."""

    def __init__(self, linger: float) -> None:
        self.linger = linger
        self.clock = LoopClock()
        self.policy = LoopPolicyClock(self.clock)
        self.store = FakeStore()
        self.machine = Machine()
        self.crashes: list[float] = []
        self.closed = 0.0

    async def play(self, script) -> None:
        await TestRecovery.save_revision(self.store)
        remaining = [(0.0, "start", A), *script]
        while remaining:
            meter = Meter(self.store, self.policy, self.clock, linger=self.linger)
            await meter.recover(self.machine.observe())
            async with asyncio.TaskGroup() as tasks:
                run = tasks.create_task(meter.run())
                died_too = await self.live(meter, remaining)
                run.cancel()
            await self.rest(died_too)
        await self.finish()

    async def live(self, meter: Meter, remaining) -> InstanceId | None:
        """Until the emulator crashes; then it names the instance that dies a little later."""
        while remaining:
            pause, step, instance = remaining.pop(0)
            await self.clock.sleep(pause)
            if step == "crash":
                self.crashes.append(self.clock.now())
                self.machine.end_requests(self.clock.now())
                return instance
            self.take(meter, step, instance)
        self.machine.end_requests(self.clock.now())
        await meter.close()
        self.closed = self.clock.now()
        return None

    async def rest(self, died: InstanceId | None) -> None:
        """Nobody watches."""
        await self.clock.sleep(DOWNTIME)
        if died is not None and self.machine.runs(died):
            self.machine.ended[died] = self.clock.now()
        await self.clock.sleep(DOWNTIME)

    def take(self, meter: Meter, step: str, instance: InstanceId) -> None:
        machine, now = self.machine, self.clock.now()
        if step == "start" and instance not in machine.started:
            machine.started[instance] = now
            meter.provisioned(instance, SERVICE, cpu=256, memory=512)
        elif step in {"request", "request end"} and machine.runs(instance):
            begins = step == "request"
            machine.request(instance, now, begins=begins)
            meter.activity(instance, begins)
        elif step == "end" and machine.runs(instance):
            machine.request(instance, now, begins=False)
            machine.ended[instance] = now
            meter.ended(instance, now)

    async def finish(self) -> None:
        """One last emulator sees that everything has ended."""
        for instance in self.machine.started:
            self.machine.ended.setdefault(instance, self.clock.now())
        meter = Meter(self.store, self.policy, self.clock)
        await meter.recover(self.machine.observe())

    async def metered(self, meter: Metered, instance: InstanceId) -> float:
        found = await self.store.usage()
        assert all(each.end is not None for each in found)
        chosen = [each for each in found if (each.meter, each.instance) == (meter, instance)]
        ordered = sorted(chosen, key=lambda each: each.start)
        assert all(one.end <= two.start for one, two in itertools.pairwise(ordered))
        return sum(each.end - each.start for each in chosen)


class TestConservation:
    @settings(max_examples=300, deadline=None)
    @given(SCRIPTS, st.sampled_from([0.0, 0.5, 30.0]))
    @example([(0.5, "start", B), (0.1, "crash", A)], 0.0)
    @example([(1.5, "request", A), (2.5, "request end", A)], 30.0)
    @example(
        [
            (1.5, "request", A),
            (0.5, "request end", A),
            (0.5, "request", A),
            (9.5, "request end", A),
        ],
        0.0,
    )
    async def test_metered_seconds_are_those_of_the_timeline(self, script, linger):
        story = Story(linger)
        await story.play(script)
        machine = story.machine
        for instance, started in machine.started.items():
            provisioned = await story.metered(Metered.PROVISIONED, instance)
            assert provisioned == pytest.approx(machine.ended[instance] - started, abs=0.001)
            active = await story.metered(Metered.ACTIVE, instance)
            cuts = [*story.crashes, story.closed or machine.ended[instance]]
            expected = machine.active_seconds(instance, linger, cuts)
            lost = 1.0 * len(story.crashes)  # a second at most at each crash
            assert active == pytest.approx(expected, abs=lost + 0.001)
