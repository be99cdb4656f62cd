"""Traces of requests from what people have: a load balancer's access log, or a table of arrivals
and durations; and from the journal of a real run what a replay is compared with.

Rules: what cannot be right is an error with its line, nothing is repaired in silence. A table must
be in the order of arrival; an access log is in the order of completion and is sorted here.
"""

import json
import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import chain, islice, repeat
from operator import le, mul, sub
from statistics import median
from typing import Any

from emulator.decisions.replay import Trace

HEADER = "arrival_s,duration_s"
_SECOND, _MILLISECOND = 1_000_000, 1_000
_WANTED_ONE = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_AT_ONCE = 100_000  # lines
_IS_ONE = (1).__eq__
_LATEST = 4e9  # seconds; an epoch in milliseconds is a mistake that would last an age

Fault = Callable[[int, str], Exception]  # of a line, from 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A trace of a real service. `began` is the epoch of its first arrival.

    `latencies` are those of served requests in seconds, in order; `refused` got a 429, `unserved` a
    503 without an instance: those are replayed with the median of what the others took. `firsts`: for
    each instance when its first request began, where that one had waited for it.
    """

    trace: Trace
    began: float
    latencies: Sequence[float] = ()
    refused: int = 0
    unserved: int = 0
    firsts: Mapping[str, float] = field(default_factory=dict)

    def latency(self, quantile: float) -> float:
        """In seconds; 0 where nothing was served."""
        if not self.latencies:
            return 0.0
        return self.latencies[max(0, math.ceil(quantile * len(self.latencies)) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The instances of a real run, from its usage: seconds since the first arrival.

    `warm` ran when the first request came; `boot` is how long the others took from the start of
    their container to the first request, None where no request waited for one.
    """

    until: float
    warm: int
    starts: int
    instance_seconds: float
    active_seconds: float
    boot: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    arrival: float
    duration: float | None  # of an instance's work
    latency: float
    status: int
    instance: str | None
    waited: float


def table(lines: Iterable[str], fault: Fault) -> Trace:
    """`arrival_s,duration_s`, with or without that header; times count from the first arrival."""
    numbered = iter(lines)
    first = next(numbered, "")
    has_header = first.strip().replace(" ", "") == HEADER
    rest = numbered if has_header else chain((first,) if first else (), numbered)
    number = 1 if has_header else 0
    arrivals, durations = array("d"), array("d")
    while some := list(islice(rest, _AT_ONCE)):
        known = _clean(some, arrivals[-1] if arrivals else 0.0)
        if known is None:
            known = _checked(some, number, arrivals[-1] if arrivals else float("-inf"), fault)
        arrivals.extend(known[0])
        durations.extend(known[1])
        number += len(some)
    if not arrivals:
        raise fault(number, f"there are no requests in it; expected lines of {HEADER}")
    start = repeat(arrivals[0])
    return Trace(_micro(map(sub, arrivals, start)), _micro(durations))


def _micro(seconds: Iterable[float]) -> "array[int]":
    return array("q", map(round, map(mul, seconds, repeat(_SECOND))))


def _clean(lines: Sequence[str], before: float) -> tuple[list[float], list[float]] | None:
    """The numbers of lines that are all as they should be; None: look at each.

    Millions of lines go through here, so that nothing is done for one of them alone.
    """
    try:
        values = list(map(float, ",".join(lines).split(",")))
    except ValueError:
        return None
    arrivals, durations = values[::2], values[1::2]
    two_each = all(map(_IS_ONE, map(str.count, lines, repeat(","))))
    ordered = all(map(le, chain((before,), arrivals), arrivals))
    # A sum is no number if one of them is none.
    fine = two_each and ordered and arrivals[-1] <= _LATEST and math.isfinite(sum(arrivals))
    return (arrivals, durations) if fine and _are_durations(durations) else None


def _are_durations(values: Sequence[float]) -> bool:
    return math.isfinite(sum(values)) and min(values) >= 0 and max(values) <= _LATEST


def _checked(
    lines: Sequence[str], number: int, before: float, fault: Fault
) -> tuple[list[float], list[float]]:
    """The same, line by line."""
    arrivals, durations = [], []
    for line in lines:
        number += 1
        left, _, right = line.partition(",")
        try:
            arrival, duration = float(left), float(right)
        except ValueError:
            if not line.strip():
                continue
            raise fault(number, _expected(line)) from None
        # Written so that NaN fails as well.
        if not (before <= arrival <= _LATEST and 0.0 <= duration <= _LATEST):
            raise fault(number, _impossible(arrival, duration, before))
        before = arrival
        arrivals.append(arrival)
        durations.append(duration)
    return arrivals, durations


def _expected(line: str) -> str:
    return f"expected two numbers, {HEADER}, not {line.strip()[:60]!r}"


def _impossible(arrival: float, duration: float, before: float) -> str:
    if not 0.0 <= duration <= _LATEST:
        return f"the duration {duration:g} is not a number of seconds"
    if arrival < before:
        return f"the arrival {arrival:.15g} is before that of the line above, {before:.15g}"
    return f"the arrival {arrival:g} is not a number of seconds"


def access_log(lines: Iterable[str], fault: Fault, *, service: str | None = None) -> Recording:
    """One JSON object a line, as the load balancer writes them. `service` picks one of several."""
    found: list[_Request] = []
    names: dict[str, int] = {}
    number = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        entry = _entry(line, number, fault)
        name = entry.get("service")
        if not isinstance(name, str) or not name or (service is not None and name != service):
            continue  # nobody's: no service has that host name
        request = _request(entry, number, fault)
        if request.instance is None and request.status not in _WANTED_ONE:
            continue  # an answer of the load balancer's own
        names.setdefault(name, number)
        found.append(request)
    if len(names) > 1:
        raise fault(
            max(names.values()), f"there are several services: name one of {_listed(names)}"
        )
    if not found:
        wanted = f" of {service}" if service else ""
        raise fault(number, f"there are no requests{wanted} in it")
    return _recording(sorted(found, key=lambda request: request.arrival))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _entry(line: str, number: int, fault: Fault) -> Mapping[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise fault(number, f"expected a JSON object: {error}") from None
    if not isinstance(entry, dict):
        raise fault(number, f"expected a JSON object, not {line.strip()[:60]!r}")
    return entry


def _request(entry: Mapping[str, Any], number: int, fault: Fault) -> _Request:
    def seconds(key: str, scale: float = 1e3) -> float:
        value = entry.get(key)
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not 0 <= value < _LATEST * scale
        ):
            raise fault(number, f'expected a number for "{key}", not {json.dumps(value)}')
        return value / scale

    took, waited, status = seconds("duration_ms"), seconds("queue_ms"), entry.get("status")
    if not isinstance(status, int):
        raise fault(number, f'expected a number for "status", not {json.dumps(status)}')
    ended, instance = seconds("time", 1.0), entry.get("instance")
    return _Request(
        arrival=ended - took,
        duration=max(0.0, took - waited) if instance else None,
        latency=took,
        status=status,
        instance=str(instance) if instance else None,
        waited=waited,
    )


def _recording(requests: Sequence[_Request]) -> Recording:
    began = requests[0].arrival
    known = [r.duration for r in requests if r.duration is not None]
    typical = median(known) if known else 0.0
    durations = [typical if r.duration is None else r.duration for r in requests]
    firsts: dict[str, tuple[float, float]] = {}
    for r in requests:
        start = r.arrival + r.waited
        if r.instance is not None and start < firsts.get(r.instance, (float("inf"), 0.0))[0]:
            firsts[r.instance] = start, r.waited
    away = [r.status for r in requests if r.instance is None]
    return Recording(
        trace=Trace(
            array("q", (round((r.arrival - began) * _SECOND) for r in requests)),
            array("q", (round(d * _SECOND) for d in durations)),
        ),
        began=began,
        latencies=sorted(r.latency for r in requests if r.instance is not None),
        refused=away.count(HTTPStatus.TOO_MANY_REQUESTS),
        unserved=away.count(HTTPStatus.SERVICE_UNAVAILABLE),
        firsts={instance: start for instance, (start, waited) in firsts.items() if waited > 0},
    )


def timeline(rows: object, recording: Recording, fault: Fault) -> Timeline:
    """From what `apprunner usage NAME --json` printed; its rows count as lines."""
    if not isinstance(rows, list) or not rows:
        raise fault(0, "expected what `apprunner usage NAME --json` prints: a list of intervals")
    spans = [_span(row, number, fault) for number, row in enumerate(rows, start=1)]
    began = recording.began
    lived = [s for s in spans if s.meter == "provisioned" and s.end > began]
    active = [s for s in spans if s.meter == "active" and s.end > began]
    late = {s.instance: s.start for s in lived if s.start > began}
    boots = sorted(
        recording.firsts[instance] - start
        for instance, start in late.items()
        if recording.firsts.get(instance, 0.0) > start
    )
    return Timeline(
        until=max((s.end for s in lived), default=began) - began,
        warm=len(lived) - len(late),
        starts=len(late),
        instance_seconds=sum(s.end - max(s.start, began) for s in lived),
        active_seconds=sum(s.end - max(s.start, began) for s in active),
        boot=median(boots) if boots else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    meter: str
    instance: str
    start: float
    end: float


def _span(row: object, number: int, fault: Fault) -> _Span:
    match row:
        case {
            "Meter": str(meter),
            "InstanceId": str() | None as instance,
            "Start": int() | float() as start,
            "Seconds": int() | float() as seconds,
        }:
            return _Span(meter=meter, instance=instance or "", start=start, end=start + seconds)
        case _:
            raise fault(number, "expected an interval with Meter, InstanceId, Start and Seconds")
