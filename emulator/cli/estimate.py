"""`apprunner estimate`: a bill for what never ran; no emulator is needed."""

import re
from decimal import Decimal

import click

from emulator.cli import bill, configuration_file, context, terminal
from emulator.decisions import cost
from emulator.model.configuration import SIZES, InstanceSize
from emulator.model.errors import ConfigurationError

UNITS = 1024
HOURS_PER_DAY = 24
_NUMBER = r"\d+(?:\.\d+)?|\.\d+"
_SIZE = re.compile(rf"({_NUMBER})\s*([A-Za-z]*)")
_TIMES = re.compile(rf"(?:(?:{_NUMBER})\s*[a-z]+\s*)+")
_TIME = re.compile(rf"({_NUMBER})\s*([a-z]+)")
_PER_DAY = re.compile(r"\s*/\s*(?:day|d)|\s+(?:a|per)\s+day")
_WORDS = {"h", "hour", "hours", "m", "min", "minute", "minutes", "s", "sec", "second", "seconds"}
_SECONDS = {"h": 3600, "m": 60, "s": 1}


def _hours(_: click.Context, __: click.Parameter, value: str) -> Decimal:
    """`8h/day`, `30m/day` or `1h30m`, as hours a day."""
    text = _PER_DAY.sub("", value.strip().lower())
    if text.startswith("-"):
        raise click.BadParameter(f"{value!r} is negative; expected a time per day such as 8h/day.")
    if text == "0":
        return Decimal(0)
    parts = _TIME.findall(text) if _TIMES.fullmatch(text) else ()
    if not parts or not {unit for _, unit in parts} <= _WORDS:
        raise click.BadParameter(
            f"{value!r} is not a time per day such as 8h/day, 30m/day or 45s/day."
        )
    seconds = sum((Decimal(count) * _SECONDS[unit[0]] for count, unit in parts), Decimal(0))
    if seconds > HOURS_PER_DAY * _SECONDS["h"]:
        raise click.BadParameter(f"{value!r} is more than the 24 hours that a day has.")
    return seconds / _SECONDS["h"]


def _length(_: click.Context, __: click.Parameter, value: str) -> Decimal:
    """`30` days or `730h`, as hours."""
    text = value.strip().lower()
    hours = text.removesuffix("h")
    if not re.fullmatch(_NUMBER, hours) or not Decimal(hours):
        raise click.BadParameter(
            f"{value!r} is not a number of days such as 30, or of hours such as 730h."
        )
    return Decimal(hours) if text.endswith("h") else Decimal(hours) * HOURS_PER_DAY


def _size(value: str, unit: str, raw: str, least: int) -> int | None:
    """`1`, `1 vCPU` and `1024` alike: from `least` on a bare number counts the API's units."""
    found = _SIZE.fullmatch(value.strip())
    if found is None or found[2].lower() not in {"", unit.lower(), raw.lower()}:
        return None
    number = Decimal(found[1])
    in_units = found[2].lower() == raw.lower() or (not found[2] and number >= least)
    units = number if in_units else number * UNITS
    return int(units) if units == int(units) else None


def cpu(_: click.Context, __: click.Parameter, value: str) -> int:
    """In units: 1024 is a vCPU."""
    units = _size(value, "vCPU", "units", min(SIZES))
    if units is None:
        raise click.BadParameter(
            f'{value!r} is not a number of vCPU such as 0.25, "1 vCPU" or 1024.'
        )
    return units


def memory(_: click.Context, __: click.Parameter, value: str) -> int:
    """In MB."""
    megabytes = _size(value, "GB", "MB", min(SIZES[min(SIZES)]))
    if megabytes is None:
        raise click.BadParameter(f'{value!r} is not a number of GB such as 0.5, "2 GB" or 2048.')
    return megabytes


def region(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    try:
        return value and configuration_file.region(configuration_file.Document(), (), value)
    except ConfigurationError as error:
        raise click.BadParameter(f"{error.message}.") from None


@click.command(
    help="What a pattern of use would cost, without running anything.",
    params=[context.prices_option()],
)
@click.option("--cpu", default="1", callback=cpu, metavar="VCPU", show_default=True)
@click.option("--memory", default="2", callback=memory, metavar="GB", show_default=True)
@click.option("--min-size", default=1, type=click.IntRange(1), show_default=True)
@click.option("--active", required=True, callback=_hours, metavar="8h/day", help="Serving.")
@click.option("--active-instances", default=1, type=click.IntRange(1), show_default=True)
@click.option(
    "--activations",
    default=1,
    type=click.IntRange(1),
    show_default=True,
    help="How often a day it becomes active: a minute each at least.",
)
@click.option("--paused", default="0h/day", callback=_hours, metavar="16h/day", help="Paused.")
@click.option("--days", "hours", default="30", callback=_length, help="Or hours: 730h.")
@click.option("--auto-deploy", is_flag=True, help="With automatic deployment.")
@click.option("--region", callback=region, help="Default: the emulator's.")
@context.json_option
def command(  # noqa: PLR0913 - one per option
    *,
    cpu: int,
    memory: int,
    min_size: int,
    active: Decimal,
    active_instances: int,
    activations: int,
    paused: Decimal,
    hours: Decimal,
    auto_deploy: bool,
    region: str | None,
    as_json: bool,
) -> None:
    try:
        pattern = cost.Pattern(
            size=size(cpu, memory),
            min_size=min_size,
            active_hours=active,
            paused_hours=paused,
            hours=hours,
            active_instances=active_instances,
            activations=activations,
        )
    except ValueError as error:
        raise click.UsageError(f"The {error}.") from None
    settings = context.settings()
    prices = settings.prices.within(region or settings.region)
    found = cost.document(cost.estimate(pattern, prices, automatic=int(auto_deploy)))
    if as_json:
        terminal.document(found)
    else:
        bill.show(found)


def size(units: int, megabytes: int) -> InstanceSize:
    """A pair that App Runner has, or UsageError with those that it has."""
    if megabytes in SIZES.get(units, ()):
        return InstanceSize(cpu=units, memory=megabytes)
    pairs = "; ".join(
        f"{c / UNITS:g}: {', '.join(f'{m / UNITS:g}' for m in sizes)}" for c, sizes in SIZES.items()
    )
    raise click.UsageError(
        f"App Runner has no {units / UNITS:g} vCPU with {megabytes / UNITS:g} GB. It has (GB): {pairs}."
    )
