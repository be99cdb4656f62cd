"""`apprunner deploy`: from a directory or an image to URLs that answer."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from emulator.cli import context, follow, launch, terminal
from emulator.cli.client import Client, RefusedError, service

SHORTEST, LONGEST = 4, 40
_RUNTIME = re.compile(r"(?P<language>[A-Za-z]+)_?(?P<version>\d+)")
View = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The options, as given; None or empty: leave it as it is."""

    path: str | None
    name: str | None
    image: str | None
    branch: str | None
    source_directory: str | None
    runtime: str | None
    build_command: str | None
    start_command: str | None
    port: int | None
    cpu: str | None
    memory: str | None
    env: Mapping[str, str]
    secret: Mapping[str, str]
    tag: Mapping[str, str]
    min_size: int | None
    max_size: int | None
    max_concurrency: int | None
    health_path: str | None
    auto_deploy: bool | None


def _pairs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`K=V`, repeated."""
    for value in values:
        if value.find("=") < 1:
            raise click.BadParameter(f"{value!r} is not of the form NAME=VALUE.")
    return dict(value.split("=", 1) for value in values)


def _pair_option(name: str, metavar: str) -> Callable[[Any], Any]:
    return click.option(name, multiple=True, callback=_pairs, metavar=metavar, help="Repeatable.")


@click.command(
    help="Create or update the service for the git repository at PATH (default: here), or for"
    " --image; wait until it serves."
)
@click.argument("path", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--name", help="Default: the directory's name.")
@click.option("--image", metavar="REF", help="Run this image instead of a repository.")
@click.option("--branch", help="Default: the current one.")
@click.option("--source-directory", metavar="DIR", help="From the repository's root.")
@click.option("--runtime", help="PYTHON_311, python311, NODEJS_18 …; default: apprunner.yaml.")
@click.option("--build-command", metavar="CMD")
@click.option("--start-command", metavar="CMD")
@click.option("--port", type=click.IntRange(1, 65535), help="Where the application listens.")
@click.option("--cpu", metavar="VCPU", help="0.25, 0.5, 1, 2 or 4.")
@click.option("--memory", metavar="GB", help="0.5 to 12.")
@_pair_option("--env", "K=V")
@_pair_option("--secret", "K=ARN")
@_pair_option("--tag", "K=V")
@click.option("--min-size", type=int, metavar="N")
@click.option("--max-size", type=int, metavar="N")
@click.option("--max-concurrency", type=int, metavar="N", help="Requests per instance.")
@click.option("--health-path", metavar="PATH", help="Probe this path over HTTP instead of TCP.")
@click.option("--auto-deploy/--no-auto-deploy", default=None, help="Deploy each new commit.")
@click.option("--wait/--no-wait", default=True, help="Wait for its end (default).")
@context.json_option
def command(*, wait: bool, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - see Wish
    wish = Wish(**options)
    if wish.image and wish.path:
        raise click.UsageError("Give a PATH or --image, not both.")
    name, source = _image(wish) if wish.image else _committed(wish)
    client, _ = launch.running(context.state_dir(), context.flags())
    accepted = client.post(service(name), members(wish, source, _current(client, name)))
    if not wait:
        _accepted(accepted, as_json=as_json)
        return
    outcome = follow.operation(client, accepted, quiet=as_json)
    if as_json:
        terminal.document(outcome.service)
    follow.checked(outcome)
    if not as_json:
        _serving(outcome)


def _accepted(accepted: View, *, as_json: bool) -> None:
    if as_json:
        terminal.document(accepted)
        return
    click.echo(f"Accepted, operation {accepted['OperationId']}.")
    click.echo(f"To follow it: apprunner events {accepted['Service']['ServiceName']} -f")


def _serving(outcome: follow.Outcome) -> None:
    described = outcome.service
    took = outcome.operation["EndedAt"] - outcome.operation["StartedAt"]
    status = terminal.coloured(described["Status"])
    click.echo(f"{described['ServiceName']} is {status} after {took:.1f} s.")
    terminal.urls(described)


def _current(client: Client, name: str) -> View:
    """The source of the service that is there, so that an update changes only what is given."""
    try:
        described = client.get(service(name))
    except RefusedError as error:
        if error.code != "ResourceNotFoundException":
            raise
        return {}
    deleted = described["Status"] == "DELETED"
    return {} if deleted else dict(described["SourceConfiguration"])


# -- from options to App Runner's members --------------------------------------------------------


def _committed(wish: Wish) -> tuple[str, View]:
    name, source, changed = code(wish)
    if changed:
        terminal.note(
            "Note: there are uncommitted changes; only what is committed is deployed"
            " (apprunner dev serves what is saved)."
        )
    return name, source


def code(wish: Wish) -> tuple[str, View, bool]:
    """Name and CodeRepository of a local repository; and whether something is not committed."""
    from emulator.cli import checkout  # noqa: PLC0415 - an image needs no git

    path = Path(wish.path or ".")
    found = checkout.look(path, wish.branch)
    source = {
        "RepositoryUrl": found.root,
        "SourceCodeVersion": {"Type": "BRANCH", "Value": found.branch},
        "SourceDirectory": wish.source_directory or found.directory,
    }
    name = wish.name or valid_name(path.resolve().name.removesuffix(".git"))
    return name, {"CodeRepository": source}, found.changed


def _image(wish: Wish) -> tuple[str, View]:
    image = wish.image or ""
    ecr = "ECR_PUBLIC" if image.startswith("public.ecr.aws/") else "ECR"
    last = image.rsplit("/", 1)[-1].split("@")[0].split(":")[0]
    source = {"ImageIdentifier": image, "ImageRepositoryType": ecr}
    return wish.name or valid_name(last), {"ImageRepository": source}


def valid_name(text: str) -> str:
    """The nearest name that App Runner allows."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:LONGEST]
    return name if len(name) >= SHORTEST else f"{name}-service".lstrip("-")


def members(wish: Wish, source: View, current: Mapping[str, Any]) -> View:
    """CreateService's (or UpdateService's) members, with this emulator's own beside them."""
    settings = _image_settings if "ImageRepository" in source else _code_settings
    configured = settings(wish, source, current)
    if wish.auto_deploy is not None:
        configured["AutoDeploymentsEnabled"] = wish.auto_deploy
    scaling = {
        "MaxConcurrency": wish.max_concurrency,
        "MinSize": wish.min_size,
        "MaxSize": wish.max_size,
    }
    check = {"Protocol": "HTTP", "Path": wish.health_path} if wish.health_path else {}
    own = _given({"AutoScaling": _given(scaling), "Env": dict(wish.env)})
    return {
        "SourceConfiguration": configured,
        **_given(
            {
                "InstanceConfiguration": _given({"Cpu": wish.cpu, "Memory": wish.memory}),
                "HealthCheckConfiguration": check,
                "Emulator": own,
                "Tags": dict(wish.tag),
            }
        ),
    }


def _code_settings(wish: Wish, source: View, current: Mapping[str, Any]) -> View:
    """Build and run settings given here replace apprunner.yaml; then all of them must be."""
    given = _given(
        {
            "Runtime": _runtime(wish.runtime),
            "BuildCommand": wish.build_command,
            "StartCommand": wish.start_command,
            "Port": str(wish.port) if wish.port else None,
            "RuntimeEnvironmentSecrets": dict(wish.secret),
        }
    )
    if not given:
        return source
    old = current.get("CodeRepository", {}).get("CodeConfiguration", {})
    values = {**old.get("CodeConfigurationValues", {}), **given}
    if "Runtime" not in values:
        raise click.UsageError(
            "--build-command, --start-command, --port and --secret replace apprunner.yaml, so they"
            " need --runtime too (for example PYTHON_311); or write them into apprunner.yaml."
        )
    configuration = {"ConfigurationSource": "API", "CodeConfigurationValues": values}
    return {"CodeRepository": {**source["CodeRepository"], "CodeConfiguration": configuration}}


def _image_settings(wish: Wish, source: View, current: Mapping[str, Any]) -> View:
    if wish.runtime or wish.build_command or wish.branch or wish.source_directory:
        raise click.UsageError(
            "--runtime, --build-command, --branch and --source-directory are for repositories."
        )
    given = _given(
        {
            "StartCommand": wish.start_command,
            "Port": str(wish.port) if wish.port else None,
            "RuntimeEnvironmentSecrets": dict(wish.secret),
        }
    )
    old = current.get("ImageRepository", {}).get("ImageConfiguration", {})
    return {
        "ImageRepository": {**source["ImageRepository"], "ImageConfiguration": {**old, **given}}
    }


def _runtime(text: str | None) -> str | None:
    """python311 as PYTHON_311; what is neither is App Runner's to refuse."""
    found = _RUNTIME.fullmatch(text or "")
    return f"{found['language'].upper()}_{found['version']}" if found else text


def _given(values: Mapping[str, Any]) -> View:
    return {key: value for key, value in values.items() if value not in (None, {})}
