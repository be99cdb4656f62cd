"""`apprunner env`."""

import shlex
from collections.abc import Mapping

import click

from emulator.cli import context, terminal
from emulator.cli.client import Client, require
from emulator.model.settings import Settings


@click.command(help='Variables that lead AWS tools here: eval "$(apprunner env)".')
@context.json_option
def command(*, as_json: bool) -> None:
    found = variables(require(context.state_dir()), context.settings())
    if as_json:
        terminal.document(found)
        return
    for name, value in found.items():
        click.echo(f"export {name}={shlex.quote(value)}")


def variables(client: Client, settings: Settings) -> Mapping[str, str]:
    """Both names of the region: boto3 reads only AWS_DEFAULT_REGION. With STS, so that tools may
    ask who they are: Terraform's provider does so before all else. With ECR where there is a
    registry.
    """
    keys = settings.auth.keys if settings.auth.verify_sigv4 else {}
    key, secret = next(iter(keys.items()), ("test", "test"))
    ecr = {"AWS_ENDPOINT_URL_ECR": client.api} if client.has_registry else {}
    return {
        "AWS_ENDPOINT_URL_APPRUNNER": client.api,
        "AWS_ENDPOINT_URL_STS": client.api,
        **ecr,
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "APPRUNNER_STATE_DIR": settings.state_dir,
    }
