"""How many instances a service should have, and why.

Scale-out follows the moment: as many instances as the requests in flight and waiting need.
Scale-in follows what was needed at any moment of a whole window, so that a constant or swinging
load does not make it flap, and so that it does not matter when it is decided. To zero only after a
long rest. App Runner publishes none of these numbers; the rules are the emulator's own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

from emulator.model.configuration import AutoScaling
from emulator.model.identifiers import Epoch

SCALE_IN_WINDOW = 60.0  # seconds that less must have been enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`demand` is requests in flight and waiting, at its highest since the last decision.

    `idle_since` is when the last request ended, None while there are any. `needed`: when so many
    instances were needed for the last time, of those since the last decision; where it is empty,
    the demand is taken for that of this moment.
    """

    demand: int
    idle_since: Epoch | None
    needed: Mapping[int, Epoch] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """`size` is the last decision. `needed` is how many were needed within the last window, the
    most first, each with the last such moment; what was before `since` nobody knows.
    """

    size: int
    since: Epoch
    needed: tuple[tuple[int, Epoch], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`due` is when the answer may change without anything happening."""

    size: int
    reason: str
    memory: Memory
    due: Epoch | None


def decide(
    now: Epoch,
    load: Load,
    *,
    scaling: AutoScaling,
    zero_after: float | None,
    memory: Memory,
) -> Decision:
    """The size for this moment; feed `memory` back in at the next decision."""
    allowed = min(memory.size, scaling.max_size)  # MaxSize may be another one by now
    known = Memory(size=allowed, since=memory.since, needed=_remember(now, load, scaling, memory))
    verdict, kept, due = delay(now, load, scaling=scaling, zero_after=zero_after, memory=known)
    if allowed < memory.size and verdict in _LEAVES_IT:
        verdict = Verdict.FORBIDDEN
    reason = explain(verdict, load.demand, scaling=scaling, zero_after=zero_after, memory=kept)
    return Decision(size=kept.size, reason=reason, memory=kept, due=due)


def want(demand: int, scaling: AutoScaling) -> int:
    """As many instances as have room for all of `demand`."""
    return math.ceil(demand / scaling.max_concurrency)


def clamp(wanted: int, scaling: AutoScaling) -> int:
    """MinSize are always provisioned, MaxSize are the most that ever serve."""
    return min(max(wanted, scaling.min_size), scaling.max_size)


class Verdict(StrEnum):
    """What was decided about the size that is wanted."""

    FOLLOW = "follow"  # at once: that is needed now
    ZERO = "zero"  # nobody came for long enough
    REST = "rest"  # nobody has come since
    WAIT = "wait"  # less would do, but a whole window is not known yet
    NEEDED = "needed"  # less would do now, but not in the last window
    SHRINK = "shrink"  # less was enough for a whole window
    FORBIDDEN = "forbidden"  # MaxSize was made smaller


_LEAVES_IT = frozenset({Verdict.FOLLOW, Verdict.WAIT, Verdict.NEEDED})


def delay(
    now: Epoch, load: Load, *, scaling: AutoScaling, zero_after: float | None, memory: Memory
) -> tuple[Verdict, Memory, Epoch | None]:
    """More at once, less after a window; with what to remember, and when to look again."""
    zero_at = _zero_at(load, zero_after)
    if zero_at is not None and now >= zero_at:
        return Verdict.ZERO, Memory(size=0, since=now), None
    if memory.size == 0 and not load.demand and zero_after is not None:
        return Verdict.REST, Memory(size=0, since=now), None
    bounded = clamp(want(load.demand, scaling), scaling)
    enough = clamp(memory.needed[0][0] if memory.needed else 0, scaling)
    if bounded >= memory.size:
        verdict, size = Verdict.FOLLOW, bounded
    elif now < memory.since + SCALE_IN_WINDOW:
        verdict, size = Verdict.WAIT, memory.size
    elif enough >= memory.size:
        verdict, size = Verdict.NEEDED, memory.size
    else:
        verdict, size = Verdict.SHRINK, enough
    kept = replace(memory, size=size)
    dues = [due for due in (_less_at(kept, scaling), zero_at) if due is not None]
    return verdict, kept, min(dues, default=None)


def explain(
    verdict: Verdict, demand: int, *, scaling: AutoScaling, zero_after: float | None, memory: Memory
) -> str:
    """Why, in words and numbers; `memory` as the decision leaves it."""
    match verdict:
        case Verdict.ZERO:
            reason = f"no request for {zero_after:g} s: scaled to zero"
        case Verdict.REST:
            reason = "at zero, waiting for a request"
        case Verdict.FOLLOW:
            reason = _explain_need(demand, scaling)
        case Verdict.WAIT:
            enough = clamp(want(demand, scaling), scaling)
            reason = f"{enough} would do: waiting out the scale-in window"
        case Verdict.NEEDED:
            reason = f"{memory.size} were needed in the last {SCALE_IN_WINDOW:g} s"
        case Verdict.SHRINK:
            were = "was" if memory.size == 1 else "were"
            reason = f"{memory.size} {were} enough for {SCALE_IN_WINDOW:g} s"
        case Verdict.FORBIDDEN:
            reason = f"no more than {scaling.max_size} may serve (MaxSize)"
        case _:
            assert_never(verdict)
    return reason


def _zero_at(load: Load, zero_after: float | None) -> Epoch | None:
    if zero_after is None or load.idle_since is None:
        return None
    return Epoch(load.idle_since + zero_after)


def _less_at(memory: Memory, scaling: AutoScaling) -> Epoch | None:
    """When less will have been enough for a window, if it is by then; None: less is not allowed."""
    if memory.size <= clamp(0, scaling):
        return None
    until = memory.since
    for wanted, latest in memory.needed:
        if wanted < memory.size:
            break
        until = max(until, latest)
    return Epoch(until + SCALE_IN_WINDOW)


def _remember(
    now: Epoch, load: Load, scaling: AutoScaling, memory: Memory
) -> tuple[tuple[int, Epoch], ...]:
    """What was needed within the window: of each number that which no higher one outlasted.

    What is new is later than all that was known: it outlasts whatever is not above it.
    """
    fresh: dict[int, Epoch] = {}
    for wanted, until in (load.needed or {want(load.demand, scaling): now}).items():
        bounded = min(wanted, scaling.max_size)
        fresh[bounded] = max(until, fresh.get(bounded, until))
    most = max(fresh)
    kept = [each for each in memory.needed if each[0] > most and each[1] + SCALE_IN_WINDOW > now]
    latest = -math.inf
    for wanted in sorted(fresh, reverse=True):
        if fresh[wanted] > latest:
            latest = fresh[wanted]
            kept.append((wanted, fresh[wanted]))
    return tuple(kept)


def _explain_need(demand: int, scaling: AutoScaling) -> str:
    wanted = want(demand, scaling)
    plural, need = ("", "needs") if demand == 1 else ("s", "need")
    needed = f"{demand} request{plural} at {scaling.max_concurrency} each {need} {wanted}"
    if wanted > scaling.max_size:
        return f"{needed}, but no more than {scaling.max_size} may serve (MaxSize)"
    if wanted >= scaling.min_size:
        return needed
    provisioned = f"{scaling.min_size} provisioned (MinSize)"
    return f"{provisioned}; {needed}" if demand else provisioned
