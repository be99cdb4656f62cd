"""Watching an operation to its end: events and build log as they come, then the outcome."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from emulator.cli import clock, terminal
from emulator.cli.client import Client, LostError, service
from emulator.cli.failure import Failure
from emulator.model.operation import DEPLOYING

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An operation that ended, and its service then."""

    operation: Mapping[str, Any]
    service: Mapping[str, Any]

    @property
    def succeeded(self) -> bool:
        return bool(self.operation["Status"] == "SUCCEEDED")


def operation(client: Client, accepted: Mapping[str, Any], *, quiet: bool) -> Outcome:
    """Follow what was accepted; raises Failure with the reason when it does not succeed."""
    name, type_ = accepted["Service"]["ServiceName"], accepted["Operation"]["Type"]
    id_ = accepted["OperationId"]
    try:
        with _silent() if quiet else _screen(f"{name}: {type_}") as say:
            return _followed(client, accepted["Service"]["ServiceId"], id_, say)
    except KeyboardInterrupt:
        terminal.note(f"\n{_left(name, accepted['Operation'])}")
        raise


def _left(name: str, operation_: Mapping[str, Any]) -> str:
    """Whoever stops following may have meant to stop what is followed."""
    type_ = operation_["Type"]
    goes_on = f"{type_} of {name} goes on. To follow it: apprunner events {name} -f"
    if type_ not in DEPLOYING or operation_.get("Cancelled"):
        return goes_on
    return f"{goes_on}; to end it: apprunner cancel {name}"


def checked(outcome: Outcome) -> Outcome:
    """The outcome if it is a success, else its reason as a Failure."""
    if outcome.succeeded:
        return outcome
    operation_, name = outcome.operation, outcome.service["ServiceName"]
    reason = operation_.get("Reason") or f"{operation_['Type']} ended {operation_['Status']}."
    then = f"apprunner events {name} tells the story, apprunner logs {name} --build the build."
    raise Failure(f"{name}: {reason}", then)


def _followed(client: Client, id_: str, operation_id: str, say: Say) -> Outcome:
    for row in client.stream(service(id_, "operations", operation_id, "feed")):
        if "Operation" in row:
            return Outcome(operation=row["Operation"], service=row["Service"])
        say(line(row))
    raise LostError("the emulator ended before the operation did")


def line(row: Mapping[str, Any]) -> str:
    """One event, or one line of a build's log."""
    at = click.style(clock.local(row["At"]), dim=True)
    if "Log" in row:
        return f"{at}  {click.style('│ ' + row['Log'], dim=True)}"
    return f"{at}  {row['Event']}"


@contextmanager
def _silent() -> Iterator[Say]:
    yield lambda _: None


@contextmanager
def _screen(title: str) -> Iterator[Say]:
    """Plain lines; on a terminal with a spinner and the time below them."""
    if not sys.stdout.isatty():
        yield click.echo
        return
    from rich.progress import (  # noqa: PLC0415 - only terminals pay for it
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, transient=True) as progress:
        progress.add_task(title)
        yield lambda text: progress.console.print(Text.from_ansi(text), highlight=False)
