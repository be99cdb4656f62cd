"""What the command line prints: tables for people, documents for programs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from emulator.cli import clock

COLOURS = {
    "RUNNING": "green",
    "SUCCEEDED": "green",
    "active": "green",
    "idle": "green",
    "frozen": "cyan",
    "PAUSED": "cyan",
    "OPERATION_IN_PROGRESS": "yellow",
    "IN_PROGRESS": "yellow",
    "PENDING": "yellow",
    "starting": "yellow",
    "draining": "yellow",
    "CREATE_FAILED": "red",
    "DELETE_FAILED": "red",
    "FAILED": "red",
    "ROLLBACK_FAILED": "red",
    "ROLLBACK_SUCCEEDED": "red",
    "failed": "red",
}
SHORT = 8


def document(content: object) -> None:
    """One JSON document."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as they must be; a status in its colour."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *texts]) for i in range(len(header))]
    click.secho(_line(header, widths), dim=True)
    for row in texts:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        styled = [
            coloured(text, cell) if cell in COLOURS else text
            for text, cell in zip(padded, row, strict=True)
        ]
        click.echo("  ".join(styled).rstrip())


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()


def coloured(text: str, status: str = "") -> str:
    return click.style(text, fg=COLOURS.get(status or text))


def note(text: str) -> None:
    """Beside the answer, so on stderr."""
    click.secho(text, dim=True, err=True)


def urls(service: Mapping[str, Any]) -> None:
    """Where a described service answers."""
    own = service["Emulator"]
    click.echo(f"  {own['Url']}")
    click.echo(f"  {own['LocalUrl']}")


def short(identifier: str | None) -> str:
    """Enough of an id or a commit to tell it from others."""
    return (identifier or "")[:SHORT]


def moment(at: float | None) -> str:
    return "" if at is None else clock.local_date(at)


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
