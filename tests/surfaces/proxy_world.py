"""A proxy on real loopback sockets between scripted instances and a client that hides nothing."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Self

from emulator.controllers.balancer import Balancer, Target
from emulator.controllers.router import Router
from emulator.drivers.certificates import Certificates
from emulator.drivers.clock import SystemClock
from emulator.model.identifiers import InstanceId, ServiceId
from emulator.model.instance import Endpoint
from emulator.model.settings import Addresses, LoadBalancer
from emulator.surfaces.proxy.access_log import AccessLog
from emulator.surfaces.proxy.listener import Proxy

SERVICE = ServiceId("5" * 32)
INSTANCE = InstanceId("a" * 32)
HOST = "abc.us-east-1.awsapprunner.localhost"
CLOCK = SystemClock()

Headers = list[tuple[str, str]]


async def until(condition: Callable[[], object], *, seconds: float = 5) -> None:
    """Wait for something that has no event of its own."""
    async with asyncio.timeout(seconds):
        while not condition():
            await CLOCK.sleep(0.002)


def parse_head(head: bytes) -> tuple[str, Headers]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    return first, [(name, value.strip()) for name, _, value in pairs]


def value_of(headers: Headers, name: str) -> str | None:
    values = [value for found, value in headers if found.lower() == name]
    assert len(values) <= 1, f"{name} more than once: {values}"
    return values[0] if values else None


async def read_chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readuntil(b"\n"), 16):
        yield await reader.readexactly(size)
        await reader.readline()
    await reader.readline()


@dataclass(eq=False)
class Asked:
    """One request as an instance sees it; `connection` counts the instance's connections."""

    line: str
    headers: Headers
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connection: int

    def header(self, name: str) -> str | None:
        return value_of(self.headers, name)

    async def parts(self) -> AsyncIterator[bytes]:
        if self.header("transfer-encoding") == "chunked":
            async for part in read_chunks(self.reader):
                yield part
            return
        left = int(self.header("content-length") or 0)
        while left:
            part = await self.reader.read(min(left, 65536))
            if not part:
                raise EOFError
            left -= len(part)
            yield part

    async def body(self) -> bytes:
        return b"".join([part async for part in self.parts()])

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    def reply(self, body: bytes = b"", *, status: str = "200 OK", headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        self.say(head.encode() + body)

    def hang_up(self) -> None:
        self.writer.close()


Behaviour = Callable[[Asked], Awaitable[None]]


async def hello(asked: Asked) -> None:
    asked.reply(await asked.body() or b"hello")


@dataclass(eq=False)
class App:
    """An instance: a small HTTP server that does what the test says."""

    behaviour: Behaviour = hello
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    id: InstanceId = INSTANCE
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: dict[asyncio.StreamWriter, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def writers(self) -> list[asyncio.StreamWriter]:
        """Of the connections that are open."""
        return list(self._tasks)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop_listening()
        for writer, task in list(self._tasks.items()):
            writer.transport.abort()
            task.cancel()
        await until(lambda: not self._tasks)

    def stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()

    def target(self, *, frozen: bool = False) -> Target:
        endpoint = Endpoint(host="127.0.0.1", port=self.port)
        return Target(instance=self.id, endpoint=endpoint, frozen=frozen)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks[writer] = task
        number = self.connections
        try:
            # A cancelled connection would be reported by asyncio as an error of its own.
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                while not writer.is_closing():
                    head = await reader.readuntil(b"\r\n\r\n")
                    asked = Asked(*parse_head(head), reader, writer, number)
                    self.asked.append(asked)
                    await self.behaviour(asked)
        finally:
            del self._tasks[writer]
            writer.close()


@dataclass
class Answer:
    """What the client got; `end`: how the body ended."""

    status: int
    headers: Headers
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return value_of(self.headers, name)


@dataclass
class Client:
    """A connection to the proxy, byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: str | bytes) -> None:
        self.writer.write(data if isinstance(data, bytes) else data.encode("latin-1"))

    def get(self, path: str = "/", *, headers: str = "", method: str = "GET") -> None:
        self.send(f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n")

    def post(self, body: bytes, *, headers: str = "") -> None:
        self.get(method="POST", headers=f"{headers}Content-Length: {len(body)}\r\n")
        self.send(body)

    async def head(self) -> Answer:
        line, headers = parse_head(await self.reader.readuntil(b"\r\n\r\n"))
        return Answer(int(line.split()[1]), headers)

    async def answer(self, *, to_head: bool = False) -> Answer:
        answer = await self.head()
        return answer if to_head else await self.with_body(answer)

    async def with_body(self, answer: Answer) -> Answer:
        if answer.status in {204, 304} or answer.status < 200:
            return answer
        if answer.header("transfer-encoding") == "chunked":
            answer.body = b"".join([part async for part in read_chunks(self.reader)])
        elif (length := answer.header("content-length")) is not None:
            answer.body = await self.reader.readexactly(int(length))
        else:
            answer.body = await self.reader.read()
        return answer

    async def ended(self) -> bool:
        """Whether nothing but the end follows."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()


@dataclass(kw_only=True)
class World:
    """A proxy with one service; `port` is the service's own."""

    proxy: Proxy
    router: Router
    balancer: Balancer
    certificates: Certificates
    port: int
    clients: list[Client]
    thaws: list[InstanceId]
    wakes: list[None]

    async def connect(
        self,
        port: int | None = None,
        *,
        name: str | None = None,
        context: ssl.SSLContext | None = None,
    ) -> Client:
        """To the service's own port; with a name: over TLS, which must be in order."""
        trusting = context
        if name is not None and context is None:
            trusting = await asyncio.to_thread(
                ssl.create_default_context, cafile=self.certificates.ca_file
            )
        streams = await asyncio.open_connection(
            "127.0.0.1", port or self.port, ssl=trusting, server_hostname=name, limit=2**16
        )
        client = Client(*streams)
        self.clients.append(client)
        return client

    async def ask(self, path: str = "/", *, headers: str = "", method: str = "GET") -> Answer:
        client = await self.connect()
        client.get(path, headers=headers, method=method)
        answer = await client.answer(to_head=method == "HEAD")
        client.close()
        return answer

    def route(self, *apps: App) -> None:
        self.balancer.route([app.target() for app in apps])

    @property
    def at_rest(self) -> bool:
        return self.balancer.total_in_flight == self.balancer.waiting == 0


Thaw = Callable[[InstanceId], Awaitable[None]]


async def _nothing(_instance: InstanceId) -> None:
    return None


@contextlib.asynccontextmanager
async def world(
    state_dir: Path,
    *apps: App,
    thaw: Thaw = _nothing,
    request_timeout: float = 10,
    grace: float = 0.2,
    routed: Sequence[Target] | None = None,
    front: Mapping[str, object] = MappingProxyType({}),
    log: AccessLog | None = None,
    **limits: float,
) -> AsyncIterator[World]:
    """Everything up, the apps routed; at the end nothing may be left in flight."""
    thaws: list[InstanceId] = []
    wakes: list[None] = []

    async def recorded(instance: InstanceId) -> None:
        thaws.append(instance)
        await thaw(instance)

    settings = {"max_concurrency": 100, "queue_limit": 10, "queue_wait": 5.0} | limits
    balancer = Balancer(
        CLOCK,
        **settings,
        wake=lambda: wakes.append(None),
        thaw=recorded,
        activity=lambda _instance, _active: None,
    )
    balancer.configure(request_timeout=request_timeout)
    router = Router()
    router.add(SERVICE, [HOST, "hello.localhost"], balancer)
    certificates = Certificates(state_dir, CLOCK, protocols=("h2", "http/1.1"))
    await certificates.load()
    async with contextlib.AsyncExitStack() as stack:
        for app in apps:
            await stack.enter_async_context(app)
        balancer.route([app.target() for app in apps] if routed is None else routed)
        addresses = Addresses(https_port=0, http_port=0)
        proxy = Proxy(
            router,
            certificates,
            addresses,
            CLOCK,
            limits=LoadBalancer(**front),
            log=log,
            grace=grace,
        )
        await stack.enter_async_context(proxy)
        port = await proxy.doors.open(SERVICE, 0)
        built = World(
            proxy=proxy,
            router=router,
            balancer=balancer,
            certificates=certificates,
            port=port,
            clients=[],
            thaws=thaws,
            wakes=wakes,
        )
        try:
            yield built
        finally:
            for client in built.clients:
                client.abort()
        await until(lambda: built.at_rest)
