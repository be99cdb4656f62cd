"""Auto scaling configurations through the API."""

import asyncio
import json

import pytest

from tests.surfaces.aws_calls import OTHER_REGION, calling, image_source, tags, with_quotas

documented, observed, assumed = pytest.mark.documented, pytest.mark.observed, pytest.mark.assumed
pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
ARN, NAME = "AutoScalingConfigurationArn", "AutoScalingConfigurationName"
REVISION = "AutoScalingConfigurationRevision"
IN_USE = (
    "You can't delete the auto scaling configuration. It's used by one or more services. To delete "
    "it, update the services to use other auto scaling configurations."
)


def built_in(aws):
    return aws.arn(
        "autoscalingconfiguration/DefaultConfiguration/1/00000000000000000000000000000001"
    )


async def described(aws, arn):
    answer = await aws("DescribeAutoScalingConfiguration", AutoScalingConfigurationArn=arn)
    return answer["AutoScalingConfiguration"]


async def deleted(aws, arn, **more):
    answer = await aws("DeleteAutoScalingConfiguration", AutoScalingConfigurationArn=arn, **more)
    return answer["AutoScalingConfiguration"]


async def undeletable(aws, arn, **more):
    refusal = await aws.refused(
        "DeleteAutoScalingConfiguration", AutoScalingConfigurationArn=arn, **more
    )
    assert refusal.code == "InvalidRequestException"
    return refusal.message


async def listed(aws, **members):
    answer = await aws("ListAutoScalingConfigurations", **members)
    return answer["AutoScalingConfigurationSummaryList"]


async def made_default(aws, arn):
    answer = await aws("UpdateDefaultAutoScalingConfiguration", AutoScalingConfigurationArn=arn)
    return answer["AutoScalingConfiguration"]


async def defaults(aws):
    return [row[ARN] for row in await listed(aws) if row["IsDefault"]]


class TestCreate:
    @documented(source="service model: defaults; the provider: 100, 1, 25")
    async def test_has_defaults_and_shows_them(self, aws):
        made = await aws.scaling("busy")
        id_ = made[ARN].rpartition("/")[2]
        assert made == {
            ARN: aws.arn(f"autoscalingconfiguration/busy/1/{id_}"),
            NAME: "busy",
            REVISION: 1,
            "Latest": True,
            "Status": "active",
            "MaxConcurrency": 100,
            "MinSize": 1,
            "MaxSize": 25,
            "CreatedAt": aws.machine.clock.start,
            "HasAssociatedService": False,
            "IsDefault": False,
        }
        assert await described(aws, made[ARN]) == made

    @observed(source="clients.md 1.5: with ACTIVE the Terraform provider waits and fails")
    async def test_has_a_status_in_lower_case(self, aws):
        made = await aws.scaling()
        assert made["Status"] == "active"
        assert {row["Status"] for row in await listed(aws)} == {"active"}
        assert (await deleted(aws, made[ARN]))["Status"] == "inactive"

    @documented(source="service model: the same name makes the next revision, Latest moves")
    async def test_makes_revisions_that_do_not_change(self, aws):
        first = await aws.scaling(MaxConcurrency=10)
        second = await aws.scaling(MaxConcurrency=20)
        assert (second[REVISION], second["Latest"]) == (2, True)
        assert await described(aws, first[ARN]) == first | {"Latest": False}

    @documented(source="service model: ranges")
    @pytest.mark.parametrize(
        "members",
        [
            {"MaxConcurrency": 0},
            {"MaxConcurrency": 201},
            {"MinSize": 0},
            {"MinSize": 26},
            {"MaxSize": 0},
        ],
    )
    async def test_keeps_to_the_ranges(self, aws, members):
        refusal = await aws.refused(
            "CreateAutoScalingConfiguration", AutoScalingConfigurationName="busy", **members
        )
        assert refusal.code == "InvalidRequestException"
        assert "Member must have value" in refusal.message

    @documented(source="service model: ranges")
    @pytest.mark.parametrize(
        "members",
        [
            {"MaxConcurrency": 1, "MinSize": 1, "MaxSize": 1},
            {"MaxConcurrency": 200, "MinSize": 25, "MaxSize": 25},
        ],
    )
    async def test_takes_the_ends_of_the_ranges(self, aws, members):
        made = await aws.scaling(**members)
        assert made.items() >= members.items()

    @documented(source="roadmap issue 67: the limit of MaxSize is a quota that can be raised")
    @assumed(why="here it is as high as anybody wants")
    async def test_takes_any_maximum(self, aws):
        assert (await aws.scaling(MaxSize=100))["MaxSize"] == 100

    @assumed(why="obvious")
    @pytest.mark.parametrize(
        "members", [{"MinSize": 3, "MaxSize": 2}, {"MinSize": 25, "MaxSize": 24}]
    )
    async def test_has_no_minimum_above_the_maximum(self, aws, members):
        refusal = await aws.refused(
            "CreateAutoScalingConfiguration", AutoScalingConfigurationName="busy", **members
        )
        assert refusal.code == "InvalidRequestException"
        assert "MinSize" in refusal.message

    async def test_numbers_revisions_in_a_row_also_when_they_come_at_once(self, aws):
        body = json.dumps({NAME: "busy"}).encode()
        calls = (aws.raw("CreateAutoScalingConfiguration", body) for _ in range(5))
        replies = [json.loads(reply.body) for reply in await asyncio.gather(*calls)]
        numbers = [reply["AutoScalingConfiguration"][REVISION] for reply in replies]
        assert sorted(numbers) == [1, 2, 3, 4, 5]


class TestQuota:
    @documented(source="developer guide, architecture: 10 names of 5 revisions")
    async def test_is_five_revisions_of_a_name(self, aws):
        revisions = [await aws.scaling() for _ in range(5)]
        refusal = await aws.refused("CreateAutoScalingConfiguration", **{NAME: "busy"})
        assert (refusal.status, refusal.code) == (402, "ServiceQuotaExceededException")
        await deleted(aws, revisions[0][ARN])
        assert (await aws.scaling())[REVISION] == 6

    @documented(source="developer guide, architecture: 10 names of 5 revisions")
    @assumed(why="that the one every account has does not count")
    async def test_is_ten_names_beside_the_one_every_account_has(self, aws):
        for number in range(10):
            await aws.scaling(f"name{number}")
        refusal = await aws.refused("CreateAutoScalingConfiguration", **{NAME: "eleventh"})
        assert refusal.code == "ServiceQuotaExceededException"
        assert (await aws.scaling("name3"))[REVISION] == 2
        await deleted(aws, aws.arn("autoscalingconfiguration/name0"))
        await aws.scaling("eleventh")
        await aws.at(OTHER_REGION).scaling("eleventh")

    async def test_can_be_raised(self):
        async with calling(with_quotas(auto_scaling_revisions=6)) as aws:
            assert [(await aws.scaling())[REVISION] for _ in range(6)] == [1, 2, 3, 4, 5, 6]


class TestArns:
    @documented(source="service model: full, or ending with …/name or …/name/revision")
    async def test_may_leave_out_the_end(self, aws):
        first, second = await aws.scaling(), await aws.scaling()
        name = aws.arn("autoscalingconfiguration/busy")
        assert (await described(aws, name))[ARN] == second[ARN]
        assert (await described(aws, f"{name}/1"))[ARN] == first[ARN]
        assert (await described(aws, f"{name}/2"))[ARN] == second[ARN]
        assert (await made_default(aws, f"{name}/1"))[ARN] == first[ARN]
        assert (await made_default(aws, name))[ARN] == second[ARN]
        service = await aws.service(AutoScalingConfigurationArn=f"{name}/1")
        users = await aws(
            "ListServicesForAutoScalingConfiguration", AutoScalingConfigurationArn=f"{name}/1"
        )
        assert users["ServiceArnList"] == [service["ServiceArn"]]
        service = await aws.changed(
            "UpdateService", service["ServiceArn"], AutoScalingConfigurationArn=name
        )
        assert service["AutoScalingConfigurationSummary"][ARN] == second[ARN]
        assert (await deleted(aws, f"{name}/1"))[ARN] == first[ARN]

    @documented(source="service model: without a revision, the latest active one")
    async def test_by_name_mean_the_latest_that_is_active(self, aws):
        first, second = await aws.scaling(), await aws.scaling()
        name = aws.arn("autoscalingconfiguration/busy")
        assert (await deleted(aws, name))[ARN] == second[ARN]
        assert (await described(aws, name))[ARN] == first[ARN]
        assert (await described(aws, name))["Latest"] is True

    @observed(source="clients.md 1.1: unknown means ResourceNotFoundException")
    @pytest.mark.parametrize(
        "change",
        [
            ("us-east-1", OTHER_REGION),
            ("000000000000", "999999999999"),
            ("arn:aws:", "arn:aws-cn:"),
            ("/busy/", "/idle/"),
            ("/1/", "/2/"),
            ("/1/", "/1/0"),
        ],
    )
    async def test_of_what_is_not_there_are_not_found(self, aws, change):
        arn = (await aws.scaling())[ARN].replace(*change)
        for operation in (
            "DescribeAutoScalingConfiguration",
            "DeleteAutoScalingConfiguration",
            "UpdateDefaultAutoScalingConfiguration",
            "ListServicesForAutoScalingConfiguration",
        ):
            refusal = await aws.refused(operation, AutoScalingConfigurationArn=arn)
            assert refusal.code == "ResourceNotFoundException"
            assert arn in refusal.message

    @observed(source="app-runner-deploy issue 36: the sentence")
    @pytest.mark.parametrize("tail", ["connection/busy/x", "autoscalingconfiguration/busy/0", "x"])
    async def test_of_another_kind_or_form_are_not_valid(self, aws, tail):
        arn = aws.arn(tail)
        refusal = await aws.refused(
            "DescribeAutoScalingConfiguration", AutoScalingConfigurationArn=arn
        )
        sentence = f"The auto scaling configuration ARN you specified isn't valid. ARN: '{arn}'"
        assert (refusal.code, refusal.message) == ("InvalidRequestException", sentence)


class TestDelete:
    @documented(source="service model: inactive, DeletedAt, described for some time")
    async def test_leaves_a_description_for_an_hour(self, aws):
        made = await aws.scaling()
        await aws.passes(5)
        gone = await deleted(aws, made[ARN])
        change = {"Status": "inactive", "Latest": False, "DeletedAt": made["CreatedAt"] + 5}
        assert gone == made | change
        assert [row[NAME] for row in await listed(aws)] == ["DefaultConfiguration"]
        await aws.passes(3590)
        assert await described(aws, made[ARN]) == gone
        assert await described(aws, aws.arn("autoscalingconfiguration/busy")) == gone
        await aws.passes(700)
        refusal = await aws.refused("DescribeAutoScalingConfiguration", **{ARN: made[ARN]})
        assert refusal.code == "ResourceNotFoundException"

    @observed(source="the Terraform provider takes this text for `gone already`")
    async def test_twice_is_refused_in_these_words(self, aws):
        arn = (await aws.scaling())[ARN]
        await deleted(aws, arn)
        sentence = "The auto scaling configuration you specified has been deleted"
        for each in (arn, arn.rpartition("/")[0], aws.arn("autoscalingconfiguration/busy")):
            assert sentence in await undeletable(aws, each)

    @observed(source="clients.md 1.11: asserted by the provider's tests")
    async def test_of_the_newest_frees_its_number(self, aws):
        await aws.scaling()
        second = await aws.scaling()
        await deleted(aws, second[ARN])
        third = await aws.scaling()
        assert third[REVISION] == 2
        assert third[ARN] != second[ARN]
        assert (await described(aws, second[ARN]))["Status"] == "inactive"
        assert (await described(aws, aws.arn("autoscalingconfiguration/busy/2")))[ARN] == third[ARN]

    @observed(source="clients.md 1.11: one more than the highest that is active")
    async def test_of_an_older_one_leaves_the_numbers_alone(self, aws):
        first = await aws.scaling()
        second = await aws.scaling()
        await deleted(aws, first[ARN])
        assert (await described(aws, second[ARN]))["Latest"] is True
        assert (await aws.scaling())[REVISION] == 3

    @observed(source="tf-aws issue 38534: the sentence")
    @pytest.mark.parametrize("status", ["RUNNING", "PAUSED", "CREATE_FAILED"])
    async def test_of_one_in_use_is_refused(self, aws, status):
        arn = (await aws.scaling())[ARN]
        image = "missing:1" if status == "CREATE_FAILED" else "app:1"
        service = await aws.service(**image_source(image), AutoScalingConfigurationArn=arn)
        if status == "PAUSED":
            service = await aws.changed("PauseService", service["ServiceArn"])
        assert service["Status"] == status
        assert (await described(aws, arn))["HasAssociatedService"] is True
        assert await undeletable(aws, arn) == IN_USE
        assert await undeletable(aws, aws.arn("autoscalingconfiguration/busy")) == IN_USE
        await aws.changed("DeleteService", service["ServiceArn"])
        assert (await described(aws, arn))["HasAssociatedService"] is False
        await deleted(aws, arn)

    async def test_works_once_the_services_use_another_one(self, aws):
        old, new = (await aws.scaling())[ARN], (await aws.scaling())[ARN]
        service = await aws.service(AutoScalingConfigurationArn=old)
        await aws("UpdateService", ServiceArn=service["ServiceArn"], **{ARN: new})
        assert await undeletable(aws, old) == IN_USE
        await aws.settled(service["ServiceArn"])
        await deleted(aws, old)
        assert await undeletable(aws, new) == IN_USE

    async def test_is_possible_after_an_update_to_it_failed(self, aws):
        new = (await aws.scaling())[ARN]
        service = await aws.service()
        change = image_source("missing:1") | {ARN: new}
        await aws.changed("UpdateService", service["ServiceArn"], **change)
        await deleted(aws, new)

    @documented(source="service model: DeleteAllRevisions")
    async def test_of_all_revisions_takes_a_name_only(self, aws):
        revisions = [(await aws.scaling())[ARN] for _ in range(3)]
        other = (await aws.scaling("other"))[ARN]
        name = aws.arn("autoscalingconfiguration/busy")
        for arn in (revisions[2], f"{name}/3"):
            assert "must end with the name" in await undeletable(aws, arn, DeleteAllRevisions=True)
        gone = await deleted(aws, name, DeleteAllRevisions=True)
        assert gone[ARN] == revisions[2]
        statuses = [(await described(aws, arn))["Status"] for arn in revisions]
        assert statuses == ["inactive"] * 3
        assert (await described(aws, other))["Status"] == "active"
        assert "has been deleted" in await undeletable(aws, name, DeleteAllRevisions=True)
        assert (await aws.scaling())[REVISION] == 1

    @documented(source="service model: neither the default one nor one in use")
    async def test_of_all_revisions_is_all_or_nothing(self, aws):
        first, second = (await aws.scaling())[ARN], (await aws.scaling())[ARN]
        name = aws.arn("autoscalingconfiguration/busy")
        service = await aws.service(AutoScalingConfigurationArn=first)
        assert await undeletable(aws, name, DeleteAllRevisions=True) == IN_USE
        await aws.changed("DeleteService", service["ServiceArn"])
        await made_default(aws, first)
        assert "reserved" in await undeletable(aws, name, DeleteAllRevisions=True)
        for arn in (first, second):
            assert (await described(aws, arn))["Status"] == "active"


class TestDefault:
    @documented(source="developer guide, monitor-ct: the ARN that every account has")
    async def test_is_there_from_the_beginning(self, aws):
        made = await described(aws, built_in(aws))
        assert made[NAME] == "DefaultConfiguration"
        assert (made["MaxConcurrency"], made["MinSize"], made["MaxSize"]) == (100, 1, 25)
        assert (made["IsDefault"], made["Latest"], made["Status"]) == (True, True, "active")
        assert (
            await described(aws, aws.arn("autoscalingconfiguration/DefaultConfiguration")) == made
        )
        assert await defaults(aws) == [built_in(aws)]
        elsewhere = aws.at(OTHER_REGION)
        assert await defaults(elsewhere) == [built_in(elsewhere)]

    @documented(source="service model: the existing default is set to non-default")
    async def test_is_exactly_one(self, aws):
        arns = [built_in(aws), (await aws.scaling())[ARN], (await aws.scaling())[ARN]]
        for arn in (arns[1], arns[2], arns[2], arns[0], arns[1]):
            assert (await made_default(aws, arn))["IsDefault"] is True
            assert await defaults(aws) == [arn]
            shown = {each: (await described(aws, each))["IsDefault"] for each in arns}
            assert shown == {each: each == arn for each in arns}
        elsewhere = aws.at(OTHER_REGION)
        assert await defaults(elsewhere) == [built_in(elsewhere)]

    async def test_is_exactly_one_also_when_many_are_asked_for_at_once(self, aws):
        arns = [(await aws.scaling(f"name{n}"))[ARN] for n in range(4)]
        bodies = [json.dumps({ARN: arn}).encode() for arn in arns]
        operation = "UpdateDefaultAutoScalingConfiguration"
        await asyncio.gather(*(aws.raw(operation, body) for body in bodies))
        assert len(await defaults(aws)) == 1

    @documented(source="developer guide, manage-autoscaling: for services created from then on")
    async def test_is_what_a_new_service_gets_and_an_old_one_does_not(self, aws):
        old = await aws.service("old1")
        arn = (await aws.scaling(MinSize=2, MaxSize=3))[ARN]
        await made_default(aws, arn)
        new = await aws.service("new1")
        assert new["AutoScalingConfigurationSummary"][ARN] == arn
        assert aws.machine.world.running(new["ServiceId"]) == {"r1": 2}
        old = await aws.described(old["ServiceArn"])
        assert old["AutoScalingConfigurationSummary"][ARN] == built_in(aws)
        updated = await aws.changed("UpdateService", old["ServiceArn"])
        assert updated["AutoScalingConfigurationSummary"][ARN] == built_in(aws)

    @documented(source="service model: you can't delete the default")
    @observed(source="tf-aws issue 19840: the sentence")
    async def test_cannot_be_deleted(self, aws):
        sentence = "You can't delete a reserved auto scaling configuration: '{}'."
        assert await undeletable(aws, built_in(aws)) == sentence.format(built_in(aws))
        arn = (await aws.scaling())[ARN]
        await made_default(aws, arn)
        assert await undeletable(aws, arn) == sentence.format(arn)

    @documented(source="service model, CreateAutoScalingConfiguration: no longer reserved")
    async def test_has_a_name_that_is_like_any_other(self, aws):
        second = await aws.scaling("DefaultConfiguration", MaxSize=2)
        assert second[REVISION] == 2
        assert await defaults(aws) == [built_in(aws)]
        await made_default(aws, second[ARN])
        assert (await deleted(aws, built_in(aws)))["Status"] == "inactive"
        await aws.passes(2 * 3600)
        assert await defaults(aws) == [second[ARN]]
        assert [row[ARN] for row in await listed(aws)] == [second[ARN]]
        assert (await aws.begin())["Service"]["AutoScalingConfigurationSummary"] == {
            ARN: second[ARN],
            NAME: "DefaultConfiguration",
            REVISION: 2,
        }

    async def test_is_still_what_it_was_after_a_restart(self):
        async with calling() as aws:
            arn, machine = (await aws.scaling())[ARN], aws.machine
            await made_default(aws, arn)
        async with calling(machine=machine) as aws:
            assert await defaults(aws) == [arn]

    async def test_cannot_become_what_is_deleted(self, aws):
        arn = (await aws.scaling())[ARN]
        await deleted(aws, arn)
        refusal = await aws.refused("UpdateDefaultAutoScalingConfiguration", **{ARN: arn})
        assert refusal.code == "ResourceNotFoundException"
        assert await defaults(aws) == [built_in(aws)]


class TestList:
    async def names(self, aws, **members):
        return [(row[NAME], row[REVISION]) for row in await listed(aws, **members)]

    @observed(source="clients.md 1.8: the Go SDK leaves a false out, so absent is false")
    async def test_has_every_active_revision_unless_the_latest_are_asked_for(self, aws):
        for name in ("busy", "busy", "idle"):
            await aws.scaling(name)
            await aws.passes(1)
        every = [("idle", 1), ("busy", 2), ("busy", 1), ("DefaultConfiguration", 1)]
        assert await self.names(aws) == every
        assert await self.names(aws, LatestOnly=False) == every
        latest = [("idle", 1), ("busy", 2), ("DefaultConfiguration", 1)]
        assert await self.names(aws, LatestOnly=True) == latest

    @documented(source="service model: if specified, revisions that share this name")
    async def test_can_be_of_one_name(self, aws):
        for name in ("busy", "busy", "busy2"):
            await aws.scaling(name)
        by_name = {NAME: "busy"}
        assert await self.names(aws, **by_name) == [("busy", 2), ("busy", 1)]
        assert await self.names(aws, **by_name, LatestOnly=True) == [("busy", 2)]
        assert await self.names(aws, **{NAME: "nobody"}) == []

    @documented(source="service model: AutoScalingConfigurationSummary")
    async def test_has_the_members_of_a_summary(self, aws):
        made = await aws.scaling()
        (row,) = await listed(aws, **{NAME: "busy"})
        left_out = {"Latest", "MaxConcurrency", "MinSize", "MaxSize"}
        assert row == {name: value for name, value in made.items() if name not in left_out}

    async def test_tells_which_are_in_use(self, aws):
        used = (await aws.scaling("busy"))[ARN]
        await aws.scaling("idle")
        await aws.service(AutoScalingConfigurationArn=used)
        rows = {row[NAME]: row["HasAssociatedService"] for row in await listed(aws)}
        assert rows == {"busy": True, "idle": False, "DefaultConfiguration": False}

    async def test_is_of_one_region(self, aws):
        arn = (await aws.scaling())[ARN]
        elsewhere = aws.at(OTHER_REGION)
        assert await self.names(elsewhere) == [("DefaultConfiguration", 1)]
        refusal = await elsewhere.refused("DescribeAutoScalingConfiguration", **{ARN: arn})
        assert refusal.code == "ResourceNotFoundException"


@documented(source="service model: ServiceArnList")
async def test_the_services_of_one_are_listed_newest_first(aws):
    arn = (await aws.scaling(Tags=tags(a="1")))[ARN]
    expected = []
    for name in ("first", "second"):
        made = await aws.service(name, AutoScalingConfigurationArn=arn)
        expected.insert(0, made["ServiceArn"])
        await aws.passes(1)
    await aws.service("other")
    answer = await aws("ListServicesForAutoScalingConfiguration", **{ARN: arn})
    assert answer == {"ServiceArnList": expected}
    await aws.changed("DeleteService", expected[0])
    answer = await aws("ListServicesForAutoScalingConfiguration", **{ARN: arn})
    assert answer == {"ServiceArnList": expected[1:]}
