"""`apprunner status`."""

import click

from emulator.cli import context, terminal
from emulator.cli.client import require
from emulator.cli.list import show


@click.command(help="What runs, and where.")
@context.json_option
def command(*, as_json: bool) -> None:
    status = require(context.state_dir()).get("status")
    if as_json:
        terminal.document(status)
        return
    click.echo(f"Running, process {status['Pid']}, version {status['Version']}")
    for name, address in status["Addresses"].items():
        click.echo(f"  {name.upper():<8} {address}")
    click.echo(f"  State    {status['StateDir']}")
    click.echo(f"  CA       {status['StateDir']}/ca/ca.pem\n")
    show(status["Services"])
