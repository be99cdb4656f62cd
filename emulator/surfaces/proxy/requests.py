"""The bytes of an HTTP/1 connection, cut into requests.

The parser (llhttp, aiohttp's) is given exactly one head or body at a time. So it is known where
each message begins, a head is bounded before anything looks at it, and what comes before a
malformed request is still answered.
"""

import asyncio
from collections import deque

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from emulator.model.settings import LoadBalancer
from emulator.surfaces.proxy.gate import (
    END_OF_HEAD,
    Flaw,
    check_beginning,
    check_head,
    check_request,
)
from emulator.surfaces.proxy.stream import BODY_BUFFER

REMEMBERED_HEAD = 4096  # bytes: a longer head is checked again each time
CHUNK_OVERHEAD = 2**18  # bytes of chunk sizes and extensions beyond …
OVERHEAD_PER_BYTE = 16  # … so many for each byte of the body

Request = tuple[RawRequestMessage, StreamReader]


class RequestReader:
    """`arrived` gets each request when its head is complete; `body` is the one being read.

    `received` counts bytes of bodies; `head_since` is when a head began that is not complete.
    `early`: what came after a request for another protocol.
    """

    __slots__ = (
        "_known_head",
        "_left",
        "_limits",
        "_loop",
        "_parser",
        "_partial",
        "_protocol",
        "_raw",
        "_seam",
        "arrived",
        "body",
        "early",
        "head_since",
        "received",
        "switched",
    )

    def __init__(
        self, protocol: BaseProtocol, loop: asyncio.AbstractEventLoop, limits: LoadBalancer
    ) -> None:
        self.arrived: deque[Request] = deque()
        self.body: StreamReader = EMPTY_PAYLOAD
        self.received = 0
        self.head_since = 0.0
        self.switched = False
        self.early = b""
        self._loop = loop
        self._limits = limits
        self._partial = bytearray()
        self._known_head = b""
        self._left: int | None = None  # bytes of a body with a length; None: it is chunked
        self._raw = 0  # bytes of a chunked body as they came
        self._seam = b""  # the last bytes of what was read, as an end may be split
        self._protocol = protocol
        self._parser = self._new_parser()

    @property
    def between(self) -> bool:
        """Whether what comes next is the first byte of a request, and none waits."""
        return not (self._partial or self.arrived or self.switched) and self.body.is_eof()

    @property
    def within_head(self) -> bool:
        return bool(self._partial)

    def feed(self, data: bytes) -> None:
        """Raises Flaw; what arrived before it is whole."""
        try:
            while data:
                if self.switched:
                    self.early += data
                    return
                data = self._read_head(data) if self.body.is_eof() else self._read_body(data)
        except LineTooLong as error:
            raise Flaw(error.message, status=431) from None
        except BadHttpMessage as error:
            raise Flaw(error.message) from None

    def _read_head(self, data: bytes) -> bytes:
        """Take a head, whole or in part; what follows it is returned."""
        data, end = self._find_end(data)
        if end < 0:
            if self._partial:
                check_beginning(self._partial, self._limits)
            return b""
        self._take_head(data[:end])
        return data[end:]

    def _find_end(self, data: bytes) -> tuple[bytes, int]:
        """All bytes since the head began and where it ends; -1: not in these."""
        if self._partial == b"\r":
            self._partial.clear()
            data = b"\r" + data
        if self._partial:
            begin = max(len(self._partial) - len(END_OF_HEAD) + 1, 0)
            self._partial += data
            end = self._partial.find(END_OF_HEAD, begin)
            if end < 0:
                return b"", -1
            data = bytes(self._partial)
            self._partial.clear()
            return data, end + len(END_OF_HEAD)
        data = data.removeprefix(b"\r\n")  # an empty line before a request may be ignored
        end = data.find(END_OF_HEAD)
        if end < 0:
            self._partial += data
            self.head_since = self._loop.time()
            return b"", -1
        return data, end + len(END_OF_HEAD)

    def _take_head(self, head: bytes) -> None:
        known = head == self._known_head
        if not known:
            check_head(head, self._limits)
        messages, _, _ = self._parser.feed_data(head)
        ((message, body),) = messages
        if not known:
            check_request(message)
            self._known_head = head if len(head) <= REMEMBERED_HEAD else b""
        if message.method == "CONNECT":
            body = EMPTY_PAYLOAD  # the parser takes the tunnel for one
        self.body = body
        if not body.is_eof():
            self._left = None if message.chunked else int(message.headers["Content-Length"])
            self._raw = 0
            self._seam = b""
        else:
            self.switched = message.upgrade
        self.arrived.append((message, body))

    def _read_body(self, data: bytes) -> bytes:
        if self._left is not None:
            cut = min(self._left, len(data))
            self._left -= cut
        else:
            cut = self._end_of_chunks(data)
        self.received += cut
        part, rest = (data, b"") if cut == len(data) else (data[:cut], data[cut:])
        messages, _, _ = self._parser.feed_data(part)
        if messages:  # that a body ends elsewhere than we think would be our mistake
            raise Flaw("the body ends where none was expected to")
        if self._left is None and self.body.is_eof():
            self._parser = self._new_parser()  # it would take a trailer for the next one's header
        return rest

    def _end_of_chunks(self, data: bytes) -> int:
        """How much of `data` the body may have: a chunked one ends with an empty line."""
        joined = self._seam + data
        end = joined.find(END_OF_HEAD)
        cut = len(joined) if end < 0 else end + len(END_OF_HEAD)
        taken = cut - len(self._seam)
        self._seam = joined[max(cut - len(END_OF_HEAD) + 1, 0) : cut]
        self._raw += taken
        most = CHUNK_OVERHEAD + self.body.total_bytes * (OVERHEAD_PER_BYTE + 1)
        # What is about to be parsed is not counted in the body yet.
        if self._raw - taken > most:
            raise Flaw("the chunks' sizes and extensions are far longer than the body")
        return taken

    def _new_parser(self) -> HttpRequestParser:
        return HttpRequestParser(
            self._protocol,
            self._loop,
            BODY_BUFFER,
            max_line_size=self._limits.header_bytes,
            max_field_size=self._limits.header_bytes,
            max_headers=self._limits.headers,
            auto_decompress=False,
        )
