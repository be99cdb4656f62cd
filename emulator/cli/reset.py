"""`apprunner reset`: the only verb that deletes for good, so it looks twice."""

import shutil
import sys
from pathlib import Path

import click

from emulator.cli import context, launch, terminal
from emulator.cli.client import ANNOUNCEMENT, LOG
from emulator.cli.failure import Failure

MARKS = ("*.db", "lock", ANNOUNCEMENT, LOG)


@click.command(help="Delete every service, container, image and log, and the state directory.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(*, yes: bool) -> None:
    directory = Path(context.state_dir())
    if not directory.exists():
        click.echo(f"There is nothing to reset: {directory} does not exist.")
        return
    _check(directory)
    if not yes and sys.stdin.isatty():
        click.confirm(f"Delete all services and {directory}?", abort=True)
    _remove_owned(directory)
    shutil.rmtree(directory)
    click.echo("Everything is deleted.")


def _check(directory: Path) -> None:
    """A state directory set by mistake must not cost a home directory."""
    resolved, home = directory.resolve(), Path.home().resolve()
    ours = any(next(directory.glob(mark), None) for mark in MARKS)
    if home.is_relative_to(resolved) or not ours:
        raise Failure(f"{directory} does not look like a state directory; nothing was deleted.")


def _remove_owned(directory: Path) -> None:
    """Where the emulator cannot do it any more the state goes nevertheless: that is what resets
    are for.
    """
    try:
        launch.remove_everything(str(directory), context.flags())
    except Failure as failure:
        terminal.note(f"{failure.message}\nIts containers may be left: apprunner prune")
