"""The short way: a request without a task, a future or a timer of its own.

It is taken by a request that is here as a whole, finds an instance that is awake and has room, and
a kept connection to it. Anything else, at any moment (a wait, a dial, an answer that comes in
parts or fails or takes longer than a moment) is the Forwarder's: the exchange is handed over to
the client's task as it stands.

Headers that came before are known again by their bytes, a request's without its first line: what
the parser makes of them depends on nothing else, as long as that line is an ordinary one and the
bytes begin where a message begins. Lines are known again, too.
"""

import asyncio
import re
from typing import NamedTuple, TypeVar

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from emulator.controllers.balancer import Balancer, Slot
from emulator.controllers.router import Router, normalise
from emulator.model.identifiers import Epoch, ServiceId
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


T = TypeVar("T")


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
        "method",
        "path",
        "request",
        "request_id",
        "service",
        "slot",
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
        self.slot: Slot
        self.connection: UpstreamConnection
        self.body = b""
        self.started = 0.0

    # A request sets off.

    def known(self, data: bytes) -> bool:
        way = self._way
        end = data.find(b"\r\n")
        known = way.requests.get(data[end:])
        if known is None or len(data) > way.floor.limits.header_bytes:
            return False
        line = data[:end]
        asked = way.lines.get(line) or way.read_line(line)
        if asked is None:
            return False
        self.method, self.path = asked
        return self._send(known, line, EMPTY_PAYLOAD)

    def begin(self, data: bytes, message: RawRequestMessage, body: StreamReader) -> bool:
        if message.method in _OTHER_WAY or message.version != _HTTP_1_1:
            return False
        if message.should_close or message.upgrade:
            return False
        known = KnownRequest(
            message, request_headers(message), normalise(host_of(message)), own_request_id(message)
        )
        if body is EMPTY_PAYLOAD and len(data) <= _LONGEST:
            self._way.learn(data, known)
        self.method = message.method
        self.path = message.path
        return self._send(known, request_line(message), body)

    def _send(self, known: KnownRequest, line: bytes, body: StreamReader) -> bool:
        way = self._way
        client = self.client
        service = client.service or way.router.service_named(known.host)
        balancer = None if service is None else way.router.by_service(service)
        slot = None if balancer is None else balancer.ready()
        connection = None if slot is None else way.pools.take(slot)
        if connection is None or slot is None or balancer is None or service is None:
            return False
        self.request = known
        self.request_id = known.own_id or way.request_ids.new()
        self.service = service
        self.balancer = balancer
        self.slot = slot
        self.connection = connection
        self.body = body.read_nowait()
        balancer.begin(slot)
        head = b"%b\r\n%b%bx-request-id: %b\r\n\r\n" % (
            line,
            known.headers,
            client.forwarded(balancer.request_timeout),
            self.request_id.encode(),
        )
        if body is not EMPTY_PAYLOAD:
            head += _framed(self.body, known.message)
        self.started = connection.begin(self, head)
        way.under_way[self] = None
        if way.timer is None:
            way.sweep_later()
        return True

    # Its answer comes.

    def received(self, data: bytes) -> None:
        """A whole answer with a known head ends the exchange; what else there is is parsed."""
        way = self._way
        end = data.find(END_OF_HEAD)
        known = way.responses.get(data[:end]) if end > 0 and not way.floor.draining else None
        if known is not None and len(data) == end + 4 + known.length:
            self._answer(known, data[end + 4 :])
        else:
            self._parse(data, end)

    def _parse(self, data: bytes, end: int) -> None:
        way = self._way
        connection = self.connection
        response = connection.expect()
        connection.data_received(data)
        known = None if way.floor.draining else _whole(response)
        if known is None:
            way.hand_over(self, response)
            return
        _, body = response.result()
        if end <= _LONGEST and len(data) == end + 4 + known.length:
            remember(way.responses, data[:end], known)
        self._answer(known, body.read_nowait())

    def _answer(self, known: KnownResponse, body: bytes) -> None:
        way = self._way
        connection = self.connection
        now = connection.now()
        at = self.balancer.end(self.slot)
        date = b"" if known.dated else way.floor.answers.date_line(at)
        self.client.write(
            b"%b%bx-envoy-upstream-service-time: %d\r\n\r\n%b"
            % (known.head, date, (now - self.started) * 1000, body)
        )
        del way.under_way[self]
        connection.quick = None
        if known.keep:
            way.pools.put(self.slot, connection)
        else:
            connection.close()
        self._record(at, known.status, known.length, now - self.started)
        way.floor.quick += 1
        self.body = b""  # the client's connection may be idle for minutes
        self.client.finished()

    # It goes on by a task, or not at all.

    def failed(self, error: Exception) -> None:
        """The instance hung up."""
        response = self.connection.expect()
        response.set_exception(error)
        self._way.hand_over(self, response)

    def taken(self, response: "asyncio.Future[Response]") -> Taken:
        return Taken(
            self.service,
            self.balancer,
            self.balancer.held(self.slot),
            self.connection,
            response,
            self.body,
            self.request_id,
            self.started,
        )

    def abandon(self) -> None:
        self._way.under_way.pop(self, None)
        self.connection.give_up()
        at = self.balancer.end(self.slot)
        self._record(at, 0, 0, self.connection.now() - self.started)
        self.body = b""

    def _record(self, at: Epoch, status: int, sent: int, seconds: float) -> None:
        self._way.log.record(
            # Half the time of calling the class, which has a function of its own for that.
            tuple.__new__(
                AccessEntry,
                (
                    at,
                    self.service,
                    self.slot.instance,
                    self.method,
                    self.path[:LONGEST_PATH],
                    status,
                    seconds,
                    0.0,
                    seconds,
                    len(self.body),
                    sent,
                    False,
                    self.request_id,
                    "",
                ),
            )
        )


class ShortWay:
    """What the exchanges that are under way without a task have in common."""

    def __init__(
        self,
        router: Router,
        pools: Pools,
        request_ids: RequestIds,
        floor: Floor,
        log: AccessLog,
    ) -> None:
        self.router = router
        self.pools = pools
        self.request_ids = request_ids
        self.floor = floor
        self.log = log
        self.requests: dict[bytes, KnownRequest] = {}
        self.lines: dict[bytes, tuple[str, str]] = {}
        self.responses: dict[bytes, KnownResponse] = {}
        self.under_way: dict[Quick, None] = {}
        self.timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self.under_way)

    def for_client(self, client: ClientConnection) -> Quick:
        return Quick(self, client)

    def learn(self, data: bytes, known: KnownRequest) -> None:
        end = data.find(b"\r\n")
        if self.read_line(data[:end]):
            remember(self.requests, data[end:], known)

    def read_line(self, line: bytes) -> tuple[str, str] | None:
        """Method and target, None of a line that is not an ordinary one."""
        found = _ORDINARY.fullmatch(line)
        if found is None:
            return None
        asked = found[1].decode(), found[2].decode()
        if len(line) <= _LONGEST:
            remember(self.lines, line, asked)
        return asked

    def hand_over(self, quick: Quick, response: "asyncio.Future[Response]") -> None:
        """Leave the rest to the client's task, which waits for `response`."""
        del self.under_way[quick]
        message = quick.request.message
        if (message.method, message.path) != (quick.method, quick.path):
            message = message._replace(method=quick.method, path=quick.path)
        quick.client.take_over(message, quick.taken(response))

    def sweep_later(self) -> None:
        self.timer = asyncio.get_running_loop().call_later(_MOMENT, self._sweep)

    def _sweep(self) -> None:
        """What takes longer than a moment gets a task, and with it the service's time limit."""
        self.timer = None
        if not self.under_way:
            return
        latest = asyncio.get_running_loop().time() - _MOMENT / 2
        for quick in [quick for quick in self.under_way if quick.started <= latest]:
            self.hand_over(quick, quick.connection.expect())
        self.sweep_later()

    def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def remember(memo: dict[bytes, T], key: bytes, value: T) -> None:
    if len(memo) >= _KNOWN:
        memo.clear()
    memo[key] = value


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
