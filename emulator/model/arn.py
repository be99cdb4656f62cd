"""Amazon Resource Names of App Runner's resources."""

import re
from dataclasses import dataclass
from enum import StrEnum

_ARN = re.compile(
    r"arn:(?P<partition>aws[\w-]*):apprunner:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):(?P<kind>\w+)/(?P<rest>.+)"
)
_REVISION = re.compile(r"[1-9]\d{0,8}", re.ASCII)


class Kind(StrEnum):
    """The word for each resource in its ARN."""

    SERVICE = "service"
    CONNECTION = "connection"
    AUTO_SCALING = "autoscalingconfiguration"
    OBSERVABILITY = "observabilityconfiguration"
    VPC_CONNECTOR = "vpcconnector"
    VPC_INGRESS = "vpcingressconnection"


_KINDS = frozenset(Kind)
REVISED = frozenset({Kind.AUTO_SCALING, Kind.OBSERVABILITY, Kind.VPC_CONNECTOR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Arn:
    """`revision` and `id` are None where a partial ARN leaves them out (`…/name`,
    `…/name/revision`); kinds without revisions have none.
    """

    partition: str = "aws"
    region: str
    account: str
    kind: Kind
    name: str
    revision: int | None = None
    id: str | None = None

    def __str__(self) -> str:
        parts = (self.kind, self.name, self.revision, self.id)
        tail = "/".join(str(part) for part in parts if part is not None)
        return f"arn:{self.partition}:apprunner:{self.region}:{self.account}:{tail}"


def parse(text: str) -> Arn | None:
    """None for what names no App Runner resource."""
    found = _ARN.fullmatch(text)
    if found is None or found["kind"] not in _KINDS:
        return None
    kind = Kind(found["kind"])
    name, *more = found["rest"].split("/")
    revision: int | None = None
    if kind in REVISED and more:
        if not _REVISION.fullmatch(more[0]):
            return None
        revision = int(more.pop(0))
    if len(more) > 1:
        return None
    return Arn(
        partition=found["partition"],
        region=found["region"],
        account=found["account"],
        kind=kind,
        name=name,
        revision=revision,
        id=more[0] if more else None,
    )
