"""Whatever is sent to an operation: the answer is one that its service model has.

Some 28,000 requests, made from botocore's model (`variants`), to an account that holds resources
of every kind and in every state (`accounts`). After each request that changed something the
account is a fresh copy again, so that one variant cannot hide another.
"""

import json
import re
from contextlib import AsyncExitStack, suppress
from random import Random  # noqa: TID251 - seeded: the same requests in every run

import looptime
import pytest

from emulator.surfaces.api import codec
from tests.conformance.accounts import Known, copy_of, ecr_source, everything, populated
from tests.conformance.answers import document, problems
from tests.conformance.variants import Chance, Expected, Form, Variant, variants
from tests.fakes.emulators import Killed, Machine
from tests.surfaces.aws_calls import OTHER_REGION, REGION, Aws, calling, code_source, tags

MODEL = codec.service_model()
LEAST = 550  # variants of an operation that has hardly any members
RANDOM = 250
pytestmark = pytest.mark.timeout(60)


class Account:
    """The populated account, as often as wanted."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.known = Known()

    async def fill(self) -> None:
        self.known = await populated(self.machine)


@pytest.fixture(scope="module")
def loop():
    made = looptime.new_event_loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def account(loop):
    made = Account()
    loop.run_until_complete(made.fill())
    return made


def good(known: Known) -> dict[str, dict]:
    """For each operation a request that must succeed."""
    scaling = {"AutoScalingConfigurationArn": known["scaling"]}
    running = {"ServiceArn": known["running"]}
    return {
        "AssociateCustomDomain": running | {"DomainName": "new.example.com"},
        "CreateAutoScalingConfiguration": {"AutoScalingConfigurationName": "fresh"},
        "CreateConnection": {"ConnectionName": "fresh", "ProviderType": "GITHUB"},
        "CreateObservabilityConfiguration": {"ObservabilityConfigurationName": "fresh"},
        "CreateService": {"ServiceName": "fresh", **ecr_source()},
        "CreateVpcConnector": {"VpcConnectorName": "fresh", "Subnets": ["subnet-1"]},
        "CreateVpcIngressConnection": {
            "VpcIngressConnectionName": "fresh",
            "IngressVpcConfiguration": {"VpcId": "vpc-1"},
            **running,
        },
        "DeleteAutoScalingConfiguration": {"AutoScalingConfigurationArn": known["spare scaling"]},
        "DeleteConnection": {"ConnectionArn": known["spare connection"]},
        "DeleteObservabilityConfiguration": {
            "ObservabilityConfigurationArn": known["spare observability"]
        },
        "DeleteService": running,
        "DeleteVpcConnector": {"VpcConnectorArn": known["spare connector"]},
        "DeleteVpcIngressConnection": {"VpcIngressConnectionArn": known["ingress"]},
        "DescribeAutoScalingConfiguration": scaling,
        "DescribeCustomDomains": running,
        "DescribeObservabilityConfiguration": {
            "ObservabilityConfigurationArn": known["observability"]
        },
        "DescribeService": running,
        "DescribeVpcConnector": {"VpcConnectorArn": known["connector"]},
        "DescribeVpcIngressConnection": {"VpcIngressConnectionArn": known["ingress"]},
        "DisassociateCustomDomain": running | {"DomainName": "example.com"},
        "ListAutoScalingConfigurations": {},
        "ListConnections": {},
        "ListObservabilityConfigurations": {},
        "ListOperations": running,
        "ListServices": {},
        "ListServicesForAutoScalingConfiguration": scaling,
        "ListTagsForResource": {"ResourceArn": known["running"]},
        "ListVpcConnectors": {},
        "ListVpcIngressConnections": {},
        "PauseService": running,
        "ResumeService": {"ServiceArn": known["paused"]},
        "StartDeployment": running,
        "TagResource": {"ResourceArn": known["running"], "Tags": tags(a="1")},
        "UntagResource": {"ResourceArn": known["running"], "TagKeys": ["team"]},
        "UpdateDefaultAutoScalingConfiguration": scaling,
        "UpdateService": running,
        "UpdateVpcIngressConnection": {
            "VpcIngressConnectionArn": known["ingress"],
            "IngressVpcConfiguration": {"VpcId": "vpc-2"},
        },
    }


def bases(operation: str, known: Known) -> list[dict]:
    """What variants are made from: a good request, and for services one of each kind of source."""
    found = [good(known)[operation]]
    if operation == "CreateService":
        found.append({"ServiceName": "fresh", **code_source(known["connection"])})
    if operation == "UpdateService":
        found.append({"ServiceArn": known["code"], **code_source(known["connection"])})
    return found


def made(operation: str, known: Known) -> list[Variant]:
    shape = MODEL.operation_model(operation).input_shape
    arns = known.pool()
    names = [arn.split("/")[1] for arn in arns if arn.count("/") > 0]
    found: list[Variant] = []
    for number, base in enumerate(bases(operation, known)):
        random = Random(f"{operation} {number}")
        chance = Chance(random, arns, sorted(set(names)), known.tokens)
        found += variants(Form(shape, base, chance), RANDOM)
    return found


class Judge:
    """Sends variants; what is wrong with the answers is collected in `faults`."""

    def __init__(self, operation: str, account: Account) -> None:
        self.model = MODEL.operation_model(operation)
        self.account = account
        self.faults: list[str] = []
        self.counts = {200: 0, 400: 0, 402: 0}
        self._declared = {shape.name for shape in self.model.error_shapes}
        self._reads = operation.startswith(("Describe", "List"))
        self._stack = AsyncExitStack()
        self._aws: Aws | None = None

    async def try_all(self, requests: list[Variant]) -> None:
        async with self._stack:
            for variant in requests:
                found = await self._try(variant)
                self.faults += [f"{variant.about}: {fault}" for fault in found]

    async def _api(self) -> Aws:
        if self._aws is None:
            await self._stack.aclose()
            machine = copy_of(self.account.machine)
            self._aws = await self._stack.enter_async_context(calling(machine=machine))
        return self._aws

    async def _try(self, variant: Variant) -> list[str]:
        aws = await self._api()
        reply = await aws.raw(self.model.name, variant.body)
        if reply.status not in self.counts:
            return [f"HTTP {reply.status} {reply.body!r}"]
        self.counts[reply.status] += 1
        if reply.status != 200:
            return self._refusal(variant, reply)
        if not self._reads:
            self._aws = None
        found = problems(self.model.output_shape, document(reply.body))
        if variant.expected in {Expected.REFUSED, Expected.UNREADABLE}:
            found.append("accepted")
        return found

    def _refusal(self, variant: Variant, reply) -> list[str]:
        body = document(reply.body)
        if body.keys() != {"__type", "Message"}:
            return [f"an error of {body.keys()}"]
        code, message = body["__type"], body["Message"]
        found = []
        if not isinstance(message, str) or not 0 < len(message) <= 600:
            found.append(f"the message {message!r}")
        if (reply.status == 402) != (code == "ServiceQuotaExceededException"):
            found.append(f"HTTP {reply.status} for {code}")
        by_the_model = code == "InvalidRequestException" and "validation error" in message
        unreadable = code == "SerializationException"
        if not unreadable and code not in self._declared:
            found.append(f"{code} is not declared")
        right = {
            Expected.ACCEPTED: not by_the_model and not unreadable,
            Expected.REFUSED: by_the_model,
            Expected.UNREADABLE: unreadable,
            Expected.ANY: True,
        }
        if not right[variant.expected]:
            found.append(f"{variant.expected}, but {code}: {message}")
        return found


@pytest.mark.parametrize("operation", MODEL.operation_names)
def test_every_variant_is_answered_as_the_model_says(operation, loop, account):
    requests = made(operation, account.known)
    judge = Judge(operation, account)
    loop.run_until_complete(judge.try_all(requests))
    assert not judge.faults, f"{len(judge.faults)} faults:\n" + "\n".join(judge.faults[:40])
    assert len(requests) >= LEAST
    assert judge.counts[200] > 0


@pytest.mark.parametrize("operation", MODEL.operation_names)
def test_a_good_request_succeeds(operation, loop, account):
    judge = Judge(operation, account)

    async def ask():
        async with calling(machine=copy_of(account.machine)) as aws:
            return await aws(operation, **good(account.known)[operation])

    answer = loop.run_until_complete(ask())
    assert problems(judge.model.output_shape, answer) == []


WRITES = [name for name in MODEL.operation_names if not name.startswith(("Describe", "List"))]


async def shown(aws: Aws) -> str:
    """All that the API shows, once everything is at rest, but for ids and times."""
    await aws.passes(20.0)
    found = {region: await everything(aws.at(region)) for region in (REGION, OTHER_REGION)}
    text = json.dumps(found, sort_keys=True)
    return re.sub(r"[0-9a-f]{32}|[0-9a-f-]{36}|[0-9a-z]{10}(?=\.)|1[89]\d{8}\.\d+", "…", text)


@pytest.mark.parametrize("operation", WRITES)
def test_a_call_that_dies_has_been_accepted_or_has_changed_nothing(operation, loop, account):
    """Killed at each of its effects in turn, and asked for again by nobody."""

    async def told(effects: int | None) -> tuple[str, bool]:
        """What is shown in the end, and whether the call was answered. 0: it never came."""
        machine, answered = copy_of(account.machine), False
        async with calling(machine=machine) as aws:
            if effects is not None:
                aws.emulator.fuse.at = aws.emulator.fuse.count + effects
            if effects != 0:
                with suppress(Killed):
                    await aws(operation, **good(account.known)[operation])
                    answered = True
        async with calling(machine=machine) as aws:
            return await shown(aws), answered

    async def tried() -> None:
        before, after = (await told(0))[0], (await told(None))[0]
        assert before != after
        for effects in range(1, 30):
            found, answered = await told(effects)
            assert found == after if answered else found in {before, after}
            if answered:
                return
        raise AssertionError("a call has fewer effects than that")

    loop.run_until_complete(tried())


def test_it_is_many_thousands_of_requests(account):
    counts = [len(made(operation, account.known)) for operation in MODEL.operation_names]
    assert len(counts) == 37
    assert sum(counts) > 28_000


GOOD_LIST = {
    "AutoScalingConfigurationSummaryList": [
        {"Status": "active", "CreatedAt": 1.8e9, "AutoScalingConfigurationRevision": 1}
    ]
}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"Status": "ACTIVE"}, "none of"),
        ({"Status": None}, "is null"),
        ({"CreatedAt": "2027-01-15"}, "no number of seconds"),
        ({"CreatedAt": 1.8e12}, "no number of seconds"),
        ({"AutoScalingConfigurationRevision": 1.0}, "no integer"),
        ({"AutoScalingConfigurationRevision": True}, "no integer"),
        ({"AutoScalingConfigurationName": "a"}, "has 1 characters"),
        ({"AutoScalingConfigurationArn": "arn"}, "against its pattern"),
        ({"IsDefault": 1}, "no boolean"),
        ({"Strange": 1}, "not in the model"),
    ],
)
def test_the_judge_sees_what_sdks_overlook(change, problem):
    shape = MODEL.operation_model("ListAutoScalingConfigurations").output_shape
    assert problems(shape, GOOD_LIST) == []
    (row,) = GOOD_LIST["AutoScalingConfigurationSummaryList"]
    (found,) = problems(shape, {"AutoScalingConfigurationSummaryList": [row | change]})
    assert problem in found
    assert problems(shape, {}) == ["$.AutoScalingConfigurationSummaryList is missing"]


def test_the_judge_reads_nothing_but_json():
    for body in (b'{"a": NaN}', b'{"a": 1, "a": 2}'):
        with pytest.raises(AssertionError):
            document(body)
    assert document(json.dumps({"a": 1}).encode()) == {"a": 1}
