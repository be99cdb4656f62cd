"""How many instances, and why."""

from hypothesis import given, strategies as st

from emulator.decisions.scaling import SCALE_IN_WINDOW, Load, Memory, decide
from emulator.model.configuration import AutoScaling

SCALING = AutoScaling(max_concurrency=10, min_size=1, max_size=5)


def run(now, demand, memory, *, idle_since=None, zero_after=300.0, scaling=SCALING):
    load = Load(demand=demand, idle_since=idle_since)
    return decide(now, load, scaling=scaling, zero_after=zero_after, memory=memory)


def memory(size, since=0.0):
    return Memory(size=size, enough=0, since=since)


def test_scales_out_at_once():
    decision = run(0.0, 25, memory(1))
    assert decision.size == 3
    assert decision.reason == "25 requests at 10 each need 3"


def test_never_above_the_maximum_and_says_so():
    decision = run(0.0, 500, memory(1))
    assert decision.size == 5
    assert "MaxSize" in decision.reason


def test_keeps_its_size_until_the_scale_in_window_has_passed():
    first = run(0.0, 5, memory(3))
    assert (first.size, first.due) == (3, SCALE_IN_WINDOW)
    second = run(SCALE_IN_WINDOW, 5, first.memory)
    assert second.size == 1


def test_a_peak_inside_the_window_counts():
    first = run(0.0, 5, memory(3))
    peak = run(30.0, 15, first.memory)
    last = run(SCALE_IN_WINDOW, 5, peak.memory)
    assert last.size == 2


def test_goes_to_zero_after_the_rest_time():
    assert run(299.0, 0, memory(1), idle_since=0.0).size == 1
    decision = run(300.0, 0, memory(1), idle_since=0.0)
    assert decision.size == 0
    assert decision.reason == "no request for 300 s: scaled to zero"


def test_stays_at_zero_until_a_request_comes():
    assert run(400.0, 0, memory(0), idle_since=390.0).size == 0
    assert run(400.0, 1, memory(0)).size == 1


def test_never_goes_to_zero_when_that_is_off():
    assert run(1e9, 0, memory(1), idle_since=0.0, zero_after=None).size == 1
    assert run(1e9, 0, memory(0), idle_since=0.0, zero_after=None).size == 1


@given(
    demands=st.lists(st.integers(0, 200), min_size=1, max_size=30),
    step=st.floats(0.1, 100),
)
def test_the_size_is_always_within_bounds(demands, step):
    current = memory(1)
    for n, demand in enumerate(demands):
        now = n * step
        decision = run(now, demand, current, idle_since=None if demand else now)
        assert SCALING.min_size <= decision.size <= SCALING.max_size
        assert decision.reason
        assert decision.due is None or decision.due >= now
        current = decision.memory


@given(demand=st.integers(1, 60), steps=st.integers(2, 50))
def test_constant_load_does_not_flap(demand, steps):
    current = run(0.0, demand, memory(1)).memory
    sizes = set()
    for n in range(steps):
        decision = run(n * 10.0, demand, current)
        sizes.add(decision.size)
        current = decision.memory
    assert len(sizes) == 1


@given(base=st.integers(1, 50), more=st.integers(0, 50))
def test_more_demand_never_means_fewer_instances(base, more):
    assert run(0.0, base + more, memory(1)).size >= run(0.0, base, memory(1)).size
