"""What it would have cost: App Runner's bill for what ran, and for a pattern that never ran.

The bill itself is App Runner's as AWS writes it (MinSize instances provisioned unless paused).
Beside it stand the same bill with scale-to-zero, as it really was here, always-on Fargate tasks
behind a load balancer, and Lambda. Amounts are not rounded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal

from emulator.decisions import bill_words
from emulator.decisions.metering import (
    SHORTEST_ACTIVE,
    Charge,
    Floor,
    Span,
    charges,
    gigabytes,
    merged,
    quantities,
    total,
    vcpus,
    without,
)
from emulator.model.configuration import InstanceSize, Provision
from emulator.model.identifiers import Epoch
from emulator.model.prices import FALLBACK_REGION, Prices, Sheet
from emulator.model.usage import Meter, UsageInterval

CURRENCY = "USD"
HOUR = 3600
MINUTE = 60
HOURS_PER_DAY = 24
MONTH = 30 * 86400  # seconds, as in App Runner's own examples
NONE = Decimal(0)
PROVISIONED, ACTIVE, BUILD, AUTOMATIC = "provisioned", "active", "build", "automatic-deployment"
_PRICED: Mapping[str, str] = {  # a line's meter -> its price in a sheet
    PROVISIONED: "gb-hour",
    ACTIVE: "vcpu-hour",
    BUILD: "build-minute",
    AUTOMATIC: "automatic-deployment-month",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`amount` is `quantity` times `unit_price`; `why` says what the quantity comes from, of lines
    that are App Runner's.
    """

    meter: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    why: str = ""

    @property
    def amount(self) -> Decimal:
        return self.quantity * self.unit_price


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """The same work elsewhere; `note` says what was assumed."""

    name: str
    lines: tuple[Line, ...]
    note: str

    @property
    def total(self) -> Decimal:
        return _total(self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """`sheets` are where App Runner's prices are from; `notes` say which of them are not the
    region's own, and what was scaled up from what.
    """

    region: str
    sheets: tuple[Sheet, ...]
    lines: tuple[Line, ...]
    alternatives: tuple[Alternative, ...]
    notes: tuple[str, ...] = ()
    currency: str = CURRENCY

    @property
    def total(self) -> Decimal:
        return _total(self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Billable:
    """What bills are made of. `memory` in GB-seconds, `cpu` in vCPU-seconds, the rest in seconds
    unless said otherwise.

    Without a prefix: what App Runner charges. `zero_…`: what really ran here, at zero included.
    `task_…`: Fargate's always-on tasks; `balancer` is their load balancer's time and `busy` its
    time with requests. `function_memory`: Lambda's. `applications` counts automatic deployment's
    monthly fees.

    For the sentences: instances were provisioned for `instance_time`, `kept_time` of it only in
    App Runner's bill; they were active for `active_time`, charged as `charged_time` in so many
    `stretches`; `builds` counts.
    """

    memory: Decimal = NONE
    cpu: Decimal = NONE
    build: Decimal = NONE
    zero_memory: Decimal = NONE
    zero_cpu: Decimal = NONE
    task_memory: Decimal = NONE
    task_cpu: Decimal = NONE
    balancer: Decimal = NONE
    busy: Decimal = NONE
    function_memory: Decimal = NONE
    requests: Decimal = NONE
    applications: Decimal = NONE
    instance_time: Decimal = NONE
    kept_time: Decimal = NONE
    active_time: Decimal = NONE
    charged_time: Decimal = NONE
    stretches: Decimal = NONE
    builds: Decimal = NONE

    def __add__(self, other: "Billable") -> "Billable":
        names = [f.name for f in fields(self)]
        return Billable(**{n: getattr(self, n) + getattr(other, n) for n in names})

    def times(self, factor: Decimal) -> "Billable":
        """So many times as long at the same pattern; monthly fees stay what they are."""
        scaled = {f.name: getattr(self, f.name) * factor for f in fields(self)}
        return Billable(**scaled | {"applications": self.applications})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A day of a service, for `hours` (720: a month of 30 days). Hours a day may be fractions;
    `active_instances` are active together, in `activations` stretches a day.
    """

    size: InstanceSize
    min_size: int = 1
    active_hours: Decimal
    paused_hours: Decimal = NONE
    hours: Decimal = Decimal(30 * HOURS_PER_DAY)
    active_instances: int = 1
    activations: int = 1

    def __post_init__(self) -> None:
        if min(self.active_hours, self.paused_hours, self.hours) < 0:
            raise ValueError("hours cannot be negative")
        if max(self.active_hours, self.paused_hours) > HOURS_PER_DAY:
            raise ValueError("hours are more than a day has")
        if self.active_hours + self.paused_hours > HOURS_PER_DAY:
            raise ValueError("active and paused hours are together more than a day has")


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
    by_service = {each.service for each in known} | {floor.service for floor in floors}
    used = Billable(applications=Decimal(automatic), requests=Decimal(requests))
    for service in by_service:
        mine = [each for each in known if each.service == service]
        used += billable(mine, now, floors=[f for f in floors if f.service == service])
    return priced(used, prices)


def billable(
    intervals: Sequence[UsageInterval],
    now: Epoch,
    *,
    floors: Sequence[Floor] = (),
    asleep: Sequence[Span] = (),
) -> Billable:
    """One service's until `now`; the machine was `asleep` meanwhile."""
    charged = list(charges(intervals, now, floors=floors))
    by_meter = {meter: [each for each in charged if each.meter is meter] for meter in Meter}
    memory, active = by_meter[Meter.PROVISIONED], by_meter[Meter.ACTIVE]
    active_time, function_memory = _active(intervals, now)
    there = _there(intervals, now, floors, asleep)
    task_memory, task_cpu = _tasks(intervals, floors, there)
    charged_for, used = total(charged), quantities(intervals, now)
    serving = [each for each in intervals if each.meter is Meter.ACTIVE]
    return Billable(
        memory=charged_for.memory,
        cpu=charged_for.cpu,
        build=charged_for.build,
        zero_memory=used.memory,
        zero_cpu=used.cpu,
        task_memory=task_memory,
        task_cpu=task_cpu,
        balancer=there,
        busy=_exactly(sum(end - start for start, end in merged(serving, now))),
        function_memory=function_memory,
        instance_time=_seconds(memory),
        kept_time=_seconds(each for each in memory if each.instance is None),
        active_time=active_time,
        charged_time=_seconds(active),
        stretches=Decimal(len(active)),
        builds=Decimal(len(by_meter[Meter.BUILD])),
    )


def _seconds(found: Iterable[Charge]) -> Decimal:
    return Decimal(sum(each.seconds for each in found))


def _there(
    intervals: Sequence[UsageInterval], now: Epoch, floors: Sequence[Floor], asleep: Sequence[Span]
) -> Decimal:
    """For how long there has been something to serve with, paused or not."""
    starts = [each.start for each in intervals if each.meter is Meter.PROVISIONED]
    starts += [start for floor in floors for start, _ in floor.spans]
    if not starts:
        return NONE
    return _exactly(sum(end - start for start, end in without([(min(starts), now)], asleep)))


def _tasks(
    intervals: Sequence[UsageInterval], floors: Sequence[Floor], there: Decimal
) -> tuple[Decimal, Decimal]:
    """GB-seconds and vCPU-seconds of Fargate's: MinSize tasks, at least one, also while paused."""
    kept = [(f.provision, _exactly(sum(b - a for a, b in f.spans))) for f in floors]
    rest = max(NONE, there - sum((seconds for _, seconds in kept), NONE))
    if floors:
        latest = max(floors, key=lambda floor: floor.spans[-1:])
        kept.append((latest.provision, rest))
    elif rest:
        run = max((i for i in intervals if i.meter is Meter.PROVISIONED), key=lambda i: i.start)
        size = InstanceSize(cpu=run.cpu, memory=run.memory)
        kept.append((Provision(min_size=1, size=size), rest))
    tasks = [(p.size, max(1, p.min_size) * seconds) for p, seconds in kept]
    return (
        sum((gigabytes(size.memory) * seconds for size, seconds in tasks), NONE),
        sum((vcpus(size.cpu) * seconds for size, seconds in tasks), NONE),
    )


def estimate(pattern: Pattern, prices: Prices, *, automatic: int = 0) -> Bill:
    """The bill of a pattern, without running anything."""
    days = pattern.hours * HOUR / HOURS_PER_DAY  # seconds for each hour a day
    # More than the day cannot be charged: minutes that overlap are one stretch.
    shortest = Decimal(pattern.activations) * int(SHORTEST_ACTIVE) / HOUR
    shortest = min(shortest, HOURS_PER_DAY - pattern.paused_hours)
    charged_hours = max(pattern.active_hours, shortest) if pattern.active_hours else NONE
    burst = max(0, pattern.active_instances - pattern.min_size)
    provisioned = pattern.min_size * (HOURS_PER_DAY - pattern.paused_hours)
    memory, cpu = gigabytes(pattern.size.memory), vcpus(pattern.size.cpu)
    active = pattern.active_instances * pattern.active_hours * days
    tasks = max(1, pattern.min_size) * HOURS_PER_DAY * days
    used = Billable(
        memory=memory * (provisioned + burst * pattern.active_hours) * days,
        cpu=cpu * pattern.active_instances * charged_hours * days,
        zero_memory=memory * active,
        zero_cpu=cpu * pattern.active_instances * charged_hours * days,
        task_memory=memory * tasks,
        task_cpu=cpu * tasks,
        balancer=HOURS_PER_DAY * days,
        busy=pattern.active_hours * days,
        function_memory=memory * active,
        applications=Decimal(automatic),
        instance_time=(provisioned + burst * pattern.active_hours) * days,
        active_time=active,
        charged_time=pattern.active_instances * charged_hours * days,
        stretches=pattern.activations * pattern.active_instances * pattern.hours / HOURS_PER_DAY,
    )
    return priced(used, prices)


def together(bills: Sequence[Bill]) -> Bill:
    """Of services in several regions: a line per meter and price. At least one bill."""
    first, *others = bills
    if not others:
        return first
    alternatives = zip(*(each.alternatives for each in bills), strict=True)
    return Bill(
        region=", ".join(each.region for each in bills),
        sheets=tuple(sheet for each in bills for sheet in each.sheets),
        lines=_merged(line for each in bills for line in each.lines),
        alternatives=tuple(
            replace(same[0], lines=_merged(line for each in same for line in each.lines))
            for same in alternatives
        ),
        notes=tuple(note for each in bills for note in each.notes),
    )


def _merged(lines: Iterable[Line]) -> tuple[Line, ...]:
    sums: dict[tuple[str, Decimal], Line] = {}
    for line in lines:
        key = (line.meter, line.unit_price)
        there = sums.get(key)
        sums[key] = _sum(there, line) if there else line
    return tuple(sums.values())


def _sum(one: Line, other: Line) -> Line:
    why = "; and ".join(each.why for each in (one, other) if each.why)
    return replace(one, quantity=one.quantity + other.quantity, why=why)


def noted(bill: Bill, *notes: str) -> Bill:
    """With more to say."""
    return replace(bill, notes=(*bill.notes, *notes))


def priced(used: Billable, prices: Prices) -> Bill:
    """The bill of what is billable."""
    to_zero = replace(
        used,
        memory=used.zero_memory,
        cpu=used.zero_cpu,
        instance_time=used.instance_time - used.kept_time,
        kept_time=NONE,
    )
    lines = _lines(used, prices.app_runner)
    return Bill(
        region=prices.region,
        sheets=(prices.app_runner,),
        lines=lines,
        alternatives=(
            Alternative(
                name="App Runner",
                lines=lines,
                note="as AWS bills it: MinSize instances provisioned unless paused, vCPU only"
                " while active, for a minute at least",
            ),
            Alternative(
                name="App Runner with scale-to-zero",
                lines=_lines(to_zero, prices.app_runner),
                note="no instance is charged while none is needed; App Runner itself cannot",
            ),
            _fargate(used, prices),
            _lambda(used, prices),
        ),
        notes=_notes(prices, lines),
    )


def _notes(prices: Prices, lines: Sequence[Line]) -> tuple[str, ...]:
    """Which of the prices in use are not the region's own."""
    sheet = prices.app_runner
    if sheet.region != prices.region:
        return (f"the prices of {prices.region} are not known: {sheet.region}'s are used",)
    borrowed = [line.meter for line in lines if _PRICED[line.meter] in sheet.borrowed]
    if not borrowed:
        return ()
    what = " and ".join(borrowed)
    return (f"the price of {what} in {prices.region} is not known: {FALLBACK_REGION}'s is used",)


def _lines(used: Billable, prices: Sheet) -> tuple[Line, ...]:
    """Memory and vCPU always, the others where there are any."""
    amounts = {
        PROVISIONED: (used.memory / HOUR, "GB-hours"),
        ACTIVE: (used.cpu / HOUR, "vCPU-hours"),
        BUILD: (used.build / MINUTE, "minutes"),
        AUTOMATIC: (used.applications, "application-months"),
    }
    why = {
        PROVISIONED: bill_words.provisioned(used.instance_time, used.kept_time),
        ACTIVE: bill_words.active(used.active_time, used.charged_time, used.stretches),
        BUILD: bill_words.build(used.build, used.builds),
        AUTOMATIC: bill_words.automatic_deployment(used.applications),
    }
    return tuple(
        Line(
            meter=meter,
            quantity=quantity,
            unit=unit,
            unit_price=prices[_PRICED[meter]],
            why=why[meter],
        )
        for meter, (quantity, unit) in amounts.items()
        if quantity or meter in {PROVISIONED, ACTIVE}
    )


def _hours(meter: str, seconds: Decimal, unit: str, price: Decimal) -> Line:
    return Line(meter=meter, quantity=seconds / HOUR, unit=unit, unit_price=price)


def _fargate(used: Billable, prices: Prices) -> Alternative:
    note = (
        "MinSize tasks of the same size, at least one, always on, none added under load; a load"
        " balancer per service, one LCU while there are requests; no public IPv4 addresses, no NAT"
    )
    return Alternative(
        name="Fargate",
        lines=(
            _hours("vcpu", used.task_cpu, "vCPU-hours", prices.fargate["vcpu-hour"]),
            _hours("memory", used.task_memory, "GB-hours", prices.fargate["gb-hour"]),
            _hours("load-balancer", used.balancer, "hours", prices.balancer["hour"]),
            _hours("load-balancer-capacity", used.busy, "LCU-hours", prices.balancer["lcu-hour"]),
        ),
        note=note + _whose(prices, prices.fargate, prices.balancer),
    )


def _lambda(used: Billable, prices: Prices) -> Alternative:
    requests = Line(
        meter="requests",
        quantity=used.requests,
        unit="requests",
        unit_price=prices.functions["request"],
    )
    counted = "" if used.requests else f"; requests come on top, {requests.unit_price:f} each"
    note = (
        "the same memory for as long as an instance was active, so more where requests overlap;"
        " no free tier, no function URL or gateway in front"
    )
    return Alternative(
        name="Lambda",
        lines=(
            Line(
                meter="memory",
                quantity=used.function_memory,
                unit="GB-seconds",
                unit_price=prices.functions["gb-second"],
            ),
            *((requests,) if used.requests else ()),
        ),
        note=note + counted + _whose(prices, prices.functions),
    )


def _whose(prices: Prices, *sheets: Sheet) -> str:
    others = sorted({sheet.region for sheet in sheets} - {prices.region})
    return f"; at the prices of {' and '.join(others)}" if others else ""


def _total(lines: Iterable[Line]) -> Decimal:
    return sum((line.amount for line in lines), NONE)


def _active(intervals: Sequence[UsageInterval], now: Epoch) -> tuple[Decimal, Decimal]:
    """Seconds and GB-seconds of active instances, to the millisecond and without a minimum."""
    time = memory = NONE
    by_instance: dict[object, list[UsageInterval]] = {}
    for each in intervals:
        if each.meter is Meter.ACTIVE:
            by_instance.setdefault(each.instance, []).append(each)
    for group in by_instance.values():
        seconds = _exactly(sum(end - start for start, end in merged(group, now)))
        time += seconds
        memory += gigabytes(group[0].memory) * seconds
    return time, memory


def _exactly(seconds: float) -> Decimal:
    """To the millisecond: epochs are floats."""
    return max(NONE, round(Decimal(seconds), 3))


def document(value: Bill) -> dict[str, object]:
    """The bill as `cost --json` prints it: amounts unrounded."""
    return {
        "Currency": value.currency,
        "Region": value.region,
        "Total": float(value.total),
        "Lines": [_line(line) for line in value.lines],
        "Alternatives": [
            {
                "Name": each.name,
                "Total": float(each.total),
                "Note": each.note,
                "Lines": [_line(line) for line in each.lines],
            }
            for each in value.alternatives
        ],
        "Notes": list(value.notes),
        "Prices": [
            {"Region": sheet.region, "Date": sheet.date, "Source": sheet.source}
            for sheet in value.sheets
        ],
    }


def _line(line: Line) -> dict[str, object]:
    return {
        "Meter": line.meter,
        "Quantity": float(line.quantity),
        "Unit": line.unit,
        "UnitPrice": float(line.unit_price),
        "Amount": float(line.amount),
        **({"Why": line.why} if line.why else {}),
    }
