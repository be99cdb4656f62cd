"""The engine's instances in memory; passes the real driver's contract tests."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from emulator.model.errors import EngineError
from emulator.model.identifiers import InstanceId, ServiceId
from emulator.model.instance import ContainerState, Endpoint, Exit, ObservedInstance
from emulator.model.revision import Revision
from emulator.model.service import Service
from emulator.model.usage import Consumption
from emulator.ports import Clock
from tests.fakes.world import Container, World
from tests.helpers import turn


class FakeInstances:
    """`start_time`, `stop_time`: seconds; `failure` makes every call fail."""

    def __init__(self, world: World, clock: Clock) -> None:
        self.world = world
        self.clock = clock
        self.failure: EngineError | None = None
        self.start_time = 0.15
        self.stop_time = 0.05
        self.consumed = Consumption(cpu=0.25, memory=32 * 2**20)  # by each that runs
        self._ports = 20000

    async def _call(self) -> None:
        if self.failure is not None:
            raise self.failure
        await turn()
        self.world.advance(self.clock.now())

    async def observe(self) -> tuple[ObservedInstance, ...]:
        await self._call()
        return tuple(c.seen for c in self.world.containers.values())

    async def prepare(
        self, instance: InstanceId, service: Service, revision: Revision, *, warm: bool = False
    ) -> None:
        await self._call()
        self.world.networks.add(service.id)
        if instance not in self.world.containers:
            seen = ObservedInstance(
                id=instance,
                service=service.id,
                state=ContainerState.CREATED,
                fingerprint=revision.fingerprint,
            )
            self.world.containers[instance] = Container(seen=seen)

    async def start(self, instance: InstanceId, revision: Revision) -> Endpoint:
        await self._call()
        container = self._container(instance)
        if container.seen.state is ContainerState.RUNNING:
            return self._endpoint(container)
        if container.seen.state is ContainerState.EXITED:
            raise EngineError("an instance never starts twice")
        if container.seen.fingerprint != revision.fingerprint:
            raise EngineError("the standby does not fit the revision")
        asked = self.world.now()
        await self.clock.sleep(self.start_time)
        now = self.clock.now()
        self.world.lives[instance] = [asked, math.inf]
        behaviour = self.world.behaviour(revision)
        self._ports += 1
        container.revision = revision
        container.ready_at = now + behaviour.boot
        if behaviour.crashes_after is not None:
            container.dies_at = now + behaviour.crashes_after
        container.seen = replace(
            container.seen,
            state=ContainerState.RUNNING,
            revision=revision.id,
            endpoint=Endpoint(host=f"10.0.0.{self._ports - 20000}", port=revision.port),
            started_at=now,
        )
        endpoint = self._endpoint(container)
        if container.dies_at <= now:  # and everybody hears of it before the engine has answered
            self.world.advance(now)
            await self.clock.sleep(self.start_time)
        return endpoint

    def _container(self, instance: InstanceId) -> Container:
        if instance not in self.world.containers:
            raise EngineError(f"no such instance: {instance}")
        return self.world.containers[instance]

    def _endpoint(self, container: Container) -> Endpoint:
        assert container.seen.endpoint is not None
        return container.seen.endpoint

    async def freeze(self, instance: InstanceId) -> None:
        await self._rest(instance, ContainerState.FROZEN)

    async def thaw(self, instance: InstanceId) -> None:
        await self._rest(instance, ContainerState.RUNNING)

    async def _rest(self, instance: InstanceId, state: ContainerState) -> None:
        await self._call()
        container = self._container(instance)
        if container.seen.state in {ContainerState.RUNNING, ContainerState.FROZEN}:
            container.seen = replace(container.seen, state=state)

    async def stop(self, instance: InstanceId, *, grace: float) -> None:
        await self._call()
        container = self.world.containers.get(instance)
        ended = {ContainerState.CREATED, ContainerState.EXITED}
        if container is None or container.seen.state in ended:
            return
        await self.clock.sleep(min(self.stop_time, grace))
        container.seen = replace(
            container.seen,
            state=ContainerState.EXITED,
            exit=Exit(code=143, at=self.clock.now()),
        )
        self.world.end(instance)

    async def remove(self, instance: InstanceId) -> None:
        await self._call()
        self.world.containers.pop(instance, None)

    async def clear(self, service: ServiceId) -> None:
        await self._call()
        for seen in self.world.of(service):
            self.world.containers.pop(seen.id, None)
        self.world.networks.discard(service)

    async def sweep(self, services: Sequence[ServiceId], images: Sequence[str]) -> tuple[str, ...]:
        await self._call()
        removed = []
        for container in list(self.world.containers.values()):
            if container.seen.service not in services:
                self.world.containers.pop(container.seen.id)
                removed.append(f"instance {container.seen.id}")
        removed += [f"network of {service}" for service in self.world.networks - set(services)]
        self.world.networks &= set(services)
        removed += [f"helper {h}" for h in self.world.helpers]
        self.world.helpers.clear()
        for tag, image in list(self.world.images.items()):
            built = tag.startswith("apprunner-emulator/")
            if built and tag not in images and image not in images:
                del self.world.images[tag]
                removed.append(f"image {tag}")
        return tuple(removed)

    async def listening(self, instance: InstanceId) -> tuple[Endpoint, ...]:
        await self._call()
        container = self.world.containers.get(instance)
        if container is None or container.revision is None:
            return ()
        elsewhere = self.world.behaviour(container.revision).listens_on
        if elsewhere is not None:
            return (elsewhere,)
        ready = self.clock.now() >= container.ready_at
        return (Endpoint(host="0.0.0.0", port=container.revision.port),) if ready else ()

    async def consumption(self, instance: InstanceId) -> Consumption | None:
        await self._call()
        container = self.world.containers.get(instance)
        running = {ContainerState.RUNNING, ContainerState.FROZEN}
        if container is None or container.seen.state not in running:
            return None
        return self.consumed

    async def takes(self, instance: InstanceId, port: int) -> bool:
        await self._call()
        container = self.world.containers.get(instance)
        if container is None or container.revision is None:
            return False
        self.world.advance(self.clock.now())
        up = container.seen.state is ContainerState.RUNNING
        waits = self.world.behaviour(container.revision).accepts_after
        return up and self.clock.now() >= container.ready_at + waits

    async def changes(self) -> AsyncIterator[ServiceId | None]:
        queue: asyncio.Queue[ServiceId] = asyncio.Queue()
        self.world.changed.append(queue.put_nowait)
        try:
            while True:
                yield await queue.get()
        finally:
            self.world.changed.remove(queue.put_nowait)
