"""Balancer: leases, the queue, freezing and thawing, on virtual time."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random  # noqa: TID251 - seeded, for the draw

import looptime
import pytest
from hypothesis import given, strategies as st

from emulator.controllers.balancer import (
    BACK_OFF,
    LONGEST_BACK_OFF,
    Balancer,
    Door,
    Lease,
    Refused,
    Target,
)
from emulator.decisions.cold_start import Birth
from emulator.model.identifiers import InstanceId
from emulator.model.instance import Endpoint
from tests.fakes.clock import LoopClock

pytestmark = pytest.mark.looptime

A, B, C = (InstanceId(letter * 32) for letter in "abc")
THAW = 0.02  # seconds the fake engine takes


def target(instance: InstanceId, *, frozen: bool = False, port: int = 8080) -> Target:
    endpoint = Endpoint(host="127.0.0.1", port=port)
    return Target(instance=instance, endpoint=endpoint, frozen=frozen)


class Worker:
    """What a service's worker gives to a balancer, recorded."""

    def __init__(self, **limits) -> None:
        self.clock = LoopClock()
        self.wakes = 0
        self.thawed: list[InstanceId] = []
        self.activity: list[tuple[InstanceId, bool]] = []
        self.thaw_error: Exception | None = None
        settings = {"max_concurrency": 1, "queue_limit": 10, "queue_wait": 60.0} | limits
        self.balancer = Balancer(
            self.clock,
            **settings,
            wake=self.wake,
            thaw=self.thaw,
            activity=lambda instance, active: self.activity.append((instance, active)),
            draw=Random(7).randrange,
        )

    def wake(self) -> None:
        self.wakes += 1

    async def thaw(self, instance: InstanceId) -> None:
        self.thawed.append(instance)
        await self.clock.sleep(THAW)
        if self.thaw_error is not None:
            raise self.thaw_error


async def turn() -> None:
    """Let every task that can run, run."""
    for _ in range(5):
        moment = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(moment.set_result, None)
        await moment


async def after(seconds: float, act: Callable[[], object]) -> None:
    await LoopClock().sleep(seconds)
    act()


async def refused(work: Awaitable[Lease]) -> Refused:
    with pytest.raises(Refused) as caught:
        await work
    return caught.value


# Picking.


async def test_gives_requests_to_the_least_busy_instance():
    balancer = Worker(max_concurrency=3).balancer
    balancer.route([target(A), target(B)])
    leases = [await balancer.acquire() for _ in range(6)]
    assert balancer.in_flight(A) == balancer.in_flight(B) == 3
    next(lease for lease in leases if lease.instance == A).release()
    assert (await balancer.acquire()).instance == A


async def test_ties_are_broken_at_random():
    balancer = Worker(max_concurrency=9).balancer
    balancer.route([target(A), target(B), target(C)])
    seen = set()
    for _ in range(50):
        lease = await balancer.acquire()
        seen.add(lease.instance)
        lease.release()
    assert seen == {A, B, C}


async def test_a_lease_is_released_once_however_often_it_is_told():
    balancer = Worker().balancer
    balancer.route([target(A)])
    first = await balancer.acquire()
    first.release()
    second = await balancer.acquire()
    first.release()
    first.failed()
    assert balancer.in_flight(A) == balancer.total_in_flight == 1
    second.release()
    assert balancer.total_in_flight == 0


async def test_a_thousand_requests_never_exceed_the_concurrency_limit():
    worker = Worker(max_concurrency=7, queue_limit=1000)
    balancer = worker.balancer
    balancer.route([target(A), target(B)])
    highest = 0

    async def request() -> None:
        nonlocal highest
        lease = await balancer.acquire()
        highest = max(highest, balancer.in_flight(A), balancer.in_flight(B))
        await worker.clock.sleep(0.01)
        lease.release()

    async with asyncio.TaskGroup() as group:
        for _ in range(1000):
            group.create_task(request())
    assert highest == 7
    assert balancer.total_in_flight == balancer.waiting == 0
    assert balancer.demand().peak == 1000
    assert balancer.demand().peak == 0


async def test_it_notes_when_so_many_instances_were_needed_for_the_last_time():
    worker = Worker(max_concurrency=2)
    balancer = worker.balancer
    balancer.route([target(A), target(B)])
    began = worker.clock.now()

    async def after(seconds: float) -> None:
        await worker.clock.sleep(seconds)

    leases = [await balancer.acquire() for _ in range(4)]
    in_vain = asyncio.ensure_future(balancer.acquire(within=1.0))  # noqa: TID251 - a client's
    await refused(in_vain)  # three were needed until it gave up
    await after(1.0)
    for lease in leases[:2]:
        lease.release()  # two, until the first of these
    await after(1.0)
    peak, needed = balancer.demand()
    assert peak == 5
    assert {n: at - began for n, at in needed.items()} == pytest.approx({3: 1.0, 2: 2.0, 1: 3.0})
    await after(1.0)
    for lease in leases[2:]:
        lease.release()
    await after(1.0)
    peak, needed = balancer.demand()
    assert peak == 2
    assert {n: at - began for n, at in needed.items()} == pytest.approx({1: 4.0, 0: 5.0})


# Waiting.


async def test_a_request_without_room_wakes_the_worker_and_gets_the_first_free_place():
    worker = Worker()
    worker.balancer.route([target(A)])
    held = await worker.balancer.acquire()
    assert worker.wakes == 0
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(worker.balancer.acquire())
        await turn()
        assert (worker.wakes, worker.balancer.waiting) == (1, 1)
        held.release()
    assert waiting.result().instance == A
    assert worker.balancer.waiting == 0


async def test_requests_are_served_in_the_order_they_came():
    worker = Worker()
    order: list[int] = []

    async def request(number: int) -> None:
        lease = await worker.balancer.acquire()
        order.append(number)
        lease.release()

    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(request(number))
        await turn()
        worker.balancer.route([target(A)])
    assert order == list(range(10))


async def test_a_request_held_from_zero_is_served_as_soon_as_an_instance_is_routed(looptime):
    worker = Worker()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(worker.balancer.acquire())
        group.create_task(after(12.5, lambda: worker.balancer.route([target(A)])))
    assert waiting.result().instance == A
    assert looptime == 12.5


async def test_an_instances_birth_is_told_once_by_the_request_that_waited_for_it_or_by_itself():
    worker, told = Worker(max_concurrency=1), []
    worker.balancer.cold_start = lambda instance, phases: told.append((instance, dict(phases)))
    birth = Birth(began=0.0, created=0.0, started=1.0, connected=2.0, healthy=2.0)
    waiting = asyncio.get_running_loop().create_task(worker.balancer.acquire())
    await turn()
    worker.balancer.route([replace(target(each), birth=birth) for each in (A, B)])
    lease = await waiting
    (other,) = {A, B} - {lease.instance}
    assert [instance for instance, _ in told] == [other]
    lease.answered()
    lease.answered()
    lease.release()
    worker.balancer.route([target(A), target(B)])
    assert [instance for instance, _ in told] == [other, lease.instance]
    assert "app" in told[1][1]


async def test_a_full_queue_refuses_with_too_many_requests():
    worker = Worker(queue_limit=2)
    worker.balancer.route([target(A)])
    held = await worker.balancer.acquire()
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(worker.balancer.acquire()) for _ in range(2)]
        await turn()
        assert (await refused(worker.balancer.acquire())).status == 429
        held.release()
        await turn()
        waiting[0].result().release()


async def test_a_wait_in_vain_is_429_where_instances_exist_and_503_where_none(looptime):
    worker = Worker()
    assert (await refused(worker.balancer.acquire())).status == 503
    assert looptime == 60
    worker.balancer.route([target(A)])
    held = await worker.balancer.acquire()
    assert (await refused(worker.balancer.acquire())).status == 429
    assert looptime == 120
    held.release()
    assert worker.balancer.total_in_flight == 0


async def test_a_caller_may_wait_for_a_shorter_time(looptime):
    error = await refused(Worker().balancer.acquire(within=3))
    assert looptime == 3
    assert "3 seconds" in error.reason


@pytest.mark.parametrize("door", [Door.PAUSED, Door.CLOSED])
async def test_a_shut_door_refuses_those_who_wait_and_those_who_come(door):
    worker = Worker()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(refused(worker.balancer.acquire()))
        await turn()
        worker.balancer.serve(door)
    assert waiting.result().status == 503
    worker.balancer.route([target(A)])
    assert (await refused(worker.balancer.acquire())).status == 503
    worker.balancer.serve(Door.OPEN)
    assert (await worker.balancer.acquire()).instance == A


async def test_all_who_wait_can_be_refused_with_a_reason():
    worker = Worker()
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(refused(worker.balancer.acquire())) for _ in range(3)]
        await turn()
        worker.balancer.fail_waiting(503, "the instance could not be started")
    assert {task.result().reason for task in waiting} == {"the instance could not be started"}


async def test_a_cancelled_wait_leaves_the_queue():
    worker = Worker()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(worker.balancer.acquire())
        await turn()
        waiting.cancel()
    assert worker.balancer.waiting == 0
    worker.balancer.route([target(A)])
    assert worker.balancer.total_in_flight == 0


async def test_a_lease_handed_to_a_request_that_is_cancelled_in_that_moment_is_given_back():
    worker = Worker()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(worker.balancer.acquire())
        await turn()
        worker.balancer.route([target(A)])
        assert worker.balancer.total_in_flight == 1
        waiting.cancel()
    assert worker.balancer.total_in_flight == 0
    assert (await worker.balancer.acquire()).instance == A


async def test_a_lease_handed_over_in_the_moment_the_wait_is_over_is_used():
    worker = Worker(queue_wait=5)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        loop.call_at(loop.time() + 5, worker.balancer.route, [target(A)])
        waiting = group.create_task(worker.balancer.acquire())
    waiting.result().release()
    assert worker.balancer.total_in_flight == worker.balancer.waiting == 0


async def test_a_higher_limit_serves_those_who_wait_at_once():
    worker = Worker()
    worker.balancer.route([target(A)])
    await worker.balancer.acquire()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(worker.balancer.acquire())
        await turn()
        worker.balancer.configure(max_concurrency=2, request_timeout=30)
    assert waiting.result().instance == A
    assert worker.balancer.request_timeout == 30


# Routing.


async def test_an_instance_no_longer_routed_is_counted_until_its_requests_end():
    worker = Worker(max_concurrency=5)
    worker.balancer.route([target(A)])
    old = await worker.balancer.acquire()
    worker.balancer.route([target(B)])
    assert not old.routed
    assert {(await worker.balancer.acquire()).instance for _ in range(3)} == {B}
    assert worker.balancer.in_flight(A) == 1
    old.release()
    assert worker.balancer.in_flight(A) == 0
    assert worker.balancer.idle_since(A) is None
    assert worker.activity[-1] == (A, False)


async def test_an_instance_that_comes_back_keeps_its_count():
    worker = Worker(max_concurrency=2)
    worker.balancer.route([target(A)])
    lease = await worker.balancer.acquire()
    worker.balancer.route([])
    worker.balancer.route([target(A, port=9090)])
    assert worker.balancer.in_flight(A) == 1
    assert not lease.routed  # its endpoint is another one now
    assert (await worker.balancer.acquire()).endpoint.port == 9090


async def test_activity_is_told_at_the_first_request_and_after_the_last():
    worker = Worker(max_concurrency=2)
    worker.balancer.route([target(A)])
    one, two = await worker.balancer.acquire(), await worker.balancer.acquire()
    one.release()
    assert worker.activity == [(A, True)]
    two.release()
    assert worker.activity == [(A, True), (A, False)]


async def test_an_instance_that_goes_straight_on_to_the_next_request_was_never_idle():
    worker = Worker()
    worker.balancer.route([target(A)])
    held = await worker.balancer.acquire()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(worker.balancer.acquire())
        await turn()
        held.release()
    assert worker.activity == [(A, True)]
    waiting.result().release()


async def test_idle_since_is_the_end_of_the_last_request_or_when_it_became_known():
    worker = Worker()
    worker.balancer.route([target(A)])
    known = worker.balancer.idle_since(A)
    assert known == worker.clock.now()
    await worker.clock.sleep(5)
    lease = await worker.balancer.acquire()
    assert worker.balancer.idle_since(A) is None
    await worker.clock.sleep(5)
    lease.release()
    assert worker.balancer.idle_since(A) == known + 10 == worker.balancer.last_activity


# Instances that cannot be dialled.


async def test_an_instance_that_could_not_be_dialled_is_set_aside_for_a_moment(looptime):
    worker = Worker(max_concurrency=5)
    worker.balancer.route([target(A), target(B)])
    lease = await worker.balancer.acquire()
    lease.failed()
    other = ({A, B} - {lease.instance}).pop()
    assert worker.wakes == 1
    assert worker.balancer.in_flight(lease.instance) == 0
    assert {(await worker.balancer.acquire()).instance for _ in range(5)} == {other}
    back = await worker.balancer.acquire()
    assert back.instance == lease.instance
    assert looptime == BACK_OFF


async def pauses(worker: Worker, looptime, failures: int) -> list[float]:
    """How long a request waits for A each time it has failed; nobody else has room."""
    found = []
    lease = await worker.balancer.acquire()
    for _ in range(failures):
        assert lease.instance == A
        began = looptime + 0
        lease.failed()
        lease = await worker.balancer.acquire()
        found.append(looptime - began)
    lease.release()
    return found


async def test_one_that_fails_again_and_again_is_left_alone_for_longer_each_time(looptime):
    worker = Worker()
    worker.balancer.route([target(A), target(B)])
    elsewhere = worker.balancer.acquire_elsewhere(A)
    assert elsewhere is not None
    waited = await pauses(worker, looptime, 7)
    assert waited == pytest.approx([BACK_OFF, 1, 2, 4, 8, LONGEST_BACK_OFF, LONGEST_BACK_OFF])
    assert worker.balancer.trouble() == [(A, "it accepts no connection")]
    # A request that ended well ends it.
    assert await pauses(worker, looptime, 2) == pytest.approx([BACK_OFF, 1])
    assert worker.balancer.trouble() == [(A, "it accepts no connection")]
    assert worker.balancer.trouble() == []


async def test_the_only_instance_is_asked_again_soon_however_often_it_has_failed(looptime):
    worker = Worker()
    worker.balancer.route([target(A)])
    assert await pauses(worker, looptime, 6) == pytest.approx([BACK_OFF] * 6)
    worker.balancer.route([])
    assert worker.balancer.trouble() == []  # it is nobody's trouble any more


# Freezing and thawing.


async def test_a_frozen_instance_is_thawed_for_its_first_request_only():
    worker = Worker(max_concurrency=5)
    worker.balancer.route([target(A, frozen=True)])
    leases = [await worker.balancer.acquire() for _ in range(3)]
    assert not worker.balancer.frozen(A)
    for lease in leases:
        await lease.ready
    assert worker.thawed == [A]
    later = await worker.balancer.acquire()
    assert later.thawing is None


async def test_a_lease_comes_before_the_thaw_is_done_so_that_dialling_need_not_wait(looptime):
    worker = Worker()
    worker.balancer.route([target(A, frozen=True)])
    lease = await worker.balancer.acquire()
    assert looptime == 0
    await lease.ready
    assert looptime == pytest.approx(THAW)


async def test_a_request_that_is_cancelled_does_not_take_the_thaw_with_it():
    worker = Worker(max_concurrency=2)
    worker.balancer.route([target(A, frozen=True)])
    first, second = await worker.balancer.acquire(), await worker.balancer.acquire()
    async with asyncio.TaskGroup() as group:

        async def wait() -> None:
            await first.ready

        waiting = group.create_task(wait())
        await turn()
        waiting.cancel()
    await second.ready
    assert worker.thawed == [A]


async def test_a_failed_thaw_sets_the_instance_aside_and_is_tried_again():
    worker = Worker()
    worker.thaw_error = OSError("gone")
    worker.balancer.route([target(A, frozen=True)])
    lease = await worker.balancer.acquire()
    with pytest.raises(OSError, match="gone"):
        await lease.ready
    lease.release()
    await turn()
    assert worker.balancer.frozen(A)
    assert worker.wakes == 1
    worker.thaw_error = None
    again = await worker.balancer.acquire()
    await again.ready
    assert worker.thawed == [A, A]


async def test_an_instance_in_use_may_not_rest():
    worker = Worker()
    worker.balancer.route([target(A)])
    lease = await worker.balancer.acquire()
    assert not worker.balancer.rest(A)
    lease.release()
    assert worker.balancer.rest(A)
    assert worker.balancer.frozen(A)
    assert not worker.balancer.rest(B)


async def test_an_instance_that_is_being_thawed_may_not_rest():
    worker = Worker()
    worker.balancer.route([target(A, frozen=True)])
    lease = await worker.balancer.acquire()
    lease.release()
    assert not worker.balancer.rest(A)
    await lease.ready
    await turn()
    assert worker.balancer.rest(A)


async def test_an_observation_older_than_the_freeze_does_not_make_it_awake():
    worker = Worker()
    worker.balancer.route([target(A)])
    worker.balancer.rest(A)
    worker.balancer.route([target(A, frozen=False)])
    assert worker.balancer.frozen(A)
    worker.balancer.awake(A)
    assert not worker.balancer.frozen(A)
    await worker.balancer.acquire()
    assert worker.thawed == []


async def test_an_instance_frozen_by_somebody_else_under_its_requests_is_thawed():
    worker = Worker()
    worker.balancer.route([target(A)])
    await worker.balancer.acquire()
    worker.balancer.route([target(A, frozen=True)])
    await turn()
    assert worker.thawed == [A]
    assert not worker.balancer.frozen(A)


async def test_its_repr_says_what_one_wants_to_know():
    worker = Worker()
    worker.balancer.route([target(A), target(B, frozen=True)])
    await worker.balancer.acquire()
    assert repr(worker.balancer) == (
        "<Balancer open 0 waiting [aaaaaaaa 1 in flight, bbbbbbbb 0 in flight frozen]>"
    )


# Anything, in any order.

LIMIT = 2
MOVES = ["acquire", "release", "fail", "cancel", "route 0", "route 1", "route 2", "rest", "wait"]


class Game:
    """Requests and a worker that do what they are told, and what must hold after each move."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.worker = Worker(max_concurrency=LIMIT, queue_limit=5, queue_wait=0.05)
        self.balancer = self.worker.balancer
        self.group = group
        self.held: list[Lease] = []
        self.asking: list[asyncio.Task[None]] = []

    async def ask(self) -> None:
        with contextlib.suppress(Refused):
            self.held.append(await self.balancer.acquire())

    async def play(self, move: str) -> None:
        match move.split():
            case ["acquire"]:
                self.asking.append(self.group.create_task(self.ask()))
            case ["release"] if self.held:
                self.held.pop(0).release()
            case ["fail"] if self.held:
                self.held.pop().failed()
            case ["cancel"] if self.asking:
                self.asking.pop().cancel()
            case ["route", count]:
                self.balancer.route([target(instance) for instance in (A, B)[: int(count)]])
            case ["rest"]:
                self.balancer.rest(A)
            case _:
                await self.worker.clock.sleep(0.03)

    def check(self) -> None:
        flights = [self.balancer.in_flight(instance) for instance in (A, B)]
        assert all(0 <= flight <= LIMIT for flight in flights)
        assert self.balancer.total_in_flight == sum(flights)


async def play(moves: list[str]) -> None:
    async with asyncio.TaskGroup() as group:
        game = Game(group)
        for move in moves:
            await game.play(move)
            game.check()
    for lease in game.held:
        lease.release()
    assert game.balancer.total_in_flight == game.balancer.waiting == 0
    assert not any(dict(game.worker.activity).values())


@given(moves=st.lists(st.sampled_from(MOVES), max_size=60))
def test_no_slot_is_ever_leaked_or_given_twice(moves):
    with contextlib.closing(looptime.new_event_loop()) as loop:
        loop.run_until_complete(play(moves))
