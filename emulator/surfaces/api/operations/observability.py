"""Observability configurations."""

from emulator.decisions.revisions import latest_of
from emulator.model.resources import ObservabilityConfiguration
from emulator.surfaces.api import requests
from emulator.surfaces.api.operations.call import Answer, Call
from emulator.surfaces.api.pages import page


def _summary(value: ObservabilityConfiguration) -> Answer:
    return {
        "ObservabilityConfigurationArn": value.arn,
        "ObservabilityConfigurationName": value.name,
        "ObservabilityConfigurationRevision": value.revision,
    }


def _view(call: Call, value: ObservabilityConfiguration) -> Answer:
    live = call.account.registry.live(ObservabilityConfiguration, value.region)
    return {
        "ObservabilityConfiguration": {
            **_summary(value),
            "TraceConfiguration": {"Vendor": value.vendor} if value.vendor else None,
            "Latest": value in latest_of(live),
            "Status": "ACTIVE" if value.live else "INACTIVE",
            "CreatedAt": value.created_at,
            "DeletedAt": value.deleted_at,
        }
    }


async def create_observability_configuration(call: Call) -> Answer:
    made = await call.account.observability.create(
        call.region,
        call.members["ObservabilityConfigurationName"],
        call.members.get("TraceConfiguration", {}).get("Vendor"),
        requests.tags(call.members.get("Tags")),
    )
    return _view(call, made)


async def describe_observability_configuration(call: Call) -> Answer:
    arn = call.members["ObservabilityConfigurationArn"]
    registry = call.account.registry
    return _view(call, registry.find(ObservabilityConfiguration, call.region, arn))


async def delete_observability_configuration(call: Call) -> Answer:
    arn = call.members["ObservabilityConfigurationArn"]
    return _view(call, await call.account.observability.delete(call.region, arn))


async def list_observability_configurations(call: Call) -> Answer:
    """`LatestOnly` left out means false, as for auto scaling configurations."""
    live = call.account.registry.live(ObservabilityConfiguration, call.region)
    if call.members.get("LatestOnly"):
        live = latest_of(live)
    name = call.members.get("ObservabilityConfigurationName")
    wanted = [c for c in live if name in {None, c.name}]
    shown, token = page(wanted, lambda c: c.arn, call.members, question=call.question)
    rows = [_summary(value) for value in shown]
    return {"ObservabilityConfigurationSummaryList": rows, "NextToken": token}
