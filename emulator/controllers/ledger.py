"""The stored state of one service, mirrored in memory: the only place that writes it.

Written first, mirrored after: what memory shows is always on disk.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

from emulator.controllers.bell import Bell
from emulator.model.errors import StoreError
from emulator.model.event import Event
from emulator.model.identifiers import RevisionId
from emulator.model.operation import Operation
from emulator.model.revision import Revision
from emulator.model.service import Service
from emulator.model.usage import UsageInterval
from emulator.ports import Change, Clock, Store

_logger = logging.getLogger(__name__)


class Overtaken(Exception):  # noqa: N818 - not an error: somebody was faster
    """What was decided rests on what is no longer so."""


class Ledger:
    """One service: itself, its unfinished operation, its revisions; `bell` rings at each change, and
    `wake` is called.
    """

    def __init__(self, store: Store, clock: Clock, service: Service) -> None:
        self._store = store
        self._clock = clock
        self.service = service
        self.operation: Operation | None = None
        self.revisions: dict[RevisionId, Revision] = {}
        self.bell = Bell()
        self.wake: Callable[[], None] = _nobody
        self._lock = asyncio.Lock()

    @classmethod
    async def load(cls, store: Store, clock: Clock, service: Service) -> Self:
        """The service as the last emulator left it."""
        ledger = cls(store, clock, service)
        ledger.revisions = {r.id: r for r in await store.revisions(service.id)}
        unfinished = [o for o in await store.operations(service.id) if not o.ended]
        ledger.operation = unfinished[0] if unfinished else None
        return ledger

    def still(self, service: Service) -> None:
        """For `check`: raises Overtaken unless `service` is what it still is."""
        if self.service is not service:
            raise Overtaken

    def event(self, text: str) -> Event:
        return Event(service=self.service.id, at=self._clock.now(), text=text)

    async def say(self, *texts: str) -> None:
        """Append to the event log; what cannot be stored is not worth failing for."""
        try:
            await self.save(*(self.event(text) for text in texts))
        except StoreError as error:
            _logger.warning("%s: %s (%s)", self.service.name, " ".join(texts), error)

    async def save(
        self,
        *changes: Change,
        check: Callable[[], None] | None = None,
        amend: Callable[[Service], Service] | None = None,
        **values: Any,  # noqa: ANN401 - as dataclasses.replace
    ) -> None:
        """One transaction; the mirror follows.

        `values` are members of the service to replace, `amend` makes of the service another one
        where that depends on what it is. They are applied to the service as it is when nobody
        else writes, and so is `check`, which raises to refuse the whole.
        """
        async with self._lock:
            if check is not None:
                check()
            changed = replace(self.service, **values) if values else self.service
            if amend is not None:
                changed = amend(changed)
            service = () if changed is self.service else (changed,)
            await self._store.save(*service, *changes)
            for change in (*service, *changes):
                self._mirror(change)
        self.bell.ring()
        self.wake()

    def _mirror(self, change: Change) -> None:
        match change:
            case Service():
                self.service = change
            case Operation():
                self.operation = None if change.ended else change
            case Revision():
                self.revisions[change.id] = change
            case Event() | UsageInterval():
                pass
            case _:
                pass

    def __repr__(self) -> str:
        return f"<Ledger {self.service!r} {self.operation or 'at rest'}>"


def _nobody() -> None:
    """Before there is a worker."""
