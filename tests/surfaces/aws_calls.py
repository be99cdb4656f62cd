"""App Runner's API spoken to in process: the bytes of a request in, the bytes of its answer out.

Without sockets, so that an hour passes in no time; what HTTP adds is tested in
`tests/conformance/test_wire.py`.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from emulator.model.settings import Pace, PaceMode, Quotas, Settings
from emulator.surfaces.api import codec
from emulator.surfaces.api.protocol import Protocol, Reply
from tests.fakes.emulators import SETTINGS, Emulator, Machine

REGION, OTHER_REGION = "us-east-1", "eu-west-1"
ACCOUNT = SETTINGS.account
MODELS = codec.operations()
ROLE = f"arn:aws:iam::{ACCOUNT}:role/access"
Members = dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """An error answer."""

    status: int
    code: str
    message: str


class Aws:
    """The API of one Region; `await aws("ListServices")` is an answer's members."""

    def __init__(self, emulator: Emulator, region: str = REGION) -> None:
        self.emulator = emulator
        self.region = region
        self._protocol = Protocol(emulator.platform, MODELS)

    @property
    def machine(self) -> Machine:
        return self.emulator.machine

    @property
    def now(self) -> float:
        return self.machine.clock.now()

    def at(self, region: str) -> "Aws":
        return Aws(self.emulator, region)

    async def raw(self, operation: str, body: bytes) -> Reply:
        return await self._protocol.answer(f"AppRunner.{operation}", body, region=self.region)

    async def __call__(self, operation: str, **members: Any) -> Members:
        reply = await self.raw(operation, json.dumps(members).encode())
        assert reply.status == 200, f"{operation} {members}: {reply}"
        return json.loads(reply.body)

    async def refused(self, operation: str, **members: Any) -> Refusal:
        reply = await self.raw(operation, json.dumps(members).encode())
        assert reply.status != 200, f"{operation} {members}: {reply}"
        body = json.loads(reply.body)
        assert body.keys() == {"__type", "Message"}
        assert body["__type"] == reply.code
        return Refusal(reply.status, reply.code, body["Message"])

    async def passes(self, seconds: float) -> None:
        await self.machine.clock.sleep(seconds)

    def arn(self, tail: str) -> str:
        return f"arn:aws:apprunner:{self.region}:{ACCOUNT}:{tail}"

    # -- resources -----------------------------------------------------------------------------

    async def begin(self, name: str = "hello", **members: Any) -> Members:
        """CreateService's answer, of an image if nothing else is asked for."""
        return await self("CreateService", **(image_source() | {"ServiceName": name} | members))

    async def service(self, name: str = "hello", **members: Any) -> Members:
        """A service at rest."""
        answer = await self.begin(name, **members)
        return await self.settled(answer["Service"]["ServiceArn"])

    async def settled(self, arn: str, *, within: float = 100.0) -> Members:
        """The service, once nothing is in progress."""
        end = self.now + within
        while (found := await self.described(arn))["Status"] == "OPERATION_IN_PROGRESS":
            assert self.now < end, f"{arn} did not come to rest"
            await self.passes(0.25)
        return found

    async def described(self, arn: str) -> Members:
        return (await self("DescribeService", ServiceArn=arn))["Service"]

    async def changed(self, operation: str, arn: str, **members: Any) -> Members:
        """The service at rest after UpdateService, PauseService and the like."""
        await self(operation, ServiceArn=arn, **members)
        return await self.settled(arn)

    async def operations(self, arn: str) -> list[Members]:
        return (await self("ListOperations", ServiceArn=arn))["OperationSummaryList"]

    async def scaling(self, name: str = "busy", **members: Any) -> Members:
        answer = await self(
            "CreateAutoScalingConfiguration", AutoScalingConfigurationName=name, **members
        )
        return answer["AutoScalingConfiguration"]

    async def observability(self, name: str = "tracing", **members: Any) -> Members:
        answer = await self(
            "CreateObservabilityConfiguration", ObservabilityConfigurationName=name, **members
        )
        return answer["ObservabilityConfiguration"]

    async def connection(self, name: str = "github", **members: Any) -> Members:
        members = {"ProviderType": "GITHUB"} | members
        return (await self("CreateConnection", ConnectionName=name, **members))["Connection"]

    async def connector(self, name: str = "egress", **members: Any) -> Members:
        members = {"Subnets": ["subnet-1"]} | members
        answer = await self("CreateVpcConnector", VpcConnectorName=name, **members)
        return answer["VpcConnector"]

    async def ingress(self, service: str, name: str = "inside", **members: Any) -> Members:
        members = {
            "IngressVpcConfiguration": {"VpcId": "vpc-1", "VpcEndpointId": "vpce-1"}
        } | members
        answer = await self(
            "CreateVpcIngressConnection",
            ServiceArn=service,
            VpcIngressConnectionName=name,
            **members,
        )
        return answer["VpcIngressConnection"]

    async def domain(self, service: str, name: str = "example.com", **members: Any) -> Members:
        answer = await self("AssociateCustomDomain", ServiceArn=service, DomainName=name, **members)
        return answer["CustomDomain"]

    async def domains(self, service: str) -> dict[str, str]:
        """Status by name."""
        answer = await self("DescribeCustomDomains", ServiceArn=service)
        return {each["DomainName"]: each["Status"] for each in answer["CustomDomains"]}

    async def tags(self, arn: str) -> dict[str, str]:
        answer = await self("ListTagsForResource", ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for tag in answer["Tags"]}


def tags(**values: str) -> list[Members]:
    return [{"Key": key, "Value": value} for key, value in values.items()]


def image_source(identifier: str = "app:1", kind: str = "ECR", **more: Any) -> Members:
    """The SourceConfiguration member for an image; `more` is its ImageConfiguration."""
    image = {"ImageIdentifier": identifier, "ImageRepositoryType": kind}
    if more:
        image["ImageConfiguration"] = more
    return {"SourceConfiguration": {"ImageRepository": image}}


def code_source(connection: str | None = None, **more: Any) -> Members:
    """The same for the repository that `repository_of` makes; `more` replaces its members."""
    repository = {
        "RepositoryUrl": "/repo",
        "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"},
        "CodeConfiguration": {"ConfigurationSource": "REPOSITORY"},
    }
    source: Members = {"CodeRepository": repository | more}
    if connection:
        source["AuthenticationConfiguration"] = {"ConnectionArn": connection}
    return {"SourceConfiguration": source}


def repository_of(machine: Machine) -> str:
    """A repository to deploy from; its first commit."""
    files = {"requirements.txt": "flask\n", "app.py": "print(1)\n"}
    return machine.repository.commit_files("/repo", files)


def private() -> Members:
    return {"NetworkConfiguration": {"IngressConfiguration": {"IsPubliclyAccessible": False}}}


def through(connector: str) -> Members:
    egress = {"EgressType": "VPC", "VpcConnectorArn": connector}
    return {"NetworkConfiguration": {"EgressConfiguration": egress}}


def observed_by(configuration: str) -> Members:
    member = {"ObservabilityEnabled": True, "ObservabilityConfigurationArn": configuration}
    return {"ObservabilityConfiguration": member}


def at_pace(mode: PaceMode, speed: float = 1.0) -> Settings:
    return replace(SETTINGS, pace=Pace(mode=mode, speed=speed))


def with_quotas(**quotas: int) -> Settings:
    return replace(SETTINGS, quotas=Quotas(**quotas))


@asynccontextmanager
async def calling(
    settings: Settings = SETTINGS, machine: Machine | None = None
) -> AsyncIterator[Aws]:
    """An emulator over a machine of its own, or over one that was left."""
    async with Emulator(machine or Machine(), settings=settings) as emulator:
        yield Aws(emulator)
