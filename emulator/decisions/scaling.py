"""How many instances a service should have, and why.

Scale-out follows the moment: as many instances as the requests in flight and waiting need.
Scale-in waits until less was needed for a whole window, so that a constant or swinging load does
not make it flap. To zero only after a long rest. App Runner publishes none of these numbers;
the rules are the emulator's own.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from emulator.model.configuration import AutoScaling
from emulator.model.identifiers import Epoch

SCALE_IN_WINDOW = 60.0  # seconds that less must have been enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`demand` is requests in flight and waiting, at its highest since the last decision.

    `idle_since` is when the last request ended, None while there are any.
    """

    demand: int
    idle_since: Epoch | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """`size` is the last decision; `enough` the most that was wanted since `since`."""

    size: int
    enough: int
    since: Epoch


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
    bounded = clamp(want(load.demand, scaling), scaling)
    verdict, kept, due = delay(
        now, bounded, load, zero_after=zero_after, memory=replace(memory, size=allowed)
    )
    if allowed < memory.size and verdict in {Verdict.FOLLOW, Verdict.WAIT}:
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
    WAIT = "wait"  # less would do, but not for long enough yet
    NEEDED = "needed"  # the whole window is over, and in it all were needed
    SHRINK = "shrink"  # the whole window is over, and less was enough
    FORBIDDEN = "forbidden"  # MaxSize was made smaller


def delay(
    now: Epoch, bounded: int, load: Load, *, zero_after: float | None, memory: Memory
) -> tuple[Verdict, Memory, Epoch | None]:
    """More at once, less after a window; with what to remember, and when to look again."""
    zero_at = _zero_at(load, zero_after)
    if zero_at is not None and now >= zero_at:
        return Verdict.ZERO, Memory(size=0, enough=0, since=now), None
    if memory.size == 0 and not load.demand and zero_after is not None:
        return Verdict.REST, Memory(size=0, enough=0, since=now), None
    if bounded >= memory.size:
        return Verdict.FOLLOW, Memory(size=bounded, enough=0, since=now), zero_at
    enough = max(memory.enough, bounded)
    window_ends = Epoch(memory.since + SCALE_IN_WINDOW)
    if now < window_ends:
        due = window_ends if zero_at is None else min(window_ends, zero_at)
        return Verdict.WAIT, replace(memory, enough=enough), due
    verdict = Verdict.NEEDED if enough >= memory.size else Verdict.SHRINK
    return verdict, Memory(size=min(enough, memory.size), enough=0, since=now), zero_at


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
            reason = f"{memory.enough} would do: waiting out the scale-in window"
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
