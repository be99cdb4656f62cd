"""What every command may ask of its invocation: settings, the running emulator.

Options about the emulator itself may stand before or after the verb.
"""

from collections.abc import Callable
from typing import Any

import click

from emulator.model.settings import PaceMode, Settings

PORT = click.IntRange(0, 65535)


def flags() -> dict[str, Any]:
    """The options given about the emulator itself."""
    found: dict[str, Any] = click.get_current_context().find_root().ensure_object(dict)
    return found


def settings() -> Settings:
    from emulator.cli.settings import load  # noqa: PLC0415 - small verbs do without

    return load(flags())


def state_dir() -> str:
    from emulator.cli.settings import state_dir as read  # noqa: PLC0415 - see below

    return read(flags())


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value is not None:
        context.find_root().ensure_object(dict)[parameter.name] = value


def _option(*names: str, **attributes: Any) -> click.Option:  # noqa: ANN401 - click's
    return click.Option(names, expose_value=False, callback=_remember, **attributes)


def placing() -> list[click.Parameter]:
    """Which emulator; fresh ones, as click binds them to a command."""
    return [
        _option("--state-dir", metavar="DIR", help="Where the emulator keeps its state."),
        _option("--config", metavar="FILE", help="Another emulator.toml."),
    ]


def running() -> list[click.Parameter]:
    """How an emulator is to run."""
    return [
        _option("--region", metavar="REGION", help="Default: us-east-1."),
        _option("--account", metavar="ID", help="Default: 000000000000."),
        _option("--host", metavar="ADDRESS", help="Where to listen; default: 127.0.0.1."),
        _option("--api-port", type=PORT, help="AWS API and console; default: 8400."),
        _option("--https-port", type=PORT, help="HTTPS; default: 8443."),
        _option("--http-port", type=PORT, help="HTTP, redirects; default: 8480."),
        _option("--registry-port", type=PORT, help="A registry for `docker push`; default: none."),
        _option("--strict/--no-strict", default=None, help="App Runner only, no extensions."),
        _option(
            "--pace",
            type=click.Choice([str(mode) for mode in PaceMode]),
            help="Whether operations take as long as App Runner's; default: fast.",
        ),
        _option("--upstream", metavar="URL", help="An AWS emulator for what is not App Runner."),
        prices_option(),
    ]


def prices_option() -> click.Option:
    """Remembered beside the others: `settings` has the prices that it names."""
    return _option("--prices", metavar="FILE", help="Prices over the built-in ones (TOML).")


def arguments(given: dict[str, Any]) -> list[str]:
    """The same options as a command line."""
    parts: list[str] = []
    for name, value in given.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            parts.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            parts += [f"--{flag}", str(value)]
    return parts


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    return option(command)
