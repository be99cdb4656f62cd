"""What the engine holds for this owner that nobody needs any more.

Rule: what this process has made a short while ago may be in use by somebody who has not told the
store yet; it is left alone, unless there is no service at all.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

from emulator.drivers.docker.build_sandboxes import KEPT
from emulator.drivers.docker.caches import remove_volume
from emulator.drivers.docker.containers import remove_container
from emulator.drivers.docker.engine import ConflictError, Engine, Json, NotFoundError
from emulator.drivers.docker.labels import ROLE, SERVICE, Role, labelled
from emulator.drivers.docker.observation import parse_time
from emulator.drivers.docker.prune import build_is_under_way
from emulator.model.errors import EngineError
from emulator.model.identifiers import Epoch, ServiceId
from emulator.model.settings import Limits
from emulator.ports import Clock

NEW_SERVICE: Final = 60.0  # seconds
CACHE: Final = 86_400.0  # seconds that what builds left without a name saves the next one its steps
_TEMPORARY: Final = frozenset({Role.BUILD, Role.BUILD_SANDBOX, Role.BASE, Role.HELPER})
_NO_TAG: Final = "<none>:<none>"
_OURS: Final = "apprunner-emulator/"


class Leftovers:
    """All but instances: helpers, networks, images and caches of builds."""

    def __init__(self, engine: Engine, owner: str, clock: Clock, limits: Limits) -> None:
        self._engine = engine
        self._owner = owner
        self._clock = clock
        self._limits = limits
        self._since = clock.now()

    def old(self, made: float, age: float) -> bool:
        """Older than `age`, or not made by this process."""
        return made + 1 < self._since or self._clock.now() - made > age

    async def clear(self, service: ServiceId) -> None:
        """The service's helpers, then its network and its builds' caches."""
        for container in await self._containers(service=service):
            await remove_container(self._engine, container["Id"])
        for volume in await self._volumes(service=service):
            await remove_volume(self._engine, volume["Name"])
        for network in await self._networks(service=service):
            await self._remove_network(network)

    async def sweep(self, services: Sequence[ServiceId], images: Sequence[str]) -> tuple[str, ...]:
        found = (
            self._sweep_containers(everything=not services),
            self._sweep_networks(services),
            self._sweep_volumes(services),
            self._sweep_images(images, everything=not services),
            self._sweep_steps(),
        )
        return tuple([word for words in found async for word in words])

    async def _sweep_containers(self, *, everything: bool) -> AsyncIterator[str]:
        for container in await self._containers():
            role = container["Labels"].get(ROLE)
            age = self._limits.build + (KEPT if role == Role.BUILD_SANDBOX else 0.0)
            if role in _TEMPORARY and (everything or self.old(container["Created"], age)):
                await remove_container(self._engine, container["Id"])
                yield f"build container {container['Id'][:12]}"

    async def _sweep_networks(self, services: Sequence[ServiceId]) -> AsyncIterator[str]:
        for network in await self._networks():
            if self._is_unwanted(network, services) and await self._remove_network(network):
                yield f"network {network['Name']}"

    def _is_unwanted(self, network: Json, services: Sequence[ServiceId]) -> bool:
        """Builds share a network that belongs to no service."""
        if not services:
            return True
        service = network["Labels"].get(SERVICE)
        made = parse_time(network["Created"]) or Epoch(0)
        return service is not None and service not in services and self.old(made, NEW_SERVICE)

    async def _sweep_volumes(self, services: Sequence[ServiceId]) -> AsyncIterator[str]:
        """Those of services that are gone; one that a build is using cannot be removed."""
        for volume in await self._volumes():
            gone = volume["Labels"].get(SERVICE) not in services
            if gone and await remove_volume(self._engine, volume["Name"]):
                yield f"cache {volume['Name']}"

    async def _sweep_images(self, images: Sequence[str], *, everything: bool) -> AsyncIterator[str]:
        """By our own names: one that a user gave, to this image or one made from it, stays."""
        filters = labelled(self._owner, Role.BUILD)
        for image in await self._engine.get("/images/json", {"filters": filters}):
            tags = [tag for tag in image["RepoTags"] or () if tag != _NO_TAG]
            kept = not {image["Id"], *tags}.isdisjoint(images)
            if not kept and (everything or self.old(image["Created"], self._limits.build)):
                ours = [tag for tag in tags if tag.startswith(_OURS)]
                for name in ours if tags else [image["Id"]]:
                    if await self._remove_image(name):
                        yield f"image {name}"

    async def _sweep_steps(self) -> AsyncIterator[str]:
        """Images of steps and stages, which all state directories share: the engine's cache."""
        if await build_is_under_way(self._engine):
            return
        steps = [f"{ROLE}={Role.BUILD.value}"]
        unnamed = {"filters": {"dangling": ["true"], "label": steps}}
        for image in await self._engine.get("/images/json", unnamed):
            old = self._clock.now() - image["Created"] > CACHE
            if old and await self._remove_image(image["Id"]):
                yield f"build step {image['Id'].removeprefix('sha256:')[:12]}"

    async def _containers(self, service: ServiceId | None = None) -> list[Json]:
        filters = labelled(self._owner, service=service)
        found: list[Json] = await self._engine.get(
            "/containers/json", {"all": True, "filters": filters}
        )
        return found

    async def _volumes(self, service: ServiceId | None = None) -> list[Json]:
        found = await self._engine.get(
            "/volumes", {"filters": labelled(self._owner, Role.CACHE, service=service)}
        )
        return list(found["Volumes"] or ())

    async def _networks(self, service: ServiceId | None = None) -> list[Json]:
        found: list[Json] = await self._engine.get(
            "/networks", {"filters": labelled(self._owner, service=service)}
        )
        return found

    async def _remove_network(self, network: Json) -> bool:
        with suppress(EngineError):  # something is still in it: the next sweep may do
            await self._engine.delete(f"/networks/{network['Id']}")
            return True
        return False

    async def _remove_image(self, name: str) -> bool:
        with suppress(NotFoundError, ConflictError):  # gone, or a container needs it
            await self._engine.delete(f"/images/{name}")
            return True
        return False
