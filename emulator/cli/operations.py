"""`apprunner operations`."""

import click

from emulator.cli import context, terminal
from emulator.cli.client import require, service


@click.command(help="What was done to a service, newest first.")
@click.argument("name")
@context.json_option
def command(name: str, *, as_json: bool) -> None:
    found = require(context.state_dir()).get(service(name, "operations"))
    if as_json:
        terminal.document(found)
        return
    rows = [
        (
            terminal.short(o["Id"]),
            o["Type"],
            o["Status"],
            terminal.moment(o["StartedAt"]),
            _took(o["StartedAt"], o.get("EndedAt")),
            o.get("Reason", ""),
        )
        for o in found
    ]
    terminal.table(("OPERATION", "TYPE", "STATUS", "STARTED", "TOOK", "REASON"), rows)


def _took(start: float, end: float | None) -> str:
    return "" if end is None else f"{end - start:.1f} s"
