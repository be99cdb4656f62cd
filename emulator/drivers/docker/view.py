"""What the engine shows of the instances: lists, and a closer look where something has changed."""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from emulator.drivers.docker import consumption
from emulator.drivers.docker.application_logs import ApplicationLogs
from emulator.drivers.docker.concurrency import together
from emulator.drivers.docker.engine import Engine, NotFoundError
from emulator.drivers.docker.freezer import Freezer, Freezers
from emulator.drivers.docker.host import Hosts
from emulator.drivers.docker.labels import labelled
from emulator.drivers.docker.observation import Inspected, Parts, inspected, observed, sort_out
from emulator.drivers.docker.records import Records
from emulator.drivers.docker.sockets import FILES, accepts, parse_tables, read_tables
from emulator.model.errors import EngineError
from emulator.model.identifiers import InstanceId, ServiceId
from emulator.model.instance import Endpoint, ObservedInstance
from emulator.model.usage import Consumption


@dataclass(slots=True, kw_only=True)
class View:
    """Looking at an instance that has begun to run also starts the copy of its log."""

    engine: Engine
    owner: str
    hosts: Hosts
    records: Records
    logs: ApplicationLogs
    freezers: Freezers
    _known: dict[str, Inspected] = field(default_factory=dict)  # by container
    _pids: dict[InstanceId, int] = field(default_factory=dict)  # of those that run

    async def list(
        self, *, service: ServiceId | None = None, instance: InstanceId | None = None
    ) -> dict[InstanceId, Parts]:
        filters = labelled(self.owner, service=service, instance=instance)
        listed = await self.engine.get("/containers/json", {"all": True, "filters": filters})
        return sort_out(listed)

    async def find(self, instance: InstanceId) -> Parts | None:
        return (await self.list(instance=instance)).get(instance)

    async def observe(self, hidden: Collection[InstanceId]) -> tuple[ObservedInstance, ...]:
        """All but the hidden; a sandbox alone is no instance."""
        host = await self.hosts.here()
        records = await self.records.all()
        listed = await self.list()
        found = [p for p in listed.values() if p.container and p.instance not in hidden]
        await self._inspect([parts for parts in found if not parts.created])
        self._forget_all_but(found)
        return tuple(
            observed(
                parts,
                record=records.get(parts.instance),
                known=self._known.get(parts.container["Id"]),
                frozen=self._frozen(parts),
                host=host,
            )
            for parts in found
        )

    async def freezer(self, instance: InstanceId) -> Freezer | None:
        """None for an instance that does not run."""
        parts = await self.find(instance)
        if parts is None or parts.container is None:
            raise EngineError(f"there is no instance {instance}")
        if parts.up:
            await self._inspect([parts])
        return self.freezers.known(instance)

    async def listening(self, instance: InstanceId) -> tuple[Endpoint, ...]:
        """Empty for an instance that does not run."""
        parts = await self.find(instance)
        if parts is None or not parts.up:
            return ()
        await self._inspect([parts])
        known = self._known.get(parts.container["Id"])
        if known is None or not known.up:
            return ()
        if (await self.hosts.here()).shared:
            return parse_tables(await asyncio.to_thread(read_tables, known.pid))
        return parse_tables(await self._tables_inside(parts.container["Id"]))

    async def consumption(self, instance: InstanceId) -> Consumption | None:
        """None for an instance that does not run."""
        parts = await self.find(instance)
        if parts is None or not parts.up:
            return None
        await self._inspect([parts])
        container = parts.container["Id"]
        known = self._known.get(container)
        if known is not None and (await self.hosts.here()).shared:
            found = await asyncio.to_thread(consumption.read, known.pid, container)
            if found is not None:
                return found
        return await consumption.ask(self.engine, container)

    async def takes(self, instance: InstanceId, port: int) -> bool:
        """Asked often: True where a program in the container would have to be asked."""
        if not (await self.hosts.here()).shared:
            return True
        if instance not in self._pids:
            parts = await self.find(instance)
            if parts is None or not parts.up:
                return False
            await self._inspect([parts])
        pid = self._pids.get(instance)
        return pid is not None and accepts(await asyncio.to_thread(read_tables, pid), port)

    async def exit_code(self, container: str) -> int:
        """Of a container that did not start."""
        state = (await self.engine.get(f"/containers/{container}/json"))["State"]
        return int(state["ExitCode"])

    async def _inspect(self, found: Sequence[Parts]) -> None:
        """Those that have begun to run or have ended since they were last looked at."""
        await together(*(self._look_at(parts) for parts in found if not self._is_known(parts)))

    def _is_known(self, parts: Parts) -> bool:
        known = self._known.get(parts.container["Id"])
        return known is not None and known.up == parts.up

    async def _look_at(self, parts: Parts) -> None:
        container = parts.container["Id"]
        with suppress(NotFoundError):
            known = inspected(await self.engine.get(f"/containers/{container}/json"))
            self._known[container] = known
            self.logs.follow(parts.instance, parts.service, container)
            self._pids.pop(parts.instance, None)
            if known.up:
                self._pids[parts.instance] = known.pid
                pid = known.pid if (await self.hosts.here()).shared else None
                await self.freezers.find(parts.instance, container, pid=pid, paused=parts.paused)

    def _frozen(self, parts: Parts) -> bool:
        freezer = self.freezers.known(parts.instance)
        if freezer is None:
            return False
        freezer.told(paused=parts.paused)
        return freezer.frozen()

    def _forget_all_but(self, found: Sequence[Parts]) -> None:
        containers = {parts.container["Id"] for parts in found}
        self._known = {c: known for c, known in self._known.items() if c in containers}
        up = [parts.instance for parts in found if parts.up]
        self._pids = {i: pid for i, pid in self._pids.items() if i in up}
        self.freezers.keep(up)

    async def _tables_inside(self, container: str) -> str:
        """With the image's own `cat`; empty if it has none."""
        command = {"AttachStdout": True, "Cmd": ["cat", *(f"/proc/{name}" for name in FILES)]}
        printed = b""
        with suppress(EngineError):
            created = await self.engine.post(f"/containers/{container}/exec", json=command)
            path = f"/exec/{created['Id']}/start"
            async for frames in self.engine.frames("POST", path, json={"Detach": False}):
                printed += b"".join(content for _, content in frames)
        return printed.decode(errors="replace")
