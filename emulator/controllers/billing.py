"""Gathers what a bill needs from the journal."""

from emulator.controllers.ledger import Ledger
from emulator.decisions.cost import Bill, bill
from emulator.decisions.metering import Floor, clipped, provisioned_spans
from emulator.model.identifiers import Epoch
from emulator.model.operation import Operation, OperationStatus
from emulator.model.prices import prices_in
from emulator.model.usage import UsageInterval
from emulator.ports import Clock, Store

MONTH = 30 * 86400.0  # seconds, as in App Runner's own examples


async def bill_of(
    store: Store, clock: Clock, ledgers: tuple[Ledger, ...], *, region: str, month: bool = False
) -> Bill:
    """Of these services, since ever or for the last month."""
    now = clock.now()
    since = Epoch(now - MONTH) if month else Epoch(0.0)
    intervals: list[UsageInterval] = []
    floors: list[Floor] = []
    automatic = 0
    for ledger in ledgers:
        service = ledger.service.id
        intervals += clipped(await store.usage(service), since, now)
        operations = await store.operations(service)
        spans = provisioned_spans(operations, now, since=since)
        configuration = ledger.service.serving or ledger.service.configuration
        floors.append(
            Floor(
                service=service,
                min_size=configuration.scaling.min_size,
                memory=configuration.size.memory,
                spans=spans,
            )
        )
        automatic += _automatic(operations, since)
    return bill(intervals, now, prices_in(region), floors=floors, automatic=automatic)


def _automatic(operations: tuple[Operation, ...], since: Epoch) -> int:
    """App Runner charges automatic deployment once per application and month."""
    used = [
        o
        for o in operations
        if o.automatic and o.status is OperationStatus.SUCCEEDED and o.started_at >= since
    ]
    return 1 if used else 0
