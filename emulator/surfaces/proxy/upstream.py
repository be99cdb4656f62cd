"""Connections to instances: one request at a time on each, kept for the next for a second.

A kept connection may be closed by the instance in the very moment it is used. Three things keep
that from ever being a client's trouble: connections idle for longer than application servers'
shortest keep-alive are not used, an end that has been seen is believed, and the error that is
left says that the request may be sent again.
"""

import asyncio
import errno
import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol

from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.http_parser import HttpResponseParser, RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from emulator.controllers.balancer import Balancer, Lease
from emulator.model.identifiers import InstanceId, ServiceId
from emulator.model.instance import Endpoint
from emulator.surfaces.proxy.errors import (
    CONNECTION_FAILURE,
    CONNECTION_TERMINATION,
    PROTOCOL_ERROR,
    UpstreamError,
)
from emulator.surfaces.proxy.framing import WITHOUT_BODY
from emulator.surfaces.proxy.gate import END_OF_HEAD
from emulator.surfaces.proxy.stream import BODY_BUFFER, Stream, tcp_info

IDLE_LIMIT = 1.0  # seconds; gunicorn's keep-alive, the shortest in wide use, is 2
POOL_LIMIT = 256  # idle connections per instance
DIAL_TIMEOUT = 5.0  # seconds, as Envoy's
HEADER_BYTES = 61_440  # of one header of an answer; with the next, as Envoy's
HEADERS = 100

OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})

_TCP_INFO = struct.Struct("=120xQ")  # of struct tcp_info, up to tcpi_bytes_acked
_SWITCHING = 101
_FINAL = 200

Response = tuple[RawResponseMessage, StreamReader]


class Listener(Protocol):
    """Who hears of an answer without waiting for it."""

    def received(self, data: bytes) -> None: ...
    def failed(self, error: Exception) -> None: ...


class UpstreamConnection(Stream):
    """An HTTP/1.1 client over one connection."""

    __slots__ = (
        "_answered",
        "_begun_at",
        "_body",
        "_chunked",
        "_early",
        "_for_head",
        "_gone",
        "_may_switch",
        "_response",
        "_responses",
        "_sink",
        "endpoint",
        "idle_since",
        "quick",
        "reused",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint) -> None:
        super().__init__(loop)
        self.endpoint = endpoint
        self.idle_since = 0.0
        self.quick: Listener | None = None  # an exchange without a task
        self.reused = False
        self._response: asyncio.Future[Response] | None = None
        self._body: StreamReader = EMPTY_PAYLOAD
        self._answered = False  # bytes came since the request was sent
        self._begun_at = 0  # bytes that were written before the request
        self._for_head = False
        self._chunked = False  # a parser takes a trailer for the next answer's header
        self._may_switch = False
        self._early = b""  # bytes of another protocol that came with the answer
        self._sink: Callable[[bytes], None] | None = None
        self._gone: asyncio.Future[None] | None = None
        self._responses = self._new_parser()

    def send(
        self, data: bytes, *, for_head: bool, upgrade: bool = False
    ) -> "asyncio.Future[Response]":
        """Send a request's head (and what there is of its body); the response's head follows.

        `upgrade`: the answer may be 101.
        """
        self._prepare(for_head=for_head)
        self._may_switch = upgrade
        response = self.expect()
        if self.open:
            self.write(data)
        else:
            self.fail(self._ended())
        return response

    def begin(self, quick: "Listener", data: bytes) -> float:
        """Send a whole request whose answer `quick` hears of; returns the loop's time."""
        self._prepare(for_head=False)
        self.quick = quick
        self.write(data)
        return self._loop.time()

    def now(self) -> float:
        return self._loop.time()

    def expect(self) -> "asyncio.Future[Response]":
        """The answer to what was sent, from here on."""
        self.quick = None
        self._response = self._loop.create_future()
        return self._response

    def _prepare(self, *, for_head: bool) -> None:
        if for_head or self._for_head or self._chunked:
            self._for_head = for_head
            self._chunked = False
            self._responses = self._new_parser()
        self._answered = False
        self._begun_at = self.written
        self._may_switch = False
        self._body = EMPTY_PAYLOAD
        self._response = None

    def fail(self, error: Exception) -> None:
        """End the exchange: what is waited for fails, the connection is gone."""
        if self._response is not None and not self._response.done():
            self._response.set_exception(error)
        elif not self._body.is_eof():
            self._body.set_exception(error)
        self.abort()

    def give_up(self) -> None:
        """Nobody wants the answer any longer."""
        self.quick = None
        if self._response is not None and not self._response.cancel():
            self._response.exception()  # seen
        self.abort()

    def thawed(self, thaw: "asyncio.Future[None]") -> None:
        """A request that was sent ahead to a frozen instance fails when it cannot be thawed."""
        if thaw.cancelled() or thaw.exception() is not None:
            self.fail(UpstreamError(CONNECTION_FAILURE, safe=not self._answered))

    def tunnel(self, sink: Callable[[bytes], None]) -> None:
        """From now on, what comes is for `sink`: the connection speaks another protocol."""
        early, self._early = self._early, b""
        self._sink = sink
        if early:
            sink(early)

    async def gone(self) -> None:
        """Wait for the connection's end."""
        if self.transport is not None:
            self._gone = self._loop.create_future()
            await self._gone

    def data_received(self, data: bytes) -> None:
        if self.quick is not None:
            self.quick.received(data)
            return
        if self._sink is not None:
            self._sink(data)
            return
        if self._response is None or (self._response.done() and self._body.is_eof()):
            if self._may_switch and self._response is not None:
                self._early += data  # the other protocol's, sooner than anybody listens
            else:
                self.abort()  # nobody asked: whatever that is, no request may follow it
            return
        began = not self._answered
        self._answered = True
        try:
            messages, _, rest = self._responses.feed_data(data)
        except BadHttpMessage:
            if not (began and self._take_with_surplus(data)):
                self.fail(UpstreamError(PROTOCOL_ERROR))
            return
        for message, body in messages:
            self._take(message, body)
        self._early += rest

    def _take(self, message: RawResponseMessage, body: StreamReader) -> None:
        switching = message.code == _SWITCHING
        if message.code < _FINAL and not switching:  # interim answers
            return
        late = self._response is None or self._response.done()
        if late or (switching and not self._may_switch):
            self.fail(UpstreamError(PROTOCOL_ERROR))
            return
        assert self._response is not None  # noqa: S101 - for mypy: it is not late
        self._may_switch = switching
        self._body = body
        self._chunked = message.chunked
        self._response.set_result((message, body))

    def _take_with_surplus(self, data: bytes) -> bool:
        """An answer with more behind it than it said: it counts, the rest ends the connection."""
        end = data.find(END_OF_HEAD) + len(END_OF_HEAD)
        self._responses = self._new_parser()
        try:
            ((message, body),), _, _ = self._responses.feed_data(data[:end])
        except (BadHttpMessage, ValueError):
            return False
        length = message.headers.get("Content-Length", "")
        if not body.is_eof():
            if not length.isdigit() or len(data) - end < int(length):
                return False
            self._responses.feed_data(data[end : end + int(length)])
        elif not self._for_head and message.code not in WITHOUT_BODY and length != "0":
            return False
        self._take(message, body)
        self.abort()
        return True

    def eof_received(self) -> bool:
        """The instance has said all it will say: a body without a length ends here."""
        self._finish()
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        self._finish()  # first: it looks at the socket
        super().connection_lost(exc)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _finish(self) -> None:
        if self.quick is not None:
            self.quick.failed(self._ended())
        if self._response is None:
            return
        if not self._response.done():
            self._response.set_exception(self._ended())
        elif not self._body.is_eof() and self._body.exception() is None:
            try:
                self._responses.feed_eof()
            except BadHttpMessage:
                self._body.set_exception(UpstreamError(CONNECTION_TERMINATION))

    def _ended(self) -> UpstreamError:
        silent = not self._answered
        safe = silent and self.reused and self._nothing_arrived()
        return UpstreamError(CONNECTION_TERMINATION, safe=safe, silent=silent)

    def _nothing_arrived(self) -> bool:
        """Whether the instance hung up before a byte of the request reached its machine.

        What its kernel has not acknowledged by then, nobody there can have read. Where that
        cannot be known, it may have.
        """
        transport = self.transport
        if self.written == self._begun_at:
            return True
        acknowledged = None if transport is None else _acknowledged(transport)
        # The kernel counts the SYN, too; a request is acknowledged in larger pieces than that.
        return acknowledged is not None and acknowledged <= self._begun_at + 1

    def _new_parser(self) -> HttpResponseParser:
        return HttpResponseParser(
            self,
            self._loop,
            BODY_BUFFER,
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
            max_headers=HEADERS,
            response_with_body=not self._for_head,
            read_until_eof=True,
            auto_decompress=False,
        )


def _acknowledged(transport: asyncio.BaseTransport) -> int | None:
    """Bytes that the other side's kernel has taken; None where the system does not say."""
    info = tcp_info(transport, _TCP_INFO.size)
    return None if info is None else int(_TCP_INFO.unpack(info)[0])


class OutOfDescriptorsError(Exception):
    """This process can open no more connections; that is no instance's fault."""


async def dial(lease: Lease) -> UpstreamConnection:
    """A fresh connection. Raises UpstreamError, safe to try elsewhere, and OutOfDescriptorsError."""
    loop = asyncio.get_running_loop()
    endpoint = lease.endpoint
    try:
        async with asyncio.timeout(DIAL_TIMEOUT):
            _, connection = await loop.create_connection(
                lambda: UpstreamConnection(loop, endpoint), endpoint.host, endpoint.port
            )
    except OSError as error:  # a TimeoutError is one, too
        if error.errno in OUT_OF_DESCRIPTORS:
            raise OutOfDescriptorsError from None
        raise UpstreamError(CONNECTION_FAILURE, safe=True) from None
    return connection


class Taken(NamedTuple):
    """An exchange as a client's task takes it over; `started` is the loop's time."""

    service: ServiceId
    balancer: Balancer
    lease: Lease
    connection: UpstreamConnection
    response: "asyncio.Future[Response]"
    body: bytes
    request_id: str
    started: float


class Place(Protocol):
    """An instance, where it can be dialled: a lease or the slot it is of."""

    @property
    def instance(self) -> InstanceId: ...

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def routed(self) -> bool: ...


class Pools:
    """Idle connections per instance, the last one used first."""

    def __init__(self) -> None:
        self._idle: dict[InstanceId, list[UpstreamConnection]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def take(self, to: Place) -> UpstreamConnection | None:
        """One that is as good as fresh, None if there is none."""
        pool = self._idle.get(to.instance)
        if not pool:
            return None
        oldest = pool[-1].now() - IDLE_LIMIT
        endpoint = to.endpoint
        while pool:
            connection = pool.pop()
            there = connection.endpoint is endpoint or connection.endpoint == endpoint
            if there and connection.idle_since > oldest and connection.open:
                connection.reused = True
                return connection
            connection.close()
        return None

    def put(self, to: Place, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange is complete, unless nothing will go there again."""
        pool = self._idle.get(to.instance)
        if pool is None:
            pool = self._idle[to.instance] = []
        if not to.routed or not connection.open or len(pool) >= POOL_LIMIT:
            connection.close()
            return
        connection.idle_since = connection.now()
        pool.append(connection)
        if self._sweep is None:
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_later(IDLE_LIMIT, self.sweep)

    def sweep(self) -> None:
        """Close what has been idle for too long: also how drained instances are let go."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - IDLE_LIMIT
        for instance, pool in list(self._idle.items()):
            for connection in [c for c in pool if c.idle_since <= oldest or not c.open]:
                pool.remove(connection)
                connection.close()
            if not pool:
                del self._idle[instance]
        self._sweep = loop.call_later(IDLE_LIMIT, self.sweep) if self._idle else None

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for pool in self._idle.values():
            for connection in pool:
                connection.close()
        self._idle.clear()

    def __len__(self) -> int:
        return sum(map(len, self._idle.values()))
