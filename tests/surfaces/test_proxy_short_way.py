"""The short way: that it is taken, that nobody can tell, and that it is left when it must be."""

import asyncio

from hypothesis import HealthCheck, given, settings, strategies as st

from tests.surfaces.proxy_world import SERVICE, App, Asked, until, world

_TOKEN = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
_VALUE = st.text(
    st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=20
)
_NAMED = st.sampled_from(
    [
        *("Accept", "Cookie", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id", "TE"),
        *("Connection", "Keep-Alive", "X-Envoy-External-Address", "Expect", "Forwarded"),
    ]
)
_HEADERS = st.lists(st.tuples(st.one_of(_NAMED, _TOKEN.map("x-{}".format)), _VALUE), max_size=6)
_PATHS = st.text("abc/%20?&=+.~", max_size=20).map("/{}".format)
_ANSWERS = st.lists(
    st.tuples(
        st.sampled_from(["Content-Type", "Set-Cookie", "Date", "Server", "X-A", "Connection"]),
        st.sampled_from(["a", "x-a", "", "b; c=d", "\xe9"]),
    ),
    max_size=5,
)


class Watched(App):
    """Notes which of its requests are on the short way while they are here."""

    def __init__(self, behaviour=None) -> None:
        super().__init__()
        self.quick: list[bool] = []
        self.under_way = lambda: 0
        self._then = behaviour
        self.behaviour = self._watched

    async def _watched(self, asked: Asked) -> None:
        body = await asked.body()
        self.quick.append(self.under_way() > 0)
        if self._then is None:
            asked.reply(b"" if asked.line.startswith("HEAD") else body or b"hello")
        else:
            await self._then(asked)


def watch(app: Watched, w) -> None:
    app.under_way = lambda: w.proxy.under_way


async def busy_client(app, w):
    """Its first request is answered, its second one on its way."""
    watch(app, w)
    client = await w.connect()
    client.get()
    await client.answer()
    client.get()
    return client


async def twice(client, send) -> None:
    """The first one has no kept connection, so that it cannot take the short way."""
    for _ in range(2):
        send(client)
        await client.answer()


async def test_a_second_request_takes_it(tmp_path):
    app = Watched()
    async with world(tmp_path, app) as w:
        watch(app, w)
        await twice(await w.connect(), lambda client: client.get())
    assert app.quick == [False, True]


async def test_so_does_one_with_a_body_that_came_with_its_head(tmp_path):
    app = Watched()

    def post(client) -> None:
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")

    async with world(tmp_path, app) as w:
        watch(app, w)
        await twice(await w.connect(), post)
    assert app.quick == [False, True]


async def test_a_request_for_another_protocol_does_not_even_with_a_body(tmp_path):
    app = Watched()
    async with world(tmp_path, app) as w:
        watch(app, w)
        client = await w.connect()
        await twice(client, lambda client: client.get())
        client.post(b"body", headers="Upgrade: other\r\nConnection: upgrade\r\n")
        assert (await client.answer()).status == 403
        assert await client.ended()
    assert app.quick == [False, True]


async def test_headers_that_came_before_say_nothing_about_the_target_or_the_method(tmp_path):
    app = Watched()
    async with world(tmp_path, app) as w:
        watch(app, w)
        client = await w.connect()
        asked = [("GET", "/a"), ("GET", "/b?c=1"), ("DELETE", "/a"), ("HEAD", "/a"), ("PUT", "/")]
        for method, path in asked:
            client.get(path, method=method)
            await client.answer(to_head=method == "HEAD")
        logged = [(e.method, e.path) for e in w.proxy.log.recent(SERVICE)]
    assert [one.line for one in app.asked] == [f"{m} {p} HTTP/1.1" for m, p in asked]
    assert logged[::-1] == asked
    assert app.quick == [False, True, True, False, True]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=_PATHS, headers=_HEADERS, answer=_ANSWERS, body=st.binary(max_size=50))
def test_neither_side_can_tell_which_way_a_request_went(tmp_path, path, headers, answer, body):
    sent = "".join(f"{name}: {value}\r\n" for name, value in headers)
    times = {"x-envoy-upstream-service-time"}
    if not any(name == "Date" for name, _ in answer):
        times.add("date")
    said = "".join(f"{name}: {value}\r\n" for name, value in answer)

    async def reply(asked: Asked) -> None:
        asked.reply(body, headers=said)

    async def exchange() -> None:
        app = App(behaviour=reply)
        seen = []
        async with world(tmp_path, app) as w:
            for _ in range(3):
                client = await w.connect()
                client.get(path, headers=sent)
                got = await client.answer()
                timeless = [h for h in got.headers if h[0] not in times]
                seen.append((got.status, sorted(timeless), got.body))
                client.close()
        assert len(app.asked) == 3
        assert seen[0] == seen[1] == seen[2]
        told = [(one.line, [h for h in one.headers if h[0] != "x-request-id"]) for one in app.asked]
        assert told[0] == told[1] == told[2]

    asyncio.run(exchange())


async def test_an_answer_that_comes_in_parts_is_relayed_in_parts(tmp_path):
    async def parts(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\nContent-Le")
        await until(lambda: app.under_way() == 0)
        asked.say(b"ngth: 8\r\n\r\nhalf")
        await asked.writer.drain()
        asked.say(b"half")

    app = Watched(parts)
    async with world(tmp_path, app) as w:
        watch(app, w)
        client = await w.connect()
        for _ in range(3):
            client.get()
            assert (await client.answer()).body == b"halfhalf"
    assert app.quick == [False, True, True]


async def test_a_slow_answer_has_the_services_time_limit(tmp_path):
    async def never(asked: Asked) -> None:
        if len(app.asked) == 1:
            asked.reply(b"first")
        else:
            await asyncio.Event().wait()

    app = Watched(never)
    async with world(tmp_path, app, request_timeout=0.4) as w:
        client = await busy_client(app, w)
        answer = await client.answer()
    assert (answer.status, answer.body) == (504, b"upstream request timeout")
    assert app.quick == [False, True]


async def test_a_connection_that_ends_without_a_byte_is_not_the_clients_trouble(tmp_path):
    async def one_each(asked: Asked) -> None:
        if asked.connection == 1 and len(app.asked) > 1:
            asked.hang_up()
        else:
            asked.reply(b"here")

    app = Watched(one_each)
    async with world(tmp_path, app) as w:
        watch(app, w)
        client = await w.connect()
        for _ in range(3):
            client.get()
            assert (await client.answer()).body == b"here"
    assert app.quick == [False, True, False, True]


async def test_one_that_ends_in_the_middle_of_an_answer_is(tmp_path):
    async def half(asked: Asked) -> None:
        if len(app.asked) == 1:
            asked.reply(b"here")
        else:
            asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
            asked.hang_up()

    app = Watched(half)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.get()
        await client.answer()
        client.get()
        assert await client.head()
        assert await client.reader.read() == b"half"
        assert w.at_rest


async def test_what_is_not_http_is_a_503(tmp_path):
    async def noise(asked: Asked) -> None:
        if len(app.asked) == 1:
            asked.reply(b"here")
        else:
            asked.say(b"\x00\x01\x02 nonsense\r\n\r\n")

    app = Watched(noise)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.get()
        await client.answer()
        client.get()
        assert (await client.answer()).status == 503


async def test_more_than_the_answer_is_not_anybodys_answer(tmp_path):
    async def too_much(asked: Asked) -> None:
        asked.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody" + b"HTTP/1.1 200 OK\r\n" * 2)

    app = App(behaviour=too_much)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        for _ in range(4):
            client.get()
            answer = await client.answer()
            assert (answer.status, answer.body) in {(200, b"body"), (503, answer.body)}


async def test_a_client_that_goes_away_frees_its_place_at_once(tmp_path):
    arrived, told = asyncio.Event(), asyncio.Event()

    async def never(asked: Asked) -> None:
        if len(app.asked) == 1:
            asked.reply(b"first")
        else:
            arrived.set()
            assert w.balancer.total_in_flight == 1
            await until(asked.reader.at_eof)
            told.set()

    app = Watched(never)
    async with world(tmp_path, app) as w:
        client = await busy_client(app, w)
        await arrived.wait()
        client.abort()
        await until(lambda: w.at_rest and w.proxy.under_way == 0)
        assert next(iter(w.proxy.log.recent(SERVICE))).status == 0
        await told.wait()  # the instance learns of it, too


async def test_a_client_that_goes_away_as_its_request_gets_a_task_frees_its_place(tmp_path):
    told = asyncio.Event()

    async def never(asked: Asked) -> None:
        if len(app.asked) == 1:
            asked.reply(b"first")
        else:
            await until(asked.reader.at_eof)
            told.set()

    app = Watched(never)
    async with world(tmp_path, app) as w:
        await busy_client(app, w)
        await until(lambda: len(app.quick) == 2 and w.proxy.under_way)
        (connection,) = w.proxy._floor.connections
        (quick,) = w.proxy._forwarder.short_way.under_way
        connection.abort()
        w.proxy._forwarder.short_way.hand_over(quick, quick.connection.expect())
        await until(lambda: w.at_rest)
        assert next(iter(w.proxy.log.recent(SERVICE))).status == 0
        await told.wait()


async def test_a_body_is_counted_also_where_its_request_gets_a_task_later(tmp_path):
    async def parts(asked: Asked) -> None:
        await asked.body()
        asked.say(b"HTTP/1.1 200 OK\r\nContent-Le")
        await until(lambda: w.proxy.under_way == 0)
        asked.say(b"ngth: 0\r\n\r\n")

    async with world(tmp_path, App(behaviour=parts)) as w:
        client = await w.connect()
        for _ in range(2):
            client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
            await client.answer()
        assert [entry.received for entry in w.proxy.log.recent(SERVICE)] == [4, 4]


async def test_requests_in_a_row_are_answered_in_order(tmp_path):
    async def echo(asked: Asked) -> None:
        asked.reply(asked.line.encode())

    app = App(behaviour=echo)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.get("/first")
        await client.answer()
        for n in range(20):
            client.get(f"/{n}")
        for n in range(20):
            assert (await client.answer()).body == f"GET /{n} HTTP/1.1".encode()


async def test_an_answer_at_the_proxys_end_closes_the_connection(tmp_path):
    going = asyncio.Event()

    async def waits(asked: Asked) -> None:
        if len(app.asked) > 1:
            await going.wait()
        asked.reply(b"done")

    app = Watched(waits)
    async with world(tmp_path, app, grace=5) as w:
        client = await busy_client(app, w)
        await until(lambda: len(app.quick) == 2)
        async with asyncio.TaskGroup() as group:
            group.create_task(w.proxy.stop(5))
            await until(lambda: not w.proxy._servers)
            going.set()
            answer = await client.answer()
            assert (answer.body, answer.header("connection")) == (b"done", "close")
            assert await client.ended()


async def test_a_full_instance_lets_the_next_request_wait(tmp_path):
    most = 0

    async def counted(asked: Asked) -> None:
        nonlocal most
        most = max(most, w.balancer.total_in_flight)
        await until(lambda: w.balancer.waiting or len(app.asked) > 100)
        asked.reply(b"ok")

    app = App(behaviour=counted)
    async with world(tmp_path, app, max_concurrency=2, queue_limit=50) as w:
        clients = [await w.connect() for _ in range(6)]

        async def ask_often(client) -> None:
            for _ in range(20):
                client.get()
                assert (await client.answer()).status == 200

        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(ask_often(client))
    assert most == 2
    assert len(app.asked) == 120


async def test_instances_without_a_kept_connection_get_their_share(tmp_path):
    kept, closing = App(), App(id="b" * 32)
    async with world(tmp_path, kept, closing) as w:
        client = await w.connect()
        for _ in range(200):
            client.get()
            await client.answer()
            for writer in closing.writers:
                writer.close()
            await until(lambda: not closing.writers)
    assert len(closing.asked) > 70  # drawn twice it would be a quarter of them
