"""An account with resources of every kind and in every state, and copies of it at no cost."""

import copy
from dataclasses import dataclass, field, replace
from typing import Any

from tests.fakes.emulators import Machine
from tests.surfaces.aws_calls import (
    ACCOUNT,
    OTHER_REGION,
    REGION,
    ROLE,
    Aws,
    calling,
    code_source,
    observed_by,
    private,
    repository_of,
    tags,
    through,
)

Members = dict[str, Any]
LISTS = {
    "Service": "ServiceSummaryList",
    "Connection": "ConnectionSummaryList",
    "AutoScalingConfiguration": "AutoScalingConfigurationSummaryList",
    "ObservabilityConfiguration": "ObservabilityConfigurationSummaryList",
    "VpcConnector": "VpcConnectors",
    "VpcIngressConnection": "VpcIngressConnectionSummaryList",
}
ENDLESS = 1e6  # seconds of a build that is not to end
ECR = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


def ecr_source(image: str = "app:1", **more: Any) -> Members:
    """An image as the model's pattern has it."""
    repository = {"ImageIdentifier": f"{ECR}/{image}", "ImageRepositoryType": "ECR"} | more
    return {
        "SourceConfiguration": {
            "ImageRepository": repository,
            "AuthenticationConfiguration": {"AccessRoleArn": ROLE},
        }
    }


@dataclass
class Known:
    """What the account holds: ARNs (`{word}`), and the domains of the running service."""

    arns: dict[str, str] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)

    def __getitem__(self, word: str) -> str:
        return self.arns[word]

    def pool(self) -> list[str]:
        """ARNs that a caller may come up with: right ones, nearly right ones, nonsense."""
        wholes = list(self.arns.values())
        partial = [arn.rpartition("/")[0] for arn in wholes]
        names = [arn.rpartition("/")[0] for arn in partial if arn.count("/") > 1]
        strangers = [
            wholes[0].replace(ACCOUNT, "999999999999"),
            wholes[0].replace("arn:aws:", "arn:aws-cn:"),
            wholes[0].replace(":apprunner:", ":ecs:"),
            wholes[0].replace(REGION, ""),
            f"arn:aws:apprunner:{REGION}:{ACCOUNT}:service/hello/{'f' * 32}",
            f"arn:aws:apprunner:{REGION}:{ACCOUNT}:autoscalingconfiguration/busy/99",
            f"arn:aws:apprunner:{REGION}:{ACCOUNT}:autoscalingconfiguration/busy/0",
            f"arn:aws:apprunner:{REGION}:{ACCOUNT}:autoscalingconfiguration/busy/01",
            f"arn:aws:apprunner:{REGION}:{ACCOUNT}:autoscalingconfiguration/busy/1/2/3/4",
            f"arn:aws:apprunner:{REGION}:{ACCOUNT}:autoscalingconfiguration//",
            f"arn:aws:apprunner:{REGION}:{ACCOUNT}:balloon/red/{'f' * 32}",
            f"arn:aws:apprunner:{REGION}:{ACCOUNT}:service",
            f"arn:aws:apprunner:{REGION}:{ACCOUNT}:-",
            f"{wholes[0]}\n",
            f" {wholes[0]}",
            wholes[0].upper(),
            "not-an-arn",
            "hello",
            "arn:",
            "*",
        ]
        return sorted({*wholes, *partial, *names, *strangers})


async def populated(machine: Machine) -> Known:
    """Resources of every kind, in two Regions."""
    known = Known()
    repository_of(machine)
    async with calling(machine=machine) as aws:
        await _supporting(aws, known)
        await _services(aws, known)
        await _gone(aws, known)
        await _elsewhere(aws.at(OTHER_REGION), known)
        await aws.passes(30.0)
        await _in_progress(aws, known)
        for operation in ("ListServices", "ListAutoScalingConfigurations", "ListVpcConnectors"):
            known.tokens.append((await aws(operation, MaxResults=1))["NextToken"])
    return known


async def _supporting(aws: Aws, known: Known) -> None:
    known.arns |= {
        "scaling": (await aws.scaling("busy", MaxSize=3))["AutoScalingConfigurationArn"],
        "scaling 2": (await aws.scaling("busy", Tags=tags(a="1")))["AutoScalingConfigurationArn"],
        "spare scaling": (await aws.scaling("spare"))["AutoScalingConfigurationArn"],
        "default scaling": aws.arn(f"autoscalingconfiguration/DefaultConfiguration/1/{'0' * 31}1"),
        "connection": (await aws.connection("github"))["ConnectionArn"],
        "spare connection": (await aws.connection("bucket", ProviderType="BITBUCKET"))[
            "ConnectionArn"
        ],
        "observability": (
            await aws.observability("tracing", TraceConfiguration={"Vendor": "AWSXRAY"})
        )["ObservabilityConfigurationArn"],
        "spare observability": (await aws.observability("tracing"))[
            "ObservabilityConfigurationArn"
        ],
        "connector": (await aws.connector("egress", SecurityGroups=["sg-1"]))["VpcConnectorArn"],
        "spare connector": (await aws.connector("spare"))["VpcConnectorArn"],
    }


async def _services(aws: Aws, known: Known) -> None:
    running = await aws.service(
        "running",
        **ecr_source(),
        **observed_by(known["observability"]),
        **through(known["connector"]),
        AutoScalingConfigurationArn=known["scaling"],
        Tags=tags(team="blue"),
    )
    hidden = await aws.service("hidden", **ecr_source(), **private())
    paused = await aws.service("paused", **ecr_source())
    failed = await aws.service("failed", **ecr_source("missing:1"))
    code = await aws.service("code", **code_source(known["connection"]))
    names = {"running": running, "hidden": hidden, "paused": paused, "failed": failed, "code": code}
    known.arns |= {name: service["ServiceArn"] for name, service in names.items()}
    await aws.changed("PauseService", known["paused"])
    await aws.domain(known["running"], "example.com")
    await aws.domain(known["running"], "www.example.org", EnableWWWSubdomain=False)
    known.arns["ingress"] = (await aws.ingress(known["hidden"]))["VpcIngressConnectionArn"]


async def _gone(aws: Aws, known: Known) -> None:
    """Deleted not long ago."""
    arns = {
        "deleted service": (await aws.service("deleted", **ecr_source()))["ServiceArn"],
        "deleted scaling": (await aws.scaling("deleted"))["AutoScalingConfigurationArn"],
        "deleted connection": (await aws.connection("deleted"))["ConnectionArn"],
        "deleted observability": (await aws.observability("deleted"))[
            "ObservabilityConfigurationArn"
        ],
        "deleted connector": (await aws.connector("deleted"))["VpcConnectorArn"],
        "deleted ingress": (await aws.ingress(known["running"], "deleted"))[
            "VpcIngressConnectionArn"
        ],
    }
    known.arns |= arns
    await aws.passes(1.0)
    await aws.changed("DeleteService", arns["deleted service"])
    await aws("DeleteAutoScalingConfiguration", AutoScalingConfigurationArn=arns["deleted scaling"])
    await aws("DeleteConnection", ConnectionArn=arns["deleted connection"])
    await aws(
        "DeleteObservabilityConfiguration",
        ObservabilityConfigurationArn=arns["deleted observability"],
    )
    await aws("DeleteVpcConnector", VpcConnectorArn=arns["deleted connector"])
    await aws("DeleteVpcIngressConnection", VpcIngressConnectionArn=arns["deleted ingress"])


async def _elsewhere(aws: Aws, known: Known) -> None:
    """In another Region."""
    service = await aws.service("running", **ecr_source())
    known.arns |= {
        "service elsewhere": service["ServiceArn"],
        "scaling elsewhere": (await aws.scaling("busy"))["AutoScalingConfigurationArn"],
        "connection elsewhere": (await aws.connection("github"))["ConnectionArn"],
        "observability elsewhere": (await aws.observability())["ObservabilityConfigurationArn"],
        "connector elsewhere": (await aws.connector())["VpcConnectorArn"],
        "ingress elsewhere": (await aws.ingress(service["ServiceArn"]))["VpcIngressConnectionArn"],
    }


async def _in_progress(aws: Aws, known: Known) -> None:
    aws.machine.builder.build_time = ENDLESS
    answer = await aws.begin("building", **code_source(known["connection"]))
    known.arns["building"] = answer["Service"]["ServiceArn"]


async def everything(aws: Aws) -> Members:
    """Whatever a Region's API shows, by ARN."""
    found: Members = {}
    for kind, rows in LISTS.items():
        answer = await aws(f"List{kind}s")
        for row in answer[rows]:
            arn = row[f"{kind}Arn"]
            found[arn] = {"row": row, "tags": await aws.tags(arn)}
            if kind != "Connection":
                found[arn]["view"] = await aws(f"Describe{kind}", **{f"{kind}Arn": arn})
            if kind == "Service":
                found[arn]["operations"] = await aws.operations(arn)
                found[arn]["domains"] = await aws("DescribeCustomDomains", ServiceArn=arn)
    return found


def copy_of(machine: Machine) -> Machine:
    """What is stored and what runs; values are immutable but for the containers."""
    made = Machine()
    made.identifiers = machine.identifiers
    made.clock = machine.clock
    for name, value in vars(machine.store).items():
        setattr(made.store, name, copy.copy(value))
    containers = machine.world.containers.items()
    made.world.containers = {id_: replace(each) for id_, each in containers}
    made.world.images = dict(machine.world.images)
    made.world.networks = set(machine.world.networks)
    made.repository._repositories = machine.repository._repositories
    made.builder.build_time = machine.builder.build_time
    return made
