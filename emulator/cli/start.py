"""`apprunner start`: the emulator itself, in the foreground or in the background."""

import json
import os
from typing import Any

import click

from emulator.cli import context, launch, terminal
from emulator.cli.client import find


@click.command(help="Run the emulator until Ctrl-C; -d: in the background, returns when ready.")
@click.option("-d", "--detach", is_flag=True, help="In the background.")
@click.option("--ready-fd", type=int, hidden=True)
@context.json_option
def command(*, detach: bool, ready_fd: int | None, as_json: bool) -> None:
    state_dir = context.state_dir()
    if detach:
        client, started = launch.running(state_dir, context.flags())
        _announce(client.document, as_json=as_json, started=started)
        return
    if ready_fd is None and (found := find(state_dir)):
        _announce(found.document, as_json=as_json, started=False)
        return
    _run(ready_fd, as_json=as_json)


def _run(ready_fd: int | None, *, as_json: bool) -> None:
    settings = context.settings()
    from emulator import bootstrap  # noqa: PLC0415 - everything is behind it

    def ready(document: dict[str, Any]) -> None:
        if ready_fd is not None:
            with os.fdopen(ready_fd, "w", encoding="utf-8") as pipe:
                json.dump(document, pipe)
        _announce(document, as_json=as_json, started=True)

    bootstrap.run(settings, ready)


def _announce(document: Any, *, as_json: bool, started: bool) -> None:  # noqa: ANN401 - JSON
    if as_json:
        terminal.document(document)
        return
    click.secho("Ready." if started else "The emulator runs already.", fg="green")
    addresses = document["Addresses"]
    click.echo(f"  AWS API and console  {addresses['Api']}")
    click.echo(f"  HTTPS                {addresses['Https']}")
    click.echo(f"  HTTP                 {addresses['Http']}")
    if "Registry" in addresses:
        click.echo(f"  Registry             {addresses['Registry']}")
    click.echo(f"  CA of HTTPS          {document['StateDir']}/ca/ca.pem")
