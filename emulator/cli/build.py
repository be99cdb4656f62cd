"""`apprunner build`."""

from pathlib import Path

import click

from emulator.cli import terminal
from emulator.cli.context import json_option
from emulator.cli.detect import detected


@click.command(help="The Dockerfile that the repository at PATH is built with.")
@click.argument("path", default=".", type=click.Path(exists=True, file_okay=False))
@click.option("--branch", help="Default: the current one.")
@click.option("--print-dockerfile", is_flag=True, required=True, help="Print it.")
@json_option
def command(path: str, *, branch: str | None, print_dockerfile: bool, as_json: bool) -> None:  # noqa: ARG001 - the only thing it does yet
    found = detected(Path(path), branch)
    if as_json:
        terminal.document({"Dockerfile": found["Dockerfile"]})
    else:
        click.echo(found["Dockerfile"])
