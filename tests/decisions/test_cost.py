"""AWS's examples and our own, to the fraction of a cent."""

from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace

import pytest

from emulator.cli import prices
from emulator.decisions.cost import (
    Billable,
    Pattern,
    bill,
    billable,
    estimate,
    priced,
    together,
)
from emulator.decisions.metering import Floor
from emulator.model.configuration import InstanceSize, Provision
from emulator.model.identifiers import Epoch, InstanceId, ServiceId
from emulator.model.usage import Meter, UsageInterval

LIST = prices.builtin()
US = LIST.within("us-east-1")
ONE_VCPU, SMALL = InstanceSize(), InstanceSize(cpu=256, memory=512)
SERVICE = ServiceId("s")
HOUR = 3600
NOW = Epoch(1e9)


def pattern(active, size=ONE_VCPU, **options) -> Pattern:
    return Pattern(size=size, active_hours=Decimal(str(active)), **options)


def run(start, end, instance="a", size=ONE_VCPU, meter=Meter.PROVISIONED) -> UsageInterval:
    return UsageInterval(
        service=SERVICE,
        meter=meter,
        start=Epoch(float(start)),
        end=Epoch(float(end)),
        instance=InstanceId(instance),
        cpu=size.cpu,
        memory=size.memory,
    )


def active(start, end, instance="a", size=ONE_VCPU) -> UsageInterval:
    return run(start, end, instance, size, Meter.ACTIVE)


def lines(found) -> dict[str, Decimal]:
    return {line.meter: line.amount for line in found.lines}


def elsewhere(found) -> SimpleNamespace:
    here, zero, fargate, functions = (each.total for each in found.alternatives)
    return SimpleNamespace(here=here, zero=zero, fargate=fargate, functions=functions)


@dataclass(frozen=True)
class Example:
    """One of the worked examples: a pattern, the same as intervals, and what it comes to.

    `line` is the one meter that the example is about, None for the whole bill; `cents`: the
    figure is published rounded to cents (of a day, where `day` says so).
    """

    name: str
    pattern: Pattern
    usage: tuple
    total: str
    line: str | None = None
    cents: bool = False
    day: str | None = None


def day(active, *, size=ONE_VCPU, paused=0, **options) -> Pattern:
    return pattern(active, size, paused_hours=Decimal(paused), hours=Decimal(24), **options)


def month(active) -> Pattern:
    return pattern(active, hours=Decimal(730))


BURST = tuple(each(0, HOUR, name) for name in "abc" for each in (run, active))
EXAMPLES = [
    # AWS's own totals are 30 times a day rounded to cents.
    Example("A", day(8), (run(0, 24 * HOUR), active(0, 8 * HOUR)), "0.848", day="25.50"),
    Example("B", day(2, paused=22), (run(0, 2 * HOUR), active(0, 2 * HOUR)), "0.156", day="4.80"),
    # C, the high-scale example, is not to be found any more.
    Example("D", month(0), (run(0, 730 * HOUR),), "10.22"),
    Example("E", month("3.6"), (run(0, 730 * HOUR), active(0, 109.5 * HOUR)), "17.23", cents=True),
    Example(
        "F idle", pattern(0, SMALL, hours=Decimal(730)), (run(0, 730 * HOUR, size=SMALL),), "2.555"
    ),
    Example(
        "F active",
        pattern(24, SMALL, hours=Decimal(730)),
        (run(0, 730 * HOUR, size=SMALL), active(0, 730 * HOUR, size=SMALL)),
        "14.235",
    ),
    Example("G", day(Decimal(3) / HOUR), (active(0, 3),), "0.001067", line="active"),
    Example("H", day(Decimal(6) / HOUR), (active(0, 3), active(30, 33)), "0.001067", line="active"),
    Example(
        "I",
        day(1, paused=23, min_size=2),
        (run(0, HOUR, "a"), run(0, HOUR, "b"), active(0, HOUR, "a")),
        "0.092",
    ),
    Example("J", day(1, paused=23, active_instances=3), BURST, "0.234"),
    Example("K", day(0, paused=24), (), "0"),
]


@pytest.mark.documented(source="the pricing page's examples, and calculators that quote it")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.name)
def test_a_worked_example_comes_out_exactly_metered_or_estimated(example):
    for found in (bill(example.usage, NOW, US), estimate(example.pattern, US)):
        amount = found.total if example.line is None else lines(found)[example.line]
        if example.line:
            amount = round(amount, 6)
        assert (round(amount, 2) if example.cents else amount) == Decimal(example.total)
        if example.day:
            assert round(amount, 2) * 30 == Decimal(example.day)


def test_each_activation_of_a_pattern_costs_a_minute_at_least():
    ten = day(Decimal("0.1"), activations=10)
    assert lines(estimate(ten, US))["active"] == Decimal(10) / 60 * Decimal("0.064")


def test_activations_cannot_be_charged_for_more_than_the_day():
    often = day(1, paused=4, activations=5000)
    assert lines(estimate(often, US))["active"] == 20 * Decimal("0.064")


class TestLines:
    def test_every_amount_is_quantity_times_price_and_the_total_their_sum(self):
        build = UsageInterval(service=SERVICE, meter=Meter.BUILD, start=Epoch(0), end=Epoch(90))
        found = bill([run(0, HOUR), active(0, HOUR), build], NOW, US, automatic=2)
        assert lines(found) == {
            "provisioned": Decimal("0.014"),
            "active": Decimal("0.064"),
            "build": Decimal("0.0075"),
            "automatic-deployment": Decimal(2),
        }
        assert found.total == Decimal("2.0855")
        assert [line.unit for line in found.lines] == [
            "GB-hours",
            "vCPU-hours",
            "minutes",
            "application-months",
        ]

    def test_what_was_not_used_is_not_listed_beside_memory_and_vcpu(self):
        assert [*lines(bill([], NOW, US))] == ["provisioned", "active"]

    def test_automatic_deployment_is_added_to_an_estimate_when_asked_for(self):
        assert estimate(pattern(8), US, automatic=1).total == Decimal("26.44")


class TestWhy:
    """Each line of App Runner's bill says what its quantity comes from."""

    @staticmethod
    def told(found) -> list[str]:
        return [line.why for line in found.lines]

    def test_a_bill_tells_what_ran_what_min_size_adds_and_what_minutes_fill(self):
        usage = [run(0, 600), active(0, 10), active(300, 312.4)]
        build = UsageInterval(service=SERVICE, meter=Meter.BUILD, start=Epoch(0), end=Epoch(90))
        found = bill([*usage, build], NOW, US, floors=[kept(1, (0, 7200))], automatic=1)
        assert self.told(found) == [
            "instances for 2.0 hours in all, 110.0 minutes of them MinSize's that did not run here",
            "active for 22.4 seconds in all, charged as 2.0 minutes: 2 stretches of a minute at least",
            "1 build, 90 seconds in all",
            "1 month of an application that deployed by itself",
        ]
        (to_zero, *_) = found.alternatives[1].lines
        assert to_zero.why == "instances for 10.0 minutes in all"

    def test_an_estimate_tells_it_too(self):
        assert self.told(estimate(pattern(8), US)) == [
            "instances for 30.0 days in all",
            "active for 10.0 days in all, charged as 10.0 days: 30 stretches of a minute at least",
        ]
        assert self.told(estimate(pattern(0, paused_hours=Decimal(24)), US)) == [
            "no instance was there",
            "no instance was active",
        ]

    def test_lines_that_are_added_up_keep_both(self):
        one = priced(Billable(memory=Decimal(7), instance_time=Decimal(3)), US)
        other = priced(
            Billable(memory=Decimal(2), instance_time=Decimal(1)), LIST.within("us-east-2")
        )
        assert self.told(together([one, other]))[0] == (
            "instances for 3 seconds in all; and instances for 1 second in all"
        )


class TestRegions:
    def test_tokyo_has_its_own_prices(self):
        found = bill([run(0, HOUR), active(0, HOUR)], NOW, LIST.within("ap-northeast-1"))
        assert found.total == Decimal("0.099")
        assert (found.region, found.notes, found.currency) == ("ap-northeast-1", (), "USD")

    def test_a_region_without_known_prices_says_so(self):
        found = bill([run(0, HOUR)], NOW, LIST.within("eu-central-1"))
        assert found.total == Decimal("0.014")
        assert found.region == "eu-central-1"
        assert found.notes == ("the prices of eu-central-1 are not known: us-east-1's are used",)

    def test_a_region_with_one_known_price_uses_it_and_says_what_is_missing(self):
        found = bill([run(0, HOUR), active(0, HOUR)], NOW, LIST.within("ap-southeast-1"))
        assert found.total == Decimal("0.0817")
        assert found.notes == (
            "the price of active in ap-southeast-1 is not known: us-east-1's is used",
        )

    def test_services_in_two_regions_are_billed_at_the_prices_of_each(self):
        used = Billable(memory=Decimal(3600), cpu=Decimal(3600))
        bills = [priced(used, LIST.within(r)) for r in ("ap-northeast-1", "us-east-1", "us-east-2")]
        found = together(bills)
        assert found.total == sum(each.total for each in bills) == Decimal("0.232")
        assert [(line.meter, line.quantity) for line in found.lines] == [
            ("provisioned", 1),
            ("active", 1),
            ("provisioned", 2),
            ("active", 2),
        ]


def kept(min_size, *spans) -> Floor:
    moments = tuple((Epoch(start), Epoch(end)) for start, end in spans)
    provision = Provision(min_size=min_size, size=InstanceSize())
    return Floor(service=SERVICE, provision=provision, spans=moments)


class TestAlternatives:
    # Ran for an hour of ten, active half of it.
    usage = (run(0, HOUR), active(0, HOUR / 2))
    floor = kept(1, (0, 10 * HOUR))

    def test_app_runner_keeps_its_minimum_while_the_emulator_was_at_zero(self):
        found = bill(self.usage, Epoch(10 * HOUR), US, floors=[self.floor])
        assert found.total == elsewhere(found).here == Decimal("0.14") + Decimal("0.032")
        assert elsewhere(found).zero == Decimal("0.014") + Decimal("0.032")

    def test_fargate_is_always_on_behind_a_load_balancer(self):
        found = bill(self.usage, Epoch(10 * HOUR), US, floors=[self.floor])
        tasks = 10 * (Decimal("0.04048") + 2 * Decimal("0.004445"))
        balancer = 10 * Decimal("0.0225") + Decimal("0.5") * Decimal("0.008")
        assert elsewhere(found).fargate == tasks + balancer

    def test_fargates_tasks_follow_min_size_and_stay_while_app_runner_is_paused(self):
        floors = [kept(1, (0, 2 * HOUR)), kept(3, (2 * HOUR, 3 * HOUR))]
        found = billable([], Epoch(10 * HOUR), floors=floors)
        assert found.task_cpu == (2 * 1 + 1 * 3 + 7 * 3) * HOUR
        assert found.balancer == 10 * HOUR

    def test_fargates_tasks_are_there_however_long_nothing_ran_here(self):
        late = [run(9 * HOUR, 10 * HOUR)]
        assert billable(late, Epoch(10 * HOUR), floors=[self.floor]).task_cpu == 10 * HOUR

    def test_a_machine_that_sleeps_pays_for_no_tasks(self):
        asleep = [(Epoch(2 * HOUR), Epoch(7 * HOUR))]
        found = billable([run(0, 2 * HOUR)], Epoch(10 * HOUR), asleep=asleep)
        assert found.task_cpu == found.balancer == 5 * HOUR

    def test_lambda_is_paid_while_active_and_by_request(self):
        found = bill(self.usage, Epoch(10 * HOUR), US, requests=1_000_000)
        expected = 2 * 1800 * Decimal("0.0000166667") + Decimal("0.20")
        assert elsewhere(found).functions == expected

    def test_lambda_has_no_minute_to_fill(self):
        found = bill([active(0, 0.25)], NOW, US)
        assert elsewhere(found).functions == Decimal("0.5") * Decimal("0.0000166667")

    def test_an_estimate_has_them_too(self):
        found = elsewhere(estimate(pattern(8), US))
        assert found.here == Decimal("25.44")
        assert found.zero == 30 * 8 * Decimal("0.078")
        assert found.fargate == 720 * Decimal("0.07187") + 240 * Decimal("0.008")
        assert found.functions == 30 * 8 * 3600 * 2 * Decimal("0.0000166667")

    def test_each_says_what_was_assumed(self):
        assert all(each.note for each in bill([], NOW, US).alternatives)
        tokyo = bill([], NOW, LIST.within("ap-northeast-1")).alternatives
        assert [each.note.endswith("at the prices of us-east-1") for each in tokyo] == [
            False,
            False,
            True,
            True,
        ]


@pytest.mark.parametrize("hours", [(-1, 0), (0, -1), (20, 5), (25, 0), (0, 25)])
def test_a_day_has_24_hours(hours):
    with pytest.raises(ValueError, match="hours"):
        pattern(hours[0], paused_hours=Decimal(hours[1]))
