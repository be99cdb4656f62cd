"""`apprunner git-remote`: the address that a `git push` deploys to."""

import sys
from urllib.parse import quote

import click

from emulator.cli import context, programs, terminal
from emulator.cli.client import require

FORMATS = ("sha1", "sha256")


@click.command(
    help="Print the URL of a git repository whose pushes are deployed as the service NAME:\n\n"
    "\b\n  git push $(apprunner git-remote NAME) main\n\n"
    "The first push creates the service, and the branch becomes the one it deploys; each later one"
    " deploys its commit. Events and build log are shown as the push goes on; Ctrl-C only stops"
    " showing them. A build that fails refuses neither the push nor what runs.\n\n"
    "The repository is a bare one in the state directory (--json shows where), and can be cloned"
    " and fetched from as well. `apprunner delete NAME` leaves it, so that a later push makes a new"
    " service; `apprunner reset` removes it."
)
@click.argument("name")
@click.option(
    "--object-format",
    type=click.Choice(FORMATS),
    help="What the repository's ids are; default: as in the repository here, or sha1.",
)
@context.json_option
def command(name: str, object_format: str | None, *, as_json: bool) -> None:
    client = require(context.state_dir())
    form = object_format or _form_here()
    found = client.post(f"git/{quote(name, safe='')}?format={form}")
    if as_json:
        terminal.document(found)
        return
    click.echo(found["Url"])
    if sys.stdout.isatty():
        terminal.note(f"git remote add apprunner {found['Url']} && git push apprunner main")


def _form_here() -> str:
    """Empty where there is no repository, or a git that knows only one kind."""
    try:
        found = programs.git(".", "rev-parse", "--show-object-format")
    except FileNotFoundError:
        return ""
    return found.out if found.code == 0 and found.out in FORMATS else ""
