"""`apprunner stop`."""

import click

from emulator.cli import context, launch
from emulator.cli.client import find


@click.command(
    help="Stop the emulator. Running services keep running and are adopted at the next start."
)
@click.option("--all", "everything", is_flag=True, help="With every container it owns.")
def command(*, everything: bool) -> None:
    state_dir = context.state_dir()
    client = find(state_dir)
    if everything and launch.remove_everything(state_dir, context.flags()):
        click.echo("Stopped, and everything it owned is removed.")
    elif client is None:
        click.echo("The emulator is not running.")
    else:
        launch.stop(client, everything=False)
        click.echo("Stopped.")
