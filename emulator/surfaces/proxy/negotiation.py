"""TLS connections that have yet to become what the client chose (ALPN): HTTP/1 or HTTP/2.

HTTP/2's modules are not needed to start; `Proxy.warm_up` reads them in a thread right after it.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from emulator.surfaces.proxy.client import ClientConnection, Way
from emulator.surfaces.proxy.floor import Floor, Handler

ALPN = "h2"


class Transport(Protocol):
    """What a TLS transport has beside asyncio's own."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...


class Negotiated(asyncio.Protocol):
    """Hands its transport to the protocol that was chosen; `begun` is called just before."""

    def __init__(
        self, floor: Floor, handler: Handler, short_way: Way, begun: Callable[[], None]
    ) -> None:
        self._floor = floor
        self._handler = handler
        self._short_way = short_way
        self._begun = begun

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._begun()
        tls = transport.get_extra_info("ssl_object")
        chosen: asyncio.Protocol
        if tls is not None and tls.selected_alpn_protocol() == ALPN:
            from emulator.surfaces.proxy.http2 import Http2Connection  # noqa: PLC0415 - see above

            chosen = Http2Connection(self._floor, self._handler)
        else:
            chosen = ClientConnection(
                self._floor, self._handler, scheme="https", short_way=self._short_way
            )
        cast(Transport, transport).set_protocol(_Decrypted(chosen))
        chosen.connection_made(transport)


class _Decrypted(asyncio.BufferedProtocol):
    """Has what comes read into one buffer for all: uvloop makes one of 256 KiB for each reading
    where there is none. It is read and handed on without anything in between.
    """

    _shared = memoryview(bytearray(2**18))  # a slice of it is no copy: asyncio counts on that

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - what is left comes next
        return self._shared

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(bytes(self._shared[:nbytes]))
