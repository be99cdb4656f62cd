"""What-if replay: a day of requests against another configuration, in seconds.

A discrete-event simulation around the same decisions as the real thing: `scaling.decide` says how
many instances there should be and when to ask again, `admission` who is refused. What takes time
(a start, a thaw, a stop) is a parameter. Whoever wants to know why is in the wrong place: events
and reasons are the real run's; here there are only numbers.

Rules, beside those of the decisions:
 1. Who gets a request is `admission.pick`'s rule with its order kept up to date instead of looked
    for: at a thousand instances and ten million requests, looking is what takes the time.
 2. The autoscaler is asked when a request starts to wait, when an instance that was busy at the last
    decision has nothing to do, when it said so, and every `RESYNC` seconds: as the worker does. But
    not more often than the worker could (`TURN`), nor than every half second (`CALM`) for an
    instance at rest or where there are MaxSize already.
 3. The meters count as `metering` does: whole seconds, a minute at least per activation.

Time is whole microseconds since the first arrival. What is done for every request is written for
speed: plain lists, whole numbers, no objects.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from heapq import heappop, heappush
from http import HTTPStatus

from emulator.decisions import scaling
from emulator.decisions.admission import Door, Refusal, give_up, refuse
from emulator.decisions.cost import Billable
from emulator.decisions.metering import gigabytes, vcpus
from emulator.decisions.replay import Outcome, Setting, Tempo, Trace
from emulator.decisions.replay_meters import SECOND, ReplayMeters
from emulator.model.identifiers import Epoch

RESYNC = 30 * SECOND  # as the worker's
TURN = 10_000  # between two decisions while requests wait
CALM = SECOND // 2  # between two decisions that are in no hurry
FREEZE_SCAN = 2 * SECOND
FINE, COARSE = 100, 10_000  # of latencies: below a second, and from there on
COARSE_FROM = SECOND // FINE - SECOND // COARSE
NEVER = 1 << 62
FROZEN = 1  # the load of a frozen instance, as `admission.pick` counts
_SLOT_BITS = 16  # of a completion's key: its instance, below its moment
_SLOT_MASK = (1 << _SLOT_BITS) - 1


def simulate(
    trace: Trace,
    setting: Setting,
    tempo: Tempo,
    draw: Callable[[], float],
    *,
    warm: int | None = None,
    until: float = 0.0,
) -> Outcome:
    """Replay a trace. `draw()` is a random number from 0 to below 1. `warm` instances are there
    when it begins (MinSize by default). It ends with the last answer, or at `until` seconds if
    that is later.
    """
    size = setting.scaling.min_size if warm is None else warm
    world = _World(setting, tempo, draw)
    world.open(size)
    world.run(trace, round(until * SECOND))
    return world.outcome(len(trace))


@dataclass(slots=True)
class _Tally:
    """What is only counted; the wait in microseconds."""

    refused: int = 0
    unserved: int = 0
    queued: int = 0
    cold: int = 0
    longest_wait: int = 0
    starts: int = 0


class _World:
    """The service while it is simulated. An instance is a number; lists hold what is known of it.

    `load[i]` is what `admission.pick` looks at: twice its requests, one more if it is frozen.
    `levels[n]` are the instances of load n, `place[i]` where in its level one stands; below
    `lowest` all levels are empty. The level at the limit holds no instance but a mark, at which
    the search ends. Instances that drain are in no level.
    """

    def __init__(self, setting: Setting, tempo: Tempo, draw: Callable[[], float]) -> None:
        self._setting = setting
        self._tempo = tempo
        self._draw = draw
        self._room = setting.scaling.max_concurrency
        self._needed: dict[int, int] = {}  # as the balancer notes it
        self._full = 2 * setting.scaling.max_concurrency
        self._levels: list[list[int]] = [[] for _ in range(self._full)] + [[-1]]
        self._lowest = 0
        self._load: list[int] = []
        self._place: list[int] = []
        self._idle_since: list[int] = []
        self._draining: set[int] = set()
        self._free: list[int] = []
        self._completions: list[int] = []
        self._queue: deque[tuple[int, int]] = deque()  # arrival, duration
        self._total = self._peak = self._last_end = 0
        longest = tempo.queue_wait + tempo.request_timeout + tempo.thaw
        self._latencies = [0] * (COARSE_FROM + _micro(longest) // COARSE + 1)
        self._tally = _Tally()
        self._thaw, self._patience = _micro(tempo.thaw), _micro(tempo.queue_wait)
        self._timers: list[tuple[int, int, Callable[[int], None], int]] = []
        self._timers_set = 0  # ties are taken in the order they were set
        self._turn_at, self._last_turn = NEVER, -NEVER
        self._due = 0  # when something happens without a request
        self._watched = False
        self._memory = scaling.Memory(size=0, since=Epoch(0.0))
        self._routed = self._to_start = self._starting = self._launching = 0
        self._standby_at = 0
        self._meters = ReplayMeters(setting.scaling.min_size)
        self._now = 0

    def open(self, warm: int) -> None:
        """So many instances are there, and nobody has asked for anything yet."""
        self._memory = scaling.Memory(size=warm, since=Epoch(0.0))
        for _ in range(warm):
            instance = self._slot()
            self._meters.provisioned(instance, 0)
            self._enter(instance, 0)
        self._ask_by(0, TURN)
        if self._setting.freeze_after is not None:
            self._after(FREEZE_SCAN, self._freeze)

    def run(self, trace: Trace, until: int) -> None:  # noqa: C901, PLR0912, PLR0915 - the hot loop
        """From the first arrival to the last completion, and on to `until`.

        `_begin` and `_complete` are written out here for the two cases that are nearly all of
        them: a request that finds room while nobody waits, and one that ends then.
        """
        arrivals, durations, completions = trace.arrivals, trace.durations, self._completions
        levels, loads, places, latencies = self._levels, self._load, self._place, self._latencies
        draining, queue, idle_since, draw = (
            self._draining,
            self._queue,
            self._idle_since,
            self._draw,
        )
        activate, deactivate = self._meters.activate, self._meters.deactivate
        number, count, longest = 0, len(trace), _micro(self._tempo.request_timeout)
        full, room, needed = self._full, self._room, self._needed
        arrival = arrivals[0] if count else NEVER
        lowest, total, peak, due = self._lowest, self._total, self._peak, self._due
        while True:
            completion = completions[0] >> _SLOT_BITS if completions else NEVER
            if arrival < completion and arrival < due:
                duration = durations[number]
                duration = min(duration, longest)
                number += 1
                at, arrival = arrival, arrivals[number] if number < count else NEVER
                while not levels[lowest]:
                    lowest += 1
                if lowest == full or queue:
                    self._lowest, self._total, self._peak = lowest, total, peak
                    self._wait(at, duration)
                    peak, due = self._peak, self._due
                    continue
                level = levels[lowest]
                size = len(level)
                instance = last = level.pop()
                if size > 1 and (there := int(draw() * size)) < size - 1:
                    instance = level[there]
                    level[there] = last
                    places[last] = there
                if lowest <= FROZEN:  # it had none
                    activate(instance, at)
                    if lowest:
                        duration += self._thaw
                load = (lowest & ~1) + 2
                loads[instance] = load
                level = levels[load]
                places[instance] = len(level)
                level.append(instance)
                total += 1
                peak = max(peak, total)
                heappush(completions, at + duration << _SLOT_BITS | instance)
                latencies[
                    duration // FINE if duration < SECOND else COARSE_FROM + duration // COARSE
                ] += 1
            elif completion < due:
                instance = heappop(completions) & _SLOT_MASK
                if queue or instance in draining:
                    self._lowest, self._total, self._peak = lowest, total, peak
                    self._complete(instance, completion)
                    lowest, total, peak, due = self._lowest, self._total, self._peak, self._due
                    continue
                needed[-(-total // room)] = completion
                total -= 1
                load = loads[instance]
                level = levels[load]
                last = level.pop()
                if last != instance:
                    place = places[instance]
                    level[place] = last
                    places[last] = place
                load -= 2
                loads[instance] = load
                level = levels[load]
                places[instance] = len(level)
                level.append(instance)
                lowest = min(lowest, load)
                if not load:
                    idle_since[instance] = completion
                    deactivate(instance, completion)
                    if not total:
                        self._last_end = completion
                    if self._watched:
                        self._watched = False
                        self._ask_by(completion, CALM)
                        due = self._due
            else:
                if arrival == completion == NEVER and not queue and due > until:
                    break
                self._lowest, self._total, self._peak = lowest, total, peak
                self._tick(due)
                lowest, total, peak, due = self._lowest, self._total, self._peak, self._due
        self._meters.close(max(self._last_end, until))

    # -- for every request -----------------------------------------------------------------------

    def _begin(self, at: int, arrival: int, duration: int) -> bool:
        """Give a request to an instance; False: none has room. `admission.pick`, kept in order."""
        levels, lowest = self._levels, self._lowest
        while not levels[lowest]:
            lowest += 1
        self._lowest = lowest
        if lowest == self._full:
            return False
        level = levels[lowest]
        size = len(level)
        there = int(self._draw() * size) if size > 1 else 0
        instance = level[there]
        last = level.pop()
        if last != instance:
            level[there] = last
            self._place[last] = there
        if lowest <= FROZEN:  # it had none
            self._meters.activate(instance, at)
            if lowest:
                duration += self._thaw
        load = (lowest & ~1) + 2
        self._load[instance] = load
        level = levels[load]
        self._place[instance] = len(level)
        level.append(instance)
        self._total += 1
        self._peak = max(self._peak, self._total)
        end = at + duration
        heappush(self._completions, end << _SLOT_BITS | instance)
        took = end - arrival
        self._latencies[took // FINE if took < SECOND else COARSE_FROM + took // COARSE] += 1
        return True

    def _complete(self, instance: int, at: int) -> None:
        self._note_need(at)
        self._total -= 1
        self._last_end = at
        load = self._load[instance] - 2
        self._load[instance] = load
        if instance in self._draining:
            if not load:
                self._rest(instance, at)
                self._stop(instance)
            return
        level = self._levels[load + 2]
        last = level.pop()
        if last != instance:
            place = self._place[instance]
            level[place] = last
            self._place[last] = place
        level = self._levels[load]
        self._place[instance] = len(level)
        level.append(instance)
        self._lowest = min(self._lowest, load)
        if self._queue:
            self._hand_out(at)
        if not self._load[instance]:
            self._rest(instance, at)

    def _rest(self, instance: int, at: int) -> None:
        """Its last request has ended."""
        self._idle_since[instance] = at
        self._meters.deactivate(instance, at)
        if self._watched:
            self._watched = False
            self._ask_by(at, CALM)

    # -- for requests that find no room ----------------------------------------------------------

    def _wait(self, at: int, duration: int) -> None:
        refusal = refuse(door=Door.OPEN, waiting=len(self._queue), queue_limit=self._tempo.queue)
        if refusal is not None:
            self._turn_away(refusal)
            return
        self._tally.queued += 1
        self._tally.cold += not self._routed
        self._queue.append((at, duration))
        self._peak = max(self._peak, self._total + len(self._queue))
        no_more = self._memory.size == self._setting.scaling.max_size
        self._ask_by(at, CALM if no_more else TURN)

    def _note_need(self, at: int) -> None:
        self._needed[-(-(self._total + len(self._queue)) // self._room)] = at

    def _hand_out(self, at: int) -> None:
        """To those that wait, the longest first, as far as there is room."""
        queue = self._queue
        while queue and self._begin(at, *queue[0]):
            arrival, _ = queue.popleft()
            self._tally.longest_wait = max(self._tally.longest_wait, at - arrival)

    def _turn_away(self, refusal: Refusal) -> None:
        if refusal.status is HTTPStatus.TOO_MANY_REQUESTS:
            self._tally.refused += 1
        else:
            self._tally.unserved += 1

    # -- what happens without a request ----------------------------------------------------------

    def _after(self, delay: int, action: Callable[[int], None], instance: int = -1) -> None:
        self._timers_set += 1
        heappush(self._timers, (self._now + delay, self._timers_set, action, instance))
        self._due = min(self._due, self._now + delay)

    def _ask_by(self, at: int, pause: int) -> None:
        """The autoscaler is asked at that moment, or when it has had its pause."""
        self._turn_at = min(self._turn_at, max(at, self._last_turn + pause))
        self._due = min(self._due, self._turn_at)

    def _tick(self, at: int) -> None:
        """All that is due at this moment."""
        self._now = at
        timers, queue = self._timers, self._queue
        while timers and timers[0][0] <= at:
            _, _, action, instance = heappop(timers)
            action(instance)
        while queue and queue[0][0] + self._patience <= at:
            self._note_need(at)
            queue.popleft()
            self._turn_away(give_up(instances=self._routed, waited=self._tempo.queue_wait))
        if self._turn_at <= at:
            self._turn()
        due = self._turn_at
        if timers and timers[0][0] < due:
            due = timers[0][0]
        if queue and queue[0][0] + self._patience < due:
            due = queue[0][0] + self._patience
        self._due = due

    def _turn(self) -> None:
        """A decision, and what follows from it."""
        now = Epoch(self._now / SECOND)
        busy = self._total or self._queue
        self._note_need(self._now)
        load = scaling.Load(
            demand=self._peak,
            idle_since=None if busy else Epoch(self._last_end / SECOND),
            needed={count: Epoch(at / SECOND) for count, at in self._needed.items()},
        )
        self._needed.clear()
        decision = scaling.decide(
            now,
            load,
            scaling=self._setting.scaling,
            zero_after=self._setting.zero_after,
            memory=self._memory,
        )
        self._memory = decision.memory
        self._peak = self._total + len(self._queue)
        self._watched = self._total > 0
        self._last_turn, self._turn_at = self._now, NEVER
        self._ask_by(self._now + RESYNC, TURN)
        if decision.due is not None:
            self._ask_by(math.ceil(decision.due * SECOND), TURN)
        self._to_start += max(0, decision.size - self._routed - self._to_start - self._launching)
        self._start_some()
        for _ in range(self._routed - decision.size):
            self._drain()

    def _freeze(self, _: int) -> None:
        """Those that have rested long enough."""
        since = self._now - _micro(self._setting.freeze_after or 0.0)
        for instance in [i for i in self._levels[0] if self._idle_since[i] <= since]:
            self._leave(instance)
            self._move(instance, FROZEN)
        self._after(FREEZE_SCAN, self._freeze)

    # -- instances -------------------------------------------------------------------------------

    def _start_some(self) -> None:
        """Not more at once than the engine is given."""
        while self._to_start and self._starting < self._tempo.starts_at_once:
            self._to_start -= 1
            self._starting += 1
            self._launching += 1
            prepared = self._now >= self._standby_at
            self._standby_at = NEVER
            self._after(0 if prepared else _micro(self._tempo.prepare), self._start, self._slot())

    def _start(self, instance: int) -> None:
        self._tally.starts += 1
        self._meters.provisioned(instance, self._now)
        self._meters.activate(instance, self._now)
        self._after(_micro(self._tempo.start), self._boot, instance)

    def _boot(self, instance: int) -> None:
        """Its container runs: the next may be started meanwhile."""
        self._starting -= 1
        self._start_some()
        self._after(_micro(self._tempo.boot), self._ready, instance)

    def _ready(self, instance: int) -> None:
        self._launching -= 1
        self._meters.deactivate(instance, self._now)
        self._last_end = max(self._last_end, self._now)
        self._enter(instance, self._now)
        self._hand_out(self._now)
        if not self._launching and not self._to_start:
            self._standby_at = self._now + _micro(self._tempo.prepare)
        self._ask_by(self._now, TURN)

    def _drain(self) -> None:
        """One that is frozen, having rested longest, or with the fewest requests takes no more."""
        level = self._levels[FROZEN] or next(level for level in self._levels if level)
        instance = level[-1]
        self._leave(instance)
        self._routed -= 1
        self._draining.add(instance)
        if not self._load[instance] & ~1:
            self._load[instance] = 0
            self._stop(instance)

    def _stop(self, instance: int) -> None:
        self._now = max(self._now, self._last_end)
        self._after(_micro(self._tempo.stop), self._stopped, instance)

    def _stopped(self, instance: int) -> None:
        self._meters.ended(instance, self._now)
        self._draining.remove(instance)
        self._free.append(instance)

    def _slot(self) -> int:
        """A number for a new instance."""
        if self._free:
            return self._free.pop()
        if len(self._load) > _SLOT_MASK:
            raise ValueError(f"more than {_SLOT_MASK + 1} instances at once")
        self._load.append(0)
        self._place.append(0)
        self._idle_since.append(0)
        return len(self._load) - 1

    def _enter(self, instance: int, at: int) -> None:
        """It takes requests from now on."""
        self._routed += 1
        self._idle_since[instance] = at
        self._move(instance, 0)

    def _move(self, instance: int, load: int) -> None:
        level = self._levels[load]
        self._load[instance] = load
        self._place[instance] = len(level)
        level.append(instance)
        self._lowest = min(self._lowest, load)

    def _leave(self, instance: int) -> None:
        level, place = self._levels[self._load[instance]], self._place[instance]
        last = level.pop()
        if last != instance:
            level[place] = last
            self._place[last] = place

    # -- what became of it -----------------------------------------------------------------------

    def outcome(self, requests: int) -> Outcome:
        meters, size = self._meters, self._setting.size
        seconds, _ = meters.timeline[-1]
        memory, cpu, lasted = gigabytes(size.memory), vcpus(size.cpu), _exact(seconds)
        kept = meters.memory_seconds + math.ceil(meters.shortfall / SECOND)
        tasks = max(1, self._setting.scaling.min_size) * lasted
        return Outcome(
            seconds=seconds / SECOND,
            requests=requests,
            served=sum(self._latencies),
            refused=self._tally.refused,
            unserved=self._tally.unserved,
            queued=self._tally.queued,
            longest_wait=self._tally.longest_wait / SECOND,
            cold=self._tally.cold,
            starts=self._tally.starts,
            most=meters.most,
            instance_seconds=meters.instance_time / SECOND,
            active_seconds=meters.active_time / SECOND,
            latencies={_latency(n): k for n, k in enumerate(self._latencies) if k},
            timeline=tuple((at / SECOND, count) for at, count in meters.timeline),
            billable=Billable(
                memory=memory * kept,
                cpu=cpu * meters.cpu_seconds,
                zero_memory=memory * meters.memory_seconds,
                zero_cpu=cpu * meters.cpu_seconds,
                task_memory=memory * tasks,
                task_cpu=cpu * tasks,
                balancer=lasted,
                busy=_exact(meters.busy_time),
                function_memory=memory * _exact(meters.active_time),
                requests=Decimal(requests),
                instance_time=Decimal(kept),
                kept_time=Decimal(kept - meters.memory_seconds),
                active_time=_exact(meters.active_time),
                charged_time=Decimal(meters.cpu_seconds),
                stretches=Decimal(meters.stretches),
            ),
        )


def _latency(number: int) -> float:
    """In seconds, of a count."""
    fine = number < SECOND // FINE
    return (number * FINE if fine else (number - COARSE_FROM) * COARSE) / SECOND


def _micro(seconds: float) -> int:
    return round(seconds * SECOND)


def _exact(microseconds: int) -> Decimal:
    """In seconds."""
    return Decimal(microseconds) / SECOND
