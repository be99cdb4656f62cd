"""`apprunner describe`."""

from collections.abc import Mapping
from typing import Any

import click

from emulator.cli import context, deployments, instances, terminal
from emulator.cli.client import require, service
from emulator.decisions.cold_start import in_words

UNITS = 1024


@click.command(help="All about one service.")
@click.argument("name")
@context.json_option
def command(name: str, *, as_json: bool) -> None:
    described = require(context.state_dir()).get(service(name))
    if as_json:
        terminal.document(described)
    else:
        _show(described)


def _show(described: Mapping[str, Any]) -> None:
    status = described["Status"]
    click.echo(f"{click.style(described['ServiceName'], bold=True)}  {terminal.coloured(status)}")
    if dev := described["Emulator"].get("Dev"):
        _warn(dev)
    terminal.urls(described)
    click.echo(f"  {described['ServiceArn']}")
    click.echo(f"  {_source(described['SourceConfiguration'])}")
    click.echo(f"  {_size(described['InstanceConfiguration'])} per instance\n")
    instances.show(described["Emulator"]["Instances"])
    if start := described["Emulator"].get("LastStart"):
        click.echo(f"  {_start(start)}")
    click.echo()
    deployments.show(described["Emulator"]["Deployments"])


def _warn(dev: Mapping[str, Any]) -> None:
    """Nobody should take it for what a deployment would be."""
    what = "serves what is saved" if dev["Serving"] else "is to serve what is saved"
    text = f"  DEV  {what} in {dev.get('Repository', '')}, not what is committed"
    click.secho(text, fg="yellow", bold=True)
    if failure := dev.get("Failure"):
        click.secho(f"       the newest save does not serve: {failure}", fg="red")


def _source(source: Mapping[str, Any]) -> str:
    if image := source.get("ImageRepository"):
        return f"image {image['ImageIdentifier']}"
    code = source["CodeRepository"]
    branch, directory = code["SourceCodeVersion"]["Value"], code["SourceDirectory"]
    automatic = "deploys each commit" if source["AutoDeploymentsEnabled"] else "deploys on request"
    where = "" if directory == "/" else f", directory {directory}"
    return f"{code['RepositoryUrl']}, branch {branch}{where}; {automatic}"


def _size(size: Mapping[str, str]) -> str:
    return f"{int(size['Cpu']) / UNITS:g} vCPU, {int(size['Memory']) / UNITS:g} GB"


def _start(start: Mapping[str, Any]) -> str:
    phases = in_words((name, ms / 1000) for name, ms in start["Phases"].items())
    return f"last start {terminal.moment(start['At'])}: {phases}"
