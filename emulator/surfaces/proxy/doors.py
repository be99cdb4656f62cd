"""Each service's own loopback port, for clients that cannot resolve *.localhost."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from emulator.model.identifiers import ServiceId
from emulator.surfaces.proxy.client import ClientConnection

BACKLOG = 1024  # connections the kernel holds while we are busy: a burst must not be refused


class Listening(Protocol):
    """A server, or what accepts connections in another way."""

    @property
    def sockets(self) -> Sequence[socket.socket]: ...


class ServiceDoors:
    """Implements the port `Doors`.

    `admit` makes the connection object for a client that comes through a service's door.
    """

    def __init__(self, host: str, admit: Callable[[ServiceId], ClientConnection]) -> None:
        self._host = host
        self._admit = admit
        self._servers: dict[ServiceId, asyncio.Server] = {}

    async def open(self, service: ServiceId, port: int) -> int:
        server = self._servers.get(service)
        if server is None:
            try:
                server = await self._listen(service, port)
            except OSError:
                server = await self._listen(service, 0)
            self._servers[service] = server
        return bound_port(server)

    async def close(self, service: ServiceId) -> None:
        server = self._servers.pop(service, None)
        if server is not None:
            server.close()

    def close_all(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    async def _listen(self, service: ServiceId, port: int) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: self._admit(service), self._host, port, backlog=BACKLOG
        )


def bound_port(server: Listening) -> int:
    return int(server.sockets[0].getsockname()[1])
