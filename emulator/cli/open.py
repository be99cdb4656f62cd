"""`apprunner open`."""

import webbrowser

import click

from emulator.cli import context, terminal
from emulator.cli.client import require, service


@click.command(help="A service, or without a name the console, in the browser.")
@click.argument("name", required=False)
@context.json_option
def command(name: str | None, *, as_json: bool) -> None:
    client = require(context.state_dir())
    url = client.get(service(name))["Emulator"]["Url"] if name else client.api
    if as_json:
        terminal.document({"Url": url})
    else:
        click.echo(url)
    if not webbrowser.open(url):
        terminal.note("There is no browser here to open it in.")
