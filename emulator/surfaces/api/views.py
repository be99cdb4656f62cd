"""Answers: App Runner's shapes, and the emulator's own beside them."""

import hashlib
from typing import Any

from emulator.controllers.ledger import Ledger
from emulator.controllers.platform import Platform
from emulator.decisions.provisioning import ConnectionStatus, DomainStatus
from emulator.model.arn import Arn, Kind, parse
from emulator.model.configuration import (
    CodeSource,
    ImageSource,
    Network,
    Observability,
    ServiceConfiguration,
    Source,
)
from emulator.model.identifiers import Epoch
from emulator.model.instance import Check, Instance, InstanceState
from emulator.model.operation import Operation
from emulator.model.resources import (
    DEFAULT_ID,
    DEFAULT_NAME,
    Connection,
    CustomDomain,
    VpcIngressConnection,
)
from emulator.model.revision import Revision
from emulator.model.service import Service
from emulator.model.usage import UsageInterval

View = dict[str, Any]


def service(platform: Platform, value: Service) -> View:
    """App Runner's Service object."""
    configuration = value.configuration
    check = configuration.health_check
    view: View = summary(platform, value) | {
        "SourceConfiguration": _source(configuration),
        "InstanceConfiguration": _present(
            {
                "Cpu": str(configuration.size.cpu),
                "Memory": str(configuration.size.memory),
                "InstanceRoleArn": configuration.instance_role,
            }
        ),
        "HealthCheckConfiguration": {
            "Protocol": str(check.protocol),
            "Path": check.path,
            "Interval": check.interval,
            "Timeout": check.timeout,
            "HealthyThreshold": check.healthy_threshold,
            "UnhealthyThreshold": check.unhealthy_threshold,
        },
        "AutoScalingConfigurationSummary": _scaling(value),
        "NetworkConfiguration": _network(configuration.network),
        "ObservabilityConfiguration": _observability(configuration.observability),
        "EncryptionConfiguration": {"KmsKey": configuration.kms_key}
        if configuration.kms_key
        else None,
        "DeletedAt": value.deleted_at,
    }
    return _present(view)


def summary(platform: Platform, value: Service) -> View:
    """App Runner's ServiceSummary."""
    return {
        "ServiceName": value.name,
        "ServiceId": value.id,
        "ServiceArn": value.arn,
        "ServiceUrl": url(platform, value),
        "CreatedAt": value.created_at,
        "UpdatedAt": value.updated_at,
        "Status": str(value.status),
    }


def connection(value: Connection, status: ConnectionStatus) -> View:
    """App Runner's Connection and ConnectionSummary alike."""
    return {
        "ConnectionName": value.name,
        "ConnectionArn": value.arn,
        "ProviderType": str(value.provider),
        "Status": str(status),
        "CreatedAt": value.created_at,
    }


def ingress_domain(value: VpcIngressConnection) -> str:
    """The name of a private service inside a VPC."""
    return f"{value.label}.{value.region}.awsapprunner.localhost"


def validation_records(value: CustomDomain, status: DomainStatus) -> list[View]:
    """What would have to be in the DNS: nothing yet while the association is being created; two
    records, three with www, in upper case and with trailing dots (recorded).
    """
    if status is DomainStatus.CREATING:
        return []
    waiting = status is DomainStatus.PENDING_CERTIFICATE_DNS_VALIDATION
    names = (value.domain.removeprefix("*."), *value.hosts[1:], f"2a57j77.{value.hosts[0]}")
    return [
        {
            "Name": f"_{_token(value, name)}.{name.replace('*.', '')}.",
            "Type": "CNAME",
            "Value": f"_{_token(value, name + '.')}.{value.token[:10]}.acm-validations.aws.",
            "Status": "PENDING_VALIDATION" if waiting else "SUCCESS",
        }
        for name in names
    ]


def _token(value: CustomDomain, name: str) -> str:
    return hashlib.sha256(f"{value.token} {name}".encode()).hexdigest()[:32]


def url(platform: Platform, value: Service) -> str:
    """ServiceUrl: without scheme, as App Runner gives it; empty for one that is not public."""
    if not value.configuration.network.public:
        return ""
    return target(platform, value)


def target(platform: Platform, value: Service) -> str:
    """The default domain: what a custom domain's records would point at."""
    https_port = platform.settings.addresses.https_port
    host = platform.host(value)
    return host if https_port == 443 else f"{host}:{https_port}"  # noqa: PLR2004 - HTTPS's own


def browser_url(platform: Platform, value: Service) -> str:
    """What to open: a service that is not public still has its own loopback port."""
    public = url(platform, value)
    return f"https://{public}" if public else local_url(platform, value)


def _network(network: Network) -> View:
    egress: View = {"EgressType": str(network.egress), "VpcConnectorArn": network.vpc_connector}
    return {
        "EgressConfiguration": _present(egress),
        "IngressConfiguration": {"IsPubliclyAccessible": network.public},
        "IpAddressType": str(network.ip_address_type),
    }


def _observability(value: Observability | None) -> View | None:
    """Only where it was asked for: clients take what is shown for what is wanted."""
    if value is None:
        return None
    return _present(
        {
            "ObservabilityEnabled": value.enabled,
            "ObservabilityConfigurationArn": value.configuration,
        }
    )


def local_url(platform: Platform, value: Service) -> str:
    return f"http://{platform.settings.addresses.host}:{value.port}"


def _scaling(value: Service) -> View:
    """A service of before there were such resources names none: the built-in one."""
    named = parse(value.configuration.auto_scaling) or Arn(
        region=value.region,
        account=value.account,
        kind=Kind.AUTO_SCALING,
        name=DEFAULT_NAME,
        revision=1,
        id=DEFAULT_ID,
    )
    return {
        "AutoScalingConfigurationArn": str(named),
        "AutoScalingConfigurationName": named.name,
        "AutoScalingConfigurationRevision": named.revision,
    }


def _source(configuration: ServiceConfiguration) -> View:
    kind, view = _source_of(configuration.source)
    authentication = _present(
        {
            "ConnectionArn": configuration.connection,
            "AccessRoleArn": configuration.access_role,
        }
    )
    return _present(
        {
            kind: view,
            "AutoDeploymentsEnabled": configuration.auto_deploy,
            "AuthenticationConfiguration": authentication or None,
        }
    )


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
    """Without an ImageConfiguration where none was given: Terraform would want it removed."""
    settings = _present(
        {
            "Port": str(source.port),
            "StartCommand": source.start_command,
            "RuntimeEnvironmentVariables": dict(source.env) or None,
            "RuntimeEnvironmentSecrets": dict(source.secrets) or None,
        }
    )
    return _present(
        {
            "ImageIdentifier": source.identifier,
            "ImageRepositoryType": source.repository_type,
            "ImageConfiguration": settings if source.configured else None,
        }
    )


def _present(members: View) -> View:
    return {key: value for key, value in members.items() if value is not None}


def described(platform: Platform, ledger: Ledger) -> View:
    """`describe --json`: App Runner's object with what only this emulator knows."""
    value = ledger.service
    serving = ledger.revision(ledger.serving)
    return service(platform, value) | {
        "Emulator": _present(
            {
                "Url": browser_url(platform, value),
                "LocalUrl": local_url(platform, value),
                "Commit": serving.commit if serving else None,
                "Revision": ledger.serving,
                "Dev": development(ledger),
                "Instances": instances(platform, ledger),
                "LastStart": last_start(platform, ledger),
                "Deployments": [deployment(ledger, r) for r in _newest_first(ledger)],
            }
        )
    }


def development(ledger: Ledger) -> View | None:
    """Only where a working tree is served: that is not what a deployment would be."""
    dev, source = ledger.dev, ledger.service.configuration.source
    if dev is None:
        return None
    tree = dev.serving.source if dev.serving else None
    return _present(
        {
            "Repository": source.repository if isinstance(source, CodeSource) else None,
            "Since": dev.since,
            "Serving": dev.serving is not None,
            "Tree": tree.tree if tree else None,
            "Failure": dev.failure or None,
            "Ending": dev.ending or None,
        }
    )


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
            "Serving": revision.id == ledger.serving,
        }
    )


def instances(platform: Platform, ledger: Ledger) -> list[View]:
    """Standbys are no instances yet."""
    worker = platform.worker(ledger.service.id)
    seen = worker.instances() if worker else ()
    return [_instance(i) for i in seen if i.state is not InstanceState.PROVISIONING]


_EXPLAINED = {
    InstanceState.STARTING,
    InstanceState.FROZEN,
    InstanceState.DRAINING,
    InstanceState.STOPPED,
}


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
            "Because": value.because if value.state in _EXPLAINED else None,
            "Checks": [_check(each) for each in value.checks],
        }
    )


def _check(value: Check) -> View:
    return _present({"At": value.at, "Healthy": value.healthy, "Detail": value.detail or None})


def last_start(platform: Platform, ledger: Ledger) -> View | None:
    """How the newest instance came that was needed outside of a deployment, in milliseconds."""
    worker = platform.worker(ledger.service.id)
    start = worker.last_start if worker else None
    if start is None:
        return None
    phases = {name: round(1000 * seconds, 1) for name, seconds in start.phases}
    return {"At": start.at, "Instance": start.instance, "Phases": phases}


def operation(value: Operation, ledger: Ledger) -> View:
    """App Runner's OperationSummary, with `Reason` and `Cancelled` where there is one."""
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
            "Cancelled": value.cancelled or None,
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
        "Url": browser_url(platform, value),
        "LocalUrl": local_url(platform, value),
        "Instances": states,
        "Revision": ledger.serving,
        "ServiceArn": value.arn,
        "Dev": ledger.dev is not None,
    }


def usage(interval: UsageInterval, now: Epoch) -> View:
    """One row of what was metered."""
    return {
        "Meter": str(interval.meter),
        "InstanceId": interval.instance,
        "Start": interval.start,
        "End": interval.end,
        "Seconds": interval.seconds(now),
        "Cpu": interval.cpu,
        "Memory": interval.memory,
    }


def clock(platform: Platform) -> View:
    """What time it is for idle windows, metering and the event log, and on the machine."""
    ports = platform.ports
    now, machine = ports.clock.now(), ports.machine.now()
    return {"Now": now, "Machine": machine, "Ahead": now - machine, "Speed": ports.clock.speed}
