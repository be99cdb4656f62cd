"""Health checks against real sockets that answer well, badly, slowly or not at all."""

import asyncio
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from emulator.drivers.probe import NetworkProbe
from emulator.model.configuration import HealthCheck, HealthProtocol
from emulator.model.instance import Endpoint
from emulator.ports import Probe, ProbeResult
from tests.helpers import on_both_loops, until

HEALTHY = ProbeResult(healthy=True)
TCP = HealthCheck(protocol=HealthProtocol.TCP, timeout=1)
HTTP = HealthCheck(protocol=HealthProtocol.HTTP, path="/health", timeout=1)
OK = b"HTTP/1.1 200 OK\r\n\r\n"
# What a server says, and what a probe makes of it.
ANSWERS = [
    (OK, HEALTHY),
    (b"HTTP/1.0 200\n", HEALTHY),
    (b"HTTP/1.1 204 No Content\r\n", HEALTHY),
    (b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", HEALTHY),
    (b"HTTP/1.1 399 Odd\r\n\r\n", HEALTHY),
    (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", HEALTHY),
    (OK + bytes(1_000_000), HEALTHY),
    (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 Oh\r\n\r\n", ProbeResult(False, "HTTP 500")),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProbeResult(False, "HTTP 400")),
    (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", ProbeResult(False, "HTTP 503")),
    (b"SSH-2.0-OpenSSH_9.2\r\n", ProbeResult(False, "not an HTTP answer")),
    (b"HTTP/1.1 2000 Many\r\n\r\n", ProbeResult(False, "not an HTTP answer")),
    (b"HTTP/1.1 20", ProbeResult(False, "not an HTTP answer")),
    (b"x" * 100_000, ProbeResult(False, "not an HTTP answer")),
    (b"", ProbeResult(False, "connection closed without an answer")),
]


@asynccontextmanager
async def serving(answer: bytes | None, *, requests: list[bytes] | None = None, host="127.0.0.1"):
    """A server that takes a request, says `answer` and closes; None: says nothing, stays open."""
    closing = asyncio.Event()

    async def serve(reader, writer):
        request = await reader.readuntil(b"\r\n\r\n") if answer is not None else b""
        if requests is not None:
            requests.append(request)
        if answer is None:
            await closing.wait()
        writer.write(answer or b"")
        writer.transport.abort() if answer is None else writer.close()

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield Endpoint(host=host, port=server.sockets[0].getsockname()[1])
    finally:
        closing.set()
        server.close()


@pytest.mark.parametrize(("answer", "result"), ANSWERS)
async def test_the_status_of_an_answer_decides(answer, result):
    async with serving(answer) as endpoint:
        assert await NetworkProbe().check(endpoint, HTTP) == result


@on_both_loops
async def test_nobody_listening_is_a_refused_connection():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        for host in ("127.0.0.1", "localhost"):
            endpoint = Endpoint(host=host, port=taken.getsockname()[1])
            for check in (TCP, HTTP):
                result = await NetworkProbe().check(endpoint, check)
                assert result == ProbeResult(
                    healthy=False, detail="connection refused", connected=False
                )


@on_both_loops
async def test_a_connection_is_enough_for_tcp():
    probe: Probe = NetworkProbe()
    async with serving(None) as endpoint:
        assert await probe.check(endpoint, TCP) == HEALTHY


@on_both_loops
async def test_silence_is_told_with_the_time_that_was_waited():
    async with serving(None) as endpoint:
        result = await NetworkProbe().check(endpoint, HTTP)
    assert result == ProbeResult(healthy=False, detail="no answer within 1 s")


@on_both_loops
async def test_a_connection_that_is_never_made_is_told_apart():
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # one waits; the kernel lets the next wait for its turn
        first.connect(full.getsockname())
        endpoint = Endpoint(host="127.0.0.1", port=full.getsockname()[1])
        result = await NetworkProbe().check(endpoint, TCP)
    assert result == ProbeResult(healthy=False, detail="no connection within 1 s", connected=False)


@on_both_loops
async def test_a_reset_connection_is_closed_without_an_answer():
    async def serve(_, writer):
        # Closing with unread data in the kernel resets the connection.
        writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint = Endpoint(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    result = await NetworkProbe().check(endpoint, HTTP)
    server.close()
    assert result == ProbeResult(healthy=False, detail="connection closed without an answer")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/health", "/health"),
        ("health", "/health"),
        ("/a?b=c&d=%20", "/a?b=c&d=%20"),
        ("/a b\r\nX: y", "/a%20b%0D%0AX:%20y"),
        ("/é", "/%C3%A9"),
    ],
)
async def test_the_request_names_the_path_the_host_and_who_asks(path, target):
    requests: list[bytes] = []
    check = HealthCheck(protocol=HealthProtocol.HTTP, path=path)
    async with serving(OK, requests=requests) as endpoint:
        assert await NetworkProbe().check(endpoint, check) == HEALTHY
    line, *headers = requests[0].decode().split("\r\n")
    assert line == f"GET {target} HTTP/1.1"
    assert f"Host: 127.0.0.1:{endpoint.port}" in headers
    assert "User-Agent: AppRunner-HealthChecker" in headers


@on_both_loops
async def test_an_address_that_cannot_be_is_unhealthy_not_an_error():
    for host, port in (("127.0.0.1", 99_999), ("no-such-host.invalid", 80), ("a" * 70, 80)):
        result = await NetworkProbe().check(Endpoint(host=host, port=port), TCP)
        assert not result.healthy
        assert result.detail


async def test_a_probe_can_be_cancelled_and_leaves_nothing_open():
    async with serving(None) as endpoint, asyncio.TaskGroup() as group:
        before = open_sockets()
        task = group.create_task(NetworkProbe().check(endpoint, HTTP))
        await until(lambda: open_sockets() > before)
        task.cancel()
    assert task.cancelled()
    await until(lambda: open_sockets() < before)


async def test_a_thousand_probes_leave_nothing_open():
    async with serving(OK) as endpoint:
        probe = NetworkProbe()
        before = open_sockets()
        for _ in range(20):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(probe.check(endpoint, HTTP)) for _ in range(50)]
            assert {task.result() for task in tasks} == {HEALTHY}
        await until(lambda: open_sockets() <= before)


def open_sockets() -> int:
    def is_socket(file: Path) -> bool:
        try:
            return str(file.readlink()).startswith("socket:")
        except FileNotFoundError:
            return False

    return sum(map(is_socket, Path("/proc/self/fd").iterdir()))
