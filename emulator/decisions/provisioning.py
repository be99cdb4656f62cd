"""What state a resource is in at a moment: a function of when it was made and of the pace.

No timers: whoever asks gets the answer of that moment, also after a restart. In the fast pace
the steps are just long enough for clients to see each of them: the Terraform provider fails on a
custom domain that is `ACTIVE` before it saw it pending (it looks after 0, 0.25, 0.65, 1.5, 3.1 …
seconds), and on a resource that is gone before it was seen leaving.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from emulator.model.identifiers import Epoch
from emulator.model.resources import Connection, CustomDomain, VpcIngressConnection
from emulator.model.settings import Pace, PaceMode


class ConnectionStatus(StrEnum):
    """App Runner's names."""

    PENDING_HANDSHAKE = "PENDING_HANDSHAKE"
    AVAILABLE = "AVAILABLE"
    ERROR = "ERROR"
    DELETED = "DELETED"


class IngressStatus(StrEnum):
    """App Runner's names."""

    AVAILABLE = "AVAILABLE"
    PENDING_CREATION = "PENDING_CREATION"
    PENDING_UPDATE = "PENDING_UPDATE"
    PENDING_DELETION = "PENDING_DELETION"
    FAILED_CREATION = "FAILED_CREATION"
    FAILED_UPDATE = "FAILED_UPDATE"
    FAILED_DELETION = "FAILED_DELETION"
    DELETED = "DELETED"


class DomainStatus(StrEnum):
    """App Runner's names; in lower case on the wire."""

    CREATING = "CREATING"
    PENDING_CERTIFICATE_DNS_VALIDATION = "PENDING_CERTIFICATE_DNS_VALIDATION"
    BINDING_CERTIFICATE = "BINDING_CERTIFICATE"
    ACTIVE = "ACTIVE"
    DELETING = "DELETING"
    CREATE_FAILED = "CREATE_FAILED"
    DELETE_FAILED = "DELETE_FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """How long each step takes, in seconds. A domain waits for its validation longer than the
    longest pause between two looks of the Terraform provider (10 s).
    """

    domain_creating: float
    domain_pending: float
    domain_binding: float
    domain_deleting: float
    ingress: float


# Fast: seen, and no longer. Realistic: assumed; users tell of minutes for certificates.
STEPS: Mapping[PaceMode, Steps] = MappingProxyType(
    {
        PaceMode.FAST: Steps(
            domain_creating=1.0,
            domain_pending=15.0,
            domain_binding=1.0,
            domain_deleting=1.0,
            ingress=0.5,
        ),
        PaceMode.REALISTIC: Steps(
            domain_creating=15.0,
            domain_pending=300.0,
            domain_binding=120.0,
            domain_deleting=30.0,
            ingress=60.0,
        ),
    }
)


def _passed(since: Epoch, now: Epoch, pace: Pace) -> float:
    """Seconds, as the steps count them: the fast ones are for clients, whose time is real."""
    speed = pace.speed if pace.mode is PaceMode.FAST else 1.0
    return (now - since) / speed


def connection_status(connection: Connection, pace: Pace) -> ConnectionStatus:
    """The handshake is somebody's click in the console; in the fast pace nobody needs to."""
    if not connection.live:
        return ConnectionStatus.DELETED
    if pace.mode is PaceMode.FAST or connection.authorized_at is not None:
        return ConnectionStatus.AVAILABLE
    return ConnectionStatus.PENDING_HANDSHAKE


def ingress_status(connection: VpcIngressConnection, now: Epoch, pace: Pace) -> IngressStatus:
    step = STEPS[pace.mode].ingress
    if connection.deleted_at is not None:
        deleting = _passed(connection.deleted_at, now, pace) < step
        return IngressStatus.PENDING_DELETION if deleting else IngressStatus.DELETED
    if _passed(connection.created_at, now, pace) < step:
        return IngressStatus.PENDING_CREATION
    if connection.updated_at is not None and _passed(connection.updated_at, now, pace) < step:
        return IngressStatus.PENDING_UPDATE
    return IngressStatus.AVAILABLE


def domain_status(domain: CustomDomain, now: Epoch, pace: Pace) -> DomainStatus | None:
    """None once it is gone."""
    steps = STEPS[pace.mode]
    if domain.deleted_at is not None:
        deleting = _passed(domain.deleted_at, now, pace) < steps.domain_deleting
        return DomainStatus.DELETING if deleting else None
    left = _passed(domain.created_at, now, pace)
    for status, seconds in (
        (DomainStatus.CREATING, steps.domain_creating),
        (DomainStatus.PENDING_CERTIFICATE_DNS_VALIDATION, steps.domain_pending),
        (DomainStatus.BINDING_CERTIFICATE, steps.domain_binding),
    ):
        if left < seconds:
            return status
        left -= seconds
    return DomainStatus.ACTIVE
