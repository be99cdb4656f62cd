"""An operation as it goes on: its events and its build log as they come, then its outcome."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from emulator.controllers.ledger import Ledger
from emulator.controllers.platform import Platform
from emulator.model.operation import Operation
from emulator.surfaces.api import views

Row = dict[str, Any]
AHEAD = 1000  # rows that a slow listener may be behind


async def rows(
    platform: Platform, ledger: Ledger, operation: Operation, *, after: int = 0
) -> AsyncGenerator[Row]:
    """`At` with `Event` or `Log`; the last has `Operation` and `Service`. Of the events only those
    with an id above `after`.
    """
    queue: asyncio.Queue[Row] = asyncio.Queue(maxsize=AHEAD)
    async with asyncio.TaskGroup() as group:
        logs = group.create_task(_build_lines(platform, ledger, operation, queue))
        events = group.create_task(_event_lines(platform, ledger, operation, (after, queue)))
        while not (events.done() and queue.empty()):
            row = await queue.get()
            yield row
            if "Operation" in row:
                break
        logs.cancel()
        events.cancel()


async def _build_lines(
    platform: Platform, ledger: Ledger, operation: Operation, queue: asyncio.Queue[Row]
) -> None:
    stream = f"deployment/{operation.deployment_id}"
    logs = platform.ports.logs
    async for line in logs.read(ledger.service.id, prefix=stream, follow=True):
        await queue.put({"At": line.at, "Log": line.text})


async def _event_lines(
    platform: Platform, ledger: Ledger, operation: Operation, to: tuple[int, asyncio.Queue[Row]]
) -> None:
    after, queue = to
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
