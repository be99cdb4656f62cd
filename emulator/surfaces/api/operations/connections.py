"""Connections to repository providers."""

from emulator.decisions.provisioning import ConnectionStatus
from emulator.model.resources import Connection, ProviderType
from emulator.surfaces.api import requests, views
from emulator.surfaces.api.operations.call import Answer, Call
from emulator.surfaces.api.pages import page


async def create_connection(call: Call) -> Answer:
    """Always answered as pending, as on AWS; in the fast pace the next look finds it available."""
    made = await call.account.connections.create(
        call.region,
        call.members["ConnectionName"],
        ProviderType(call.members["ProviderType"]),
        requests.tags(call.members.get("Tags")),
    )
    return {"Connection": views.connection(made, ConnectionStatus.PENDING_HANDSHAKE)}


async def delete_connection(call: Call) -> Answer:
    deleted = await call.account.connections.delete(call.region, call.members["ConnectionArn"])
    return {"Connection": views.connection(deleted, call.account.connections.status(deleted))}


async def list_connections(call: Call) -> Answer:
    name = call.members.get("ConnectionName")
    live = call.account.registry.live(Connection, call.region)
    wanted = [c for c in live if name in {None, c.name}]
    shown, token = page(wanted, lambda c: c.arn, call.members, question=call.question)
    rows = [views.connection(value, call.account.connections.status(value)) for value in shown]
    return {"ConnectionSummaryList": rows, "NextToken": token}
