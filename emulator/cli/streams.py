"""Logs and events on the screen: as they are, or on and on with `--follow`."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from emulator.cli import clock, terminal

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SINCE = re.compile(r"(?P<count>\d+(?:\.\d+)?)(?P<unit>[smhd]?)")
Row = Mapping[str, Any]


def _since(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """`5m` as the moment it means."""
    if value is None:
        return None
    if found := _SINCE.fullmatch(value):
        return clock.now() - float(found["count"]) * SECONDS[found["unit"] or "s"]
    raise click.BadParameter(f"{value!r} is not a duration such as 30s, 5m, 2h or 1d.")


since_option = click.option("--since", callback=_since, metavar="5m", help="Only what is younger.")
follow_option = click.option("-f", "--follow", is_flag=True, help="Go on with what is to come.")


def query(*, since: float | None, follow: bool) -> dict[str, str]:
    """Both options as the emulator takes them."""
    asked = {"follow": "1"} if follow else {}
    return asked if since is None else {**asked, "since": str(since)}


def show(rows: Iterator[Row], line: Callable[[Row], str], *, as_json: bool, follow: bool) -> None:
    """People get lines; programs one list, or one document per line where there is no end."""
    if as_json and not follow:
        terminal.document(list(rows))
        return
    for row in rows:
        click.echo(json.dumps(row, ensure_ascii=False) if as_json else line(row))
