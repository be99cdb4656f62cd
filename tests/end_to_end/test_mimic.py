"""The mimic misbehaves as it is told; no Docker, as what others do about it is tested elsewhere."""

import http.client
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.end_to_end.running import ENVIRONMENT, SAMPLES, until


class Mimic:
    def __init__(self, **variables):
        told = {f"MIMIC_{name}": str(value) for name, value in variables.items()}
        self.process = subprocess.Popen(
            [sys.executable, str(SAMPLES / "mimic" / "app.py")],
            env=ENVIRONMENT | {"PORT": "0"} | told,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.began = time.perf_counter()

    def line(self, pattern):
        """Reads on until a line fits."""
        for line in self.process.stdout:
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"it ended without {pattern}")

    def open(self):
        self.port = int(self.line(r"listens on port (\d+)")[1])
        return self

    def get(self, path="/", **request):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(request.pop("method", "GET"), path, **request)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture
def mimic():
    made = []

    def start(**variables):
        made.append(Mimic(**variables))
        return made[-1]

    yield start
    for one in made:
        one.process.kill()
        one.process.wait()
        one.process.stdout.close()


def test_it_opens_its_port_late(mimic):
    late = mimic(START_DELAY=0.5).open()
    assert time.perf_counter() - late.began >= 0.5
    assert late.get() == (200, "Hello from the mimic, version 1!\n")


def test_it_ends_before_it_opens_its_port(mimic):
    assert mimic(START_EXIT=3).process.wait(timeout=10) == 3


def test_its_health_comes_later_than_its_port(mimic):
    sick = mimic(HEALTH_DELAY=0.5).open()
    assert sick.get("/healthz") == (503, "not yet\n")
    assert sick.get()[0] == 200
    until(lambda: sick.get("/healthz") == (200, "ok\n"))


def test_it_dies_of_the_request_that_is_one_too_many(mimic):
    fragile = mimic(CRASH_AFTER=2, EXIT_CODE=7).open()
    assert [fragile.get()[0] for _ in range(2)] == [200, 200]
    assert fragile.get("/healthz")[0] == 200  # does not count
    with pytest.raises(http.client.RemoteDisconnected):
        fragile.get()
    assert fragile.process.wait(timeout=10) == 7


def test_it_leaks(mimic):
    leaky = mimic(LEAK_MB=2).open()
    leaky.get()
    assert leaky.get("/leak?mb=3")[1] == "7 MB\n"


def test_its_answers_take_their_time(mimic):
    slow = mimic(DELAY=0.2).open()
    began = time.perf_counter()
    slow.get("/body?parts=2&seconds=0.3")
    assert time.perf_counter() - began >= 0.5


def test_its_body_is_cut_off_or_does_not_come(mimic):
    rude = mimic().open()
    with pytest.raises(http.client.IncompleteRead):
        rude.get("/cut")
    with pytest.raises(http.client.RemoteDisconnected):
        rude.get("/drop")


def test_it_refuses_to_end(mimic):
    stubborn = mimic(REFUSE_SIGTERM=1).open()
    stubborn.process.send_signal(signal.SIGTERM)
    stubborn.line("SIGTERM is refused")
    assert stubborn.get()[0] == 200


def test_else_it_ends_when_it_is_asked_to(mimic):
    polite = mimic().open()
    polite.process.send_signal(signal.SIGTERM)
    assert polite.process.wait(timeout=10) == 0


def test_it_does_what_a_request_says(mimic):
    one = mimic().open()
    assert one.get("/status?code=418")[0] == 418
    assert one.get("/echo", method="POST", body="12345")[1] == "5 bytes\n"
    assert one.get("/missing")[0] == 404
    with pytest.raises(http.client.RemoteDisconnected):
        one.get("/crash?code=9")
    assert one.process.wait(timeout=10) == 9
