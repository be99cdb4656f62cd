"""`apprunner exec`."""

import sys
from decimal import Decimal, InvalidOperation

import click

from emulator.cli import context, env, programs, temporary, terminal
from emulator.cli.client import Client
from emulator.cli.cost import asked
from emulator.cli.settings import load

FAILED, NOT_FOUND, NOT_EXECUTABLE = 1, 127, 126


def _amount(_: click.Context, __: click.Parameter, value: str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise click.BadParameter(
            f"{value!r} is not an amount of US dollars such as 0.05."
        ) from None
    if not amount.is_finite() or amount < 0:
        raise click.BadParameter(f"{value} is not an amount of US dollars, 0 or more.")
    return amount


@click.command(
    help="Run CMD against an emulator of its own, which is gone afterwards; CMD's exit code.",
    context_settings={"allow_interspersed_args": False},
    params=[context.prices_option()],
)
@click.option(
    "--max-cost",
    callback=_amount,
    metavar="USD",
    help="Fail if App Runner would have charged more for the run.",
)
@click.argument("cmd", nargs=-1, required=True, type=click.UNPROCESSED)
def command(cmd: tuple[str, ...], *, max_cost: Decimal | None) -> None:
    with temporary.emulator(context.flags()) as (client, state_dir):
        settings = load({**context.flags(), "state_dir": state_dir})
        code = _run(cmd, dict(env.variables(client, settings)))
        if max_cost is not None:
            code = _judged(client, max_cost, code)
    sys.exit(code)


def _judged(client: Client, most: Decimal, code: int) -> int:
    """The exit code, once it is known what the run would have cost; a failure stays what it is."""
    total = Decimal(str(asked(client)["Total"]))
    if total <= most:
        terminal.note(
            f"The run would have cost {total:.6f} USD on App Runner (--max-cost {most:f})."
        )
        return code
    click.echo(
        f"{click.style('Error:', fg='red')} The run would have cost {total:.6f} USD on App Runner,"
        f" more than --max-cost {most:f}.",
        err=True,
    )
    return code or FAILED


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
