"""`apprunner exec`."""

import sys

import click

from emulator.cli import context, env, programs, temporary
from emulator.cli.settings import load

NOT_FOUND, NOT_EXECUTABLE = 127, 126


@click.command(
    help="Run CMD against an emulator of its own, which is gone afterwards; CMD's exit code.",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("cmd", nargs=-1, required=True, type=click.UNPROCESSED)
def command(cmd: tuple[str, ...]) -> None:
    with temporary.emulator(context.flags()) as (client, state_dir):
        settings = load({**context.flags(), "state_dir": state_dir})
        code = _run(cmd, dict(env.variables(client, settings)))
    sys.exit(code)


def _run(cmd: tuple[str, ...], variables: dict[str, str]) -> int:
    """With the exit codes of a shell where it cannot be started."""
    try:
        return programs.run_here(cmd, **variables)
    except FileNotFoundError:
        click.echo(f"Error: {cmd[0]} is not installed or not on the PATH.", err=True)
        return NOT_FOUND
    except PermissionError:
        click.echo(f"Error: {cmd[0]} is not executable.", err=True)
        return NOT_EXECUTABLE
