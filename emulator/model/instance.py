"""Instances: what the engine shows of a container, and what the emulator makes of it.

Rules: an instance is prepared (a standby: created, nothing runs), started once, serves, may rest
(idle, then frozen), is drained, and stops for good; an instance never starts twice. Only an
instance that passed its health check gets requests. A failed one is kept until its log is safe.
"""

from dataclasses import dataclass
from enum import StrEnum

from emulator.model.identifiers import Epoch, InstanceId, RevisionId, ServiceId


class InstanceState(StrEnum):
    """What a user sees, everywhere."""

    PROVISIONING = "provisioning"  # created, not started
    STARTING = "starting"  # its process runs, not yet healthy
    ACTIVE = "active"  # requests in flight
    IDLE = "idle"
    FROZEN = "frozen"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


class ContainerState(StrEnum):
    """What the engine knows."""

    CREATED = "created"
    RUNNING = "running"
    FROZEN = "frozen"
    EXITED = "exited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an instance can be dialled from this process."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a container ended."""

    code: int
    out_of_memory: bool = False
    at: Epoch | None = None

    def __str__(self) -> str:
        return "out of memory" if self.out_of_memory else f"exit code {self.code}"


RUNS = frozenset({ContainerState.RUNNING, ContainerState.FROZEN})  # has a process


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedInstance:
    """One instance as the engine shows it; a standby has no revision yet."""

    id: InstanceId
    service: ServiceId
    state: ContainerState
    fingerprint: str
    revision: RevisionId | None = None
    endpoint: Endpoint | None = None
    started_at: Epoch | None = None
    exit: Exit | None = None

    def __repr__(self) -> str:
        return f"<Instance {self.id[:8]} {self.state} {self.revision or 'standby'}>"


class Health(StrEnum):
    """The verdict of the health checks so far."""

    UNKNOWN = "unknown"  # starting: not enough successes yet
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One health check's result; `detail` says what went wrong."""

    at: Epoch
    healthy: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An observed instance with what memory adds to it.

    `frozen` and `in_flight` come from the balancer, `draining` and `health` from the worker.
    `idle_since` is when the last request ended (or it became healthy); None while active.
    `because` says why it starts, rests or goes; `checks` are the last ones, oldest first.
    """

    observed: ObservedInstance
    health: Health = Health.UNKNOWN
    draining: bool = False
    drain_deadline: Epoch | None = None
    in_flight: int = 0
    idle_since: Epoch | None = None
    failure: str = ""
    because: str = ""
    checks: tuple[Check, ...] = ()

    @property
    def id(self) -> InstanceId:
        return self.observed.id

    @property
    def revision(self) -> RevisionId | None:
        return self.observed.revision

    @property
    def runs(self) -> bool:
        return self.observed.state in RUNS

    @property
    def state(self) -> InstanceState:
        """What a user is shown."""
        match self.observed.state:
            case ContainerState.CREATED:
                return InstanceState.PROVISIONING
            case ContainerState.EXITED:
                failed = bool(self.failure) and not self.draining
                return InstanceState.FAILED if failed else InstanceState.STOPPED
            case ContainerState.RUNNING | ContainerState.FROZEN:
                return self._running_state()

    def _running_state(self) -> InstanceState:
        if self.draining:
            return InstanceState.DRAINING
        if self.health is Health.UNHEALTHY:
            return InstanceState.FAILED
        if self.health is Health.UNKNOWN:
            return InstanceState.STARTING
        if self.observed.state is ContainerState.FROZEN:
            return InstanceState.FROZEN
        return InstanceState.ACTIVE if self.in_flight else InstanceState.IDLE

    def __repr__(self) -> str:
        return f"<Instance {self.id[:8]} {self.state} {self.revision or '-'} {self.in_flight} in flight>"
