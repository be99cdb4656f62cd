"""HTTP/1 connections from clients: requests in, one after the other, each handed to a handler.

One task per connection, none per request. What is a request, `requests` and `gate` say.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from aiohttp.http_parser import RawRequestMessage, RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from emulator.model.identifiers import ServiceId
from emulator.surfaces.proxy.errors import PROTOCOL_ERROR, Local, RequestBodyError, UpstreamError
from emulator.surfaces.proxy.floor import Floor, Handler, Pace
from emulator.surfaces.proxy.framing import (
    LAST_CHUNK,
    WITHOUT_BODY,
    chunk,
    forwarded,
    response_headers,
    status_line,
)
from emulator.surfaces.proxy.gate import Flaw, response_is_sound
from emulator.surfaces.proxy.requests import RequestReader
from emulator.surfaces.proxy.stream import BODY_BUFFER, Stream
from emulator.surfaces.proxy.upstream import Response, Taken

PIPELINE_LIMIT = 8  # requests read ahead of the one that is being answered
LINGER = 2.0  # seconds for which the rest of an unwanted body is taken, so that the answer arrives
_HTTP_1_0 = (1, 0)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_log = logging.getLogger(__name__)


class ShortWay(Protocol):
    """Answers a connection's requests without its task, where that can be (`quick.py`)."""

    def known(self, data: bytes) -> bool:
        """Send the request that `data` is, if its headers came before and it can be sent now."""
        ...

    def begin(self, data: bytes, message: RawRequestMessage, body: StreamReader) -> bool:
        """Send a request that is here as a whole, if that can be done now; `data` are its bytes."""
        ...

    def abandon(self) -> None:
        """The client has gone while its request was under way."""
        ...


Way = Callable[["ClientConnection"], ShortWay]


class ClientConnection(Stream):
    """An HTTP/1.x server over one connection; it implements `Requester`.

    `service` is set on a service's own port, None where the Host header decides.
    """

    __slots__ = (
        "_arrival",
        "_broken",
        "_ended",
        "_floor",
        "_forwarded",
        "_frame",
        "_handler",
        "_head",
        "_pace",
        "_requests",
        "_short_way",
        "_taken",
        "_task",
        "_timeout",
        "_tunnel",
        "_under_way",
        "body_wanted",
        "idle_since",
        "peer",
        "scheme",
        "service",
    )

    def __init__(
        self,
        floor: Floor,
        handler: Handler,
        *,
        scheme: str,
        service: ServiceId | None = None,
        short_way: "Way | None" = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop)
        self.scheme = scheme
        self.service = service
        self.peer = ""
        self.idle_since: float | None = loop.time()
        self.body_wanted = False
        self._floor = floor
        self._handler = handler
        self._requests = RequestReader(self, loop, floor.limits)
        self._arrival: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._broken: Flaw | None = None
        self._tunnel: Callable[[bytes], None] | None = None
        self._forwarded = b""
        self._timeout = -1.0
        self._short_way = None if short_way is None else short_way(self)
        self._under_way = False  # a request has neither its answer nor the task
        self._taken: Taken | None = None
        self._task: asyncio.Task[None] | None = None
        self._pace = Pace(floor.limits)
        # The answer that is being written.
        self._head = b""
        self._frame: Callable[[bytes], bytes] | None = None

    # What the handlers use.

    @property
    def draining(self) -> bool:
        return self._floor.draining

    def spawn(self, work: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
        return self._floor.group.create_task(guarded(work))

    def forwarded(self, timeout: float) -> bytes:
        if timeout != self._timeout:
            self._forwarded = forwarded(peer=self.peer, scheme=self.scheme, timeout=timeout)
            self._timeout = timeout
        return self._forwarded

    def taken_over(self) -> Taken | None:
        taken, self._taken = self._taken, None
        return taken

    def take_over(self, message: RawRequestMessage, taken: Taken) -> None:
        """The task goes on with a request that was under way without it."""
        self._under_way = False
        self._taken = taken
        self._requests.arrived.appendleft((message, EMPTY_PAYLOAD))
        self._wake()

    def finished(self) -> None:
        """The request that was under way without the task has its answer."""
        self._under_way = False
        if self._requests.arrived or self._broken is not None or self._floor.draining:
            self._wake()
        else:
            self.idle_since = self._loop.time()

    def go_on(self) -> None:
        self.write(_CONTINUE)

    def answer(self, answer: Local, *, head_only: bool, keep: bool) -> None:
        self.write(self._floor.answers.whole(answer, head_only=head_only, close=not keep))

    def begin(
        self,
        response: Response,
        request: RawRequestMessage,
        *,
        keep: bool,
        elapsed: float,
        timing: str = "",
    ) -> bool:
        message, _ = response
        if not response_is_sound(message):
            raise UpstreamError(PROTOCOL_ERROR)
        framing, self._frame, delimited = _framing(message, request)
        keep = keep and delimited
        persistence = b""
        if not keep:
            persistence = b"connection: close\r\n"
        elif request.version == _HTTP_1_0:
            persistence = b"connection: keep-alive\r\n"
        date = b"" if "Date" in message.headers else b"date: %b\r\n" % self._floor.answers.date()
        shown = f"server-timing: {timing}\r\n".encode() if timing else b""
        self._head = b"%b%b%b%b%b%bx-envoy-upstream-service-time: %d\r\n\r\n" % (
            status_line(message),
            response_headers(message),
            date,
            framing,
            persistence,
            shown,
            elapsed * 1000,
        )
        return keep

    def send(self, data: bytes) -> None:
        if data and self._frame is not None:
            data = self._frame(data)
        self.write(self._head + data if self._head else data)
        self._head = b""

    def end(self, data: bytes = b"") -> None:
        if self._frame is not None:
            data = (self._frame(data) if data else b"") + LAST_CHUNK
        if self._head or data:
            self.write(self._head + data)
        self._head = b""

    def tunnel(self, sink: Callable[[bytes], None]) -> None:
        """From now on, what comes is for `sink`: the connection speaks another protocol."""
        early, self._requests.early = self._requests.early, b""
        self._tunnel = sink
        if early:
            sink(early)
        super().resume_reading()

    # What the floor asks.

    def stop_if_idle(self) -> None:
        """End a connection that waits for a request; another one ends with its answer."""
        if self.idle_since is not None:
            self.close()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self.abort()

    def tick(self, now: float) -> None:
        limits = self._floor.limits
        if self.idle_since is not None and self._broken is None:
            if self._requests.within_head:
                if now - self._requests.head_since > limits.header_timeout:
                    reason = f"the head took longer than {limits.header_timeout:g} seconds"
                    self._too_slow(Flaw(reason, status=408))
            elif now - self.idle_since > limits.idle_timeout:
                self.close()
            return
        if self._tunnel is None and self.hung_up:
            self.abort()
            return
        buffered = self._unsent()
        reading = self.body_wanted and not self._reading_paused and not self._requests.body.is_eof()
        moved = self._requests.received + self.written - buffered
        if self._tunnel is None and self._pace.too_slow(
            now, moved, expected=reading or buffered > 0
        ):
            reason = (
                f"less than {limits.minimum_rate} bytes per second came "
                f"in {limits.rate_grace:g} seconds"
            )
            self._too_slow(Flaw(reason, status=408))

    def _unsent(self) -> int:
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def _too_slow(self, flaw: Flaw) -> None:
        self._floor.too_slow += 1
        if self._unsent():  # it does not read: an answer would never arrive
            self.abort()
        else:
            self._break(flaw)

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        if not self._floor.admit(self):
            self.abort()
            return
        self._task = self._floor.group.create_task(self._serve())

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._floor.leave(self)
        # Handed to the task, but not yet taken by it: the task will never run for it.
        if (self._under_way or self._taken is not None) and self._short_way is not None:
            self._under_way = False
            self._taken = None
            self._short_way.abandon()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        if self._task is not None:
            self._task.cancel()  # also what is done for a client that has gone

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel(data)
            return
        if self._broken is not None:
            return
        short = self._short_way if self._free() else None
        if short is not None and short.known(data):
            self._set_off()
            return
        try:
            self._requests.feed(data)
        except Flaw as flaw:
            self._break(flaw)
        if self._requests.arrived:
            if short is not None and self._went(short, data):
                return
            self._wake()
        if not self._may_read():
            self.pause_reading()

    def _free(self) -> bool:
        """Whether the next request may go without the task."""
        return (
            not (self.idle_since is None or self._paused or self._floor.draining)
            and self._requests.between
        )

    def _went(self, short: ShortWay, data: bytes) -> bool:
        """Whether what has arrived, and nothing else, could be sent at once."""
        requests = self._requests
        message, body = requests.arrived[0]
        if len(requests.arrived) > 1 or not body.is_eof() or self._broken is not None:
            return False
        if requests.within_head or requests.switched or not short.begin(data, message, body):
            return False
        requests.arrived.clear()
        self._set_off()
        return True

    def _set_off(self) -> None:
        self._under_way = True
        self.idle_since = None

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002
        if self._may_read():
            super().resume_reading(resume_parser)

    def _may_read(self) -> bool:
        requests = self._requests
        return len(requests.arrived) <= PIPELINE_LIMIT and len(requests.early) <= BODY_BUFFER

    def _break(self, flaw: Flaw) -> None:
        """Nothing more is read; what was asked before is answered."""
        self._broken = flaw
        if not self._requests.body.is_eof():
            self._requests.body.set_exception(RequestBodyError(flaw.reason, status=flaw.status))
        self._wake()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    # One request after the other.

    async def _serve(self) -> None:
        try:
            while await self._arrived():
                message, body = self._requests.arrived.popleft()
                self.resume_reading()
                if not await self._answer(message, body):
                    break
        finally:
            self.close()

    async def _arrived(self) -> bool:
        """Wait for a request; False when there will be none."""
        while self._under_way or not (self._requests.arrived or self._broken):
            if not self._under_way:
                if self._floor.draining:
                    return False
                self.idle_since = self._loop.time()
            self._arrival = self._loop.create_future()
            await self._arrival
        self.idle_since = None
        if self._requests.arrived:
            return True
        if self._broken is not None:
            self._floor.malformed += 1
            local = Local(self._broken.status, reason=self._broken.reason)
            self.answer(local, head_only=False, keep=False)
            await self._linger()
        return False

    async def _answer(self, message: RawRequestMessage, body: StreamReader) -> bool:
        try:
            keep = await self._handler(self, message, body)
            await self.drain()  # who does not read gets no more answers
        except Exception:  # noqa: BLE001 - a bug may end this connection, never the whole proxy
            _log.exception("a request could not be handled: %s %s", message.method, message.path)
            self.abort()
            return False
        if self._requests.switched:
            return False
        keep = (body.is_eof() or await self._discard(body)) and keep
        if not keep and self._broken is not None:
            await self._linger()
        return keep

    async def _discard(self, body: StreamReader) -> bool:
        """Take the rest of a body that nobody wants; False if it does not end soon."""
        try:
            async with asyncio.timeout(LINGER):
                while await body.readany():
                    pass
        except (TimeoutError, RequestBodyError):
            return False
        return True

    async def _linger(self) -> None:
        """Let the answer arrive: closing with something unread in the socket would take it back."""
        if self.transport is None or self.transport.is_closing():
            return
        super().resume_reading()
        with suppress(OSError, NotImplementedError, RuntimeError):
            if self.transport.can_write_eof():
                self.transport.write_eof()
        self._ended = self._loop.create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                await self._ended


async def guarded(work: Callable[[], Awaitable[None]]) -> None:
    """A request's companion: its mistakes end nothing but itself."""
    try:
        await work()
    except Exception:  # noqa: BLE001 - as above
        _log.exception("a request's companion failed")


def _framing(
    message: RawResponseMessage, request: RawRequestMessage
) -> tuple[bytes, Callable[[bytes], bytes] | None, bool]:
    """The header that says where the body ends, how its parts are framed, and whether it ends
    before the connection does.
    """
    bodiless = request.method == "HEAD" or message.code in WITHOUT_BODY
    if bodiless or ("Content-Length" in message.headers and not message.chunked):
        return b"", None, True
    if request.version > _HTTP_1_0:
        return b"transfer-encoding: chunked\r\n", chunk, True
    return b"", None, False  # HTTP/1.0 knows no other end than the connection's
