"""A byte stream with back-pressure both ways, as aiohttp's parsers and body readers expect it.

The parsers (llhttp in C) are aiohttp's. Flow control is ours: a full body buffer pauses the
socket and nothing else, so that at most what was read last is parsed beyond the buffer's limit.
"""

import asyncio
import os
import socket
import sys

from aiohttp.base_protocol import BaseProtocol

BODY_BUFFER = 2**16  # a body's low-water mark; its high-water mark is twice that

_CLOSING = frozenset({7, 8})  # TCP_CLOSE and TCP_CLOSE_WAIT: the other side has hung up


class Stream(BaseProtocol):
    """One connection, to a client or to an instance."""

    __slots__ = ("_descriptor", "partner", "written")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.written = 0  # bytes, since the connection began
        self._descriptor = -1  # of a socket that bytes can be written to as they are
        self.partner: Stream | None = None  # what is read there is written here, as it is

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.partner is not None:
            self.partner.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.partner is not None:
            self.partner.resume_reading()

    def pause_reading(self) -> None:
        if not self._reading_paused and self.transport is not None:
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002, ARG002
        """Called by the body's reader whenever it has room (the arguments are aiohttp's)."""
        if self._reading_paused:
            self._reading_paused = False
            if self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()

    @property
    def hung_up(self) -> bool:
        """Whether the other side has gone while nothing was read from it: nothing tells of that."""
        if not self._reading_paused or self.transport is None:
            return False
        info = tcp_info(self.transport, 1)
        return info is not None and info[0] in _CLOSING

    async def drain(self) -> None:
        """Wait until the other side has taken most of what was written."""
        if self._paused:
            await self._drain_helper()

    @property
    def open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and transport.get_extra_info("sslcontext") is None:
            self._descriptor = sock.fileno()

    def write(self, data: bytes) -> None:
        """At once where nothing waits before it: uvloop would do so only after another turn."""
        self.written += len(data)
        transport = self.transport
        if transport is None:
            return
        if (
            self._descriptor >= 0
            and not transport.get_write_buffer_size()
            and not transport.is_closing()
        ):
            try:
                sent = os.write(self._descriptor, data)
            except OSError:  # full, or broken: the transport finds out which
                sent = 0
            if sent == len(data):
                return
            transport.write(memoryview(data)[sent:])
        else:
            transport.write(data)

    def close(self) -> None:
        """After what was written has been sent."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """At once, whatever is still to be sent."""
        if self.transport is not None:
            self.transport.abort()


def tcp_info(transport: asyncio.BaseTransport, size: int) -> bytes | None:
    """The first bytes of the kernel's `struct tcp_info`; None where it does not say."""
    sock = transport.get_extra_info("socket")
    if sock is None or not sys.platform.startswith("linux") or sock.fileno() < 0:
        return None
    try:
        with socket.socket(fileno=os.dup(sock.fileno())) as double:
            info = double.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
    except OSError:
        return None
    return info if len(info) == size else None
