"""Answers: App Runner's shapes, and the emulator's own beside them."""

from typing import Any

from emulator.controllers.ledger import Ledger
from emulator.controllers.platform import Platform
from emulator.model.configuration import (
    CodeSource,
    HealthProtocol,
    ImageSource,
    ServiceConfiguration,
    Source,
)
from emulator.model.instance import Instance, InstanceState
from emulator.model.operation import Operation
from emulator.model.revision import Revision
from emulator.model.service import Service

View = dict[str, Any]


def service(platform: Platform, value: Service) -> View:
    """App Runner's Service object."""
    configuration = value.configuration
    check = configuration.health_check
    view: View = {
        "ServiceName": value.name,
        "ServiceId": value.id,
        "ServiceArn": value.arn,
        "ServiceUrl": url(platform, value),
        "CreatedAt": value.created_at,
        "UpdatedAt": value.updated_at,
        "Status": str(value.status),
        "SourceConfiguration": _source(configuration),
        "InstanceConfiguration": {
            "Cpu": str(configuration.size.cpu),
            "Memory": str(configuration.size.memory),
        },
        "HealthCheckConfiguration": {
            "Protocol": str(check.protocol),
            "Path": check.path if check.protocol is HealthProtocol.HTTP else "/",
            "Interval": check.interval,
            "Timeout": check.timeout,
            "HealthyThreshold": check.healthy_threshold,
            "UnhealthyThreshold": check.unhealthy_threshold,
        },
        "AutoScalingConfigurationSummary": _scaling(value),
        "NetworkConfiguration": {
            "EgressConfiguration": {"EgressType": "DEFAULT"},
            "IngressConfiguration": {"IsPubliclyAccessible": True},
            "IpAddressType": "IPV4",
        },
    }
    if value.deleted_at is not None:
        view["DeletedAt"] = value.deleted_at
    return view


def url(platform: Platform, value: Service) -> str:
    """ServiceUrl: without scheme, as App Runner gives it."""
    https_port = platform.settings.addresses.https_port
    host = platform.hosts(value)[0]
    return host if https_port == 443 else f"{host}:{https_port}"  # noqa: PLR2004 - HTTPS's own


def local_url(platform: Platform, value: Service) -> str:
    return f"http://{platform.settings.addresses.host}:{value.port}"


def _scaling(value: Service) -> View:
    arn = (
        f"arn:aws:apprunner:{value.region}:{value.account}:autoscalingconfiguration/"
        "DefaultConfiguration/1/00000000000000000000000000000001"
    )
    return {
        "AutoScalingConfigurationArn": arn,
        "AutoScalingConfigurationName": "DefaultConfiguration",
        "AutoScalingConfigurationRevision": 1,
    }


def _source(configuration: ServiceConfiguration) -> View:
    kind, view = _source_of(configuration.source)
    return {kind: view, "AutoDeploymentsEnabled": configuration.auto_deploy}


def _source_of(source: Source) -> tuple[str, View]:
    match source:
        case CodeSource():
            return "CodeRepository", _code(source)
        case ImageSource():
            return "ImageRepository", _image(source)


def _code(source: CodeSource) -> View:
    settings: View = {"ConfigurationSource": str(source.configuration_source)}
    if source.values is not None:
        values = source.values
        settings["CodeConfigurationValues"] = _present(
            {
                "Runtime": values.runtime,
                "BuildCommand": values.build_command,
                "StartCommand": values.start_command,
                "Port": str(values.port),
                "RuntimeEnvironmentVariables": dict(values.env) or None,
                "RuntimeEnvironmentSecrets": dict(values.secrets) or None,
            }
        )
    return {
        "RepositoryUrl": source.repository,
        "SourceCodeVersion": {"Type": "BRANCH", "Value": source.branch},
        "SourceDirectory": source.source_directory,
        "CodeConfiguration": settings,
    }


def _image(source: ImageSource) -> View:
    return {
        "ImageIdentifier": source.identifier,
        "ImageRepositoryType": source.repository_type,
        "ImageConfiguration": _present(
            {
                "Port": str(source.port),
                "StartCommand": source.start_command,
                "RuntimeEnvironmentVariables": dict(source.env) or None,
                "RuntimeEnvironmentSecrets": dict(source.secrets) or None,
            }
        ),
    }


def _present(members: View) -> View:
    return {key: value for key, value in members.items() if value is not None}


def described(platform: Platform, ledger: Ledger) -> View:
    """`describe --json`: App Runner's object with what only this emulator knows."""
    value = ledger.service
    serving = ledger.revisions.get(value.revision) if value.revision else None
    return service(platform, value) | {
        "Emulator": _present(
            {
                "Url": f"https://{url(platform, value)}",
                "LocalUrl": local_url(platform, value),
                "Commit": serving.commit if serving else None,
                "Revision": value.revision,
                "Instances": instances(platform, ledger),
                "Deployments": [deployment(ledger, r) for r in _newest_first(ledger)],
            }
        )
    }


def _newest_first(ledger: Ledger) -> list[Revision]:
    return list(ledger.revisions.values())[::-1]


def deployment(ledger: Ledger, revision: Revision) -> View:
    return _present(
        {
            "Id": revision.id,
            "Commit": revision.commit,
            "Message": revision.message,
            "Image": revision.image,
            "CreatedAt": revision.created_at,
            "Serving": revision.id == ledger.service.revision,
        }
    )


def instances(platform: Platform, ledger: Ledger) -> list[View]:
    """Standbys are no instances yet."""
    worker = platform.worker(ledger.service.id)
    seen = worker.instances() if worker else ()
    return [_instance(i) for i in seen if i.state is not InstanceState.PROVISIONING]


def _instance(value: Instance) -> View:
    return _present(
        {
            "Id": value.id,
            "State": str(value.state),
            "Revision": value.revision,
            "InFlight": value.in_flight,
            "StartedAt": value.observed.started_at,
            "Exit": str(value.observed.exit) if value.observed.exit else None,
            "Failure": value.failure or None,
        }
    )


def operation(value: Operation, ledger: Ledger) -> View:
    """App Runner's OperationSummary, with `Reason` where there is one."""
    return _present(
        {
            "Id": value.id,
            "Type": str(value.type),
            "Status": str(value.status),
            "TargetArn": ledger.service.arn,
            "StartedAt": value.started_at,
            "EndedAt": value.ended_at,
            "UpdatedAt": value.updated_at,
            "Reason": value.reason or None,
            "Commit": value.commit,
        }
    )


def listed(platform: Platform, ledger: Ledger) -> View:
    """One row of `list`."""
    value = ledger.service
    states: dict[str, int] = {}
    for instance in instances(platform, ledger):
        states[instance["State"]] = states.get(instance["State"], 0) + 1
    return {
        "Name": value.name,
        "Status": str(value.status),
        "Url": f"https://{url(platform, value)}",
        "LocalUrl": local_url(platform, value),
        "Instances": states,
        "Revision": value.revision,
        "ServiceArn": value.arn,
    }
