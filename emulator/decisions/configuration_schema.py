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
_SHELL_SYNTAX = re.compile(r"&&|\|\|?|;|&(?!\S)|`|\$\w+|\$\{\w+\}?|\$\(|[<>]|[\"']")
_SHELLS = frozenset({"sh", "bash", "dash", "/bin/sh", "/bin/bash", "/usr/bin/sh", "/usr/bin/bash"})
# Files by a pattern; an option's value or an address is none.
_GLOB = re.compile(r"(?![-\"'])(?!\S*://)(?:\S*/\S*[*?\[]\S*|[\w.-]*[*?][\w.-]*\.\w+|~(?:/\S*)?)")
_MOST_WORDS = 6  # of a hint
_LONGEST_WORD = 40
_NEAREST = 2
_ONLY_A_VERSION = re.compile(r"\d+(?:\.\d+)*")
_LONGEST_NAME = 100  # a longer one is not misspelt, it is something else


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).replace("_", "-").lower()


def hint(name: str, parent: str) -> str:
    """What was probably meant by an unknown key."""
    key = _kebab(name[:_LONGEST_NAME])
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
    full = f"{parent}.{key}".strip(".")
    if full in _MEANT:
        return _MEANT[full]
    close = get_close_matches(full, here, n=1, cutoff=0.85)
    if close:
        return close[0]
    if key in _MEANT:
        return _MEANT[key]
    same = next((p for p in _PATHS if p.rpartition(".")[2] == key), None)
    return same or next(iter(get_close_matches(key, _PATHS, n=1, cutoff=0.75)), None)


def nearest_runtimes(name: str, runtimes: Collection[str]) -> tuple[str, ...]:
    """What a runtime's name may have been meant to be: nodejs20 -> nodejs18, nodejs22."""
    if _ONLY_A_VERSION.fullmatch(name):
        has = (r for r in sorted(runtimes) if any(agree(name, v) for v in RELEASES.get(r, ())))
        return tuple(has)[:_NEAREST]
    plain = re.sub(r"[^a-z0-9]", "", name[:_LONGEST_NAME].lower())
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
    return tuple(sorted(numbers[:_NEAREST]))


def _digits(runtime: str) -> int:
    return int(re.sub(r"\D", "", runtime)[:6] or 0)


def agree(version: str, release: str) -> bool:
    """Whether one is the other's beginning, part by part: 3.8.16 and 3.8, 3 and 3.8."""
    return all(a == b for a, b in zip(version.split("."), release.split("."), strict=False))


def shell_hint(command: str) -> str:
    """What to tell of a start command that plainly wants a shell, and does not get one; else ""."""
    what = shell_words(command)
    if not what:
        return ""
    parts = what.split(", ")
    instead = ""
    if all(part.endswith("=`") for part in parts):
        instead = "set it in run.env, or "
    elif all(part.startswith("`$") and "(" not in part for part in parts):
        instead = "write the value itself, or "
    return (
        f"App Runner runs the start command without a shell, split on blanks, so {what} will not "
        f"work; {instead}put the commands into a script and run `sh start.sh`"
    )


def shell_words(command: str) -> str:
    """What in a start command would need a shell, in words."""
    words = command.split()
    if words[:2] and words[0] in _SHELLS and words[1] == "-c":
        return _broken_script(words[2:])
    found = _needs_a_shell(words, command)
    told = [_in_words(each[:_LONGEST_WORD]) for each in found[:_MOST_WORDS]]
    return ", ".join([*told, "more"] if len(found) > _MOST_WORDS else told)


def _in_words(syntax: str) -> str:
    return {"'": "quotes", '"': "quotes", "`": "backticks"}.get(syntax, f"`{syntax}`")


def _broken_script(words: list[str]) -> str:
    """Of `sh -c SCRIPT`: one word arrives whole, and quotes hold nothing together."""
    if len(words) <= 1:
        return ""
    quoted = any(quote in word for word in words for quote in "\"'")
    return "quotes around several words" if quoted else "more than one word after `-c`"


def _needs_a_shell(words: list[str], command: str) -> list[str]:
    first = words[0] if words else ""
    found = [first] if first in {"cd", "export", "source", "exec", "."} else []
    if variable := re.match(r"[A-Za-z_]\w*=", first):
        found.append(variable[0])  # not its value, which may be a secret
    found += (each.replace("'", '"') for each in _SHELL_SYNTAX.findall(command))
    found += (word for word in words if _GLOB.fullmatch(word))
    return list(dict.fromkeys(found))
