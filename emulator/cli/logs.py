"""`apprunner logs`: kept apart as App Runner keeps them."""

import click

from emulator.cli import clock, context, streams, terminal
from emulator.cli.client import require, service

DEPLOYMENT = "deployment/"
APPLICATION = "instance/"


@click.command(help="A service's logs, also those of instances that are gone.")
@click.argument("name")
@streams.follow_option
@click.option("--application", "prefix", flag_value=APPLICATION, default=APPLICATION)
@click.option("--build", "prefix", flag_value=DEPLOYMENT, help="The builds' logs.")
@click.option("--deployment", "prefix", flag_value=DEPLOYMENT, help="The same.")
@click.option("--instance", metavar="I", help="Of one instance; the first digits will do.")
@streams.since_option
@context.json_option
def command(
    name: str,
    *,
    follow: bool,
    prefix: str,
    instance: str | None,
    since: float | None,
    as_json: bool,
) -> None:
    asked = streams.query(since=since, follow=follow)
    stream = f"{APPLICATION}{instance}" if instance else prefix
    client = require(context.state_dir())
    rows = client.stream(service(name, "logs"), stream=stream, **asked)
    streams.show(rows, _line, as_json=as_json, follow=follow)


def _line(row: streams.Row) -> str:
    _, _, origin = row["Stream"].partition("/")
    head = click.style(f"{clock.local(row['At'])} {terminal.short(origin)}", dim=True)
    return f"{head}  {row['Text']}"
