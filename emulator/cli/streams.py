"""Logs and events on the screen: as they are, or on and on with `--follow`."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from emulator.cli import durations, terminal

Row = Mapping[str, Any]


def _since(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    return None if value is None else durations.seconds(value)


since_option = click.option("--since", callback=_since, metavar="5m", help="Only what is younger.")
follow_option = click.option("-f", "--follow", is_flag=True, help="Go on with what is to come.")


def query(*, since: float | None, follow: bool) -> dict[str, str]:
    """Both options as the emulator takes them; it is its clock that counts."""
    asked = {"follow": "1"} if follow else {}
    return asked if since is None else {**asked, "ago": str(since)}


def show(rows: Iterator[Row], line: Callable[[Row], str], *, as_json: bool, follow: bool) -> None:
    """People get lines; programs one list, or one document per line where there is no end."""
    if as_json and not follow:
        terminal.document(list(rows))
        return
    for row in rows:
        click.echo(json.dumps(row, ensure_ascii=False) if as_json else line(row))
