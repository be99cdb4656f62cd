"""Which deployments end before they are done: at a user's wish, or for a newer commit.

App Runner does neither (roadmap issues 49, 208); its API knows nothing of this.

A build that nobody has asked for gives way to a newer commit: what its author wants is the newest.
But commits that come faster than builds end must not keep all of them from being deployed, and what
has taken long is not thrown away. So at most `IN_A_ROW` give way one after the other, each within
its first `PATIENCE` seconds; then one is let finish. A deployment of an image has nothing to give
up: it takes what the name means when it comes to it.
"""

from emulator.model.identifiers import Epoch
from emulator.model.operation import Operation, OperationStatus
from emulator.model.service import Service

BY_USER = "cancelled by the user"
PATIENCE = 60.0  # seconds
IN_A_ROW = 2
_SHORT = 7


def refusal(service: Service, operation: Operation | None) -> str:
    """Why a user cannot cancel that; "" where it can be done."""
    name = service.name
    if operation is None or operation.ended:
        return f"There is nothing to cancel: no operation of {name} is in progress."
    if not operation.deploys:
        return f"{operation.type} of {name} cannot be cancelled: only a deployment can."
    if operation.status is OperationStatus.ROLLBACK_IN_PROGRESS:
        return f"The deployment of {name} has failed already and is being rolled back."
    return ""


def superseded(service: Service, operation: Operation, now: Epoch) -> str:
    """Why this deployment gives way to the commit that waits; "" where it goes on."""
    newer = service.queued
    if newer is None or newer == operation.commit or not _may_give_way(service, operation):
        return ""
    if service.superseded >= IN_A_ROW or now - operation.started_at > PATIENCE:
        return ""
    return f"superseded by commit {newer[:_SHORT]}"


def _may_give_way(service: Service, operation: Operation) -> bool:
    """A first deployment may not: its service would be CREATE_FAILED for want of patience."""
    builds = operation.commit is not None and operation.target is None
    unasked = operation.automatic and not operation.pushed
    queues = service.configuration.extensions.queue_commits
    return builds and unasked and queues and service.revision is not None
