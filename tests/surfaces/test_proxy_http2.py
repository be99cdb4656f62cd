"""HTTP/2 to clients: the same requests and answers, and what only HTTP/2 can be attacked with."""

import asyncio
import shutil
import ssl
from random import Random  # noqa: TID251 - a seed makes it repeatable

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.surfaces.http2_client import http2
from tests.surfaces.proxy_world import HOST, App, Asked, hello, until, world

MEGABYTE = 2**20
CALM = ErrorCodes.ENHANCE_YOUR_CALM


async def test_a_request_reaches_an_instance_as_http_1_1_and_its_answer_comes_back(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.reply(await asked.body(), status="201 Created", headers="Keep-Alive: 5\r\nA: 1\r\n")

    app = App(behaviour)
    crumbs = [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-forwarded-for", "10.0.0.1"),
        ("te", "trailers"),
    ]
    async with world(tmp_path, app, request_timeout=120) as w, http2(w) as client:
        number = client.ask("/a?b=%20", method="POST", headers=crumbs, end=False)
        client.say(number, b"body", end=True)
        got = await client.answer(number)
        assert (got.status, got.body) == (201, b"body")
        assert {"a", "date", "server", "content-length"} < set(got.headers)
        assert "keep-alive" not in got.headers
    (asked,) = app.asked
    assert asked.line == "POST /a?b=%20 HTTP/1.1"
    assert asked.header("host") == HOST
    assert asked.header("cookie") == "a=1; b=2"
    assert asked.header("x-forwarded-for") == "10.0.0.1, 127.0.0.1"
    assert asked.header("x-forwarded-proto") == "https"
    assert asked.header("x-envoy-expected-rq-timeout-ms") == "120000"
    assert asked.header("te") is None


async def test_answers_without_a_body_and_to_head_end_with_their_headers(tmp_path):
    async def behaviour(asked: Asked) -> None:
        if asked.line.startswith("HEAD"):
            asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        else:
            asked.say(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")

    async with world(tmp_path, App(behaviour)) as w, http2(w) as client:
        to_head, to_get = client.ask(method="HEAD"), client.ask()
        assert (await client.answer(to_head)).headers["content-length"] == "5"
        assert (await client.answer(to_get)).status == 304
        unknown = client.ask_exactly(
            [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "x.localhost"),
                (":path", "/"),
            ]
        )
        assert (await client.answer(unknown)).status == 404


async def test_many_requests_at_once_share_one_connection(tmp_path):
    everybody = asyncio.Event()

    async def behaviour(asked: Asked) -> None:
        await everybody.wait()
        asked.reply(asked.line.encode())

    async with world(tmp_path, App(behaviour)) as w, http2(w) as client:
        numbers = {n: client.ask(f"/{n}") for n in range(100)}
        await until(lambda: w.balancer.total_in_flight == 100)
        everybody.set()
        for n, number in numbers.items():
            assert (await client.answer(number)).body == f"GET /{n} HTTP/1.1".encode()
        assert w.proxy.connections == 1


@pytest.mark.parametrize("size", [0, 1, 2 * MEGABYTE])
async def test_bodies_of_all_sizes_come_back_as_they_went(tmp_path, size):
    sent = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with world(tmp_path, App()) as w, http2(w) as client:
        for headers in ([], [("content-length", str(size))]):
            number = client.ask(method="PUT", headers=headers, end=False)
            await client.upload(number, sent)
            got = await client.answer(number)
            assert got.body == (sent or b"hello")


async def test_an_instance_that_does_not_read_holds_back_its_stream_and_no_other(tmp_path):
    async def behaviour(asked: Asked) -> None:
        if asked.line.startswith("POST"):
            await asyncio.Event().wait()
        asked.reply(b"other")

    async with world(tmp_path, App(behaviour)) as w, http2(w) as client:
        stuck = client.ask(method="POST", end=False)
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(client.upload(stuck, b"x" * 20 * MEGABYTE))
            await until(lambda: client.window(stuck) == 0)
            for _ in range(3):
                assert (await client.answer(client.ask())).body == b"other"
            assert not sender.done()
            sender.cancel()


async def test_a_client_that_opens_no_window_holds_the_instance_back(tmp_path):
    sent = 0

    async def behaviour(asked: Asked) -> None:
        nonlocal sent
        asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (50 * MEGABYTE))
        while sent < 50 * MEGABYTE:
            asked.say(b"x" * 65536)
            sent += 65536
            await asked.writer.drain()

    async with world(tmp_path, App(behaviour)) as w, http2(w) as client:
        client.acknowledging = False
        number = client.ask()
        await until(lambda: len(client.got[number].body) >= 65535)
        before = -1
        while before != sent:
            before = sent
            await until(lambda: True)
        assert sent < 20 * MEGABYTE
        assert len(client.got[number].body) == 65535


async def test_each_part_of_a_stream_of_events_passes_at_once(tmp_path):
    heard = asyncio.Event()

    async def behaviour(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        asked.say(b"Transfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            asked.say(b"9\r\ndata: %d\n\n\r\n" % number)
            await heard.wait()
            heard.clear()
        asked.say(b"0\r\n\r\n")

    async with world(tmp_path, App(behaviour)) as w, http2(w) as client:
        number = client.ask()
        for count in range(1, 4):
            await client.until(lambda count=count: len(client.got[number].body) == 9 * count)
            assert not client.got[number].ended
            heard.set()
        assert (await client.answer(number)).body.endswith(b"data: 2\n\n")


async def test_a_request_that_is_taken_back_frees_its_instance_at_once(tmp_path):
    async def behaviour(asked: Asked) -> None:
        await asked.reader.read()

    app = App(behaviour)
    async with world(tmp_path, app) as w, http2(w) as client:
        number = client.ask()
        await until(lambda: app.asked)
        client.h2.reset_stream(number, ErrorCodes.CANCEL)
        client.flush()
        await until(lambda: w.at_rest and not app.writers)


async def _big_or_hello(asked: Asked) -> None:
    if asked.line.startswith("GET /big"):
        asked.reply(b"x" * 300_000)
    else:
        await hello(asked)


TAKEN_BACK = {
    "room on the stream": lambda client, number: client.h2.increment_flow_control_window(9, number),
    "room on all streams": lambda client, _: client.h2.update_settings(
        {SettingCodes.INITIAL_WINDOW_SIZE: 10**6}
    ),
    "far too much room": lambda client, number: [
        client.frame(WindowUpdateFrame(number, window_increment=2**31 - 1)) for _ in range(2)
    ],
    "a malformed request": lambda client, _: client.h2.reset_stream(
        client.ask("/a b"), ErrorCodes.CANCEL
    ),
}


@pytest.mark.parametrize("change", TAKEN_BACK.values(), ids=TAKEN_BACK)
async def test_what_is_said_of_a_request_just_before_it_is_taken_back_harms_no_other(
    tmp_path, change
):
    """What comes in one read is known to the library as a whole before its first event is seen."""
    async with world(tmp_path, App(_big_or_hello)) as w, http2(w) as client:
        client.acknowledging = False
        number = client.ask("/big")
        await client.until(lambda: len(client.got[number].body) == 65535)
        change(client, number)
        client.h2.reset_stream(number, ErrorCodes.CANCEL)
        client.h2.increment_flow_control_window(10**6)
        client.flush()
        await until(lambda: w.at_rest)
        assert (await client.answer(client.ask())).body == b"hello"


async def test_an_answer_that_breaks_off_resets_its_stream(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        asked.hang_up()

    async with world(tmp_path, App(behaviour)) as w, http2(w) as client:
        got = await client.answer(client.ask())
        assert (got.body, got.reset) == (b"half", ErrorCodes.INTERNAL_ERROR)


async def test_an_early_answer_ends_the_upload_without_an_error(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.reply(b"too much", status="413 Content Too Large")

    async with world(tmp_path, App(behaviour)) as w, http2(w) as client:
        number = client.ask(method="POST", end=False)
        client.say(number, b"x")
        await client.until(lambda: client.got[number].ended)
        assert client.got[number].body == b"too much"
        await client.until(lambda: client.got[number].reset is not None)
        assert client.got[number].reset == ErrorCodes.NO_ERROR


async def test_a_client_that_expects_100_is_told_to_go_on(tmp_path):
    async with world(tmp_path, App()) as w, http2(w) as client:
        number = client.ask(method="POST", headers=[("expect", "100-continue")], end=False)
        await client.until(lambda: client.got[number].informed == ["100"])
        client.say(number, b"body", end=True)
        assert (await client.answer(number)).body == b"body"


async def test_stopping_lets_requests_end_and_takes_no_more(tmp_path):
    release = asyncio.Event()

    async def behaviour(asked: Asked) -> None:
        await release.wait()
        asked.reply(b"done")

    app = App(behaviour)
    async with world(tmp_path, app) as w, http2(w) as client:
        number = client.ask()
        await until(lambda: app.asked)
        async with asyncio.TaskGroup() as group:
            group.create_task(w.proxy.stop(5))
            await client.until(lambda: client.terminated is not None)
            assert client.terminated == ErrorCodes.NO_ERROR
            release.set()
            assert (await client.answer(number)).body == b"done"
            await client.ended()


# What is let in.

_PSEUDO = {":method": "GET", ":scheme": "https", ":authority": HOST, ":path": "/"}
REFUSED = {
    "a path without a slash": {":path": "a"},
    "a path with a blank": {":path": "/a b"},
    "a path with a line break": {":path": "/ HTTP/1.1\r\nHost: x"},
    "a fragment": {":path": "/#a"},
    "an absolute path": {":path": "http://other/"},
    "a method with a blank": {":method": "GET / HTTP/1.1"},
    "a line break in a value": {"a": "1\r\nb: 2"},
    "a NUL in a value": {"a": "1\x002"},
    "a control byte in a value": {"a": "1\x1b2"},
    "a colon in a name": {"a:b": "1"},
    "a blank in a name": {"a b": "1"},
    "an upper case name": {"A": "1"},
    "an empty name": {"": "1"},
    "a connection header": {"connection": "close"},
    "chunks": {"transfer-encoding": "chunked"},
    "another host": {"host": "other.localhost"},
    "an authority that is none": {":authority": "a/b"},
    "a length that is none": {"content-length": "+1"},
    "no path": {":path": None},
    "no method": {":method": None},
    "another pseudo-header": {":a": "1"},
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
async def test_an_ambiguous_request_is_refused_and_no_instance_sees_it(tmp_path, change):
    app = App()
    headers = [(name, value) for name, value in (_PSEUDO | change).items() if value is not None]
    headers.sort(key=lambda field: not field[0].startswith(":"))
    async with world(tmp_path, app) as w, http2(w) as client:
        number = client.ask_exactly(headers)
        await until(lambda: client.got[number].status == 400 or client.closed)
    assert app.asked == []


async def test_a_refused_head_request_has_no_body_that_would_end_the_connection(tmp_path):
    async with world(tmp_path, App()) as w, http2(w) as client:
        assert (await client.answer(client.ask("/a b", method="HEAD"))).status == 400
        assert (await client.answer(client.ask())).status == 200


async def test_a_body_that_is_not_as_long_as_it_said_never_becomes_whole(tmp_path):
    whole = []

    async def behaviour(asked: Asked) -> None:
        whole.append(await asked.body())

    async with world(tmp_path, App(behaviour)) as w, http2(w) as client:
        number = client.ask(method="POST", headers=[("content-length", "5")], end=False)
        client.say(number, b"abc", end=True)
        await client.ended()
    assert whole == []


async def test_a_head_above_the_limits_is_refused(tmp_path):
    async with world(tmp_path, App(), front={"header_bytes": 5000, "headers": 10}) as w:
        async with http2(w) as client:
            many = client.ask(headers=[("a", "1")] * 20)
            assert (await client.answer(many)).status == 431
            assert (await client.answer(client.ask())).status == 200
            client.ask(headers=[("a", "x" * 6000)])
            assert await client.ended() is not None
        assert (await w.ask()).status == 200


# Attacks. Whoever makes them is sent away; others notice nothing.


def rapid_reset(client, _number):
    for _ in range(1000):
        number = client.ask()
        client.h2.reset_stream(number, ErrorCodes.CANCEL)
    client.flush()


def pings(client, _number):
    for _ in range(5000):
        client.frame(PingFrame(0, opaque_data=b"12345678"))


def settings(client, _number):
    for _ in range(5000):
        client.frame(SettingsFrame(0, settings={3: 100}))


def priorities(client, number):
    for _ in range(5000):
        client.frame(PriorityFrame(number, depends_on=0, stream_weight=1))


def window_updates(client, number):
    for _ in range(5000):
        client.frame(WindowUpdateFrame(number, window_increment=1))


def empty_data(client, _number):
    number = client.ask(method="POST", end=False)
    for _ in range(5000):
        client.frame(DataFrame(number, data=b""))


def continuations(client, _number):
    client.frame(HeadersFrame(101, data=b"\x00\x01a\x01b"))
    for _ in range(5000):
        client.frame(ContinuationFrame(101, data=b"\x00\x01a\x01b"))


def header_bomb(client, _number):
    """One long header in the table, named again and again by one byte each."""
    bomb = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 10_000
    client.frame(HeadersFrame(101, data=bomb, flags=["END_HEADERS", "END_STREAM"]))


def too_many_streams(client, _number):
    for number in range(101, 101 + 2 * 200, 2):
        head = client.h2.encoder.encode([*_PSEUDO.items()])
        client.frame(HeadersFrame(number, data=head, flags=["END_HEADERS", "END_STREAM"]))


def not_http2(client, _number):
    client.writer.write(b"GET / HTTP/1.1\r\n\r\n")


ATTACKS = [
    rapid_reset,
    pings,
    settings,
    priorities,
    window_updates,
    empty_data,
    continuations,
    header_bomb,
    too_many_streams,
    not_http2,
]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_ends_its_connection_and_nothing_else(tmp_path, attack):
    async def behaviour(asked: Asked) -> None:
        if "/wait" in asked.line:
            await asked.reader.read()
        else:
            await hello(asked)

    app = App(behaviour)
    async with world(tmp_path, app) as w, http2(w) as bystander:
        async with http2(w) as client:
            number = client.ask("/wait")
            await until(lambda: app.asked)
            try:
                attack(client, number)
                await client.writer.drain()
            except ConnectionError:
                pass
            await client.ended()
        await until(lambda: w.balancer.total_in_flight == 0)
        assert (await bystander.answer(bystander.ask())).body == b"hello"
        assert w.proxy.connections == 1


async def test_mutated_frames_end_their_connection_at_most(tmp_path, caplog):
    """Whatever arrives of it is HTTP; nothing crashes, hangs or is left over."""
    random = Random(20261126)
    app = App()
    async with world(tmp_path, app) as w, http2(w) as bystander:
        offering = await asyncio.to_thread(
            ssl.create_default_context, cafile=w.certificates.ca_file
        )
        offering.set_alpn_protocols(["h2"])

        async def talk() -> None:
            client = await w.connect(w.proxy.https_port, name=HOST, context=offering)
            client.send(_mutated(_conversation(random), random))
            try:
                while True:
                    async with asyncio.timeout(0.1):
                        if not await client.reader.read(2**16):
                            break
            except (TimeoutError, ConnectionError):
                pass
            client.abort()

        for _ in range(8):
            async with asyncio.TaskGroup() as group:
                for _ in range(10):
                    group.create_task(talk())
        await until(lambda: w.at_rest and w.proxy.connections == 1)
        assert (await bystander.answer(bystander.ask())).status == 200
    assert "could not be handled" not in caplog.text
    assert {asked.line for asked in app.asked} >= {"GET / HTTP/1.1", "POST / HTTP/1.1"}


def _mutated(sent: bytes, random: Random) -> bytes:
    for _ in range(random.choice([0, 1, 1, 3])):
        at = random.randrange(24, len(sent))
        sent = sent[:at] + random.choice([b"", random.randbytes(1)]) + sent[at + 1 :]
    return sent


def _conversation(random: Random) -> bytes:
    h2 = H2Connection(H2Configuration(client_side=True))
    h2.initiate_connection()
    for _ in range(random.choice([1, 2, 5])):
        number = h2.get_next_available_stream_id()
        if random.random() < 0.5:
            h2.send_headers(number, [*_PSEUDO.items(), ("a", "1")], end_stream=True)
            continue
        h2.send_headers(number, [*(_PSEUDO | {":method": "POST"}).items()])
        h2.send_data(number, random.randbytes(random.choice([0, 10, 5000])), end_stream=True)
    return h2.data_to_send()


async def test_a_client_that_never_opens_its_window_is_cut_off(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.reply(b"x" * MEGABYTE)

    front = {"rate_grace": 0.1}
    async with world(tmp_path, App(behaviour), front=front) as w, http2(w) as client:
        client.acknowledging = False
        got = await client.answer(client.ask())
        assert got.reset == CALM
        await until(lambda: w.at_rest)


async def test_curl_speaks_http_2_with_it(tmp_path):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl")
    async with world(tmp_path, App()) as w:
        process = await asyncio.create_subprocess_exec(
            curl, "-sS", "--http2", "--cacert", w.certificates.ca_file, "--data-binary", "@-",
            "--resolve", f"{HOST}:{w.proxy.https_port}:127.0.0.1",
            "-w", "%{http_version}", f"https://{HOST}:{w.proxy.https_port}/",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await process.communicate(b"x" * 300_000)
    assert said in {b"x" * 300_000 + b"2", b"x" * 300_000 + b"1.1"}
