"""The stored state of one service, mirrored in memory: the only place that writes it.

Written first, mirrored after: what memory shows is always on disk.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

from emulator.controllers.bell import Bell
from emulator.model.development import Development
from emulator.model.errors import StoreError
from emulator.model.event import Event
from emulator.model.identifiers import RevisionId
from emulator.model.operation import Operation, OperationStatus
from emulator.model.revision import Revision
from emulator.model.service import Service
from emulator.model.usage import UsageInterval
from emulator.ports import Change, PolicyClock, Store

_logger = logging.getLogger(__name__)


class Overtaken(Exception):  # noqa: N818 - not an error: somebody was faster
    """What was decided rests on what is no longer so."""


class Ledger:
    """One service: itself, its unfinished operation, its revisions; `bell` rings at each change, and
    `wake` is called. `dev` is its working-tree mode, in memory alone.
    """

    def __init__(self, store: Store, clock: PolicyClock, service: Service) -> None:
        self._store = store
        self._clock = clock
        self.service = service
        self.operation: Operation | None = None
        self.revisions: dict[RevisionId, Revision] = {}
        self.dev: Development | None = None
        self.bell = Bell()
        self.wake: Callable[[], None] = _nobody
        self._lock = asyncio.Lock()

    @classmethod
    async def load(cls, store: Store, clock: PolicyClock, service: Service) -> Self:
        """The service as the last emulator left it."""
        ledger = cls(store, clock, service)
        ledger.revisions = {r.id: r for r in await store.revisions(service.id)}
        unfinished = [o for o in await store.operations(service.id) if not o.ended]
        ledger.operation = unfinished[0] if unfinished else None
        return ledger

    @property
    def serving(self) -> RevisionId | None:
        """What requests are for: a working tree's, or what was deployed last."""
        tree = self.dev.serving if self.dev else None
        return tree.id if tree else self.service.revision

    def revision(self, id_: RevisionId | None) -> Revision | None:
        """Also one of a working tree."""
        trees = (self.dev.serving, self.dev.candidate) if self.dev else ()
        return next((t for t in trees if t and t.id == id_), None) or (
            self.revisions.get(id_) if id_ else None
        )

    async def served(self) -> frozenset[RevisionId]:
        """Revisions that were deployed with success, at any time."""
        operations = await self._store.operations(self.service.id)
        ended_well = {o.target for o in operations if o.status is OperationStatus.SUCCEEDED}
        return frozenset(r for r in {*ended_well, self.service.revision} if r is not None)

    def develop(self, dev: Development | None) -> None:
        """Working-tree mode begins, goes on or ends."""
        self.dev = dev
        self.bell.ring()
        self.wake()

    def aside(self, tell: Callable[[str], None]) -> "Ledger":
        """The service as it is, for work whose story does not belong into its event log."""
        return _Aside(self, tell)

    def still(self, service: Service) -> None:
        """For `check`: raises Overtaken unless `service` is what it still is."""
        if self.service is not service:
            raise Overtaken

    def still_does(self, operation: Operation | None) -> None:
        """For `check`: raises Overtaken unless `operation` is under way, as it was."""
        if self.operation is not operation:
            raise Overtaken

    async def between_saves(self, act: Callable[[], object]) -> None:
        """Cancel somebody, say: whoever is cancelled in a save cannot know whether it happened."""
        async with self._lock:
            act()

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


class _Aside(Ledger):
    """`tell` gets what would be said; nothing is to be saved through it."""

    def __init__(self, of: Ledger, tell: Callable[[str], None]) -> None:
        super().__init__(of._store, of._clock, of.service)  # noqa: SLF001 - its own kind
        self._tell = tell

    async def say(self, *texts: str) -> None:
        for text in texts:
            self._tell(text)


def _nobody() -> None:
    """Before there is a worker."""
