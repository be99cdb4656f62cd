"""`apprunner deployments`."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from emulator.cli import context, terminal
from emulator.cli.client import require, service


@click.command(help="A service's versions; `rollback --to` takes one of them.")
@click.argument("name")
@context.json_option
def command(name: str, *, as_json: bool) -> None:
    found = require(context.state_dir()).get(service(name))["Emulator"]["Deployments"]
    if as_json:
        terminal.document(found)
    else:
        show(found)


def show(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        click.echo("No deployments have succeeded yet.")
        return
    rows = [
        (
            d["Id"],
            "serving" if d["Serving"] else "",
            terminal.short(d.get("Commit")),
            terminal.moment(d.get("CreatedAt")),
            d.get("Message", ""),
        )
        for d in found
    ]
    terminal.table(("REVISION", "", "COMMIT", "CREATED", "MESSAGE"), rows)
