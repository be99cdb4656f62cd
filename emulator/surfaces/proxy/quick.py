"""The short way: a request without a task, a future or a timer of its own.

It is taken by a request that is here as a whole, finds an instance that is awake and has room, and
a kept connection to it. Anything else, at any moment (a wait, a dial, an answer that comes in
parts or fails or takes longer than a moment) is the Forwarder's: the exchange is handed over to
the client's task as it stands.

Headers that came before are known again by their bytes, a request's without its first line: what
the parser makes of them depends on nothing else, as long as that line is an ordinary one and the
bytes begin where a message begins.
"""

import asyncio
import re
from typing import NamedTuple

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from emulator.controllers.balancer import Balancer, Lease
from emulator.controllers.router import Router
from emulator.model.identifiers import ServiceId
from emulator.ports import Clock
from emulator.surfaces.proxy.access_log import LONGEST_PATH, AccessEntry, AccessLog
from emulator.surfaces.proxy.client import ClientConnection
from emulator.surfaces.proxy.floor import Floor
from emulator.surfaces.proxy.framing import (
    LAST_CHUNK,
    WITHOUT_BODY,
    RequestIds,
    chunk,
    host_of,
    own_request_id,
    request_headers,
    request_line,
    response_headers,
    status_line,
)
from emulator.surfaces.proxy.gate import END_OF_HEAD, response_is_sound
from emulator.surfaces.proxy.upstream import Pools, Response, Taken, UpstreamConnection

_MOMENT = 0.25  # seconds after which a request is given a task
_KNOWN = 1024  # heads of each kind that are known again
_LONGEST = 2048  # bytes of such a head, so that they take a few MiB at most
_HTTP_1_1 = (1, 1)
_OTHER_WAY = frozenset({"HEAD", "CONNECT"})
_ORDINARY = re.compile(
    rb"(GET|POST|PUT|PATCH|DELETE|OPTIONS) (/[\w.~!$&'()*+,;=:@%/?-]*) HTTP/1\.1", re.ASCII
)


class KnownRequest(NamedTuple):
    """What the headers of a request say, whatever its first line: `headers` go to the instance,
    `forwarded` and the request id follow them. `message` is one that had them.
    """

    message: RawRequestMessage
    headers: bytes
    host: str
    own_id: str


class KnownResponse(NamedTuple):
    """A head, parsed: `head` goes to the client, the Date unless `dated` and the time follow it."""

    head: bytes
    status: int
    length: int
    dated: bool
    keep: bool


class Quick:
    """The exchange that is under way on a client's connection: one object for all of them."""

    __slots__ = (
        "_way",
        "balancer",
        "body",
        "client",
        "connection",
        "lease",
        "method",
        "path",
        "request",
        "request_id",
        "service",
        "started",
    )

    def __init__(self, way: "ShortWay", client: ClientConnection) -> None:
        self._way = way
        self.client = client
        self.request: KnownRequest
        self.request_id = ""
        self.method = ""
        self.path = ""
        self.service: ServiceId
        self.balancer: Balancer
        self.lease: Lease
        self.connection: UpstreamConnection
        self.body = b""
        self.started = 0.0

    def known(self, data: bytes) -> bool:
        return self._way.known(self, data)

    def begin(self, data: bytes, message: RawRequestMessage, body: StreamReader) -> bool:
        return self._way.begin(self, data, message, body)

    def received(self, data: bytes) -> None:
        """What the instance says."""
        self._way.received(self, data)

    def failed(self, error: Exception) -> None:
        """The instance hung up."""
        response = self.connection.expect()
        response.set_exception(error)
        self._way.hand_over(self, response)

    def abandon(self) -> None:
        self._way.abandon(self)


class ShortWay:
    """All exchanges that are under way without a task."""

    def __init__(
        self,
        router: Router,
        pools: Pools,
        request_ids: RequestIds,
        floor: Floor,
        log: AccessLog,
        clock: Clock,
    ) -> None:
        self._router = router
        self._pools = pools
        self._request_ids = request_ids
        self._floor = floor
        self._log = log
        self._clock = clock
        self._requests: dict[bytes, KnownRequest] = {}
        self._responses: dict[bytes, KnownResponse] = {}
        self._under_way: dict[Quick, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._under_way)

    def for_client(self, client: ClientConnection) -> Quick:
        return Quick(self, client)

    # A request sets off.

    def known(self, quick: Quick, data: bytes) -> bool:
        end = data.find(b"\r\n")
        known = self._requests.get(data[end:])
        line = None if known is None else _ORDINARY.fullmatch(data, 0, end)
        if known is None or line is None or len(data) > self._floor.limits.header_bytes:
            return False
        quick.method = line[1].decode()
        quick.path = line[2].decode()
        return self._send(quick, known, data[:end], EMPTY_PAYLOAD)

    def begin(
        self, quick: Quick, data: bytes, message: RawRequestMessage, body: StreamReader
    ) -> bool:
        if message.method in _OTHER_WAY or message.version != _HTTP_1_1:
            return False
        if message.should_close or message.upgrade:
            return False
        known = KnownRequest(
            message, request_headers(message), host_of(message), own_request_id(message)
        )
        if body is EMPTY_PAYLOAD and len(data) <= _LONGEST:
            self._learn(data, known)
        quick.method = message.method
        quick.path = message.path
        return self._send(quick, known, request_line(message), body)

    def _learn(self, data: bytes, known: KnownRequest) -> None:
        end = data.find(b"\r\n")
        if _ORDINARY.fullmatch(data, 0, end):
            if len(self._requests) >= _KNOWN:
                self._requests.clear()
            self._requests[data[end:]] = known

    def _send(self, quick: Quick, known: KnownRequest, line: bytes, body: StreamReader) -> bool:
        client = quick.client
        service = client.service or self._router.service_of(known.host)
        balancer = None if service is None else self._router.by_service(service)
        slot = None if balancer is None else balancer.ready()
        connection = None if slot is None else self._pools.take(slot)
        if connection is None or slot is None or balancer is None or service is None:
            return False
        quick.request = known
        quick.request_id = known.own_id or self._request_ids.new()
        quick.service = service
        quick.balancer = balancer
        quick.lease = balancer.lease(slot)
        quick.connection = connection
        quick.body = body.read_nowait()
        data = b"%b\r\n%b%bx-request-id: %b\r\n\r\n%b" % (
            line,
            known.headers,
            client.forwarded(balancer.request_timeout),
            quick.request_id.encode(),
            _framed(quick.body, known.message),
        )
        quick.started = connection.begin(quick, data)
        self._under_way[quick] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_MOMENT, self._sweep)
        return True

    # Its answer comes.

    def received(self, quick: Quick, data: bytes) -> None:
        """A whole answer with a known head ends the exchange; what else there is is parsed."""
        end = data.find(END_OF_HEAD)
        known = self._responses.get(data[:end]) if end > 0 and not self._floor.draining else None
        if known is not None and len(data) == end + 4 + known.length:
            self._answer(quick, known, data[end + 4 :])
        else:
            self._parse(quick, data, end)

    def _parse(self, quick: Quick, data: bytes, end: int) -> None:
        connection = quick.connection
        response = connection.expect()
        connection.data_received(data)
        known = None if self._floor.draining else _whole(response)
        if known is None:
            self.hand_over(quick, response)
            return
        _, body = response.result()
        if end <= _LONGEST and len(data) == end + 4 + known.length:
            if len(self._responses) >= _KNOWN:
                self._responses.clear()
            self._responses[data[:end]] = known
        self._answer(quick, known, body.read_nowait())

    def _answer(self, quick: Quick, known: KnownResponse, body: bytes) -> None:
        now = quick.connection.now()
        date = b"" if known.dated else b"date: %b\r\n" % self._floor.answers.date()
        quick.client.write(
            b"%b%bx-envoy-upstream-service-time: %d\r\n\r\n%b"
            % (known.head, date, (now - quick.started) * 1000, body)
        )
        del self._under_way[quick]
        connection, lease = quick.connection, quick.lease
        connection.quick = None
        if known.keep:
            self._pools.put(lease, connection)
        else:
            connection.close()
        lease.release()
        self._record(quick, known.status, known.length, now)
        self._floor.quick += 1
        quick.body = b""  # the client's connection may be idle for minutes
        quick.client.finished()

    # It goes on by a task, or not at all.

    def hand_over(self, quick: Quick, response: "asyncio.Future[Response]") -> None:
        """Leave the rest to the client's task, which waits for `response`."""
        del self._under_way[quick]
        taken = Taken(
            quick.service,
            quick.balancer,
            quick.lease,
            quick.connection,
            response,
            quick.body,
            quick.request_id,
            quick.started,
        )
        message = quick.request.message
        if (message.method, message.path) != (quick.method, quick.path):
            message = message._replace(method=quick.method, path=quick.path)
        quick.client.take_over(message, taken)

    def abandon(self, quick: Quick) -> None:
        self._under_way.pop(quick, None)
        quick.connection.give_up()
        quick.lease.release()
        self._record(quick, 0, 0, quick.connection.now())
        quick.body = b""

    def _record(self, quick: Quick, status: int, sent: int, now: float) -> None:
        seconds = now - quick.started
        self._log.record(
            AccessEntry(
                quick.balancer.last_activity or self._clock.now(),  # it has just been released
                quick.service,
                quick.lease.instance,
                quick.method,
                quick.path[:LONGEST_PATH],
                status,
                seconds,
                0.0,
                seconds,
                len(quick.body),
                sent,
                False,  # noqa: FBT003 - a named tuple is fastest by position
                quick.request_id,
            )
        )

    def _sweep(self) -> None:
        """What takes longer than a moment gets a task, and with it the service's time limit."""
        self._timer = None
        if not self._under_way:
            return
        loop = asyncio.get_running_loop()
        latest = loop.time() - _MOMENT / 2
        for quick in [quick for quick in self._under_way if quick.started <= latest]:
            self.hand_over(quick, quick.connection.expect())
        self._timer = loop.call_later(_MOMENT, self._sweep)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _framed(body: bytes, message: RawRequestMessage) -> bytes:
    if message.chunked:
        return (chunk(body) if body else b"") + LAST_CHUNK
    return body


def _whole(response: "asyncio.Future[Response]") -> KnownResponse | None:
    """None: it is not here as a whole, failed, or has no length that its head tells."""
    if not response.done() or response.exception() is not None:
        return None
    message, body = response.result()
    counted = "Content-Length" in message.headers and not message.chunked
    bodiless = message.code in WITHOUT_BODY
    if not body.is_eof() or not (counted or bodiless) or not response_is_sound(message):
        return None
    return KnownResponse(
        status_line(message) + response_headers(message),
        message.code,
        0 if bodiless else int(message.headers["Content-Length"]),
        "Date" in message.headers,
        not message.should_close,
    )
