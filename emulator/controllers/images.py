"""What the identifiers of image services mean on this machine, and automatic deployment of that.

As with commits, only the newest image is written down; the worker deploys it when nothing else is
under way. A deployment takes whatever its name means by then, so what waited before is done.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from emulator.controllers.ledger import Ledger, Overtaken
from emulator.decisions import narration
from emulator.decisions.image_names import concerns, local_names, may_deploy_automatically
from emulator.model.configuration import ImageSource
from emulator.model.errors import EngineError, StoreError
from emulator.model.service import Service, ServiceStatus
from emulator.ports import Builder, Clock

RESYNC = 5.0  # seconds: some engines keep a tag to themselves
_SHORT = len("sha256:") + 12


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalImage:
    """What was found, and under which name."""

    name: str
    id: str

    def __str__(self) -> str:
        return f"Image {self.name} ({self.id[:_SHORT]})"


class LocalImages:
    """The engine's images by ImageIdentifier; `mapping` is `[images]` of emulator.toml."""

    def __init__(self, builder: Builder, mapping: Mapping[str, str]) -> None:
        self._builder = builder
        self._mapping = mapping

    def names(self, source: ImageSource) -> tuple[str, ...]:
        return local_names(source.identifier, self._mapping)

    def concerns(self, name: str, source: ImageSource) -> bool:
        return concerns(name, source.identifier, self._mapping)

    def changes(self) -> AsyncIterator[str | None]:
        return self._builder.changes()

    async def find(self, source: ImageSource) -> LocalImage | None:
        for name in self.names(source):
            image = await self._builder.find(name)
            if image is not None:
                return LocalImage(name=name, id=image)
        return None

    async def take(self, ledger: Ledger, source: ImageSource) -> LocalImage | None:
        """For a deployment: found and written down in one, so that a later look finds no news."""
        while True:
            service = ledger.service
            found = await self.find(source)
            if found is None:
                return None
            with suppress(Overtaken):
                unchanged = partial(ledger.still, service)
                await ledger.save(check=unchanged, seen_commit=found.id, queued=None)
                return found


class ImageWatcher:
    """All image services with automatic deployment, over one stream of the engine's news."""

    def __init__(
        self, images: LocalImages, clock: Clock, ledgers: Callable[[], Iterable[Ledger]]
    ) -> None:
        self._images = images
        self._clock = clock
        self._ledgers = ledgers

    async def run(self) -> None:
        """Until cancelled. It listens before it looks: nothing falls in between."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._look_now_and_then())

    async def _listen(self) -> None:
        async for name in self._images.changes():
            await self._look_at_all(name)

    async def _look_now_and_then(self) -> None:
        """Each look asks the engine: with many services it comes round less often, so that an
        idle emulator asks once a second at most.
        """
        while True:
            looks = await self._look_at_all()
            await self._clock.sleep(max(RESYNC, float(looks)))

    async def _look_at_all(self, name: str | None = None) -> int:
        """At those that `name` concerns, if it is known which name is new; returns how many."""
        looks = 0
        for ledger in tuple(self._ledgers()):
            source = _watched(ledger.service)
            if source is not None and (name is None or self._images.concerns(name, source)):
                await self._look(ledger)
                looks += 1
        return looks

    async def _look(self, ledger: Ledger) -> None:
        """What fails now is seen at the next look."""
        with suppress(EngineError, StoreError):
            while not await self._has_looked(ledger):
                pass

    async def _has_looked(self, ledger: Ledger) -> bool:
        """False where the service changed meanwhile: what was decided may be wrong by now."""
        service = ledger.service
        source = _watched(service)
        if source is None or _is_about_to_look(ledger):
            return True
        found = await self._images.find(source)
        if found is None or found.id == service.seen_commit:
            return True
        paused = service.status is ServiceStatus.PAUSED
        try:
            await ledger.save(
                ledger.event(narration.arrived(str(found), service.status)),
                check=partial(ledger.still, service),
                seen_commit=found.id,
                queued=service.queued if paused else found.id,
            )
        except Overtaken:
            return False
        return True


def _watched(service: Service) -> ImageSource | None:
    """The source, if its images are deployed by themselves."""
    configuration = service.configuration
    source = configuration.source
    if not service.live or not configuration.auto_deploy or not isinstance(source, ImageSource):
        return None
    return source if may_deploy_automatically(source) else None


def _is_about_to_look(ledger: Ledger) -> bool:
    """A deployment whose image was not here when it was asked for finds or pulls it itself."""
    operation = ledger.operation
    if operation is None or not operation.deploys or ledger.service.seen_commit is not None:
        return False
    return operation.target is None
