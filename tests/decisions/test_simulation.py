"""The replay: by hand where a person can follow it, against the real decisions where not."""

from array import array
from heapq import heappop
from itertools import pairwise
from random import Random  # noqa: TID251 - seeded
from types import SimpleNamespace

import pytest
from hypothesis import given, settings, strategies as st

from emulator.decisions import simulation
from emulator.decisions.admission import pick
from emulator.decisions.metering import charges, merged, quantities
from emulator.decisions.replay import Setting, Tempo, Trace
from emulator.decisions.replay_meters import SECOND, ReplayMeters
from emulator.decisions.simulation import simulate
from emulator.model.configuration import AutoScaling
from emulator.model.identifiers import Epoch, InstanceId, ServiceId
from emulator.model.usage import Meter, UsageInterval

TEMPO = Tempo(prepare=0.5, start=0.25, boot=0.75, thaw=0.01, stop=0.2, queue=10, queue_wait=5.0)


def trace(*requests) -> Trace:
    """Of (arrival, duration) in seconds."""
    arrivals, durations = zip(*requests, strict=True)
    return Trace(
        *(array("q", (round(s * SECOND) for s in values)) for values in (arrivals, durations))
    )


def setting(*, zero_after=None, freeze_after=None, **scaling) -> Setting:
    return Setting(scaling=AutoScaling(**scaling), zero_after=zero_after, freeze_after=freeze_after)


def replayed(requests, wanted, **more):
    return simulate(trace(*requests), wanted, TEMPO, Random(1).random, **more)


class TestByHand:
    def test_a_rest_of_less_than_a_second_is_active_time_as_it_is_metered(self):
        found = replayed([(0, 0.7), (1, 0.7), (4, 0.5)], setting())
        assert found.active_seconds == pytest.approx(1.7 + 0.5)

    def test_a_request_that_finds_an_instance_takes_what_it_takes(self):
        found = replayed([(0, 2)], setting())
        assert (found.served, found.queued, found.latency(0.5)) == (1, 0, 2.0)
        assert (found.seconds, found.instance_seconds, found.active_seconds) == (2.0, 2.0, 2.0)
        # Provisioned for 2 s in 2 GB, active for a minute at least.
        assert (found.billable.memory, found.billable.cpu) == (4, 60)

    def test_from_zero_it_waits_for_a_start_and_is_counted_as_cold(self):
        found = replayed([(0, 1)], setting(), warm=0)
        assert (found.cold, found.queued, found.starts) == (1, 1, 1)
        assert found.latency(1.0) == pytest.approx(1 + 0.25 + 0.75, abs=0.01)
        assert found.instance_seconds == pytest.approx(2.0, abs=0.01)

    def test_the_second_start_has_no_standby_to_begin_with(self):
        found = replayed([(0, 1), (0, 1)], setting(max_concurrency=1), warm=0)
        assert found.latency(1.0) == pytest.approx(1 + 0.5 + 0.25 + 0.75, abs=0.01)

    def test_no_more_start_at_once_than_the_engine_is_given(self):
        found = replayed([(0, 10)] * 7, setting(max_concurrency=1), warm=0)
        assert found.starts == 7
        # One is prepared, two are to be; then three by three, without a standby.
        counts = [(round(at, 1), n) for at, n in found.timeline]
        assert counts[:5] == [(0.0, 1), (0.5, 3), (0.8, 4), (1.3, 6), (1.5, 7)]

    def test_what_finds_no_room_at_the_limit_waits_in_line(self):
        found = replayed([(0, 2), (0.5, 2)], setting(max_size=1, max_concurrency=1))
        assert (found.queued, found.longest_wait, found.most) == (1, 1.5, 1)
        assert (found.latency(0.5), found.latency(1.0)) == (2.0, 3.5)

    def test_a_full_queue_and_a_wait_that_is_over_are_429(self):
        full = replayed([(0, 60)] + [(1, 1)] * 12, setting(max_size=1, max_concurrency=1))
        assert (full.served, full.queued, full.refused, full.unserved) == (1, 10, 12, 0)

    def test_where_no_instance_comes_up_in_time_it_is_503(self):
        slow = Tempo(start=1, boot=30, queue_wait=5)
        found = simulate(trace((0, 1)), setting(), slow, Random(1).random, warm=0)
        assert (found.served, found.unserved) == (0, 1)

    def test_it_goes_to_zero_after_its_rest_and_what_is_kept_there_is_app_runners(self):
        found = replayed([(0, 1)], setting(zero_after=10), until=100)
        assert found.timeline[-2:] == ((11.2, 0), (100.0, 0))
        assert found.instance_seconds == pytest.approx(11.2)
        assert (found.billable.zero_memory, found.billable.memory) == (24, 24 + 2 * 89)

    def test_what_is_not_needed_goes_when_the_window_is_over(self):
        burst = [(0, 5)] * 3
        found = replayed(burst, setting(max_concurrency=1), until=200)
        assert [n for _, n in found.timeline] == [1, 2, 3, 2, 1, 1]
        # Three were needed until the first of them had its answer, two until the second had.
        assert [round(at) for at, _ in found.timeline[-3:-1]] == [65, 66]

    def test_a_frozen_instance_is_thawed_first(self):
        found = replayed([(0, 1), (20, 1)], setting(freeze_after=5))
        assert sorted(found.latencies) == [1.0, 1.01]

    def test_what_is_frozen_goes_before_what_is_awake(self):
        pings = [(t, 0.1) for t in range(0, 100, 4)]  # one of two instances stays awake
        found = replayed([(0, 3), *pings], setting(max_concurrency=1, freeze_after=5), warm=2)
        assert (found.starts, found.timeline[-1][1]) == (0, 1)
        assert found.latencies == {0.1: 25, 3.0: 1}  # no thaw

    def test_a_request_ends_at_the_services_time_limit(self):
        assert replayed([(0, 500)], setting()).latency(1.0) == 120.0

    def test_an_empty_trace_costs_what_is_kept(self):
        found = simulate(Trace(), setting(), TEMPO, Random(1).random, until=10)
        assert (found.requests, found.instance_seconds, found.latency(0.99)) == (0, 10.0, 0.0)


requests = st.lists(st.tuples(st.floats(0, 30), st.floats(0, 20)), min_size=1, max_size=40).map(
    lambda drawn: sorted((round(a, 4), round(d, 4)) for a, d in drawn)
)
wanted = st.builds(
    setting,
    zero_after=st.sampled_from([None, 3.0, 40.0]),
    freeze_after=st.sampled_from([None, 1.0, 10.0]),
    min_size=st.integers(1, 3),
    max_size=st.integers(3, 8),
    max_concurrency=st.integers(1, 4),
)


@given(requests, wanted, st.integers(0, 3), st.floats(0, 200))
@settings(deadline=None)
def test_nothing_is_lost_and_the_numbers_agree_with_each_other(drawn, chosen, warm, until):
    found = replayed(drawn, chosen, warm=warm, until=until)
    assert found.served + found.refused + found.unserved == found.requests == len(drawn)
    # Those that are being stopped are still there when others start.
    assert found.most <= 2 * max(warm, chosen.scaling.max_size)
    integral = sum(n * (then - at) for (at, n), (then, _) in pairwise(found.timeline))
    assert found.instance_seconds == pytest.approx(integral)
    assert found.active_seconds <= found.instance_seconds + 1e-6
    # A millisecond of each stretch may be a rounding error, which nobody is charged for.
    errors = 0.001 * (len(drawn) + found.starts + warm)
    assert found.billable.cpu >= found.active_seconds - errors
    rounded_up = float(found.billable.zero_memory) / 2 - found.instance_seconds
    assert -errors <= rounded_up <= found.starts + warm


class Plain(simulation._World):
    """The loop as it would be without the cases that are written out for speed."""

    def run(self, trace, until):
        arrivals = list(zip(trace.arrivals, trace.durations, strict=True))
        while True:
            arrival = arrivals[0][0] if arrivals else simulation.NEVER
            completion = self._completions[0] >> 16 if self._completions else simulation.NEVER
            if arrival < completion and arrival < self._due:
                _, duration = arrivals.pop(0)
                if self._queue or not self._begin(arrival, arrival, duration):
                    self._wait(arrival, duration)
            elif completion < self._due:
                self._complete(heappop(self._completions) & 0xFFFF, completion)
            elif (
                min(arrival, completion) == simulation.NEVER
                and not self._queue
                and self._due > until
            ):
                break
            else:
                self._tick(self._due)
        self._meters.close(max(self._last_end, until))


@given(requests, wanted, st.integers(0, 3))
@settings(deadline=None)
def test_the_fast_loop_does_what_the_plain_one_does(drawn, chosen, warm):
    plain = Plain(chosen, TEMPO, Random(1).random)
    plain.open(warm)
    plain.run(trace(*drawn), 0)
    assert replayed(drawn, chosen, warm=warm) == plain.outcome(len(drawn))


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 4), st.integers(1, 3))
def test_requests_go_where_admission_would_send_them(steps, warm, limit):
    world = simulation._World(
        setting(min_size=warm, max_size=warm, max_concurrency=limit), TEMPO, Random(2).random
    )
    world.open(warm)
    for now, step in enumerate(steps, start=1):
        if step == 0 and world._completions:
            world._complete(heappop(world._completions) & 0xFFFF, now)
        elif step == 1:
            world._now = now + 20 * SECOND
            world._freeze(0)
        else:
            there = [
                SimpleNamespace(number=n, in_flight=load // 2, frozen=load == 1)
                for n, load in enumerate(world._load)
            ]
            before = list(world._load)
            seen = []
            # Every candidate that the rule may choose, whatever is drawn.
            for draw in range(warm):
                chosen = pick(there, max_concurrency=limit, draw=lambda n, d=draw: d % n)
                seen.append(None if chosen is None else chosen.number)
            given_room = world._begin(now, now, 5)
            taken = [n for n, load in enumerate(world._load) if load != before[n]]
            assert (taken or [None])[0] in seen
            assert given_room == (seen[0] is not None)


moments = st.lists(st.floats(0.0, 200.0), min_size=2, max_size=12, unique=True)


@given(st.lists(moments, min_size=1, max_size=4))
def test_the_meters_are_those_of_the_bill(drawn):
    """The first and last moment of each are its life, those between them its activations."""
    meters, usage = ReplayMeters(1), []
    steps, exactly = [], []
    for number, times in enumerate(drawn):
        micro = sorted({round(t * SECOND) for t in times})
        if len(micro) < 2:
            continue
        begin, *between, end = micro
        steps += [(begin, number, meters.provisioned), (end, number, meters.ended)]
        usage.append(span(Meter.PROVISIONED, number, begin, end))
        stretches = list(zip(between[::2], between[1::2], strict=False))
        for start, stop in stretches:
            steps += [(start, number, meters.activate), (stop, number, meters.deactivate)]
        exactly += [span(Meter.ACTIVE, number, *each) for each in stretches]
        usage += [span(Meter.ACTIVE, number, *each) for each in without_short_gaps(stretches)]
    for at, number, do in sorted(steps, key=lambda step: step[0]):
        do(number, at)
    meters.close(200 * SECOND)
    found = quantities(usage, Epoch(1000.0))
    assert (meters.memory_seconds * 2, meters.cpu_seconds) == (found.memory, found.cpu)
    activations = [c for c in charges(usage, Epoch(1000.0)) if c.meter is Meter.ACTIVE]
    assert meters.stretches == len(activations)
    busy = sum(end - start for start, end in merged(exactly, Epoch(1000.0)))
    assert meters.busy_time / SECOND == pytest.approx(busy, abs=1e-3)


def without_short_gaps(stretches):
    """As the meter closes them: a rest of less than a second does not end one."""
    joined = []
    for start, stop in stretches:
        if joined and start < joined[-1][1] + SECOND:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def span(meter, number, start, end):
    return UsageInterval(
        service=ServiceId("s"),
        meter=meter,
        start=Epoch(start / SECOND),
        end=Epoch(end / SECOND),
        instance=InstanceId(str(number)),
        cpu=1024,
        memory=2048,
    )
