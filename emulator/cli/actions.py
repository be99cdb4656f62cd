"""`apprunner pause`, `resume`, `delete`, `redeploy`, `rollback`: one request, one operation; and
`cancel`, which ends one.
"""

from collections.abc import Mapping

import click

from emulator.cli import context, follow, terminal
from emulator.cli.client import require, service

WAIT = click.option("--wait/--no-wait", default=True, help="Wait for its end (default).")


def _act(
    name: str, verb: str, body: Mapping[str, str] | None = None, *, wait: bool, as_json: bool
) -> None:
    client = require(context.state_dir())
    accepted = client.post(service(name, verb), body or {})
    if not wait:
        _accepted(accepted, as_json=as_json)
        return
    outcome = follow.operation(client, accepted, quiet=as_json)
    if as_json:
        terminal.document(outcome.service)
    follow.checked(outcome)
    if not as_json:
        status = outcome.service["Status"]
        click.echo(f"{outcome.service['ServiceName']} is {terminal.coloured(status)}.")


def _accepted(accepted: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        terminal.document(accepted)
    else:
        click.echo(f"Accepted, operation {accepted['OperationId']}.")


@click.command(help="Take a service's instances away until it is resumed.")
@click.argument("name")
@WAIT
@context.json_option
def pause(name: str, *, wait: bool, as_json: bool) -> None:
    _act(name, "pause", wait=wait, as_json=as_json)


@click.command(help="Bring a paused service back.")
@click.argument("name")
@WAIT
@context.json_option
def resume(name: str, *, wait: bool, as_json: bool) -> None:
    _act(name, "resume", wait=wait, as_json=as_json)


@click.command(help="Delete a service.")
@click.argument("name")
@WAIT
@context.json_option
def delete(name: str, *, wait: bool, as_json: bool) -> None:
    _act(name, "delete", wait=wait, as_json=as_json)


@click.command(help="Deploy the newest commit of the branch, or the image as it is now.")
@click.argument("name")
@WAIT
@context.json_option
def redeploy(name: str, *, wait: bool, as_json: bool) -> None:
    _act(name, "redeploy", wait=wait, as_json=as_json)


@click.command(help="Serve an earlier version again.")
@click.argument("name")
@click.option("--to", metavar="REVISION", help="A revision or a commit; default: the one before.")
@WAIT
@context.json_option
def rollback(name: str, *, to: str | None, wait: bool, as_json: bool) -> None:
    _act(name, "rollback", {"To": to} if to else {}, wait=wait, as_json=as_json)


@click.command(
    help="End the deployment that is under way; what served before goes on serving. A pause, a"
    " resume and a deletion cannot be cancelled. App Runner itself has nothing like it."
)
@click.argument("name")
@WAIT
@context.json_option
def cancel(name: str, *, wait: bool, as_json: bool) -> None:
    client = require(context.state_dir())
    accepted = client.post(service(name, "cancel"), {})
    if not wait:
        _accepted(accepted, as_json=as_json)
        return
    # Quietly: what was built so far has been followed, or has not been asked for.
    outcome = follow.operation(client, accepted, quiet=True)
    if as_json:
        terminal.document(outcome.service)
        return
    type_, status = outcome.operation["Type"], outcome.operation["Status"]
    shown = terminal.coloured(outcome.service["Status"])
    click.echo(f"{type_} is cancelled and ended {status}.")
    click.echo(f"{outcome.service['ServiceName']} is {shown}.")
