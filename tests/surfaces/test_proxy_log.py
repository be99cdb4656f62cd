"""The access log and the metrics."""

import json
from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from emulator.decisions.cold_start import Birth
from emulator.drivers.access_log_file import AccessLogFile
from emulator.model.identifiers import Epoch
from emulator.surfaces.proxy.access_log import LINES, AccessEntry, AccessLog
from tests.helpers import turn
from tests.surfaces.http2_client import http2
from tests.surfaces.proxy_world import SERVICE, App, Asked, until, world

FIELDS = {
    "time", "service", "method", "path", "status", "duration_ms", "queue_ms", "upstream_ms",
    "bytes_in", "bytes_out", "instance", "cold_start", "request_id",
}  # fmt: skip


async def test_every_request_is_counted_and_the_last_ones_remembered(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.reply(b"12345", status=asked.line.split("/")[1].split()[0] + " Whatever")

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        for status in (200, 201, 404, 500):
            await w.ask(f"/{status}")
        counters = w.proxy.log.counters(SERVICE)
        assert (counters.requests, counters.sent) == (4, 20)
        assert counters.by_class[2:6] == [2, 0, 1, 1]
        newest = next(w.proxy.log.recent(SERVICE))
        assert (newest.method, newest.path, newest.status) == ("GET", "/500", 500)
        assert newest.instance == app.id
        w.proxy.log.forget(SERVICE)
        assert w.proxy.log.counters(SERVICE).requests == 0


async def test_the_access_log_remembers_a_bounded_number_of_requests(tmp_path):
    async with world(tmp_path, App()) as w:
        client = await w.connect()
        for _ in range(1100):
            client.get("/" + "x" * 1000)
            await client.answer()
        recent = list(w.proxy.log.recent())
    assert len(recent) == 1000
    assert len(recent[0].path) == 512


async def test_the_file_has_a_line_of_json_for_each_request(tmp_path):
    app = App()
    file = AccessLogFile(tmp_path / "access.log", limit=10_000_000)
    log = AccessLog(write=file.write, name_of=lambda service: f"name of {service[:3]}")
    async with world(tmp_path, app, routed=(), log=log) as w:
        client = await w.connect()
        client.post(b"12345", headers="X-Request-Id: mine\r\n")
        await until(lambda: w.balancer.waiting)
        w.route(app)
        await client.answer()
        async with http2(w) as other:
            await other.answer(other.ask('/\\"?q'))
        gone = await w.connect()
        gone.get("/gone")
        await until(lambda: len(app.asked) >= 3)
        gone.abort()
        unknown = await w.connect(w.proxy.https_port, name="nobody.localhost")
        unknown.send("GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n")
        await unknown.answer()
    text = (tmp_path / "access.log").read_text()
    post, get, _, nobody = map(json.loads, text.splitlines())
    assert post.keys() == get.keys() == FIELDS
    assert nobody.keys() == FIELDS | {"reason"}
    assert (post["service"], post["instance"]) == ("name of 555", app.id)
    assert (post["method"], post["status"], post["request_id"]) == ("POST", 200, "mine")
    assert (post["bytes_in"], post["bytes_out"]) == (5, 5)
    assert (post["cold_start"], get["cold_start"]) == (True, False)
    assert 0 < post["queue_ms"] <= post["duration_ms"]
    assert 0 < post["upstream_ms"] <= post["duration_ms"] - post["queue_ms"] + 0.01
    assert get["path"] == '/\\"?q'
    assert (nobody["service"], nobody["instance"], nobody["status"]) == (None, None, 404)


def test_the_file_stays_within_its_limit(tmp_path):
    file = AccessLogFile(tmp_path / "access.log", limit=1000)
    for number in range(100):
        file.write(b"%099d\n" % number)
    kept = (tmp_path / "access.log.1").read_bytes() + (tmp_path / "access.log").read_bytes()
    assert len(kept) <= 1000
    numbers = [int(line) for line in kept.splitlines()]
    assert numbers == list(range(100 - len(numbers), 100))


async def test_moments_in_the_file_are_those_that_are_shown_and_lengths_are_real():
    written = []
    log = AccessLog(write=written.append, shown=lambda at: Epoch(at + 36_000))
    log.record(_entry(5)._replace(seconds=0.25))
    await log.flush(turn)
    (line,) = map(json.loads, written)
    assert (line["time"], line["duration_ms"]) == (36_005, 250)


async def test_under_pressure_the_file_gets_a_sample_and_the_rest_is_counted():
    written = []
    log = AccessLog(write=written.append)
    asked = 10 * LINES + 5
    for number in range(1, asked + 1):
        log.record(_entry(number))
    await log.flush(turn)
    await log.flush(turn)
    numbers = [int(json.loads(line)["time"]) for line in written[0].splitlines()]
    assert len(written) == 1
    assert LINES / 2 < len(numbers) <= LINES
    assert numbers == list(range(numbers[0], asked, numbers[0]))
    assert log.dropped == asked - len(numbers)
    assert log.counters(SERVICE).requests == asked


async def test_after_pressure_every_request_is_in_the_file_again():
    written = []
    log = AccessLog(write=written.append)
    for _ in range(3 * LINES):
        log.record(_entry(1))
    await log.flush(turn)
    dropped = log.dropped
    log.record(_entry(2))
    await log.flush(turn)
    assert [json.loads(line)["time"] for line in written[1].splitlines()] == [2]
    assert log.dropped == dropped


async def test_a_full_disk_costs_lines_and_nothing_else(tmp_path, caplog):
    def full(_lines: bytes) -> None:
        raise OSError(28, "No space left on device")

    async with world(tmp_path, App(), log=AccessLog(write=full)) as w:
        for _ in range(3):
            assert (await w.ask()).status == 200
            await w.proxy._flush()
    assert caplog.text.count("the access log cannot be written: No space left on device") == 1


def _entry(number: int) -> AccessEntry:
    return AccessEntry(
        Epoch(number), SERVICE, None, "GET", "/", 200, 0.02, 0.0, 0.01, 0, 0, False, "id"
    )


async def test_metrics_are_scraped_in_our_names_and_in_cloudwatchs(tmp_path):
    async def behaviour(asked: Asked) -> None:
        asked.reply(b"x", status=asked.line.split("/")[1].split()[0] + " Whatever")

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        for status in (200, 201, 302, 404, 500):
            await w.ask(f"/{status}")
        refused = await w.connect()
        refused.send("rubbish\r\n\r\n")
        await refused.answer()
        client = await w.connect()
        app.behaviour = _never
        client.get()
        await until(lambda: w.balancer.total_in_flight)
        birth = Birth(began=1.0, created=1.5, started=2.0, connected=2.0, healthy=4.0)
        w.balancer.route([app.target(), replace(app.target(), birth=birth, instance="b" * 32)])
        text = w.proxy.metrics(lambda _service: "hello").decode()
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    ours = ("service", "hello")
    theirs = (("ServiceID", SERVICE), ("ServiceName", "hello"))
    expected = {
        ("apprunner_requests_total", ("class", "2xx"), ours): 2,
        ("apprunner_requests_total", ("class", "5xx"), ours): 1,
        ("apprunner_request_duration_seconds_count", ours): 5,
        ("apprunner_request_duration_seconds_bucket", ("le", "+Inf"), ours): 5,
        ("apprunner_in_flight", ours): 1,
        ("apprunner_queue", ours): 0,
        ("apprunner_instances", ours, ("state", "active")): 1,
        ("apprunner_cold_start_seconds_count", ("phase", "healthy"), ours): 1,
        ("apprunner_cold_start_seconds_sum", ("phase", "healthy"), ours): 2,
        ("apprunner_malformed_total",): 1,
        ("apprunner_access_log_dropped_total",): 0,
        ("aws_apprunner_requests_total", *theirs): 5,
        ("aws_apprunner_2xx_status_responses_total", *theirs): 2,
        ("aws_apprunner_4xx_status_responses_total", *theirs): 1,
        ("aws_apprunner_5xx_status_responses_total", *theirs): 1,
        ("aws_apprunner_request_latency_milliseconds_count", *theirs): 5,
        ("aws_apprunner_active_instances", *theirs): 1,
        ("aws_apprunner_concurrency", *theirs): 1,
    }
    assert expected.items() <= found.items()
    assert found[("apprunner_connections",)] >= 1


async def _never(asked: Asked) -> None:
    await asked.reader.read()
