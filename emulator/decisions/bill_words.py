"""Why a line of a bill is what it is: one sentence with its numbers. Seconds are instances' in all."""

from decimal import Decimal

_UNITS = (("days", 86400), ("hours", 3600), ("minutes", 60))


def provisioned(seconds: Decimal, kept: Decimal) -> str:
    """`kept` of them are MinSize's at times when nothing ran here."""
    if not seconds:
        return "no instance was there"
    text = f"instances for {lasted(seconds)} in all"
    return f"{text}, {lasted(kept)} of them MinSize's that did not run here" if kept else text


def active(seconds: Decimal, charged: Decimal, stretches: Decimal) -> str:
    """What they started and served for, and as how much it is charged."""
    if not charged:
        return "no instance was active"
    count = max(1, round(stretches))
    each = "1 stretch" if count == 1 else f"{count} stretches"
    return f"active for {lasted(seconds)} in all, charged as {lasted(charged)}: {each} of a minute at least"


def build(seconds: Decimal, builds: Decimal) -> str:
    count = max(1, round(builds))
    return f"{count} build{'' if count == 1 else 's'}, {lasted(seconds)} in all"


def automatic_deployment(months: Decimal) -> str:
    count = f"{months.normalize():f}"
    plural = "" if months == 1 else "s"
    return f"{count} month{plural} of an application that deployed by itself"


def lasted(seconds: Decimal | float) -> str:
    """In the unit in which it is two at least."""
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{float(seconds) / length:.1f} {unit}"
    count = f"{float(seconds):.1f}".removesuffix(".0")
    return f"{count} second{'' if count == '1' else 's'}"
