"""The hot path: one request from a client to an instance and its answer back.

Rules: the lease is taken before a byte of the body is asked for, and released exactly once. A
request is sent again only where no instance can have begun with it: the dial failed, or a kept
connection had ended without a byte in answer; and then only if its body was here as a whole.
The service's time limit covers everything, from the head's arrival to the answer's last byte.
"""

import asyncio
import secrets
from collections.abc import Callable

from aiohttp.http_parser import RawRequestMessage, RawResponseMessage
from aiohttp.streams import StreamReader

from emulator.controllers.balancer import Balancer, Lease, Refused
from emulator.controllers.router import Router
from emulator.model.identifiers import InstanceId, ServiceId
from emulator.ports import Clock
from emulator.surfaces.proxy.access_log import LONGEST_PATH, AccessEntry, AccessLog
from emulator.surfaces.proxy.client import ClientConnection
from emulator.surfaces.proxy.errors import (
    CONNECTION_FAILURE,
    REASON_HEADER,
    RequestBodyError,
    UpstreamError,
    reset_body,
)
from emulator.surfaces.proxy.framing import LAST_CHUNK, chunk, request_line, status_line
from emulator.surfaces.proxy.upstream import Pools, Response, UpstreamConnection, dial

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_WITHOUT_BODY = frozenset({204, 304})
_TOO_MANY_REQUESTS = 429
_HTTP_1_0 = (1, 0)


def request_id() -> str:
    """Random, in the form of a UUID of version 4."""
    digits = secrets.token_hex(16)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


class Forwarder:
    """Handles the requests of services' clients."""

    def __init__(self, router: Router, clock: Clock, log: AccessLog) -> None:
        self.pools = Pools()
        self.log = log
        self.clock = clock
        self._router = router

    async def handle(
        self, client: ClientConnection, message: RawRequestMessage, body: StreamReader
    ) -> bool:
        exchange = Exchange(self, client, message, body)
        service = client.service
        if service is None:
            service = self._router.service_of(_host(message))
        balancer = None if service is None else self._router.by_service(service)
        if len(message.headers.getall("Host", ())) > 1:
            exchange.answer(400, reason="more than one Host header")
        elif service is None or balancer is None:
            exchange.answer(404, reason="no service has this host name")
        elif message.upgrade and _switches(message):
            exchange.answer(403, reason="App Runner has no WebSockets and no CONNECT")
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
        "_consumed",
        "_continued",
        "_fresh",
        "_give_up_at",
        "_instance",
        "_message",
        "_owner",
        "_reason",
        "_sent",
        "_sent_at",
        "_started",
        "_status",
        "keep",
    )

    def __init__(
        self,
        owner: Forwarder,
        client: ClientConnection,
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
        self._begun = False  # bytes of the answer have been written
        self._sent_at = 0.0
        self._consumed = False  # part of the body is with an instance, and nowhere else
        self._continued = False
        self._fresh = False  # no more kept connections for this one
        self._give_up_at: float | None = None  # since a dial failed: when to stop trying
        self._instance: InstanceId | None = None
        self._balancer: Balancer
        self._reason = ""
        self._sent = 0
        self._status = 0

    async def run(self, service: ServiceId, balancer: Balancer) -> bool:
        """Forward the request, whatever becomes of it."""
        self._balancer = balancer
        try:
            async with asyncio.timeout(balancer.request_timeout):
                while not await self._attempt():
                    pass
        except TimeoutError:
            self._fail(504, reason=f"no answer within {balancer.request_timeout:g} seconds")
        except Refused as refused:
            self._refuse(refused)
        except UpstreamError as error:
            self._fail(503, body=reset_body(error.reason), reason=error.reason)
        except RequestBodyError as error:
            self._fail(400, reason=str(error))
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
        self._client.write(
            self._client.answers.local(
                status,
                body=body,
                headers=(*headers, (REASON_HEADER, reason)) if reason else headers,
                head_only=self._message.method == "HEAD",
                close=not self.keep,
            )
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
        """Write the access log's line."""
        seconds = asyncio.get_running_loop().time() - self._started
        self._owner.log.record(
            AccessEntry(
                self._owner.clock.now(),
                service,
                self._instance,
                self._message.method,
                self._message.path[:LONGEST_PATH],
                self._status,
                seconds,
                self._sent,
                self._reason,
            )
        )

    # An attempt: a lease, a connection, a request, an answer.

    async def _attempt(self) -> bool:
        """False: nothing has happened yet, try again."""
        lease = await self._acquire()
        try:
            connection = await self._connect(lease)
            return connection is not None and await self._use(lease, connection)
        finally:
            lease.release()

    async def _acquire(self) -> Lease:
        if self._give_up_at is None:
            return await self._balancer.acquire()
        left = self._give_up_at - asyncio.get_running_loop().time()
        try:
            if left > 0:
                return await self._balancer.acquire(within=left)
        except Refused:
            pass
        raise UpstreamError(CONNECTION_FAILURE)

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

    async def _use(self, lease: Lease, connection: UpstreamConnection) -> bool:
        complete = False
        try:
            if self._body.is_eof():
                complete = await self._send_whole(lease, connection)
            else:
                complete = await self._send_streaming(lease, connection)
        except UpstreamError as error:
            if not error.safe or self._begun or self._consumed:
                raise
            if error.reason == CONNECTION_FAILURE:
                self._note_failure()
            self._fresh = True
            return False
        finally:
            if complete:
                self._owner.pools.put(lease, connection)
            else:
                connection.abort()
        return True

    async def _send_whole(self, lease: Lease, connection: UpstreamConnection) -> bool:
        """The usual case: the request is one write, without a task of its own."""
        if self._buffered is None:
            self._buffered = self._body.read_nowait()
        data = self._head()
        if self._buffered:
            data += self._framed(self._buffered)
        if self._message.chunked:
            data += LAST_CHUNK
        response = self._send(connection, data)
        if lease.thawing is not None:
            lease.thawing.add_done_callback(connection.thawed)
        return await self._relay(connection, await response)

    async def _send_streaming(self, lease: Lease, connection: UpstreamConnection) -> bool:
        """A body that is still on its way goes through beside the answer."""
        try:
            await lease.ready
        except Exception:  # noqa: BLE001 - whatever keeps it frozen, it cannot be reached
            raise UpstreamError(CONNECTION_FAILURE, safe=True) from None
        if not self._continued and self._message.headers.get("Expect", "").lower() == (
            "100-continue"
        ):
            self._continued = True
            self._client.write(_CONTINUE)
        response = self._send(connection, self._head())
        self._consumed = True
        pump = self._client.spawn(lambda: self._pump(connection))
        try:
            reusable = await self._relay(connection, await response, pump)
            return reusable and pump.done()
        finally:
            pump.cancel()
            await asyncio.wait((pump,))

    def _send(self, connection: UpstreamConnection, data: bytes) -> "asyncio.Future[Response]":
        self._sent_at = asyncio.get_running_loop().time()
        return connection.send(data, for_head=self._message.method == "HEAD")

    def _head(self) -> bytes:
        message = self._message
        headers = self._client.headers_for_instance(message, self._balancer.request_timeout)
        end = b"\r\n"
        if "X-Request-Id" not in message.headers:
            end = b"x-request-id: %b\r\n\r\n" % request_id().encode()
        return request_line(message) + headers + end

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

    async def _relay(
        self,
        connection: UpstreamConnection,
        response: Response,
        pump: "asyncio.Task[None] | None" = None,
    ) -> bool:
        """The answer to the client; whether the instance's connection may be used again."""
        message, body = response
        if pump is not None and not self._body.is_eof():
            self.keep = False  # the instance answers before it has heard all
        framing, frame = self._framing(message)
        head = self._response_head(connection, message, framing)
        self._begun = True
        self._status = message.code
        if body.is_eof():
            self._write_last(head, body.read_nowait(), frame)
        else:
            await self._stream(head, body, frame)
        return not message.should_close

    def _framing(
        self, message: RawResponseMessage
    ) -> tuple[bytes, Callable[[bytes], bytes] | None]:
        """The header that tells the client where the body ends, and how its parts are framed."""
        counted = "Content-Length" in message.headers and not message.chunked
        bodiless = self._message.method == "HEAD" or message.code in _WITHOUT_BODY
        if bodiless or counted:
            return b"", None
        if self._message.version > _HTTP_1_0:
            return b"transfer-encoding: chunked\r\n", chunk
        self.keep = False  # HTTP/1.0 knows no other end than the connection's
        return b"", None

    def _response_head(
        self, connection: UpstreamConnection, message: RawResponseMessage, framing: bytes
    ) -> bytes:
        counted = not message.chunked
        headers = connection.headers_for_client(
            message, counted=counted, date=self._client.answers.date()
        )
        elapsed = asyncio.get_running_loop().time() - self._sent_at
        persistence = b""
        if not self.keep:
            persistence = b"connection: close\r\n"
        elif self._message.version == _HTTP_1_0:
            persistence = b"connection: keep-alive\r\n"
        return b"%b%b%b%bx-envoy-upstream-service-time: %d\r\n\r\n" % (
            status_line(message),
            headers,
            framing,
            persistence,
            elapsed * 1000,
        )

    def _write_last(self, head: bytes, data: bytes, frame: Callable[[bytes], bytes] | None) -> None:
        self._sent += len(data)
        if frame is not None:
            data = (frame(data) if data else b"") + LAST_CHUNK
        self._client.write(head + data)

    async def _stream(
        self, head: bytes, body: StreamReader, frame: Callable[[bytes], bytes] | None
    ) -> None:
        client = self._client
        client.write(head)
        while data := await body.readany():
            self._sent += len(data)
            client.write(frame(data) if frame is not None else data)
            await client.drain()
        if frame is not None:
            client.write(LAST_CHUNK)


def _host(message: RawRequestMessage) -> str:
    if message.path.startswith("/"):
        return str(message.headers.get("Host", ""))
    return message.url.raw_authority or str(message.headers.get("Host", ""))


def _switches(message: RawRequestMessage) -> bool:
    """An upgrade that is not merely offered, as HTTP/2's is by curl."""
    return message.method == "CONNECT" or message.headers.get("Upgrade", "").lower() != "h2c"
