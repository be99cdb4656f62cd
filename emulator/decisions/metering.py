"""From usage intervals to what App Runner would meter.

Rules (App Runner's, where published):
 1. Memory of an instance is metered from its start to its end, once, active or not.
 2. vCPU is metered while an instance is active: it starts, or it serves requests. Each time it
    becomes active, for a minute at least; becoming active again within what is already metered
    starts nothing new.
 3. Seconds are rounded up, per stretch.
 4. MinSize instances are provisioned all the time that the service is not paused. The emulator
    may have scaled to zero meanwhile; a `Floor` adds what App Runner would not have saved. A new
    MinSize counts from its deployment on; what the machine slept through does not count at all.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from operator import itemgetter

from emulator.model.configuration import Provision
from emulator.model.identifiers import Epoch, InstanceId, ServiceId
from emulator.model.operation import Operation, OperationStatus, OperationType
from emulator.model.usage import Meter, UsageInterval

SHORTEST_ACTIVE = 60.0  # seconds
UNITS_PER_VCPU = 1024
MEGABYTES_PER_GIGABYTE = 1024
_ROUNDING_ERROR = 0.001  # seconds; epochs are floats
_ENDS = frozenset({OperationType.PAUSE_SERVICE, OperationType.DELETE_SERVICE})

Span = tuple[Epoch, Epoch]
_Of = tuple[ServiceId, Meter, InstanceId | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantities:
    """`memory` in GB-seconds, `cpu` in vCPU-seconds, `build` in seconds."""

    memory: Decimal = Decimal(0)
    cpu: Decimal = Decimal(0)
    build: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A stretch that is charged: whole `seconds`, of so many `units` (GB, vCPU; a build is one)."""

    service: ServiceId
    meter: Meter
    instance: InstanceId | None
    start: Epoch
    end: Epoch
    seconds: int
    units: Decimal

    @property
    def quantity(self) -> Decimal:
        """In unit-seconds."""
        return self.seconds * self.units


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What App Runner provisions for a service during `spans`, used or not."""

    service: ServiceId
    provision: Provision
    spans: tuple[Span, ...]


def quantities(
    intervals: Iterable[UsageInterval], now: Epoch, *, floors: Sequence[Floor] = ()
) -> Quantities:
    """What is metered of them until `now`: the sum of `charges`."""
    return total(charges(intervals, now, floors=floors))


def total(found: Iterable[Charge]) -> Quantities:
    sums = dict.fromkeys(Meter, Decimal(0))
    for charge in found:
        sums[charge.meter] += charge.quantity
    return Quantities(
        memory=sums[Meter.PROVISIONED], cpu=sums[Meter.ACTIVE], build=sums[Meter.BUILD]
    )


def charges(
    intervals: Iterable[UsageInterval], now: Epoch, *, floors: Sequence[Floor] = ()
) -> Iterator[Charge]:
    """Every stretch that is charged until `now`. What a floor adds has no instance."""
    by_what = _grouped(intervals)
    for (service, meter, instance), group in by_what.items():
        shortest = SHORTEST_ACTIVE if meter is Meter.ACTIVE else 0.0
        spans: Iterable[Span] = merged(group, now, shortest=shortest)
        if meter is Meter.BUILD:
            spans = ((each.start, _end(each, now)) for each in group)
        for start, end in spans:
            yield Charge(
                service=service,
                meter=meter,
                instance=instance,
                start=start,
                end=end,
                seconds=_round_up(end - start),
                units=_units(group[0]),
            )
    for floor in floors:
        yield from _floor_charges(floor, by_what, now)


def merged(
    intervals: Iterable[UsageInterval], now: Epoch, *, shortest: float = 0.0
) -> Iterator[Span]:
    """The stretches they cover, each of `shortest` seconds at least, none overlapping."""
    start: Epoch | None = None
    end = Epoch(0.0)
    for interval in sorted(intervals, key=lambda each: each.start):
        if start is not None and interval.start <= end:
            end = max(end, _end(interval, now))
            continue
        if start is not None:
            yield start, end
        start = interval.start
        end = max(Epoch(start + shortest), _end(interval, now))
    if start is not None:
        yield start, end


def clipped(
    intervals: Iterable[UsageInterval], since: Epoch, until: Epoch
) -> tuple[UsageInterval, ...]:
    """What of them lies in a period (a month); an open one stays open if it reaches its end."""
    return tuple(
        replace(
            each,
            start=max(each.start, since),
            end=None if each.end is None else min(each.end, until),
        )
        for each in intervals
        if each.start < until and (each.end is None or each.end > since)
    )


def floors(
    service: ServiceId,
    operations: Iterable[Operation],
    now: Epoch,
    *,
    since: Epoch | None = None,
    asleep: Sequence[Span] = (),
    unless_known: Provision,
) -> tuple[Floor, ...]:
    """When App Runner would have kept MinSize instances, and how many of which size: from the
    first successful deployment to a pause, from a resume on, until the service is deleted; not
    while the machine was `asleep`. A deployment changes it from its end on, not for what was
    before; `unless_known` is for deployments that did not say what they provision.
    """
    first = since if since is not None else Epoch(0.0)
    kept: dict[Provision, list[Span]] = {}
    last = unless_known
    for operation, ended, until in _successful(operations, now):
        if operation.deploys:
            last = operation.provision or unless_known
        start = max(ended, first)
        if operation.type in _ENDS or start >= until:
            continue
        spans = kept.setdefault(last, [])
        if spans and spans[-1][1] == start:
            start, _ = spans.pop()
        spans.append((start, until))
    return tuple(
        Floor(service=service, provision=provision, spans=tuple(without(spans, asleep)))
        for provision, spans in kept.items()
    )


def without(spans: Iterable[Span], away: Sequence[Span]) -> Iterator[Span]:
    """What is left of them but for `away`."""
    gaps = sorted(away)
    for start, end in spans:
        at = start
        for left, back in gaps:
            if back <= at or left >= end:
                continue
            if left > at:
                yield at, left
            at = back
        if at < end:
            yield at, end


def gigabytes(megabytes: int) -> Decimal:
    return Decimal(megabytes) / MEGABYTES_PER_GIGABYTE


def vcpus(units: int) -> Decimal:
    return Decimal(units) / UNITS_PER_VCPU


def _successful(
    operations: Iterable[Operation], now: Epoch
) -> Iterator[tuple[Operation, Epoch, Epoch]]:
    """In the order of their ends: when each ended, and when the next one did."""
    ended = [
        (operation.ended_at, operation)
        for operation in operations
        if operation.status is OperationStatus.SUCCEEDED and operation.ended_at is not None
    ]
    ended.sort(key=itemgetter(0))
    ends = (*(at for at, _ in ended[1:]), now)
    for (at, operation), until in zip(ended, ends, strict=False):
        yield operation, at, min(until, now)


def _grouped(intervals: Iterable[UsageInterval]) -> dict[_Of, list[UsageInterval]]:
    groups: dict[_Of, list[UsageInterval]] = {}
    for interval in intervals:
        key = (interval.service, interval.meter, interval.instance)
        groups.setdefault(key, []).append(interval)
    return groups


def _units(interval: UsageInterval) -> Decimal:
    match interval.meter:
        case Meter.PROVISIONED:
            return gigabytes(interval.memory)
        case Meter.ACTIVE:
            return vcpus(interval.cpu)
        case Meter.BUILD:
            return Decimal(1)


def _floor_charges(
    floor: Floor, by_what: dict[_Of, list[UsageInterval]], now: Epoch
) -> Iterator[Charge]:
    """Instances that were not there of those that App Runner would have kept. Their seconds are
    rounded up once, in all: they are one stretch of App Runner's.
    """
    running: list[Span] = []
    for (service, meter, _), group in by_what.items():
        if service == floor.service and meter is Meter.PROVISIONED:
            running.extend(merged(group, now))
    exact, whole = 0.0, 0
    for start, end, count in _shortfalls(floor, running):
        exact += count * (end - start)
        seconds, whole = _round_up(exact) - whole, _round_up(exact)
        if seconds:
            yield Charge(
                service=floor.service,
                meter=Meter.PROVISIONED,
                instance=None,
                start=start,
                end=end,
                seconds=seconds,
                units=gigabytes(floor.provision.size.memory),
            )


def _shortfalls(floor: Floor, running: Sequence[Span]) -> Iterator[tuple[Epoch, Epoch, int]]:
    """From when to when how many were missing."""
    least = floor.provision.min_size
    for start, end in floor.spans:
        changes = [(start, 0), (end, 0)]
        for began, ended in running:
            if began < end and ended > start:
                changes += [(max(began, start), 1), (min(ended, end), -1)]
        count = 0
        for (at, change), (until, _) in pairwise(sorted(changes)):
            count += change
            if count < least and until > at:
                yield at, until, least - count


def _end(interval: UsageInterval, now: Epoch) -> Epoch:
    return max(interval.start, now if interval.end is None else interval.end)


def _round_up(seconds: float) -> int:
    return max(0, math.ceil(seconds - _ROUNDING_ERROR))
