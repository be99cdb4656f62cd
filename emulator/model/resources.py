"""App Runner's resources beside services, and ECR's repositories, as they are stored.

Rules: what a user made is immutable but for its tags; deletion sets `deleted_at`, and the row
stays for as long as it can be described. What a status is at a moment is a decision
(`decisions.provisioning`), not a stored fact.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from emulator.model.arn import Arn, Kind
from emulator.model.configuration import NOTHING, AutoScaling
from emulator.model.identifiers import Epoch, ServiceId

DEFAULT_NAME = "DefaultConfiguration"
DEFAULT_ID = "00000000000000000000000000000001"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What all of them have; `id` is 32 hex digits."""

    kind: ClassVar[Kind]

    region: str
    account: str
    name: str
    id: str
    created_at: Epoch
    deleted_at: Epoch | None = None
    tags: Mapping[str, str] = field(default_factory=lambda: NOTHING)

    @property
    def live(self) -> bool:
        return self.deleted_at is None

    @property
    def arn(self) -> str:
        return str(
            Arn(
                region=self.region,
                account=self.account,
                kind=self.kind,
                name=self.name,
                revision=getattr(self, "revision", None),
                id=self.id,
            )
        )

    @property
    def key(self) -> str:
        """What it is stored by."""
        return self.arn

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {'live' if self.live else 'deleted'}>"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class AutoScalingConfiguration(Named):
    """One revision; exactly one live one of a Region is the default."""

    kind: ClassVar[Kind] = Kind.AUTO_SCALING

    revision: int
    scaling: AutoScaling = field(default_factory=AutoScaling)
    is_default: bool = False

    @property
    def built_in(self) -> bool:
        """The one that every account has."""
        return self.id == DEFAULT_ID


class ProviderType(StrEnum):
    """Whose repositories a connection opens."""

    GITHUB = "GITHUB"
    BITBUCKET = "BITBUCKET"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Connection(Named):
    """`authorized_at` is when somebody completed the handshake by hand, None until then."""

    kind: ClassVar[Kind] = Kind.CONNECTION

    provider: ProviderType
    authorized_at: Epoch | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ObservabilityConfiguration(Named):
    """One revision; `vendor` is the trace configuration's, None without one."""

    kind: ClassVar[Kind] = Kind.OBSERVABILITY

    revision: int
    vendor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class VpcConnector(Named):
    """Where outgoing traffic of services goes."""

    kind: ClassVar[Kind] = Kind.VPC_CONNECTOR

    subnets: tuple[str, ...]
    security_groups: tuple[str, ...] = ()
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class VpcIngressConnection(Named):
    """The way from one VPC to a private service; `label` is the first part of its DomainName."""

    kind: ClassVar[Kind] = Kind.VPC_INGRESS

    service: str  # ARN
    label: str
    vpc: str | None = None
    endpoint: str | None = None
    updated_at: Epoch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomDomain:
    """A domain name of a service; `token` makes its validation records unique."""

    service: ServiceId
    region: str
    domain: str
    www: bool
    token: str
    created_at: Epoch
    deleted_at: Epoch | None = None

    @property
    def live(self) -> bool:
        return self.deleted_at is None

    @property
    def key(self) -> str:
        """What it is stored by."""
        return f"{self.service}/{self.domain}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that reach the service; a wildcard has no www."""
        if self.www and not self.domain.startswith("*."):
            return (self.domain, f"www.{self.domain}")
        return (self.domain,)

    def __repr__(self) -> str:
        return f"<CustomDomain {self.domain} {'live' if self.live else 'deleted'}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRepository:
    """What ECR knows of a repository beside its images. All Regions push to one registry, so a name
    is there once. `encryption` and `tag_mutability` are in ECR's words; nothing acts on them.
    """

    region: str
    account: str
    name: str
    created_at: Epoch
    deleted_at: Epoch | None = None  # its row goes with it
    tags: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    tag_mutability: str = "MUTABLE"
    scan_on_push: bool = False
    encryption: str = "AES256"
    kms_key: str | None = None

    @property
    def live(self) -> bool:
        return self.deleted_at is None

    @property
    def arn(self) -> str:
        return f"arn:aws:ecr:{self.region}:{self.account}:repository/{self.name}"

    @property
    def key(self) -> str:
        """What it is stored by."""
        return self.arn

    def __repr__(self) -> str:
        return f"<ImageRepository {self.name}>"


Resource = (
    AutoScalingConfiguration
    | Connection
    | ObservabilityConfiguration
    | VpcConnector
    | VpcIngressConnection
    | CustomDomain
    | ImageRepository
)
