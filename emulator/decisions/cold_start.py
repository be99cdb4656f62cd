"""Where the time went between a request and its first byte, when it did not find a warm instance.

Moments are seconds of one steady clock. The phases of a request follow one another and add up to
its whole wait, whatever began before it came.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

Phase = tuple[str, float]  # a name, and seconds
WORDS: Mapping[str, str] = MappingProxyType(
    {
        "queue": "queue",  # until the instance began to come, or there was room
        "create": "create",  # its container and network; nothing where a standby was ready
        "start": "start",  # its process
        "port": "port open",
        "healthy": "healthy",
        "choose": "choose",  # until the request had its instance
        "thaw": "thaw",
        "app": "first byte",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """The moments of an instance's start."""

    began: float
    created: float
    started: float
    connected: float
    healthy: float


def of_instance(birth: Birth) -> tuple[Phase, ...]:
    """Of a start that no request waited for."""
    return tuple(_steps(birth.began, _of_birth(birth)))


def of_request(
    *,
    asked: float,
    granted: float,
    birth: Birth | None = None,
    thawed: float | None = None,
    answered: float | None = None,
) -> tuple[Phase, ...]:
    """Of a request that came at `asked` and had its instance at `granted`."""
    marks = _of_birth(birth) if birth is not None else []
    marks.append(("choose" if birth is not None or thawed is not None else "queue", granted))
    if thawed is not None:
        marks.append(("thaw", thawed))
    if answered is not None:
        marks.append(("app", answered))
    return tuple(_steps(asked, marks))


def _of_birth(birth: Birth) -> list[Phase]:
    return [
        ("queue", birth.began),
        ("create", birth.created),
        ("start", birth.started),
        ("port", birth.connected),
        ("healthy", birth.healthy),
    ]


def _steps(since: float, marks: Iterable[tuple[str, float]]) -> Iterator[Phase]:
    for name, moment in marks:
        until = max(since, moment)
        yield name, until - since
        since = until


def in_words(phases: Iterable[Phase]) -> str:
    return ", ".join(f"{WORDS[name]} {1000 * seconds:.0f} ms" for name, seconds in phases)


def server_timing(phases: Iterable[Phase]) -> str:
    """The value of the header that browsers show beside a request (W3C Server Timing)."""
    return ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in phases)
