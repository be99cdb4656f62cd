"""Observability configurations through the API."""

import pytest

from tests.surfaces.aws_calls import OTHER_REGION, calling, image_source, observed_by, with_quotas

documented, observed, assumed = pytest.mark.documented, pytest.mark.observed, pytest.mark.assumed
pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
ARN, NAME = "ObservabilityConfigurationArn", "ObservabilityConfigurationName"
REVISION = "ObservabilityConfigurationRevision"
IN_USE = "It's used by one or more services."


async def described(aws, arn):
    answer = await aws("DescribeObservabilityConfiguration", ObservabilityConfigurationArn=arn)
    return answer["ObservabilityConfiguration"]


async def deleted(aws, arn):
    answer = await aws("DeleteObservabilityConfiguration", ObservabilityConfigurationArn=arn)
    return answer["ObservabilityConfiguration"]


async def listed(aws, **members):
    answer = await aws("ListObservabilityConfigurations", **members)
    rows = answer["ObservabilityConfigurationSummaryList"]
    return [(row[NAME], row[REVISION]) for row in rows]


class TestCreate:
    @documented(source="service model: TraceConfiguration, Revision, Latest")
    @observed(source="clients.md 1.5: ACTIVE in upper case")
    async def test_shows_what_was_asked_for(self, aws):
        trace = {"Vendor": "AWSXRAY"}
        made = await aws.observability(TraceConfiguration=trace)
        id_ = made[ARN].rpartition("/")[2]
        assert made == {
            ARN: aws.arn(f"observabilityconfiguration/tracing/1/{id_}"),
            NAME: "tracing",
            REVISION: 1,
            "TraceConfiguration": trace,
            "Latest": True,
            "Status": "ACTIVE",
            "CreatedAt": aws.machine.clock.start,
        }
        assert await described(aws, made[ARN]) == made

    @documented(source="service model: what is not specified is not enabled")
    async def test_traces_nothing_unless_asked_to(self, aws):
        assert "TraceConfiguration" not in await aws.observability()

    @documented(source="service model: the same name makes the next revision")
    async def test_makes_revisions(self, aws):
        first, second = await aws.observability(), await aws.observability()
        assert (second[REVISION], second["Latest"]) == (2, True)
        assert await described(aws, first[ARN]) == first | {"Latest": False}

    @documented(source="service model: the name DefaultConfiguration is reserved")
    async def test_takes_no_reserved_name(self, aws):
        refusal = await aws.refused(
            "CreateObservabilityConfiguration", **{NAME: "DefaultConfiguration"}
        )
        assert refusal.code == "InvalidRequestException"
        assert "reserved" in refusal.message
        assert await listed(aws) == []

    @documented(source="service model: TracingVendor")
    async def test_knows_one_vendor(self, aws):
        refusal = await aws.refused(
            "CreateObservabilityConfiguration",
            **{NAME: "tracing"},
            TraceConfiguration={"Vendor": "JAEGER"},
        )
        assert "traceConfiguration.vendor" in refusal.message

    @documented(source="developer guide, architecture: 10 names of 10 revisions")
    async def test_stops_at_ten_revisions_and_ten_names(self, aws):
        for _ in range(10):
            await aws.observability()
        refusal = await aws.refused("CreateObservabilityConfiguration", **{NAME: "tracing"})
        assert (refusal.status, refusal.code) == (402, "ServiceQuotaExceededException")
        for number in range(9):
            await aws.observability(f"name{number}")
        refusal = await aws.refused("CreateObservabilityConfiguration", **{NAME: "eleventh"})
        assert refusal.code == "ServiceQuotaExceededException"
        await aws.observability("name0")
        await deleted(aws, aws.arn("observabilityconfiguration/tracing"))
        assert (await aws.observability())[REVISION] == 10
        await aws.at(OTHER_REGION).observability("eleventh")

    async def test_stops_where_the_quota_says(self):
        async with calling(with_quotas(observability_revisions=1)) as aws:
            await aws.observability()
            refusal = await aws.refused("CreateObservabilityConfiguration", **{NAME: "tracing"})
            assert refusal.code == "ServiceQuotaExceededException"


class TestArns:
    @documented(source="service model: full, or ending with …/name or …/name/revision")
    async def test_may_leave_out_the_end(self, aws):
        first, second = await aws.observability(), await aws.observability()
        name = aws.arn("observabilityconfiguration/tracing")
        assert (await described(aws, name))[ARN] == second[ARN]
        assert (await described(aws, f"{name}/1"))[ARN] == first[ARN]
        assert (await deleted(aws, name))[ARN] == second[ARN]
        assert (await described(aws, name))[ARN] == first[ARN]
        assert (await deleted(aws, f"{name}/1"))[ARN] == first[ARN]

    @observed(source="clients.md 1.1: unknown means ResourceNotFoundException")
    @pytest.mark.parametrize("operation", ["Describe", "Delete"])
    async def test_of_what_is_not_there_are_not_found(self, aws, operation):
        made = (await aws.observability())[ARN]
        for arn in (made.replace("/1/", "/2/"), made.replace(aws.region, OTHER_REGION)):
            refusal = await aws.refused(f"{operation}ObservabilityConfiguration", **{ARN: arn})
            assert refusal.code == "ResourceNotFoundException"
        arn = aws.arn("autoscalingconfiguration/tracing/1")
        refusal = await aws.refused(f"{operation}ObservabilityConfiguration", **{ARN: arn})
        assert refusal.code == "InvalidRequestException"
        elsewhere = aws.at(OTHER_REGION)
        refusal = await elsewhere.refused(f"{operation}ObservabilityConfiguration", **{ARN: made})
        assert refusal.code == "ResourceNotFoundException"


class TestDelete:
    @documented(source="service model: INACTIVE, DeletedAt")
    async def test_leaves_a_description_for_an_hour(self, aws):
        made = await aws.observability()
        await aws.passes(5)
        gone = await deleted(aws, made[ARN])
        change = {"Status": "INACTIVE", "Latest": False, "DeletedAt": made["CreatedAt"] + 5}
        assert gone == made | change
        assert await listed(aws) == []
        await aws.passes(3590)
        assert await described(aws, made[ARN]) == gone
        refusal = await aws.refused("DeleteObservabilityConfiguration", **{ARN: made[ARN]})
        assert (refusal.code, "has been deleted" in refusal.message) == (
            "InvalidRequestException",
            True,
        )
        await aws.passes(700)
        refusal = await aws.refused("DescribeObservabilityConfiguration", **{ARN: made[ARN]})
        assert refusal.code == "ResourceNotFoundException"

    @observed(source="clients.md 1.11: one more than the highest that is active")
    async def test_of_the_newest_frees_its_number(self, aws):
        await aws.observability()
        second = await aws.observability()
        await deleted(aws, second[ARN])
        third = await aws.observability()
        assert third[REVISION] == 2
        assert third[ARN] != second[ARN]

    @documented(source="service model: you can't delete one that is used by a service")
    async def test_of_one_in_use_is_refused(self, aws):
        arn, other = (await aws.observability())[ARN], (await aws.observability())[ARN]
        service = await aws.service(**observed_by(arn))
        refusal = await aws.refused("DeleteObservabilityConfiguration", **{ARN: arn})
        assert refusal.code == "InvalidRequestException"
        assert IN_USE in refusal.message
        await aws.changed("UpdateService", service["ServiceArn"], **observed_by(other))
        await deleted(aws, arn)
        await aws.changed("DeleteService", service["ServiceArn"])
        await deleted(aws, other)

    async def test_is_possible_after_a_service_has_turned_it_off(self, aws):
        arn = (await aws.observability())[ARN]
        service = await aws.service(**image_source(), **observed_by(arn))
        off = {"ObservabilityConfiguration": {"ObservabilityEnabled": False}}
        service = await aws.changed("UpdateService", service["ServiceArn"], **off)
        assert service["ObservabilityConfiguration"] == {"ObservabilityEnabled": False}
        await deleted(aws, arn)


@assumed(why="as for auto scaling configurations, where the Go SDK leaves a false out")
async def test_lists_have_every_active_revision_unless_the_latest_are_asked_for(aws):
    for name in ("tracing", "tracing", "other"):
        await aws.observability(name)
        await aws.passes(1)
    every = [("other", 1), ("tracing", 2), ("tracing", 1)]
    assert await listed(aws) == await listed(aws, LatestOnly=False) == every
    assert await listed(aws, LatestOnly=True) == [("other", 1), ("tracing", 2)]
    assert await listed(aws, **{NAME: "tracing"}) == [("tracing", 2), ("tracing", 1)]
    assert await listed(aws.at(OTHER_REGION)) == []
