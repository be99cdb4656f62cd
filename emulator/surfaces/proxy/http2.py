"""HTTP/2 connections from clients, by the library h2; to instances every request is HTTP/1.1.

One task per request: a browser asks for many things at once. Flow control holds in both
directions for each stream. Against clients that would keep us busy with nothing (rapid reset,
floods of control frames, header bombs, more streams than allowed) stand h2's own limits and two
budgets; whoever overdraws one is sent away with ENHANCE_YOUR_CALM.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import cast

from aiohttp import HttpVersion11
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    UnknownFrameReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from emulator.model.identifiers import ServiceId
from emulator.surfaces.proxy.client import guarded
from emulator.surfaces.proxy.errors import PROTOCOL_ERROR, SERVER, Local, UpstreamError
from emulator.surfaces.proxy.floor import Floor, Handler, Pace
from emulator.surfaces.proxy.framing import WITHOUT_BODY, forwarded, left_out
from emulator.surfaces.proxy.gate import Flaw, check_request, is_value, response_is_sound
from emulator.surfaces.proxy.stream import BODY_BUFFER
from emulator.surfaces.proxy.upstream import Response

STREAM_WINDOW = 2**16 - 1  # bytes a client may send ahead on one stream
UNSENT = 2**16  # bytes of an answer that wait for the client before the instance is held back
CONTROL_FRAMES = (1000, 100)  # at once, and more per second, that ask nothing of an instance
RESETS = (200, 20)  # requests taken back by the client, likewise
LINGER = 1.0  # seconds for a client to read why it was sent away

_CREDIT_PER_FRAME = 2  # window updates that a data frame of ours may call for
_MOST_CREDIT = 10_000
_LARGEST_READ = 2**14
_LARGEST_FRAME = 2**14  # bytes of payload; we allow no more than every server must
_FRAME_HEAD = 9
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_PATH = re.compile(r"[\x21-\x22\x24-\x7e]+")
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_CONTROL = (PingReceived, PriorityUpdated, SettingsAcknowledged, UnknownFrameReceived)

_log = logging.getLogger(__name__)

_Fields = list[tuple[bytes, bytes]]


class _Budget:
    """A bucket that refills: so many at once, so many more per second."""

    __slots__ = ("_at", "_left", "_most", "_per_second")

    def __init__(self, limit: tuple[int, int], now: float) -> None:
        self._most, self._per_second = limit
        self._left: float = self._most
        self._at = now

    def spend(self, now: float) -> bool:
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        self._left -= 1
        return self._left >= 0


class _Frames:
    """Follows the client's frames; h2 would wait for the whole of one that is far too long."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._left = len(_PREFACE)
        self._head = b""

    def too_long(self, data: bytes) -> bool:
        at = 0
        while at < len(data):
            if not self._left:
                begun = len(self._head)
                self._head += data[at : at + _FRAME_HEAD - begun]
                at += len(self._head) - begun
                if len(self._head) < _FRAME_HEAD:
                    return False
                self._left = int.from_bytes(self._head[:3], "big")
                self._head = b""
                if self._left > _LARGEST_FRAME:
                    return True
            step = min(self._left, len(data) - at)
            self._left -= step
            at += step
        return False


class Http2Connection(BaseProtocol):
    """A server for one client; it implements `Connection`."""

    __slots__ = (
        "_control",
        "_credit",
        "_floor",
        "_flushing",
        "_frames",
        "_goodbye",
        "_h2",
        "_handler",
        "_idle_since",
        "_resets",
        "_streams",
        "peer",
    )

    def __init__(self, floor: Floor, handler: Handler) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop)
        self.peer = ""
        self._floor = floor
        self._handler = handler
        self._streams: dict[int, Http2Stream] = {}
        self._idle_since: float | None = loop.time()
        self._flushing = False
        self._goodbye = False
        self._frames = _Frames()
        self._credit = 0  # window updates that our data frames have called for
        self._control = _Budget(CONTROL_FRAMES, loop.time())
        self._resets = _Budget(RESETS, loop.time())
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: floor.limits.streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: floor.limits.header_bytes,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
            },
        )
        self._h2.decoder.max_header_list_size = floor.limits.header_bytes

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        if not self._floor.admit(self):
            self._abort()
            return
        self._h2.initiate_connection()
        # One stream that nobody reads must not hold up the others.
        self._h2.increment_flow_control_window(STREAM_WINDOW * self._floor.limits.streams)
        self._flush()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._floor.leave(self)
        for stream in list(self._streams.values()):
            stream.cancel()

    def data_received(self, data: bytes) -> None:
        if self._goodbye:
            return
        if self._frames.too_long(data):
            self._send_away(ErrorCodes.FRAME_SIZE_ERROR, "a frame longer than allowed")
            return
        try:
            for begin in range(0, len(data), _LARGEST_READ):  # a flood is noticed within one read
                for event in self._h2.receive_data(data[begin : begin + _LARGEST_READ]):
                    if not self._take(event):
                        return
        except ProtocolError:
            self._floor.malformed += 1
            self._leave()
        self.flush_later()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        """A client that does not read is not read from: our answers to it would pile up."""
        super().pause_writing()
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
        self._pump()

    # What the floor asks.

    def tick(self, now: float) -> None:
        if self._idle_since is not None:
            if now - self._idle_since > self._floor.limits.idle_timeout:
                self.stop_if_idle()
            return
        for stream in list(self._streams.values()):
            stream.tick(now)

    def stop_if_idle(self) -> None:
        """Tell the client that no more will be answered; it may be here until all others are."""
        self._say_goodbye()
        if not self._streams:
            self._leave()

    def cancel(self) -> None:
        for stream in list(self._streams.values()):
            stream.cancel()
        self._abort()

    # What streams use.

    @property
    def floor(self) -> Floor:
        return self._floor

    @property
    def open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def respond(self, stream: int, fields: _Fields, *, end: bool) -> None:
        if self.open and stream in self._streams and not self._taken_back(stream):
            self._h2.send_headers(stream, fields, end_stream=end)
            self.flush_later()

    def push(self, stream: int, data: bytearray, *, last: bool) -> bool:
        """Send what the client's windows allow, taking it from `data`; whether all is sent."""
        while self.open and not self.writing_paused and not self._taken_back(stream):
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if data and room <= 0:
                return False
            part = bytes(data[:room])
            del data[: len(part)]
            done = last and not data
            if part or done:
                self._h2.send_data(stream, part, end_stream=done)
                self._credit = min(self._credit + _CREDIT_PER_FRAME, _MOST_CREDIT)
            self._flush()
            if not data:
                return True
        return not self.open

    def _taken_back(self, stream: int) -> bool:
        """Also where that is among the events that have yet to be looked at."""
        known = self._h2.streams.get(stream)
        return known is None or known.closed

    def acknowledge(self, stream: int, count: int) -> None:
        if count and self.open:
            self._h2.acknowledge_received_data(count, stream)
            self.flush_later()

    def reset(self, stream: int, code: ErrorCodes) -> None:
        if self.open:
            try:
                self._h2.reset_stream(stream, code)
            except ProtocolError:
                return  # the client was quicker
            self.flush_later()

    def forget(self, stream: int) -> None:
        """It is over; the last one may have been waited for."""
        self._streams.pop(stream, None)
        if self._streams:
            return
        self._idle_since = self._loop.time()
        if self._floor.draining:
            self.stop_if_idle()

    def flush_later(self) -> None:
        """What comes of one turn of the loop is one write."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        data = self._h2.data_to_send()
        if data and self.transport is not None:
            self.transport.write(data)

    def _pump(self) -> None:
        for stream in list(self._streams.values()):
            stream.pump()

    # What the client says.

    def _take(self, event: Event) -> bool:
        """False: the client has been sent away."""
        match event:
            case RequestReceived():
                self._begin(event)
            case DataReceived():
                self._take_data(event)
            case StreamEnded():
                self._take_end(event)
            case StreamReset():
                self._take_reset(event)
            case WindowUpdated() | RemoteSettingsChanged():
                self._take_window()
            case _ if isinstance(event, _CONTROL):
                self._spend(self._control)
            case _:
                pass
        return not self._goodbye

    def _begin(self, event: RequestReceived) -> None:
        number = event.stream_id or 0
        if self._floor.draining:
            self.reset(number, ErrorCodes.REFUSED_STREAM)
            return
        stream = Http2Stream(self, number)
        self._streams[number] = stream
        self._idle_since = None
        try:
            message = _message(event, self._floor)
        except Flaw as flaw:
            self._floor.malformed += 1
            to_head = (b":method", b"HEAD") in (event.headers or ())
            stream.answer(Local(flaw.status, reason=flaw.reason), head_only=to_head, keep=False)
            stream.finished()
            return
        stream.start(self._handler, message)

    def _take_data(self, event: DataReceived) -> None:
        stream = self._streams.get(event.stream_id or 0)
        count = event.flow_controlled_length or 0
        if not event.data and event.stream_ended is None:
            self._spend(self._control)
        if stream is None:
            self.acknowledge(event.stream_id or 0, count)
        else:
            stream.receive(event.data or b"", count)

    def _take_end(self, event: StreamEnded) -> None:
        if stream := self._streams.get(event.stream_id or 0):
            stream.body.feed_eof()

    def _take_reset(self, event: StreamReset) -> None:
        self._spend(self._resets)
        if stream := self._streams.get(event.stream_id or 0):
            stream.cancel()

    def _take_window(self) -> None:
        if self._credit:
            self._credit -= 1
        else:
            self._spend(self._control)
        self._pump()

    def _spend(self, budget: _Budget) -> None:
        if not budget.spend(self._loop.time()) and not self._goodbye:
            self._send_away(ErrorCodes.ENHANCE_YOUR_CALM, "a flood of frames")

    # How it ends.

    def _say_goodbye(self) -> None:
        """`H2Connection.close_connection` would forbid to finish what is under way."""
        if self.open:
            self._flush()
            frame = GoAwayFrame(0, last_stream_id=self._h2.highest_inbound_stream_id)
            cast(asyncio.Transport, self.transport).write(frame.serialize())

    def _send_away(self, code: ErrorCodes, why: str) -> None:
        self._floor.malformed += 1
        self._floor.complain(f"an HTTP/2 client was sent away: {why}")
        self._h2.close_connection(code)
        self._leave()

    def _leave(self) -> None:
        """Nothing more is read or answered; what was written is still sent."""
        self._goodbye = True
        self._flush()
        for stream in list(self._streams.values()):
            stream.cancel()
        if self.transport is not None:
            self.transport.close()
            self._loop.call_later(LINGER, self._abort)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Http2Stream:
    """One request and its answer; it implements `Requester`, and is what its body's reader pauses."""

    __slots__ = (
        "_connection",
        "_ended",
        "_head",
        "_held",
        "_last",
        "_moved",
        "_number",
        "_out",
        "_pace",
        "_reading_paused",
        "_room",
        "_task",
        "_to_head",
        "body",
        "body_wanted",
        "peer",
        "scheme",
        "service",
    )

    def __init__(self, connection: Http2Connection, number: int) -> None:
        self.peer = connection.peer
        self.scheme = "https"
        self.service: ServiceId | None = None
        self.body_wanted = False
        # The reader wants no more of a protocol than that it can be paused.
        self.body = StreamReader(
            cast(BaseProtocol, self), BODY_BUFFER // 4, loop=asyncio.get_running_loop()
        )
        self._connection = connection
        self._number = number
        self._task: asyncio.Task[None] | None = None
        self._reading_paused = False
        self._held = 0  # bytes that are acknowledged when the reader has room again
        self._head: _Fields | None = None
        self._out = bytearray()
        self._last = False  # `_out` is the end of the answer
        self._ended = False
        self._to_head = False
        self._moved = 0
        self._pace = Pace(connection.floor.limits)
        self._room: asyncio.Future[None] | None = None

    @property
    def connected(self) -> bool:
        """What the body's reader asks before it waits."""
        return self._connection.open

    # What the connection tells.

    def start(self, handler: Handler, message: RawRequestMessage) -> None:
        group = self._connection.floor.group
        self._task = group.create_task(self._serve(handler, message))

    async def _serve(self, handler: Handler, message: RawRequestMessage) -> None:
        try:
            await handler(self, message, self.body)
        except Exception:  # noqa: BLE001 - a bug may end this request, never the connection
            _log.exception("a request could not be handled: %s %s", message.method, message.path)
            self.abort()
        finally:
            self._task = None
            self.finished()

    def receive(self, data: bytes, count: int) -> None:
        self._moved += len(data)
        if data and not self.body.is_eof():
            self.body.feed_data(data)
        if self._reading_paused:
            self._held += count
        else:
            self._connection.acknowledge(self._number, count)

    def pause_reading(self) -> None:
        self._reading_paused = True

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002
        self._reading_paused = False
        held, self._held = self._held, 0
        self._connection.acknowledge(self._number, held)

    def pump(self) -> None:
        """Send what there is, as far as the client's windows reach."""
        if self._ended or not (self._out or self._last):
            return
        before = len(self._out)
        sent = self._connection.push(self._number, self._out, last=self._last)
        self._moved += before - len(self._out)
        if len(self._out) <= UNSENT and self._room is not None and not self._room.done():
            self._room.set_result(None)
        if sent and self._last:
            self._ended = True
            self.finished()

    def tick(self, now: float) -> None:
        reading = self.body_wanted and not self._reading_paused and not self.body.is_eof()
        if self._pace.too_slow(now, self._moved, expected=reading or bool(self._out)):
            self._connection.floor.too_slow += 1
            self.cancel()
            self._connection.reset(self._number, ErrorCodes.ENHANCE_YOUR_CALM)

    def cancel(self) -> None:
        """The client has gone, or wants it no more."""
        self._ended = True
        self._out.clear()
        if self._task is not None:
            self._task.cancel()
        self.finished()

    def finished(self) -> None:
        """Forget it once it is answered and nothing is left to send."""
        if self._task is not None or not self._ended:
            return
        if not self.body.is_eof():
            self._connection.reset(self._number, ErrorCodes.NO_ERROR)
        self._connection.forget(self._number)

    # What the handler uses.

    @property
    def draining(self) -> bool:
        return self._connection.floor.draining

    def spawn(self, work: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
        return self._connection.floor.group.create_task(guarded(work))

    def taken_over(self) -> None:
        return None

    def forwarded(self, timeout: float) -> bytes:
        return forwarded(peer=self.peer, scheme=self.scheme, timeout=timeout)

    def go_on(self) -> None:
        self._connection.respond(self._number, [(b":status", b"100")], end=False)

    def answer(self, answer: Local, *, head_only: bool, keep: bool) -> None:  # noqa: ARG002
        fields = [(name.encode(), _bytes(value)) for name, value in answer.fields()]
        fields.append((b"date", self._connection.floor.answers.date()))
        self._head = [(b":status", b"%d" % answer.status), *fields, (b"server", SERVER)]
        self._to_head = head_only
        self.end(answer.content)

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
        leave_out = left_out(message)
        named = [(name.lower(), value.strip(b" \t")) for name, value in message.raw_headers]
        fields = [(name, value) for name, value in named if name not in leave_out]
        if "Date" not in message.headers:
            fields.append((b"date", self._connection.floor.answers.date()))
        fields.append((b"server", SERVER))
        fields.append((b"x-envoy-upstream-service-time", b"%d" % (elapsed * 1000)))
        if timing:
            fields.append((b"server-timing", timing.encode()))
        self._head = [(b":status", b"%d" % message.code), *fields]
        self._to_head = request.method == "HEAD" or message.code in WITHOUT_BODY
        return keep

    def send(self, data: bytes) -> None:
        self._send_head(end=False)
        if not self._to_head:
            self._out += data
            self.pump()

    def end(self, data: bytes = b"") -> None:
        bodiless = self._to_head or (not data and not self._out)
        if self._send_head(end=bodiless) and bodiless:
            self._ended = True
        else:
            if not self._to_head:
                self._out += data
            self._last = True
            self.pump()

    def _send_head(self, *, end: bool) -> bool:
        """False: it was sent before."""
        if self._head is None:
            return False
        head, self._head = self._head, None
        self._connection.respond(self._number, head, end=end)
        return True

    async def drain(self) -> None:
        while len(self._out) > UNSENT and not self._ended:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def abort(self) -> None:
        self._ended = True
        self._out.clear()
        self._connection.reset(self._number, ErrorCodes.INTERNAL_ERROR)


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _message(event: RequestReceived, floor: Floor) -> RawRequestMessage:
    """The request as HTTP/1.1 would have it. Raises Flaw.

    h2 has seen to it that pseudo-headers are whole and first, and that there are no headers of
    one connection.
    """
    pseudo: dict[bytes, bytes] = {}
    fields: _Fields = []
    for name, value in event.headers or ():
        if name.startswith(b":"):
            pseudo[name] = value
        elif not is_value(value):
            raise Flaw(f"the header {name.decode('latin-1')} has a control byte in it")
        else:
            fields.append((name, value))
    if len(fields) > floor.limits.headers:
        reason = f"there are more than {floor.limits.headers} headers (load_balancer.headers)"
        raise Flaw(reason, status=431)
    authority = pseudo.get(b":authority")
    if authority is not None:  # h2 has compared it with a Host header
        fields = [(b"host", authority), *(field for field in fields if field[0] != b"host")]
    method, path = pseudo[b":method"].decode("latin-1"), pseudo.get(b":path", b"").decode("latin-1")
    if not _METHOD.fullmatch(method) or not (_PATH.fullmatch(path) or method == "CONNECT"):
        raise Flaw("the method or the path is not one")
    headers = CIMultiDict(
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in fields
    )
    message = RawRequestMessage(
        method,
        path,
        HttpVersion11,
        CIMultiDictProxy(headers),
        tuple(fields),
        should_close=False,
        compression=None,
        upgrade=method == "CONNECT",
        chunked=event.stream_ended is None and "Content-Length" not in headers,
        url=URL("/"),
    )
    check_request(message)
    if not path.startswith("/") and path != "*" and method != "CONNECT":
        raise Flaw("the path does not begin with /")
    return message
