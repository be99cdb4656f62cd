"""Builders of situations, so that a test says only what matters to it."""

from dataclasses import replace

from emulator.decisions.reconcile import Situation
from emulator.model.configuration import AutoScaling, CodeSource, ServiceConfiguration
from emulator.model.identifiers import Epoch, InstanceId, OperationId, RevisionId, ServiceId
from emulator.model.instance import (
    ContainerState,
    Endpoint,
    Exit,
    Health,
    Instance,
    ObservedInstance,
)
from emulator.model.operation import Operation, OperationStatus, OperationType
from emulator.model.revision import Revision
from emulator.model.service import Service, ServiceStatus

NOW = Epoch(1_000_000.0)
SERVICE = ServiceId("5" * 32)
CONFIGURATION = ServiceConfiguration(source=CodeSource(repository="/app", branch="main"))


def revision(number: int, *, image: str = "image") -> Revision:
    return Revision(
        id=RevisionId(f"r{number}"), service=SERVICE, image=image, created_at=Epoch(float(number))
    )


def service(
    status: ServiceStatus = ServiceStatus.RUNNING,
    *,
    revision: Revision | None = None,
    paused: bool = False,
    queued: str | None = None,
    min_size: int = 1,
) -> Service:
    return Service(
        id=SERVICE,
        name="hello",
        region="us-east-1",
        account="000000000000",
        label="abcdefghij",
        port=9000,
        status=status,
        configuration=replace(CONFIGURATION, scaling=AutoScaling(min_size=min_size)),
        serving=CONFIGURATION if revision else None,
        revision=revision.id if revision else None,
        paused=paused,
        queued=queued,
        created_at=NOW,
        updated_at=NOW,
    )


def operation(
    type_: OperationType = OperationType.START_DEPLOYMENT,
    status: OperationStatus = OperationStatus.IN_PROGRESS,
    *,
    target: Revision | None = None,
    deadline: float | None = None,
    reason: str = "",
    cancelled: str = "",
) -> Operation:
    return Operation(
        id=OperationId("00000001-0000-4000-8000-000000000000"),
        service=SERVICE,
        type=type_,
        status=status,
        started_at=NOW,
        updated_at=NOW,
        target=target.id if target else None,
        deadline=Epoch(deadline) if deadline is not None else None,
        reason=reason,
        cancelled=cancelled,
    )


def instance(
    name: str,
    of: Revision | None,
    *,
    state: ContainerState = ContainerState.RUNNING,
    health: Health = Health.HEALTHY,
    fits: Revision | None = None,
    idle_since: float | None = NOW,
    in_flight: int = 0,
    draining: bool = False,
    drain_deadline: float | None = None,
    failure: str = "",
    exit_code: int = 1,
) -> Instance:
    like = of or fits
    observed = ObservedInstance(
        id=InstanceId(name),
        service=SERVICE,
        state=state,
        fingerprint=like.fingerprint if like else "none",
        revision=of.id if of else None,
        endpoint=Endpoint(host="10.0.0.1", port=8080),
        started_at=NOW if of else None,
        exit=Exit(code=exit_code) if state is ContainerState.EXITED else None,
    )
    return Instance(
        observed=observed,
        health=health,
        draining=draining,
        drain_deadline=Epoch(drain_deadline) if drain_deadline is not None else None,
        in_flight=in_flight,
        idle_since=None if in_flight or idle_since is None else Epoch(idle_since),
        failure=failure,
    )


def situation(
    value: Service,
    *instances: Instance,
    operation: Operation | None = None,
    serving: Revision | None = None,
    target: Revision | None = None,
    size: int = 1,
    **more: object,
) -> Situation:
    return Situation(
        now=NOW,
        service=value,
        operation=operation,
        deadline=operation.deadline if operation else None,
        serving=serving,
        target=target,
        instances=instances,
        size=size,
        **more,  # type: ignore[arg-type]
    )
