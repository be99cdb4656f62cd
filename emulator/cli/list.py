"""`apprunner list`."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from emulator.cli import context, terminal
from emulator.cli.client import require


@click.command(help="All services.")
@context.json_option
def command(*, as_json: bool) -> None:
    services = require(context.state_dir()).get("services")
    if as_json:
        terminal.document(services)
    else:
        show(services)


def show(services: Sequence[Mapping[str, Any]]) -> None:
    if not services:
        click.echo("No services yet: apprunner deploy PATH")
        return
    rows = [(s["Name"], s["Status"], _states(s["Instances"]), _url(s)) for s in services]
    terminal.table(("NAME", "STATUS", "INSTANCES", "URL"), rows)


def _url(row: Mapping[str, Any]) -> str:
    """With a word on what answers there, where that is not what is committed."""
    return f"{row['Url']}{'  (dev: the working tree)' if row.get('Dev') else ''}"


def _states(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "0"
