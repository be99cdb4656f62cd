"""AWS's examples and our own, to the fraction of a cent."""

from decimal import Decimal
from types import SimpleNamespace

import pytest

from emulator.decisions.cost import Pattern, bill, estimate
from emulator.decisions.metering import Floor
from emulator.model.configuration import InstanceSize
from emulator.model.identifiers import Epoch, InstanceId, ServiceId
from emulator.model.prices import prices_in
from emulator.model.usage import Meter, UsageInterval

US = prices_in("us-east-1")
ONE_VCPU, SMALL = InstanceSize(), InstanceSize(cpu=256, memory=512)
SERVICE = ServiceId("s")
HOUR = 3600
NOW = Epoch(1e9)
MONTH = Decimal(730) / 24  # days of a calculator's month


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


class TestWorkedExamples:
    @pytest.mark.documented(source="AWS pricing page, lightweight latency-sensitive API")
    def test_a_eight_hours_active_a_day(self):
        day = estimate(pattern(8, days=Decimal(1)), US).total
        assert day == Decimal("0.848")
        assert round(day, 2) * 30 == Decimal("25.50")  # AWS rounds the day
        assert estimate(pattern(8), US).total == Decimal("25.44")

    @pytest.mark.documented(source="AWS pricing page, development or test application")
    def test_b_two_hours_a_day_and_paused_the_rest(self):
        day = estimate(pattern(2, paused_hours=Decimal(22), days=Decimal(1)), US).total
        assert day == Decimal("0.156")
        assert round(day, 2) * 30 == Decimal("4.80")

    @pytest.mark.documented(source="secondary source: idle for a month of 730 hours")
    def test_d_idle_for_a_month(self):
        assert estimate(pattern(0, days=MONTH), US).total == pytest.approx(Decimal("10.22"))
        assert bill([run(0, 730 * HOUR)], NOW, US).total == Decimal("10.22")

    @pytest.mark.documented(source="secondary source: active 15 % of a month")
    def test_e_active_for_a_part_of_a_month(self):
        usage = [run(0, 730 * HOUR), active(HOUR, HOUR + 0.15 * 730 * HOUR)]
        assert bill(usage, NOW, US).total == Decimal("10.22") + Decimal("7.008")
        found = estimate(pattern(3.6, days=MONTH), US).total
        assert round(found, 2) == Decimal("17.23")

    @pytest.mark.documented(source="secondary source: the smallest size")
    def test_f_the_smallest_size_idle_and_fully_active(self):
        idle, busy = run(0, 730 * HOUR, size=SMALL), active(0, 730 * HOUR, size=SMALL)
        assert bill([idle], NOW, US).total == Decimal("2.555")
        assert bill([idle, busy], NOW, US).total == Decimal("14.235")

    @pytest.mark.documented(source="AWS pricing page: one minute at least")
    def test_g_one_short_request(self):
        amount = lines(bill([active(0, 3)], NOW, US))["active"]
        assert round(amount, 6) == Decimal("0.001067")

    @pytest.mark.assumed
    def test_h_two_short_requests_within_a_minute(self):
        amount = lines(bill([active(0, 3), active(30, 33)], NOW, US))["active"]
        assert round(amount, 6) == Decimal("0.001067")

    @pytest.mark.documented(source="AWS pricing page: provisioned instances, one of them active")
    def test_i_two_provisioned_one_active(self):
        usage = [run(0, HOUR, "a"), run(0, HOUR, "b"), active(0, HOUR, "a")]
        assert bill(usage, NOW, US).total == Decimal("0.092")

    @pytest.mark.documented(source="AWS pricing page: additional instances while active")
    def test_j_a_burst_to_three(self):
        usage = [each(0, HOUR, name) for name in "abc" for each in (run, active)]
        assert bill(usage, NOW, US).total == Decimal("0.234")
        burst = pattern(1, active_instances=3, paused_hours=Decimal(23), days=Decimal(1))
        assert estimate(burst, US).total == Decimal("0.234")

    @pytest.mark.documented(source="AWS pricing page: no charge while paused")
    def test_k_paused(self):
        assert bill([], NOW, US).total == 0
        assert estimate(pattern(0, paused_hours=Decimal(24)), US).total == 0


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


class TestRegions:
    def test_tokyo_has_its_own_prices(self):
        found = bill([run(0, HOUR), active(0, HOUR)], NOW, prices_in("ap-northeast-1"))
        assert found.total == Decimal("0.099")
        assert (found.region, found.notes, found.currency) == ("ap-northeast-1", (), "USD")

    def test_a_region_without_known_prices_says_so(self):
        found = bill([run(0, HOUR)], NOW, prices_in("eu-central-1"))
        assert found.total == Decimal("0.014")
        assert found.region == "eu-central-1"
        assert found.notes == ("the prices of eu-central-1 are not known: us-east-1's are used",)

    def test_a_region_with_one_known_price_uses_it_and_says_what_is_missing(self):
        found = bill([run(0, HOUR), active(0, HOUR)], NOW, prices_in("ap-southeast-1"))
        assert found.total == Decimal("0.0817")
        assert "vCPU price of ap-southeast-1" in found.notes[0]


class TestAlternatives:
    # Ran for an hour of ten, active half of it.
    usage = (run(0, HOUR), active(0, HOUR / 2))
    floor = Floor(service=SERVICE, min_size=1, memory=2048, spans=((Epoch(0), Epoch(10 * HOUR)),))

    def test_app_runner_keeps_its_minimum_while_the_emulator_was_at_zero(self):
        found = bill(self.usage, Epoch(10 * HOUR), US, floors=[self.floor])
        assert found.total == elsewhere(found).here == Decimal("0.14") + Decimal("0.032")
        assert elsewhere(found).zero == Decimal("0.014") + Decimal("0.032")

    def test_fargate_is_always_on(self):
        found = bill(self.usage, Epoch(10 * HOUR), US, floors=[self.floor])
        assert elsewhere(found).fargate == 10 * (Decimal("0.04048") + 2 * Decimal("0.004445"))

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
        assert found.fargate == 720 * Decimal("0.04937")
        assert found.functions == 30 * 8 * 3600 * 2 * Decimal("0.0000166667")

    def test_each_says_what_was_assumed(self):
        assert all(each.note for each in bill([], NOW, US).alternatives)


@pytest.mark.parametrize("hours", [(-1, 0), (0, -1), (20, 5)])
def test_a_day_has_24_hours(hours):
    with pytest.raises(ValueError, match="hours"):
        pattern(hours[0], paused_hours=Decimal(hours[1]))
