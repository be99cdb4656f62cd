"""Secrets from `[secrets]` in emulator.toml: a value, an environment variable or a file.

App Runner names a secret by a Secrets Manager ARN (with a random suffix and, if only a part is
wanted, `:<json-key>:<version-stage>:<version-id>`), an SSM parameter ARN, or a parameter's name.
Whoever writes emulator.toml may use the whole reference, the ARN, or the name alone.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from emulator.model.errors import ConfigurationError, Place

FILE = "emulator.toml"
KINDS = ("value", "env", "file")
_SECRET = re.compile(
    r"(?P<arn>arn:[^:]+:secretsmanager:[^:]*:[^:]*:secret:(?P<name>[^:]+))(?P<rest>.*)"
)
_PARAMETER = re.compile(r"arn:[^:]+:ssm:[^:]*:[^:]*:parameter(?P<name>/.+)")
_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}$")


class ConfiguredSecrets:
    """`ports.Secrets`; files are read at each deployment, as App Runner does."""

    def __init__(
        self, secrets: Mapping[str, Mapping[str, str]], environment: Mapping[str, str]
    ) -> None:
        self._secrets = secrets
        self._environment = environment

    async def value(self, reference: str) -> str:
        for name, json_key in _names(reference):
            if name in self._secrets:
                value = await self._provided(name)
                return _member(value, json_key, name) if json_key else value
        raise _error(reference, f"no such secret; add {_toml(reference)} under [secrets]")

    async def _provided(self, name: str) -> str:
        match dict(self._secrets[name]):
            case {"value": str(value), **rest} if not rest:
                return value
            case {"env": str(variable), **rest} if not rest:
                return self._variable(name, variable)
            case {"file": str(path), **rest} if not rest:
                return await asyncio.to_thread(_content, name, path)
            case _:
                raise _error(name, f"expected one of {', '.join(KINDS)}, for example {_toml(name)}")

    def _variable(self, name: str, variable: str) -> str:
        if variable not in self._environment:
            raise _error(name, f"the environment variable {variable} is not set: export it")
        return self._environment[variable]


def _names(reference: str) -> Iterator[tuple[str, str]]:
    """What it may be called in the file, the most exact first, with the JSON key wanted of it."""
    yield reference, ""
    if secret := _SECRET.fullmatch(reference):
        json_key = secret["rest"].split(":")[1] if secret["rest"] else ""
        for name in (secret["arn"], secret["name"]):
            yield name, json_key
            yield _SUFFIX.sub("", name), json_key
    if parameter := _PARAMETER.fullmatch(reference):
        yield parameter["name"], ""
        yield parameter["name"].removeprefix("/"), ""


def _member(value: str, key: str, name: str) -> str:
    """One member of a secret that is a JSON object. The value itself is never in the message."""
    try:
        found = json.loads(value)[key]
    except (ValueError, KeyError, TypeError):
        raise _error(name, f"the value is not a JSON object with the key {key!r}") from None
    return found if isinstance(found, str) else json.dumps(found)


def _content(name: str, path: str) -> str:
    """The file's text without the newline that editors put at its end."""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        raise _error(name, f"{path} is not UTF-8 text") from None
    except (OSError, RuntimeError) as error:
        raise _error(name, f"cannot read {path}: {error}") from error


def _toml(name: str) -> str:
    return f'{json.dumps(name)} = {{ env = "NAME" }}'


def _error(name: str, message: str) -> ConfigurationError:
    return ConfigurationError(Place(file=FILE, key=f"secrets.{json.dumps(name)}"), message)
