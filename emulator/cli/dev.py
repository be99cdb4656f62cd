"""`apprunner dev`: what is saved is served; what is committed, again when it ends.

The stream that this reads is the lease on it: when this process is gone, however it went, the
service is back on its committed revision within a moment.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import fields
from typing import Any

import click

from emulator.cli import clock, context, deploy, follow, launch, terminal
from emulator.cli.client import Client, LostError, RefusedError, service
from emulator.cli.failure import Failure

SHOWN = 3  # paths in a line
LEFT_OUT = {"image", "branch", "auto_deploy"}  # of deploy's options
TAKEN = {field.name for field in fields(deploy.Wish)} - LEFT_OUT
BUILD = "deployment/"
View = Mapping[str, Any]


@click.command(
    help="Serve the working tree at PATH (default: here) as it is saved, without a commit, until"
    " Ctrl-C; .gitignore is honoured. Each save is a line: what changed, and how long until it"
    " answered; the application's log is between them. What fails to build or to start is shown,"
    " and the last good state serves on.\n\n"
    "The service is created from what is committed if there is none. Commits wait; at the end what"
    " was deployed last serves again, or the newest commit where those are deployed automatically."
)
@context.json_option
def command(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - see deploy.Wish
    wish = deploy.Wish(**options, image=None, branch=None, auto_deploy=None)
    client, _ = launch.running(context.state_dir(), context.flags())
    name = _deployed(client, wish, quiet=as_json)
    screen = _Screen(name, as_json=as_json)
    try:
        _watch(client, name, screen)
    except KeyboardInterrupt:
        _leave(client, name, quiet=as_json)


command.params += [p for p in deploy.command.params if p.name in TAKEN]


def _deployed(client: Client, wish: deploy.Wish, *, quiet: bool) -> str:
    """The name of the service, created or updated where that was asked for."""
    name, source, _ = deploy.code(wish)
    current = _current(client, name)
    _check(name, source, current)
    members = deploy.members(wish, source, current.get("SourceConfiguration", {}))
    if current and members == {"SourceConfiguration": source}:
        return name
    outcome = follow.operation(client, client.post(service(name), members), quiet=quiet)
    if not outcome.succeeded:
        reason = outcome.operation.get("Reason") or outcome.operation["Status"]
        terminal.note(f"What is committed does not serve: {reason}\nWhat is saved may.")
    return name


def _current(client: Client, name: str) -> View:
    try:
        described: View = client.get(service(name))
    except RefusedError as error:
        if error.code != "ResourceNotFoundException":
            raise
        return {}
    return {} if described["Status"] == "DELETED" else described


def _check(name: str, source: View, current: View) -> None:
    """Another repository's service is not turned into this one's by the way."""
    if not current:
        return
    here = source["CodeRepository"]["RepositoryUrl"]
    code = current["SourceConfiguration"].get("CodeRepository", {})
    there = code.get("RepositoryUrl", "an image")
    if os.path.realpath(there.removeprefix("file://")) != os.path.realpath(here):
        raise Failure(
            f"{name} is deployed from {there}, not from {here}.",
            f"apprunner dev --name OTHER makes another one; apprunner deploy --name {name} moves it.",
        )


def _watch(client: Client, name: str, screen: "_Screen") -> None:
    with closing(client.stream(service(name, "dev"))) as rows:
        for row in rows:
            if "Ended" in row:
                raise Failure(f"{name}: {row['Ended']}")
            screen.show(row)
    raise LostError(f"the emulator has ended; {name} will serve what is committed")


def _leave(client: Client, name: str, *, quiet: bool) -> None:
    """Say it when it is so."""
    if not quiet:
        terminal.note("\nBack to what is committed …")
    described = client.post(service(name, "dev", "end"))
    if quiet:
        return
    commit = described["Emulator"].get("Commit")
    what = f"serves commit {terminal.short(commit)} again" if commit else "serves nothing any more"
    click.echo(f"{name} {what}.")


class _Screen:
    """One line for each row that says something; JSON lines for programs."""

    def __init__(self, name: str, *, as_json: bool) -> None:
        self._name = name
        self._as_json = as_json

    def show(self, row: View) -> None:
        if not {"What", "Log"} & row.keys():
            return  # a sign of life
        if self._as_json:
            click.echo(json.dumps(row, ensure_ascii=False))
            return
        at = click.style(clock.local(row["At"]), dim=True)
        click.echo(f"{at}  {_logged(row) if 'Log' in row else self._told(row)}")

    def _told(self, row: View) -> str:
        changed = _paths(row["Changed"])
        match row["What"]:
            case "Watching":
                waiting = f"; uncommitted: {changed}" if changed else ""
                return (
                    f"{self._name} serves what you save in {row['Text']}{waiting}. Ctrl-C ends it."
                )
            case "Serving":
                took = f"after {row['Seconds'] * 1000:.0f} ms"
                return click.style(f"✓ {changed}: serves {took}", fg="green")
            case "Unchanged":
                return click.style(f"= {changed}: serves already", dim=True)
            case "Failed":
                head = f"✗ {changed}: " if changed else "✗ "
                text = click.style(f"{head}{row['Text']}", fg="red")
                return f"{text}\n          What served before serves on."
            case _:
                return str(row["Text"])


def _logged(row: View) -> str:
    """An application's line; a build's is marked as it is when it is deployed."""
    if row["Stream"].startswith(BUILD):
        return click.style(f"│ {row['Log']}", dim=True)
    _, _, origin = row["Stream"].partition("/")
    return f"{click.style(terminal.short(origin), dim=True)}  {row['Log']}"


def _paths(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return f"{', '.join(paths[:SHOWN])}{more}"
