"""An HTTP/2 client that does what a test says, by the library h2; frames can also be made by hand."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from hyperframe.frame import Frame

from tests.surfaces.proxy_world import HOST, World

GOING = b"\x00\x00\x08\x07\x00" + bytes(4)

Fields = Sequence[tuple[str, str]]


@dataclass
class Got:
    """What came back on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    informed: list[str] = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.headers.get(":status", "0"))


class Http2Client:
    """`reading` off: the client takes nothing from the socket; `acknowledging` off: it opens no
    windows.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        # Ours to break: what the library would not send is what is to be refused.
        config = H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = H2Connection(config)
        self.got: dict[int, Got] = {}
        self.terminated: int | None = None
        self.closed = False
        self.acknowledging = True
        self._changed = asyncio.Event()
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def frame(self, frame: Frame) -> None:
        self.writer.write(frame.serialize())

    def ask(
        self, path: str = "/", *, method: str = "GET", headers: Fields = (), end: bool = True
    ) -> int:
        pseudo = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", path)]
        return self.ask_exactly([*pseudo, *headers], end=end)

    def ask_exactly(self, headers: Fields, *, end: bool = True) -> int:
        number = self.h2.get_next_available_stream_id()
        self.got[number] = Got()
        self.h2.send_headers(number, headers, end_stream=end)
        self.flush()
        return number

    def say(self, number: int, data: bytes, *, end: bool = False) -> None:
        self.h2.send_data(number, data, end_stream=end)
        self.flush()

    async def upload(self, number: int, data: bytes) -> None:
        while data:
            await self.until(lambda: self.window(number) > 0 or self.got[number].ended)
            if self.got[number].ended:
                return
            room = min(self.window(number), self.h2.max_outbound_frame_size)
            self.say(number, data[:room])
            data = data[room:]
        self.say(number, b"", end=True)

    def window(self, number: int) -> int:
        return self.h2.local_flow_control_window(number)

    async def answer(self, number: int) -> Got:
        await self.until(lambda: self.got[number].ended or self.got[number].reset is not None)
        return self.got[number]

    async def until(self, condition: Callable[[], object], seconds: float = 5) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                assert not self.closed, f"the connection ended ({self.terminated})"
                self._changed.clear()
                await self._changed.wait()

    async def ended(self) -> int | None:
        """The error code the connection ended with."""
        async with asyncio.timeout(5):
            while not self.closed:
                self._changed.clear()
                await self._changed.wait()
        return self.terminated

    async def read(self) -> None:
        try:
            while data := await self.reader.read(2**16):
                if data.startswith(GOING) and not self.terminated:
                    # The library takes every GOAWAY for the end; this one is not.
                    self.terminated = int.from_bytes(data[13:17], "big")
                    data = data[17:]
                for event in self.h2.receive_data(data):
                    self._take(event)
                self.flush()
                self._changed.set()
        except (ConnectionError, ssl.SSLError):
            pass
        self.closed = True
        self._changed.set()

    def _take(self, event: object) -> None:
        match event:
            case InformationalResponseReceived():
                self.got[event.stream_id].informed += [
                    v for n, v in event.headers if n == ":status"
                ]
            case ResponseReceived():
                self.got[event.stream_id].headers = dict(event.headers)
            case DataReceived():
                self.got[event.stream_id].body += event.data
                if self.acknowledging and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case StreamEnded():
                self.got[event.stream_id].ended = True
            case StreamReset():
                self.got[event.stream_id].reset = int(event.error_code)
            case ConnectionTerminated():
                self.terminated = int(event.error_code)
            case _:
                pass


@asynccontextmanager
async def http2(w: World) -> AsyncIterator[Http2Client]:
    trusting = await asyncio.to_thread(ssl.create_default_context, cafile=w.certificates.ca_file)
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    streams = await asyncio.open_connection(
        "127.0.0.1", w.proxy.https_port, ssl=trusting, server_hostname=HOST
    )
    tls = streams[1].get_extra_info("ssl_object")
    assert tls.selected_alpn_protocol() == "h2"
    client = Http2Client(*streams)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.read())
        try:
            yield client
        finally:
            task.cancel()
            client.writer.transport.abort()
