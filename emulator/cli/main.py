"""The command `apprunner`: one verb, one module, imported when it is wanted.

A verb that answers in a tenth of a second is used; so nothing heavy is imported here.
"""

import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click

from emulator import __version__
from emulator.cli import context
from emulator.cli.failure import Failure
from emulator.model.errors import (
    AddressInUseError,
    AppRunnerError,
    BuildError,
    ConfigurationError,
    EngineError,
    RepositoryError,
    StoreError,
)

INTERRUPTED = 130
EXPECTED = (
    AddressInUseError,
    AppRunnerError,
    BuildError,
    ConfigurationError,
    EngineError,
    RepositoryError,
    StoreError,
    OSError,
)
# verb -> where it is ("module" or "module:attribute"), and what it does
VERBS: Mapping[str, tuple[str, str]] = {
    "start": ("start", "Run the emulator."),
    "stop": ("stop", "Stop it; services keep running."),
    "status": ("status", "What runs, and where."),
    "doctor": ("doctor", "What is missing on this machine, and what mends it."),
    "env": ("env", 'Variables for AWS tools: eval "$(apprunner env)".'),
    "exec": ("exec", "Run a command against an emulator of its own."),
    "demo": ("demo", "The whole story on a sample app, in a minute."),
    "deploy": ("deploy", "Create or update a service from a repository or an image."),
    "dev": ("dev", "Serve what you save, as you save it."),
    "git-remote": ("git_remote", "Where to `git push`: a push deploys."),
    "list": ("list", "All services."),
    "describe": ("describe", "All about one service."),
    "open": ("open", "A service, or the console, in the browser."),
    "operations": ("operations", "What was done to a service."),
    "deployments": ("deployments", "A service's versions."),
    "instances": ("instances", "A service's instances."),
    "logs": ("logs", "Application and build logs."),
    "events": ("events", "What happened to a service, and why."),
    "redeploy": ("actions:redeploy", "Deploy the newest commit or image."),
    "rollback": ("actions:rollback", "Serve an earlier version again."),
    "cancel": ("actions:cancel", "End a deployment that is under way."),
    "pause": ("actions:pause", "Take a service's instances away."),
    "resume": ("actions:resume", "Bring a paused service back."),
    "delete": ("actions:delete", "Delete a service."),
    "connection": ("connection", "Connections to repository providers: list, authorize."),
    "clock": ("policy_clock", "What time it is for idle windows and bills; advance it."),
    "usage": ("usage", "What was metered, second by second."),
    "cost": ("cost", "What it would have cost on AWS."),
    "estimate": ("estimate", "What a pattern of use would cost."),
    "simulate": ("simulate", "What other settings would have made of a run."),
    "detect": ("detect", "How a repository would be built, and why."),
    "build": ("build", "The Dockerfile a repository is built with."),
    "prune": ("prune", "Remove what nobody owns, and old images."),
    "reset": ("reset", "Delete everything."),
}


class Verbs(click.Group):
    """Loads a command when it is asked for, and gives each error its line and exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        return _loaded(cmd_name) if cmd_name in VERBS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches  # noqa: PLC0415 - only for a slip

            close = get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise click.UsageError(error.message + hint, error.ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click's signature
        kwargs["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # a file's name may hold any bytes
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(*args, **kwargs)
        except (KeyboardInterrupt, click.Abort):
            code = INTERRUPTED
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except Exception as error:
            failure = explained(error)
            if failure is None:
                raise
            failure.show()
            code = failure.exit_code
        sys.exit(code if isinstance(code, int) else 0)


@cache  # its options are added once
def _loaded(verb: str) -> click.Command:
    module, _, attribute = VERBS[verb][0].partition(":")
    command: click.Command = getattr(
        import_module(f"emulator.cli.{module}"), attribute or "command"
    )
    command.name = verb
    command.params += [*context.placing(), *(context.running() if verb == "start" else ())]
    return command


def explained(error: Exception) -> Failure | None:
    """An expected error in words; None for a bug."""
    # Imported only now: what did not need the client cannot have failed in it.
    from emulator.cli.client import LostError, NotRunningError, RefusedError  # noqa: PLC0415

    if isinstance(error, NotRunningError):
        return Failure("The emulator is not running: apprunner start -d")
    if isinstance(error, (*EXPECTED, LostError, RefusedError)):
        text = str(error)
        if not isinstance(error, ConfigurationError):  # that begins with a file's name
            text = text[:1].upper() + text[1:]
        return Failure(text, _next_step(error))
    return None


def _next_step(error: Exception) -> str:
    match type(error).__name__, getattr(error, "code", None):
        case "RefusedError", "ResourceNotFoundException":
            return "apprunner list shows what there is."
        case "RefusedError", "InvalidStateException" if "OPERATION_IN_PROGRESS" in str(error):
            return "If that is a deployment, apprunner cancel NAME ends it."
        case ("LostError", _) | ("RefusedError", ""):
            return "The emulator's log, emulator.log in the state directory, may say why."
        case "EngineUnavailableError", _:
            return "apprunner doctor says more."
        case _:
            return ""


@click.group(
    cls=Verbs,
    params=[*context.placing(), *context.running()],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="%(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """AWS App Runner on your own machine."""
    from emulator.cli.settings import wants_colour  # noqa: PLC0415 - `--help` does without

    if not wants_colour():
        ctx.color = False
