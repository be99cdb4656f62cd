"""Networks that wait for a build's commands: most of a container's start is its network.

A sandbox like an instance's, in the network of builds, and a service's own. One build at a time
holds it, as commands of two may listen at the same port; the next build takes it over.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emulator.drivers.docker.build_network import ensure_network, network_name
from emulator.drivers.docker.concurrency import to_the_end
from emulator.drivers.docker.containers import remove_container
from emulator.drivers.docker.engine import Engine, NotFoundError
from emulator.drivers.docker.host import Hosts
from emulator.drivers.docker.labels import Role, labels
from emulator.drivers.docker.sandbox import create_sandbox
from emulator.model.errors import EngineError
from emulator.ports import Clock

KEPT: Final = 900.0  # seconds in which builds may begin in it
_LOOK: Final = 60.0  # seconds
_RESOLVERS: Final = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class _Sandbox:
    """A container's id, and what the engine read of the host's resolvers when it started."""

    id: str
    service: str
    resolvers: bytes
    made: float


class BuildSandboxes:
    """Of one owner; while `run` runs those that no build may take any more are removed."""

    def __init__(self, engine: Engine, owner: str, hosts: Hosts, clock: Clock) -> None:
        self._engine = engine
        self._owner = owner
        self._hosts = hosts
        self._clock = clock
        self._idle: list[_Sandbox] = []

    async def run(self) -> None:
        """Until cancelled; then there is none left."""
        try:
            while True:
                await self._clock.sleep(_LOOK)
                old = [each for each in self._idle if self._is_old(each)]
                await to_the_end(self._remove(*old))
        finally:
            await self._remove(*self._idle)

    def _is_old(self, sandbox: _Sandbox) -> bool:
        return self._clock.now() - sandbox.made > KEPT

    @asynccontextmanager
    async def taken(self, service: str) -> AsyncIterator[str]:
        """The network mode of its holder's containers."""
        resolvers = await asyncio.to_thread(_read, _RESOLVERS)
        sandbox = await self._waiting(service, resolvers)
        if sandbox is None:
            made = self._clock.now()
            sandbox = _Sandbox(await self._new(service), service, resolvers, made)
        try:
            yield f"container:{sandbox.id}"
        finally:
            self._idle.append(sandbox)

    async def _waiting(self, service: str, resolvers: bytes) -> _Sandbox | None:
        """One that is as good as new."""
        while sandbox := next((each for each in self._idle if each.service == service), None):
            self._idle.remove(sandbox)
            if sandbox.resolvers == resolvers and await self._serves(sandbox):
                return sandbox
            await self._end(sandbox.id)
        return None

    async def _serves(self, sandbox: _Sandbox) -> bool:
        if self._is_old(sandbox):
            return False
        with suppress(NotFoundError):
            found = await self._engine.get(f"/containers/{sandbox.id}/json")
            return bool(found["State"]["Running"])
        return False

    async def _new(self, service: str) -> str:
        host = await self._hosts.here()
        name = f"{network_name(self._owner)}-{secrets.token_hex(4)}"
        network = await ensure_network(self._engine, self._owner)
        body = {
            "Labels": labels(self._owner, Role.BUILD_SANDBOX, service=service),
            "HostConfig": {"NetworkMode": network["Id"]},
        }
        made: list[str] = []

        async def make() -> None:
            made.append(await create_sandbox(self._engine, host, name, body))
            await self._engine.post(f"/containers/{made[0]}/start")

        try:
            await to_the_end(make())
        except BaseException:
            for sandbox in made:
                await to_the_end(self._end(sandbox))
            raise
        return made[0]

    async def _remove(self, *sandboxes: _Sandbox) -> None:
        """From now on nobody takes one of them."""
        self._idle = [each for each in self._idle if each not in sandboxes]
        for sandbox in sandboxes:
            await self._end(sandbox.id)

    async def _end(self, sandbox: str) -> None:
        with suppress(EngineError):
            await remove_container(self._engine, sandbox)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
