"""Auto scaling configurations."""

from emulator.decisions.revisions import latest_of
from emulator.model.configuration import AutoScaling
from emulator.model.resources import AutoScalingConfiguration
from emulator.surfaces.api import requests
from emulator.surfaces.api.operations.call import Answer, Call
from emulator.surfaces.api.pages import page


def _summary(call: Call, value: AutoScalingConfiguration) -> Answer:
    return {
        "AutoScalingConfigurationArn": value.arn,
        "AutoScalingConfigurationName": value.name,
        "AutoScalingConfigurationRevision": value.revision,
        "Status": "ACTIVE" if value.live else "INACTIVE",
        "CreatedAt": value.created_at,
        "HasAssociatedService": bool(call.account.auto_scaling.users(value)),
        "IsDefault": value.is_default,
    }


def _view(call: Call, value: AutoScalingConfiguration) -> Answer:
    live = call.account.registry.live(AutoScalingConfiguration, value.region)
    return {
        "AutoScalingConfiguration": {
            **_summary(call, value),
            "Latest": value in latest_of(live),
            "MaxConcurrency": value.scaling.max_concurrency,
            "MinSize": value.scaling.min_size,
            "MaxSize": value.scaling.max_size,
            "DeletedAt": value.deleted_at,
        }
    }


async def create_auto_scaling_configuration(call: Call) -> Answer:
    made = await call.account.auto_scaling.create(
        call.region,
        call.members["AutoScalingConfigurationName"],
        requests.scaling(call.members, AutoScaling()),
        requests.tags(call.members.get("Tags")),
    )
    return _view(call, made)


async def describe_auto_scaling_configuration(call: Call) -> Answer:
    return _view(call, _found(call))


def _found(call: Call) -> AutoScalingConfiguration:
    arn = call.members["AutoScalingConfigurationArn"]
    return call.account.registry.find(AutoScalingConfiguration, call.region, arn)


async def delete_auto_scaling_configuration(call: Call) -> Answer:
    deleted = await call.account.auto_scaling.delete(
        call.region,
        call.members["AutoScalingConfigurationArn"],
        all_revisions=call.members.get("DeleteAllRevisions", False),
    )
    return _view(call, deleted)


async def list_auto_scaling_configurations(call: Call) -> Answer:
    """`LatestOnly` left out means false: the Go SDK cannot send false in any other way."""
    live = call.account.registry.live(AutoScalingConfiguration, call.region)
    if call.members.get("LatestOnly"):
        live = latest_of(live)
    name = call.members.get("AutoScalingConfigurationName")
    wanted = [c for c in live if name in {None, c.name}]
    shown, token = page(wanted, lambda c: c.arn, call.members, question=call.question)
    rows = [_summary(call, value) for value in shown]
    return {"AutoScalingConfigurationSummaryList": rows, "NextToken": token}


async def list_services_for_auto_scaling_configuration(call: Call) -> Answer:
    users = [s.arn for s in call.account.auto_scaling.users(_found(call))]
    shown, token = page(users, lambda arn: arn, call.members, question=call.question)
    return {"ServiceArnList": shown, "NextToken": token}


async def update_default_auto_scaling_configuration(call: Call) -> Answer:
    arn = call.members["AutoScalingConfigurationArn"]
    return _view(call, await call.account.auto_scaling.set_default(call.region, arn))
