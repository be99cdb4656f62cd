"""A connection that has become a WebSocket: bytes both ways, and a proper end.

Nothing is parsed but where a message frame ends, so that a close frame of our own (1001, going
away) can be put between two of them when the instance is drained or the emulator stops.
"""

import asyncio
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Self, cast

from aiohttp.http_parser import RawRequestMessage, RawResponseMessage

from emulator.surfaces.proxy.client import ClientConnection
from emulator.surfaces.proxy.floor import TICK, Requester
from emulator.surfaces.proxy.framing import response_headers, status_line
from emulator.surfaces.proxy.upstream import UpstreamConnection

FAREWELL = 1.0  # seconds for both sides to answer a close frame

_GOING_AWAY = (1001).to_bytes(2, "big")
_SHORT, _MEDIUM, _LONG = 2, 4, 10  # bytes of a frame's head by the length's form
_MASK = 4
_LENGTH_16, _LENGTH_64 = 126, 127


def is_websocket(message: RawRequestMessage) -> bool:
    headers = message.headers
    return (
        message.method == "GET"
        and headers.get("Upgrade", "").lower() == "websocket"
        and "Sec-WebSocket-Key" in headers
    )


class Frames:
    """Follows a stream of WebSocket frames; `between`: the next byte begins a frame."""

    def __init__(self) -> None:
        self._head = b""
        self._payload = 0  # bytes of the frame's payload that are still to come

    @property
    def between(self) -> bool:
        return not self._head and not self._payload

    def follow(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._payload:
                step = min(self._payload, len(data) - at)
                self._payload -= step
            else:
                step = self._read_head(data[at : at + _LONG + _MASK])
            at += step

    def _read_head(self, data: bytes) -> int:
        """How many of these bytes belong to the head."""
        joined = self._head + data
        if len(joined) < _SHORT or len(joined) < (size := _head_size(joined)):
            self._head = joined
            return len(data)
        short = joined[1] & 0x7F
        extended = joined[2 : {_LENGTH_16: _MEDIUM, _LENGTH_64: _LONG}.get(short, _SHORT)]
        self._payload = int.from_bytes(extended, "big") if extended else short
        step = size - len(self._head)
        self._head = b""
        return step


def _head_size(head: bytes) -> int:
    size = {_LENGTH_16: _MEDIUM, _LENGTH_64: _LONG}.get(head[1] & 0x7F, _SHORT)
    return size + (_MASK if head[1] & 0x80 else 0)


class Tunnel:
    """`wanted()`: whether the instance is still to be used."""

    def __init__(
        self, client: Requester, connection: UpstreamConnection, wanted: Callable[[], bool]
    ) -> None:
        # Only HTTP/1 has upgrades: a client that asks for one is such a connection.
        self._client = cast(ClientConnection, client)
        self._connection = connection
        self._wanted = wanted
        self._inward, self._outward = Frames(), Frames()
        self._said_goodbye = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.bytes_to_client = 0

    async def __aenter__(self) -> Self:
        self._client.partner, self._connection.partner = self._connection, self._client
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.partner = self._connection.partner = None
        if self._timer is not None:
            self._timer.cancel()

    async def ended(self, message: RawResponseMessage) -> None:
        """Pass on the instance's 101, then everything, until one side hangs up."""
        head = response_headers(message)
        self._client.write(
            status_line(message) + head + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
        )
        self._connection.tunnel(self._to_client)
        self._client.tunnel(self._to_instance)
        self._watch()
        await self._connection.gone()

    def _to_client(self, data: bytes) -> None:
        if not self._said_goodbye:
            self._outward.follow(data)
            self.bytes_to_client += len(data)
            self._client.write(data)

    def _to_instance(self, data: bytes) -> None:
        if not self._said_goodbye:
            self._inward.follow(data)
            self._connection.write(data)

    def _watch(self) -> None:
        """Say goodbye between two frames, once the instance or the emulator is to end."""
        leaving = self._client.draining or not self._wanted()
        if leaving and self._inward.between and self._outward.between:
            self._said_goodbye = True
            self._client.write(b"\x88\x02" + _GOING_AWAY)
            self._connection.write(b"\x88\x82" + _masked(_GOING_AWAY))
            self._timer = self._loop.call_later(FAREWELL, self._connection.close)
            return
        self._timer = self._loop.call_later(TICK / 10 if leaving else TICK, self._watch)


def _masked(data: bytes) -> bytes:
    key = secrets.token_bytes(_MASK)
    return key + bytes(byte ^ key[i % _MASK] for i, byte in enumerate(data))
