"""The emulator's own settings: read once by the command line, frozen, passed as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from emulator.model.configuration import NOTHING
from emulator.model.prices import PriceList


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the emulator listens; port 0 takes a free one. Without a `registry_port` there is no
    registry.
    """

    host: str = "127.0.0.1"
    api_port: int = 8400
    https_port: int = 8443
    http_port: int = 8480
    registry_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds, bytes and counts that bound what one service can do to the machine.

    `build_size` is what one build may write, its caches not counted. `start` is how long an
    instance may take to become healthy; `stop` the grace between SIGTERM
    and SIGKILL; `queue` and `queue_wait` bound requests that wait for an instance.
    """

    start: float = 300.0
    stop: float = 30.0
    drain: float = 120.0
    build: float = 1800.0
    build_size: int = 10_000_000_000
    build_log: int = 20_000_000
    log_file: int = 10_000_000
    queue: int = 1000
    queue_wait: float = 60.0
    pids: int = 1024
    starts_at_once: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer:
    """What the load balancer allows its clients: seconds, bytes, bytes per second, counts.

    `header_bytes` counts a request's whole head, `headers` its lines. A head must be complete
    within `header_timeout`; a body, or a client that reads its answer, must move `minimum_rate`
    on average of `rate_grace`. `streams` are open requests on one HTTP/2 connection.
    """

    header_bytes: int = 61_440
    headers: int = 100
    header_timeout: float = 30.0
    idle_timeout: float = 300.0
    minimum_rate: int = 240
    rate_grace: float = 20.0
    connections: int = 10_000
    connections_per_client: int = 5_000
    streams: int = 100
    http2: bool = True
    waiting_page: bool = False
    server_timing: bool = True
    access_log: bool = True
    access_log_bytes: int = 10_000_000


class PaceMode(StrEnum):
    """Whether waiting for App Runner is part of what is emulated."""

    FAST = "fast"
    REALISTIC = "realistic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long what AWS does takes at least; `speed` seconds of policy time pass per second."""

    mode: PaceMode = PaceMode.FAST
    speed: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """An account's, per Region: App Runner's defaults (developer guide, architecture)."""

    services: int = 30
    connections: int = 10
    auto_scaling_configurations: int = 10
    auto_scaling_revisions: int = 5
    observability_configurations: int = 10
    observability_revisions: int = 10
    vpc_connectors: int = 10
    custom_domains: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Whether the AWS API checks signatures, and the secret access key of each access key id."""

    verify_sigv4: bool = False
    keys: Mapping[str, str] = field(default_factory=lambda: NOTHING, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`state_dir` is an absolute path; `environment` holds the host's variables that builds and
    the engine may need (proxies, CA bundle, package indexes, DOCKER_*), nothing else. `upstream`
    is the address of another AWS emulator, for all that is not App Runner; empty for none. `keep`
    is how many images of a service are kept to return to, with the one that serves.
    """

    state_dir: str
    region: str = "us-east-1"
    account: str = "000000000000"
    addresses: Addresses = field(default_factory=Addresses)
    limits: Limits = field(default_factory=Limits)
    load_balancer: LoadBalancer = field(default_factory=LoadBalancer)
    strict: bool = False
    pace: Pace = field(default_factory=Pace)
    quotas: Quotas = field(default_factory=Quotas)
    auth: Auth = field(default_factory=Auth)
    upstream: str = ""
    keep: int = 5
    images: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    repositories: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    prices: PriceList = field(default_factory=PriceList)
