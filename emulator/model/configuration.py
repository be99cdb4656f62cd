"""What a user asks of a service: App Runner's settings, with the emulator's own beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})
DEFAULT_PORT = 8080
MOST_CONCURRENCY = 200  # App Runner's bound for MaxConcurrency


class HealthProtocol(StrEnum):
    """How an instance is probed."""

    TCP = "TCP"
    HTTP = "HTTP"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """App Runner's defaults; `interval` and `timeout` in seconds (1-20)."""

    protocol: HealthProtocol = HealthProtocol.TCP
    path: str = "/"
    interval: int = 5
    timeout: int = 2
    healthy_threshold: int = 1
    unhealthy_threshold: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSize:
    """`cpu` in units (1024 = 1 vCPU), `memory` in MB."""

    cpu: int = 1024
    memory: int = 2048


# App Runner's supported pairs: cpu units -> memory MB.
SIZES: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {
        256: (512, 1024),
        512: (1024,),
        1024: (2048, 3072, 4096),
        2048: (4096, 6144),
        4096: (8192, 10240, 12288),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoScaling:
    """An auto scaling configuration's values; App Runner's defaults."""

    max_concurrency: int = 100
    min_size: int = 1
    max_size: int = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """What is kept for a service whether it is used or not: MinSize instances of a size."""

    min_size: int
    size: InstanceSize


class ConfigurationSource(StrEnum):
    """Where build and run settings of a code service come from."""

    REPOSITORY = "REPOSITORY"
    API = "API"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeValues:
    """App Runner's CodeConfigurationValues; `runtime` in the API's spelling (PYTHON_311)."""

    runtime: str
    build_command: str | None = None
    start_command: str | None = None
    port: int = DEFAULT_PORT
    env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    secrets: Mapping[str, str] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSource:
    """A branch of a git repository; `source_directory` is absolute from its root."""

    repository: str
    branch: str
    source_directory: str = "/"
    configuration_source: ConfigurationSource = ConfigurationSource.REPOSITORY
    values: CodeValues | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """A container image; `configured` says whether ImageConfiguration was given at all."""

    identifier: str
    repository_type: str = "ECR"
    port: int = DEFAULT_PORT
    start_command: str | None = None
    env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    secrets: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    configured: bool = True


Source = CodeSource | ImageSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """What App Runner does not have; seconds, None for off. `queue_commits`: a commit that arrives
    during an operation is deployed after it; App Runner skips it. `websockets`: App Runner's front
    end refuses them.
    """

    scale_to_zero_after: float | None = 300.0
    freeze_after: float | None = 10.0
    request_timeout: float = 120.0
    queue_commits: bool = True
    websockets: bool = True


class EgressType(StrEnum):
    """Where an instance's outgoing traffic goes."""

    DEFAULT = "DEFAULT"
    VPC = "VPC"


class IpAddressType(StrEnum):
    """What a service's endpoint listens on."""

    IPV4 = "IPV4"
    DUAL_STACK = "DUAL_STACK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """App Runner's NetworkConfiguration; a service that is not public is on no public listener."""

    egress: EgressType = EgressType.DEFAULT
    vpc_connector: str | None = None
    public: bool = True
    ip_address_type: IpAddressType = IpAddressType.IPV4


@dataclass(frozen=True, slots=True, kw_only=True)
class Observability:
    """A service's ObservabilityConfiguration; `configuration` is an ARN, only when enabled."""

    enabled: bool
    configuration: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfiguration:
    """All that CreateService and UpdateService can set.

    `auto_scaling` is the ARN of the configuration that `scaling` has its values from, empty for
    the built-in default one. What is None was not asked for, and is not shown.
    `env` is added to what the source brings (the command line's `--env` for REPOSITORY services,
    an extension: App Runner ignores API values there).
    """

    source: Source
    auto_deploy: bool = True
    size: InstanceSize = field(default_factory=InstanceSize)
    health_check: HealthCheck = field(default_factory=HealthCheck)
    scaling: AutoScaling = field(default_factory=AutoScaling)
    auto_scaling: str = ""
    network: Network = field(default_factory=Network)
    connection: str | None = None
    access_role: str | None = None
    instance_role: str | None = None
    kms_key: str | None = None
    observability: Observability | None = None
    extensions: Extensions = field(default_factory=Extensions)
    env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    tags: Mapping[str, str] = field(default_factory=lambda: NOTHING)

    @property
    def provision(self) -> Provision:
        return Provision(min_size=self.scaling.min_size, size=self.size)
