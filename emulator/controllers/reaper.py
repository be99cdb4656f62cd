"""Removes what nobody owns, at the start and every few minutes: a graceful exit is a special case."""

from collections.abc import Iterable

from emulator.controllers.ledger import Ledger
from emulator.decisions import keeping
from emulator.model.errors import EngineError
from emulator.model.service import Service
from emulator.ports import Ports

PAUSE = 600.0  # seconds between two sweeps


class Reaper:
    """Sweeps the engine, and forgets services that were deleted long ago."""

    def __init__(self, ports: Ports, *, keep: int) -> None:
        self._ports = ports
        self._keep = keep

    async def sweep(self, ledgers: Iterable[Ledger]) -> tuple[str, ...]:
        """Returns what was removed, in words."""
        live = [ledger for ledger in ledgers if ledger.service.live]
        services = [ledger.service.id for ledger in live]
        images = [i for ledger in live for i in await kept_images(ledger, self._keep)]
        try:
            return await self._ports.instances.sweep(services, images)
        except EngineError:
            return ()  # the engine is away: the next sweep is soon enough

    async def forget(self, services: Iterable[Service]) -> tuple[Service, ...]:
        """Deleted services whose time is over; returns them."""
        now = self._ports.clock.now()
        over = tuple(s for s in services if not s.describable(now))
        for service in over:
            await self._ports.store.forget(service.id)
            await self._ports.logs.forget(service.id)
        return over


async def kept_images(ledger: Ledger, keep: int) -> tuple[str, ...]:
    """Of what can be returned to, of what serves and of what is being deployed."""
    returnable = keeping.kept(tuple(ledger.revisions.values()), await ledger.served(), keep)
    ids = {ledger.service.revision, ledger.operation.target if ledger.operation else None}
    needed = [r for r in ledger.revisions.values() if r.id in ids]
    if ledger.dev is not None:
        needed += [r for r in (ledger.dev.serving, ledger.dev.candidate) if r is not None]
    return tuple({r.image for r in (*returnable, *needed)})
