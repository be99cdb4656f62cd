"""The bill as rows of FOCUS 1.2, the FinOps Open Cost and Usage Specification.

Rules: a row per stretch that is charged, cut where a calendar month ends, so that the rows' sum is
the bill and no row belongs to two billing periods. Columns: all that 1.2 makes mandatory, and the
conditional and recommended ones that App Runner has a value for. A null is None; CSV leaves it
empty. Nobody negotiates here, so contracted, effective, billed and list cost are the same.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from emulator.decisions.cost import CURRENCY, HOUR, MINUTE
from emulator.decisions.metering import Charge
from emulator.model.identifiers import Epoch
from emulator.model.prices import Sheet
from emulator.model.service import Service
from emulator.model.usage import Meter

COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
    "x_InstanceId",
)
AWS = "Amazon Web Services"
Row = Mapping[str, str | None]

# The prefixes of AWS's usage types.
_PREFIXES: Mapping[str, str] = {
    "us-east-1": "USE1",
    "us-east-2": "USE2",
    "us-west-2": "USW2",
    "eu-west-1": "EU",
    "eu-west-2": "EUW2",
    "eu-west-3": "EUW3",
    "eu-central-1": "EUC1",
    "ap-south-1": "APS3",
    "ap-southeast-1": "APS1",
    "ap-southeast-2": "APS2",
    "ap-northeast-1": "APN1",
}
_NAMES: Mapping[str, str] = {
    "us-east-1": "US East (N. Virginia)",
    "us-east-2": "US East (Ohio)",
    "us-west-2": "US West (Oregon)",
    "eu-west-1": "Europe (Ireland)",
    "eu-west-2": "Europe (London)",
    "eu-west-3": "Europe (Paris)",
    "eu-central-1": "Europe (Frankfurt)",
    "ap-south-1": "Asia Pacific (Mumbai)",
    "ap-southeast-1": "Asia Pacific (Singapore)",
    "ap-southeast-2": "Asia Pacific (Sydney)",
    "ap-northeast-1": "Asia Pacific (Tokyo)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """How a meter is called and counted; `seconds` is one pricing unit in unit-seconds."""

    usage_type: str
    price: str
    unit: str
    seconds: int
    consumed: str
    frequency: str = "Usage-Based"
    text: str


_KINDS: Mapping[Meter, _Kind] = {
    Meter.PROVISIONED: _Kind(
        usage_type="AppRunner-Provisioned-GB-hours",
        price="gb-hour",
        unit="GB-Hours",
        seconds=HOUR,
        consumed="GB-Seconds",
        text="memory of a provisioned instance",
    ),
    Meter.ACTIVE: _Kind(
        usage_type="AppRunner-vCPU-hours",
        price="vcpu-hour",
        unit="vCPU-Hours",
        seconds=HOUR,
        consumed="vCPU-Seconds",
        text="vCPU of an active instance",
    ),
    Meter.BUILD: _Kind(
        usage_type="AppRunner-Build-minutes",
        price="build-minute",
        unit="Minutes",
        seconds=MINUTE,
        consumed="Seconds",
        text="build",
    ),
}
_AUTOMATIC = _Kind(
    usage_type="AppRunner-AutomaticDeployment",
    price="automatic-deployment-month",
    unit="Application-Months",
    seconds=1,
    consumed="Application-Months",
    frequency="Recurring",
    text="automatic deployment",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Charge:
    """What a row is made of; `quantity` in unit-seconds (of automatic deployment: months)."""

    kind: _Kind
    start: datetime
    end: datetime
    quantity: Decimal
    instance: str | None = None


def rows(service: Service, charges: Iterable[Charge], sheet: Sheet) -> Iterator[Row]:
    """One service's, in the order of `charges`."""
    for charge in charges:
        yield from _by_month(service, charge, sheet)


def automatic_deployment(service: Service, at: Epoch, sheet: Sheet) -> Row:
    """The fee of the calendar month of `at`."""
    month = _month(_moment(at))
    charge = _Charge(kind=_AUTOMATIC, start=month, end=_next_month(month), quantity=Decimal(1))
    return _row(service, charge, sheet)


def _by_month(service: Service, charge: Charge, sheet: Sheet) -> Iterator[Row]:
    """Cut at the ends of months; the parts' seconds add up to those of the whole."""
    start = _moment(charge.start)
    end = max(_moment(charge.end), start + timedelta(seconds=1))
    done = 0
    for at, until in pairwise(_cuts(start, end)):
        share = (until - start) / (end - start)
        so_far = charge.seconds if until == end else round(charge.seconds * share)
        seconds, done = so_far - done, so_far
        if seconds:
            part = _Charge(
                kind=_KINDS[charge.meter],
                start=at,
                end=until,
                quantity=seconds * charge.units,
                instance=charge.instance,
            )
            yield _row(service, part, sheet)


def _cuts(start: datetime, end: datetime) -> Iterator[datetime]:
    """Both, and the ends of months between them."""
    yield start
    cut = _next_month(start)
    while cut < end:
        yield cut
        cut = _next_month(cut)
    yield end


def _row(service: Service, charge: _Charge, sheet: Sheet) -> Row:
    kind, price = charge.kind, sheet[charge.kind.price]
    quantity = charge.quantity / kind.seconds
    cost = _number(quantity * price)
    sku = f"{_PREFIXES.get(service.region, service.region)}-{kind.usage_type}"
    recurs = kind is _AUTOMATIC
    configuration = service.serving or service.configuration
    month = _month(charge.start)
    return {
        "BilledCost": cost,
        "BillingAccountId": service.account,
        "BillingAccountName": None,
        "BillingCurrency": CURRENCY,
        "BillingPeriodEnd": _iso(_next_month(month)),
        "BillingPeriodStart": _iso(month),
        "ChargeCategory": "Purchase" if recurs else "Usage",
        "ChargeClass": None,
        "ChargeDescription": f"App Runner, {kind.text}: {_number(price)} per {kind.unit}",
        "ChargeFrequency": kind.frequency,
        "ChargePeriodEnd": _iso(charge.end),
        "ChargePeriodStart": _iso(charge.start),
        "ConsumedQuantity": None if recurs else _number(charge.quantity),
        "ConsumedUnit": None if recurs else kind.consumed,
        "ContractedCost": cost,
        "ContractedUnitPrice": _number(price),
        "EffectiveCost": cost,
        "InvoiceIssuerName": AWS,
        "ListCost": cost,
        "ListUnitPrice": _number(price),
        "PricingCategory": "Standard",
        "PricingQuantity": _number(quantity),
        "PricingUnit": kind.unit,
        "ProviderName": AWS,
        "PublisherName": AWS,
        "RegionId": service.region,
        "RegionName": _NAMES.get(service.region, service.region),
        "ResourceId": service.arn,
        "ResourceName": service.name,
        "ResourceType": "Service",
        "ServiceCategory": "Compute",
        "ServiceName": "AWS App Runner",
        "ServiceSubcategory": "Containers",
        "SkuId": kind.usage_type,
        "SkuMeter": kind.usage_type.removeprefix("AppRunner-"),
        "SkuPriceId": sku,
        "SubAccountId": service.account,
        "SubAccountName": None,
        "Tags": json.dumps(dict(configuration.tags), ensure_ascii=False, sort_keys=True),
        "x_InstanceId": charge.instance,
    }


def _number(value: Decimal) -> str:
    """Plain digits: exponents with a plus sign are not allowed."""
    return f"{value.normalize():f}"


def _moment(at: Epoch) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _month(at: datetime) -> datetime:
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(at: datetime) -> datetime:
    return _month(_month(at) + timedelta(days=31))
