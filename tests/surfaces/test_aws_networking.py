"""VPC connectors and VPC ingress connections through the API."""

import asyncio
import json

import pytest

from emulator.model.settings import PaceMode
from tests.fakes.world import Behaviour
from tests.surfaces.aws_calls import (
    ACCOUNT,
    OTHER_REGION,
    at_pace,
    calling,
    private,
    through,
    with_quotas,
)

documented, observed, assumed = pytest.mark.documented, pytest.mark.observed, pytest.mark.assumed
pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
CONNECTOR, INGRESS = "VpcConnectorArn", "VpcIngressConnectionArn"
VPC = {"VpcId": "vpc-1", "VpcEndpointId": "vpce-1"}


async def connector(aws, arn):
    return (await aws("DescribeVpcConnector", VpcConnectorArn=arn))["VpcConnector"]


async def ingress(aws, arn):
    answer = await aws("DescribeVpcIngressConnection", VpcIngressConnectionArn=arn)
    return answer["VpcIngressConnection"]


class TestConnector:
    @documented(source="service model; one revision per name")
    @observed(source="clients.md 1.5: ACTIVE in upper case")
    async def test_shows_what_was_asked_for(self, aws):
        vpc = {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroups": ["sg-1"]}
        made = await aws.connector(**vpc)
        id_ = made[CONNECTOR].rpartition("/")[2]
        assert made == {
            CONNECTOR: aws.arn(f"vpcconnector/egress/1/{id_}"),
            "VpcConnectorName": "egress",
            "VpcConnectorRevision": 1,
            **vpc,
            "Status": "ACTIVE",
            "CreatedAt": aws.machine.clock.start,
        }
        assert await connector(aws, made[CONNECTOR]) == made

    @documented(source="service model: names, and one revision of each at this time")
    async def test_needs_a_name_of_its_own(self, aws):
        first = await aws.connector()
        refusal = await aws.refused(
            "CreateVpcConnector", VpcConnectorName="egress", Subnets=["subnet-2"]
        )
        assert refusal.code == "InvalidRequestException"
        assert refusal.message.endswith("already exists: egress")
        await aws.at(OTHER_REGION).connector()
        await aws("DeleteVpcConnector", VpcConnectorArn=first[CONNECTOR])
        second = await aws.connector()
        assert second["VpcConnectorRevision"] == 1
        assert second[CONNECTOR] != first[CONNECTOR]

    @documented(source="service model: 4 to 40 characters")
    @pytest.mark.parametrize(
        ("name", "fits"), [("abcd", True), ("a" * 40, True), ("abc", False), ("a" * 41, False)]
    )
    async def test_has_a_name_of_up_to_forty_characters(self, aws, name, fits):
        members = {"VpcConnectorName": name, "Subnets": ["subnet-1"]}
        if fits:
            await aws("CreateVpcConnector", **members)
        else:
            refusal = await aws.refused("CreateVpcConnector", **members)
            assert "'vpcConnectorName'" in refusal.message

    @documented(source="service model: Subnets is required")
    async def test_needs_a_subnet(self, aws):
        for subnets in ([], None):
            refusal = await aws.refused(
                "CreateVpcConnector", VpcConnectorName="egress", Subnets=subnets
            )
            assert refusal.code == "InvalidRequestException"

    @documented(source="developer guide, architecture: 10 connectors")
    async def test_stops_at_ten(self, aws):
        arns = [(await aws.connector(f"name{number}"))[CONNECTOR] for number in range(10)]
        refusal = await aws.refused(
            "CreateVpcConnector", VpcConnectorName="eleventh", Subnets=["subnet-1"]
        )
        assert (refusal.status, refusal.code) == (402, "ServiceQuotaExceededException")
        await aws("DeleteVpcConnector", VpcConnectorArn=arns[0])
        await aws.connector("eleventh")

    async def test_stops_where_the_quota_says(self):
        async with calling(with_quotas(vpc_connectors=1)) as aws:
            await aws.connector()
            refusal = await aws.refused(
                "CreateVpcConnector", VpcConnectorName="other", Subnets=["subnet-1"]
            )
            assert refusal.code == "ServiceQuotaExceededException"

    @documented(source="service model: INACTIVE, DeletedAt")
    async def test_is_described_for_an_hour_after_its_deletion(self, aws):
        made = await aws.connector()
        arn = made[CONNECTOR]
        await aws.passes(5)
        gone = (await aws("DeleteVpcConnector", VpcConnectorArn=arn))["VpcConnector"]
        assert gone == made | {"Status": "INACTIVE", "DeletedAt": made["CreatedAt"] + 5}
        assert (await aws("ListVpcConnectors"))["VpcConnectors"] == []
        refusal = await aws.refused("DeleteVpcConnector", VpcConnectorArn=arn)
        assert refusal.code == "ResourceNotFoundException"
        await aws.passes(3590)
        assert await connector(aws, arn) == gone
        await aws.passes(700)
        refusal = await aws.refused("DescribeVpcConnector", VpcConnectorArn=arn)
        assert refusal.code == "ResourceNotFoundException"

    @observed(source="roadmap issue 161: the sentence")
    async def test_is_kept_while_a_service_uses_it(self, aws):
        arn, other = (await aws.connector())[CONNECTOR], (await aws.connector("other"))[CONNECTOR]
        service = await aws.service(**through(arn))
        sentence = f"Provided VPC connector arn is being used by other services. ARN: {arn}"
        refusal = await aws.refused("DeleteVpcConnector", VpcConnectorArn=arn)
        assert (refusal.code, refusal.message) == ("InvalidRequestException", sentence)
        await aws("UpdateService", ServiceArn=service["ServiceArn"], **through(other))
        refusal = await aws.refused("DeleteVpcConnector", VpcConnectorArn=arn)
        assert refusal.message == sentence
        await aws.settled(service["ServiceArn"])
        await aws("DeleteVpcConnector", VpcConnectorArn=arn)

    @documented(source="service model: the ARN must be a full one")
    @pytest.mark.parametrize("operation", ["DescribeVpcConnector", "DeleteVpcConnector"])
    async def test_is_named_by_a_whole_arn(self, aws, operation):
        arn = (await aws.connector())[CONNECTOR]
        for partial in ("vpcconnector/egress", "vpcconnector/egress/1"):
            refusal = await aws.refused(operation, VpcConnectorArn=aws.arn(partial))
            assert refusal.code == "InvalidRequestException"
            assert "isn't valid" in refusal.message
        for unknown in (arn.replace("/1/", "/2/"), arn.replace(aws.region, OTHER_REGION)):
            refusal = await aws.refused(operation, VpcConnectorArn=unknown)
            assert refusal.code == "ResourceNotFoundException"
        refusal = await aws.at(OTHER_REGION).refused(operation, VpcConnectorArn=arn)
        assert refusal.code == "ResourceNotFoundException"

    @documented(source="service model: the list has whole objects")
    async def test_is_whole_in_the_list(self, aws):
        made = []
        for name in ("first", "second"):
            made.insert(0, await aws.connector(name))
            await aws.passes(1)
        assert (await aws("ListVpcConnectors"))["VpcConnectors"] == made
        assert (await aws.at(OTHER_REGION)("ListVpcConnectors"))["VpcConnectors"] == []


class TestIngress:
    @documented(source="service model; Terraform: PENDING_CREATION, AVAILABLE")
    async def test_becomes_available(self, aws):
        hidden = (await aws.service(**private()))["ServiceArn"]
        made = await aws.ingress(hidden)
        id_ = made[INGRESS].rpartition("/")[2]
        domain = made.pop("DomainName")
        assert domain.endswith(".us-east-1.awsapprunner.localhost")
        assert made == {
            INGRESS: aws.arn(f"vpcingressconnection/inside/{id_}"),
            "VpcIngressConnectionName": "inside",
            "ServiceArn": hidden,
            "Status": "PENDING_CREATION",
            "AccountId": ACCOUNT,
            "IngressVpcConfiguration": VPC,
            "CreatedAt": pytest.approx(aws.now, abs=0.001),
        }
        available = made | {"Status": "AVAILABLE", "DomainName": domain}
        await aws.passes(0.6)
        assert await ingress(aws, made[INGRESS]) == available

    @documented(source="service model: PENDING_UPDATE; what is left out keeps its value is assumed")
    async def test_can_be_updated(self, aws):
        hidden = (await aws.service(**private()))["ServiceArn"]
        arn = (await aws.ingress(hidden))[INGRESS]
        await aws.passes(1)
        change = {"IngressVpcConfiguration": {"VpcEndpointId": "vpce-2"}}
        answer = await aws("UpdateVpcIngressConnection", VpcIngressConnectionArn=arn, **change)
        assert answer["VpcIngressConnection"]["Status"] == "PENDING_UPDATE"
        await aws.passes(1)
        updated = await ingress(aws, arn)
        assert updated["Status"] == "AVAILABLE"
        assert updated["IngressVpcConfiguration"] == VPC | {"VpcEndpointId": "vpce-2"}

    @documented(source="service model: PENDING_DELETION, DELETED")
    async def test_can_be_deleted(self, aws):
        hidden = (await aws.service(**private()))["ServiceArn"]
        arn = (await aws.ingress(hidden))[INGRESS]
        await aws.passes(1)
        answer = await aws("DeleteVpcIngressConnection", VpcIngressConnectionArn=arn)
        leaving = answer["VpcIngressConnection"]
        assert leaving["Status"] == "PENDING_DELETION"
        assert "DeletedAt" not in leaving
        await aws.passes(1)
        gone = await ingress(aws, arn)
        assert gone.pop("DeletedAt") == pytest.approx(aws.now - 1, abs=0.001)
        assert gone == leaving | {"Status": "DELETED"}
        assert (await aws("ListVpcIngressConnections"))["VpcIngressConnectionSummaryList"] == []
        await aws.passes(3590)
        assert (await ingress(aws, arn))["Status"] == "DELETED"
        await aws.passes(700)
        refusal = await aws.refused("DescribeVpcIngressConnection", VpcIngressConnectionArn=arn)
        assert refusal.code == "ResourceNotFoundException"

    @documented(source="service model: updated and deleted only when AVAILABLE or FAILED_…")
    async def test_is_left_alone_while_something_is_pending(self, aws):
        hidden = (await aws.service(**private()))["ServiceArn"]
        arn = (await aws.ingress(hidden))[INGRESS]
        change = {"IngressVpcConfiguration": VPC}

        async def both_refused(status):
            for operation, more in (
                ("UpdateVpcIngressConnection", change),
                ("DeleteVpcIngressConnection", {}),
            ):
                refusal = await aws.refused(operation, VpcIngressConnectionArn=arn, **more)
                assert refusal.code == "InvalidStateException"
                assert refusal.message.endswith(f"current state: {status}.")

        await both_refused("PENDING_CREATION")
        await aws.passes(1)
        await aws("UpdateVpcIngressConnection", VpcIngressConnectionArn=arn, **change)
        await both_refused("PENDING_UPDATE")
        await aws.passes(1)
        await aws("DeleteVpcIngressConnection", VpcIngressConnectionArn=arn)
        await both_refused("PENDING_DELETION")

    @assumed(why="a minute at App Runner's pace; users do not tell")
    async def test_takes_its_time_at_app_runners_pace(self):
        async with calling(at_pace(PaceMode.REALISTIC, speed=10)) as aws:
            service = await aws.service(**private())
            arn = (await aws.ingress(service["ServiceArn"]))[INGRESS]
            await aws.passes(5.9)
            assert (await ingress(aws, arn))["Status"] == "PENDING_CREATION"
            await aws.passes(0.2)
            assert (await ingress(aws, arn))["Status"] == "AVAILABLE"

    @documented(source="developer guide, architecture: one for each service, not adjustable")
    async def test_is_the_only_one_of_its_service(self, aws):
        hidden = (await aws.service(**private()))["ServiceArn"]
        arn = (await aws.ingress(hidden))[INGRESS]
        refusal = await aws.refused(
            "CreateVpcIngressConnection",
            ServiceArn=hidden,
            VpcIngressConnectionName="other",
            IngressVpcConfiguration=VPC,
        )
        assert (refusal.status, refusal.code) == (402, "ServiceQuotaExceededException")
        await aws.passes(1)
        await aws("DeleteVpcIngressConnection", VpcIngressConnectionArn=arn)
        await aws.ingress(hidden, "other")

    async def test_is_made_once_of_several_that_come_together(self, aws):
        hidden = (await aws.service(**private()))["ServiceArn"]
        bodies = [
            {
                "ServiceArn": hidden,
                "VpcIngressConnectionName": f"name{n}",
                "IngressVpcConfiguration": VPC,
            }
            for n in range(4)
        ]
        operation = "CreateVpcIngressConnection"
        calls = (aws.raw(operation, json.dumps(body).encode()) for body in bodies)
        replies = await asyncio.gather(*calls)
        assert sorted(reply.status for reply in replies) == [200, 402, 402, 402]

    @documented(source="service model: unique among the active ones of the account and Region")
    async def test_needs_a_name_of_its_own(self, aws):
        hidden = (await aws.service(**private()))["ServiceArn"]
        other = (await aws.service("other", **private()))["ServiceArn"]
        await aws.ingress(hidden)
        refusal = await aws.refused(
            "CreateVpcIngressConnection",
            ServiceArn=other,
            VpcIngressConnectionName="inside",
            IngressVpcConfiguration=VPC,
        )
        assert refusal.code == "InvalidRequestException"
        assert refusal.message.endswith("already exists: inside")

    @documented(source="service model: no ResourceNotFoundException is declared")
    async def test_leads_to_a_service_that_is_there(self, aws):
        hidden = (await aws.service(**private()))["ServiceArn"]
        await aws.changed("DeleteService", hidden)
        for arn in (hidden, aws.arn("service/none/x"), aws.arn("connection/none/x")):
            refusal = await aws.refused(
                "CreateVpcIngressConnection",
                ServiceArn=arn,
                VpcIngressConnectionName="inside",
                IngressVpcConfiguration=VPC,
            )
            assert refusal.code == "InvalidRequestException"

    @documented(source="service model: InvalidStateException is declared")
    @assumed(why="that it is for a service in progress")
    async def test_waits_for_its_service(self, aws):
        aws.machine.world.behaviours["sha256:app1"] = Behaviour(boot=15)
        arn = (await aws.begin(**private()))["Service"]["ServiceArn"]
        refusal = await aws.refused(
            "CreateVpcIngressConnection",
            ServiceArn=arn,
            VpcIngressConnectionName="inside",
            IngressVpcConfiguration=VPC,
        )
        assert refusal.code == "InvalidStateException"
        await aws.settled(arn)
        await aws.ingress(arn)

    @documented(source="service model: summaries have two members; the filter takes either or both")
    async def test_can_be_found_by_service_and_by_endpoint(self, aws):
        hidden = (await aws.service(**private()))["ServiceArn"]
        other = (await aws.service("other", **private()))["ServiceArn"]
        first = (await aws.ingress(hidden))[INGRESS]
        await aws.passes(1)
        vpc = {"VpcId": "vpc-1", "VpcEndpointId": "vpce-2"}
        second = (await aws.ingress(other, "other", IngressVpcConfiguration=vpc))[INGRESS]

        async def found(**filter_):
            answer = await aws("ListVpcIngressConnections", Filter=filter_)
            return answer["VpcIngressConnectionSummaryList"]

        rows = [{INGRESS: second, "ServiceArn": other}, {INGRESS: first, "ServiceArn": hidden}]
        assert await found() == rows
        assert await found(ServiceArn=hidden) == rows[1:]
        assert await found(VpcEndpointId="vpce-2") == rows[:1]
        assert await found(ServiceArn=hidden, VpcEndpointId="vpce-2") == []
        assert await found(ServiceArn=hidden, VpcEndpointId="vpce-1") == rows[1:]
        elsewhere = await aws.at(OTHER_REGION)("ListVpcIngressConnections")
        assert elsewhere["VpcIngressConnectionSummaryList"] == []

    @documented(source="service model: VpcDNSTargets of the custom domains of a service")
    async def test_is_a_target_of_custom_domains(self, aws):
        hidden = (await aws.service(**private()))["ServiceArn"]
        made = await aws.ingress(hidden)
        answer = await aws("DescribeCustomDomains", ServiceArn=hidden)
        assert answer["VpcDNSTargets"] == [
            {INGRESS: made[INGRESS], "VpcId": "vpc-1", "DomainName": made["DomainName"]}
        ]

    @observed(source="clients.md 1.1: unknown means ResourceNotFoundException")
    async def test_is_named_by_a_whole_arn_that_is_there(self, aws):
        hidden = (await aws.service(**private()))["ServiceArn"]
        arn = (await aws.ingress(hidden))[INGRESS]
        await aws.passes(1)
        for operation, more in (
            ("DescribeVpcIngressConnection", {}),
            ("UpdateVpcIngressConnection", {"IngressVpcConfiguration": VPC}),
            ("DeleteVpcIngressConnection", {}),
        ):
            for unknown in (arn[:-1] + "x", arn.replace(aws.region, OTHER_REGION)):
                refusal = await aws.refused(operation, VpcIngressConnectionArn=unknown, **more)
                assert refusal.code == "ResourceNotFoundException"
            partial = aws.arn("vpcingressconnection/inside")
            refusal = await aws.refused(operation, VpcIngressConnectionArn=partial, **more)
            assert refusal.code == "InvalidRequestException"
            elsewhere = aws.at(OTHER_REGION)
            refusal = await elsewhere.refused(operation, VpcIngressConnectionArn=arn, **more)
            assert refusal.code == "ResourceNotFoundException"
