"""WebSockets where a service allows them: a tunnel, counted in flight, with a proper end."""

import asyncio
import struct

import pytest

from emulator.surfaces.proxy.tunnel import Frames
from tests.surfaces.proxy_world import App, Asked, Client, World, until, world

HANDSHAKE = (
    "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
GOING_AWAY = (1001).to_bytes(2, "big")


def frame(payload: bytes, *, opcode: int = 2, mask: bytes = b"") -> bytes:
    flag = 0x80 if mask else 0
    if len(payload) < 126:
        head = bytes([0x80 | opcode, flag | len(payload)])
    elif len(payload) < 2**16:
        head = bytes([0x80 | opcode, flag | 126]) + struct.pack(">H", len(payload))
    else:
        head = bytes([0x80 | opcode, flag | 127]) + struct.pack(">Q", len(payload))
    masked = bytes(b ^ mask[i % 4] for i, b in enumerate(payload)) if mask else payload
    return head + mask + masked


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2), "big")
    elif size == 127:
        size = int.from_bytes(await reader.readexactly(8), "big")
    mask = await reader.readexactly(4) if second & 0x80 else bytes(4)
    payload = await reader.readexactly(size)
    return first & 0xF, bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


class Echo:
    """An instance that switches and says back what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, bytes]] = []

    async def __call__(self, asked: Asked) -> None:
        asked.say(SWITCH)
        try:
            while True:
                opcode, payload = await read_frame(asked.reader)
                self.heard.append((opcode, payload))
                asked.say(frame(payload, opcode=opcode))
                if opcode == 8:
                    asked.hang_up()
                    return
        except EOFError:
            self.heard.append((-1, b""))


async def opened(w: World, *, early: bytes = b"") -> Client:
    w.balancer.configure(websockets=True)
    client = await w.connect()
    client.get("/socket?a", headers=HANDSHAKE)
    client.send(early)
    head = await client.head()
    assert head.status == 101
    assert (head.header("upgrade"), head.header("connection")) == ("websocket", "upgrade")
    assert head.header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    return client


async def test_a_websocket_passes_in_both_directions_and_counts_as_in_flight(tmp_path):
    app = App(Echo())
    async with world(tmp_path, app) as w:
        client = await opened(w, early=frame(b"early", mask=b"abcd"))
        assert await read_frame(client.reader) == (2, b"early")
        for size in (0, 125, 126, 70_000):
            client.send(frame(b"x" * size, mask=b"1234"))
            assert await read_frame(client.reader) == (2, b"x" * size)
        assert w.balancer.total_in_flight == 1
        client.send(frame(b"\x03\xe8", opcode=8, mask=b"1234"))
        assert await read_frame(client.reader) == (8, b"\x03\xe8")
        assert await client.ended()
        await until(lambda: w.at_rest)
        entry = next(w.proxy.log.recent())
        assert (entry.status, entry.path) == (101, "/socket?a")
    (asked,) = app.asked
    assert asked.header("upgrade") == "websocket"
    assert asked.header("connection") == "upgrade"
    assert asked.header("x-forwarded-for") == "127.0.0.1"


async def test_a_websocket_may_last_longer_than_a_request(tmp_path):
    async with world(tmp_path, App(Echo()), request_timeout=0.05) as w:
        client = await opened(w)
        began = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > began + 0.2)
        client.send(frame(b"still", mask=b"1234"))
        assert await read_frame(client.reader) == (2, b"still")


async def test_at_drain_both_sides_are_told_between_two_messages(tmp_path):
    echo = Echo()
    async with world(tmp_path, App(echo)) as w:
        client = await opened(w)
        whole = frame(b"x" * 1000, mask=b"1234")
        client.send(whole[:500])
        w.balancer.route([])
        client.send(whole[500:])
        assert await read_frame(client.reader) == (2, b"x" * 1000)
        assert await read_frame(client.reader) == (8, GOING_AWAY)
        await until(lambda: echo.heard[-1] == (8, GOING_AWAY))
        assert await client.ended()


async def test_stopping_the_proxy_says_goodbye(tmp_path):
    echo = Echo()
    async with world(tmp_path, App(echo)) as w:
        client = await opened(w)
        async with asyncio.TaskGroup() as group:
            group.create_task(w.proxy.stop(5))
            assert await read_frame(client.reader) == (8, GOING_AWAY)
            assert await client.ended()
        assert echo.heard == [(8, GOING_AWAY)]


async def test_a_client_that_vanishes_frees_its_instance(tmp_path):
    echo = Echo()
    async with world(tmp_path, App(echo)) as w:
        client = await opened(w)
        client.abort()
        await until(lambda: w.at_rest and echo.heard == [(-1, b"")])


async def test_an_instance_that_does_not_read_holds_the_client_back(tmp_path):
    release = asyncio.Event()
    heard = 0

    async def behaviour(asked: Asked) -> None:
        nonlocal heard
        asked.say(SWITCH)
        await release.wait()
        while data := await asked.reader.read(2**20):
            heard += len(data)

    whole = frame(b"x" * 50_000_000)
    async with world(tmp_path, App(behaviour)) as w:
        client = await opened(w)
        client.send(whole)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.writer.drain()
        release.set()
        await until(lambda: heard == len(whole))


async def test_an_instance_may_refuse_to_switch(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.reply(b"no", status="426 Upgrade Required")

    async with world(tmp_path, App(behaviour)) as w:
        w.balancer.configure(websockets=True)
        answer = await w.ask(headers=HANDSHAKE)
        assert (answer.status, answer.body) == (426, b"no")


async def test_an_instance_that_switches_without_being_asked_breaks_the_protocol(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.say(SWITCH)

    async with world(tmp_path, App(behaviour)) as w:
        answer = await w.ask()
        assert (answer.status, b"protocol error" in answer.body) == (503, True)


@pytest.mark.parametrize(
    "headers",
    [HANDSHAKE.replace("websocket", "spdy/3.1"), HANDSHAKE + "Content-Length: 1\r\n"],
    ids=["another protocol", "a body"],
)
async def test_nothing_else_is_switched_to(tmp_path, headers):
    app = App()
    async with world(tmp_path, app) as w:
        w.balancer.configure(websockets=True)
        assert (await w.ask(headers=headers)).status == 403
    assert app.asked == []


async def test_http_1_0_has_no_upgrades(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        w.balancer.configure(websockets=True)
        client = await w.connect()
        client.send(f"GET / HTTP/1.0\r\nHost: h\r\n{HANDSHAKE}\r\n")
        assert (await client.answer()).body == b"hello"
        assert await client.ended()
    assert app.asked[0].header("upgrade") is None


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_the_end_of_a_message_is_found_however_it_is_cut(step):
    sizes = (0, 1, 125, 126, 1000, 65536)
    frames = [frame(b"\x81" * size, mask=mask) for size in sizes for mask in (b"", b"1234")]
    follower = Frames()
    for whole in frames:
        for begin in range(0, len(whole), step):
            assert follower.between == (begin == 0)
            follower.follow(whole[begin : begin + step])
        assert follower.between
