"""What goes wrong between a client and an instance, and what each of them sees of it."""

import asyncio
import contextlib

import pytest

from emulator.model.identifiers import InstanceId
from tests.surfaces.proxy_world import CLOCK, SERVICE, App, Asked, Client, hello, until, world

RESET = "upstream connect error or disconnect/reset before headers. reset reason: "
B = InstanceId("b" * 32)


async def stay(_asked: Asked) -> None:
    await asyncio.Event().wait()


# Instances that fail.


@pytest.mark.observed(source="roadmap issue 92")
async def test_an_instance_that_hangs_up_without_an_answer_is_a_connection_termination(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.hang_up()

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        for _ in range(2):
            client.get()
            answer = await client.answer()
            assert answer.status == 503
            assert answer.body.decode() == RESET + "connection termination"
            assert answer.header("content-type") == "text/plain"
    assert len(app.asked) == 2  # a crash is not tried out on the next connection


async def test_half_a_head_is_no_answer(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\nContent-Le")
        asked.hang_up()

    async with world(tmp_path, App(behaviour)) as w:
        assert (await w.ask()).body.decode() == RESET + "connection termination"


async def test_an_answer_that_is_not_http_is_a_protocol_error(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.say(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    async with world(tmp_path, App(behaviour)) as w:
        answer = await w.ask()
    assert (answer.status, answer.body.decode()) == (503, RESET + "protocol error")


@pytest.mark.parametrize(
    ("framing", "rest"),
    [
        (b"Content-Length: 1000\r\n\r\nonly this", b""),
        (b"Transfer-Encoding: chunked\r\n\r\n4\r\nonly\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n\r\n4\r\nonly\r\n", b"no length\r\n"),
    ],
)
async def test_an_answer_that_breaks_off_breaks_off_for_the_client_too(tmp_path, framing, rest):
    seen = asyncio.Event()

    async def behaviour(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\n" + framing)
        await seen.wait()
        asked.say(rest)
        asked.hang_up()

    async with world(tmp_path, App(behaviour)) as w:
        client = await w.connect()
        client.get()
        answer = await client.head()
        seen.set()
        with pytest.raises((EOFError, ConnectionError)):
            await client.with_body(answer)
        assert next(w.proxy.log.recent()).status == 200


async def test_an_instance_that_refuses_is_set_aside_and_another_one_answers(tmp_path):
    dead, alive = App(), App(id=B)
    async with world(tmp_path, dead, alive) as w:
        dead.stop_listening()
        answers = [await w.ask() for _ in range(20)]
        assert {answer.status for answer in answers} == {200}
        assert len(w.wakes) == 1


async def test_where_all_refuse_the_worker_is_woken_and_the_request_waits_for_better(tmp_path):
    dead, fresh = App(), App(id=B)
    async with fresh, world(tmp_path, dead) as w:
        dead.stop_listening()
        client = await w.connect()
        client.get()
        await until(lambda: w.balancer.waiting)
        assert w.wakes
        w.route(fresh)
        assert (await client.answer()).status == 200


async def test_where_all_refuse_for_long_it_is_a_connection_failure(tmp_path):
    dead = App()
    async with world(tmp_path, dead, queue_wait=0.7) as w:
        dead.stop_listening()
        answer = await w.ask()
    assert (answer.status, answer.body.decode()) == (503, RESET + "connection failure")


async def test_where_nothing_can_be_started_there_is_no_healthy_upstream(tmp_path):
    async with world(tmp_path, routed=(), queue_wait=0.1) as w:
        answer = await w.ask()
    assert (answer.status, answer.body) == (503, b"no healthy upstream")


# The time limit.


@pytest.mark.documented(source="developer guide: 120 seconds in total")
async def test_an_instance_that_takes_too_long_is_a_timeout(tmp_path):
    app = App(stay)
    async with world(tmp_path, app, request_timeout=0.1) as w:
        client = await w.connect()
        client.get()
        answer = await client.answer()
        assert (answer.status, answer.body) == (504, b"upstream request timeout")
        await until(lambda: w.at_rest)
        app.behaviour = hello
        client.get()
        assert (await client.answer()).status == 200


@pytest.mark.documented(source="roadmap issue 23: streams are cut at 120 seconds")
async def test_the_time_limit_cuts_a_stream_too(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                asked.say(b"1\r\nx\r\n")
                await asked.writer.drain()
                await CLOCK.sleep(0.02)

    async with world(tmp_path, App(behaviour), request_timeout=0.2) as w:
        client = await w.connect()
        client.get()
        with pytest.raises((EOFError, ConnectionError)):
            await client.answer()


@pytest.mark.documented(source="developer guide: including reading the body")
async def test_the_time_limit_counts_for_a_slow_upload_too(tmp_path):
    async with world(tmp_path, App(), request_timeout=0.1) as w:
        client = await w.connect()
        client.get(method="POST", headers="Content-Length: 10\r\n")
        client.send("abc")
        assert (await client.answer()).status == 504


async def test_the_time_limit_counts_for_waiting_in_the_queue_too(tmp_path):
    async with world(tmp_path, routed=(), request_timeout=0.1) as w:
        assert (await w.ask()).status == 504


# Clients that leave.


async def test_a_client_that_leaves_while_it_waits_leaves_the_queue(tmp_path):
    async with world(tmp_path, routed=()) as w:
        client = await w.connect()
        client.get()
        await until(lambda: w.balancer.waiting)
        client.abort()
        await until(lambda: w.at_rest)


async def test_a_client_that_leaves_releases_its_instance_and_the_instance_sees_it(tmp_path):
    app = App(stay)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.get()
        await until(lambda: app.asked)
        assert w.balancer.total_in_flight == 1
        client.close()
        await until(lambda: w.at_rest)
        await until(app.asked[0].reader.at_eof)
        assert w.proxy.log.counters(SERVICE).by_class[0] == 1


async def test_a_client_that_leaves_amid_an_answer_ends_it(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                asked.say(b"x" * 65536)
                await asked.writer.drain()

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.get()
        await client.head()
        client.abort()
        await until(lambda: w.at_rest)


async def test_a_client_that_leaves_amid_its_upload_ends_it(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.get(method="POST", headers="Content-Length: 1000\r\n")
        client.send("some of it")
        await until(lambda: app.asked)
        client.abort()
        await until(lambda: w.at_rest)
        await until(app.asked[0].reader.at_eof)


# Kept connections.


async def close_after(connections: int, asked: Asked) -> None:
    """Answers, and hangs up on the next request of an early connection without an answer."""
    if asked.connection <= connections and asked.header("x-warm") is None:
        asked.hang_up()
        return
    await hello(asked)


async def warm(client: Client) -> None:
    client.get(headers="X-Warm: 1\r\n")
    assert (await client.answer()).status == 200


async def test_a_kept_connection_closed_before_a_post_arrives_is_never_seen(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        for _ in range(20):
            await warm(client)
            for writer in app.writers:
                writer.close()
            client.post(b"precious")  # before the proxy can have noticed
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, b"precious")
    assert sum(asked.line.startswith("POST") for asked in app.asked) == 20


async def test_a_post_that_an_instance_may_have_begun_with_is_not_sent_again(tmp_path):
    app = App(lambda asked: close_after(9, asked))
    async with world(tmp_path, app) as w:
        client = await w.connect()
        await warm(client)
        client.post(b"poison")
        assert (await client.answer()).body.decode() == RESET + "connection termination"
    assert [asked.connection for asked in app.asked] == [1, 1]


async def test_what_may_be_done_twice_is_sent_again_once_only(tmp_path):
    app = App(lambda asked: close_after(1, asked))
    async with world(tmp_path, app) as w:
        client = await w.connect()
        await warm(client)
        client.get()
        assert (await client.answer()).body == b"hello"
        app.behaviour = lambda asked: close_after(9, asked)
        client.get()
        assert (await client.answer()).body.decode() == RESET + "connection termination"
    assert [asked.connection for asked in app.asked] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("PUT", 200), ("POST", 503)])
async def test_where_one_instance_dies_another_one_answers_what_may_be_done_twice(
    tmp_path, method, status
):
    async def behaviour(asked: Asked) -> None:
        asked.hang_up()

    dying, living = App(behaviour), App(id=B)
    async with world(tmp_path, dying, living) as w:
        for _ in range(10):
            asked = len(dying.asked)
            answer = await w.ask(method=method)
            assert answer.status == (200 if len(dying.asked) == asked else status)
    assert dying.asked


async def test_a_request_whose_answer_has_begun_is_not_sent_again(tmp_path):
    async def behaviour(asked: Asked) -> None:
        if asked.header("x-warm"):
            await hello(asked)
            return
        asked.say(b"HTTP/1.1 2")
        await asked.writer.drain()
        await CLOCK.sleep(0.02)
        asked.hang_up()

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        await warm(client)
        client.post(b"x")
        assert (await client.answer()).status == 503
    assert len(app.asked) == 2


async def test_a_body_still_on_its_way_never_goes_to_a_kept_connection(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        await warm(client)
        client.get(method="POST", headers="Content-Length: 4\r\n")
        await until(lambda: len(app.asked) == 2)
        client.send("data")
        assert (await client.answer()).body == b"data"
    assert [asked.connection for asked in app.asked] == [1, 2]


async def test_a_connection_the_instance_has_closed_is_not_used(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        for _ in range(5):
            client.post(b"x")
            assert (await client.answer()).status == 200
            for writer in app.writers:
                writer.transport.abort()
            await until(lambda: not app.writers)
    assert app.connections == 5


async def test_an_idle_connection_is_closed_after_a_second(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        await w.ask()
        assert len(app.writers) == 1
        await until(lambda: not app.writers)


async def test_an_answer_nobody_asked_for_does_not_become_the_next_requests(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.reply(b"first")
        asked.reply(b"smuggled")

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        for _ in range(5):
            client.get()
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, b"first")


# Instances that rest, and that go.


async def test_a_frozen_instance_is_thawed_and_answers(tmp_path):
    thawed = asyncio.Event()

    async def behaviour(asked: Asked) -> None:
        await thawed.wait()
        asked.reply(b"good morning")

    async def thaw(_instance: InstanceId) -> None:
        await CLOCK.sleep(0.02)
        thawed.set()

    app = App(behaviour)
    async with app, world(tmp_path, thaw=thaw, routed=[app.target(frozen=True)]) as w:
        client = await w.connect()
        client.get()
        await until(lambda: app.asked)  # sent ahead of the thaw
        assert (await client.answer()).body == b"good morning"
        assert w.thaws == [app.id]


async def test_where_the_thaw_fails_another_instance_answers(tmp_path):
    frozen, spare = App(stay), App(id=B)

    async def thaw(_instance: InstanceId) -> None:
        await until(lambda: frozen.asked)
        raise OSError("the engine is gone")

    targets = frozen.target(frozen=True), spare
    async with frozen, spare, world(tmp_path, thaw=thaw, routed=[targets[0]]) as w:
        w.balancer.route([frozen.target(frozen=True)])
        client = await w.connect()
        client.post(b"hello")
        await until(lambda: frozen.asked)
        w.balancer.route([frozen.target(), spare.target()])
        assert (await client.answer()).body == b"hello"
    assert len(spare.asked) == 1


async def test_a_body_on_its_way_waits_for_the_thaw_and_survives_its_failure(tmp_path):
    failures = 1

    async def thaw(_instance: InstanceId) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OSError("busy")

    app = App()
    async with app, world(tmp_path, thaw=thaw, routed=[app.target(frozen=True)]) as w:
        client = await w.connect()
        client.get(method="POST", headers="Content-Length: 4\r\n")
        await until(lambda: len(w.thaws) == 2)
        client.send("data")
        assert (await client.answer()).body == b"data"


async def test_an_instance_no_longer_routed_finishes_its_requests_and_gets_no_more(tmp_path):
    release = asyncio.Event()

    async def behaviour(asked: Asked) -> None:
        await release.wait()
        asked.reply(b"old")

    old, new = App(behaviour), App(id=B)
    async with new, world(tmp_path, old) as w:
        client = await w.connect()
        client.get()
        await until(lambda: old.asked)
        w.route(new)
        assert (await w.ask()).body == b"hello"
        assert w.balancer.in_flight(old.id) == 1
        release.set()
        assert (await client.answer()).body == b"old"
        await until(lambda: not old.writers, seconds=0.5)  # not kept for later
        client.get()
        assert (await client.answer()).body == b"hello"


async def test_an_upload_that_began_before_a_deployment_ends_at_the_old_version(tmp_path):
    async def old(asked: Asked) -> None:
        asked.reply(b"old: " + await asked.body())

    async def new(asked: Asked) -> None:
        asked.reply(b"new: " + await asked.body())

    one, two = App(old), App(new, id=B)
    async with world(tmp_path, one, routed=()) as w, two:
        w.route(one)
        uploading = await w.connect()
        uploading.get(method="POST", headers="Content-Length: 10\r\n")
        uploading.send("half ")
        await until(lambda: one.asked)
        w.route(two)
        assert (await w.ask()).body == b"new: "
        uploading.send("whole")
        assert (await uploading.answer()).body == b"old: half whole"
        uploading.get()
        assert (await uploading.answer()).body == b"new: "
        await until(lambda: not one.writers)


async def test_leases_return_whatever_happens(tmp_path):
    """Clients that leave at every moment, an instance that hangs up now and then."""
    count = 0

    async def behaviour(asked: Asked) -> None:
        nonlocal count
        count += 1
        await CLOCK.sleep(0.001 * (count % 4))
        if count % 5 == 0:
            asked.hang_up()
        else:
            await hello(asked)

    async def one(number: int) -> None:
        client = await w.connect()
        client.post(b"x" * (number % 3) * 50_000)
        await CLOCK.sleep(0.0005 * (number % 17))
        if number % 2:
            client.abort()
        else:
            with contextlib.suppress(EOFError, ConnectionError):
                await client.answer()
            client.close()

    async with world(tmp_path, App(behaviour), max_concurrency=3, queue_limit=500) as w:
        async with asyncio.TaskGroup() as group:
            for number in range(300):
                group.create_task(one(number))
        await until(lambda: w.at_rest)
        assert w.proxy.log.counters(SERVICE).requests > 100
