"""The replay of a real run agrees with it: same requests, real containers, real time."""

import json
import threading

import pytest

from tests.end_to_end.running import SAMPLES, Repository, get, until

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(300)]
# A step: one visitor, then seven where two at once fill an instance, then one again. Each request
# takes half a second of an instance.
ALONE, TOGETHER, VISITORS = 10, 20, 7
SCALING = ("--min-size", "1", "--max-size", "6", "--max-concurrency", "2")
ZERO_AFTER = 4


class Visits:
    """Requests to one service; what did not go well is kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.failures: list[object] = []

    def make(self, count: int) -> None:
        """One after the other."""
        for _ in range(count):
            try:
                status, _ = get(self._port, "/slow?seconds=0.5")
            except OSError as error:
                self.failures.append(error)
            else:
                self.failures += [status] if status != 200 else []

    def step(self) -> None:
        self.make(ALONE)
        crowd = [threading.Thread(target=self.make, args=(TOGETHER,)) for _ in range(VISITORS)]
        for visitor in crowd:
            visitor.start()
        for visitor in crowd:
            visitor.join()
        self.make(ALONE)


def test_a_replay_agrees_with_the_run_it_is_of(emulator, tmp_path):
    mimic = Repository(tmp_path / "hello", sample=str(SAMPLES / "mimic"))
    zero = ("--tag", f"emulator:scale-to-zero-after={ZERO_AFTER}")
    emulator.run("deploy", str(mimic.path), *SCALING, *zero)
    visits = Visits(emulator.port())
    visits.step()
    assert visits.failures == []
    running = {"starting", "active", "idle", "frozen", "draining"}
    until(lambda: not running & set(emulator.states()))
    usage = tmp_path / "usage.json"
    usage.write_text(json.dumps(emulator.json("usage", "hello")))
    files = (str(emulator.state / "access.log"), "--timeline", str(usage))
    found = emulator.json("simulate", *files, *SCALING, "--scale-to-zero-after", str(ZERO_AFTER))
    was, (replayed,) = found["Observed"], found["Settings"]
    assert replayed["Served"] == was["Served"] == 2 * ALONE + TOGETHER * VISITORS
    assert replayed["Starts"] == was["Starts"] == 3
    assert replayed["InstanceSeconds"] == pytest.approx(was["InstanceSeconds"], rel=0.05)
