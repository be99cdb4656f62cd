"""What AWS charges, in US dollars, as values: unit prices with the day and place they are from.

The prices themselves are data: `emulator/prices.toml`. Decimal, because a price list is decimal:
0.848 a day for 30 days is 25.44, not 25.4399999999.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

FALLBACK_REGION = "us-east-1"


class Charged(StrEnum):
    """The services that have prices, by the names of their tables."""

    APP_RUNNER = "apprunner"
    FARGATE = "fargate"
    LOAD_BALANCER = "load-balancer"
    LAMBDA = "lambda"


# The prices that a table must have.
KEYS: Mapping[Charged, tuple[str, ...]] = {
    Charged.APP_RUNNER: ("gb-hour", "vcpu-hour", "build-minute", "automatic-deployment-month"),
    Charged.FARGATE: ("vcpu-hour", "gb-hour"),
    Charged.LOAD_BALANCER: ("hour", "lcu-hour"),
    Charged.LAMBDA: ("gb-second", "request"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One service's prices in one region, by `KEYS`. Those in `borrowed` are not its own."""

    region: str
    prices: Mapping[str, Decimal]
    borrowed: tuple[str, ...] = ()
    date: str = ""
    source: str = ""

    def __getitem__(self, key: str) -> Decimal:
        return self.prices[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """All that a bill in `region` needs; a sheet may be another region's, which it says."""

    region: str
    app_runner: Sheet
    fargate: Sheet
    balancer: Sheet
    functions: Sheet


@dataclass(frozen=True, slots=True)
class PriceList:
    """Sheets by service and region; one that can be asked has every service in the fallback region."""

    sheets: Mapping[tuple[Charged, str], Sheet] = field(default_factory=dict)

    def over(self, other: "PriceList") -> "PriceList":
        """This list, and the other's where this one has none."""
        return PriceList({**other.sheets, **self.sheets})

    def within(self, region: str) -> Prices:
        """A region's prices; where they are not known us-east-1's, and they say so."""
        return Prices(
            region=region,
            app_runner=self._sheet(Charged.APP_RUNNER, region),
            fargate=self._sheet(Charged.FARGATE, region),
            balancer=self._sheet(Charged.LOAD_BALANCER, region),
            functions=self._sheet(Charged.LAMBDA, region),
        )

    def _sheet(self, service: Charged, region: str) -> Sheet:
        fallback = self.sheets[service, FALLBACK_REGION]
        found = self.sheets.get((service, region), fallback)
        if not found.borrowed:
            return found
        prices = {**{key: fallback[key] for key in found.borrowed}, **found.prices}
        return Sheet(
            region=found.region,
            prices=prices,
            borrowed=found.borrowed,
            date=found.date,
            source=found.source,
        )
