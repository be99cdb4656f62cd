"""`apprunner connection list` and `authorize`: what AWS's console does about connections."""

from urllib.parse import quote

import click

from emulator.cli import context, terminal
from emulator.cli.client import Client, require


@click.group(help="Connections to repository providers, and their handshake.")
def command() -> None:
    """Verbs of its own, since connections are no services."""


_REGION = click.option("--in-region", "region", metavar="REGION", help="Default: the emulator's.")


def _named(region: str | None) -> dict[str, str]:
    return {"region": region} if region else {}


@command.command("list", help="All connections.")
@_REGION
@context.json_option
def list_(region: str | None, *, as_json: bool) -> None:
    found = _client().get("connections", **_named(region))
    if as_json:
        terminal.document(found)
        return
    rows = [(c["ConnectionName"], c["ProviderType"], c["Status"]) for c in found]
    terminal.table(("CONNECTION", "PROVIDER", "STATUS"), rows)


@command.command(help="Complete the handshake of a connection, as a click in the console would.")
@click.argument("name")
@_REGION
@context.json_option
def authorize(name: str, region: str | None, *, as_json: bool) -> None:
    done = _client().post(f"connections/{quote(name, safe='')}/authorize", _named(region))
    if as_json:
        terminal.document(done)
        return
    click.echo(f"{done['ConnectionName']} is {terminal.coloured(done['Status'])}.")


def _client() -> Client:
    return require(context.state_dir())
