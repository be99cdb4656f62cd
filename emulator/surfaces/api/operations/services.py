"""Services and their operations."""

from collections.abc import Awaitable, Callable

from emulator.controllers.ledger import Ledger
from emulator.model.operation import Operation
from emulator.model.service import Service, ServiceStatus
from emulator.surfaces.api import requests, views
from emulator.surfaces.api.operations.call import Answer, Call
from emulator.surfaces.api.pages import page


def _accepted(call: Call, result: tuple[Service, Operation]) -> Answer:
    service, operation = result
    return {"Service": views.service(call.platform, service), "OperationId": operation.id}


async def create_service(call: Call) -> Answer:
    wanted = requests.configuration(call.members, rules=call.rules)
    async with call.account.registry.lock:  # nothing it refers to may go away meanwhile
        wanted = call.account.resolved(call.region, wanted, None)
        name = call.members["ServiceName"]
        return _accepted(call, await call.platform.create(name, wanted, region=call.region))


async def update_service(call: Call) -> Answer:
    service = call.live_service()
    call.platform.admit_update(service.id)
    async with call.account.registry.lock:
        current = call.live_service().configuration
        wanted = requests.configuration(call.members, current, rules=call.rules)
        wanted = call.account.resolved(call.region, wanted, current)
        return _accepted(call, await call.platform.update(service.id, wanted))


async def describe_service(call: Call) -> Answer:
    return {"Service": views.service(call.platform, call.service())}


async def list_services(call: Call) -> Answer:
    mine = [s for s in call.platform.services() if s.region == call.region]
    shown, token = page(mine, lambda s: s.id, call.members, question=call.question)
    rows = [views.summary(call.platform, service) for service in shown]
    return {"ServiceSummaryList": rows, "NextToken": token}


async def delete_service(call: Call) -> Answer:
    async with call.account.registry.lock:  # no VPC may get a way to it meanwhile
        return _accepted(call, await call.platform.delete(call.live_service().id))


async def pause_service(call: Call) -> Answer:
    service = call.live_service()
    return await _unless(
        call, service, ServiceStatus.PAUSED, lambda: call.platform.pause(service.id)
    )


async def resume_service(call: Call) -> Answer:
    service = call.live_service()
    return await _unless(
        call, service, ServiceStatus.RUNNING, lambda: call.platform.resume(service.id)
    )


async def _unless(
    call: Call,
    service: Service,
    status: ServiceStatus,
    begin: Callable[[], Awaitable[tuple[Service, Operation]]],
) -> Answer:
    """A service that has the wanted status already is no error: no OperationId says so, which
    is why the member is optional (AWS Copilot counts on it).
    """
    if service.status is status:
        return {"Service": views.service(call.platform, service)}
    return _accepted(call, await begin())


async def start_deployment(call: Call) -> Answer:
    _, operation = await call.platform.start_deployment(call.live_service().id)
    return {"OperationId": operation.id}


async def list_operations(call: Call) -> Answer:
    ledger = call.platform.ledger(call.service().id)
    stored = await call.platform.ports.store.operations(ledger.service.id)
    shown, token = page(stored, lambda o: o.id, call.members, question=call.question)
    return {"OperationSummaryList": [_summary(o, ledger) for o in shown], "NextToken": token}


def _summary(operation: Operation, ledger: Ledger) -> Answer:
    return {
        "Id": operation.id,
        "Type": operation.type,
        "Status": operation.status,
        "TargetArn": ledger.service.arn,
        "StartedAt": operation.started_at,
        "EndedAt": operation.ended_at,
        "UpdatedAt": operation.updated_at,
    }
