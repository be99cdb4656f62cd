"""The real clock."""

import time

import pytest
from hypothesis import given, strategies as st

from emulator.drivers.clock import SteeredClock, SystemClock
from emulator.model.identifiers import Epoch
from emulator.model.timeline import Timeline


def test_now_is_the_wall_clocks_time():
    before, now, after = time.time(), SystemClock().now(), time.time()  # noqa: TID251
    assert before <= now <= after


def test_time_never_goes_back_even_if_the_wall_clock_does(monkeypatch):
    clock = SystemClock()
    readings = iter([100.0, 40.0, 99.0, 101.0])
    monkeypatch.setattr(time, "time", lambda: next(readings))
    assert [clock.now() for _ in range(4)] == [100.0, 100.0, 100.0, 101.0]


class Readings:
    """A machine's clock that says what it is told."""

    def __init__(self) -> None:
        self.at, self.awake = 1000.0, 50.0

    def pass_(self, seconds: float, *, set_by: float = 0.0) -> None:
        self.awake += seconds
        self.at += seconds + set_by

    def wall(self) -> Epoch:
        return Epoch(self.at)

    def steady(self) -> float:
        return self.awake


class TestSteeredClock:
    @pytest.fixture
    def machine(self):
        return Readings()

    @pytest.fixture
    def clock(self, machine):
        clock = SteeredClock(machine)
        assert clock.now() == machine.wall()
        return clock

    def test_it_is_the_machines_until_it_leaps(self, machine, clock):
        machine.pass_(5)
        clock.adopt(clock.leapt(3600))
        machine.pass_(5)
        assert clock.now() == 1000 + 5 + 3600 + 5
        assert [clock.at(Epoch(t)) for t in (1002, 1006)] == [1002, 4606]
        assert [clock.timeline.machine(t) for t in (1002, 2000, 4606)] == [1002, 1005, 1006]

    def test_what_the_machine_slept_through_is_known_and_is_no_leap(self, machine, clock):
        machine.pass_(1, set_by=100)
        assert clock.now() == 1101
        assert clock.lost == [(1000, 1100)]
        machine.pass_(1, set_by=1)  # a clock that is put right a little
        clock.now()
        assert len(clock.lost) == 1

    def test_a_clock_that_is_set_back_goes_on(self, machine, clock):
        machine.pass_(10, set_by=-500)
        assert clock.now() == 1010
        machine.pass_(10)
        assert clock.now() == 1020
        assert clock.at(Epoch(520)) == 1020
        assert clock.lost == []

    def test_the_next_emulator_goes_on_where_the_last_one_was(self, machine, clock):
        clock.adopt(clock.leapt(3600))
        stored = clock.timeline
        slower = SteeredClock(machine, stored.begun(1060, speed=60.0, not_before=0.0))
        machine.pass_(60)
        assert slower.now() == 1000 + 3600 + 60
        machine.pass_(1)
        assert slower.now() == 1000 + 3600 + 120
        slower.adopt(slower.slowed())
        machine.pass_(10)
        assert slower.now() == 1000 + 3600 + 120 + 10

    def test_it_does_not_begin_before_what_was_written_last(self):
        """The machine's clock was set back while no emulator ran."""
        assert Timeline().begun(500, speed=1.0, not_before=800).at(510) == 810

    @given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e5, 1e5), st.floats(0, 1e5))))
    def test_it_never_goes_back(self, story):
        machine = Readings()
        clock = SteeredClock(machine)
        latest = clock.now()
        for awake, set_by, leap in story:
            machine.pass_(awake, set_by=set_by)
            if leap > 1:
                clock.adopt(clock.leapt(leap))
            assert latest <= clock.now()
            latest = clock.now()
            assert clock.at(machine.wall()) == pytest.approx(latest, abs=0.501)
