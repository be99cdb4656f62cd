"""Secrets from `[secrets]` in emulator.toml: a value, an environment variable or a file. What
is not there is asked of the emulator at `[upstream] url`, if there is one.

App Runner names a secret by a Secrets Manager ARN (with a random suffix and, if only a part is
wanted, `:<json-key>:<version-stage>:<version-id>`), an SSM parameter ARN, or a parameter's name.
Whoever writes emulator.toml may use the whole reference, the ARN, or the name alone.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from emulator.drivers.upstream_secrets import UpstreamError, UpstreamSecrets, Version, Whose
from emulator.model.errors import ConfigurationError, Place

FILE = "emulator.toml"
KINDS = ("value", "env", "file")
_SECRET = re.compile(
    r"(?P<arn>arn:[^:]+:secretsmanager:(?P<region>[^:]*):(?P<account>[^:]*):secret:"
    r"(?P<name>[^:]+))(?P<rest>.*)"
)
_PARAMETER = re.compile(
    r"arn:[^:]+:ssm:(?P<region>[^:]*):(?P<account>[^:]*):parameter(?P<name>/.+)"
)
_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}$")


class ConfiguredSecrets:
    """`ports.Secrets`; files are read at each deployment, as App Runner does."""

    def __init__(
        self,
        secrets: Mapping[str, Mapping[str, str]],
        environment: Mapping[str, str],
        upstream: str = "",
    ) -> None:
        self._secrets = secrets
        self._environment = environment
        self._upstream = UpstreamSecrets(upstream) if upstream else None

    async def value(self, reference: str, *, region: str) -> str:
        for name, json_key in _names(reference):
            if name in self._secrets:
                value = await self._provided(name)
                return _member(value, json_key, name) if json_key else value
        if self._upstream is None:
            raise _error(
                reference,
                f"no such secret; add {_toml(reference)} under [secrets], or set [upstream] url "
                "to the address of an AWS emulator that has it",
            )
        try:
            return await _asked(self._upstream, reference, region)
        except UpstreamError as error:
            raise _error(
                reference,
                f"no such secret here, and none from [upstream] url: {error}; add "
                f"{_toml(reference)} under [secrets], or create it there",
            ) from None

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


async def _asked(upstream: UpstreamSecrets, reference: str, region: str) -> str:
    """The other emulator's value. Raises UpstreamError; ConfigurationError if it lacks the key."""
    if secret := _SECRET.fullmatch(reference):
        return await _secret(upstream, secret, region)
    if parameter := _PARAMETER.fullmatch(reference):
        whose = Whose(region=parameter["region"] or region, account=parameter["account"])
        return await _parameter(upstream, _parameter_names(parameter["name"]), whose)
    return await _parameter(upstream, (reference,), Whose(region=region))


async def _secret(upstream: UpstreamSecrets, reference: re.Match[str], region: str) -> str:
    """By ARN, then by name: the other emulator may give its account another number."""
    parts: list[str] = str(reference["rest"]).split(":") + [""] * 4
    _, json_key, stage, version, *_ = parts
    whose = Whose(region=reference["region"] or region, account=reference["account"])
    name = reference["name"]
    for id_ in dict.fromkeys((reference["arn"], name, _SUFFIX.sub("", name))):
        value = await upstream.secret(id_, whose, Version(stage=stage, id=version))
        if value is not None:
            return _member(value, json_key, reference[0]) if json_key else value
    raise UpstreamError(f"{upstream} has no such secret in {whose.region}")


async def _parameter(upstream: UpstreamSecrets, names: Iterable[str], whose: Whose) -> str:
    for name in names:
        value = await upstream.parameter(name, whose)
        if value is not None:
            return value
    raise UpstreamError(f"{upstream} has no such parameter in {whose.region}")


def _parameter_names(path: str) -> tuple[str, ...]:
    """An ARN has a slash before the name; the name itself begins with one only in a hierarchy."""
    return (path,) if path.count("/") > 1 else (path.removeprefix("/"), path)


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
