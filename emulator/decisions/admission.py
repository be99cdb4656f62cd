"""Which instance takes a request, and whether a request without one waits or is refused.

Rules: the instance with the fewest requests in flight takes it, one that is awake before one
that is frozen, ties at random, none above its concurrency limit. Where no instance has room the
request waits; it is refused when the door is not open, the queue is full or its wait is over.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Protocol, TypeVar


class Door(StrEnum):
    """Whether a service takes requests at all."""

    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"  # nothing to serve: never deployed, or deleted


class Candidate(Protocol):
    """What the picking rule looks at."""

    @property
    def in_flight(self) -> int: ...

    @property
    def frozen(self) -> bool: ...


C = TypeVar("C", bound=Candidate)


def pick(candidates: Iterable[C], *, max_concurrency: int, draw: Callable[[int], int]) -> C | None:
    """The candidate to take the next request; `draw(n)` is a random number below n."""
    best: list[C] = []
    least = 2 * max_concurrency
    for candidate in candidates:
        load = 2 * candidate.in_flight + candidate.frozen
        if load < least:
            least = load
            best = [candidate]
        elif load == least and best:
            best.append(candidate)
    if len(best) > 1:
        return best[draw(len(best))]
    return best[0] if best else None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The HTTP status a client gets, and why in words."""

    status: HTTPStatus
    reason: str


def refuse(*, door: Door, waiting: int, queue_limit: int) -> Refusal | None:
    """Why a request that finds no instance may not even wait; None: it may."""
    match door:
        case Door.PAUSED:
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the service is paused")
        case Door.CLOSED:
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the service has nothing to serve yet")
        case Door.OPEN:
            if waiting < queue_limit:
                return None
            reason = f"every instance is busy and {waiting} requests wait already"
            return Refusal(HTTPStatus.TOO_MANY_REQUESTS, reason)


def give_up(*, instances: int, waited: float) -> Refusal:
    """What a request gets that waited in vain, with so many instances routed."""
    if instances:
        reason = f"every instance was busy for {waited:g} seconds"
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, reason)
    reason = f"no instance was ready within {waited:g} seconds"
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, reason)
