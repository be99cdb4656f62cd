"""Health checks over the network: can an instance be dialled, and does it answer.

A few lines of HTTP of our own: a probe wants one status line, within one time limit, from a
server that may be half-started and say anything.
"""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from errno import ECONNREFUSED, EHOSTUNREACH, ENETUNREACH
from http import HTTPStatus
from typing import assert_never
from urllib.parse import quote

from emulator.model.configuration import HealthCheck, HealthProtocol
from emulator.model.instance import Endpoint
from emulator.ports import ProbeResult

AGENT = "AppRunner-HealthChecker"
LONGEST = 16_384  # bytes of an answer's head that are read
SAFE = "/?&=:@!$'()*+,;~%-._[]"  # in a path that is sent as it is
WORDS = {
    ECONNREFUSED: "connection refused",
    EHOSTUNREACH: "no route to the instance",
    ENETUNREACH: "no route to the instance",
}

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NetworkProbe:
    """ports.Probe. Healthy is a TCP connection, or an HTTP answer from 200 to 399."""

    async def check(self, endpoint: Endpoint, check: HealthCheck) -> ProbeResult:
        connected = False
        try:
            async with asyncio.timeout(check.timeout), _connection(endpoint) as streams:
                connected = True
                return await _ask(streams, endpoint, check)
        except TimeoutError:
            what = "no answer" if connected else "no connection"
            detail = f"{what} within {check.timeout} s"
            return ProbeResult(healthy=False, detail=detail, connected=connected)
        except (OSError, ValueError, OverflowError) as error:  # the last two: no such address
            return ProbeResult(healthy=False, detail=_in_words(error), connected=connected)


@asynccontextmanager
async def _connection(endpoint: Endpoint) -> AsyncGenerator[Streams]:
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, limit=LONGEST)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()  # at once: whatever else it says is of no interest


async def _ask(streams: Streams, endpoint: Endpoint, check: HealthCheck) -> ProbeResult:
    match check.protocol:
        case HealthProtocol.TCP:
            return ProbeResult(healthy=True)
        case HealthProtocol.HTTP:
            return await _get(streams, endpoint, check.path)
        case _:
            assert_never(check.protocol)


async def _get(streams: Streams, endpoint: Endpoint, path: str) -> ProbeResult:
    reader, writer = streams
    writer.write(_request(endpoint, path))
    try:
        status = await _status(reader)
    except asyncio.IncompleteReadError as error:
        said = "not an HTTP answer" if error.partial else "connection closed without an answer"
        return ProbeResult(healthy=False, detail=said)
    except (asyncio.LimitOverrunError, ValueError):
        return ProbeResult(healthy=False, detail="not an HTTP answer")
    if HTTPStatus.OK <= status < HTTPStatus.BAD_REQUEST:
        return ProbeResult(healthy=True)
    return ProbeResult(healthy=False, detail=f"HTTP {status}")


def _request(endpoint: Endpoint, path: str) -> bytes:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    target = quote(path if path.startswith("/") else f"/{path}", safe=SAFE)
    return (
        f"GET {target} HTTP/1.1\r\nHost: {host}:{endpoint.port}\r\nUser-Agent: {AGENT}\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


async def _status(reader: asyncio.StreamReader) -> int:
    """Of the first answer that is not merely informational (1xx)."""
    while True:
        line = await reader.readuntil(b"\n")
        found = re.match(rb"HTTP/1\.[01] ([1-9]\d\d)[ \r\n]", line)
        if found is None:
            raise ValueError(line)
        status = int(found[1])
        if status >= HTTPStatus.OK:
            return status
        while (await reader.readuntil(b"\n")).strip():
            pass


def _in_words(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return f"{error.strerror or error}"
    # Several addresses are tried for a name, and their errors told as one text.
    number = re.search(r"\[Errno (\d+)\]", str(error))
    if number and int(number[1]) in WORDS:
        return WORDS[int(number[1])]
    if isinstance(error, ConnectionError):
        return "connection closed without an answer"
    return str(error)
