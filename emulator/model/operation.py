"""Operations and their life.

Rules: an operation is created PENDING, is IN_PROGRESS once the service's worker has taken it up,
and ends exactly once. A deployment over a serving revision that fails goes through
ROLLBACK_IN_PROGRESS while its instances are taken away; a failed create has nothing to roll
back to and is FAILED. What has ended never changes again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from emulator.model.configuration import Provision
from emulator.model.identifiers import Epoch, OperationId, RevisionId, ServiceId


class OperationType(StrEnum):
    """App Runner's names."""

    CREATE_SERVICE = "CREATE_SERVICE"
    UPDATE_SERVICE = "UPDATE_SERVICE"
    START_DEPLOYMENT = "START_DEPLOYMENT"
    PAUSE_SERVICE = "PAUSE_SERVICE"
    RESUME_SERVICE = "RESUME_SERVICE"
    DELETE_SERVICE = "DELETE_SERVICE"


class OperationStatus(StrEnum):
    """App Runner's names."""

    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    FAILED = "FAILED"
    SUCCEEDED = "SUCCEEDED"
    ROLLBACK_IN_PROGRESS = "ROLLBACK_IN_PROGRESS"
    ROLLBACK_FAILED = "ROLLBACK_FAILED"
    ROLLBACK_SUCCEEDED = "ROLLBACK_SUCCEEDED"


_S = OperationStatus
TRANSITIONS: Mapping[OperationStatus, frozenset[OperationStatus]] = MappingProxyType(
    {
        _S.PENDING: frozenset({_S.IN_PROGRESS, _S.FAILED}),
        _S.IN_PROGRESS: frozenset({_S.SUCCEEDED, _S.FAILED, _S.ROLLBACK_IN_PROGRESS}),
        _S.ROLLBACK_IN_PROGRESS: frozenset({_S.ROLLBACK_SUCCEEDED, _S.ROLLBACK_FAILED}),
        _S.FAILED: frozenset(),
        _S.SUCCEEDED: frozenset(),
        _S.ROLLBACK_FAILED: frozenset(),
        _S.ROLLBACK_SUCCEEDED: frozenset(),
    }
)

DEPLOYING = frozenset(
    {
        OperationType.CREATE_SERVICE,
        OperationType.UPDATE_SERVICE,
        OperationType.START_DEPLOYMENT,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One entry of ListOperations, with what the emulator needs to carry it out.

    `commit` is the commit to deploy (None: the branch's newest, or an image);
    `target` the revision being deployed, None until it is built (a rollback names it at once);
    `automatic` tells a deployment that a commit or image caused from one that was asked for.
    `deadline`, the machine's, is set when it goes IN_PROGRESS; it is for the work, not for App
    Runner's pace.
    `reason` tells why it failed; while it is IN_PROGRESS, that this is already settled.
    `cancelled` tells why it has to end although it has not failed; it is the emulator's own.
    `pushed` tells a deployment that a commit caused and whose pusher waits for it.
    `provision` is what a deployment that succeeded has App Runner keep from its end on.
    """

    id: OperationId
    service: ServiceId
    type: OperationType
    status: OperationStatus = OperationStatus.PENDING
    started_at: Epoch
    updated_at: Epoch
    ended_at: Epoch | None = None
    deadline: Epoch | None = None
    commit: str | None = None
    target: RevisionId | None = None
    automatic: bool = False
    reason: str = ""
    cancelled: str = ""
    pushed: bool = False
    provision: Provision | None = None

    @property
    def ended(self) -> bool:
        return not TRANSITIONS[self.status]

    @property
    def deploys(self) -> bool:
        return self.type in DEPLOYING

    @property
    def deployment_id(self) -> str:
        """The id without dashes, as in the log stream `deployment/<id>`."""
        return self.id.replace("-", "")

    def moved(self, status: OperationStatus, *, now: Epoch, reason: str = "") -> "Operation":
        """The same operation in `status`; a transition outside the table is a bug."""
        if status not in TRANSITIONS[self.status]:
            raise ValueError(f"an operation cannot go from {self.status} to {status}")
        ended_at = now if not TRANSITIONS[status] else None
        return replace(
            self, status=status, updated_at=now, ended_at=ended_at, reason=reason or self.reason
        )

    def __repr__(self) -> str:
        return f"<Operation {self.id[:8]} {self.type} {self.status}>"
