"""A bill on the screen: its lines, and the same work elsewhere."""

from collections.abc import Mapping
from typing import Any

import click

from emulator.cli import terminal


def show(bill: Mapping[str, Any]) -> None:
    """Cents are shown to six digits: minutes cost fractions of one."""
    currency = bill["Currency"]
    rows = [
        (
            line["Meter"],
            f"{float(line['Quantity']):.6g}",
            line["Unit"],
            f"{float(line['UnitPrice']):g}",
            _amount(line["Amount"]),
            line.get("Why", ""),
        )
        for line in bill["Lines"]
    ]
    terminal.table(("METER", "QUANTITY", "UNIT", "PRICE", currency, "WHY"), rows)
    total = click.style(f"{_amount(bill['Total'])} {currency}", bold=True)
    click.echo(f"Total in {bill['Region']}: {total}")
    if month := bill.get("Month"):
        amount = f"{_amount(month['Total'])} {currency}"
        click.echo(f"{month['Notes'][-1].capitalize()}: {amount} (--month)")
    if bill["Alternatives"]:
        click.echo()
        others = [(a["Name"], _amount(a["Total"]), a.get("Note", "")) for a in bill["Alternatives"]]
        terminal.table(("THE SAME AS", currency, "ASSUMED"), others)
    for note in bill.get("Notes", ()):
        terminal.note(f"Note: {note}")
    for sheet in bill.get("Prices", ()):
        dated = " of " + sheet["Date"] if sheet["Date"] else ""
        source = f" ({sheet['Source']})" if sheet["Source"] else ""
        terminal.note(f"App Runner's prices in {sheet['Region']}{dated}{source}")


def _amount(value: object) -> str:
    return f"{float(str(value)):.6f}"
