"""Lists in pages: every list operation, while what it lists comes and goes."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest

from tests.surfaces.aws_calls import OTHER_REGION, calling, private

documented, observed, assumed = pytest.mark.documented, pytest.mark.observed, pytest.mark.assumed
pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
COUNT = 5


async def fill(aws):
    """Five of everything that is listed."""
    arns = []
    for number in range(COUNT):
        name = f"name{number}"
        scaling = (await aws.scaling())["AutoScalingConfigurationArn"]
        arns.append((await aws.service(name, **private()))["ServiceArn"])
        await aws.connection(name)
        await aws.observability()
        await aws.connector(name)
        await aws.ingress(arns[-1], name)
        await aws.domain(arns[0], f"{name}.com")
        await aws.passes(1)
    for arn in arns:
        await aws.changed("UpdateService", arn, AutoScalingConfigurationArn=scaling)
    for operation in ("PauseService", "ResumeService", "StartDeployment"):
        await aws.changed(operation, arns[1])
    return lists(arns[0], arns[1], scaling)


def lists(first, second, scaling):
    """Operation, its members, and the member of its answer that is the list."""
    scaling = {"AutoScalingConfigurationArn": scaling}
    return [
        ("ListServices", {}, "ServiceSummaryList"),
        ("ListOperations", {"ServiceArn": second}, "OperationSummaryList"),
        ("ListConnections", {}, "ConnectionSummaryList"),
        ("ListAutoScalingConfigurations", {}, "AutoScalingConfigurationSummaryList"),
        ("ListObservabilityConfigurations", {}, "ObservabilityConfigurationSummaryList"),
        ("ListVpcConnectors", {}, "VpcConnectors"),
        ("ListVpcIngressConnections", {}, "VpcIngressConnectionSummaryList"),
        ("ListServicesForAutoScalingConfiguration", scaling, "ServiceArnList"),
        ("DescribeCustomDomains", {"ServiceArn": first}, "CustomDomains"),
    ]


async def pages(aws, operation, members, member, size):
    found, token = [], None
    while not found or token:
        more = {"NextToken": token} if token else {}
        answer = await aws(operation, **members, MaxResults=size, **more)
        found.append(answer[member])
        token = answer.get("NextToken")
        assert token is None or 1 <= len(token) <= 1024
    return found


class TestEveryList:
    @documented(source="service model: without MaxResults all results in a single response")
    async def test_comes_at_once_unless_pages_are_wanted(self, aws):
        every = await fill(aws)
        for operation, members, member in every:
            answer = await aws(operation, **members)
            assert len(answer[member]) >= COUNT, operation
            assert "NextToken" not in answer, operation

    @documented(source="service model: NextToken is there only if more follows")
    @pytest.mark.parametrize("size", [1, 2, 3, 5])
    async def test_is_the_same_in_pages_of_any_size(self, aws, size):
        every = await fill(aws)
        for operation, members, member in every:
            whole = (await aws(operation, **members))[member]
            found = await pages(aws, operation, members, member, size)
            assert [row for page in found for row in page] == whole, operation
            assert [len(page) for page in found[:-1]] == [size] * (len(found) - 1), operation
            assert len(found) == -(-len(whole) // size), operation

    @assumed(why="how AWS words it is not known")
    async def test_takes_tokens_of_its_own_only(self, aws):
        every = await fill(aws)
        tokens = []
        for operation, members, _ in every:
            answer = await aws(operation, **members, MaxResults=1)
            tokens.append((operation, members, answer["NextToken"]))
        for operation, members, own in tokens:
            for other, _, token in tokens:
                request = members | {"MaxResults": 1, "NextToken": token}
                if other == operation:
                    await aws(operation, **request)
                else:
                    refusal = await aws.refused(operation, **request)
                    assert refusal.code == "InvalidRequestException"
                    assert "NextToken" in refusal.message
            assert own

    @documented(source="service model: all other parameter values must be identical")
    async def test_wants_the_same_question_again(self, aws):
        every = await fill(aws)
        for operation, members, _ in every:
            token = (await aws(operation, **members, MaxResults=1))["NextToken"]
            for more in ({"MaxResults": 2}, {}):
                refusal = await aws.refused(operation, **members, **more, NextToken=token)
                assert refusal.code == "InvalidRequestException"
                assert "those of the first request" in refusal.message

    async def test_of_another_region_has_tokens_of_its_own(self, aws):
        await fill(aws)
        token = (await aws("ListServices", MaxResults=1))["NextToken"]
        elsewhere = aws.at(OTHER_REGION)
        refusal = await elsewhere.refused("ListServices", MaxResults=1, NextToken=token)
        assert refusal.code == "InvalidRequestException"


def forged(token, **changes):
    content = json.loads(urlsafe_b64decode(token)) | changes
    return urlsafe_b64encode(json.dumps(content).encode()).decode()


class TestTokens:
    @pytest.mark.parametrize(
        "token",
        [
            "x",
            "====",
            "null",
            "bnVsbA==",
            "W10=",
            "e30=",
            "MQ==",
            "é",
            "\ud83d\ude00",
            "A" * 1024,
            urlsafe_b64encode(b"[" * 700).decode(),
            urlsafe_b64encode(b"\xff" * 30).decode(),
        ],
    )
    async def test_that_are_nonsense_are_refused(self, aws, token):
        for operation in ("ListServices", "ListConnections"):
            refusal = await aws.refused(operation, NextToken=token)
            assert refusal.code == "InvalidRequestException"
            assert refusal.message == "The NextToken isn't valid."

    @pytest.mark.parametrize(
        ("changes", "refused"),
        [
            ({"n": float("inf")}, True),
            ({"n": float("nan")}, True),
            ({"n": "x"}, True),
            ({"n": None}, True),
            ({"n": [1]}, True),
            ({"q": 1}, True),
            ({"k": None}, True),
            ({"k": [[]]}, True),
            ({"k": [], "x": None, "n": 10**12}, False),
            ({"k": [], "x": None, "n": -5}, False),
            ({"k": {}, "x": [], "n": "2"}, False),
        ],
    )
    async def test_that_were_tampered_with_do_no_harm(self, aws, changes, refused):
        for number in range(3):
            await aws.connection(f"name{number}")
        token = (await aws("ListConnections", MaxResults=1))["NextToken"]
        members = {"MaxResults": 1, "NextToken": forged(token, **changes)}
        if refused:
            refusal = await aws.refused("ListConnections", **members)
            assert refusal.code == "InvalidRequestException"
        else:
            answer = await aws("ListConnections", **members)
            assert len(answer["ConnectionSummaryList"]) <= 1

    @documented(source="service model: a NextToken that is empty is none, where it may be empty")
    async def test_that_are_empty_are_none(self, aws):
        await aws.service()
        assert len((await aws("ListServices", NextToken=""))["ServiceSummaryList"]) == 1


class TestChanges:
    """What is added or deleted between two pages."""

    async def names(self, aws, **members):
        answer = await aws("ListConnections", MaxResults=2, **members)
        rows = [row["ConnectionName"] for row in answer["ConnectionSummaryList"]]
        return rows, answer.get("NextToken")

    async def made(self, aws, *names):
        arns = {}
        for name in names:
            arns[name] = (await aws.connection(name))["ConnectionArn"]
            await aws.passes(1)
        return arns

    @pytest.mark.parametrize(
        "gone",
        [
            ["name4"],
            ["name3"],
            ["name2"],
            ["name4", "name3"],
            ["name3", "name2"],
            ["name3", "name2", "name1"],
            ["name0"],
        ],
    )
    async def test_deletions_neither_hide_nor_repeat_anything(self, aws, gone):
        arns = await self.made(aws, *(f"name{number}" for number in range(5)))
        first, token = await self.names(aws)
        assert first == ["name4", "name3"]
        for name in gone:
            await aws("DeleteConnection", ConnectionArn=arns[name])
        second, token = await self.names(aws, NextToken=token)
        third = []
        if token:
            third, token = await self.names(aws, NextToken=token)
        assert token is None
        left = [name for name in ("name2", "name1", "name0") if name not in gone]
        assert second + third == left

    async def test_additions_are_not_seen(self, aws):
        await self.made(aws, *(f"name{number}" for number in range(4)))
        _, token = await self.names(aws)
        await self.made(aws, "newer")
        second, token = await self.names(aws, NextToken=token)
        assert (second, token) == (["name1", "name0"], None)

    async def test_an_addition_and_a_deletion_do_not_repeat_anything(self, aws):
        arns = await self.made(aws, *(f"name{number}" for number in range(4)))
        _, token = await self.names(aws)
        await self.made(aws, "newer")
        await aws("DeleteConnection", ConnectionArn=arns["name2"])
        second, token = await self.names(aws, NextToken=token)
        assert (second, token) == (["name1", "name0"], None)

    async def test_tokens_outlive_the_emulator(self, aws):
        await self.made(aws, *(f"name{number}" for number in range(4)))
        _, token = await self.names(aws)
        await aws.emulator.__aexit__(None, None, None)
        async with calling(machine=aws.machine) as again:
            assert await self.names(again, NextToken=token) == (["name1", "name0"], None)
