"""From the engine's list of containers to instances: what belongs together, and what it means.

Rules: the list alone says most; a container is inspected once when it has begun to run and once
when it has ended. An instance whose sandbox is gone, dead or was restarted has no network any
more: it counts as ended, whatever its process does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from emulator.drivers.docker.engine import Json
from emulator.drivers.docker.host import Host
from emulator.drivers.docker.labels import FINGERPRINT, INSTANCE, PORT, ROLE, SERVICE, Role
from emulator.drivers.docker.records import Record
from emulator.drivers.docker.sandbox import attachment_of, endpoint_of
from emulator.model.identifiers import Epoch, InstanceId, RevisionId, ServiceId
from emulator.model.instance import RUNS, ContainerState, Endpoint, Exit, ObservedInstance

LOST_SANDBOX: Final = Exit(code=255)
_NEVER: Final = "0001-"
_UP: Final = frozenset({"running", "paused", "restarting"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the engine has of one instance, as it lists it."""

    instance: InstanceId
    service: ServiceId
    container: Json = None
    sandbox: Json = None

    @property
    def created(self) -> bool:
        return self.container is not None and self.container["State"] == "created"

    @property
    def up(self) -> bool:
        return self.container is not None and self.container["State"] in _UP

    def waits(self, record: Record | None) -> bool:
        """It runs, but not yet for any revision: a warm standby."""
        return self.up and record is not None and record.waiting and record.revision is None

    @property
    def connected(self) -> bool:
        return self.sandbox is not None and self.sandbox["State"] == "running"

    @property
    def paused(self) -> bool:
        return self.up and self.container["State"] == "paused"

    @property
    def fingerprint(self) -> str:
        return str(self.container["Labels"].get(FINGERPRINT, "")) if self.container else ""

    @property
    def made(self) -> float:
        """When the oldest part was created."""
        return min(float(part["Created"]) for part in (self.container, self.sandbox) if part)

    def endpoint(self, host: Host) -> Endpoint | None:
        if not self.connected:
            return None
        return endpoint_of(self.sandbox, host, int(self.sandbox["Labels"][PORT]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What the list does not say; holds as long as `up` does."""

    up: bool
    pid: int
    started_at: Epoch | None
    exit: Exit | None


def sort_out(listed: Iterable[Json]) -> dict[InstanceId, Parts]:
    """Instances and sandboxes of a list that may hold other containers too."""
    found: dict[InstanceId, dict[str, Json]] = {}
    for summary in listed:
        labels = summary["Labels"]
        if labels.get(ROLE) in {Role.INSTANCE, Role.SANDBOX} and INSTANCE in labels:
            found.setdefault(InstanceId(labels[INSTANCE]), {})[labels[ROLE]] = summary
    return {instance: _parts(instance, parts) for instance, parts in found.items()}


def _parts(instance: InstanceId, parts: dict[str, Json]) -> Parts:
    one = next(iter(parts.values()))
    return Parts(
        instance=instance,
        service=ServiceId(one["Labels"].get(SERVICE, "")),
        container=parts.get(Role.INSTANCE),
        sandbox=parts.get(Role.SANDBOX),
    )


def inspected(container: Json) -> Inspected:
    """From the engine's full description."""
    state = container["State"]
    up = bool(state["Running"])
    code = int(state["ExitCode"])
    return Inspected(
        up=up,
        pid=int(state["Pid"]),
        started_at=parse_time(state["StartedAt"]),
        exit=None
        if up
        else Exit(
            code=code,
            out_of_memory=bool(state["OOMKilled"]) and code != 0,
            at=parse_time(state["FinishedAt"]),
        ),
    )


def parse_time(text: str) -> Epoch | None:
    """Of the engine's times; None for never."""
    if text.startswith(_NEVER) or not text:
        return None
    return Epoch(datetime.fromisoformat(text).timestamp())


def observed(
    parts: Parts, *, record: Record | None, known: Inspected | None, frozen: bool, host: Host
) -> ObservedInstance:
    """One instance as it is."""
    state, end = _state(parts, record, known, frozen=frozen)
    started = state is not ContainerState.CREATED
    runs = state in RUNS
    return ObservedInstance(
        id=parts.instance,
        service=parts.service,
        state=state,
        fingerprint=parts.fingerprint,
        revision=_revision(record) if started else None,
        endpoint=parts.endpoint(host) if runs else None,
        started_at=known.started_at if known and started else None,
        exit=end,
    )


def _revision(record: Record | None) -> RevisionId | None:
    return record.revision if record else None


def _state(
    parts: Parts, record: Record | None, known: Inspected | None, *, frozen: bool
) -> tuple[ContainerState, Exit | None]:
    if not parts.created and not parts.up:
        return ContainerState.EXITED, (known.exit if known else None) or Exit(code=255)
    if not _has_network(parts, record):
        return ContainerState.EXITED, LOST_SANDBOX
    if parts.up and not parts.waits(record):
        return (ContainerState.FROZEN if frozen else ContainerState.RUNNING), None
    if record is not None and record.exit_code is not None:
        return ContainerState.EXITED, Exit(code=record.exit_code)
    return ContainerState.CREATED, None


def _has_network(parts: Parts, record: Record | None) -> bool:
    if not parts.connected:
        return False
    joined = record.attachment if record and parts.up else None
    return joined is None or joined == attachment_of(parts.sandbox)
