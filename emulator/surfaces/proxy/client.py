"""Connections from clients: requests in, one after the other, each handed to a handler.

One task per connection, none per request. Parsing, limits and the refusal of malformed requests
are llhttp's, through aiohttp's parser.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from emulator.model.identifiers import ServiceId
from emulator.surfaces.proxy.errors import Answers, RequestBodyError
from emulator.surfaces.proxy.framing import request_headers
from emulator.surfaces.proxy.stream import BODY_BUFFER, HEAD_LINE, Stream

PIPELINE_LIMIT = 8  # requests read ahead of the one that is being answered
LINGER = 2.0  # seconds for which the rest of an unwanted body is taken, so that the answer arrives

_log = logging.getLogger(__name__)

# Answers one request on a connection; False: the connection ends with it.
Handler = Callable[["ClientConnection", RawRequestMessage, StreamReader], Awaitable[bool]]


@dataclass(slots=True, kw_only=True)
class Floor:
    """What all client connections of a proxy share."""

    group: asyncio.TaskGroup
    answers: Answers
    connections: set["ClientConnection"] = field(default_factory=set)
    draining: bool = False
    _emptied: asyncio.Event = field(default_factory=asyncio.Event)

    def enter(self, connection: "ClientConnection") -> None:
        self.connections.add(connection)
        self._emptied.clear()

    def leave(self, connection: "ClientConnection") -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._emptied.set()

    async def empty(self) -> None:
        """Wait until every client has gone."""
        if self.connections:
            await self._emptied.wait()


class ClientConnection(Stream):
    """An HTTP/1.x server over one connection.

    `service` is set on a service's own port, None where the Host header decides.
    """

    __slots__ = (
        "_arrival",
        "_backlog",
        "_body",
        "_broken",
        "_floor",
        "_handler",
        "_memo",
        "_memo_key",
        "_requests",
        "_switched",
        "_task",
        "idle_since",
        "peer",
        "scheme",
        "service",
    )

    def __init__(
        self, floor: Floor, handler: Handler, *, scheme: str, service: ServiceId | None = None
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop)
        self.scheme = scheme
        self.service = service
        self.peer = ""
        self.idle_since: float | None = loop.time()
        self._floor = floor
        self._handler = handler
        self._backlog: deque[tuple[RawRequestMessage, StreamReader]] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._body: StreamReader = EMPTY_PAYLOAD
        self._broken: BadHttpMessage | None = None
        self._switched = False
        self._memo = b""
        self._memo_key: tuple[object, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self._requests = HttpRequestParser(
            self,
            loop,
            BODY_BUFFER,
            max_line_size=HEAD_LINE,
            max_field_size=HEAD_LINE,
            auto_decompress=False,
        )

    # What the handlers use.

    @property
    def answers(self) -> Answers:
        return self._floor.answers

    @property
    def draining(self) -> bool:
        return self._floor.draining

    def spawn(self, work: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
        """Run something beside the handler; the handler ends it."""
        return self._floor.group.create_task(_run(work))

    def headers_for_instance(self, message: RawRequestMessage, timeout: float) -> bytes:
        """The request's headers; a client's requests are mostly alike, so the last are kept."""
        key = (timeout, message.raw_headers)
        if self._memo_key != key:
            self._memo = request_headers(
                message, peer=self.peer, scheme=self.scheme, timeout=timeout
            )
            self._memo_key = key
        return self._memo

    def stop_if_idle(self) -> None:
        """End a connection that waits for a request; another one ends with its answer."""
        if self.idle_since is not None:
            self.close()

    def cancel(self) -> None:
        """End it at once, whatever it does."""
        if self._task is not None:
            self._task.cancel()
        self.abort()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._floor.draining:  # its TLS handshake had begun before
            self.abort()
            return
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        self._floor.enter(self)
        self._task = self._floor.group.create_task(self._serve())

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._floor.leave(self)
        if self._task is not None:
            self._task.cancel()  # also what is done for a client that has gone

    def data_received(self, data: bytes) -> None:
        if self._broken is not None or self._switched:
            return
        try:
            messages, self._switched, _ = self._requests.feed_data(data)
        except BadHttpMessage as error:
            self._break(error)
            return
        if messages:
            self._backlog.extend(messages)
            self._body = messages[-1][1]
            self._wake()
            if len(self._backlog) > PIPELINE_LIMIT:
                self.pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002
        if len(self._backlog) <= PIPELINE_LIMIT:
            super().resume_reading(resume_parser)

    def _break(self, error: BadHttpMessage) -> None:
        self._broken = error
        if not self._body.is_eof():
            self._body.set_exception(RequestBodyError(str(error)))
        self._wake()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    # One request after the other.

    async def _serve(self) -> None:
        try:
            while await self._arrived():
                message, body = self._backlog.popleft()
                self.resume_reading()
                if not await self._answer(message, body):
                    break
        finally:
            self.close()

    async def _arrived(self) -> bool:
        """Wait for a request; False when there will be none."""
        if not self._backlog and self._broken is None:
            if self._floor.draining:
                return False
            self.idle_since = self._loop.time()
            self._arrival = self._loop.create_future()
            await self._arrival
        self.idle_since = None
        if self._backlog:
            return True
        status = 431 if isinstance(self._broken, LineTooLong) else 400
        self.write(self.answers.local(status, close=True))
        return False

    async def _answer(self, message: RawRequestMessage, body: StreamReader) -> bool:
        try:
            keep = await self._handler(self, message, body)
        except Exception:  # noqa: BLE001 - a bug may end this connection, never the whole proxy
            _log.exception("a request could not be handled: %s %s", message.method, message.path)
            self.abort()
            return False
        return (body.is_eof() or await self._discard(body)) and keep and not self._switched

    async def _discard(self, body: StreamReader) -> bool:
        """Take the rest of a body that nobody wants; False if it does not end soon."""
        try:
            async with asyncio.timeout(LINGER):
                while await body.readany():
                    pass
        except (TimeoutError, RequestBodyError):
            return False
        return True


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception:  # noqa: BLE001 - as above
        _log.exception("a request's companion failed")
