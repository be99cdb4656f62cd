"""`apprunner instances`."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from emulator.cli import context, terminal
from emulator.cli.client import require, service


@click.command(help="A service's instances.")
@click.argument("name")
@context.json_option
def command(name: str, *, as_json: bool) -> None:
    found = require(context.state_dir()).get(service(name, "instances"))
    if as_json:
        terminal.document(found)
    else:
        show(found)


def show(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        click.echo("No instances; the first request starts one.")
        return
    rows = [
        (
            terminal.short(i["Id"]),
            i["State"],
            i.get("Revision", ""),
            i["InFlight"],
            terminal.moment(i.get("StartedAt")),
            _checks(i.get("Checks", ())),
            i.get("Failure") or i.get("Exit") or i.get("Because") or "",
        )
        for i in found
    ]
    terminal.table(("INSTANCE", "STATE", "REVISION", "IN FLIGHT", "STARTED", "CHECKS", ""), rows)


def _checks(found: Sequence[Mapping[str, Any]]) -> str:
    """The last health checks, oldest first: one sign each, and what the last failure was. Those
    before the first success are an application that has not started yet.
    """
    signs = "".join("+" if each["Healthy"] else "-" for each in found)
    since = max(0, signs.find("+"))
    failure = next((f" {c['Detail']}" for c in reversed(found[since:]) if not c["Healthy"]), "")
    return f"{signs}{failure}"
