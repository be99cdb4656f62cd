"""Durations as people write them: `90s`, `15m`, `1h`, `1d`; a bare number is seconds."""

import re

import click

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?P<count>\d+(?:\.\d+)?)(?P<unit>[smhd]?)")


def seconds(text: str) -> float:
    """Raises click.BadParameter."""
    if found := _DURATION.fullmatch(text):
        return float(found["count"]) * SECONDS[found["unit"] or "s"]
    raise click.BadParameter(f"{text!r} is not a duration such as 30s, 5m, 2h or 1d.")


def shown(duration: float) -> str:
    """The same way round: `1 d 2 h`, `15 min`, `0.4 s`; the two biggest units."""
    if duration < SECONDS["m"]:
        return f"{duration:.3g} s"
    left, parts = round(duration), []
    for name, unit in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= unit:
            parts.append(f"{left // unit} {name}")
            left %= unit
    return " ".join(parts[:2])
