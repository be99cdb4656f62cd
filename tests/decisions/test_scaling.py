"""How many instances, and why."""

import math

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.scaling import SCALE_IN_WINDOW, Load, Memory, clamp, decide, want
from emulator.model.configuration import AutoScaling

SCALING = AutoScaling(max_concurrency=10, min_size=1, max_size=5)


def run(now, demand, memory, *, idle_since=None, zero_after=300.0, scaling=SCALING):
    load = Load(demand=demand, idle_since=idle_since)
    return decide(now, load, scaling=scaling, zero_after=zero_after, memory=memory)


def memory(size, since=0.0):
    return Memory(size=size, since=since)


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


def follow(demands, *, step, current=None, zero_after=None, scaling=SCALING):
    """The sizes that a series of demands leads to, `step` seconds apart, and the last memory."""
    current = current or memory(scaling.min_size)
    sizes = []
    for n, demand in enumerate(demands):
        decision = run(
            n * step, demand, current, idle_since=None, zero_after=zero_after, scaling=scaling
        )
        sizes.append(decision.size)
        current = decision.memory
    return sizes


@given(
    middle=st.integers(0, 40),
    swing=st.integers(0, 40),
    period=st.floats(1.0, SCALE_IN_WINDOW),
    looks=st.integers(2, 40),
)
def test_a_swinging_load_does_not_make_it_flap(middle, swing, period, looks):
    """A swing that is over within a window keeps the size that its crest needs."""
    wave = [middle + swing * math.sin(2 * math.pi * n / looks) for n in range(looks)]
    demands = [max(0, round(demand)) for demand in wave]
    times = math.ceil(4 * SCALE_IN_WINDOW / period)
    sizes = follow(demands * times, step=period / looks)
    assert set(sizes[looks:]) == {clamp(want(max(demands), SCALING), SCALING)}


@given(
    before=st.lists(st.integers(0, 200), max_size=20),
    demand=st.integers(0, 200),
    step=st.floats(0.5, 30.0),
)
def test_it_settles_on_what_a_constant_load_needs(before, demand, step):
    after = math.ceil(2 * SCALE_IN_WINDOW / step) + 2
    sizes = follow([*before, *[demand] * after], step=step)
    assert sizes[-1] == clamp(want(demand, SCALING), SCALING)
    settled = sizes[len(before) :]
    assert settled == sorted(settled, reverse=settled[0] > settled[-1])


@given(
    pairs=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=20),
    size=st.integers(1, 5),
)
def test_more_load_all_along_never_means_fewer_instances(pairs, size):
    less = follow([a for a, _ in pairs], step=7.0, current=memory(size))
    more = follow([a + b for a, b in pairs], step=7.0, current=memory(size))
    assert all(a <= b for a, b in zip(less, more, strict=True))


@given(observed=st.integers(0, 5), demand=st.integers(0, 50), after=st.floats(0, 59.9))
def test_what_an_emulator_finds_at_its_start_is_kept_until_it_knows_a_window(
    observed, demand, after
):
    assert run(after, demand, memory(observed), zero_after=None).size >= observed


@pytest.mark.parametrize(
    ("demand", "before", "reason"),
    [
        (1, 0, "1 request at 10 each needs 1"),
        (25, 1, "25 requests at 10 each need 3"),
        (99, 1, "99 requests at 10 each need 10, but no more than 5 may serve (MaxSize)"),
        (0, 1, "1 provisioned (MinSize)"),
        (5, 3, "1 would do: waiting out the scale-in window"),
        (5, 9, "no more than 5 may serve (MaxSize)"),
    ],
)
def test_each_decision_says_why_in_numbers(demand, before, reason):
    assert run(1.0, demand, memory(before)).reason == reason


def test_the_end_of_a_window_says_what_was_needed_in_it():
    at_the_end = run(60.0, 5, Memory(size=3, since=0.0, needed=((2, 30.0),)))
    assert (at_the_end.size, at_the_end.reason) == (2, "2 were enough for 60 s")
    still = run(60.0, 5, Memory(size=3, since=0.0, needed=((3, 30.0),)))
    assert (still.size, still.reason) == (3, "3 were needed in the last 60 s")


def test_less_does_as_soon_as_it_was_enough_for_a_window_whenever_that_is_looked_at():
    load = Load(demand=45, idle_since=None, needed={5: 3.0, 3: 4.0, 2: 5.0, 1: 7.0})
    first = decide(30.0, load, scaling=SCALING, zero_after=None, memory=memory(5, since=-60.0))
    assert (first.size, first.due) == (5, 63.0)
    second = run(63.0, 5, first.memory)
    assert (second.size, second.due) == (3, 64.0)
    third = run(66.0, 5, second.memory)
    assert (third.size, third.due) == (1, None)


@given(
    falls=st.lists(st.tuples(st.floats(0.1, 50.0), st.integers(0, 60)), min_size=1, max_size=20),
    looks=st.sets(st.integers(1, 2000), max_size=20),
)
def test_when_it_is_looked_at_changes_nothing_of_the_sizes(falls, looks):
    """The demand is `n` until `after` seconds later it is another one; nothing asks in between, or
    something does at moments of its own: the size at the end is the same.
    """
    assert settled(falls, frozenset()) == settled(falls, looks)


def settled(falls, looks):
    """Sizes at each change of the demand, asked there, when due, and at `looks`."""
    current, now, due, sizes = memory(0, since=-60.0), 0.0, None, []
    for after, demand in falls:
        until = now + after
        moments = {float(look) for look in looks if now < look < until}
        while True:
            at = min([*moments, until] + ([due] if due is not None and due > now else []))
            moments.discard(at)
            now = at
            decision = run(now, demand, current, zero_after=None)
            current, due = decision.memory, decision.due
            if at == until:
                break
        sizes.append(decision.size)
    return sizes


def test_min_size_counts_with_the_load_beneath_it():
    wide = AutoScaling(max_concurrency=10, min_size=3, max_size=5)
    decision = run(0.0, 12, memory(0), scaling=wide)
    assert decision.reason == "3 provisioned (MinSize); 12 requests at 10 each need 2"
