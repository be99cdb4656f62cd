"""What is let in: nothing that a load balancer and an instance could understand differently."""

import pytest

from emulator.surfaces.proxy.requests import CHUNK_OVERHEAD
from tests.surfaces.proxy_world import HOST, App, Asked, until, world

POST = f"POST / HTTP/1.1\r\nHost: {HOST}\r\n"
CHUNKED = POST + "Transfer-Encoding: chunked\r\n\r\n"
GET = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n"

BAD_HEADS = {
    "bare line feeds": f"GET / HTTP/1.1\nHost: {HOST}\n\n",
    "one bare line feed": f"{GET}A: 1\nB: 2\r\n\r\n",
    "a bare carriage return": f"{GET}A: 1\rB: 2\r\n\r\n",
    "a folded first header": f"GET / HTTP/1.1\r\n Host: {HOST}\r\n\r\n",
    "a folded header": f"{GET}A: 1\r\n\tB: 2\r\n\r\n",
    "a tab before the colon": f"{GET}A\t: 1\r\n\r\n",
    "a header without a name": f"{GET}: 1\r\n\r\n",
    "a header without a colon": f"{GET}A\r\n\r\n",
    "a control byte in a name": f"{GET}A\x01: 1\r\n\r\n",
    "a letter that is not ASCII in a name": f"{GET}\xc4: 1\r\n\r\n",
    "a NUL in a value": f"{GET}A: 1\x002\r\n\r\n",
    "a control byte in a value": f"{GET}A: 1\x1b2\r\n\r\n",
    "the same length twice": f"{POST}Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "a list of lengths": f"{POST}Content-Length: 1, 1\r\n\r\na",
    "no length": f"{POST}Content-Length:\r\n\r\na",
    "a hexadecimal length": f"{POST}Content-Length: 0x1\r\n\r\na",
    "a negative length": f"{POST}Content-Length: -1\r\n\r\na",
    "a length of more than 64 bits": f"{POST}Content-Length: 18446744073709551617\r\n\r\na",
    "a length of 64 bits": f"{POST}Content-Length: 9223372036854775808\r\n\r\na",
    "chunks and a length": (
        f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
    ),
    "xchunked": f"{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with a parameter": f"{POST}Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "chunked in quotes": f'{POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunked after a vertical tab": f"{POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": f"{POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in two headers": f"{POST}{'Transfer-Encoding: chunked%' * 2}%0%%".replace("%", "\r\n"),
    "gzip and chunked": f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked and gzip": f"{POST}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "an empty coding and chunked": f"{POST}Transfer-Encoding: , chunked\r\n\r\n0\r\n\r\n",
    "identity": f"{POST}Transfer-Encoding: identity\r\n\r\n",
    "no coding": f"{POST}Transfer-Encoding:\r\n\r\n",
    "chunks in HTTP/1.0": f"POST / HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks beside an upgrade that hides them": (
        f"{POST}Transfer-Encoding: chunked\t\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n0\r\n\r\n"
    ),
    "another host in the target": f"GET http://other.localhost/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "a user in the target": f"GET http://me@{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "another scheme": f"GET ftp://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "a host in the target only": f"GET http://{HOST}/ HTTP/1.1\r\n\r\n",
    "no host": "GET / HTTP/1.1\r\n\r\n",
    "two hosts": f"{GET}Host: other.localhost\r\n\r\n",
    "two hosts in one": f"GET / HTTP/1.1\r\nHost: {HOST}, other\r\n\r\n",
    "a host with a path": f"GET / HTTP/1.1\r\nHost: {HOST}/a\r\n\r\n",
    "a host with a user": f"GET / HTTP/1.1\r\nHost: me@{HOST}\r\n\r\n",
    "a host with a blank": f"GET / HTTP/1.1\r\nHost: {HOST} b\r\n\r\n",
    "two blanks": f"GET  / HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "tabs for blanks": f"GET\t/\tHTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "a blank at the end of the line": f"GET / HTTP/1.1 \r\nHost: {HOST}\r\n\r\n",
    "a blank in the target": f"GET /a b HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "a control byte in the target": f"GET /\x7f HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "a fragment": f"GET /a#b HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "a target that is no path": f"GET a HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "HTTP/0.9": "GET /\r\n\r\n",
    "HTTP/1.2": f"GET / HTTP/1.2\r\nHost: {HOST}\r\n\r\n",
    "HTTP/2.0": f"GET / HTTP/2.0\r\nHost: {HOST}\r\n\r\n",
    "HTTP/2 without being asked": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "RTSP": f"GET / RTSP/1.0\r\nHost: {HOST}\r\n\r\n",
    "TLS on a plain port": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a line that never was one": "EHLO me\x00",
}


@pytest.mark.parametrize("sent", BAD_HEADS.values(), ids=BAD_HEADS)
async def test_an_ambiguous_request_is_refused_and_no_instance_sees_it(tmp_path, sent):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.send(sent)
        answer = await client.answer()
        assert (answer.status, answer.body) == (400, b"Bad Request")
        assert answer.header("connection") == "close"
        assert answer.header("x-apprunner-emulator-reason")
        assert await client.ended()
    assert app.asked == []


BAD_CHUNKS = {
    "a prefix": "0x3\r\nabc\r\n",
    "a sign": "+3\r\nabc\r\n",
    "a minus": "-3\r\nabc\r\n",
    "a blank before": " 3\r\nabc\r\n",
    "a blank behind": "3 \r\nabc\r\n",
    "more than 64 bits": "10000000000000003\r\nabc\r\n",
    "bare line feeds": "3\nabc\n",
    "no size": "\r\nabc\r\n",
    "more data than it says": "3\r\nabcd\r\n",
    "a bare line feed after the data": "3\r\nabc\n0\r\n\r\n",
    "an extension with a bare line feed": "3;a=\nabc\r\n0\r\n\r\n",
    "an extension with a bare carriage return": "3;a\rb\r\nabc\r\n0\r\n\r\n",
    "an extension without a name": "3;\r\nabc\r\n0\r\n\r\n",
    "extensions without end": f"3;{'a' * 2 * CHUNK_OVERHEAD}",
    "zeros without end": "0" * 2 * CHUNK_OVERHEAD,
    "a trailer that is framing": "3\r\nabc\r\n0\r\nContent-Length: 7\r\n\r\n",
    "a folded trailer": "3\r\nabc\r\n0\r\nA: 1\r\n 2\r\n\r\n",
    "trailers without end": "0\r\n" + "A: 1\r\n" * 500,
}


@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_a_chunk_that_can_be_read_in_two_ways_ends_the_request(tmp_path, chunks):
    """The instance may have seen the head, never more of the body than was certain."""
    bodies = []

    async def behaviour(asked: Asked) -> None:
        bodies.append(b"")
        async for part in asked.parts():
            bodies[-1] += part
        asked.reply()

    async with world(tmp_path, App(behaviour)) as w:
        client = await w.connect()
        client.send(CHUNKED + chunks)
        assert (await client.answer()).status == 400
        assert await client.ended()
    assert all(b"abc".startswith(body[:3]) and len(body) <= 3 for body in bodies)


async def test_what_was_asked_before_a_malformed_request_is_answered_first(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.send(
            f"{POST}Content-Length: 1\r\n\r\na{CHUNKED}1\r\nb\r\n0\r\n\r\nGET / HTTP/9\r\n\r\n"
        )
        assert [(await client.answer()).body for _ in range(2)] == [b"a", b"b"]
        assert (await client.answer()).status == 400
        assert await client.ended()
    assert len(app.asked) == 2


async def test_the_bytes_of_a_body_are_never_a_request(tmp_path):
    inner = f"GET /inner HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.send(f"{POST}Content-Length: {len(inner)}\r\n\r\n{inner}")
        assert (await client.answer()).body == inner.encode()
        client.send(f"{CHUNKED}{len(inner):x}\r\n{inner}\r\n0\r\n\r\n")
        assert (await client.answer()).body == inner.encode()
    assert {asked.line for asked in app.asked} == {"POST / HTTP/1.1"}


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 7])
async def test_where_the_network_cuts_does_not_matter(tmp_path, cut):
    sent = f"\r\n{CHUNKED}3\r\na\r\n\r\n0\r\n\r\n{GET}\r\n".encode()
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        await until(lambda: w.proxy._floor.connections)
        (connection,) = w.proxy._floor.connections
        for begin in range(0, len(sent), cut):
            connection.data_received(sent[begin : begin + cut])
        assert (await client.answer()).body == b"a\r\n"
        assert (await client.answer()).body == b"hello"


async def test_a_head_may_be_as_long_as_the_limit_and_not_longer(tmp_path):
    async with world(tmp_path, App(), front={"header_bytes": 1000, "headers": 10}) as w:
        client = await w.connect()
        room = 1000 - len(f"{GET}A: \r\n\r\n")
        client.get(headers=f"A: {'x' * room}\r\n")
        assert (await client.answer()).status == 200
        client.get(headers="A: 1\r\n" * 9)
        assert (await client.answer()).status == 200
        client.get(headers="A: 1\r\n" * 10)
        assert (await client.answer()).status == 431
        for headers in (f"A: {'x' * (room + 1)}\r\n", "A: 1\r\n" * 200):
            client = await w.connect()
            client.get(headers=headers)
            assert (await client.answer()).status == 431
        endless = await w.connect()
        endless.send(f"{GET}A: {'x' * 1000}")
        assert (await endless.answer()).status == 431


async def test_headers_of_the_load_balancer_cannot_be_forged(tmp_path):
    app = App()
    forged = (
        "X-Envoy-Internal: true\r\nX-Envoy-Retry-On: 5xx\r\nX_Forwarded_For: 6.6.6.6\r\n"
        "X-Forwarded_Proto: gopher\r\nTransfer_Encoding: chunked\r\nContent_Length: 9\r\n"
        "X_Envoy_External_Address: 6.6.6.6\r\nConnection: x-forwarded-proto, x-request-id\r\n"
        "X-Fine_Name: 1\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n"
    )
    async with world(tmp_path, app, request_timeout=120) as w:
        await w.ask(headers=forged)
    (asked,) = app.asked
    assert {name for name, _ in asked.headers} == {
        "host",
        "x-fine_name",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-envoy-external-address",
        "x-envoy-expected-rq-timeout-ms",
        "x-request-id",
    }
    assert len(asked.header("x-request-id") or "") == 36


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, '"', "\xe9"])
async def test_a_request_id_that_cannot_be_written_anywhere_is_replaced(tmp_path, given):
    app = App()
    async with world(tmp_path, app) as w:
        await w.ask(headers=f"X-Request-Id: {given}\r\n")
    assert len(app.asked[0].header("x-request-id") or "") == 36


# Answers.


BAD_ANSWERS = {
    "a bare carriage return": b"HTTP/1.1 200 OK\r\nA: 1\rB: 2\r\nContent-Length: 0\r\n\r\n",
    "a NUL": b"HTTP/1.1 200 OK\r\nA: 1\0\r\nContent-Length: 0\r\n\r\n",
    "a name that is none": b"HTTP/1.1 200 OK\r\nA b: 1\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
    "a coding under the chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    ),
    "chunked twice": (
        b"HTTP/1.1 200 OK\r\n"
        + b"Transfer-Encoding: chunked\r\n" * 2
        + b"\r\n5\r\nhello\r\n0\r\n\r\n"
    ),
    "too long a header": b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"A: 1\r\n" * 200 + b"\r\n",
}


@pytest.mark.parametrize("said", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_an_answer_that_could_be_read_in_two_ways_is_a_protocol_error(tmp_path, said):
    async def behaviour(asked: Asked) -> None:
        asked.say(said)

    async with world(tmp_path, App(behaviour)) as w:
        answer = await w.ask()
    assert answer.status == 503
    assert b"reset reason: protocol error" in answer.body


SURPLUS = {
    "after a length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP?",
    "another answer": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * 2,
    "after chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("said", SURPLUS.values(), ids=SURPLUS)
async def test_an_instance_that_sends_too_much_is_cut_off_after_its_answer(tmp_path, said):
    async def behaviour(asked: Asked) -> None:
        asked.say(said)

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        for _ in range(3):
            client.get()
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, b"ok")
        await until(lambda: not app.writers)
    assert app.connections == 3


async def test_a_body_where_none_may_be_does_not_reach_the_client(tmp_path):
    async def behaviour(asked: Asked) -> None:
        if asked.line.startswith("HEAD"):
            asked.reply(b"a body", headers="X: 1\r\n")
        else:
            asked.say(b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc")

    async with world(tmp_path, App(behaviour)) as w:
        client = await w.connect()
        for _ in range(2):
            client.get(method="HEAD")
            assert (await client.answer(to_head=True)).header("content-length") == "6"
            client.get()
            answer = await client.answer()
            assert (answer.status, answer.header("content-length")) == (204, None)


async def test_an_instance_may_send_its_head_slowly(tmp_path):
    async def behaviour(asked: Asked) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":
            asked.say(bytes([byte]))
            await asked.writer.drain()

    async with world(tmp_path, App(behaviour)) as w:
        assert (await w.ask()).body == b"ok"
