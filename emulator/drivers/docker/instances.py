"""Instances as containers: the engine behind the `Instances` port.

An instance is two containers and a directory: its own container, the sandbox that holds its
network, and the source tree that is mounted at /app. All carry the instance's id, so that
whatever a kill left of one is found, and finished or removed, by asking the engine.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from emulator.drivers.docker.application_logs import ApplicationLogs
from emulator.drivers.docker.concurrency import together
from emulator.drivers.docker.containers import (
    create_container,
    instance_body,
    instance_labels,
    remove_container,
)
from emulator.drivers.docker.engine import ConflictError, Engine, Json, NotFoundError
from emulator.drivers.docker.events import Changes
from emulator.drivers.docker.files import InstanceFiles
from emulator.drivers.docker.freezer import Freezers
from emulator.drivers.docker.gates import Gates
from emulator.drivers.docker.host import Hosts
from emulator.drivers.docker.leftovers import NEW_SERVICE, Leftovers
from emulator.drivers.docker.observation import Parts
from emulator.drivers.docker.records import Record, Records
from emulator.drivers.docker.sandbox import Sandboxes, attachment_of
from emulator.drivers.docker.view import View
from emulator.model.errors import EngineError, EngineUnavailableError
from emulator.model.identifiers import InstanceId, ServiceId
from emulator.model.instance import Endpoint, ObservedInstance
from emulator.model.revision import Revision
from emulator.model.service import Service
from emulator.model.settings import Limits
from emulator.model.usage import Consumption
from emulator.ports import Clock, Logs, Repository

_NO_SUCH_COMMAND: Final = 127
_PAUSES: Final = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds until a name that is taken is free
_SLACK: Final = 60.0  # seconds beyond the grace until a stop counts as stuck


class DockerInstances:
    """`owner` is the id of the state directory. Application logs are copied while `run` runs."""

    def __init__(  # noqa: PLR0913 - the ports it stands on
        self,
        engine: Engine,
        *,
        owner: str,
        state_dir: Path,
        repository: Repository,
        logs: Logs,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._limits = limits
        self._clock = clock
        self._hosts = Hosts(engine)
        self._records = Records(state_dir / "instances")
        self._logs = ApplicationLogs(engine, logs, clock, self._records.directory)
        self._freezers = Freezers(engine, clock)
        self._files = InstanceFiles(engine, owner, self._records, repository)
        self._sandboxes = Sandboxes(engine, owner, self._hosts)
        self._changes = Changes(engine, owner, clock)
        self._leftovers = Leftovers(engine, owner, clock, limits)
        self._view = View(
            engine=engine,
            owner=owner,
            hosts=self._hosts,
            records=self._records,
            logs=self._logs,
            freezers=self._freezers,
        )
        self._gates = Gates(self._records)
        self._preparing: set[InstanceId] = set()
        self._thaws: Counter[InstanceId] = Counter()

    async def run(self) -> None:
        """Copy application logs until cancelled."""
        await self._logs.run()

    def changes(self) -> AsyncIterator[ServiceId | None]:
        return self._changes.follow()

    async def observe(self) -> tuple[ObservedInstance, ...]:
        for instance, record in (await self._records.all()).copy().items():
            if record.waiting and record.revision is not None:
                await self._let_go(instance)  # a kill came between
        return await self._view.observe(hidden=self._preparing)

    async def listening(self, instance: InstanceId) -> tuple[Endpoint, ...]:
        return await self._view.listening(instance)

    async def consumption(self, instance: InstanceId) -> Consumption | None:
        return await self._view.consumption(instance)

    async def takes(self, instance: InstanceId, port: int) -> bool:
        return await self._view.takes(instance, port)

    async def prepare(
        self, instance: InstanceId, service: Service, revision: Revision, *, warm: bool = False
    ) -> None:
        warm = warm and await self._can_wait(revision)
        found = await self._view.find(instance)
        if found is not None:
            if found.container and found.connected and found.fingerprint == revision.fingerprint:
                return
            await self.remove(instance)  # what a kill left of it
        self._preparing.add(instance)
        try:
            await self._prepare_or_repeat(instance, service, revision, warm=warm)
            if warm:
                await self._warm_up(instance)
        except EngineError:
            with suppress(EngineError):
                await self.remove(instance)
            raise
        finally:
            self._preparing.discard(instance)

    async def start(self, instance: InstanceId, revision: Revision) -> Endpoint:
        host = await self._hosts.here()
        found = await self._view.find(instance)
        endpoint = found.endpoint(host) if found else None
        if found is None or found.container is None or endpoint is None:
            raise EngineError(f"instance {instance} is not prepared, or its sandbox is gone")
        record = await self._records.find(instance)
        gated, waits = record is not None and record.gated, found.waits(record)
        if found.up and not waits:
            return endpoint
        _check_fit(found, revision, waits=waits)
        container = found.container["Id"]
        await self._lay(instance, container, revision)
        attachment = attachment_of(found.sandbox)
        await self._records.update(
            instance, revision=revision.id, attachment=attachment, exit_code=None, waiting=gated
        )
        if not waits:
            await self._start(instance, container)
        if gated:
            await self._let_go(instance)
        self._logs.follow(instance, found.service, container)
        return endpoint

    async def freeze(self, instance: InstanceId) -> None:
        """A thaw that is asked for meanwhile has the last word."""
        before = self._thaws[instance]
        freezer = self._freezers.known(instance) or await self._view.freezer(instance)
        if freezer is None or self._thaws[instance] != before:
            return
        await freezer.freeze()
        if self._thaws[instance] != before:
            await freezer.thaw()

    async def thaw(self, instance: InstanceId) -> None:
        """A request may be waiting: nothing is awaited before the kernel is told."""
        self._thaws[instance] += 1
        freezer = self._freezers.known(instance) or await self._view.freezer(instance)
        if freezer is not None:
            await freezer.thaw()

    async def stop(self, instance: InstanceId, *, grace: float) -> None:
        found = await self._view.find(instance)
        if found is None or not found.up:
            return
        self._changes.expect_end(instance)
        await self.thaw(instance)
        path, patience = f"/containers/{found.container['Id']}/stop", grace + _SLACK
        with suppress(NotFoundError):
            await self._engine.post(path, {"t": math.ceil(grace)}, timeout=patience)

    async def remove(self, instance: InstanceId) -> None:
        self._changes.expect_end(instance)
        found = await self._view.find(instance)
        if found is not None:
            await self._finish(found)
            await self._remove_containers(found)
        self._freezers.forget(instance)
        self._gates.forget(instance)
        del self._thaws[instance]
        await self._files.remove(instance)

    async def clear(self, service: ServiceId) -> None:
        listed = await self._view.list(service=service)
        recorded = (i for i, r in (await self._records.all()).items() if r.service == service)
        await together(*(self.remove(each) for each in {*listed, *recorded}))
        await self._leftovers.clear(service)

    async def sweep(self, services: Sequence[ServiceId], images: Sequence[str]) -> tuple[str, ...]:
        removed: list[str] = []
        listed = await self._view.list()
        for found in listed.values():
            if why := await self._unwanted(found, services):
                await self.remove(found.instance)
                removed.append(f"instance {found.instance}, {why}")
        for instance in await self._records.directories():
            if instance not in self._preparing and await self._view.find(instance) is None:
                await self.remove(instance)
                removed.append(f"files of instance {instance}, which is gone")
        return (*removed, *await self._leftovers.sweep(services, images))

    # ---- steps

    async def _prepare_or_repeat(
        self, instance: InstanceId, service: Service, revision: Revision, *, warm: bool
    ) -> None:
        """What a killed emulator asked for may still be on its way.

        The engine gives its name away first, and lists the container only when it is made.
        """
        for pause in _PAUSES:
            try:
                return await self._prepare(instance, service, revision, warm=warm)
            except ConflictError:
                await self._clock.sleep(pause)
                await self.remove(instance)
        return await self._prepare(instance, service, revision, warm=warm)

    async def _prepare(
        self, instance: InstanceId, service: Service, revision: Revision, *, warm: bool
    ) -> None:
        """All that takes time at once: whatever a kill leaves of it, `observe` can tell."""
        name = f"apprunner-{service.name}-{instance[:8]}"
        await self._records.create(
            instance, Record(service=service.id, image=revision.image, gated=warm)
        )
        if warm:
            await asyncio.to_thread(self._gates.make, instance)
        sandbox = await self._sandboxes.create(
            f"{name}-sandbox", instance, service.id, revision.port
        )
        labels = instance_labels(self._owner, instance, service.id, revision)
        await together(
            self._sandboxes.start(sandbox),
            self._create(name, labels, instance, sandbox, revision),
            self._prefill(instance, revision),
        )

    async def _create(
        self,
        name: str,
        labels: Json,
        instance: InstanceId,
        sandbox: str,
        revision: Revision,
    ) -> None:
        host = await self._hosts.here()
        mounts = revision.source is not None and host.shared
        record = await self._records.find(instance)
        gated = record is not None and record.gated
        body = instance_body(
            revision,
            host=host,
            sandbox=sandbox,
            mounted=str(self._records.app(instance)) if mounts else None,
            pids=self._limits.pids,
            gate=str(self._gates.path(instance)) if gated else None,
        )
        body["Labels"] = labels
        try:
            await create_container(self._engine, name, body)
        except EngineError as error:
            if "docker-init" not in str(error):
                raise
            body["HostConfig"]["Init"] = False
            await create_container(self._engine, name, body)

    async def _can_wait(self, revision: Revision) -> bool:
        """In a shell, which an image whose sources are laid over it has."""
        shared = (await self._hosts.here()).shared
        return shared and revision.source is not None and revision.command is not None

    async def _warm_up(self, instance: InstanceId) -> None:
        """Noted when it is so: one that was killed before is a stranger."""
        found = await self._view.find(instance)
        if found is None or found.container is None:
            raise EngineError(f"instance {instance} was removed while it was prepared")
        await self._engine.post(f"/containers/{found.container['Id']}/start")
        attachment = attachment_of(found.sandbox)
        await self._records.update(instance, waiting=True, attachment=attachment)

    async def _let_go(self, instance: InstanceId) -> None:
        await asyncio.to_thread(self._gates.open, instance)
        await self._records.update(instance, waiting=False)

    async def _prefill(self, instance: InstanceId, revision: Revision) -> None:
        if (await self._hosts.here()).shared:
            await self._files.lay(instance, revision)

    async def _lay(self, instance: InstanceId, container: str, revision: Revision) -> None:
        if (await self._hosts.here()).shared:
            await self._files.lay(instance, revision)
        elif revision.source is not None:
            await self._files.send(container, revision.source)

    async def _start(self, instance: InstanceId, container: str) -> None:
        """A start that fails leaves a container that looks like a standby: note that it is not."""
        try:
            await self._engine.post(f"/containers/{container}/start")
        except EngineUnavailableError:
            raise
        except EngineError:
            with suppress(EngineError):
                code = await self._view.exit_code(container)
                await self._records.update(instance, exit_code=code or _NO_SUCH_COMMAND)
            raise

    async def _finish(self, found: Parts) -> None:
        """Whatever it printed is safe afterwards."""
        if found.container is None or found.created:
            return
        container = found.container["Id"]
        if found.up:
            await self.thaw(found.instance)
            with suppress(NotFoundError, ConflictError):
                await self._engine.post(f"/containers/{container}/kill")
        await self._logs.complete(found.instance, found.service, container)

    async def _remove_containers(self, found: Parts) -> None:
        if found.container is not None:
            await remove_container(self._engine, found.container["Id"])
        if found.sandbox is not None:
            await self._sandboxes.remove(found.sandbox["Id"])

    async def _unwanted(self, found: Parts, services: Sequence[ServiceId]) -> str:
        """Why, or nothing."""
        if found.instance in self._preparing:
            return ""
        if found.service not in services:
            gone = not services or self._leftovers.old(found.made, NEW_SERVICE)
            return "whose service is gone" if gone else ""
        if found.container is None:
            again = await self._view.find(found.instance)
            half = again is not None and again.container is None
            return "which was never complete" if half else ""
        return ""


def _check_fit(found: Parts, revision: Revision, *, waits: bool) -> None:
    if not found.created and not waits:
        raise EngineError(f"instance {found.instance} has ended; an instance never starts twice")
    if found.fingerprint != revision.fingerprint:
        raise EngineError(f"instance {found.instance} was prepared for another configuration")
