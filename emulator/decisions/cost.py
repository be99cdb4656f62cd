"""What it would have cost: App Runner's bill for what ran, and for a pattern that never ran.

The bill itself is App Runner's as AWS writes it (MinSize instances provisioned unless paused).
Beside it stand the same bill with scale-to-zero, as it really was here, one always-on Fargate
task per provisioned instance, and Lambda. Amounts are not rounded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from emulator.decisions.metering import Floor, Quantities, gigabytes, merged, quantities, vcpus
from emulator.model.configuration import InstanceSize
from emulator.model.identifiers import Epoch, ServiceId
from emulator.model.prices import FARGATE, LAMBDA, Prices
from emulator.model.usage import Meter, UsageInterval

CURRENCY = "USD"
HOUR = 3600
MINUTE = 60
HOURS_PER_DAY = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`amount` is `quantity` times `unit_price`."""

    meter: str
    quantity: Decimal
    unit: str
    unit_price: Decimal

    @property
    def amount(self) -> Decimal:
        return self.quantity * self.unit_price


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """The same work elsewhere; `note` says what was assumed."""

    name: str
    total: Decimal
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """`notes` say which prices are not the region's own."""

    region: str
    lines: tuple[Line, ...]
    alternatives: tuple[Alternative, ...]
    notes: tuple[str, ...] = ()
    currency: str = CURRENCY

    @property
    def total(self) -> Decimal:
        return _total(self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A day of a service, `days` times. Hours may be fractions; `active_instances` are active
    together during the active hours.
    """

    size: InstanceSize
    min_size: int = 1
    active_hours: Decimal
    paused_hours: Decimal = Decimal(0)
    days: Decimal = Decimal(30)
    active_instances: int = 1

    def __post_init__(self) -> None:
        if min(self.active_hours, self.paused_hours) < 0:
            raise ValueError("hours cannot be negative")
        if self.active_hours + self.paused_hours > HOURS_PER_DAY:
            raise ValueError("active and paused hours are more than a day has")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Elsewhere:
    """What the alternatives need: totals of Fargate's always-on tasks and of Lambda."""

    fargate: Decimal
    functions: Decimal


def bill(
    intervals: Iterable[UsageInterval],
    now: Epoch,
    prices: Prices,
    *,
    floors: Sequence[Floor] = (),
    automatic: int = 0,
    requests: int = 0,
) -> Bill:
    """The bill of what was metered. `automatic` counts applications with automatic deployment
    times months; without `floors` App Runner's bill is that of what really ran.
    """
    known = tuple(intervals)
    charged, used = quantities(known, now, floors=floors), quantities(known, now)
    active = _active_memory(known, now)
    elsewhere = _Elsewhere(
        fargate=_always_on(known, now, floors),
        functions=active * LAMBDA.memory + requests * LAMBDA.request,
    )
    return _bill(prices, charged, used, automatic, elsewhere)


def estimate(pattern: Pattern, prices: Prices, *, automatic: int = 0) -> Bill:
    """The bill of a pattern, without running anything."""
    burst = max(0, pattern.active_instances - pattern.min_size)
    provisioned = pattern.min_size * (HOURS_PER_DAY - pattern.paused_hours)
    active = pattern.active_instances * pattern.active_hours * pattern.days * HOUR
    charged = (provisioned + burst * pattern.active_hours) * pattern.days * HOUR
    memory, cpu = gigabytes(pattern.size.memory), vcpus(pattern.size.cpu) * active
    elsewhere = _Elsewhere(
        fargate=_fargate(pattern.size, max(1, pattern.min_size) * pattern.days * HOURS_PER_DAY),
        functions=memory * active * LAMBDA.memory,
    )
    with_floor = Quantities(memory=memory * charged, cpu=cpu)
    to_zero = Quantities(memory=memory * active, cpu=cpu)
    return _bill(prices, with_floor, to_zero, automatic, elsewhere)


def _bill(
    prices: Prices, charged: Quantities, used: Quantities, automatic: int, elsewhere: _Elsewhere
) -> Bill:
    lines = _lines(charged, prices, automatic)
    return Bill(
        region=prices.region,
        lines=lines,
        alternatives=(
            Alternative(
                name="App Runner",
                total=_total(lines),
                note="as AWS bills it: MinSize instances provisioned unless paused",
            ),
            Alternative(
                name="App Runner with scale-to-zero",
                total=_total(_lines(used, prices, automatic)),
                note="what ran here; App Runner itself cannot scale to zero",
            ),
            Alternative(
                name="Fargate",
                total=elsewhere.fargate,
                note="MinSize tasks of the same size, at least one, always on; us-east-1,"
                " without a load balancer",
            ),
            Alternative(
                name="Lambda",
                total=elsewhere.functions,
                note="the same memory for as long as an instance was active; us-east-1,"
                " more where requests overlap",
            ),
        ),
        notes=(prices.note,) if prices.note else (),
    )


def _lines(used: Quantities, prices: Prices, automatic: int) -> tuple[Line, ...]:
    """Memory and vCPU always, the others where there are any."""
    memory = Line(
        meter="provisioned", quantity=used.memory / HOUR, unit="GB-hours", unit_price=prices.memory
    )
    cpu = Line(meter="active", quantity=used.cpu / HOUR, unit="vCPU-hours", unit_price=prices.cpu)
    build = Line(
        meter="build", quantity=used.build / MINUTE, unit="minutes", unit_price=prices.build
    )
    deployment = Line(
        meter="automatic-deployment",
        quantity=Decimal(automatic),
        unit="application-months",
        unit_price=prices.automatic_deployment,
    )
    return (memory, cpu, *(line for line in (build, deployment) if line.quantity))


def _total(lines: Iterable[Line]) -> Decimal:
    return sum((line.amount for line in lines), Decimal(0))


def _active_memory(intervals: Sequence[UsageInterval], now: Epoch) -> Decimal:
    """GB-seconds of active instances, to the millisecond and without a minimum, as Lambda."""
    total = Decimal(0)
    by_instance: dict[object, list[UsageInterval]] = {}
    for each in intervals:
        if each.meter is Meter.ACTIVE:
            by_instance.setdefault((each.service, each.instance), []).append(each)
    for group in by_instance.values():
        seconds = sum(end - start for start, end in merged(group, now))
        total += gigabytes(group[0].memory) * round(Decimal(seconds), 3)
    return total


def _always_on(intervals: Sequence[UsageInterval], now: Epoch, floors: Sequence[Floor]) -> Decimal:
    """Every service from its first instance to now, in its newest size."""
    tasks = {floor.service: max(1, floor.min_size) for floor in floors}
    by_service: dict[ServiceId, list[UsageInterval]] = {}
    for each in sorted(intervals, key=lambda interval: interval.start):
        if each.meter is Meter.PROVISIONED:
            by_service.setdefault(each.service, []).append(each)
    total = Decimal(0)
    for service, group in by_service.items():
        size = InstanceSize(cpu=group[-1].cpu, memory=group[-1].memory)
        hours = round(Decimal(now - group[0].start), 3) / HOUR
        total += _fargate(size, tasks.get(service, 1) * hours)
    return total


def _fargate(size: InstanceSize, hours: Decimal) -> Decimal:
    return hours * (vcpus(size.cpu) * FARGATE.cpu + gigabytes(size.memory) * FARGATE.memory)


def document(value: Bill) -> dict[str, object]:
    """The bill as `cost --json` prints it: amounts unrounded."""
    return {
        "Currency": value.currency,
        "Region": value.region,
        "Total": float(value.total),
        "Lines": [
            {
                "Meter": line.meter,
                "Quantity": float(line.quantity),
                "Unit": line.unit,
                "UnitPrice": float(line.unit_price),
                "Amount": float(line.amount),
            }
            for line in value.lines
        ],
        "Alternatives": [
            {"Name": each.name, "Total": float(each.total), "Note": each.note}
            for each in value.alternatives
        ],
        "Notes": list(value.notes),
    }
