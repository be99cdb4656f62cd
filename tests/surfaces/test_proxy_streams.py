"""Bodies: streamed both ways, with back-pressure, never whole in memory."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from tests.surfaces.proxy_world import (
    CLOCK,
    HOST,
    App,
    Asked,
    Client,
    hello,
    read_chunks,
    until,
    world,
)

MEGABYTE = 2**20
BLOCK = bytes(range(256)) * 256  # 64 KiB


async def blocks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield BLOCK


def digest_of(count: int) -> str:
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(BLOCK)
    return digest.hexdigest()


async def digest_reply(asked: Asked) -> None:
    digest = hashlib.sha256()
    async for part in asked.parts():
        digest.update(part)
    asked.reply(digest.hexdigest().encode())


async def upload(client: Client, count: int, *, chunked: bool) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {count * len(BLOCK)}"
    client.get(method="POST", headers=framing + "\r\n")
    async for block in blocks(count):
        client.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        await client.writer.drain()
    if chunked:
        client.send("0\r\n\r\n")


# Small bodies.


@pytest.mark.parametrize("size", [0, 1, 1000, 60_000, 200_000])
async def test_bodies_of_all_sizes_come_back_as_they_went(tmp_path, size):
    body = (BLOCK * 4)[:size]
    async with world(tmp_path, App()) as w:
        client = await w.connect()
        for _ in range(3):
            client.post(body)
            assert (await client.answer()).body == (body or b"hello")


async def test_a_chunked_body_arrives_chunked_and_its_trailers_are_dropped(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        for _ in range(2):
            client.get(method="POST", headers="Transfer-Encoding: chunked\r\nTrailer: X\r\n")
            client.send("3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX: 1\r\n\r\n")
            assert (await client.answer()).body == b"abcde"
    assert app.asked[0].header("transfer-encoding") == "chunked"
    assert app.asked[0].header("content-length") is app.asked[0].header("trailer") is None


async def test_a_chunked_answer_with_trailers_and_extensions_comes_out_clean(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        asked.say(b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nX: 1\r\n\r\n")

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        for _ in range(3):
            client.get()
            answer = await client.answer()
            assert answer.body == b"abcd"
            assert answer.header("content-length") is None
    assert app.connections == 1


async def test_a_compressed_answer_stays_compressed(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.reply(b"\x1f\x8b not really", headers="Content-Encoding: gzip\r\n")

    async with world(tmp_path, App(behaviour)) as w:
        assert (await w.ask()).body == b"\x1f\x8b not really"


# Streams.


@pytest.mark.documented(source="roadmap issue 189: server-sent events work")
async def test_each_part_of_a_stream_passes_at_once(tmp_path):
    parts: asyncio.Queue[bytes] = asyncio.Queue()

    async def behaviour(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        asked.say(b"Transfer-Encoding: chunked\r\n\r\n")
        while part := await parts.get():
            asked.say(b"%x\r\n%b\r\n" % (len(part), part))
        asked.say(b"0\r\n\r\n")

    async with world(tmp_path, App(behaviour)) as w:
        client = await w.connect()
        client.get()
        assert (await client.head()).status == 200  # before there is any event
        stream = read_chunks(client.reader)
        for number in range(5):
            parts.put_nowait(b"data: %d\n\n" % number)
            assert await anext(stream) == b"data: %d\n\n" % number
        parts.put_nowait(b"")
        assert [part async for part in stream] == []
        client.get()
        parts.put_nowait(b"")
        assert (await client.answer()).status == 200


async def test_an_instance_may_answer_while_it_still_reads(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        async for part in asked.parts():
            asked.say(b"%x\r\n%b\r\n" % (len(part), part.upper()))
        asked.say(b"0\r\n\r\n")

    async with world(tmp_path, App(behaviour)) as w:
        client = await w.connect()
        client.get(method="POST", headers="Transfer-Encoding: chunked\r\n")
        client.send("3\r\nabc\r\n")
        assert (await client.head()).status == 200
        stream = read_chunks(client.reader)
        assert await anext(stream) == b"ABC"
        client.send("2\r\nde\r\n0\r\n\r\n")
        assert [part async for part in stream] == [b"DE"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upload_of_50_megabytes_is_streamed_in_little_memory(tmp_path, chunked):
    count = 50 * MEGABYTE // len(BLOCK)
    async with world(tmp_path, App(digest_reply)) as w:
        client = await w.connect()
        tracemalloc.start()
        try:
            answer, _ = await asyncio.gather(
                client.answer(), upload(client, count, chunked=chunked)
            )
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert answer.body.decode() == digest_of(count)
        assert peak < 4 * MEGABYTE
        client.get()  # the connection lives on
        assert (await client.answer()).status == 200


async def test_an_instance_that_does_not_read_holds_the_client_back(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.writer.transport.pause_reading()
        await asyncio.Event().wait()

    # A client held back is not listened to either: that it left is seen at the time limit.
    async with world(tmp_path, App(behaviour), request_timeout=2) as w:
        client = await w.connect()
        client.get(method="POST", headers=f"Content-Length: {500 * MEGABYTE}\r\n")
        sent = await send_until_it_sticks(client)
        assert sent < 40 * MEGABYTE  # what the kernel's buffers of two connections take
        client.abort()


async def send_until_it_sticks(client: Client) -> int:
    sent = 0
    try:
        while True:
            client.send(BLOCK)
            async with asyncio.timeout(0.3):
                await client.writer.drain()
            sent += len(BLOCK)
    except TimeoutError:
        return sent


async def test_a_client_that_does_not_read_holds_the_instance_back(tmp_path):
    sent = 0

    async def behaviour(asked: Asked) -> None:
        nonlocal sent
        asked.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        async for block in blocks(500 * MEGABYTE // len(BLOCK)):
            asked.say(b"%x\r\n%b\r\n" % (len(block), block))
            await asked.writer.drain()
            sent += len(block)

    async def stuck() -> bool:
        before = sent
        await CLOCK.sleep(0.3)
        return sent == before

    async with world(tmp_path, App(behaviour)) as w:
        client = await w.connect()
        client.writer.transport.pause_reading()
        client.get()
        await until(lambda: sent)
        tracemalloc.start()
        try:
            while not await stuck():
                pass
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert sent < 40 * MEGABYTE
        assert peak < 4 * MEGABYTE


async def test_twenty_slow_readers_get_all_of_it(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (16 * len(BLOCK)))
        async for block in blocks(16):
            asked.say(block)
            await asked.writer.drain()

    async def read_slowly(client: Client) -> str:
        client.get()
        await client.head()
        digest = hashlib.sha256()
        for _ in range(16 * 4):
            digest.update(await client.reader.readexactly(len(BLOCK) // 4))
            await CLOCK.sleep(0.001)
        return digest.hexdigest()

    async with world(tmp_path, App(behaviour)) as w:
        clients = [await w.connect() for _ in range(20)]
        digests = await asyncio.gather(*map(read_slowly, clients))
    assert set(digests) == {digest_of(16)}


# Who waits for whom.


async def test_a_client_that_expects_100_is_told_to_go_on_once_an_instance_is_there(tmp_path):
    app = App()
    async with world(tmp_path, app, routed=()) as w:
        client = await w.connect()
        client.get(method="POST", headers="Expect: 100-continue\r\nContent-Length: 3\r\n")
        await until(lambda: w.balancer.waiting)
        reading = asyncio.wait_for(client.head(), 0.1)
        with pytest.raises(TimeoutError):
            await reading
        w.route(app)
        assert (await client.head()).status == 100
        client.send("abc")
        assert (await client.answer()).body == b"abc"
    assert app.asked[0].header("expect") is None


async def test_a_client_of_http_1_0_is_never_told_to_go_on(tmp_path):
    async with world(tmp_path, App()) as w:
        client = await w.connect()
        head = (
            f"POST / HTTP/1.0\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        client.send(head)
        await until(lambda: w.balancer.total_in_flight)
        client.send("abc")
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"abc")


async def test_a_client_that_expects_100_and_is_refused_is_not_told_to_go_on(tmp_path):
    async with world(tmp_path, routed=(), queue_limit=0) as w:
        client = await w.connect()
        client.get(method="POST", headers="Expect: 100-continue\r\nContent-Length: 3\r\n")
        answer = await client.answer()
        assert answer.status == 429
        assert answer.header("connection") == "close"


async def test_a_body_is_not_read_while_its_request_is_held(tmp_path):
    app = App(digest_reply)
    async with world(tmp_path, app, routed=()) as w:
        client = await w.connect()
        count = 30 * MEGABYTE // len(BLOCK)
        tracemalloc.start()
        try:
            sending = asyncio.gather(client.answer(), upload(client, count, chunked=False))
            await until(lambda: w.balancer.waiting)
            await CLOCK.sleep(0.2)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 2 * MEGABYTE
        w.route(app)
        answer, _ = await sending
        assert answer.body.decode() == digest_of(count)


async def test_an_answer_before_the_end_of_the_body_reaches_the_client(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.reply(b"too much", status="413 Content Too Large")
        await asked.writer.drain()
        asked.hang_up()

    async with world(tmp_path, App(behaviour)) as w:
        client = await w.connect()
        client.get(method="POST", headers=f"Content-Length: {5 * MEGABYTE}\r\n")
        client.send(BLOCK)
        answer = await client.answer()
        assert (answer.status, answer.body) == (413, b"too much")
        assert answer.header("connection") == "close"


async def test_the_rest_of_an_unwanted_body_is_taken_so_that_the_answer_arrives(tmp_path):
    async with world(tmp_path, routed=(), queue_limit=0) as w:
        client = await w.connect()
        await upload(client, 2 * MEGABYTE // len(BLOCK), chunked=False)
        assert (await client.answer()).status == 429


async def test_a_body_that_breaks_off_in_its_framing_is_a_bad_request(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.get(method="POST", headers="Transfer-Encoding: chunked\r\n")
        client.send("3\r\nabc\r\n")
        await until(lambda: app.asked)
        client.send("no length\r\n")
        assert (await client.answer()).status == 400
        assert await client.ended()


async def test_a_head_in_single_bytes_is_a_head(tmp_path):
    async with world(tmp_path, App(hello)) as w:
        client = await w.connect()
        for byte in f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nab":
            client.send(byte)
            await client.writer.drain()
            await CLOCK.sleep(0)
        assert (await client.answer()).body == b"ab"
