"""A service as it is stored: what is wanted, and which revision serves."""

from dataclasses import dataclass
from enum import StrEnum

from emulator.model.configuration import ServiceConfiguration
from emulator.model.identifiers import Epoch, RevisionId, ServiceId

DESCRIBABLE = 3600.0  # seconds that what was deleted can still be described


class ServiceStatus(StrEnum):
    """App Runner's names."""

    CREATE_FAILED = "CREATE_FAILED"
    RUNNING = "RUNNING"
    DELETED = "DELETED"
    DELETE_FAILED = "DELETE_FAILED"
    PAUSED = "PAUSED"
    OPERATION_IN_PROGRESS = "OPERATION_IN_PROGRESS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Desired state.

    `label` is the first part of its ServiceUrl, `port` its own loopback port.
    `revision` is what serves (None before the first successful deployment).
    `configuration` is what the last accepted request asked for; `serving` what `revision` was
    made from, so that a failed update can be told from the truth.
    `paused` remembers what to return to while an operation is in progress.
    `revisions` counts the revisions made so far. `seen_commit` is the newest commit that was
    seen (of an image service: the id of the image that its name meant last, None while there is
    none here); `queued` is one that arrived and is still to be deployed, for example because an
    operation is in progress. `pushed` is the last commit that a `git push` to the emulator brought.
    `superseded` counts the automatic deployments that gave way to a newer commit, in a row.
    """

    id: ServiceId
    name: str
    region: str
    account: str
    label: str
    port: int
    status: ServiceStatus
    configuration: ServiceConfiguration
    serving: ServiceConfiguration | None = None
    revision: RevisionId | None = None
    revisions: int = 0
    paused: bool = False
    seen_commit: str | None = None
    queued: str | None = None
    pushed: str | None = None
    superseded: int = 0
    created_at: Epoch
    updated_at: Epoch
    deleted_at: Epoch | None = None

    @property
    def arn(self) -> str:
        return f"arn:aws:apprunner:{self.region}:{self.account}:service/{self.name}/{self.id}"

    @property
    def live(self) -> bool:
        return self.status is not ServiceStatus.DELETED

    def describable(self, now: Epoch) -> bool:
        """Also for a while after its deletion: CloudFormation looks for the status DELETED."""
        return self.deleted_at is None or now - self.deleted_at <= DESCRIBABLE

    def __repr__(self) -> str:
        return f"<Service {self.name} {self.status} {self.revision or '-'}>"
