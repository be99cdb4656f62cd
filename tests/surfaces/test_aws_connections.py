"""Connections to repository providers through the API."""

import asyncio
import json

import pytest

from tests.surfaces.aws_calls import OTHER_REGION, calling, code_source, repository_of, with_quotas

documented, observed, assumed = pytest.mark.documented, pytest.mark.observed, pytest.mark.assumed
pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
ARN = "ConnectionArn"


async def listed(aws, **members):
    return (await aws("ListConnections", **members))["ConnectionSummaryList"]


async def status(aws, name="github"):
    (row,) = await listed(aws, ConnectionName=name)
    return row["Status"]


class TestCreate:
    @documented(source="service model; Terraform: PENDING_HANDSHAKE after creation")
    @pytest.mark.parametrize("provider", ["GITHUB", "BITBUCKET"])
    async def test_waits_for_its_handshake(self, aws, provider):
        made = await aws.connection(ProviderType=provider)
        id_ = made[ARN].rpartition("/")[2]
        assert len(id_) == 32
        assert made == {
            "ConnectionName": "github",
            ARN: aws.arn(f"connection/github/{id_}"),
            "ProviderType": provider,
            "Status": "PENDING_HANDSHAKE",
            "CreatedAt": aws.machine.clock.start,
        }

    @assumed(why="there is no console, and nobody wants to wait for one")
    async def test_is_available_at_the_next_look(self, aws):
        await aws.connection()
        assert await status(aws) == "AVAILABLE"

    @documented(source="developer guide, manage-connections: somebody has to click")
    async def test_waits_until_somebody_authorizes_it_at_app_runners_pace(self, realistic):
        await realistic.connection()
        await realistic.passes(3600)
        assert await status(realistic) == "PENDING_HANDSHAKE"
        await realistic.emulator.platform.account.connections.authorize(realistic.region, "github")
        assert await status(realistic) == "AVAILABLE"

    @documented(source="service model: unique in the account and Region")
    async def test_needs_a_name_of_its_own(self, aws):
        first = await aws.connection()
        refusal = await aws.refused(
            "CreateConnection", ConnectionName="github", ProviderType="BITBUCKET"
        )
        assert refusal.code == "InvalidRequestException"
        assert refusal.message.endswith("already exists: github")
        await aws.at(OTHER_REGION).connection()
        await aws("DeleteConnection", ConnectionArn=first[ARN])
        assert (await aws.connection())[ARN] != first[ARN]

    async def test_is_made_once_of_several_that_come_together(self, aws):
        body = json.dumps({"ConnectionName": "github", "ProviderType": "GITHUB"}).encode()
        replies = await asyncio.gather(*(aws.raw("CreateConnection", body) for _ in range(8)))
        assert sorted(reply.status for reply in replies) == [200, *[400] * 7]

    @documented(source="service model: ProviderType")
    @pytest.mark.parametrize("provider", ["GITLAB", "github", ""])
    async def test_knows_two_providers(self, aws, provider):
        refusal = await aws.refused(
            "CreateConnection", ConnectionName="github", ProviderType=provider
        )
        assert refusal.code == "InvalidRequestException"
        assert "[GITHUB, BITBUCKET]" in refusal.message

    @documented(source="developer guide, architecture: 10 connections")
    async def test_stops_at_ten(self, aws):
        arns = [(await aws.connection(f"name{number}"))[ARN] for number in range(10)]
        refusal = await aws.refused(
            "CreateConnection", ConnectionName="eleventh", ProviderType="GITHUB"
        )
        assert (refusal.status, refusal.code) == (402, "ServiceQuotaExceededException")
        await aws("DeleteConnection", ConnectionArn=arns[0])
        await aws.connection("eleventh")
        await aws.at(OTHER_REGION).connection("eleventh")

    async def test_stops_where_the_quota_says(self):
        async with calling(with_quotas(connections=0)) as aws:
            refusal = await aws.refused(
                "CreateConnection", ConnectionName="github", ProviderType="GITHUB"
            )
            assert refusal.code == "ServiceQuotaExceededException"


class TestUse:
    @documented(source="developer guide: a connection must be available to create a service")
    async def test_waits_for_the_handshake(self, realistic):
        repository_of(realistic.machine)
        arn = (await realistic.connection())[ARN]
        wanted = {"ServiceName": "hello"} | code_source(arn)
        refusal = await realistic.refused("CreateService", **wanted)
        assert refusal.code == "InvalidRequestException"
        assert "PENDING_HANDSHAKE" in refusal.message
        await realistic.emulator.platform.account.connections.authorize(realistic.region, "github")
        await realistic("CreateService", **wanted)

    async def test_is_impossible_after_deletion(self, aws):
        repository_of(aws.machine)
        arn = (await aws.connection())[ARN]
        await aws("DeleteConnection", ConnectionArn=arn)
        refusal = await aws.refused("CreateService", ServiceName="hello", **code_source(arn))
        assert refusal.code == "InvalidRequestException"


class TestDelete:
    @documented(source="AWS CLI, example of delete-connection")
    async def test_answers_with_the_deleted_connection(self, aws):
        made = await aws.connection()
        answer = await aws("DeleteConnection", ConnectionArn=made[ARN])
        assert answer == {"Connection": made | {"Status": "DELETED"}}
        assert await listed(aws) == []
        refusal = await aws.refused("DeleteConnection", ConnectionArn=made[ARN])
        assert refusal.code == "ResourceNotFoundException"

    @documented(source="service model: fails while a running service uses it")
    @assumed(why="a paused service uses it as well: it can be resumed")
    async def test_is_refused_while_a_service_uses_it(self, aws):
        repository_of(aws.machine)
        arn = (await aws.connection())[ARN]
        service = await aws.service(**code_source(arn))
        for change in ("PauseService", "ResumeService"):
            refusal = await aws.refused("DeleteConnection", ConnectionArn=arn)
            assert refusal.code == "InvalidRequestException"
            assert service["ServiceArn"] in refusal.message
            await aws.changed(change, service["ServiceArn"])
        await aws.changed("DeleteService", service["ServiceArn"])
        await aws("DeleteConnection", ConnectionArn=arn)

    @observed(source="clients.md 1.1: unknown means ResourceNotFoundException")
    async def test_is_of_a_whole_arn_that_is_there(self, aws):
        made = (await aws.connection())[ARN]
        for arn in (
            made.replace(aws.region, OTHER_REGION),
            made.replace("arn:aws:", "arn:aws-cn:"),
            made[:-1] + "x",
        ):
            refusal = await aws.refused("DeleteConnection", ConnectionArn=arn)
            assert refusal.code == "ResourceNotFoundException"
        for arn in (aws.arn("connection/github"), aws.arn("connection/github/1/x")):
            refusal = await aws.refused("DeleteConnection", ConnectionArn=arn)
            sentence = f"The connection ARN you specified isn't valid. ARN: '{arn}'"
            assert (refusal.code, refusal.message) == ("InvalidRequestException", sentence)
        elsewhere = await aws.at(OTHER_REGION).refused("DeleteConnection", ConnectionArn=made)
        assert elsewhere.code == "ResourceNotFoundException"


class TestList:
    @observed(source="clients.md 2.1: filtered by name exactly one, or an empty list")
    async def test_can_be_of_one_name(self, aws):
        made = await aws.connection("github")
        await aws.connection("github2")
        by_name = await listed(aws, ConnectionName="github")
        assert by_name == [made | {"Status": "AVAILABLE"}]
        assert await listed(aws, ConnectionName="nobody") == []

    async def test_is_newest_first_and_of_one_region(self, aws):
        for name in ("first", "second"):
            await aws.connection(name)
            await aws.passes(1)
        assert [row["ConnectionName"] for row in await listed(aws)] == ["second", "first"]
        assert await listed(aws.at(OTHER_REGION)) == []


async def test_what_was_authorized_stays_so_after_a_restart(realistic):
    await realistic.connection()
    await realistic.emulator.platform.account.connections.authorize(realistic.region, "github")
    machine, settings = realistic.machine, realistic.emulator.platform.settings
    await realistic.emulator.__aexit__(None, None, None)
    async with calling(settings, machine) as aws:
        assert await status(aws) == "AVAILABLE"
