"""An operation as it goes on: its events and its build log as they come, then its outcome."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from emulator.controllers.ledger import Ledger
from emulator.controllers.platform import Platform
from emulator.model.operation import Operation
from emulator.surfaces.api import views
from emulator.surfaces.api.merging import Queue, Row, merged


async def rows(
    platform: Platform, ledger: Ledger, operation: Operation, *, after: int = 0
) -> AsyncGenerator[Row]:
    """`At` with `Event` or `Log`; the last has `Operation` and `Service`. Of the events only those
    with an id above `after`.
    """
    logs = partial(_build_lines, platform, ledger, operation)
    events = partial(_event_lines, platform, ledger, operation, after)
    async with aclosing(merged(logs, events, last="Operation")) as found:
        async for row in found:
            yield row


async def _build_lines(
    platform: Platform, ledger: Ledger, operation: Operation, queue: Queue
) -> None:
    stream = f"deployment/{operation.deployment_id}"
    ports = platform.ports
    async for line in ports.logs.read(ledger.service.id, prefix=stream, follow=True):
        await queue.put({"At": ports.clock.at(line.at), "Log": line.text})


async def _event_lines(
    platform: Platform, ledger: Ledger, operation: Operation, after: int, queue: Queue
) -> None:
    while True:
        seen = ledger.bell.count
        stored = await platform.ports.store.operations(ledger.service.id)
        current = next((o for o in stored if o.id == operation.id), operation)
        async for event in platform.events(ledger, after=after):
            after = event.id
            if event.at >= operation.started_at:
                await queue.put({"At": event.at, "Event": event.text})
        if current.ended:
            service = views.described(platform, ledger)
            await queue.put({"Operation": views.operation(current, ledger), "Service": service})
            return
        await ledger.bell.later(seen)
