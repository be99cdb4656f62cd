"""Connections that have yet to speak TLS: counted among the others from their first moment.

The event loop's own TLS server makes a protocol known only after the handshake, so that whoever
connects and says nothing would cost a descriptor, and be held to no limit.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from emulator.ports import Clock
from emulator.surfaces.proxy.client import guarded
from emulator.surfaces.proxy.doors import BACKLOG
from emulator.surfaces.proxy.floor import Floor
from emulator.surfaces.proxy.negotiation import Negotiated
from emulator.surfaces.proxy.upstream import OUT_OF_DESCRIPTORS

HANDSHAKE_LIMIT = 10.0  # seconds
SHUTDOWN_LIMIT = 2.0
_PAUSE = 1.0  # seconds without accepting, where descriptors have run out


class Handshake:
    """A client's connection until it speaks TLS; it implements `Connection`."""

    __slots__ = ("_floor", "peer", "task")

    def __init__(self, floor: Floor, peer: str) -> None:
        self._floor = floor
        self.peer = peer
        self.task: asyncio.Task[None] | None = None

    def tick(self, now: float) -> None:
        """Its time is limited by the event loop."""

    def stop_if_idle(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def done(self) -> None:
        """Another connection takes its place, or none."""
        self._floor.leave(self)


class TlsDoor:
    """A listener; `admit` makes the protocol for a connection that has shaken hands."""

    def __init__(
        self,
        floor: Floor,
        clock: Clock,
        context: ssl.SSLContext,
        admit: Callable[[Handshake], Negotiated],
    ) -> None:
        self.sockets: list[socket.socket] = []
        self._floor = floor
        self._clock = clock
        self._context = context
        self._admit = admit
        self._tasks: list[asyncio.Task[None]] = []

    async def listen(self, host: str, port: int) -> None:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                self.sockets.append(socket.socket(family, kind, protocol))
                _open(self.sockets[-1], address)
        except OSError:
            self.close()
            raise
        for listening in self.sockets:
            task = self._floor.group.create_task(self._accept(listening))
            task.add_done_callback(partial(_close, listening))
            self._tasks.append(task)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()  # its socket is closed when nothing waits for it any more
        if not self._tasks:
            for listening in self.sockets:
                listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while listening.fileno() >= 0:
            try:
                accepted, address = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno in OUT_OF_DESCRIPTORS:
                    self._floor.out_of_descriptors()
                if not isinstance(error, ConnectionError):  # that one has hung up, no more
                    await self._clock.sleep(_PAUSE)
            else:
                self._begin(accepted, Handshake(self._floor, str(address[0])))
            await self._clock.sleep(0)  # a crowd at the door is not all that there is to do

    def _begin(self, accepted: socket.socket, handshake: Handshake) -> None:
        if not self._floor.admit(handshake):
            accepted.close()
            return
        work = guarded(lambda: self._shake(accepted, handshake))
        handshake.task = self._floor.group.create_task(work)
        handshake.task.add_done_callback(partial(_over, handshake, accepted))

    async def _shake(self, accepted: socket.socket, handshake: Handshake) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # it hung up, does not speak TLS, or took too long
            await loop.connect_accepted_socket(
                lambda: self._admit(handshake),
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_LIMIT,
                ssl_shutdown_timeout=SHUTDOWN_LIMIT,
            )


def _open(listening: socket.socket, address: Any) -> None:  # noqa: ANN401 - of any family
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listening.family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listening.settimeout(0)
    listening.bind(address)
    listening.listen(BACKLOG)


def _close(listening: socket.socket, _: "asyncio.Task[None]") -> None:
    listening.close()


def _over(handshake: Handshake, accepted: socket.socket, task: "asyncio.Task[None]") -> None:
    handshake.done()
    if task.cancelled():  # perhaps before it began
        accepted.close()
