"""The bill's rows against FOCUS 1.2 as it is published, and against the bill."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from emulator.cli import prices
from emulator.decisions import focus
from emulator.decisions.cost import bill
from emulator.decisions.metering import Floor, charges
from emulator.model.configuration import (
    ImageSource,
    InstanceSize,
    Provision,
    ServiceConfiguration,
)
from emulator.model.identifiers import Epoch, InstanceId, ServiceId
from emulator.model.service import Service, ServiceStatus
from emulator.model.usage import Meter, UsageInterval

# focus.finops.org, version 1.2, "Feature level: Mandatory", and whether nulls are allowed.
MANDATORY = {
    "BilledCost": False,
    "BillingAccountId": False,
    "BillingAccountName": True,
    "BillingCurrency": False,
    "BillingPeriodEnd": False,
    "BillingPeriodStart": False,
    "ChargeCategory": False,
    "ChargeClass": True,
    "ChargeDescription": True,
    "ChargePeriodEnd": False,
    "ChargePeriodStart": False,
    "ContractedCost": False,
    "EffectiveCost": False,
    "InvoiceIssuerName": False,
    "ListCost": False,
    "PricingQuantity": True,
    "PricingUnit": True,
    "ProviderName": False,
    "PublisherName": False,
    "ServiceCategory": False,
    "ServiceName": False,
}
NUMBERS = {c for c in focus.COLUMNS if c.endswith(("Cost", "UnitPrice", "Quantity"))}
MOMENTS = {c for c in focus.COLUMNS if re.search("Period(Start|End)$", c)}
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
DAY = 86400
SERVICE = Service(
    id=ServiceId("s"),
    name="shop",
    region="us-east-1",
    account="000000000000",
    label="abc",
    port=1,
    status=ServiceStatus.RUNNING,
    configuration=ServiceConfiguration(
        source=ImageSource(identifier="shop:1"), tags={"team": "wéb"}
    ),
    created_at=Epoch(NOVEMBER),
    updated_at=Epoch(NOVEMBER),
)
US = prices.builtin().within("us-east-1")


def interval(start, end, meter=Meter.PROVISIONED, instance="i") -> UsageInterval:
    return UsageInterval(
        service=SERVICE.id,
        meter=meter,
        start=Epoch(NOVEMBER + start),
        end=Epoch(NOVEMBER + end),
        instance=None if meter is Meter.BUILD else InstanceId(instance),
        cpu=1024,
        memory=2048,
    )


def rows(*intervals, floors=(), now=90 * DAY):
    found = charges(intervals, Epoch(NOVEMBER + now), floors=floors)
    return list(focus.rows(SERVICE, found, US.app_runner))


def conforms(row):
    """The requirements that all rows have in common; the test fails where one is not met."""
    assert tuple(row) == focus.COLUMNS
    for column, nullable in MANDATORY.items():
        assert nullable or row[column], column
    assert not [c for c, value in row.items() if value is not None and not value.strip()]
    for column in NUMBERS:
        assert row[column] is None or re.fullmatch(r"-?\d+(\.\d+)?", row[column]), column
    for column in MOMENTS:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row[column]), column
    assert row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
    assert row["BillingPeriodStart"] <= row["ChargePeriodStart"]
    used = row["ChargeCategory"] == "Usage"
    assert used or row["ChargeCategory"] == "Purchase"
    assert (row["ConsumedQuantity"] is not None, row["ConsumedUnit"] is not None) == (used, used)
    assert row["ChargeFrequency"] == ("Usage-Based" if used else "Recurring")
    for price, cost in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
        product = Decimal(row["PricingQuantity"]) * Decimal(row[price])
        assert abs(product - Decimal(row[cost])) < Decimal("1e-20")
    assert json.loads(row["Tags"]) == {"team": "wéb"}


def test_every_kind_of_row_conforms():
    usage = (interval(0, 90), interval(0, 3, Meter.ACTIVE), interval(0, 0.2, Meter.BUILD))
    found = [
        *rows(*usage),
        focus.automatic_deployment(SERVICE, Epoch(NOVEMBER + DAY), US.app_runner),
    ]
    for row in found:
        conforms(row)
    assert [(r["SkuPriceId"], r["PricingUnit"], r["ConsumedQuantity"]) for r in found] == [
        ("USE1-AppRunner-Provisioned-GB-hours", "GB-Hours", "180"),
        ("USE1-AppRunner-vCPU-hours", "vCPU-Hours", "60"),
        ("USE1-AppRunner-Build-minutes", "Minutes", "1"),
        ("USE1-AppRunner-AutomaticDeployment", "Application-Months", None),
    ]
    assert (found[3]["BilledCost"], found[3]["ChargePeriodEnd"]) == ("1", "2026-12-01T00:00:00Z")


def test_what_spans_months_has_a_row_in_each():
    found = rows(interval(29 * DAY, 62 * DAY))
    assert [(r["ChargePeriodStart"], r["BillingPeriodStart"]) for r in found] == [
        ("2026-11-30T00:00:00Z", "2026-11-01T00:00:00Z"),
        ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z"),
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
    ]
    assert [int(r["ConsumedQuantity"]) / DAY for r in found] == [2, 62, 2]


def kept(min_size, span) -> Floor:
    provision = Provision(min_size=min_size, size=InstanceSize())
    return Floor(service=SERVICE.id, provision=provision, spans=(span,))


@pytest.mark.parametrize("instances", [1, 3])
def test_what_app_runner_would_have_kept_is_a_row_without_instance(instances):
    span = (Epoch(NOVEMBER), Epoch(NOVEMBER + 100))
    floor = kept(instances, span)
    (row,) = rows(floors=[floor])
    conforms(row)
    assert (row["x_InstanceId"], row["ConsumedQuantity"]) == (None, str(200 * instances))


stretches = st.lists(
    st.tuples(
        st.floats(0, 70 * DAY),
        st.floats(0, 40 * DAY),
        st.sampled_from(Meter),
        st.sampled_from("ab"),
    ),
    max_size=12,
)


@given(stretches, st.integers(0, 3))
def test_the_rows_are_the_bill(drawn, min_size):
    usage = [interval(start, start + length, meter, who) for start, length, meter, who in drawn]
    span = (Epoch(NOVEMBER + 5), Epoch(NOVEMBER + 65 * DAY))
    floor = kept(min_size, span)
    found = rows(*usage, floors=[floor])
    for row in found:
        conforms(row)
    total = sum((Decimal(row["BilledCost"]) for row in found), Decimal(0))
    assert abs(total - bill(usage, Epoch(NOVEMBER + 90 * DAY), US, floors=[floor]).total) < Decimal(
        "1e-18"
    )
