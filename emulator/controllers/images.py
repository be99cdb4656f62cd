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
from emulator.decisions.image_names import (
    concerns,
    in_registry,
    is_digest,
    local_names,
    may_deploy_automatically,
)
from emulator.model.configuration import ImageSource
from emulator.model.errors import EngineError, StoreError
from emulator.model.service import Service, ServiceStatus
from emulator.ports import Builder, Clock, ImageRegistry

RESYNC = 5.0  # seconds: some engines keep a tag to themselves
_SHORT = len("sha256:") + 12


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalImage:
    """What was found, and under which name. `version` is what tells it from a newer one: the id of
    an image of the engine's, the digest of one that was `pushed` to the registry.
    """

    name: str
    version: str
    pushed: bool = False

    def __str__(self) -> str:
        return f"Image {self.name} ({self.version[:_SHORT]})"


class LocalImages:
    """Images by ImageIdentifier: the registry's, where there is one, and the engine's; `mapping` is
    `[images]` of emulator.toml.
    """

    def __init__(
        self, builder: Builder, mapping: Mapping[str, str], registry: ImageRegistry | None
    ) -> None:
        self._builder = builder
        self._mapping = mapping
        self._registry = registry

    @property
    def registry(self) -> str:
        """Its address, empty where there is none."""
        return self._registry.address if self._registry else ""

    def names(self, source: ImageSource) -> tuple[str, ...]:
        return local_names(source.identifier, self._mapping, self.registry)

    def concerns(self, name: str, source: ImageSource) -> bool:
        return concerns(name, source.identifier, self._mapping, self.registry)

    def changes(self) -> AsyncIterator[str | None]:
        return self._builder.changes()

    async def find(self, source: ImageSource) -> LocalImage | None:
        for name in self.names(source):
            pushed = in_registry(name, self.registry)
            version = await self._version(name, pushed)
            if version is not None:
                return LocalImage(name=name, version=version, pushed=pushed is not None)
        return None

    async def _version(self, name: str, pushed: tuple[str, str] | None) -> str | None:
        if pushed is None or self._registry is None:
            return await self._builder.find(name)
        return await self._registry.digest(*pushed)

    async def take(self, ledger: Ledger, source: ImageSource) -> LocalImage | None:
        """For a deployment: found and written down in one, so that a later look finds no news."""
        while True:
            service = ledger.service
            found = await self.find(source)
            if found is None:
                return None
            with suppress(Overtaken):
                unchanged = partial(ledger.still, service)
                await ledger.save(check=unchanged, seen_commit=found.version, queued=None)
                return found

    async def bring(self, image: LocalImage, on_line: Callable[[str], None]) -> str:
        """The id that the engine has it by; a pushed one is pulled as exactly what was found."""
        pushed = in_registry(image.name, self.registry)
        if not image.pushed or pushed is None:
            return image.version
        return await self._builder.pull(f"{self.registry}/{pushed[0]}@{image.version}", on_line)


class ImageWatcher:
    """All image services with automatic deployment, over one stream of the engine's news."""

    def __init__(
        self, images: LocalImages, clock: Clock, ledgers: Callable[[], Iterable[Ledger]]
    ) -> None:
        self._images = images
        self._clock = clock
        self._ledgers = ledgers

    async def look(self, name: str) -> None:
        """An image was pushed: nobody else tells of that."""
        await self._look_at_all(name)

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
        if found is None or found.version == service.seen_commit:
            return True
        paused = service.status is ServiceStatus.PAUSED
        try:
            await ledger.save(
                ledger.event(narration.arrived(str(found), service.status)),
                check=partial(ledger.still, service),
                seen_commit=found.version,
                queued=service.queued if paused else found.version,
            )
        except Overtaken:
            return False
        return True


def _watched(service: Service) -> ImageSource | None:
    """The source, if its images are deployed by themselves; a digest means the same for ever."""
    configuration = service.configuration
    source = configuration.source
    if not service.live or not configuration.auto_deploy or not isinstance(source, ImageSource):
        return None
    watched = may_deploy_automatically(source) and not is_digest(source.identifier)
    return source if watched else None


def _is_about_to_look(ledger: Ledger) -> bool:
    """A deployment whose image was not here when it was asked for finds or pulls it itself."""
    operation = ledger.operation
    if operation is None or not operation.deploys or ledger.service.seen_commit is not None:
        return False
    return operation.target is None
