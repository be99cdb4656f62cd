"""The real clock."""

import time

from emulator.drivers.clock import SystemClock


def test_now_is_the_wall_clocks_time():
    before, now, after = time.time(), SystemClock().now(), time.time()  # noqa: TID251
    assert before <= now <= after


def test_time_never_goes_back_even_if_the_wall_clock_does(monkeypatch):
    clock = SystemClock()
    readings = iter([100.0, 40.0, 99.0, 101.0])
    monkeypatch.setattr(time, "time", lambda: next(readings))
    assert [clock.now() for _ in range(4)] == [100.0, 100.0, 100.0, 101.0]
