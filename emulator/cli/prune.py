"""`apprunner prune`."""

import click

from emulator.cli import context, terminal


@click.command(help="Remove what nobody owns any more, and old images.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option(
    "--caches", is_flag=True, help="Also what builds have downloaded (pip, npm, Maven, ...)."
)
@context.json_option
def command(*, dry_run: bool, caches: bool, as_json: bool) -> None:
    from emulator import bootstrap  # noqa: PLC0415 - everything is behind it

    pruned = bootstrap.prune(context.settings(), dry_run=dry_run, caches=caches)
    removed = pruned.removed
    if as_json:
        terminal.document(list(removed))
        return
    for each in removed:
        click.echo(each)
    what = "would be removed" if dry_run else "removed"
    click.echo(f"{terminal.counted(len(removed), 'thing')} {what}.")
    if pruned.building:
        click.echo("A build is under way and may need images without a name: none was looked at.")
    if pruned.kept:
        click.echo(
            f"The builds' caches hold {pruned.kept / 1e6:.0f} MB: "
            "apprunner prune --caches removes them."
        )
