"""Clients that are slow, many, or gone: none of them is anybody else's trouble."""

import asyncio
import contextlib
import os
import resource
import socket
import sys

import pytest

from emulator import bootstrap
from emulator.model.settings import LoadBalancer
from emulator.surfaces.proxy.floor import Pace
from tests.helpers import turn
from tests.surfaces.proxy_world import HOST, App, Asked, hello, until, world

MEGABYTE = 2**20
QUICK = {"rate_grace": 0.1, "header_timeout": 0.1, "idle_timeout": 0.1}


@pytest.fixture(autouse=True)
def quick_ticks(monkeypatch):
    monkeypatch.setattr("emulator.surfaces.proxy.listener.TICK", 0.02)


async def test_a_head_that_does_not_end_is_given_up(tmp_path):
    app = App()
    async with world(tmp_path, app, front=QUICK) as w:
        client = await w.connect()
        client.send(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nA")
        answer = await client.answer()
        assert (answer.status, answer.body) == (408, b"Request Timeout")
        assert "the head took longer than 0.1 seconds" in (
            answer.header("x-apprunner-emulator-reason") or ""
        )
        assert await client.ended()
    assert app.asked == []


async def test_a_connection_without_requests_is_closed(tmp_path):
    async with world(tmp_path, App(), front=QUICK) as w:
        silent, kept = await w.connect(), await w.connect()
        kept.get()
        assert (await kept.answer()).status == 200
        assert await silent.ended()
        assert await kept.ended()


async def test_a_body_that_trickles_is_given_up(tmp_path):
    app = App()
    async with world(tmp_path, app, front=QUICK) as w:
        client = await w.connect()
        client.get(method="POST", headers="Content-Length: 1000\r\n")
        client.send("x")
        assert (await client.answer()).status == 408
        assert await client.ended()
        await until(lambda: w.at_rest and not app.writers)


async def test_a_client_that_does_not_read_is_cut_off(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.reply(b"x" * 20 * MEGABYTE)

    async with world(tmp_path, App(behaviour), front=QUICK) as w:
        plain = socket.create_connection(("127.0.0.1", w.port))
        with plain:
            plain.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            await until(lambda: w.balancer.total_in_flight)
            await until(lambda: w.at_rest and not w.proxy.connections)


async def test_who_asks_on_without_reading_gets_no_more_answers(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.reply(b"x" * (50_000 if "/big" in asked.line else 1))

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        plain.connect(("127.0.0.1", w.port))
        client = await w.connect()
        with plain:
            plain.sendall(f"GET /big HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode() * 1000)
            await until(lambda: any(one.writing_paused for one in w.proxy._floor.connections))
            for _ in range(300):
                client.get()
                await client.answer()
            assert sum("/big" in asked.line for asked in app.asked) < 200


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="TCP_INFO is Linux's")
@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_vanishes_while_it_is_not_read_leaves_the_queue(tmp_path, reset):
    async with world(tmp_path, queue_wait=60, request_timeout=60) as w:
        client = await w.connect()
        client.get(method="POST", headers=f"Content-Length: {MEGABYTE}\r\n")
        await until(lambda: w.balancer.waiting)
        (connection,) = w.proxy._floor.connections
        while not connection._reading_paused:
            client.send(bytes(2**16))
            await turn()
        if reset:
            client.abort()
        else:
            client.writer.write_eof()
        await until(lambda: w.at_rest)


async def test_a_client_that_waits_for_its_answer_is_not_slow(tmp_path):
    release = asyncio.Event()

    async def behaviour(asked: Asked) -> None:
        await release.wait()
        await hello(asked)

    async with world(tmp_path, App(behaviour), front=QUICK) as w:
        client, expecting = await w.connect(), await w.connect()
        client.get()
        await until(lambda: w.balancer.total_in_flight)
        w.balancer.route([])
        expecting.get(method="POST", headers="Expect: 100-continue\r\nContent-Length: 2\r\n")
        await until(lambda: w.balancer.waiting)
        now = asyncio.get_running_loop().time()
        for later in range(1, 5):  # it has all the time it needs
            w.proxy._floor.tick(now + later)
        release.set()
        assert (await client.answer()).body == b"hello"
        assert not w.at_rest


def test_a_pace_is_judged_on_average_of_the_grace():
    pace = Pace(LoadBalancer(minimum_rate=100, rate_grace=10))
    moved = [0, 0, 1000, 1000, 1500, 1999]
    judged = [pace.too_slow(5.0 * n, m, expected=True) for n, m in enumerate(moved)]
    assert judged == [False, False, False, False, True, False]
    assert not pace.too_slow(1000, 1999, expected=False)
    assert not pace.too_slow(1001, 1999, expected=True)


async def test_five_hundred_clients_that_dawdle_slow_nobody_down(tmp_path):
    app = App()
    async with world(tmp_path, app, front={"header_timeout": 60}, queue_limit=1000) as w:
        slow = [await w.connect() for _ in range(500)]
        for client in slow:
            client.send(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nA: ")
        for _ in range(50):
            assert (await w.ask()).status == 200
        for client in slow:
            client.send("1\r\n\r\n")
        for client in slow:
            assert (await client.answer()).status == 200
    assert len(app.asked) == 550


@pytest.mark.parametrize("limit", ["connections", "connections_per_client"])
async def test_connections_above_a_limit_are_refused_and_the_log_says_so(tmp_path, caplog, limit):
    async with world(tmp_path, App(), front={limit: 2}) as w:
        first, second, third = [await w.connect() for _ in range(3)]
        for client in (first, second):
            client.get()
            assert (await client.answer()).status == 200
        third.get()
        assert await third.ended()
        first.close()
        await until(lambda: w.proxy.connections == 1)
        assert (await w.ask()).status == 200
    assert caplog.text.count(f"load_balancer.{limit}") == 1


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_client_that_vanishes_amid_its_body_frees_its_instance_at_once(tmp_path, chunked):
    app = App()
    async with world(tmp_path, app, max_concurrency=1) as w:
        client = await w.connect()
        framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 9"
        client.get(method="POST", headers=f"{framing}\r\n")
        client.send("3\r\nabc\r\n")
        await until(lambda: app.asked)
        client.abort()
        assert (await w.ask()).status == 200
        await until(lambda: len(app.writers) == 1)


async def test_without_descriptors_a_request_is_refused_and_no_instance_is_blamed(tmp_path, caplog):
    app = App()
    async with world(tmp_path, app, queue_wait=1.0) as w:
        client = await w.connect()
        client.get()
        assert (await client.answer()).status == 200
        await until(lambda: not app.writers)  # the kept connection is gone: a dial is needed
        with no_descriptors():
            client.get()
            answer = await client.answer()
        assert (answer.status, answer.body) == (503, b"no healthy upstream")
        reason = answer.header("x-apprunner-emulator-reason") or ""
        assert reason == "the emulator has no file descriptor left (ulimit -n)"
        assert reason in caplog.text
        client.get()
        assert (await client.answer()).status == 200


async def test_without_descriptors_the_log_says_why_nobody_can_connect(tmp_path, caplog):
    app = App()
    async with world(tmp_path, app) as w:
        with socket.socket() as client, no_descriptors():
            client.connect(("127.0.0.1", w.port))
            await until(lambda: "no file descriptor is left" in caplog.text)
        assert (await w.ask()).status == 200


@contextlib.contextmanager
def no_descriptors():
    """Whatever is open stays so, nothing more can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_are_limited_by_what_the_process_may_open(caplog):
    limits = LoadBalancer(connections=1000)
    assert bootstrap._within_descriptors(limits, 10_000) == limits
    assert bootstrap._within_descriptors(limits, 1024).connections == 384
    assert "(ulimit -n)" in caplog.text
