"""`apprunner detect`: how a repository would be built, and why."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from emulator.cli import checkout, context, terminal
from emulator.cli.failure import Failure

FILE = "apprunner.yaml"


def detected(path: Path, branch: str | None) -> Mapping[str, Any]:
    """What the emulator would make of a directory."""
    found = checkout.look(path, branch)
    from emulator import bootstrap  # noqa: PLC0415 - everything is behind it

    result: Mapping[str, Any] = bootstrap.detect(
        context.settings(), Path(found.root), found.directory, found.branch
    )
    return result


@click.command(help="How the repository at PATH would be built, and why.")
@click.argument("path", default=".", type=click.Path(exists=True, file_okay=False))
@click.option("--branch", help="Default: the current one.")
@click.option("--write", is_flag=True, help=f"Write it down as {FILE}.")
@context.json_option
def command(path: str, *, branch: str | None, write: bool, as_json: bool) -> None:
    found = detected(Path(path), branch)
    if write:
        _write(Path(path) / FILE, found["AppRunnerYaml"])
    if as_json:
        terminal.document(found)
        return
    language = f"{found['Buildpack']}, runtime {found['Runtime']}, " if found["Runtime"] else ""
    click.echo(f"{language}built as {found['Kind']}:")
    for reason in (*found["Because"], *(f"Warning: {text}" for text in found["Warnings"])):
        click.echo(f"  - {reason}")
    if not write and found["AppRunnerYaml"]:
        click.echo(f"\n# {FILE} that says the same (--write)\n{found['AppRunnerYaml']}")


def _write(path: Path, content: str) -> None:
    if not content:
        raise Failure(
            f"No {FILE} says the same: App Runner builds no Dockerfile from a repository.",
            "Without the Dockerfile the languages are looked for.",
        )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise Failure(f"{path} is there already.", "Remove it first to write it anew.") from None
    terminal.note(f"Wrote {path}; commit it to use it.")
