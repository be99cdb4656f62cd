"""`apprunner cost`."""

import click

from emulator.cli import bill, context, terminal
from emulator.cli.client import require


@click.command(help="What it would have cost on App Runner and elsewhere.")
@click.argument("name", required=False)
@click.option("--month", is_flag=True, help="Only the last 30 days.")
@context.json_option
def command(name: str | None, *, month: bool, as_json: bool) -> None:
    query = {"service": name} if name else {}
    if month:
        query["month"] = "1"
    found = require(context.state_dir()).get("cost", **query)
    if as_json:
        terminal.document(found)
    else:
        bill.show(found)
