"""How many instances a service should have, and why.

Scale-out follows the moment: as many instances as the requests in flight and waiting need.
Scale-in waits until less was needed for a whole window, so that a constant or swinging load does
not make it flap. To zero only after a long rest. App Runner publishes none of these numbers;
the rules are the emulator's own.
"""

import math
from dataclasses import dataclass

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
    zero_at = _zero_at(load, zero_after)
    if zero_at is not None and now >= zero_at:
        return _decision(now, 0, f"no request for {zero_after:g} s: scaled to zero", due=None)
    wanted = _wanted(load.demand, scaling)
    if memory.size == 0 and not load.demand and zero_after is not None:
        return _decision(now, 0, "at zero, waiting for a request", due=None)
    if wanted >= memory.size:
        reason = _explain(load.demand, wanted, scaling)
        return _decision(now, wanted, reason, due=zero_at)
    return _scale_in(now, wanted, memory, zero_at)


def _zero_at(load: Load, zero_after: float | None) -> Epoch | None:
    if zero_after is None or load.idle_since is None:
        return None
    return Epoch(load.idle_since + zero_after)


def _wanted(demand: int, scaling: AutoScaling) -> int:
    wanted = math.ceil(demand / scaling.max_concurrency)
    return min(max(wanted, scaling.min_size), scaling.max_size)


def _explain(demand: int, wanted: int, scaling: AutoScaling) -> str:
    if wanted == scaling.max_size and demand > wanted * scaling.max_concurrency:
        return f"{demand} requests, but no more than {wanted} instances (MaxSize)"
    if wanted == scaling.min_size:
        return f"{wanted} provisioned (MinSize)"
    return f"{demand} requests at {scaling.max_concurrency} each need {wanted}"


def _decision(now: Epoch, size: int, reason: str, *, due: Epoch | None) -> Decision:
    memory = Memory(size=size, enough=0, since=now)
    return Decision(size=size, reason=reason, memory=memory, due=due)


def _scale_in(now: Epoch, wanted: int, memory: Memory, zero_at: Epoch | None) -> Decision:
    enough = max(memory.enough, wanted)
    window_ends = Epoch(memory.since + SCALE_IN_WINDOW)
    if now < window_ends:
        kept = Memory(size=memory.size, enough=enough, since=memory.since)
        due = window_ends if zero_at is None else min(window_ends, zero_at)
        reason = f"{wanted} would do: waiting out the scale-in window"
        return Decision(size=memory.size, reason=reason, memory=kept, due=due)
    if enough >= memory.size:
        return _decision(now, memory.size, f"{enough} were needed in the last window", due=zero_at)
    reason = f"{enough} were enough for {SCALE_IN_WINDOW:g} s"
    return _decision(now, enough, reason, due=zero_at)
