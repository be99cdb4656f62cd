"""`apprunner events`."""

import click

from emulator.cli import clock, context, streams
from emulator.cli.client import require, service


@click.command(help="What happened to a service, and why.")
@click.argument("name")
@streams.follow_option
@streams.since_option
@context.json_option
def command(name: str, *, follow: bool, since: float | None, as_json: bool) -> None:
    asked = streams.query(since=since, follow=follow)
    rows = require(context.state_dir()).stream(service(name, "events"), **asked)
    streams.show(rows, _line, as_json=as_json, follow=follow)


def _line(row: streams.Row) -> str:
    return f"{click.style(clock.local_date(row['At']), dim=True)}  {row['Text']}"
