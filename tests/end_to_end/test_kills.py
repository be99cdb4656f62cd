"""kill -9 at random moments on real Docker: what was wanted comes about, nothing is orphaned."""

import time
from random import Random  # noqa: TID251 - a seed makes it repeatable

import pytest

from tests.end_to_end.running import get, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
KILLS = 20


def test_survives_being_killed_at_random_moments(emulator, sample):
    chance = Random(20261123)
    emulator.run("deploy", str(sample.path))
    port = emulator.port()
    for n in range(2, KILLS + 2):
        sample.version(str(n))
        time.sleep(chance.uniform(0, 1.2))  # noqa: TID251 - the moment of the kill is the point
        emulator.kill()
        emulator.start()
        if n % 4 == 0:
            until(lambda n=n: get(port, "/version")[1] == f"{n}\n")
    last = f"{KILLS + 1}\n"
    until(lambda: get(port, "/version")[1] == last)
    until(lambda: emulator.describe()["Status"] == "RUNNING")
    until(lambda: len(emulator.states()) == 1)
    # One instance and one standby, each with its sandbox; the network; nothing else.
    until(lambda: len(emulator.owned()) == 4)
    assert len(emulator.networks()) <= 2
    unfinished = [o for o in emulator.json("operations", "hello") if "EndedAt" not in o]
    assert unfinished == []
    emulator.run("delete", "hello")
    assert emulator.owned() == []
