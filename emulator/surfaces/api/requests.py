"""From App Runner's request members to a configuration, checked beyond what the shapes say."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from emulator.model.configuration import (
    SIZES,
    AutoScaling,
    CodeSource,
    CodeValues,
    ConfigurationSource,
    Extensions,
    HealthCheck,
    HealthProtocol,
    ImageSource,
    InstanceSize,
    ServiceConfiguration,
    Source,
)
from emulator.model.errors import InvalidRequestException

Members = Mapping[str, Any]
RESERVED_PREFIX = "AWSAPPRUNNER"
NAME_LENGTH = (4, 40)


def name(value: str) -> str:
    """A valid ServiceName, or InvalidRequestException saying what is wrong with it."""
    shortest, longest = NAME_LENGTH
    fits = shortest <= len(value) <= longest and value[:1].isalnum()
    if fits and value.isascii() and value.replace("-", "").replace("_", "").isalnum():
        return value
    raise InvalidRequestException(
        f"1 validation error detected: Value '{value}' at 'serviceName' failed to satisfy "
        "constraint: Member must satisfy regular expression pattern: "
        "[A-Za-z0-9][A-Za-z0-9-_]{3,39}"
    )


def configuration(
    members: Members, current: ServiceConfiguration | None = None
) -> ServiceConfiguration:
    """What CreateService (or, over `current`, UpdateService) asks for.

    Structures that are left out keep their value. `Emulator` is this emulator's own member, for
    its command line: `AutoScaling` and `Env`.
    """
    own = members.get("Emulator") or {}
    base = current or ServiceConfiguration(source=_required_source(members))
    source_members = members.get("SourceConfiguration")
    source = _source(source_members, base.source) if source_members else base.source
    tags = dict(members["Tags"]) if "Tags" in members else dict(base.tags)
    return replace(
        base,
        source=source,
        auto_deploy=bool((source_members or {}).get("AutoDeploymentsEnabled", base.auto_deploy)),
        size=_size(members.get("InstanceConfiguration") or {}, base.size),
        health_check=_health_check(members.get("HealthCheckConfiguration") or {}, base),
        scaling=_scaling(own.get("AutoScaling") or {}, base.scaling),
        extensions=_extensions(tags, base.extensions),
        env=_environment(own.get("Env", base.env)),
        tags=tags,
    )


def _required_source(members: Members) -> Source:
    if not members.get("SourceConfiguration"):
        raise InvalidRequestException("SourceConfiguration is required.")
    return _source(members["SourceConfiguration"], None)


def _source(members: Members, current: Source | None) -> Source:
    code, image = members.get("CodeRepository"), members.get("ImageRepository")
    if code and image:
        raise InvalidRequestException(
            "Provide exactly one of CodeRepository and ImageRepository, not both."
        )
    if code:
        return _code(code, current if isinstance(current, CodeSource) else None)
    if image:
        return _image(image)
    if current is not None:
        return current
    raise InvalidRequestException("Provide one of CodeRepository and ImageRepository.")


def _code(members: Members, current: CodeSource | None) -> CodeSource:
    settings = members.get("CodeConfiguration") or {}
    source = ConfigurationSource(settings.get("ConfigurationSource", "REPOSITORY"))
    values = settings.get("CodeConfigurationValues")
    if source is ConfigurationSource.API and not values:
        raise InvalidRequestException(
            "CodeConfigurationValues is required when ConfigurationSource is API."
        )
    kept = current is not None and not settings
    return CodeSource(
        repository=members["RepositoryUrl"],
        branch=(members.get("SourceCodeVersion") or {}).get("Value", "main"),
        source_directory=members.get("SourceDirectory", "/"),
        configuration_source=current.configuration_source if kept and current else source,
        values=current.values if kept and current else _values(values),
    )


def _values(members: Members | None) -> CodeValues | None:
    if not members:
        return None
    return CodeValues(
        runtime=members["Runtime"],
        build_command=members.get("BuildCommand"),
        start_command=members.get("StartCommand"),
        port=port(members.get("Port", "8080")),
        env=_environment(members.get("RuntimeEnvironmentVariables") or {}),
        secrets=_environment(members.get("RuntimeEnvironmentSecrets") or {}),
    )


def _image(members: Members) -> ImageSource:
    settings = members.get("ImageConfiguration") or {}
    return ImageSource(
        identifier=members["ImageIdentifier"],
        repository_type=members.get("ImageRepositoryType", "ECR"),
        port=port(settings.get("Port", "8080")),
        start_command=settings.get("StartCommand"),
        env=_environment(settings.get("RuntimeEnvironmentVariables") or {}),
        secrets=_environment(settings.get("RuntimeEnvironmentSecrets") or {}),
    )


def port(value: str | int) -> int:
    """A TCP port, given as App Runner's text."""
    text = str(value)
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 65535:  # noqa: PLR2004 - TCP's
        return int(text)
    raise InvalidRequestException(f"Port must be a number from 1 to 65535, not {text!r}.")


def _environment(values: Mapping[str, Any]) -> dict[str, str]:
    for key in values:
        if key == "PORT" or key.startswith(RESERVED_PREFIX):
            raise InvalidRequestException(
                f"Environment variable {key!r} is reserved: App Runner sets PORT itself, and "
                f"names with the prefix {RESERVED_PREFIX} are its own."
            )
    return {key: str(value) for key, value in values.items()}


def _size(members: Members, current: InstanceSize) -> InstanceSize:
    cpu = _units(members["Cpu"], "vCPU") if "Cpu" in members else current.cpu
    memory = _units(members["Memory"], "GB") if "Memory" in members else current.memory
    if "Cpu" in members and "Memory" not in members and memory not in SIZES.get(cpu, ()):
        memory = (SIZES.get(cpu) or (memory,))[0]
    if memory in SIZES.get(cpu, ()):
        return InstanceSize(cpu=cpu, memory=memory)
    pairs = "; ".join(f"{c}: {', '.join(map(str, m))}" for c, m in SIZES.items())
    raise InvalidRequestException(
        f"Cpu {cpu} and Memory {memory} are not a supported pair. Supported are (CPU units: MB) "
        f"{pairs}."
    )


def _units(value: str | int, unit: str) -> int:
    """`1 vCPU`, `0.25`, `1024` and `1024`-like units alike; below 64 a number means whole ones."""
    text = str(value).removesuffix(unit).strip()
    try:
        number = float(text)
    except ValueError:
        raise InvalidRequestException(f"{value!r} is not a number of {unit}.") from None
    return int(number * 1024) if number < 64 else int(number)  # noqa: PLR2004 - see above


def _health_check(members: Members, base: ServiceConfiguration) -> HealthCheck:
    names = {
        "Interval": "interval",
        "Timeout": "timeout",
        "HealthyThreshold": "healthy_threshold",
        "UnhealthyThreshold": "unhealthy_threshold",
    }
    values: dict[str, Any] = {
        ours: members[theirs] for theirs, ours in names.items() if theirs in members
    }
    for key, value in values.items():
        if not 1 <= int(value) <= 20:  # noqa: PLR2004 - App Runner's bounds
            raise InvalidRequestException(f"The health check's {key} must be from 1 to 20.")
    if "Protocol" in members:
        values["protocol"] = HealthProtocol(members["Protocol"])
    if "Path" in members:
        values["path"] = members["Path"]
    return replace(base.health_check, **values)


def _scaling(members: Members, current: AutoScaling) -> AutoScaling:
    scaling = AutoScaling(
        max_concurrency=members.get("MaxConcurrency", current.max_concurrency),
        min_size=members.get("MinSize", current.min_size),
        max_size=members.get("MaxSize", current.max_size),
    )
    if not 1 <= scaling.max_concurrency <= 200:  # noqa: PLR2004 - App Runner's bounds
        raise InvalidRequestException("MaxConcurrency must be from 1 to 200.")
    if not 1 <= scaling.min_size <= scaling.max_size:
        raise InvalidRequestException("MinSize must be from 1 to MaxSize.")
    return scaling


def _extensions(tags: Mapping[str, str], current: Extensions) -> Extensions:
    names = {
        "emulator:scale-to-zero-after": "scale_to_zero_after",
        "emulator:freeze-after": "freeze_after",
        "emulator:request-timeout": "request_timeout",
    }
    given = {ours: _seconds(tags[tag], tag) for tag, ours in names.items() if tag in tags}
    if given.get("request_timeout", 0) is None:
        raise InvalidRequestException("The tag emulator:request-timeout needs a number.")
    return replace(current, **given)  # type: ignore[arg-type]


def _seconds(text: str, tag: str) -> float | None:
    if text == "off":
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InvalidRequestException(f"The tag {tag} takes seconds or 'off', not {text!r}.")
    return seconds
