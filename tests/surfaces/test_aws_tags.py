"""Tags on every kind of resource through the API."""

import asyncio
import json
from dataclasses import replace

import pytest

from tests.fakes.emulators import SETTINGS
from tests.surfaces.aws_calls import OTHER_REGION, Aws, calling, image_source, private, tags

documented, observed, assumed = pytest.mark.documented, pytest.mark.observed, pytest.mark.assumed
pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]


async def service(aws: Aws, **more):
    return (await aws.begin(**more))["Service"]["ServiceArn"]


async def scaling(aws: Aws, **more):
    return (await aws.scaling(**more))["AutoScalingConfigurationArn"]


async def connection(aws: Aws, **more):
    return (await aws.connection(**more))["ConnectionArn"]


async def observability(aws: Aws, **more):
    return (await aws.observability(**more))["ObservabilityConfigurationArn"]


async def connector(aws: Aws, **more):
    return (await aws.connector(**more))["VpcConnectorArn"]


async def ingress(aws: Aws, **more):
    leads_to = (await aws.service("hidden", **private()))["ServiceArn"]
    arn = (await aws.ingress(leads_to, **more))["VpcIngressConnectionArn"]
    await aws.passes(1)
    return arn


KINDS = [service, scaling, connection, observability, connector, ingress]
every_kind = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
DELETIONS = {
    scaling: ("DeleteAutoScalingConfiguration", "AutoScalingConfigurationArn"),
    connection: ("DeleteConnection", "ConnectionArn"),
    observability: ("DeleteObservabilityConfiguration", "ObservabilityConfigurationArn"),
    connector: ("DeleteVpcConnector", "VpcConnectorArn"),
    ingress: ("DeleteVpcIngressConnection", "VpcIngressConnectionArn"),
}


async def refused(aws, arn, code, operations=("List", "Tag", "Untag")):
    """All three operations answer the same."""
    more = {"List": {}, "Tag": {"Tags": tags(a="1")}, "Untag": {"TagKeys": ["a"]}}
    names = {"List": "ListTagsForResource", "Tag": "TagResource", "Untag": "UntagResource"}
    for each in operations:
        refusal = await aws.refused(names[each], ResourceArn=arn, **more[each])
        assert refusal.code == code, each


class TestEveryKind:
    @every_kind
    @observed(source="clients.md 1.10: Terraform asks for tags after every read")
    async def test_has_the_tags_that_it_was_made_with(self, aws, make):
        arn = await make(aws, Tags=tags(team="blue", stage="test"))
        assert await aws.tags(arn) == {"team": "blue", "stage": "test"}

    @every_kind
    async def test_has_none_unless_some_are_given(self, aws, make):
        arn = await make(aws)
        assert await aws("ListTagsForResource", ResourceArn=arn) == {"Tags": []}

    @every_kind
    @documented(source="service model: added if new, else the value is updated; answers are empty")
    async def test_can_be_tagged_and_untagged(self, aws, make):
        arn = await make(aws, Tags=tags(team="blue"))
        change = tags(team="red", stage="test")
        assert await aws("TagResource", ResourceArn=arn, Tags=change) == {}
        assert await aws.tags(arn) == {"team": "red", "stage": "test"}
        keys = ["team", "nobody"]
        assert await aws("UntagResource", ResourceArn=arn, TagKeys=keys) == {}
        assert await aws.tags(arn) == {"stage": "test"}

    @every_kind
    async def test_keeps_its_tags_through_a_restart(self, make):
        async with calling() as aws:
            arn, machine = await make(aws, Tags=tags(team="blue")), aws.machine
        async with calling(machine=machine) as aws:
            assert await aws.tags(arn) == {"team": "blue"}

    @every_kind
    async def test_has_no_tags_in_another_region(self, aws, make):
        arn = await make(aws)
        await refused(aws.at(OTHER_REGION), arn, "ResourceNotFoundException")

    @every_kind
    @observed(source="clients.md 1.1: unknown means ResourceNotFoundException")
    async def test_must_be_there(self, aws, make):
        arn = await make(aws)
        unknown = arn[:-1] + "x"
        for each in (unknown, arn.replace("arn:aws:", "arn:aws-cn:")):
            await refused(aws, each, "ResourceNotFoundException")

    @every_kind
    async def test_loses_no_tag_where_many_are_set_at_once(self, aws, make):
        arn = await make(aws)
        bodies = [{"ResourceArn": arn, "Tags": tags(**{f"k{n}": "1"})} for n in range(8)]
        calls = (aws.raw("TagResource", json.dumps(body).encode()) for body in bodies)
        assert {reply.status for reply in await asyncio.gather(*calls)} == {200}
        assert len(await aws.tags(arn)) == 8

    @pytest.mark.parametrize("make", DELETIONS, ids=lambda make: make.__name__)
    @assumed(why="what is deleted can be described, but has no tags")
    async def test_has_no_tags_once_it_is_deleted(self, aws, make):
        arn = await make(aws, Tags=tags(team="blue"))
        operation, member = DELETIONS[make]
        await aws(operation, **{member: arn})
        await refused(aws, arn, "ResourceNotFoundException")

    async def test_has_no_tags_once_it_is_deleted_as_a_service_too(self, aws):
        arn = (await aws.service(Tags=tags(team="blue")))["ServiceArn"]
        await aws.changed("DeleteService", arn)
        await refused(aws, arn, "ResourceNotFoundException")
        again = (await aws.service())["ServiceArn"]
        assert await aws.tags(again) == {}


class TestTheTagForWebsockets:
    @documented(source="roadmap issue 13: App Runner has none; here they are an extension")
    async def test_takes_effect_at_once(self, aws):
        service = await aws.service()
        balancer = aws.emulator.platform.router.by_host(service["ServiceUrl"])
        for value, passes in (("off", False), ("on", True)):
            switch = [{"Key": "emulator:websockets", "Value": value}]
            await aws("TagResource", ResourceArn=service["ServiceArn"], Tags=switch)
            assert balancer.websockets == passes
        switch = [{"Key": "emulator:websockets", "Value": "perhaps"}]
        refusal = await aws.refused("TagResource", ResourceArn=service["ServiceArn"], Tags=switch)
        assert "takes on or off, not 'perhaps'" in refusal.message

    async def test_has_no_effect_in_a_strict_emulator(self):
        async with calling(replace(SETTINGS, strict=True)) as aws:
            switch = [{"Key": "emulator:websockets", "Value": "on"}]
            service = await aws.service(Tags=switch)
            assert not aws.emulator.platform.router.by_host(service["ServiceUrl"]).websockets


class TestTags:
    @documented(source="service model: keys of 1 to 128 characters, values of 0 to 256")
    async def test_may_be_as_long_as_the_model_says_and_of_any_text(self, aws):
        arn = await connection(aws)
        wanted = {"k" * 128: "v" * 256, "ключ ☃": "", " ": "a\nb", "Aws:x": "=", "": None}
        del wanted[""]
        await aws("TagResource", ResourceArn=arn, Tags=tags(**wanted))
        assert await aws.tags(arn) == wanted

    @documented(source="service model: TagKey, TagValue")
    @pytest.mark.parametrize(
        "tag",
        [
            {"Key": ""},
            {"Key": "k" * 129},
            {"Key": "a", "Value": "v" * 257},
            {"Key": "aws:team", "Value": "1"},
            {"Value": "1"},
            {},
        ],
    )
    async def test_are_refused_where_the_model_says_so(self, aws, tag):
        arn = await connection(aws)
        refusal = await aws.refused("TagResource", ResourceArn=arn, Tags=[tag])
        assert refusal.code == "InvalidRequestException"
        refusal = await aws.refused(
            "CreateConnection", ConnectionName="other", ProviderType="GITHUB", Tags=[tag]
        )
        assert refusal.code == "InvalidRequestException"
        assert await aws.tags(arn) == {}

    @assumed(why="a tag without a value has an empty one")
    async def test_may_lack_a_value(self, aws):
        arn = await connection(aws)
        await aws("TagResource", ResourceArn=arn, Tags=[{"Key": "team"}])
        assert await aws.tags(arn) == {"team": ""}

    @assumed(why="50 is AWS's usual limit")
    async def test_are_fifty_at_most(self, aws):
        arn = await connection(aws)
        fifty = tags(**{f"key{n}": "1" for n in range(50)})
        await aws("TagResource", ResourceArn=arn, Tags=fifty)
        await aws("TagResource", ResourceArn=arn, Tags=tags(key0="2"))
        refusal = await aws.refused("TagResource", ResourceArn=arn, Tags=tags(one="more"))
        assert refusal.code == "InvalidRequestException"
        assert len(await aws.tags(arn)) == 50
        await aws("UntagResource", ResourceArn=arn, TagKeys=["key0"])
        await aws("TagResource", ResourceArn=arn, Tags=tags(one="more"))
        refusal = await aws.refused(
            "CreateConnection",
            ConnectionName="other",
            ProviderType="GITHUB",
            Tags=[*fifty, *tags(one="more")],
        )
        assert refusal.code == "InvalidRequestException"

    @assumed(why="nobody could tell which of the two counts")
    async def test_have_each_key_once(self, aws):
        arn = await connection(aws)
        twice = [*tags(a="1"), *tags(a="2")]
        refusal = await aws.refused("TagResource", ResourceArn=arn, Tags=twice)
        assert refusal.code == "InvalidRequestException"
        assert await aws.tags(arn) == {}

    @pytest.mark.parametrize("tail", ["service/x", "balloon/red/x", "service", "connection/x"])
    async def test_are_of_resources(self, aws, tail):
        text = aws.arn(tail)
        code = "ResourceNotFoundException" if tail == "service/x" else "InvalidRequestException"
        refusal = await aws.refused("ListTagsForResource", ResourceArn=text)
        assert refusal.code == code

    async def test_may_be_of_the_configuration_that_every_account_has(self, aws):
        text = aws.arn("autoscalingconfiguration/DefaultConfiguration/1/" + "0" * 31 + "1")
        await aws("TagResource", ResourceArn=text, Tags=tags(team="blue"))
        assert await aws.tags(text) == {"team": "blue"}
        answer = await aws("ListAutoScalingConfigurations")
        (row,) = answer["AutoScalingConfigurationSummaryList"]
        assert (row["AutoScalingConfigurationArn"], row["IsDefault"]) == (text, True)


class TestTagsOfAService:
    @observed(source="clients.md 2.2: tags alone cause no update")
    async def test_are_no_operation_and_no_news(self, aws):
        made = await aws.service()
        await aws.passes(5)
        await aws("TagResource", ResourceArn=made["ServiceArn"], Tags=tags(team="blue"))
        await aws.passes(5)
        assert await aws.described(made["ServiceArn"]) == made
        assert len(await aws.operations(made["ServiceArn"])) == 1

    @observed(source="apprunner.md 9.1: Terraform tags just before it updates")
    async def test_stay_through_an_update_and_through_one_that_fails(self, aws):
        text = (await aws.service(Tags=tags(team="blue")))["ServiceArn"]
        await aws("TagResource", ResourceArn=text, Tags=tags(stage="test"))
        await aws("UpdateService", ServiceArn=text, **image_source("app:2"))
        await aws("TagResource", ResourceArn=text, Tags=tags(during="1"))
        await aws.settled(text)
        expected = {"team": "blue", "stage": "test", "during": "1"}
        assert await aws.tags(text) == expected
        await aws("UpdateService", ServiceArn=text, **image_source("missing:1"))
        await aws("UntagResource", ResourceArn=text, TagKeys=["during"])
        await aws.settled(text)
        del expected["during"]
        assert await aws.tags(text) == expected

    async def test_switch_the_emulators_extensions_at_once(self, aws):
        text = (await aws.service())["ServiceArn"]
        ledger = aws.emulator.platform.ledger("hello")
        wanted = {"emulator:freeze-after": "2", "emulator:scale-to-zero-after": "off"}
        await aws("TagResource", ResourceArn=text, Tags=tags(**wanted))
        extensions = ledger.service.configuration.extensions
        assert (extensions.freeze_after, extensions.scale_to_zero_after) == (2.0, None)
        await aws("UntagResource", ResourceArn=text, TagKeys=list(wanted))
        extensions = ledger.service.configuration.extensions
        assert (extensions.freeze_after, extensions.scale_to_zero_after) == (10.0, 300.0)

    @pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf", "1e400", ""])
    async def test_that_switch_extensions_are_checked(self, aws, value):
        text = (await aws.service())["ServiceArn"]
        wanted = tags(**{"emulator:freeze-after": value})
        refusal = await aws.refused("TagResource", ResourceArn=text, Tags=wanted)
        assert refusal.code == "InvalidRequestException"
        assert "emulator:freeze-after" in refusal.message
        assert await aws.tags(text) == {}
        refusal = await aws.refused(
            "CreateService", ServiceName="other", **image_source(), Tags=wanted
        )
        assert refusal.code == "InvalidRequestException"
