"""Tags, on every kind of resource that has an ARN."""

from emulator.model.arn import Kind, parse
from emulator.model.errors import InvalidRequestException, ResourceNotFoundException
from emulator.model.resources import (
    AutoScalingConfiguration,
    Connection,
    Named,
    ObservabilityConfiguration,
    VpcConnector,
    VpcIngressConnection,
)
from emulator.surfaces.api import requests
from emulator.surfaces.api.operations.call import Answer, Call

_KINDS: dict[Kind, type[Named]] = {
    kind.kind: kind
    for kind in (
        AutoScalingConfiguration,
        Connection,
        ObservabilityConfiguration,
        VpcConnector,
        VpcIngressConnection,
    )
}


def _named(call: Call) -> Named | None:
    """The resource, None for a service."""
    text = call.members["ResourceArn"]
    arn = parse(text)
    if arn is None:
        raise InvalidRequestException(f"The resource ARN you specified isn't valid. ARN: '{text}'")
    if arn.kind is Kind.SERVICE:
        return None
    found = call.account.registry.find(_KINDS[arn.kind], call.region, text)
    if not found.live:
        raise ResourceNotFoundException(f"{text} has been deleted.")
    return found


def _tags(call: Call) -> dict[str, str]:
    named = _named(call)
    tagged = named.tags if named else call.live_service("ResourceArn").configuration.tags
    return dict(tagged)


async def _save(call: Call, tags: dict[str, str]) -> None:
    named = _named(call)
    if named is None:
        service = call.live_service("ResourceArn")
        extensions = requests.extensions(tags, strict=call.rules.strict)
        await call.platform.tag(service.id, tags, extensions)
    else:
        await call.account.tag(named, tags)


async def list_tags_for_resource(call: Call) -> Answer:
    return {"Tags": [{"Key": key, "Value": value} for key, value in _tags(call).items()]}


async def tag_resource(call: Call) -> Answer:
    new = requests.tags(call.members["Tags"])
    async with call.account.registry.lock:
        await _save(call, requests.within_limit(_tags(call) | new))
    return {}


async def untag_resource(call: Call) -> Answer:
    gone = set(call.members["TagKeys"])
    async with call.account.registry.lock:
        await _save(call, {key: value for key, value in _tags(call).items() if key not in gone})
    return {}
