"""Thresholds and back-off."""

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.health import LONGEST_BACK_OFF, Streak, back_off, pause
from emulator.model.configuration import HealthCheck
from emulator.model.instance import Health


def after(results, check):
    streak = Streak()
    for healthy in results:
        streak = streak.after(healthy=healthy, detail="refused", check=check)
    return streak


@pytest.mark.documented("HealthCheckConfiguration: HealthyThreshold, UnhealthyThreshold")
def test_needs_consecutive_successes():
    check = HealthCheck(healthy_threshold=3)
    assert after([True, True, False, True, True], check).health is Health.UNKNOWN
    assert after([True, True, True], check).health is Health.HEALTHY


@pytest.mark.documented("HealthCheckConfiguration: HealthyThreshold, UnhealthyThreshold")
def test_needs_consecutive_failures_to_fall():
    check = HealthCheck(unhealthy_threshold=2)
    assert after([True, False, True, False], check).health is Health.HEALTHY
    fallen = after([True, False, False], check)
    assert fallen.health is Health.UNHEALTHY
    assert fallen.detail == "refused"


def test_failures_do_not_count_while_it_starts():
    assert after([False] * 100, HealthCheck()).health is Health.UNKNOWN


def test_probes_eagerly_while_it_starts_and_at_the_interval_afterwards():
    check = HealthCheck(interval=7)
    assert pause(Streak(), check, 1) < 0.01
    assert pause(Streak(), check, 1000) == 0.25
    assert pause(Streak(health=Health.HEALTHY), check, 1) == 7


@given(st.integers(0, 10_000))
def test_back_off_grows_to_a_bound(crashes):
    assert 0 <= back_off(crashes) <= back_off(crashes + 1) <= LONGEST_BACK_OFF


def test_the_first_crash_is_replaced_at_once():
    assert [back_off(n) for n in range(6)] == [0, 0, 1, 2, 4, 8]
