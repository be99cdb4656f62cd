"""One service's load balancer: who gets the next request, who waits, and what is counted.

This is the request path: plain mutable counters, no value-style, no HTTP. Everything but
`acquire` is synchronous, so that no caller can come between reading a counter and acting on it.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from emulator.decisions.admission import Door, Refusal, give_up, pick, refuse
from emulator.decisions.cold_start import Birth, Phase, of_instance, of_request
from emulator.model.identifiers import Epoch, InstanceId
from emulator.model.instance import Endpoint
from emulator.ports import PolicyClock

__all__ = ["Balancer", "Door", "Lease", "Refused", "Target"]

BACK_OFF = 0.5  # seconds for which an instance that cannot be reached is set aside at first …
LONGEST_BACK_OFF = 10.0  # … and at last, where others can be: doubled each time in a row


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An instance that may be picked; `birth` of one that has just come."""

    instance: InstanceId
    endpoint: Endpoint
    frozen: bool = False
    birth: Birth | None = None


class Refused(Exception):  # noqa: N818 - an outcome, not a fault
    """A request that no instance will serve: the HTTP status for it, and why in words."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Demand(NamedTuple):
    """Requests in flight and waiting at their highest, and when so many instances were last needed
    for them, of each number that was.
    """

    peak: int
    needed: Mapping[int, Epoch]


class Slot:
    """What is known of one instance; it satisfies `admission.Candidate`."""

    __slots__ = (
        "active",
        "aside",
        "birth",
        "endpoint",
        "failures",
        "frozen",
        "idle_since",
        "in_flight",
        "instance",
        "routed",
        "thawing",
    )

    def __init__(self, target: Target, now: Epoch) -> None:
        self.instance = target.instance
        self.endpoint = target.endpoint
        self.frozen = target.frozen
        self.birth = target.birth  # until it is told
        self.in_flight = 0
        self.active = False
        self.routed = True
        self.aside = False
        self.failures = 0  # times it was set aside since a request last ended well there
        self.idle_since: Epoch | None = now
        self.thawing: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        marks = [
            word
            for word, holds in (
                ("frozen", self.frozen),
                ("aside", self.aside),
                ("unrouted", not self.routed),
            )
            if holds
        ]
        return " ".join([self.instance[:8], f"{self.in_flight} in flight", *marks])


class Lease:
    """The right to send one request to one instance; release it exactly when that has ended.

    `thawing` is set while the instance is still being thawed: the kernel accepts connections for
    a frozen process, so dial at once, but give up when this future fails.
    """

    __slots__ = (
        "_asked",
        "_balancer",
        "_birth",
        "_granted",
        "_held",
        "_slot",
        "_thawed_at",
        "cold",
        "endpoint",
        "instance",
        "thawing",
        "warm",
    )

    def __init__(self, balancer: "Balancer", slot: Slot) -> None:
        self.cold = False  # the request came when no instance was routed
        self._balancer = balancer
        self._slot = slot
        self._held = True
        self.instance = slot.instance
        self.endpoint = slot.endpoint
        self.thawing = slot.thawing
        self.warm = slot.thawing is None  # until it turns out that the request waited for it
        self._birth: Birth | None = None
        self._thawed_at: float | None = None
        self._asked = self._granted = 0.0
        if slot.thawing is not None:
            self._asked = self._granted = asyncio.get_running_loop().time()
            slot.thawing.add_done_callback(self._note_thaw)

    def _note_thaw(self, _: "asyncio.Future[None]") -> None:
        self._thawed_at = asyncio.get_running_loop().time()

    def waited(self, since: float) -> None:
        """The request was in the queue since then."""
        self.warm = False
        self._asked, self._granted = since, asyncio.get_running_loop().time()

    def tells_of(self, birth: Birth | None) -> None:
        """It is the first request of an instance that came for it."""
        self._birth = birth

    def answered(self) -> tuple[Phase, ...]:
        """The first byte of the answer is here: where the time went, for one that is not `warm`."""
        phases = of_request(
            asked=self._asked,
            granted=self._granted,
            birth=self._birth,
            thawed=self._thawed_at,
            answered=asyncio.get_running_loop().time(),
        )
        self._tell(phases)
        return phases

    def _tell(self, phases: tuple[Phase, ...]) -> None:
        if self._birth is not None:
            self._birth = None
            self._balancer._note_start(self.instance, phases)  # noqa: SLF001

    @property
    def ready(self) -> Awaitable[None]:
        """Done when the instance has its CPU; raises what `thaw` raised."""
        return self._thawed()

    async def _thawed(self) -> None:
        if self.thawing is not None:
            await asyncio.shield(self.thawing)

    @property
    def routed(self) -> bool:
        """Whether new requests still go to this instance, at this endpoint."""
        slot = self._slot
        return slot.routed and (slot.endpoint is self.endpoint or slot.endpoint == self.endpoint)

    def release(self) -> None:
        """The request has ended; a second call does nothing."""
        if self._held:
            self._held = False
            if self._birth is not None:  # it never had an answer
                self._tell(of_request(asked=self._asked, granted=self._granted, birth=self._birth))
            self._balancer.end(self._slot)

    def failed(self) -> None:
        """The instance could not be dialled: it is set aside for a while, the lease released."""
        if self._held:
            self._balancer._set_aside(self._slot, "it accepts no connection")  # noqa: SLF001
            self.release()

    def __repr__(self) -> str:
        return f"<Lease {self.instance[:8]} {'held' if self._held else 'released'}>"


class Balancer:
    """The load balancer of one service.

    `wake()` is called when a request starts to wait and when an instance could not be dialled: the
    service's worker should look. `thaw(instance)` is called when a request goes to a frozen
    instance, perhaps while the freeze that `rest` allowed is still under way: it must come after
    it. `activity(instance, active)` is called when an instance's first request starts and when its
    last one ends; `cold_start(instance, phases)` for the request that an instance came for, and
    `refused(refusal)` for each that finds no room. None of them may call back into the balancer.
    `queue_wait` in seconds.
    """

    def __init__(  # noqa: PLR0913 - what the service's worker wires up, once
        self,
        clock: PolicyClock,
        *,
        max_concurrency: int,
        queue_limit: int,
        queue_wait: float,
        wake: Callable[[], None],
        thaw: Callable[[InstanceId], Awaitable[None]],
        activity: Callable[[InstanceId, bool], None],
        draw: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self.request_timeout = 120.0
        self.websockets = False
        self.queue_wait = queue_wait
        self.last_activity: Epoch | None = None
        self.total_in_flight = 0
        self.door = Door.OPEN
        self.cold_start: Callable[[InstanceId, tuple[Phase, ...]], None] = _nobody
        self.cold_starts: dict[str, tuple[int, float]] = {}  # by phase: how many, seconds in all
        self.refused: Callable[[Refusal], None] = _nobody
        self._clock = clock
        self._max_concurrency = max_concurrency
        self._queue_limit = queue_limit
        self._wake = wake
        self._thaw = thaw
        self._activity = activity
        self._draw = draw
        self._slots: dict[InstanceId, Slot] = {}
        self._pickable: list[Slot] = []
        self._waiters: OrderedDict[asyncio.Future[Lease | Refused], None] = OrderedDict()
        self._thaws: set[asyncio.Future[None]] = set()
        self._peak = 0
        self._needed: dict[int, Epoch] = {}
        self._drawn: Slot | None = None
        self._trouble: dict[Slot, str] = {}  # instances that were set aside, not yet told

    # What the service's worker tells.

    def configure(
        self,
        *,
        max_concurrency: int | None = None,
        request_timeout: float | None = None,
        websockets: bool | None = None,
    ) -> None:
        """Requests that wait profit at once; what is in flight above a new limit goes on."""
        if max_concurrency is not None:
            self._max_concurrency = max_concurrency
        if request_timeout is not None:
            self.request_timeout = request_timeout
        if websockets is not None:
            self.websockets = websockets
        self._hand_out()

    def route(self, targets: Sequence[Target]) -> None:
        """Replace the set of instances that may be picked.

        Counters of known ones are kept; those no longer named are counted until their requests
        have ended. `frozen` of a known instance can only add: its observation may be older than
        what the balancer did, so that only `awake` and a thaw make an instance awake.
        """
        named = {target.instance for target in targets}
        for slot in [slot for slot in self._slots.values() if slot.instance not in named]:
            slot.routed = False
            self._forget_if_done(slot)
        for target in targets:
            self._name(target)
        self._refresh()
        self._hand_out()
        for slot in self._slots.values():
            if slot.birth is not None:  # nobody waits for it any more
                self._note_start(slot.instance, of_instance(slot.birth))
                slot.birth = None

    def serve(self, door: Door) -> None:
        """Open, or refuse everything at once; requests in flight go on."""
        self.door = door
        refusal = refuse(door=door, waiting=0, queue_limit=1)
        if refusal is not None:
            self.fail_waiting(refusal.status, refusal.reason)

    def rest(self, instance: InstanceId) -> bool:
        """Mark an instance frozen, before it is frozen; False: not now, it is in use."""
        slot = self._slots.get(instance)
        if slot is None or slot.in_flight or slot.thawing is not None:
            return False
        slot.frozen = True
        return True

    def awake(self, instance: InstanceId) -> None:
        """The instance has its CPU, whatever was thought of it."""
        slot = self._slots.get(instance)
        if slot is not None:
            slot.frozen = False

    def fail_waiting(self, status: int, reason: str) -> None:
        """Refuse every request that waits."""
        self._note_need(self._clock.now())
        waiters, self._waiters = self._waiters, OrderedDict()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(Refused(status, reason))

    # What it may read.

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    def in_flight(self, instance: InstanceId) -> int:
        """Also of one that is no longer routed; 0 for one that is not known."""
        slot = self._slots.get(instance)
        return slot.in_flight if slot else 0

    def idle_since(self, instance: InstanceId) -> Epoch | None:
        """When its last request ended, or it became known; None while active or unknown."""
        slot = self._slots.get(instance)
        return slot.idle_since if slot else None

    def frozen(self, instance: InstanceId) -> bool:
        slot = self._slots.get(instance)
        return slot is not None and slot.frozen

    def instances(self) -> dict[str, int]:
        """How many that take requests are active (have some), idle or frozen."""
        routed = [slot for slot in self._slots.values() if slot.routed]
        active = sum(slot.active for slot in routed)
        frozen = sum(slot.frozen for slot in routed)
        return {"active": active, "idle": len(routed) - active - frozen, "frozen": frozen}

    def trouble(self) -> list[tuple[InstanceId, str]]:
        """Which instances were set aside, and why: since the last reading, once until they are
        well again, and only those that requests would still go to.
        """
        trouble, self._trouble = self._trouble, {}
        return [(slot.instance, why) for slot, why in trouble.items() if slot.routed]

    def demand(self) -> Demand:
        """What requests asked for since the last reading."""
        self._note_need(self._clock.now())
        demand = Demand(self._peak, self._needed)
        self._peak, self._needed = self.total_in_flight + len(self._waiters), {}
        return demand

    # What the request path does.

    async def acquire(self, *, within: float | None = None) -> Lease:
        """A lease on the least busy instance; waits in line for one, at most `within` seconds
        and never longer than `queue_wait`. Raises Refused.
        """
        self.last_activity = self._clock.now()
        if not self._waiters and self.door is Door.OPEN:
            slot = self._pick()
            if slot is not None:
                return self._lease(slot)
        refusal = refuse(door=self.door, waiting=len(self._waiters), queue_limit=self._queue_limit)
        if refusal is not None:
            self.refused(refusal)
            raise _refused(refusal)
        return await self._wait(self.queue_wait if within is None else min(within, self.queue_wait))

    def ready(self) -> Slot | None:
        """The instance that a request would get without waiting and without a thaw, None where
        there is none: to be leased before anything else happens.
        """
        if self._waiters or self.door is not Door.OPEN:
            return None
        slot = self._drawn = self._pick()
        return None if slot is None or slot.frozen or slot.thawing is not None else slot

    def begin(self, slot: Slot) -> None:
        """Send a request to what `ready` has just returned; `end` it, or release its lease."""
        self._drawn = None
        self._begin(slot)

    def held(self, slot: Slot) -> Lease:
        """The lease of a request that has begun without one."""
        return Lease(self, slot)

    def end(self, slot: Slot) -> Epoch:
        """A request has ended that began there: now, as it says."""
        now = self.last_activity = self._clock.now()
        self._note_need(now)
        slot.in_flight -= 1
        self.total_in_flight -= 1
        if slot.failures and not slot.aside:
            slot.failures = 0
        if self._waiters:  # first: an instance that goes straight on was never idle
            self._hand_out()
        if not slot.in_flight and slot.active:
            slot.active = False
            slot.idle_since = now
            self._forget_if_done(slot)
            self._activity(slot.instance, False)  # noqa: FBT003
        return now

    def acquire_elsewhere(self, instance: InstanceId) -> Lease | None:
        """A lease on any other instance that has room now."""
        others = [slot for slot in self._pickable if slot.instance != instance]
        slot = pick(others, max_concurrency=self._max_concurrency, draw=self._draw)
        return None if slot is None else self._lease(slot)

    async def _wait(self, within: float) -> Lease:
        loop = asyncio.get_running_loop()
        began = loop.time()
        waiter: asyncio.Future[Lease | Refused] = loop.create_future()
        self._waiters[waiter] = None
        cold = not self._routed
        self._note_demand()
        self._wake()
        try:
            async with asyncio.timeout(within):
                outcome = await waiter
        except TimeoutError:
            # The lease may have been handed over in the very moment the time was up.
            outcome = _handed_to(waiter) or self._in_vain(within)
        except asyncio.CancelledError:
            handed = _handed_to(waiter)
            if isinstance(handed, Lease):
                handed.release()
            raise
        finally:
            if waiter in self._waiters:
                self._note_need(self._clock.now())
                del self._waiters[waiter]
        if isinstance(outcome, Refused):
            raise outcome
        outcome.cold = cold
        outcome.waited(began)
        return outcome

    @property
    def _routed(self) -> int:
        return sum(slot.routed for slot in self._slots.values())

    def _in_vain(self, waited: float) -> Refused:
        refusal = give_up(instances=self._routed, waited=waited)
        self.refused(refusal)
        return _refused(refusal)

    def _pick(self) -> Slot | None:
        """What was drawn for a request stays drawn while it is as good as any: drawing again
        would favour instances that kept connections lead to.
        """
        if len(self._pickable) == 1:  # as most services have it; what `pick` would say, too
            only = self._pickable[0]
            return only if only.in_flight < self._max_concurrency else None
        slot = pick(self._pickable, max_concurrency=self._max_concurrency, draw=self._draw)
        drawn, self._drawn = self._drawn, None
        if drawn is None or slot is None or drawn is slot or drawn not in self._pickable:
            return slot
        as_good = drawn.in_flight == slot.in_flight and drawn.frozen == slot.frozen
        return drawn if as_good else slot

    def _lease(self, slot: Slot) -> Lease:
        self._begin(slot)
        return Lease(self, slot)

    def _begin(self, slot: Slot) -> None:
        slot.in_flight += 1
        self.total_in_flight += 1
        self._note_demand()
        if slot.frozen:
            self._start_thaw(slot)
        if not slot.active:
            slot.active = True
            slot.idle_since = None
            self._activity(slot.instance, True)  # noqa: FBT003 - the port's own shape

    def _hand_out(self) -> None:
        while self._waiters:
            slot = self._pick()
            if slot is None:
                return
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():  # a cancelled one has yet to take itself off the queue
                lease = self._lease(slot)
                lease.tells_of(slot.birth)
                slot.birth = None
                waiter.set_result(lease)

    def _note_start(self, instance: InstanceId, phases: tuple[Phase, ...]) -> None:
        for name, seconds in phases:
            count, total = self.cold_starts.get(name, (0, 0.0))
            self.cold_starts[name] = count + 1, total + seconds
        self.cold_start(instance, phases)

    def _note_need(self, now: Epoch) -> None:
        """Before demand falls."""
        demand = self.total_in_flight + len(self._waiters)
        self._needed[-(-demand // self._max_concurrency)] = now

    def _note_demand(self) -> None:
        demand = self.total_in_flight + len(self._waiters)
        if demand > self._peak:  # noqa: PLR1730 - half the time of max(), on the request path
            self._peak = demand

    # Instances come, go, fail and wake.

    def _name(self, target: Target) -> None:
        slot = self._slots.get(target.instance)
        if slot is None:
            self._slots[target.instance] = Slot(target, self._clock.now())
            return
        slot.routed = True
        slot.endpoint = target.endpoint
        if target.frozen and slot.thawing is None:
            slot.frozen = True
            if slot.in_flight:
                self._start_thaw(slot)  # somebody else froze it under its requests

    def _refresh(self) -> None:
        self._pickable = [slot for slot in self._slots.values() if slot.routed and not slot.aside]

    def _forget_if_done(self, slot: Slot) -> None:
        if not slot.routed and not slot.in_flight:
            self._slots.pop(slot.instance, None)

    def _set_aside(self, slot: Slot, why: str) -> None:
        if not slot.aside:
            if not slot.failures:
                self._trouble[slot] = why
            slot.aside = True
            self._refresh()
            # Where there is no other one it is asked again soon, however often it has failed.
            growth = 2 ** min(slot.failures, 10) if self._pickable else 1
            pause = min(BACK_OFF * growth, LONGEST_BACK_OFF)
            slot.failures += 1
            asyncio.get_running_loop().call_later(pause, self._reinstate, slot)
        self._wake()

    def _reinstate(self, slot: Slot) -> None:
        slot.aside = False
        self._refresh()
        self._hand_out()

    def _start_thaw(self, slot: Slot) -> None:
        slot.frozen = False
        # The thaw must outlive the request that asked for it; `_thaws` holds it.
        thaw = asyncio.ensure_future(_completed(self._thaw(slot.instance)))  # noqa: TID251
        self._thaws.add(thaw)
        slot.thawing = thaw
        thaw.add_done_callback(lambda done: self._thawed(slot, done))

    def _thawed(self, slot: Slot, thaw: asyncio.Future[None]) -> None:
        self._thaws.discard(thaw)
        slot.thawing = None
        if thaw.cancelled() or thaw.exception() is not None:
            slot.frozen = True  # as far as anybody knows; the next request tries again
            self._set_aside(slot, "it cannot be thawed")

    def __repr__(self) -> str:
        slots = ", ".join(map(repr, self._slots.values()))
        return f"<Balancer {self.door} {self.waiting} waiting [{slots}]>"


def _nobody(*_: object) -> None:
    """Before the worker listens."""


async def _completed(work: Awaitable[None]) -> None:
    await work


def _refused(refusal: Refusal) -> Refused:
    return Refused(refusal.status, refusal.reason)


def _handed_to(waiter: "asyncio.Future[Lease | Refused]") -> Lease | Refused | None:
    """What a request got before it was told to stop waiting."""
    return waiter.result() if waiter.done() and not waiter.cancelled() else None
