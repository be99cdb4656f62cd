"""The load balancer's listeners: HTTPS by server name, HTTP that redirects, a port per service."""

import asyncio
import errno
import importlib
import os
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self, TypeVar

from emulator.controllers.router import Router
from emulator.model.errors import AddressInUseError, StoreError
from emulator.model.identifiers import ServiceId
from emulator.model.settings import Addresses, LoadBalancer
from emulator.ports import Clock
from emulator.surfaces.proxy.access_log import AccessLog
from emulator.surfaces.proxy.client import ClientConnection
from emulator.surfaces.proxy.doors import BACKLOG, ServiceDoors, bound_port
from emulator.surfaces.proxy.errors import Answers
from emulator.surfaces.proxy.floor import TICK, Floor
from emulator.surfaces.proxy.forward import Forwarder
from emulator.surfaces.proxy.negotiation import Negotiated
from emulator.surfaces.proxy.port_holder import holder_of
from emulator.surfaces.proxy.redirect import Redirect
from emulator.surfaces.proxy.tls_door import Handshake, TlsDoor
from emulator.surfaces.proxy.upstream import OUT_OF_DESCRIPTORS

GRACE = 10.0  # seconds for requests in flight when the proxy stops

T = TypeVar("T")


class Certificates(Protocol):
    """A server certificate for every name a client may ask for."""

    def context(self, server_name: str | None) -> ssl.SSLContext: ...


class PortTakenError(AddressInUseError):
    """Somebody else listens there; the message says who, where that can be known."""

    def __init__(self, port: int, holder: str) -> None:
        by = f" by {holder}" if holder else ""
        super().__init__(f"port {port} is in use{by}: stop that, or choose another port")
        self.port = port
        self.holder = holder


class Proxy:
    """All listeners and connections. Start and stop it in the same task (`async with`)."""

    def __init__(  # noqa: PLR0913 - what the composition root wires up, once
        self,
        router: Router,
        certificates: Certificates,
        addresses: Addresses,
        clock: Clock,
        *,
        limits: LoadBalancer | None = None,
        log: AccessLog | None = None,
        grace: float = GRACE,
    ) -> None:
        self.log = log or AccessLog()
        self.doors = ServiceDoors(addresses.host, self._through_door)
        self.https_port = addresses.https_port
        self.http_port = addresses.http_port
        self._host = addresses.host
        self._router = router
        self._certified: frozenset[str] = frozenset()  # names whose certificates were made ahead
        self._certificates = certificates
        self._group = asyncio.TaskGroup()
        self._floor = Floor(
            group=self._group, answers=Answers(clock), limits=limits or LoadBalancer()
        )
        self._forwarder = Forwarder(router, clock, self.log, self._floor)
        self._clock = clock
        self._servers: list[asyncio.Server | TlsDoor] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._grace = grace
        self._running = False

    async def start(self) -> None:
        """Listen; afterwards `https_port` and `http_port` are the real ones.

        Raises PortTakenError.
        """
        await self._group.__aenter__()
        self._running = True
        try:
            await self._listen()
        except BaseException:
            await self.stop(0)
            raise
        self._tick_later()

    async def stop(self, grace: float | None = None) -> None:
        """No new requests; those in flight have `grace` seconds. A second call does nothing."""
        self._close_listeners()
        self._floor.draining = True
        for connection in list(self._floor.connections):
            connection.stop_if_idle()
        await self._until_empty(self._grace if grace is None else grace)
        for connection in list(self._floor.connections):
            connection.cancel()
        self._forwarder.close()
        if self._running:
            self._running = False
            await self._group.__aexit__(None, None, None)
            await self._flush()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def warm_up(self) -> None:
        """Read what a start can do without, beside the event loop; it is read when needed, else."""
        await asyncio.to_thread(_read_modules)

    def metrics(self, name_of: Callable[[ServiceId], str]) -> bytes:
        """For Prometheus, in its text format; `name_of` says how a service is called."""
        from emulator.surfaces.proxy.metrics import Metrics  # noqa: PLC0415 - see _read_modules

        return Metrics(self._router, self._floor, self.log, name_of).render()

    @property
    def connections(self) -> int:
        """From clients, open now."""
        return len(self._floor.connections)

    @property
    def under_way(self) -> int:
        """Requests that are with an instance and need no task."""
        return len(self._forwarder.short_way)

    async def _listen(self) -> None:
        https = TlsDoor(self._floor, self._clock, self._tls(), self._over_tls)
        await self._bind(self.https_port, https.listen(self._host, self.https_port))
        self._servers.append(https)
        self.https_port = bound_port(https)
        redirect = Redirect(self.https_port)
        http = await self._bind(
            self.http_port,
            asyncio.get_running_loop().create_server(
                lambda: ClientConnection(self._floor, redirect.handle, scheme="http"),
                self._host,
                self.http_port,
                backlog=BACKLOG,
            ),
        )
        self._servers.append(http)
        self.http_port = bound_port(http)

    async def _bind(self, port: int, binding: Awaitable[T]) -> T:
        try:
            return await binding
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            holder = await asyncio.to_thread(holder_of, port)
            raise PortTakenError(port, holder) from None

    def _tls(self) -> ssl.SSLContext:
        context = self._certificates.context(None)
        context.sni_callback = self._choose_certificate
        return context

    def _choose_certificate(
        self, connection: ssl.SSLObject, server_name: str | None, _: ssl.SSLContext
    ) -> None:
        if server_name:
            connection.context = self._certificates.context(server_name)

    def _over_tls(self, handshake: Handshake) -> Negotiated:
        forwarder = self._forwarder
        return Negotiated(
            self._floor, forwarder.handle, forwarder.short_way.for_client, handshake.done
        )

    def _through_door(self, service: ServiceId) -> ClientConnection:
        forwarder = self._forwarder
        return ClientConnection(
            self._floor,
            forwarder.handle,
            scheme="http",
            service=service,
            short_way=forwarder.short_way.for_client,
        )

    def _close_listeners(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self.doors.close_all()
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _until_empty(self, grace: float) -> None:
        try:
            async with asyncio.timeout(grace):
                await self._floor.empty()
        except TimeoutError:
            return

    def _tick_later(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._floor.tick(asyncio.get_running_loop().time())
        self._look_for_descriptors()
        if self._flushing is None or self._flushing.done():
            self._flushing = self._group.create_task(self._flush())
        new, self._certified = self._router.hosts - self._certified, self._router.hosts
        if new:
            self._group.create_task(self._certify(new))
        self._tick_later()

    def _look_for_descriptors(self) -> None:
        """The event loop closes what it has none for, and says nothing of it."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno in OUT_OF_DESCRIPTORS:
                self._floor.out_of_descriptors()

    async def _flush(self) -> None:
        """A disk that is full costs lines of the access log, nothing else."""
        try:
            await self.log.flush(lambda: self._clock.sleep(0))
        except OSError as error:
            self._floor.complain(f"the access log cannot be written: {error.strerror}")

    async def _certify(self, names: frozenset[str]) -> None:
        """Ahead of the first handshake, which happens on the event loop. One that cannot be made
        now (no descriptor is left) is made there: that must not end the load balancer.
        """
        for name in names:
            try:
                await asyncio.to_thread(self._certificates.context, name)
            except (OSError, StoreError) as error:
                self._floor.complain(f"no certificate could be made ahead: {error}")


def _read_modules() -> None:
    """A quarter of a second's worth."""
    for name in ("http2", "metrics"):
        importlib.import_module(f"emulator.surfaces.proxy.{name}")
