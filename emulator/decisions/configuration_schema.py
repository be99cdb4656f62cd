"""What belongs where in apprunner.yaml, and what people mean when they write something else.

Knowledge only, gathered from the documentation and from public files that did not work.
"""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from types import MappingProxyType

# App Runner's runtimes with the versions of its release tables (python3: 3.7.x and 3.8.x).
RELEASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "python3": ("3.7", "3.8"),
        "python311": ("3.11",),
        "nodejs12": ("12",),
        "nodejs14": ("14",),
        "nodejs16": ("16",),
        "nodejs18": ("18",),
        "nodejs22": ("22",),
        "corretto8": ("8",),
        "corretto11": ("11",),
        "go1": ("1",),
        "dotnet6": ("6",),
        "php81": ("8.1",),
        "ruby31": ("3.1",),
    }
)
# Documented for the revised build of Python: the short names are not in App Runner's image.
ABSENT: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"python311": {"pip": "pip3", "python": "python3"}}
)
NO_DOCKERFILES = (
    "App Runner never builds a Dockerfile from a code repository: name a managed runtime here, "
    "or delete this file and let the emulator build the Dockerfile"
)

SCHEMA: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "": ("version", "runtime", "build", "run"),
        "build": ("commands", "env"),
        "build.commands": ("pre-build", "build", "post-build"),
        "run": ("runtime-version", "pre-run", "command", "network", "env", "secrets"),
        "run.network": ("port", "env"),
    }
)
_PATHS = tuple(f"{p}.{k}" if p else k for p, keys in SCHEMA.items() for k in keys)

# What people write where, and what they mean; keys are lower case with hyphens.
_MEANT: Mapping[str, str] = MappingProxyType(
    {
        "port": "run.network.port",
        "network": "run.network",
        "networking": "run.network",
        "ingress": "run.network.port",
        "server": "run.network.port",
        "env": "run.env",
        "environment": "run.env",
        "environment-variables": "run.env",
        "runtime-env-vars": "run.env",
        "variables": "run.env",
        "vars": "run.env",
        "start": "run.command",
        "start-command": "run.command",
        "run.commands": "run.command",
        "build.command": "build.commands.build",
        "build-command": "build.commands.build",
        "build.commands": "build.commands",
        "build.build.commands": "build.commands",
        "pre": "build.commands.pre-build",
        "prebuild": "build.commands.pre-build",
        "post": "build.commands.post-build",
        "postbuild": "build.commands.post-build",
        "prerun": "run.pre-run",
        "build.run": "run, at the top level",
        "build.runtime": "runtime, at the top level",
        "run.runtime": "runtime, at the top level",
    }
)
# Operational settings, which the file does not hold.
_OF_THE_SERVICE: Mapping[str, str] = MappingProxyType(
    {
        "health": "HealthCheckConfiguration",
        "observability": "ObservabilityConfiguration",
        "instance": "InstanceConfiguration",
        "cpu": "InstanceConfiguration.Cpu",
        "memory": "InstanceConfiguration.Memory",
        "resources": "InstanceConfiguration",
        "auto-deploy": "AutoDeploymentsEnabled",
        "auto-scaling": "AutoScalingConfigurationArn",
        "autoscaling": "AutoScalingConfigurationArn",
        "scaling": "AutoScalingConfigurationArn",
        "source-directory": "SourceDirectory",
        "source-configuration": "SourceConfiguration",
    }
)
_OTHER_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "services": "a Docker Compose file",
        "applications": "a list of applications",
        "service": "a description of a service",
        "Resources": "a CloudFormation template",
        "AWSTemplateFormatVersion": "a CloudFormation template",
    }
)
_SHELL_SYNTAX = re.compile(r"&&|\|\|?|;|`|\$\w+|\$[({]|[<>]|[\"']")


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).replace("_", "-").lower()


def hint(name: str, parent: str) -> str:
    """What was probably meant by an unknown key."""
    key = _kebab(name)
    if name == "<<":
        return "merge keys are not supported: write the keys out"
    if not parent and name in _OTHER_FORMATS:
        return f"this looks like {_OTHER_FORMATS[name]}, not like apprunner.yaml"
    if "docker" in key:
        return NO_DOCKERFILES
    setting = next((s for k, s in _OF_THE_SERVICE.items() if key.startswith(k)), None)
    if setting is not None:
        return f"the file holds no operational settings: set {setting} on the service"
    expected = f"expected {', '.join(SCHEMA[parent])}"
    meant = _meant(key, parent)
    return f"did you mean {meant}?" if meant else expected


def _meant(key: str, parent: str) -> str | None:
    here = tuple(p for p in _PATHS if p.rpartition(".")[0] == parent)
    close = get_close_matches(f"{parent}.{key}".strip("."), here, n=1, cutoff=0.85)
    if close:
        return close[0]
    for spelling in (f"{parent}.{key}", key):
        if spelling in _MEANT:
            return _MEANT[spelling]
    same = next((p for p in _PATHS if p.rpartition(".")[2] == key), None)
    return same or next(iter(get_close_matches(key, _PATHS, n=1, cutoff=0.75)), None)


def nearest_runtimes(name: str, runtimes: Collection[str]) -> tuple[str, ...]:
    """What a runtime's name may have been meant to be: nodejs20 -> nodejs18, nodejs22."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain in runtimes:
        return (plain,)
    match = re.fullmatch(r"([a-z]+)(\d*)", plain)
    if match is None or not match[1]:
        return ()
    family = [r for r in sorted(runtimes) if r.startswith((match[1], f"{match[1]}js"))]
    if not family:
        return tuple(get_close_matches(plain, sorted(runtimes), n=1))
    wanted = int(match[2] or 0)
    numbers = sorted(family, key=lambda r: abs(_digits(r) - wanted) if wanted else -_digits(r))
    return tuple(sorted(numbers[:2]))


def _digits(runtime: str) -> int:
    return int(re.sub(r"\D", "", runtime)[:6] or 0)


def agree(version: str, release: str) -> bool:
    """Whether one is the other's beginning, part by part: 3.8.16 and 3.8, 3 and 3.8."""
    return all(a == b for a, b in zip(version.split("."), release.split("."), strict=False))


def shell_words(command: str) -> str:
    """What in a start command would need a shell, in words."""
    syntax = (("quotes" if s in "\"'" else f"`{s}`") for s in _SHELL_SYNTAX.findall(command))
    found = list(dict.fromkeys(syntax))
    first = command.split(maxsplit=1)[0]
    if re.match(r"[A-Za-z_]\w*=", first):
        found.insert(0, f"`{first}`")
    if first in {"cd", "export", "source", "exec"}:
        found.insert(0, f"`{first}`")
    return ", ".join(found)
