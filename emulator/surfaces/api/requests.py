"""From App Runner's request members to a configuration, checked beyond what the shapes say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from emulator.decisions.image_names import may_deploy_automatically
from emulator.model.configuration import (
    MOST_CONCURRENCY,
    SIZES,
    AutoScaling,
    CodeSource,
    CodeValues,
    ConfigurationSource,
    EgressType,
    Extensions,
    HealthCheck,
    HealthProtocol,
    ImageSource,
    InstanceSize,
    IpAddressType,
    Network,
    Observability,
    ServiceConfiguration,
    Source,
)
from emulator.model.errors import InvalidRequestException

Members = Mapping[str, Any]
RESERVED_PREFIX = "AWSAPPRUNNER"
EXTENSION_PREFIX = "emulator:"
NAME_LENGTH = (4, 40)
MOST_TAGS = 50
ECR, ECR_PUBLIC = "ECR", "ECR_PUBLIC"
_SWITCHES: Mapping[str, str] = MappingProxyType(
    {
        "emulator:queue-commits": "queue_commits",
        "emulator:websockets": "websockets",
    }
)
_PORT = re.compile(r"\d{1,5}", re.ASCII)
_PRIVATE_ECR = re.compile(r"\d{12}\.dkr\.ecr\.", re.ASCII)
_TAGS: Mapping[str, str] = MappingProxyType(
    {
        "emulator:scale-to-zero-after": "scale_to_zero_after",
        "emulator:freeze-after": "freeze_after",
        "emulator:request-timeout": "request_timeout",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """`aws`: as AWS's API has it, without what makes the command line comfortable; `strict`: App
    Runner only, no extensions.
    """

    aws: bool
    strict: bool = False


ITS_OWN = Rules(aws=False)


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
    members: Members, current: ServiceConfiguration | None = None, *, rules: Rules = ITS_OWN
) -> ServiceConfiguration:
    """What CreateService (or, over `current`, UpdateService) asks for.

    Structures that are left out keep their value. `Emulator` is this emulator's own member, for
    its command line: `Env`. References to other resources are taken as they are
    (`Account.resolved` follows them).
    """
    own = members.get("Emulator") or {}
    base = current or ServiceConfiguration(source=_required_source(members))
    return replace(
        base,
        **_sourced(members.get("SourceConfiguration") or {}, current, rules),
        size=_size(members.get("InstanceConfiguration") or {}, base.size, rules),
        instance_role=(members.get("InstanceConfiguration") or {}).get(
            "InstanceRoleArn", base.instance_role
        ),
        health_check=_health_check(members.get("HealthCheckConfiguration") or {}, base),
        auto_scaling=members.get("AutoScalingConfigurationArn", base.auto_scaling),
        network=_network(members.get("NetworkConfiguration"), base.network),
        observability=_observability(members.get("ObservabilityConfiguration"), base),
        kms_key=(members.get("EncryptionConfiguration") or {}).get("KmsKey", base.kms_key),
        env=_environment(own.get("Env", base.env)),
        **_tagged(members, rules),
    )


def scaling(members: Members, current: AutoScaling) -> AutoScaling:
    """The values of an auto scaling configuration, checked against each other."""
    wanted = AutoScaling(
        max_concurrency=members.get("MaxConcurrency", current.max_concurrency),
        min_size=members.get("MinSize", current.min_size),
        max_size=members.get("MaxSize", current.max_size),
    )
    if not 1 <= wanted.max_concurrency <= MOST_CONCURRENCY:
        raise InvalidRequestException(
            f"MaxConcurrency must be from 1 to {MOST_CONCURRENCY}, not {wanted.max_concurrency}."
        )
    if not 1 <= wanted.min_size <= wanted.max_size:
        raise InvalidRequestException(
            f"MinSize must be from 1 to MaxSize, which is {wanted.max_size}; it is {wanted.min_size}."
        )
    return wanted


# -- tags ------------------------------------------------------------------------------------------


def tags(members: Any) -> dict[str, str]:  # noqa: ANN401 - a list of the API, a table of our own
    """App Runner's list of Key and Value as a table. A Value that is left out is empty."""
    if isinstance(members, Mapping):
        return dict(members)
    found: dict[str, str] = {}
    for tag in members or ():
        key = tag.get("Key")
        if not key:
            raise InvalidRequestException("Each tag needs a Key.")
        if key in found:
            raise InvalidRequestException(f"Duplicate tag key: {key}")
        found[key] = tag.get("Value", "")
    return within_limit(found)


def within_limit(found: dict[str, str]) -> dict[str, str]:
    if len(found) > MOST_TAGS:
        raise InvalidRequestException(f"A resource can have {MOST_TAGS} tags at most.")
    return found


def extensions(tagged: Mapping[str, str], *, strict: bool = False) -> Extensions:
    """What the tags of a service switch on beyond App Runner; nothing where that is all it is
    to be.
    """
    if strict:
        return Extensions(scale_to_zero_after=None, queue_commits=False, websockets=False)
    known = (*_TAGS, *_SWITCHES)
    for tag in tagged:
        if tag.startswith(EXTENSION_PREFIX) and tag not in known:  # misspelt, it would do nothing
            raise InvalidRequestException(
                f"The emulator knows no tag {tag}; it knows {', '.join(sorted(known))}."
            )
    given = {ours: _seconds(tagged[tag], tag) for tag, ours in _TAGS.items() if tag in tagged}
    if given.get("request_timeout", 0) is None:
        raise InvalidRequestException("The tag emulator:request-timeout needs a number.")
    switched = {ours: _switch(tagged[tag], tag) for tag, ours in _SWITCHES.items() if tag in tagged}
    return Extensions(**given, **switched)  # type: ignore[arg-type]


def _switch(value: str, tag: str) -> bool:
    if value not in {"on", "off"}:
        raise InvalidRequestException(f"The tag {tag} takes on or off, not {value!r}.")
    return value == "on"


def _tagged(members: Members, rules: Rules) -> dict[str, Any]:
    if "Tags" not in members:
        if rules.strict:
            return {"extensions": extensions({}, strict=True)}
        return {}
    found = tags(members["Tags"])
    return {"tags": found, "extensions": extensions(found, strict=rules.strict)}


# -- sources ---------------------------------------------------------------------------------------


def _required_source(members: Members) -> Source:
    if members.get("SourceConfiguration") is None:
        raise InvalidRequestException("SourceConfiguration is required.")
    return _source(members["SourceConfiguration"], None)


def _sourced(
    members: Members, current: ServiceConfiguration | None, rules: Rules
) -> dict[str, Any]:
    """The parts of SourceConfiguration. What is given replaces a whole source: an environment
    that is left out is gone, as the Terraform provider relies on.
    """
    if not members:
        return {}
    source = _source(members, current.source if current else None)
    if rules.aws and current is None:
        _check_complete(members)
    authentication = members.get("AuthenticationConfiguration") or {}
    connection = authentication.get("ConnectionArn", current.connection if current else None)
    role = authentication.get("AccessRoleArn", current.access_role if current else None)
    if isinstance(source, ImageSource):
        connection = None
        role = None if source.repository_type == ECR_PUBLIC else role
        _check_role(source, role, rules)
    automatic = members.get("AutoDeploymentsEnabled")
    _check_automatic(source, automatic=automatic)
    if automatic is None:
        automatic = default_automatic(source) and (current is None or current.auto_deploy)
    return {
        "source": source,
        "auto_deploy": automatic,
        "connection": connection,
        "access_role": role,
    }


def _check_complete(members: Members) -> None:
    """What only CreateService must have (service model)."""
    code = members.get("CodeRepository")
    if code and "CodeConfiguration" not in code:
        raise InvalidRequestException("CodeConfiguration is required to create a service.")


def _check_role(source: ImageSource, role: str | None, rules: Rules) -> None:
    """Only for names that are Amazon ECR's: a local image needs no role."""
    private = _PRIVATE_ECR.match(source.identifier) is not None
    if private and source.repository_type == ECR_PUBLIC:
        raise InvalidRequestException(
            f"ImageRepositoryType is {ECR_PUBLIC}, but {source.identifier} is a private image."
        )
    if rules.aws and private and source.repository_type == ECR and role is None:
        raise InvalidRequestException(
            "AuthenticationConfiguration.AccessRoleArn is required for a private image in Amazon "
            "ECR."
        )


def _check_automatic(source: Source, *, automatic: bool | None) -> None:
    if automatic and isinstance(source, ImageSource) and not may_deploy_automatically(source):
        raise InvalidRequestException(
            "App Runner doesn't support automatic deployments for an image in an ECR Public "
            "repository."
        )


def default_automatic(source: Source) -> bool:
    """AutoDeploymentsEnabled where nobody says (service model; cross-account images count as
    ours: there is one account here).
    """
    return not isinstance(source, ImageSource) or may_deploy_automatically(source)


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
        **_environments(members),
    )


def _image(members: Members) -> ImageSource:
    settings = members.get("ImageConfiguration") or {}
    return ImageSource(
        identifier=members["ImageIdentifier"],
        repository_type=members.get("ImageRepositoryType", "ECR"),
        port=port(settings.get("Port", "8080")),
        start_command=settings.get("StartCommand"),
        configured=members.get("ImageConfiguration") is not None,
        **_environments(settings),
    )


def port(value: str | int) -> int:
    """A TCP port, given as App Runner's text."""
    text = str(value)
    if _PORT.fullmatch(text) and 1 <= int(text) <= 65535:  # noqa: PLR2004 - TCP's
        return int(text)
    raise InvalidRequestException(f"Port must be a number from 1 to 65535, not {text[:20]!r}.")


def _environments(members: Members) -> dict[str, dict[str, str]]:
    """Variables and secrets; a name cannot be both."""
    variables = _environment(members.get("RuntimeEnvironmentVariables") or {})
    references = _environment(members.get("RuntimeEnvironmentSecrets") or {})
    if both := sorted(variables.keys() & references.keys()):
        raise InvalidRequestException(
            f"{both[0]!r} is in RuntimeEnvironmentVariables and in RuntimeEnvironmentSecrets."
        )
    return {"env": variables, "secrets": references}


def _environment(values: Mapping[str, Any]) -> dict[str, str]:
    for key in values:
        if "=" in key:
            raise InvalidRequestException(f"Environment variable {key!r} has an = in its name.")
        if key == "PORT" or key.startswith(RESERVED_PREFIX):
            raise InvalidRequestException(
                f"Environment variable {key!r} is reserved: App Runner sets PORT itself, and "
                f"names with the prefix {RESERVED_PREFIX} are its own."
            )
    return {key: str(value) for key, value in values.items()}


def _size(members: Members, current: InstanceSize, rules: Rules) -> InstanceSize:
    cpu = _units(members["Cpu"], "vCPU") if "Cpu" in members else current.cpu
    memory = _units(members["Memory"], "GB") if "Memory" in members else current.memory
    alone = "Cpu" in members and "Memory" not in members and not rules.aws
    if alone and memory not in SIZES.get(cpu, ()):
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


def _network(members: Members | None, current: Network) -> Network:
    """An IngressConfiguration without its member means private: the Go SDK leaves `false` out."""
    if not members:
        return current
    ingress, egress = members.get("IngressConfiguration"), members.get("EgressConfiguration")
    changed = replace(
        current,
        ip_address_type=IpAddressType(members.get("IpAddressType", current.ip_address_type)),
    )
    if ingress is not None:
        changed = replace(changed, public=bool(ingress.get("IsPubliclyAccessible", False)))
    if egress is not None:
        changed = _egress(egress, changed)
    return changed


def _egress(members: Members, current: Network) -> Network:
    kind = EgressType(members.get("EgressType", EgressType.DEFAULT))
    connector = members.get("VpcConnectorArn")
    if kind is EgressType.VPC and not connector:
        raise InvalidRequestException("VpcConnectorArn is required when EgressType is VPC.")
    if kind is EgressType.DEFAULT and connector:
        raise InvalidRequestException("VpcConnectorArn needs EgressType VPC.")
    return replace(current, egress=kind, vpc_connector=connector)


def _observability(members: Members | None, base: ServiceConfiguration) -> Observability | None:
    if members is None:
        return base.observability
    enabled, arn = members["ObservabilityEnabled"], members.get("ObservabilityConfigurationArn")
    if arn and not enabled:
        raise InvalidRequestException(
            "ObservabilityConfigurationArn can be given only when ObservabilityEnabled is true."
        )
    return Observability(enabled=enabled, configuration=arn)


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
