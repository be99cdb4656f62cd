"""Forwarding: what an instance and a client see of each other."""

import asyncio
import re

import pytest

from emulator.controllers.balancer import Door
from tests.surfaces.proxy_world import CLOCK, HOST, App, Asked, hello, until, world

documented = pytest.mark.documented
observed = pytest.mark.observed
assumed = pytest.mark.assumed


# Requests, as an instance sees them.


@observed(source="a dump of headers behind App Runner")
async def test_an_instance_is_told_who_asked_and_how(tmp_path):
    app = App()
    async with world(tmp_path, app, request_timeout=120) as w:
        await w.ask("/a/b?c=%20d")
    (asked,) = app.asked
    assert asked.line == "GET /a/b?c=%20d HTTP/1.1"
    assert asked.header("host") == HOST
    assert asked.header("x-forwarded-for") == "127.0.0.1"
    assert asked.header("x-forwarded-proto") == "http"
    assert asked.header("x-envoy-external-address") == "127.0.0.1"
    assert asked.header("x-envoy-expected-rq-timeout-ms") == "120000"
    assert len(asked.header("x-request-id") or "") == 36


@documented(source="roadmap issue 52: X-Forwarded-Host, -Port and -Ssl are not sent")
async def test_an_instance_is_not_told_more(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        await w.ask()
    assert {name for name, _ in app.asked[0].headers} == {
        "host",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-envoy-external-address",
        "x-envoy-expected-rq-timeout-ms",
        "x-request-id",
    }


async def test_what_a_client_says_about_its_way_is_appended_to_or_not_believed(tmp_path):
    app = App()
    mine = (
        "X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\nX-Forwarded-Proto: gopher\r\n"
        "X-Envoy-External-Address: 6.6.6.6\r\nX-Request-Id: mine\r\n"
    )
    async with world(tmp_path, app) as w:
        await w.ask(headers=mine)
    (asked,) = app.asked
    assert asked.header("x-forwarded-for") == "10.0.0.1, 10.0.0.2, 127.0.0.1"
    assert asked.header("x-forwarded-proto") == "http"
    assert asked.header("x-envoy-external-address") == "127.0.0.1"
    assert asked.header("x-request-id") == "mine"


async def test_headers_are_copied_in_order_byte_by_byte_but_not_those_of_one_hop(tmp_path):
    app = App()
    sent = (
        "Connection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
        "Proxy-Connection: x\r\nB: \xe9\r\nA: 1\r\nB: 2\r\nCookie: a=1; b=2\r\n"
    )
    async with world(tmp_path, app) as w:
        await w.ask(headers=sent)
    names = [(name, value) for name, value in app.asked[0].headers if not name.startswith("x-")]
    assert names[1:] == [("b", "\xe9"), ("a", "1"), ("b", "2"), ("cookie", "a=1; b=2")]


async def test_a_client_cannot_take_away_headers_that_a_request_stands_on(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.post(b"x", headers="Connection: host, content-length, x-forwarded-for\r\n")
        assert (await client.answer()).body == b"x"
    assert app.asked[0].header("host") == HOST
    assert app.asked[0].header("x-forwarded-for") == "127.0.0.1"


async def test_requests_on_one_connection_do_not_inherit_each_others_headers(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        for headers in ("A: 1\r\n", "A: 1\r\n", "A: 2\r\n", "", "A: 1\r\nX-Request-Id: mine\r\n"):
            client.get(headers=headers)
            await client.answer()
    assert [asked.header("a") for asked in app.asked] == ["1", "1", "2", None, "1"]
    ids = [asked.header("x-request-id") for asked in app.asked]
    assert len(set(ids)) == 5
    assert ids[-1] == "mine"


async def test_an_absolute_target_is_sent_in_origin_form(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect(w.proxy.https_port, name=HOST)
        client.send(f"GET https://{HOST}/p?q HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
        assert (await client.answer()).status == 200
    assert app.asked[0].line == "GET /p?q HTTP/1.1"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
async def test_every_method_goes_through(tmp_path, method):
    app = App()
    async with world(tmp_path, app) as w:
        assert (await w.ask(method=method)).status == 200
    assert app.asked[0].line.startswith(method)


@pytest.mark.parametrize("target", ["/?", '/a?%zz&=;[{|\\^`"<>', "/%2e%2e/./../b//", "//a//b?c?d"])
async def test_a_target_is_passed_on_as_it_came_also_where_nobody_could_parse_it(tmp_path, target):
    app = App()
    async with world(tmp_path, app) as w:
        assert (await w.ask(target)).status == 200
        assert (await w.ask(f"http://{HOST}{target}")).status == 200
    assert [asked.line for asked in app.asked] == [f"GET {target} HTTP/1.1"] * 2


async def test_options_for_the_whole_server_go_through(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        assert (await w.ask("*", method="OPTIONS")).status == 200
    assert app.asked[0].line == "OPTIONS * HTTP/1.1"


# Answers, as a client sees them.


async def test_an_answer_is_envoys_in_its_headers_and_the_instances_in_all_else(tmp_path):
    async def behaviour(asked: Asked) -> None:
        headers = "Server: gunicorn\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nKeep-Alive: 1\r\n"
        asked.reply(b"tea", status="418 I'm a teapot", headers=headers)

    async with world(tmp_path, App(behaviour)) as w:
        answer = await w.ask()
    assert (answer.status, answer.body) == (418, b"tea")
    assert answer.header("server") == "envoy"
    assert answer.header("x-envoy-upstream-service-time") is not None
    assert answer.header("date") is not None
    assert answer.header("keep-alive") is answer.header("connection") is None
    assert [v for n, v in answer.headers if n == "set-cookie"] == ["a=1", "b=2"]


async def test_an_instances_own_date_is_kept(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.reply(headers="Date: yesterday\r\n")

    async with world(tmp_path, App(behaviour)) as w:
        assert (await w.ask()).header("date") == "yesterday"


async def test_an_answer_to_head_has_a_length_and_no_body_and_the_connection_goes_on(tmp_path):
    async def behaviour(asked: Asked) -> None:
        if asked.line.startswith("HEAD"):
            asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        else:
            await hello(asked)

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        for _ in range(2):
            client.get(method="HEAD")
            assert (await client.answer(to_head=True)).header("content-length") == "5"
            client.get()
            assert (await client.answer()).body == b"hello"
    assert app.connections == 1


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_an_answer_without_a_body_does_not_end_the_connection(tmp_path, status):
    async def behaviour(asked: Asked) -> None:
        asked.say(f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode())

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        for _ in range(3):
            client.get()
            answer = await client.answer()
            assert answer.status == int(status[:3])
            assert answer.header("transfer-encoding") is None
            assert answer.header("content-length") is None
    assert app.connections == 1


async def test_interim_answers_are_the_load_balancers_business(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        asked.reply(b"final")

    async with world(tmp_path, App(behaviour)) as w:
        answer = await w.ask()
    assert (answer.status, answer.body) == (200, b"final")


async def test_a_body_that_ends_with_the_connection_is_chunked_for_the_client(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        asked.hang_up()

    async with world(tmp_path, App(behaviour)) as w:
        client = await w.connect()
        for _ in range(2):
            client.get()
            answer = await client.answer()
            assert answer.header("transfer-encoding") == "chunked"
            assert answer.body == b"all of it"


async def test_an_instance_that_speaks_http_1_0_is_understood(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.say(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        asked.hang_up()

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        for _ in range(3):
            client.get()
            assert (await client.answer()).body == b"ok"
    assert app.connections == 3


# Connections.


async def test_a_client_keeps_its_connection_and_so_does_the_instance(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        for _ in range(20):
            client.get()
            assert (await client.answer()).body == b"hello"
        assert w.proxy.connections == 1
    assert app.connections == 1


async def test_pipelined_requests_are_answered_in_order(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.reply(asked.line.split()[1].encode())

    async with world(tmp_path, App(behaviour)) as w:
        client = await w.connect()
        for number in range(50):
            client.get(f"/{number}")
        bodies = [(await client.answer()).body for _ in range(50)]
    assert bodies == [f"/{number}".encode() for number in range(50)]


async def test_a_client_that_asks_for_the_end_of_the_connection_gets_it(tmp_path):
    async with world(tmp_path, App()) as w:
        client = await w.connect()
        client.get(headers="Connection: close\r\n")
        assert (await client.answer()).header("connection") == "close"
        assert await client.ended()


@documented(source="roadmap issue 121: HTTP/1.0 is accepted")
async def test_http_1_0_is_answered_and_closed_unless_it_asks_to_be_kept(tmp_path):
    async def behaviour(asked: Asked) -> None:
        if "chunked" in asked.line:
            asked.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        else:
            asked.reply(b"ok")

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.send("GET /kept HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (await client.answer()).header("connection") == "keep-alive"
        client.send("GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = await client.answer()
        assert (answer.body, answer.header("transfer-encoding")) == (b"ok", None)
        assert await client.ended()
        client = await w.connect()
        client.send("GET /once HTTP/1.0\r\n\r\n")
        assert (await client.answer()).body == b"ok"
        assert await client.ended()
    assert app.asked[0].header("host") == "localhost"
    assert all(asked.line.endswith("HTTP/1.1") for asked in app.asked)


async def test_a_thousand_requests_at_once_respect_the_concurrency_limit(tmp_path):
    now = highest = 0

    async def behaviour(asked: Asked) -> None:
        nonlocal now, highest
        now += 1
        highest = max(highest, now)
        await CLOCK.sleep(0.001)
        asked.reply(b"ok")
        now -= 1

    app = App(behaviour)
    async with world(tmp_path, app, max_concurrency=5, queue_limit=1000, queue_wait=15) as w:
        clients = [await w.connect() for _ in range(1000)]
        for client in clients:
            client.get()
        answers = await asyncio.gather(*(client.answer() for client in clients))
        assert w.balancer.demand().peak == 1000
    assert {answer.status for answer in answers} == {200}
    assert highest == 5
    assert app.connections < 100


# Answers that no instance gave.


@assumed(why="Envoy's answer where no route matches")
async def test_an_unknown_host_is_not_found_with_an_empty_body(tmp_path):
    async with world(tmp_path, App()) as w:
        client = await w.connect(w.proxy.https_port, name="unknown.localhost")
        client.send("GET / HTTP/1.1\r\nHost: unknown.localhost\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.body) == (404, b"")
        assert answer.header("server") == "envoy"
        client.get()  # the right host, on the same connection
        assert (await client.answer()).status == 200


@assumed(why="Envoy's answer to an upgrade that is not configured; roadmap issue 13")
async def test_websockets_are_forbidden(tmp_path):
    app = App()
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n"
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.get(headers=upgrade)
        assert (await client.answer()).status == 403
        assert await client.ended()
    assert app.asked == []


async def test_an_offer_of_http_2_is_ignored(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        answer = await w.ask(headers="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n")
    assert answer.status == 200
    assert app.asked[0].header("upgrade") is None


async def test_connect_is_forbidden(tmp_path):
    async with world(tmp_path, App()) as w:
        client = await w.connect()
        client.send(f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
        assert (await client.answer()).status == 403


async def test_where_the_time_went_is_shown_for_a_request_that_was_not_warm(tmp_path):
    async with world(tmp_path, app := App()) as w:
        w.balancer.rest(app.target().instance)
        client = await w.connect()
        client.get()
        thawed = (await client.answer()).header("server-timing") or ""
        assert re.fullmatch(r"choose;dur=0\.0, thaw;dur=[\d.]+, app;dur=[\d.]+", thawed)
        client.get()
        assert (await client.answer()).header("server-timing") is None


async def test_it_is_not_shown_where_that_is_switched_off(tmp_path):
    async with world(tmp_path, app := App(), front={"server_timing": False}) as w:
        w.balancer.rest(app.target().instance)
        assert (await w.ask()).header("server-timing") is None


@documented(source="roadmap issue 224: 429 while every instance is busy")
async def test_a_full_queue_is_too_many_requests(tmp_path):
    release = asyncio.Event()

    async def behaviour(asked: Asked) -> None:
        await release.wait()
        asked.reply(b"ok")

    async with world(tmp_path, App(behaviour), max_concurrency=1, queue_limit=1) as w:
        first, second, third = [await w.connect() for _ in range(3)]
        first.get()
        await until(lambda: w.balancer.total_in_flight)
        second.get()
        await until(lambda: w.balancer.waiting)
        third.get()
        answer = await third.answer()
        assert (answer.status, answer.body) == (429, b"Too Many Requests")
        assert answer.header("retry-after") == "1"
        assert "1 requests wait" in (answer.header("x-apprunner-emulator-reason") or "")
        release.set()
        assert [(await c.answer()).status for c in (first, second)] == [200, 200]


HTML = "Accept: text/html,application/xhtml+xml\r\n"


async def test_a_browser_gets_the_waiting_page_only_where_it_is_switched_on(tmp_path, monkeypatch):
    monkeypatch.setattr("emulator.surfaces.proxy.forward.PATIENCE", 0.05)
    async with world(tmp_path, routed=(), queue_wait=0.2) as w:
        assert (await w.ask(headers=HTML)).body == b"no healthy upstream"
    async with world(tmp_path, routed=(), queue_wait=0.2, front={"waiting_page": True}) as w:
        page = await w.ask(headers=HTML)
        assert (page.status, page.header("retry-after")) == (503, "1")
        assert b'http-equiv="refresh"' in page.body
        assert page.header("content-type") == "text/html; charset=utf-8"
        assert (await w.ask(headers="Accept: */*\r\n")).body == b"no healthy upstream"
        assert (await w.ask(headers=HTML, method="POST")).body == b"no healthy upstream"
        w.balancer.serve(Door.PAUSED)
        assert (await w.ask(headers=HTML)).body == b"no healthy upstream"


@assumed(why="reports say 503 or 404")
async def test_a_paused_service_is_unavailable_and_says_why(tmp_path):
    async with world(tmp_path, App()) as w:
        w.balancer.serve(Door.PAUSED)
        answer = await w.ask()
        assert answer.status == 503
        assert answer.header("x-apprunner-emulator-reason") == "the service is paused"
        w.balancer.serve(Door.OPEN)
        assert (await w.ask()).status == 200


async def test_an_answer_of_the_load_balancers_to_head_has_no_body(tmp_path):
    async with world(tmp_path, App()) as w:
        w.balancer.serve(Door.PAUSED)
        client = await w.connect()
        for _ in range(2):
            client.get(method="HEAD")
            assert (await client.answer(to_head=True)).status == 503


BAD = {
    "rubbish": "\x16\x03\x01 rubbish\r\n\r\n",
    "no host": "GET / HTTP/1.1\r\n\r\n",
    "two hosts": f"GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n\r\n",
    "two lengths": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a blank before the colon": "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "a folded header": "GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\n 2\r\n\r\n",
    "a length that is none": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
}


@pytest.mark.parametrize("request_text", BAD.values(), ids=BAD)
async def test_a_malformed_request_is_refused_and_the_connection_closed(tmp_path, request_text):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.send(request_text)
        assert (await client.answer()).status == 400
    assert app.asked == []


async def test_headers_too_large_are_refused_as_such(tmp_path):
    async with world(tmp_path, App()) as w:
        client = await w.connect()
        client.get(headers=f"A: {'x' * 70_000}\r\n")
        assert (await client.answer()).status == 431
        assert await client.ended()
