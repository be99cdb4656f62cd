"""Gathers what a bill needs from the journal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from emulator.controllers.ledger import Ledger
from emulator.decisions import bill_words, cost, focus
from emulator.decisions.cost import MONTH, Bill, Billable
from emulator.decisions.metering import (
    SHORTEST_ACTIVE,
    Floor,
    Span,
    charges,
    clipped,
    floors,
    without,
)
from emulator.model.identifiers import Epoch
from emulator.model.operation import Operation, OperationStatus
from emulator.model.prices import PriceList
from emulator.model.service import Service
from emulator.model.usage import UsageInterval
from emulator.ports import PolicyClock, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What is stored of one service's use until `until`: now, or its deletion. `observed` is for how
    many seconds it has been there, but for those that the machine was `asleep`; `automatic` when a
    deployment made the monthly fee due.
    """

    service: Service
    intervals: tuple[UsageInterval, ...]
    floors: tuple[Floor, ...]
    asleep: tuple[Span, ...]
    until: Epoch
    observed: float
    automatic: tuple[Epoch, ...]

    @property
    def billable(self) -> Billable:
        used = cost.billable(self.intervals, self.until, floors=self.floors, asleep=self.asleep)
        return used + Billable(applications=Decimal(len(self.automatic)))

    @property
    def month(self) -> Billable:
        """Of 30 days at the observed pattern."""
        observed = Decimal(max(self.observed, 1.0))
        month = self.billable.times(MONTH / observed)
        # An activation is charged for a minute, seen or not: it does not come again before that.
        minutes = observed / max(observed, Decimal(SHORTEST_ACTIVE))
        return replace(
            month,
            cpu=month.cpu * minutes,
            zero_cpu=month.zero_cpu * minutes,
            charged_time=month.charged_time * minutes,
            stretches=month.stretches * minutes,
        )


async def journals(
    store: Store, ledgers: Sequence[Ledger], clock: PolicyClock, *, seconds: float | None = None
) -> tuple[Journal, ...]:
    """Of these services, since ever or for the last so many seconds."""
    now, asleep = clock.now(), clock.timeline.slept
    since = Epoch(now - seconds) if seconds is not None else Epoch(0.0)
    return tuple([await _journal(store, each.service, (since, now), asleep) for each in ledgers])


async def _journal(
    store: Store, service: Service, period: Span, asleep: tuple[Span, ...]
) -> Journal:
    since, now = period
    until = min(now, service.deleted_at or now)
    operations = await store.operations(service.id)
    there = [(max(since, service.created_at), until)]
    return Journal(
        service=service,
        intervals=clipped(await store.usage(service.id), since, now),
        floors=floors(
            service.id,
            operations,
            until,
            since=since,
            asleep=asleep,
            unless_known=(service.serving or service.configuration).provision,
        ),
        asleep=asleep,
        until=until,
        observed=sum(end - start for start, end in without(there, asleep)),
        automatic=_automatic(operations, since),
    )


def bill_of(found: Sequence[Journal], prices: PriceList, region: str) -> Bill:
    """Of all these services together; `region` is that of a bill without any."""
    return _bill(found, prices, region, lambda journal: journal.billable)


def month_of(found: Sequence[Journal], prices: PriceList, region: str) -> Bill:
    """The bill of a month in which these services go on as they did, unless they were deleted."""
    live = [each for each in found if each.service.live]
    longest = max((each.observed for each in live), default=0.0)
    gone = len(found) - len(live)
    who = "a service that was deleted does" if gone == 1 else f"{gone} deleted services do"
    left_out = (f"{who} not go on",) if gone else ()
    note = f"a month of 30 days at the pattern observed in {bill_words.lasted(longest)}"
    return cost.noted(_bill(live, prices, region, lambda each: each.month), *left_out, note)


def _bill(
    found: Sequence[Journal],
    prices: PriceList,
    region: str,
    billable: Callable[[Journal], Billable],
) -> Bill:
    by_region: dict[str, Billable] = {} if found else {region: Billable()}
    for each in found:
        known = by_region.get(each.service.region, Billable())
        by_region[each.service.region] = known + billable(each)
    return cost.together([cost.priced(c, prices.within(r)) for r, c in sorted(by_region.items())])


def focus_rows(found: Sequence[Journal], prices: PriceList) -> list[focus.Row]:
    """The rows whose sum is the bill."""
    rows: list[focus.Row] = []
    for each in found:
        sheet = prices.within(each.service.region).app_runner
        all_of_it = charges(each.intervals, each.until, floors=each.floors)
        rows += focus.rows(each.service, all_of_it, sheet)
        rows += [focus.automatic_deployment(each.service, at, sheet) for at in each.automatic]
    return rows


def _automatic(operations: tuple[Operation, ...], since: Epoch) -> tuple[Epoch, ...]:
    """App Runner charges automatic deployment once per application and month, from the first."""
    used = sorted(
        o.started_at
        for o in operations
        if o.automatic and o.status is OperationStatus.SUCCEEDED and o.started_at >= since
    )
    due: list[Epoch] = []
    for at in used:
        if not due or at >= due[-1] + MONTH:
            due.append(at)
    return tuple(due)
