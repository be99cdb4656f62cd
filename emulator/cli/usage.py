"""`apprunner usage`."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from emulator.cli import context, terminal
from emulator.cli.client import require, service

UNITS = 1024


@click.command(help="What was metered of a service, second by second.")
@click.argument("name")
@context.json_option
def command(name: str, *, as_json: bool) -> None:
    rows = require(context.state_dir()).get(service(name, "usage"))
    if as_json:
        terminal.document(rows)
        return
    header = ("METER", "INSTANCE", "FROM", "TO", "SECONDS", "SIZE", "REALLY USED")
    terminal.table(header, map(_row, rows))
    for meter, seconds in _totals(rows).items():
        click.echo(f"{meter}: {seconds:.1f} s in all")


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    size = f"{row['Cpu'] / UNITS:g} vCPU, {row['Memory'] / UNITS:g} GB" if row["Memory"] else ""
    return (
        row["Meter"],
        terminal.short(row["InstanceId"]),
        terminal.moment(row["Start"]),
        terminal.moment(row["End"]) or "now",
        f"{row['Seconds']:.1f}",
        size,
        _observed(row),
    )


def _observed(row: Mapping[str, Any]) -> str:
    """By an instance that runs now, since its start."""
    if "ObservedCpuSeconds" not in row:
        return ""
    megabytes = row["ObservedMemoryBytes"] / 2**20
    return f"{row['ObservedCpuSeconds']:.1f} vCPU-seconds, {megabytes:.0f} MB"


def _totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for row in rows:
        totals[row["Meter"]] = totals.get(row["Meter"], 0.0) + row["Seconds"]
    return totals
