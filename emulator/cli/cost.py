"""`apprunner cost`."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from emulator.cli import bill, context, terminal
from emulator.cli.client import Client, require


@click.command(
    help="What it would have cost on App Runner and elsewhere.",
    params=[context.prices_option()],
)
@click.argument("name", required=False)
@click.option("--month", is_flag=True, help="A month of 30 days at the pattern observed.")
@click.option(
    "--focus",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the bill's rows, FOCUS 1.2, as CSV.",
)
@context.json_option
def command(name: str | None, *, month: bool, focus: Path | None, as_json: bool) -> None:
    if month and focus:
        raise click.UsageError("--focus writes what was metered, --month projects it: choose one.")
    query = {"service": name} if name else {}
    query |= {"month": "1"} if month else {}
    query |= {"focus": "1"} if focus else {}
    found = asked(require(context.state_dir()), **query)
    rows = found.pop("Focus", [])
    if focus:
        _write(focus, rows)
    if as_json:
        terminal.document(found)
    else:
        bill.show(found)
    if focus:
        terminal.note(f"Wrote {terminal.counted(len(rows), 'row')} to {focus}.")


def asked(client: Client, **query: str) -> dict[str, Any]:
    """The bill, at the prices that --prices names if it is given."""
    own = context.flags().get("prices")
    if own is None:
        found: dict[str, Any] = client.get("cost", **query)
        return found
    from emulator.cli import prices  # noqa: PLC0415 - most bills do without

    # Dates as text, prices as JSON's numbers: their shortest form is exact.
    tables = json.loads(json.dumps(prices.tables(own), default=_plain))
    priced: dict[str, Any] = client.post(
        "cost" + (f"?{urlencode(query)}" if query else ""), {"Prices": tables}
    )
    return priced


def _plain(value: object) -> object:
    text = str(value)
    try:
        return float(text)
    except ValueError:
        return text


def _write(path: Path, rows: Sequence[Mapping[str, str | None]]) -> None:
    from emulator.decisions.focus import COLUMNS  # noqa: PLC0415 - most bills do without

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
