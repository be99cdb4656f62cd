"""From a price file's content to a price list; what is wrong with it is named by its key.

A table has every price, or says which ones are `borrowed`: a gap is a mistake, not a zero.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from emulator.model.prices import FALLBACK_REGION, KEYS, Charged, PriceList, Sheet

Key = tuple[str, ...]
Fault = Callable[[Key, str], Exception]  # the exception that says it, in its caller's way

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_MORE = ("date", "source", "borrowed")


def read(data: object, fault: Fault) -> PriceList:
    """`data` as TOML gives it: service → region → price, numbers as Decimal or int.

    Raises what `fault` makes of the first mistake.
    """
    sheets: dict[tuple[Charged, str], Sheet] = {}
    for name, regions in _table((), data, "a table per service", fault).items():
        service = _service(name, fault)
        for region, table in _table((name,), regions, "a table per region", fault).items():
            key = (name, region)
            if not _REGION.fullmatch(region):
                raise fault(key, 'expected an AWS region such as "us-east-1"')
            content = _table(key, table, "a table of prices", fault)
            sheets[service, region] = _sheet(service, region, content, fault)
    return PriceList(sheets)


def _service(name: str, fault: Fault) -> Charged:
    try:
        return Charged(name)
    except ValueError:
        raise fault((name,), f"unknown table; expected one of {', '.join(Charged)}") from None


def _table(key: Key, value: object, expected: str, fault: Fault) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise fault(key, f"expected {expected}, not {value!r}")


def _sheet(service: Charged, region: str, table: Mapping[str, Any], fault: Fault) -> Sheet:
    key, known = (str(service), region), KEYS[service]
    for name in table:
        if name not in {*known, *_MORE}:
            expected = ", ".join((*known, *_MORE))
            raise fault((*key, name), f"unknown key; expected one of {expected}")
    borrowed = _borrowed(key, table.get("borrowed", []), known, fault)
    for name in known:
        if name not in table and name not in borrowed:
            hint = "" if region == FALLBACK_REGION else f', or borrowed = ["{name}"]'
            raise fault(key, f"{name} is missing: expected a price in US dollars{hint}")
    return Sheet(
        region=region,
        prices={n: _price((*key, n), table[n], fault) for n in known if n in table},
        borrowed=borrowed,
        date=_date((*key, "date"), table.get("date", ""), fault),
        source=_text((*key, "source"), table.get("source", ""), fault),
    )


def _price(key: Key, value: object, fault: Fault) -> Decimal:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        price = Decimal(str(value))
        if price.is_finite() and price >= 0:
            return price
    shown = f'"{value}"' if isinstance(value, str) else value
    raise fault(key, f"expected a price in US dollars such as 0.064, not {shown}")


def _borrowed(key: Key, value: object, known: tuple[str, ...], fault: Fault) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(name in known for name in value):
        expected = f"expected a list of some of {', '.join(known)}"
        raise fault((*key, "borrowed"), f"{expected}, not {value!r}")
    if value and key[1] == FALLBACK_REGION:
        raise fault((*key, "borrowed"), f"{FALLBACK_REGION} is where others borrow from")
    return tuple(value)


def _date(key: Key, value: object, fault: Fault) -> str:
    try:
        return value.isoformat() if isinstance(value, date) else _iso(_text(key, value, fault))
    except ValueError:
        raise fault(key, f'expected a day such as 2026-06-27, not "{value}"') from None


def _iso(text: str) -> str:
    return date.fromisoformat(text).isoformat() if text else ""


def _text(key: Key, value: object, fault: Fault) -> str:
    if isinstance(value, str):
        return value
    raise fault(key, f"expected text in quotes, not {value}")
