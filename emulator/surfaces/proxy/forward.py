"""The hot path: one request from a client to an instance and its answer back.

Rules: the lease is taken before a byte of the body is asked for, and released exactly once. A
request is sent again only where no instance can have begun with it: the dial failed, or a kept
connection had ended before anything reached the other side. One that may be done twice
(idempotent) is sent again once, too, where not a byte of an answer came. Both only if its body was
here as a whole.
The service's time limit covers everything, from the head's arrival to the answer's last byte.
"""

import asyncio

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from emulator.controllers.balancer import Balancer, Door, Lease, Refused
from emulator.controllers.router import Router
from emulator.decisions.cold_start import server_timing
from emulator.model.identifiers import InstanceId, ServiceId
from emulator.ports import Clock
from emulator.surfaces.proxy.access_log import LONGEST_PATH, AccessEntry, AccessLog
from emulator.surfaces.proxy.errors import (
    CONNECTION_FAILURE,
    WAITING_PAGE,
    Local,
    RequestBodyError,
    UpstreamError,
    reset_body,
)
from emulator.surfaces.proxy.floor import Floor, Requester
from emulator.surfaces.proxy.framing import (
    LAST_CHUNK,
    RequestIds,
    chunk,
    host_of,
    request_headers,
    request_line,
)
from emulator.surfaces.proxy.quick import ShortWay
from emulator.surfaces.proxy.tunnel import Tunnel, is_websocket
from emulator.surfaces.proxy.upstream import (
    OutOfDescriptorsError,
    Pools,
    Response,
    Taken,
    UpstreamConnection,
    dial,
)

PATIENCE = 1.0  # seconds that a person waits without being told why

_HTTP_1_0 = (1, 0)  # of which 1xx and upgrades are not known
_SWITCHING = 101
_TOO_MANY_REQUESTS = 429
_UNAVAILABLE = 503
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_UPGRADE = b"connection: upgrade\r\nupgrade: websocket\r\n"


class StillWakingError(Exception):
    """A browser has waited long enough for a service that wakes to be told so."""


class Forwarder:
    """Handles the requests of services' clients."""

    def __init__(self, router: Router, clock: Clock, log: AccessLog, floor: Floor) -> None:
        self.request_ids = RequestIds()
        self.waiting_page = floor.limits.waiting_page
        self.server_timing = floor.limits.server_timing
        self.complain = floor.complain
        self.pools = Pools()
        self.log = log
        self.clock = clock
        self.short_way = ShortWay(router, self.pools, self.request_ids, floor, log)
        self._router = router

    def close(self) -> None:
        self.short_way.close()
        self.pools.close()

    async def handle(
        self, client: Requester, message: RawRequestMessage, body: StreamReader
    ) -> bool:
        exchange = Exchange(self, client, message, body)
        taken = client.taken_over()
        if taken is not None:
            return await exchange.go_on(taken)
        exchange.name()
        service = client.service
        if service is None:
            service = self._router.service_of(host_of(message))
        balancer = None if service is None else self._router.by_service(service)
        if service is None or balancer is None:
            exchange.answer(404, reason="no service has this host name")
        elif message.upgrade and (why := exchange.why_not_switched(balancer)):
            exchange.answer(403, reason=why)
        else:
            return await exchange.run(service, balancer)
        exchange.record(service)
        return exchange.keep


class Exchange:
    """One request and its answer; `keep` says whether the client's connection outlives it."""

    __slots__ = (
        "_balancer",
        "_begun",
        "_body",
        "_buffered",
        "_client",
        "_cold",
        "_consumed",
        "_continued",
        "_elsewhere",
        "_fresh",
        "_give_up_at",
        "_instance",
        "_lease",
        "_leased_at",
        "_limit",
        "_message",
        "_owner",
        "_reason",
        "_repeated",
        "_request_id",
        "_sent",
        "_sent_at",
        "_started",
        "_status",
        "_switching",
        "_taken",
        "keep",
    )

    def __init__(
        self,
        owner: Forwarder,
        client: Requester,
        message: RawRequestMessage,
        body: StreamReader,
    ) -> None:
        self.keep = not message.should_close and not message.upgrade and not client.draining
        self._owner = owner
        self._client = client
        self._message = message
        self._body = body
        self._buffered: bytes | None = None  # the whole body, where it was here with the head
        self._started = asyncio.get_running_loop().time()
        self._lease: Lease | None = None
        self._leased_at = 0.0
        self._begun = False  # bytes of the answer have been written
        self._sent_at = 0.0
        self._consumed = False  # part of the body is with an instance, and nowhere else
        self._continued = False
        self._repeated = False  # sent again although an instance may have begun with it
        self._elsewhere: Lease | None = None  # where it is sent again
        self._fresh = False  # no more kept connections for this one
        self._switching = False  # the connection is to speak WebSocket
        self._give_up_at: float | None = None  # since a dial failed: when to stop trying
        self._instance: InstanceId | None = None
        self._cold = False
        self._request_id = ""
        self._balancer: Balancer
        self._limit: asyncio.Timeout
        self._reason = ""
        self._sent = 0
        self._status = 0
        self._taken: Taken | None = None

    def why_not_switched(self, balancer: Balancer) -> str:
        """Why a connection may not change its protocol, "" if it may or only offers to."""
        if self._message.method == "CONNECT":
            return "App Runner has no CONNECT"
        offered = self._message.headers.get("Upgrade", "").lower() == "h2c"  # as by curl
        if offered or self._message.version == _HTTP_1_0:
            return ""
        if not is_websocket(self._message) or not self._body.is_eof():
            return "only WebSocket may be upgraded to"
        if not balancer.websockets:
            return (
                "App Runner has no WebSockets; this emulator has, unless it is strict or the tag "
                "emulator:websockets of the service is off"
            )
        self._switching = True
        self._fresh = True
        return ""

    def name(self) -> None:
        self._request_id = self._owner.request_ids.of(self._message)

    async def go_on(self, taken: Taken) -> bool:
        """Take over what was sent already."""
        self._taken = taken
        self._buffered = taken.body
        self._request_id = taken.request_id
        self._started = self._sent_at = taken.started
        return await self.run(taken.service, taken.balancer)

    async def run(self, service: ServiceId, balancer: Balancer) -> bool:
        """Forward the request, whatever becomes of it."""
        self._balancer = balancer
        try:
            end = self._started + balancer.request_timeout
            async with asyncio.timeout_at(end) as self._limit:
                while not await self._attempt():
                    pass
        except TimeoutError:
            self._fail(504, reason=f"no answer within {balancer.request_timeout:g} seconds")
        except Refused as refused:
            self._refuse(refused)
        except UpstreamError as error:
            self._fail(503, body=reset_body(error.reason), reason=error.reason)
        except RequestBodyError as error:
            self._fail(error.status, reason=str(error))
        except StillWakingError:
            self.answer(
                _UNAVAILABLE,
                body=WAITING_PAGE,
                headers=(("retry-after", "1"), ("cache-control", "no-store")),
                reason="the service is being woken",
            )
        except OutOfDescriptorsError:
            reason = "the emulator has no file descriptor left (ulimit -n)"
            self._owner.complain(f"a request was refused: {reason}")
            self._fail(_UNAVAILABLE, reason=reason)
        finally:
            self.record(service)
        return self.keep

    # Answers of the load balancer's own.

    def answer(
        self,
        status: int,
        *,
        body: str | None = None,
        reason: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.keep = self.keep and self._body.is_eof()
        self._status = status
        self._reason = reason
        self._client.answer(
            Local(status, body, headers, reason),
            head_only=self._message.method == "HEAD",
            keep=self.keep,
        )

    def _refuse(self, refused: Refused) -> None:
        retry = (("retry-after", "1"),) if refused.status == _TOO_MANY_REQUESTS else ()
        self.answer(refused.status, reason=refused.reason, headers=retry)

    def _fail(self, status: int, *, reason: str, body: str | None = None) -> None:
        if not self._begun:
            self.answer(status, body=body, reason=reason)
            return
        self.keep = False
        self._reason = reason
        self._client.abort()  # the only way to say that an answer is not complete

    def record(self, service: ServiceId | None) -> None:
        """Remember what the access log and the metrics are made of."""
        now = asyncio.get_running_loop().time()
        self._owner.log.record(
            AccessEntry(
                self._owner.clock.now(),
                service,
                self._instance,
                self._message.method,
                self._message.path[:LONGEST_PATH],
                self._status,
                now - self._started,
                (self._leased_at or now) - self._started,
                now - self._sent_at if self._sent_at else 0.0,
                self._body.total_bytes or len(self._buffered or b""),
                self._sent,
                self._cold,
                self._request_id,
                self._reason,
            )
        )

    # An attempt: a lease, a connection, a request, an answer.

    async def _attempt(self) -> bool:
        """False: nothing has happened yet, try again."""
        taken, self._taken = self._taken, None
        if taken is not None:
            return await self._use_taken(taken)
        lease, self._elsewhere = self._elsewhere or await self._acquire(), None
        self._leased_at = asyncio.get_running_loop().time()
        self._cold, self._lease = self._cold or lease.cold, lease
        try:
            connection = await self._connect(lease)
            return connection is not None and await self._use(lease, connection)
        finally:
            lease.release()

    async def _use_taken(self, taken: Taken) -> bool:
        self._leased_at = taken.started
        self._instance = taken.lease.instance
        try:
            return await self._use(taken.lease, taken.connection, taken.response)
        finally:
            taken.lease.release()

    async def _acquire(self) -> Lease:
        if self._give_up_at is None:
            if self._owner.waiting_page and _is_browsers(self._message):
                return await self._acquire_or_show_page()
            return await self._balancer.acquire()
        left = self._give_up_at - asyncio.get_running_loop().time()
        try:
            if left > 0:
                return await self._balancer.acquire(within=left)
        except Refused:
            pass
        raise UpstreamError(CONNECTION_FAILURE)

    async def _acquire_or_show_page(self) -> Lease:
        """People are told that they wait; the page asks again. The service goes on waking."""
        try:
            return await self._balancer.acquire(within=PATIENCE)
        except Refused as refused:
            if refused.status == _UNAVAILABLE and self._balancer.door is Door.OPEN:
                raise StillWakingError from None
            raise

    async def _connect(self, lease: Lease) -> UpstreamConnection | None:
        """A body that is still on its way cannot be sent twice: no kept connection for it."""
        self._instance = lease.instance
        if self._body.is_eof() and not self._fresh:
            connection = self._owner.pools.take(lease)
            if connection is not None:
                return connection
        try:
            return await dial(lease)
        except UpstreamError:
            lease.failed()
            self._note_failure()
            return None

    def _note_failure(self) -> None:
        """The instance cannot be reached; others are tried as long as a queue would be."""
        if self._give_up_at is None:
            now = asyncio.get_running_loop().time()
            self._give_up_at = now + self._balancer.queue_wait

    async def _use(
        self,
        lease: Lease,
        connection: UpstreamConnection,
        response: "asyncio.Future[Response] | None" = None,
    ) -> bool:
        """`response` is what was sent already waits for."""
        complete = False
        try:
            if response is not None:
                complete = await self._relay(await response)
            else:
                complete = await self._exchange(lease, connection)
        except UpstreamError as error:
            if self._begun or self._consumed or not self._may_repeat(error, connection):
                raise
            if error.reason == CONNECTION_FAILURE:
                self._note_failure()
            self._fresh = True
            return False
        finally:
            self._let_go(lease, connection, complete=complete)
        return True

    def _may_repeat(self, error: UpstreamError, connection: UpstreamConnection) -> bool:
        """On a fresh connection; after one that was fresh, on another instance only."""
        if error.safe:
            return True
        if not error.silent or self._repeated or self._message.method not in _IDEMPOTENT:
            return False
        self._repeated = True
        if not connection.reused and self._instance is not None:
            self._elsewhere = self._balancer.acquire_elsewhere(self._instance)
            return self._elsewhere is not None
        return True

    def _let_go(self, lease: Lease, connection: UpstreamConnection, *, complete: bool) -> None:
        if complete:
            self._owner.pools.put(lease, connection)
        elif self._status == _SWITCHING:
            connection.close()
        else:
            connection.abort()

    async def _exchange(self, lease: Lease, connection: UpstreamConnection) -> bool:
        if self._body.is_eof():
            return await self._send_whole(lease, connection)
        return await self._send_streaming(lease, connection)

    async def _send_whole(self, lease: Lease, connection: UpstreamConnection) -> bool:
        """The usual case: the request is one write, without a task of its own."""
        if self._buffered is None:
            self._buffered = self._body.read_nowait()
        data = self._head()
        if self._buffered:
            data += self._framed(self._buffered)
        if self._message.chunked:
            data += LAST_CHUNK
        sent = self._send(connection, data)
        if lease.thawing is not None:
            lease.thawing.add_done_callback(connection.thawed)
        response = await sent
        if self._switching and response[0].code == _SWITCHING:
            return await self._switch(lease, connection, response)
        return await self._relay(response)

    async def _switch(
        self, lease: Lease, connection: UpstreamConnection, response: Response
    ) -> bool:
        """WebSocket: both sides' bytes as they are, for as long as both want."""
        self._begun = True
        self._status = _SWITCHING
        self._limit.reschedule(None)
        async with Tunnel(self._client, connection, lambda: lease.routed) as tunnel:
            await tunnel.ended(response[0])
        self._sent = tunnel.bytes_to_client
        return False

    async def _send_streaming(self, lease: Lease, connection: UpstreamConnection) -> bool:
        """A body that is still on its way goes through beside the answer."""
        try:
            await lease.ready
        except Exception:  # noqa: BLE001 - whatever keeps it frozen, it cannot be reached
            raise UpstreamError(CONNECTION_FAILURE, safe=True) from None
        if not self._continued and self._expects_100():
            self._continued = True
            self._client.go_on()
        response = self._send(connection, self._head())
        self._consumed = True
        self._client.body_wanted = True
        pump = self._client.spawn(lambda: self._pump(connection))
        try:
            reusable = await self._relay(await response, pump)
            return reusable and pump.done()
        finally:
            self._client.body_wanted = False
            pump.cancel()
            await asyncio.wait((pump,))

    def _expects_100(self) -> bool:
        expected = self._message.headers.get("Expect", "").lower()
        return expected == "100-continue" and self._message.version > _HTTP_1_0

    def _send(self, connection: UpstreamConnection, data: bytes) -> "asyncio.Future[Response]":
        self._sent_at = asyncio.get_running_loop().time()
        return connection.send(
            data, for_head=self._message.method == "HEAD", upgrade=self._switching
        )

    def _head(self) -> bytes:
        message = self._message
        headers = request_headers(message) + self._client.forwarded(self._balancer.request_timeout)
        if self._switching:
            headers += _UPGRADE
        return b"%b\r\n%bx-request-id: %b\r\n\r\n" % (
            request_line(message),
            headers,
            self._request_id.encode(),
        )

    def _framed(self, data: bytes) -> bytes:
        return chunk(data) if self._message.chunked else data

    async def _pump(self, connection: UpstreamConnection) -> None:
        """The body to the instance, as fast as it takes it."""
        try:
            while connection.open and (data := await self._body.readany()):
                connection.write(self._framed(data))
                await connection.drain()
        except RequestBodyError as error:
            connection.fail(error)
        except (OSError, RuntimeError):
            return  # one of the two has gone; whoever waits for the answer will learn it
        else:
            if self._message.chunked:
                connection.write(LAST_CHUNK)

    # The answer.

    async def _relay(self, response: Response, pump: "asyncio.Task[None] | None" = None) -> bool:
        """The answer to the client; whether the instance's connection may be used again."""
        message, body = response
        if pump is not None and not self._body.is_eof():
            self.keep = False  # the instance answers before it has heard all
        elapsed = asyncio.get_running_loop().time() - self._sent_at
        client = self._client
        timing = self._timing()
        self.keep = client.begin(
            response, self._message, keep=self.keep, elapsed=elapsed, timing=timing
        )
        self._begun = True
        self._status = message.code
        if body.is_eof():
            data = body.read_nowait()
            self._sent += len(data)
            client.end(data)
        else:
            await self._stream(body)
        return not message.should_close

    def _timing(self) -> str:
        """For a request that did not find a warm instance: where the time went."""
        if self._lease is None or self._lease.warm:
            return ""
        phases = self._lease.answered()
        return server_timing(phases) if self._owner.server_timing else ""

    async def _stream(self, body: StreamReader) -> None:
        """The first part goes with the head, where it is here already."""
        client = self._client
        client.send(body.read_nowait())
        self._sent = body.total_bytes
        while data := await body.readany():
            self._sent += len(data)
            client.send(data)
            await client.drain()
        client.end()


def _is_browsers(message: RawRequestMessage) -> bool:
    return message.method == "GET" and "text/html" in message.headers.get("Accept", "")
