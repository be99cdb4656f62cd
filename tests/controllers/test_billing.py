"""From the journal of a run in virtual time to its bill, its month and its rows."""

from decimal import Decimal

import pytest

from emulator.cli import prices
from emulator.controllers.billing import bill_of, focus_rows, journals, month_of
from tests.fakes.emulators import Emulator, Machine, configuration

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
LIST, REGION = prices.builtin(), "us-east-1"


@pytest.fixture
async def emulator():
    async with Emulator(Machine()) as running:
        yield running


async def read(emulator, seconds=None):
    await emulator.platform.meter.flush()
    ports, ledgers = emulator.platform.ports, emulator.platform.ledgers()
    return await journals(ports.store, ledgers, ports.clock, seconds=seconds)


def amounts(bill):
    return {line.meter: line.quantity for line in bill.lines}


async def test_an_hour_is_projected_to_a_month_and_its_rows_are_the_bill(emulator):
    await emulator.platform.create("hello", configuration())
    await emulator.at_rest()
    await emulator.machine.clock.sleep(3600)
    found = await read(emulator)
    hour, month = bill_of(found, LIST, REGION), month_of(found, LIST, REGION)
    assert amounts(hour)["provisioned"] == pytest.approx(Decimal(2), rel=Decimal("0.01"))
    assert amounts(month)["provisioned"] == pytest.approx(Decimal(1440), rel=Decimal("0.01"))
    assert month.notes == ("a month of 30 days at the pattern observed in 60.0 minutes",)
    rows = focus_rows(found, LIST)
    total = sum(Decimal(row["BilledCost"]) for row in rows)
    assert abs(total - hour.total) < Decimal("1e-18")


async def test_the_first_seconds_are_projected_without_their_minute_being_multiplied(emulator):
    await emulator.platform.create("hello", configuration())
    await emulator.at_rest()
    await emulator.machine.clock.sleep(15)
    month = amounts(month_of(await read(emulator), LIST, REGION))
    assert month["active"] <= 720
    assert month["provisioned"] == pytest.approx(Decimal(1440), rel=Decimal("0.1"))


async def test_what_lies_before_the_period_does_not_count(emulator):
    await emulator.platform.create("hello", configuration(min_size=2))
    await emulator.at_rest()
    await emulator.platform.pause("hello")
    await emulator.at_rest()
    await emulator.machine.clock.sleep(700)
    found = await read(emulator, seconds=600)
    assert month_of(found, LIST, REGION).total == 0
    assert bill_of(await read(emulator), LIST, REGION).total > 0


async def test_more_instances_from_now_on_do_not_change_the_bill_of_the_past(emulator):
    await emulator.platform.create("hello", configuration())
    await emulator.at_rest()
    await emulator.machine.clock.sleep(36_000)
    before = bill_of(await read(emulator), LIST, REGION)
    await emulator.platform.update("hello", configuration(min_size=10))
    await emulator.at_rest()
    after = bill_of(await read(emulator), LIST, REGION)
    assert after.total - before.total < before.total / 10
    await emulator.machine.clock.sleep(3600)
    hour = amounts(bill_of(await read(emulator), LIST, REGION))["provisioned"]
    assert hour - amounts(after)["provisioned"] == pytest.approx(Decimal(20), rel=Decimal("0.01"))


async def test_a_deleted_service_costs_nothing_more(emulator):
    await emulator.platform.create("hello", configuration())
    await emulator.at_rest()
    await emulator.platform.delete("hello")
    await emulator.at_rest()
    before = bill_of(await read(emulator), LIST, REGION)
    await emulator.machine.clock.sleep(600)
    after = bill_of(await read(emulator), LIST, REGION)
    assert [a.total for a in after.alternatives] == [a.total for a in before.alternatives]


async def test_a_deleted_service_does_not_go_on_for_a_month(emulator):
    await emulator.platform.create("hello", configuration())
    await emulator.at_rest()
    await emulator.platform.delete("hello")
    await emulator.at_rest()
    alone = month_of(await read(emulator), LIST, REGION)
    assert (alone.total, len(alone.notes)) == (0, 2)
    await emulator.platform.create("hello", configuration())
    await emulator.at_rest()
    await emulator.machine.clock.sleep(3600)
    found = await read(emulator)
    month = month_of(found, LIST, REGION)
    assert amounts(month)["provisioned"] == pytest.approx(Decimal(1440), rel=Decimal("0.01"))
    assert month.notes == (
        "a service that was deleted does not go on",
        "a month of 30 days at the pattern observed in 60.0 minutes",
    )
    assert len(found) == 2


async def test_a_bill_without_services_is_nothing_in_the_emulators_region(emulator):
    found = bill_of(await read(emulator), LIST, "eu-west-1")
    assert (found.total, found.region) == (0, "eu-west-1")
