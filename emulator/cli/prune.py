"""`apprunner prune`."""

import click

from emulator.cli import context, terminal


@click.command(help="Remove what nobody owns any more, and old images.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@context.json_option
def command(*, dry_run: bool, as_json: bool) -> None:
    from emulator import bootstrap  # noqa: PLC0415 - everything is behind it

    removed = bootstrap.prune(context.settings(), dry_run=dry_run)
    if as_json:
        terminal.document(removed)
        return
    for each in removed:
        click.echo(each)
    what = "would be removed" if dry_run else "removed"
    click.echo(f"{terminal.counted(len(removed), 'thing')} {what}.")
