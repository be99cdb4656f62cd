"""`apprunner clock`: what time it is for idle windows, metering and the event log."""

from collections.abc import Mapping
from typing import Any

import click

from emulator.cli import context, durations, terminal
from emulator.cli.client import require

IN_STEP = 1.0  # seconds of a difference that is not worth telling


@click.group(invoke_without_command=True, help="Show policy time, or let it pass.")
@context.json_option
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """Idle windows, metering and App Runner's pace go by policy time."""
    if ctx.invoked_subcommand is None:
        _show(require(context.state_dir()).get("clock"), as_json=as_json)


@command.command(
    help="Let 90s, 15m, 1h or 1d pass at once, with all that happens in that time.",
    # -1h is to be refused in words, and asks for no help.
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
)
@click.argument("duration", callback=lambda _, __, value: durations.seconds(value))
@context.json_option
def advance(duration: float, *, as_json: bool) -> None:
    client = require(context.state_dir())
    _show(client.post("clock", {"advance": duration}, patience=None), as_json=as_json)


def _show(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        terminal.document(found)
        return
    click.echo(f"{terminal.moment(found['Now'])}{_differs(found)}")


def _differs(found: Mapping[str, Any]) -> str:
    ahead, speed = float(found["Ahead"]), float(found["Speed"])
    where = "" if abs(ahead) < IN_STEP else f", {durations.shown(ahead)} ahead of the machine"
    return f"{where}{'' if speed == 1.0 else f', passing {speed:g} times as fast'}"
