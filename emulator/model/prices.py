"""What AWS charges, in US dollars, as values: unit prices with the day and place they are from.

Decimal, because a price list is decimal: 0.848 a day for 30 days is 25.44, not 25.4399999999.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

FALLBACK_REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """App Runner's in one region. `memory` is per GB-hour, provisioned or active alike (one
    price in every published region); `cpu` per vCPU-hour while active; `build` per minute;
    `automatic_deployment` per application and month. `note` says what is not the region's own.
    """

    region: str
    memory: Decimal
    cpu: Decimal
    build: Decimal = Decimal("0.005")
    automatic_deployment: Decimal = Decimal(1)
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FargatePrices:
    """Per hour of a task: Linux on x86, per second, one minute at least."""

    cpu: Decimal
    memory: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaPrices:
    """Per GB-second and per request: x86, without the free tier."""

    memory: Decimal
    request: Decimal


# aws.amazon.com/apprunner/pricing; us-east-1 compared with the Price List API on 2026-06-27.
# Build minutes and automatic deployments are quoted from it by secondary sources.
_US = Prices(region="us-east-1", memory=Decimal("0.007"), cpu=Decimal("0.064"))
_TOKYO = Prices(region="ap-northeast-1", memory=Decimal("0.009"), cpu=Decimal("0.081"))

# A price list in a public repository has this region's provisioned memory, not its vCPU.
_SINGAPORE = Prices(
    region="ap-southeast-1",
    memory=Decimal("0.00885"),
    cpu=_US.cpu,
    note=f"the vCPU price of ap-southeast-1 is not known: {FALLBACK_REGION}'s is used",
)

_KNOWN: Mapping[str, Prices] = MappingProxyType(
    {
        "us-east-1": _US,
        "us-east-2": Prices(region="us-east-2", memory=_US.memory, cpu=_US.cpu),
        "us-west-2": Prices(region="us-west-2", memory=_US.memory, cpu=_US.cpu),
        "eu-west-1": Prices(region="eu-west-1", memory=_US.memory, cpu=_US.cpu),
        "ap-northeast-1": _TOKYO,
        "ap-southeast-1": _SINGAPORE,
    }
)

# us-east-1 only; other regions differ. Fargate (Linux, x86): aws.amazon.com/fargate/pricing as
# quoted by secondary sources in June 2026. Lambda (x86, first tier): aws.amazon.com/lambda/pricing,
# from memory, not compared with a price list.
FARGATE = FargatePrices(cpu=Decimal("0.04048"), memory=Decimal("0.004445"))
LAMBDA = LambdaPrices(memory=Decimal("0.0000166667"), request=Decimal("0.0000002"))


def prices_in(region: str) -> Prices:
    """A region's prices; where they are not known us-east-1's, and the note says so."""
    if region in _KNOWN:
        return _KNOWN[region]
    note = f"the prices of {region} are not known: {FALLBACK_REGION}'s are used"
    return Prices(region=region, memory=_US.memory, cpu=_US.cpu, note=note)
