"""`apprunner estimate`: a bill for what never ran; no emulator is needed."""

import re
from decimal import Decimal, InvalidOperation

import click

from emulator.cli import bill, context, terminal
from emulator.decisions import cost
from emulator.model.configuration import SIZES, InstanceSize
from emulator.model.prices import prices_in

UNITS = 1024
_PER_DAY = re.compile(r"(?P<count>\d+(?:\.\d+)?)(?P<unit>[hm])(?:/day)?")
MINUTES = 60


def _hours(_: click.Context, __: click.Parameter, value: str) -> Decimal:
    """`8h/day` or `30m/day`, as hours a day."""
    if found := _PER_DAY.fullmatch(value):
        count = Decimal(found["count"])
        return count / MINUTES if found["unit"] == "m" else count
    raise click.BadParameter(f"{value!r} is not a time per day such as 8h/day or 30m/day.")


def _number(_: click.Context, __: click.Parameter, value: str) -> Decimal:
    try:
        return Decimal(value)
    except InvalidOperation:
        raise click.BadParameter(f"{value!r} is not a number.") from None


@click.command(help="What a pattern of use would cost, without running anything.")
@click.option("--cpu", default="1", callback=_number, metavar="VCPU", show_default=True)
@click.option("--memory", default="2", callback=_number, metavar="GB", show_default=True)
@click.option("--min-size", default=1, type=click.IntRange(1), show_default=True)
@click.option("--active", required=True, callback=_hours, metavar="8h/day", help="Serving.")
@click.option("--active-instances", default=1, type=click.IntRange(1), show_default=True)
@click.option("--paused", default="0h/day", callback=_hours, metavar="16h/day", help="Paused.")
@click.option("--days", default="30", callback=_number, show_default=True)
@click.option("--auto-deploy", is_flag=True, help="With automatic deployment.")
@click.option("--region", help="Default: the emulator's.")
@context.json_option
def command(  # noqa: PLR0913 - one per option
    *,
    cpu: Decimal,
    memory: Decimal,
    min_size: int,
    active: Decimal,
    active_instances: int,
    paused: Decimal,
    days: Decimal,
    auto_deploy: bool,
    region: str | None,
    as_json: bool,
) -> None:
    try:
        pattern = cost.Pattern(
            size=_size(cpu, memory),
            min_size=min_size,
            active_hours=active,
            paused_hours=paused,
            days=days,
            active_instances=active_instances,
        )
    except ValueError as error:
        raise click.UsageError(f"The {error}.") from None
    prices = prices_in(region or context.settings().region)
    found = cost.document(cost.estimate(pattern, prices, automatic=int(auto_deploy)))
    if as_json:
        terminal.document(found)
    else:
        bill.show(found)


def _size(cpu: Decimal, memory: Decimal) -> InstanceSize:
    units, megabytes = int(cpu * UNITS), int(memory * UNITS)
    if megabytes in SIZES.get(units, ()):
        return InstanceSize(cpu=units, memory=megabytes)
    pairs = "; ".join(
        f"{c / UNITS:g}: {', '.join(f'{m / UNITS:g}' for m in sizes)}" for c, sizes in SIZES.items()
    )
    raise click.UsageError(f"App Runner has no {cpu} vCPU with {memory} GB. It has (GB): {pairs}.")
