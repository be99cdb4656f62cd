"""From intervals to metered quantities."""

import math
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.metering import (
    Floor,
    Quantities,
    clipped,
    floors,
    merged,
    quantities,
    without,
)
from emulator.model.configuration import InstanceSize, Provision
from emulator.model.identifiers import Epoch, InstanceId, OperationId, ServiceId
from emulator.model.operation import Operation, OperationStatus, OperationType
from emulator.model.usage import Meter, UsageInterval

ONE, TWO = ServiceId("one"), ServiceId("two")
T = 1_800_000_000.1  # not exact in binary, as real times are


def interval(start, end, meter=Meter.ACTIVE, instance="i", service=ONE) -> UsageInterval:
    return UsageInterval(
        service=service,
        meter=meter,
        start=Epoch(T + start),
        end=None if end is None else Epoch(T + end),
        instance=InstanceId(instance),
        cpu=1024,
        memory=2048,
    )


def provisioned(start, end, instance="i", service=ONE) -> UsageInterval:
    return interval(start, end, Meter.PROVISIONED, instance, service)


def vcpu_seconds(*pairs, now=10_000) -> Decimal:
    return quantities([interval(*pair) for pair in pairs], Epoch(T + now)).cpu


def gb_seconds(*intervals, now=10_000, floors=()) -> Decimal:
    return quantities(intervals, Epoch(T + now), floors=floors).memory


class TestActive:
    @pytest.mark.documented(source="pricing page, quoted by secondary sources")
    def test_an_activation_costs_a_minute_at_least(self):
        assert vcpu_seconds((0, 3)) == 60

    def test_a_longer_one_costs_its_length(self):
        assert vcpu_seconds((0, 90)) == 90

    @pytest.mark.assumed
    def test_seconds_are_rounded_up(self):
        assert vcpu_seconds((0, 90.2)) == 91
        assert vcpu_seconds((0, 91)) == 91

    @pytest.mark.assumed
    def test_becoming_active_again_within_the_paid_minute_starts_no_new_one(self):
        assert vcpu_seconds((0, 3), (30, 33)) == 60
        assert vcpu_seconds((0, 3), (30, 33), (59, 63)) == 63

    def test_becoming_active_again_after_it_costs_a_new_minute(self):
        assert vcpu_seconds((0, 3), (61, 64)) == 120
        assert vcpu_seconds((0, 80), (85, 86)) == 140

    def test_each_instance_has_its_own_minute(self):
        pair = [interval(0, 3, instance="a"), interval(0, 3, instance="b")]
        assert quantities(pair, Epoch(T + 9)).cpu == 120

    def test_an_open_one_runs_until_now(self):
        assert vcpu_seconds((0, None), now=100) == 100
        assert vcpu_seconds((0, None), now=5) == 60


class TestProvisioned:
    @pytest.mark.documented(source="pricing page")
    def test_memory_is_metered_once_active_or_not(self):
        assert gb_seconds(provisioned(0, 100), interval(20, 90)) == 200

    def test_there_is_no_shortest_time(self):
        assert gb_seconds(provisioned(0, 3)) == 6

    def test_what_overlaps_by_mistake_is_metered_once(self):
        assert gb_seconds(provisioned(0, 100), provisioned(50, 120)) == 240

    def test_every_instance_is_metered(self):
        assert gb_seconds(provisioned(0, 100, "a"), provisioned(0, 100, "b")) == 400


def test_builds_are_metered_each_for_itself():
    builds = [
        UsageInterval(service=ONE, meter=Meter.BUILD, start=Epoch(start), end=Epoch(90.0))
        for start in (0.0, 30.0)
    ]
    assert quantities(builds, Epoch(100.0)) == Quantities(build=Decimal(150))


def test_nothing_costs_nothing():
    assert quantities([], Epoch(T)) == Quantities()


class TestFloor:
    @staticmethod
    def floor(*spans, min_size=1, service=ONE) -> Floor:
        moments = tuple((Epoch(T + start), Epoch(T + end)) for start, end in spans)
        provision = Provision(min_size=min_size, size=InstanceSize())
        return Floor(service=service, provision=provision, spans=moments)

    def test_adds_what_scale_to_zero_saved(self):
        assert gb_seconds(provisioned(20, 50), floors=[self.floor((0, 100))]) == 200

    def test_adds_nothing_where_enough_ran(self):
        many = [provisioned(0, 100, "a"), provisioned(0, 100, "b")]
        assert gb_seconds(*many, floors=[self.floor((0, 100))]) == 400

    def test_a_burst_at_one_time_does_not_fill_a_hole_at_another(self):
        burst = [provisioned(0, 50, name) for name in "abc"]
        assert gb_seconds(*burst, floors=[self.floor((0, 100), min_size=2)]) == 300 + 200

    @pytest.mark.documented(source="pricing page: no charge while paused")
    def test_adds_nothing_while_paused(self):
        assert gb_seconds(floors=[self.floor((0, 10), (50, 60))]) == 40

    def test_another_service_does_not_count(self):
        assert gb_seconds(provisioned(0, 100, service=TWO), floors=[self.floor((0, 100))]) == 400

    @given(
        st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.sampled_from("abc"))),
        st.integers(0, 3),
    )
    def test_is_the_larger_of_wanted_and_running_at_every_second(self, runs, min_size):
        spans = [(min(a, b), max(a, b), name) for a, b, name in runs]
        intervals = [provisioned(*span) for span in spans]
        running = [
            len({name for start, end, name in spans if start <= second < end})
            for second in range(60)
        ]
        expected = sum(
            2 * max(count, min_size if 10 <= second < 40 else 0)
            for second, count in enumerate(running)
        )
        assert gb_seconds(*intervals, floors=[self.floor((10, 40), min_size=min_size)]) == expected


class TestProperties:
    pairs = st.lists(
        st.tuples(st.floats(0, 3600), st.floats(0, 300)).map(lambda p: (p[0], p[0] + p[1])),
        min_size=1,
        max_size=20,
    )

    @given(pairs)
    def test_never_less_than_the_time_and_never_more_than_a_minute_each_added(self, pairs):
        real = sum(
            end - start
            for start, end in merged([interval(*pair) for pair in pairs], Epoch(T + 9000))
        )
        assert real - 0.1 <= vcpu_seconds(*pairs) <= math.ceil(real) + 61 * len(pairs)

    @given(pairs, st.randoms(use_true_random=False))
    def test_the_order_does_not_matter(self, pairs, chance):
        shuffled = [*pairs]
        chance.shuffle(shuffled)
        assert vcpu_seconds(*pairs) == vcpu_seconds(*shuffled)

    @given(st.floats(0, 3600), st.floats(0, 300), st.floats(0, 1))
    def test_cutting_an_interval_in_two_changes_nothing(self, start, length, share):
        middle, end = start + length * share, start + length
        assert vcpu_seconds((start, middle), (middle, end)) == vcpu_seconds((start, end))

    @given(pairs, st.floats(0, 4000), st.floats(0, 100))
    def test_time_never_makes_it_cheaper(self, pairs, now, later):
        past = [(start, end) for start, end in pairs if end <= now]
        opened = [*past, (min(now, 100), None)]
        assert vcpu_seconds(*opened, now=now) <= vcpu_seconds(*opened, now=now + later)


class TestClipped:
    def test_keeps_what_lies_in_the_period(self):
        found = clipped(
            [interval(0, 10), interval(5, 25), interval(12, None), interval(20, 30)],
            Epoch(T + 10),
            Epoch(T + 20),
        )
        assert found == (interval(10, 20), interval(12, None))


def kept(min_size) -> Provision:
    return Provision(min_size=min_size, size=InstanceSize())


class TestFloors:
    @staticmethod
    def operation(
        kind, at, status=OperationStatus.SUCCEEDED, provision: Provision | None = None
    ) -> Operation:
        return Operation(
            id=OperationId(f"{at}"),
            service=ONE,
            type=kind,
            status=status,
            started_at=Epoch(at - 1.0),
            updated_at=Epoch(at),
            ended_at=Epoch(at),
            provision=provision,
        )

    def floors(self, *operations, now=100.0, since=None, asleep=()):
        newest_first = [self.operation(*each) for each in reversed(operations)]
        return {
            floor.provision.min_size: floor.spans
            for floor in floors(
                ONE, newest_first, Epoch(now), since=since, asleep=asleep, unless_known=kept(1)
            )
        }

    def spans(self, *operations, **more):
        return self.floors(*operations, **more).get(1, ())

    def test_what_is_deployed_with_another_min_size_does_not_change_what_was_before(self):
        done = OperationStatus.SUCCEEDED
        assert self.floors(
            (OperationType.CREATE_SERVICE, 10.0, done, kept(1)),
            (OperationType.UPDATE_SERVICE, 20.0, done, kept(3)),
            (OperationType.UPDATE_SERVICE, 30.0, OperationStatus.ROLLBACK_SUCCEEDED),
            (OperationType.PAUSE_SERVICE, 40.0),
            (OperationType.RESUME_SERVICE, 50.0),
            (OperationType.START_DEPLOYMENT, 60.0, done, kept(3)),
            (OperationType.UPDATE_SERVICE, 70.0, done, kept(1)),
        ) == {1: ((10.0, 20.0), (70.0, 100.0)), 3: ((20.0, 40.0), (50.0, 70.0))}

    def test_not_while_the_machine_slept(self):
        created = (OperationType.CREATE_SERVICE, 10.0)
        nights = ((Epoch(5.0), Epoch(15.0)), (Epoch(40.0), Epoch(60.0)))
        assert self.spans(created, asleep=nights) == ((15.0, 40.0), (60.0, 100.0))

    def test_from_the_first_deployment_to_now(self):
        assert self.spans((OperationType.CREATE_SERVICE, 10.0)) == ((10.0, 100.0),)

    def test_not_while_paused_nor_after_the_end(self):
        assert self.spans(
            (OperationType.CREATE_SERVICE, 10.0),
            (OperationType.START_DEPLOYMENT, 20.0),
            (OperationType.PAUSE_SERVICE, 30.0),
            (OperationType.RESUME_SERVICE, 50.0),
            (OperationType.DELETE_SERVICE, 70.0),
        ) == ((10.0, 30.0), (50.0, 70.0))

    @pytest.mark.documented(source="developer guide: CREATE_FAILED is not charged")
    def test_what_failed_provisions_nothing(self):
        failed = (OperationType.CREATE_SERVICE, 10.0, OperationStatus.FAILED)
        assert self.spans(failed) == ()
        assert self.spans(failed, (OperationType.UPDATE_SERVICE, 40.0)) == ((40.0, 100.0),)

    def test_a_failed_pause_changes_nothing(self):
        created = (OperationType.CREATE_SERVICE, 10.0)
        failed = (OperationType.PAUSE_SERVICE, 20.0, OperationStatus.FAILED)
        assert self.spans(created, failed) == ((10.0, 100.0),)

    def test_can_begin_with_a_month(self):
        operations = (
            (OperationType.CREATE_SERVICE, 10.0),
            (OperationType.PAUSE_SERVICE, 30.0),
            (OperationType.RESUME_SERVICE, 50.0),
        )
        assert self.spans(*operations, since=Epoch(60.0)) == ((60.0, 100.0),)
        assert self.spans(*operations, since=Epoch(20.0)) == ((20.0, 30.0), (50.0, 100.0))


SPANS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda p: (min(p), max(p))), max_size=6
)


@given(SPANS, SPANS)
def test_what_is_left_of_a_span_is_what_no_other_covers(spans, away):
    def seconds(of):
        return sorted(s for start, end in of for s in range(start, end))

    covered = set(seconds(away))
    assert seconds(without(spans, away)) == [s for s in seconds(spans) if s not in covered]
