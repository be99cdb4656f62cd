"""What becomes of every operation and every input member: the page docs/coverage.md.

Made from the service model (what there is), from the table of operations (what is answered) and
from the statements below (what the emulator does with a member). A member that no statement is
about, and a statement that is about no member, are errors: the page cannot fall behind.

`python -m emulator.surfaces.api.coverage` prints it.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from emulator.surfaces.api.codec import LOOSE, service_model
from emulator.surfaces.api.operations.table import OPERATIONS


class Effect(StrEnum):
    """What is done with a member."""

    ENACTED = "enacted"
    STORED = "stored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Statement:
    """`note` says what a reader would not expect."""

    effect: Effect
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A leaf of an operation's input: `member` as a path from the operation."""

    operation: str
    member: str
    required: bool
    statement: Statement


def _enacted(note: str = "") -> Statement:
    return Statement(Effect.ENACTED, note)


def _stored(note: str = "") -> Statement:
    return Statement(Effect.STORED, note)


# By the shape that has the member; `*` is every shape that has a member of this name.
STATEMENTS: Final[Mapping[str, Statement]] = MappingProxyType(
    {
        # -- services
        "CreateServiceRequest.ServiceName": _enacted("also a host name: `<name>.localhost`"),
        "SourceConfiguration.AutoDeploymentsEnabled": _enacted(
            "a commit, or a new local tag of the image; never for ECR Public"
        ),
        "AuthenticationConfiguration.ConnectionArn": _stored("must exist and be AVAILABLE"),
        "AuthenticationConfiguration.AccessRoleArn": _stored(
            "required for private ECR names, as on AWS; no credentials follow from it"
        ),
        "ImageRepository.ImageIdentifier": _enacted(
            "a local image: by `[images]`, the same name, or the repository's name without its "
            "registry; else pulled. Names that AWS refuses (`demo:dev`) pass unless `strict`"
        ),
        "ImageRepository.ImageRepositoryType": _enacted(),
        "ImageConfiguration.RuntimeEnvironmentVariables": _enacted(
            "`PORT` and `AWSAPPRUNNER…` are refused, as on AWS"
        ),
        "ImageConfiguration.RuntimeEnvironmentSecrets": _enacted(
            "resolved at deployment from `[secrets]` or `[upstream]`"
        ),
        "ImageConfiguration.StartCommand": _enacted(),
        "ImageConfiguration.Port": _enacted(),
        "CodeRepository.RepositoryUrl": _enacted(
            "a local path, `file://…`, or a URL that `[repositories]` maps to a clone"
        ),
        "SourceCodeVersion.Type": _enacted(),
        "SourceCodeVersion.Value": _enacted(),
        "CodeRepository.SourceDirectory": _enacted(),
        "CodeConfiguration.ConfigurationSource": _enacted(),
        "CodeConfigurationValues.Runtime": _enacted(
            "where no registry answers, some in another version, and .NET not at all: the event "
            "log says so"
        ),
        "CodeConfigurationValues.BuildCommand": _enacted(),
        "CodeConfigurationValues.StartCommand": _enacted(),
        "CodeConfigurationValues.Port": _enacted(),
        "CodeConfigurationValues.RuntimeEnvironmentVariables": _enacted(
            "`PORT` and `AWSAPPRUNNER…` are refused, as on AWS"
        ),
        "CodeConfigurationValues.RuntimeEnvironmentSecrets": _enacted(
            "resolved at deployment from `[secrets]` or `[upstream]`"
        ),
        "InstanceConfiguration.Cpu": _enacted("the container's CPU quota"),
        "InstanceConfiguration.Memory": _enacted("the container's memory limit"),
        "InstanceConfiguration.InstanceRoleArn": _stored("no credentials reach the application"),
        "EncryptionConfiguration.KmsKey": _stored("nothing is encrypted"),
        "HealthCheckConfiguration.Protocol": _enacted(),
        "HealthCheckConfiguration.Path": _enacted(),
        "HealthCheckConfiguration.Interval": _enacted(),
        "HealthCheckConfiguration.Timeout": _enacted(),
        "HealthCheckConfiguration.HealthyThreshold": _enacted(),
        "HealthCheckConfiguration.UnhealthyThreshold": _enacted(),
        "CreateServiceRequest.AutoScalingConfigurationArn": _enacted(),
        "UpdateServiceRequest.AutoScalingConfigurationArn": _enacted(),
        "EgressConfiguration.EgressType": _stored("outgoing traffic always goes the host's way"),
        "EgressConfiguration.VpcConnectorArn": _stored("must exist; no VPC is joined"),
        "IngressConfiguration.IsPubliclyAccessible": _enacted(
            "a service that is not public is not on the HTTPS listener; its own loopback port stays"
        ),
        "NetworkConfiguration.IpAddressType": _stored("everything listens on IPv4"),
        "ServiceObservabilityConfiguration.ObservabilityEnabled": _stored("nothing is traced"),
        "ServiceObservabilityConfiguration.ObservabilityConfigurationArn": _stored("must exist"),
        # -- auto scaling configurations
        "CreateAutoScalingConfigurationRequest.AutoScalingConfigurationName": _enacted(),
        "CreateAutoScalingConfigurationRequest.MaxConcurrency": _enacted(),
        "CreateAutoScalingConfigurationRequest.MinSize": _enacted(
            "as many instances in deployments and in the bill; idle ones still go to zero unless "
            "the tag `emulator:scale-to-zero-after` is `off`"
        ),
        "CreateAutoScalingConfigurationRequest.MaxSize": _enacted(),
        "*.AutoScalingConfigurationArn": _enacted("full or partial ARN"),
        "DeleteAutoScalingConfigurationRequest.DeleteAllRevisions": _enacted(),
        "ListAutoScalingConfigurationsRequest.AutoScalingConfigurationName": _enacted(),
        "*.LatestOnly": _enacted("left out means false: the Go SDK cannot send false"),
        # -- connections
        "CreateConnectionRequest.ConnectionName": _enacted(),
        "CreateConnectionRequest.ProviderType": _stored("nothing is connected"),
        "DeleteConnectionRequest.ConnectionArn": _enacted(),
        "ListConnectionsRequest.ConnectionName": _enacted(),
        # -- observability configurations
        "CreateObservabilityConfigurationRequest.ObservabilityConfigurationName": _enacted(),
        "TraceConfiguration.Vendor": _stored("nothing is traced"),
        "*.ObservabilityConfigurationArn": _enacted("full or partial ARN"),
        "ListObservabilityConfigurationsRequest.ObservabilityConfigurationName": _enacted(),
        # -- VPC
        "CreateVpcConnectorRequest.VpcConnectorName": _enacted(),
        "CreateVpcConnectorRequest.Subnets": _stored("no VPC is joined"),
        "CreateVpcConnectorRequest.SecurityGroups": _stored("no VPC is joined"),
        "*.VpcConnectorArn": _enacted(),
        "CreateVpcIngressConnectionRequest.VpcIngressConnectionName": _enacted(),
        "IngressVpcConfiguration.VpcId": _stored("its DomainName leads nowhere"),
        "IngressVpcConfiguration.VpcEndpointId": _stored("its DomainName leads nowhere"),
        "*.VpcIngressConnectionArn": _enacted(),
        "ListVpcIngressConnectionsFilter.ServiceArn": _enacted(),
        "ListVpcIngressConnectionsFilter.VpcEndpointId": _enacted(),
        # -- custom domains
        "*.DomainName": _enacted("routed by Host and server name from the association on"),
        "AssociateCustomDomainRequest.EnableWWWSubdomain": _enacted(),
        # -- everywhere
        "*.ServiceArn": _enacted(),
        "*.ResourceArn": _enacted(),
        "Tag.Key": _enacted("`emulator:…` on a service switches the emulator's extensions"),
        "Tag.Value": _enacted(),
        "*.TagKeys": _enacted(),
        "*.MaxResults": _enacted("left out means all"),
        "*.NextToken": _enacted("good only with the other parameters of the first request"),
    }
)


def rows() -> tuple[Row, ...]:
    """Of every operation. Raises LookupError for a member without a statement."""
    model = service_model()
    return tuple(
        Row(operation=name, member=path, required=required, statement=statement_of(shape, member))
        for name in model.operation_names
        for path, shape, member, required in _leaves(model.operation_model(name).input_shape)
    )


def statement_of(shape: str, member: str) -> Statement:
    for key in (f"{shape}.{member}", f"*.{member}"):
        if key in STATEMENTS:
            return STATEMENTS[key]
    raise LookupError(f"nothing is said about {shape}.{member}")


def _leaves(shape: Any, path: str = "") -> Iterator[tuple[str, str, str, bool]]:  # noqa: ANN401
    """Path, shape, member and whether it is required there, of all that is no structure."""
    for name, member in shape.members.items():
        where = f"{path}.{name}" if path else name
        inner = member
        if member.type_name == "list":
            inner, where = member.member, f"{where}[]"
        if inner.type_name == "structure":
            yield from _leaves(inner, where)
        else:
            yield where, shape.name, name, name in shape.required_members


def render() -> str:
    """The page, in Markdown."""
    found = rows()
    counts = {effect: len([r for r in found if r.statement.effect is effect]) for effect in Effect}
    answered = sum(1 for name in service_model().operation_names if name in OPERATIONS)
    summary = (
        f"{answered} of {len(service_model().operation_names)} operations are answered. Of "
        f"{len(found)} input members {counts[Effect.ENACTED]} are *enacted* (they have their "
        f"effect here), {counts[Effect.STORED]} *stored* (checked, kept and shown, without an "
        f"effect) and {counts[Effect.REFUSED]} *refused*. Every constraint of the service model is "
        f"checked, {', '.join(sorted(LOOSE))}'s pattern only with `strict = true`; members that the "
        "model does not know are refused. Required members have a star."
    )
    made = "This page is made from the service model and the code: `make docs`."
    lines = ["# What the emulator does with App Runner's API", "", summary, "", made]
    for name in service_model().operation_names:
        lines += ["", f"## {name}", ""]
        lines += _table([row for row in found if row.operation == name])
    return "\n".join(lines) + "\n"


def _table(found: list[Row]) -> Iterator[str]:
    if not found:
        yield "No input."
        return
    yield "| member | effect | note |"
    yield "|---|---|---|"
    for row in found:
        star = "\\*" if row.required else ""
        yield f"| `{row.member}`{star} | {row.statement.effect} | {row.statement.note} |"


if __name__ == "__main__":
    sys.stdout.write(render())
