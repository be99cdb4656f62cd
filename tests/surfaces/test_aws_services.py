"""Services through the API: what is asked for, what is shown, and what is refused."""

import asyncio
import json
import re

import pytest

from emulator.model.settings import PaceMode
from emulator.surfaces.api import codec
from emulator.surfaces.api.protocol import Protocol
from tests.fakes.emulators import SETTINGS
from tests.fakes.world import Behaviour
from tests.surfaces.aws_calls import (
    ACCOUNT,
    OTHER_REGION,
    ROLE,
    at_pace,
    calling,
    code_source,
    image_source,
    observed_by,
    private,
    repository_of,
    tags,
    through,
    with_quotas,
)

documented, observed, assumed = pytest.mark.documented, pytest.mark.observed, pytest.mark.assumed
pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
BUSY = "OPERATION_IN_PROGRESS"
PRIVATE_IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/app:1"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef"
AUTOMATIC_DEPLOYMENTS = (
    "App Runner doesn't support automatic deployments for an image in an ECR Public repository."
)


def ecr(**members):
    """A private image in Amazon ECR, with the role to get it."""
    wanted = image_source(PRIVATE_IMAGE)
    access = {"AuthenticationConfiguration": {"AccessRoleArn": ROLE}}
    wanted["SourceConfiguration"] |= access | members
    return wanted


def environment(**variables):
    return image_source(RuntimeEnvironmentVariables=variables)


class TestCreate:
    @documented(source="AWS CLI, example of create-service; Terraform's waiter")
    async def test_is_in_progress_in_its_own_answer_and_in_the_next(self, aws):
        answer = await aws.begin()
        assert answer["Service"]["Status"] == BUSY
        arn = answer["Service"]["ServiceArn"]
        assert (await aws.described(arn))["Status"] == BUSY
        assert (await aws.settled(arn))["Status"] == "RUNNING"

    @documented(source="service model; clients.md 2.2: what the provider's tests assert")
    async def test_shows_every_default_and_nothing_else(self, aws):
        service = await aws.service("hello", **image_source("public.ecr.aws/x/app:1", "ECR_PUBLIC"))
        made = aws.machine.clock.start
        assert made <= service.pop("CreatedAt") <= service.pop("UpdatedAt") < made + 100
        id_, url = service.pop("ServiceId"), service.pop("ServiceUrl")
        assert re.fullmatch(r"[0-9a-f]{32}", id_)
        assert re.fullmatch(r"[a-z0-9]{10}\.us-east-1\.awsapprunner\.localhost:8443", url)
        default = "autoscalingconfiguration/DefaultConfiguration/1/00000000000000000000000000000001"
        assert service == {
            "ServiceName": "hello",
            "ServiceArn": aws.arn(f"service/hello/{id_}"),
            "Status": "RUNNING",
            "SourceConfiguration": {
                "ImageRepository": {
                    "ImageIdentifier": "public.ecr.aws/x/app:1",
                    "ImageRepositoryType": "ECR_PUBLIC",
                },
                "AutoDeploymentsEnabled": False,
            },
            "InstanceConfiguration": {"Cpu": "1024", "Memory": "2048"},
            "HealthCheckConfiguration": {
                "Protocol": "TCP",
                "Path": "/",
                "Interval": 5,
                "Timeout": 2,
                "HealthyThreshold": 1,
                "UnhealthyThreshold": 5,
            },
            "AutoScalingConfigurationSummary": {
                "AutoScalingConfigurationArn": aws.arn(default),
                "AutoScalingConfigurationName": "DefaultConfiguration",
                "AutoScalingConfigurationRevision": 1,
            },
            "NetworkConfiguration": {
                "EgressConfiguration": {"EgressType": "DEFAULT"},
                "IngressConfiguration": {"IsPubliclyAccessible": True},
                "IpAddressType": "IPV4",
            },
        }

    @documented(source="service model; the golden body of apprunner.md 1.4")
    async def test_shows_a_code_service_as_it_was_asked_for(self, aws):
        repository_of(aws.machine)
        connection = (await aws.connection())["ConnectionArn"]
        values = {
            "Runtime": "PYTHON_311",
            "BuildCommand": "pip install -r requirements.txt",
            "StartCommand": "python app.py",
            "Port": "8000",
            "RuntimeEnvironmentVariables": {"NAME": "Jane"},
        }
        settings = {"ConfigurationSource": "API", "CodeConfigurationValues": values}
        service = await aws.service(**code_source(connection, CodeConfiguration=settings))
        assert service["SourceConfiguration"] == {
            "CodeRepository": {
                "RepositoryUrl": "/repo",
                "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"},
                "SourceDirectory": "/",
                "CodeConfiguration": settings,
            },
            "AutoDeploymentsEnabled": True,
            "AuthenticationConfiguration": {"ConnectionArn": connection},
        }

    @documented(source="AWS CLI, example of create-service: the subdomain is not the id")
    async def test_gives_a_url_that_tells_nothing_of_the_id(self, aws):
        service = await aws.service()
        assert service["ServiceId"][:8] not in service["ServiceUrl"]
        assert "://" not in service["ServiceUrl"]

    @observed(source="clients.md 1.7: shown without being asked for, they are differences for ever")
    async def test_does_not_show_what_was_not_asked_for(self, aws):
        service = await aws.service()
        assert "EncryptionConfiguration" not in service
        assert "ObservabilityConfiguration" not in service
        assert "AuthenticationConfiguration" not in service["SourceConfiguration"]
        assert "ImageConfiguration" not in service["SourceConfiguration"]["ImageRepository"]
        assert "InstanceRoleArn" not in service["InstanceConfiguration"]
        assert "DeletedAt" not in service

    async def test_shows_what_was_asked_for_also_where_it_is_off(self, aws):
        off = {"ObservabilityEnabled": False}
        service = await aws.service(ObservabilityConfiguration=off)
        assert service["ObservabilityConfiguration"] == off

    async def test_shows_roles_keys_and_health_checks(self, aws):
        check = {
            "Protocol": "HTTP",
            "Path": "/health",
            "Interval": 1,
            "Timeout": 20,
            "HealthyThreshold": 20,
            "UnhealthyThreshold": 1,
        }
        service = await aws.service(
            **ecr(),
            InstanceConfiguration={"InstanceRoleArn": ROLE},
            EncryptionConfiguration={"KmsKey": KEY},
            HealthCheckConfiguration=check,
        )
        assert service["InstanceConfiguration"]["InstanceRoleArn"] == ROLE
        assert service["EncryptionConfiguration"] == {"KmsKey": KEY}
        assert service["HealthCheckConfiguration"] == check
        role = {"AccessRoleArn": ROLE}
        assert service["SourceConfiguration"]["AuthenticationConfiguration"] == role

    @documented(source="developer guide, architecture: supported configurations")
    @pytest.mark.parametrize(
        ("cpu", "memory", "shown"),
        [
            ("0.25 vCPU", "0.5 GB", ("256", "512")),
            ("256", "1024", ("256", "1024")),
            ("0.5 vCPU", "1 GB", ("512", "1024")),
            ("1 vCPU", "2 GB", ("1024", "2048")),
            ("1024", "3 GB", ("1024", "3072")),
            ("1 vCPU", "4096", ("1024", "4096")),
            ("2 vCPU", "4 GB", ("2048", "4096")),
            ("2048", "6144", ("2048", "6144")),
            ("4 vCPU", "8 GB", ("4096", "8192")),
            ("4096", "10240", ("4096", "10240")),
            ("4 vCPU", "12 GB", ("4096", "12288")),
        ],
    )
    async def test_takes_sizes_in_two_spellings_and_shows_numbers(self, aws, cpu, memory, shown):
        answer = await aws.begin(InstanceConfiguration={"Cpu": cpu, "Memory": memory})
        size = answer["Service"]["InstanceConfiguration"]
        assert (size["Cpu"], size["Memory"]) == shown

    @documented(source="developer guide, architecture: supported configurations")
    @pytest.mark.parametrize(
        "size",
        [
            {"Cpu": "256", "Memory": "2048"},
            {"Cpu": "0.5 vCPU", "Memory": "0.5 GB"},
            {"Cpu": "4 vCPU", "Memory": "2 GB"},
            {"Cpu": "256"},
            {"Memory": "512"},
        ],
    )
    async def test_refuses_sizes_that_do_not_go_together(self, aws, size):
        refusal = await aws.refused(
            "CreateService", ServiceName="hello", **image_source(), InstanceConfiguration=size
        )
        assert refusal.code == "InvalidRequestException"
        assert "not a supported pair" in refusal.message

    @observed(source="app-runner-deploy issue 39: lower camel paths, all violations at once")
    async def test_lists_every_violated_constraint(self, aws):
        size = {"Cpu": "0 vCPU", "Memory": "0 GB"}
        refusal = await aws.refused(
            "CreateService", ServiceName="hello", **image_source(), InstanceConfiguration=size
        )
        assert refusal.message.startswith("2 validation errors detected: Value '0 ")
        assert "Value '0 GB' at 'instanceConfiguration.memory' failed to satisfy" in refusal.message
        assert "at 'instanceConfiguration.cpu' failed to satisfy" in refusal.message

    @documented(source="service model: sensitive values are in no message")
    async def test_tells_no_secret_in_a_refusal(self, aws):
        wanted = image_source(StartCommand="run --password hunter2\n")
        refusal = await aws.refused("CreateService", ServiceName="hello", **wanted)
        assert "startCommand" in refusal.message
        assert "hunter2" not in refusal.message

    async def test_fails_where_the_image_is_missing(self, aws):
        service = await aws.service(**image_source("missing:1"))
        assert service["Status"] == "CREATE_FAILED"
        (operation,) = await aws.operations(service["ServiceArn"])
        assert (operation["Type"], operation["Status"]) == ("CREATE_SERVICE", "FAILED")
        assert operation["EndedAt"] >= operation["StartedAt"]


class TestNames:
    @observed(source="clients.md 1.13: eight parallel creates of one name give one success")
    async def test_are_given_away_once(self, aws):
        body = json.dumps({"ServiceName": "hello", **image_source()}).encode()
        replies = await asyncio.gather(*(aws.raw("CreateService", body) for _ in range(8)))
        assert sorted(reply.status for reply in replies) == [200, *[400] * 7]
        assert {reply.code for reply in replies if reply.status == 400} == {
            "InvalidRequestException"
        }
        assert len((await aws("ListServices"))["ServiceSummaryList"]) == 1

    @observed(source="users: the sentence for a name that is taken")
    async def test_are_taken_while_their_service_lives_in_whatever_status(self, aws):
        sentence = "Service with the provided name already exists: hello"

        async def still_taken():
            refusal = await aws.refused("CreateService", ServiceName="hello", **image_source())
            assert (refusal.code, refusal.message) == ("InvalidRequestException", sentence)

        arn = (await aws.begin(**image_source("missing:1")))["Service"]["ServiceArn"]
        await still_taken()
        assert (await aws.settled(arn))["Status"] == "CREATE_FAILED"
        await still_taken()
        await aws.changed("UpdateService", arn, **image_source())
        await still_taken()
        await aws.changed("PauseService", arn)
        await still_taken()
        await aws("DeleteService", ServiceArn=arn)
        await still_taken()
        assert (await aws.settled(arn))["Status"] == "DELETED"
        await aws.begin()

    @documented(source="service model: unique among running services")
    async def test_are_free_after_deletion_with_another_arn_and_url(self, aws):
        first = await aws.service()
        await aws.changed("DeleteService", first["ServiceArn"])
        second = await aws.service()
        assert second["ServiceArn"] != first["ServiceArn"]
        assert second["ServiceUrl"] != first["ServiceUrl"]
        assert (await aws.described(first["ServiceArn"]))["Status"] == "DELETED"

    @documented(source="service model: unique in the account and Region")
    async def test_of_another_region_are_another_matter(self, aws):
        here = await aws.service()
        there = await aws.at(OTHER_REGION).service()
        assert there["ServiceArn"] != here["ServiceArn"]

    @documented(source="service model: ServiceName")
    @pytest.mark.parametrize("name", ["abcd", "A-b_9", "9" * 40])
    async def test_may_be_any_that_the_model_allows(self, aws, name):
        assert (await aws.begin(name))["Service"]["ServiceName"] == name

    @documented(source="service model: ServiceName")
    @pytest.mark.parametrize(
        "name", ["abc", "-abc", "_abc", "a" * 41, "a.bcd", "äbcd", "abcd\n", ""]
    )
    async def test_are_refused_where_the_model_does_not(self, aws, name):
        refusal = await aws.refused("CreateService", ServiceName=name, **image_source())
        assert refusal.code == "InvalidRequestException"
        assert "'serviceName'" in refusal.message


class TestQuota:
    @documented(source="developer guide, architecture: 30 services in a Region")
    async def test_is_thirty(self, aws):
        for number in range(30):
            await aws.begin(f"service-{number}")
        refusal = await aws.refused("CreateService", ServiceName="one-more", **image_source())
        assert refusal.code == "ServiceQuotaExceededException"
        await aws.at(OTHER_REGION).begin()

    @documented(source="service model: CREATE_FAILED counts towards the quota")
    async def test_counts_failed_services_but_not_deleted_ones(self):
        async with calling(with_quotas(services=1)) as aws:
            failed = await aws.service("failed", **image_source("missing:1"))
            refusal = await aws.refused("CreateService", ServiceName="hello", **image_source())
            assert (refusal.status, refusal.code) == (402, "ServiceQuotaExceededException")
            await aws.changed("DeleteService", failed["ServiceArn"])
            await aws.begin("hello")

    async def test_holds_against_parallel_creates(self):
        async with calling(with_quotas(services=3)) as aws:
            bodies = [{"ServiceName": f"name{n}", **image_source()} for n in range(8)]
            replies = await asyncio.gather(
                *(aws.raw("CreateService", json.dumps(body).encode()) for body in bodies)
            )
            assert sorted(reply.status for reply in replies) == [200] * 3 + [402] * 5
            assert len((await aws("ListServices"))["ServiceSummaryList"]) == 3


class TestSources:
    async def refused(self, aws, source):
        refusal = await aws.refused("CreateService", ServiceName="hello", **source)
        assert refusal.code == "InvalidRequestException"
        return refusal.message

    @documented(source="service model: exactly one of CodeRepository and ImageRepository")
    async def test_are_one_of_two_kinds(self, aws):
        both = {
            "SourceConfiguration": image_source()["SourceConfiguration"]
            | code_source()["SourceConfiguration"]
        }
        assert "exactly one of" in await self.refused(aws, both)
        none = {"SourceConfiguration": {"AutoDeploymentsEnabled": False}}
        assert "Provide one of" in await self.refused(aws, none)
        assert "Provide one of" in await self.refused(aws, {"SourceConfiguration": {}})

    @documented(source="service model: AccessRoleArn is required for ECR, not for ECR Public")
    async def test_need_a_role_for_a_private_image(self, aws):
        assert "AccessRoleArn is required" in await self.refused(aws, image_source(PRIVATE_IMAGE))
        await aws.begin("private", **ecr())
        await aws.begin("public", **image_source("public.ecr.aws/x/app:1", "ECR_PUBLIC"))

    async def test_cannot_be_public_in_a_private_registry(self, aws):
        message = await self.refused(aws, image_source(PRIVATE_IMAGE, "ECR_PUBLIC"))
        assert "private image" in message

    @observed(source="tf-aws issue 24531: the sentence")
    async def test_of_a_public_registry_are_not_deployed_automatically(self, aws):
        public = image_source("public.ecr.aws/x/app:1", "ECR_PUBLIC")
        automatic = {"AutoDeploymentsEnabled": True}
        wanted = {"SourceConfiguration": public["SourceConfiguration"] | automatic}
        assert await self.refused(aws, wanted) == AUTOMATIC_DEPLOYMENTS

    @documented(source="service model: the default of AutoDeploymentsEnabled")
    async def test_are_deployed_automatically_unless_they_are_public(self, aws):
        repository_of(aws.machine)
        public = image_source("public.ecr.aws/x/app:1", "ECR_PUBLIC")
        for name, source, automatic in (
            ("code", code_source(), True),
            ("private", ecr(), True),
            ("public", public, False),
        ):
            service = (await aws.begin(name, **source))["Service"]
            assert service["SourceConfiguration"]["AutoDeploymentsEnabled"] is automatic

    @documented(source="service model: CodeConfiguration is required only for CreateService")
    async def test_of_code_need_a_code_configuration(self, aws):
        repository_of(aws.machine)
        source = code_source()
        del source["SourceConfiguration"]["CodeRepository"]["CodeConfiguration"]
        assert "CodeConfiguration is required" in await self.refused(aws, source)
        service = await aws.service(**code_source())
        updated = await aws.changed("UpdateService", service["ServiceArn"], **source)
        assert updated["SourceConfiguration"] == service["SourceConfiguration"]

    @documented(source="service model: CodeConfigurationValues with ConfigurationSource API")
    async def test_of_code_configured_by_the_api_need_values(self, aws):
        repository_of(aws.machine)
        source = code_source(CodeConfiguration={"ConfigurationSource": "API"})
        assert "CodeConfigurationValues is required" in await self.refused(aws, source)

    async def test_name_a_repository_and_a_branch_that_are_there(self, aws):
        repository_of(aws.machine)
        assert "nowhere" in await self.refused(aws, code_source(RepositoryUrl="/nowhere"))
        branch = code_source(SourceCodeVersion={"Type": "BRANCH", "Value": "dev"})
        assert "no branch 'dev'" in await self.refused(aws, branch)

    @assumed(why="local names are what an emulator is for; `strict` is AWS's pattern")
    async def test_may_be_local_images_unless_strict(self, aws):
        await aws.begin(**image_source("app:1"))
        models = codec.operations(strict=True)
        body = json.dumps({"ServiceName": "other", **image_source("app:1")}).encode()
        protocol = Protocol(aws.emulator.platform, models)
        reply = await protocol.answer("AppRunner.CreateService", body, region=aws.region)
        assert reply.code == "InvalidRequestException"
        assert b"imageRepository.imageIdentifier" in reply.body

    @pytest.mark.parametrize("port", ["", "0", "65536", "http", "-1", "8080 ", "1e3", "٨٠"])
    async def test_listen_on_a_port_that_there_is(self, aws, port):
        assert "Port must be a number" in await self.refused(aws, image_source(Port=port))

    @documented(source="service model: StartCommand is one line")
    async def test_start_with_one_line(self, aws):
        assert "startCommand" in await self.refused(aws, image_source(StartCommand="a\nb"))


class TestEnvironment:
    @documented(source="developer guide, env-variable: PORT is reserved; Terraform: AWSAPPRUNNER")
    @pytest.mark.parametrize("name", ["PORT", "AWSAPPRUNNER", "AWSAPPRUNNER_X"])
    @pytest.mark.parametrize("kind", ["Variables", "Secrets"])
    async def test_has_names_that_are_reserved(self, aws, name, kind):
        wanted = image_source(**{f"RuntimeEnvironment{kind}": {name: "1"}})
        refusal = await aws.refused("CreateService", ServiceName="hello", **wanted)
        assert refusal.code == "InvalidRequestException"
        assert "reserved" in refusal.message

    @assumed(why="nothing says so; nobody could tell which of the two counts")
    async def test_has_no_name_for_a_variable_and_a_secret(self, aws):
        both = image_source(
            RuntimeEnvironmentVariables={"A": "1"}, RuntimeEnvironmentSecrets={"A": "name"}
        )
        refusal = await aws.refused("CreateService", ServiceName="hello", **both)
        assert "'A' is in RuntimeEnvironmentVariables and in" in refusal.message

    @documented(source="service model: 51,200 characters; that the bytes are as many is assumed")
    async def test_takes_values_of_any_text_up_to_51200_characters(self, aws):
        variables = {"LONG": "x" * 51_200, "EMPTY": "", "ä b": "☃", "port": "1"}
        service = await aws.service(**environment(**variables))
        image = service["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"]
        assert image["RuntimeEnvironmentVariables"] == variables
        refusal = await aws.refused(
            "CreateService", ServiceName="other", **environment(LONG="x" * 51_201)
        )
        assert refusal.code == "InvalidRequestException"
        assert "x" * 50 not in refusal.message

    @assumed(why="the model's pattern is `.*`, in which Java's dot matches no line feed")
    async def test_takes_values_of_many_lines(self, aws):
        variables = {"KEY": "-----BEGIN\nabc\r\n-----END\n"}
        service = await aws.service(**environment(**variables))
        image = service["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"]
        assert image["RuntimeEnvironmentVariables"] == variables

    @documented(source="service model: RuntimeEnvironmentSecrets")
    async def test_shows_the_references_of_secrets_not_the_secrets(self, aws):
        references = {"TOKEN": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:token"}
        service = await aws.service(**image_source(RuntimeEnvironmentSecrets=references))
        image = service["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"]
        assert image["RuntimeEnvironmentSecrets"] == references


class TestReferences:
    @documented(source="service model: CreateService declares no ResourceNotFoundException")
    @pytest.mark.parametrize(
        ("tail", "member"),
        [
            ("autoscalingconfiguration/none/1/x", lambda arn: {"AutoScalingConfigurationArn": arn}),
            ("observabilityconfiguration/none", observed_by),
            ("vpcconnector/none/1/x", through),
            ("connection/none/x", code_source),
        ],
    )
    async def test_to_what_is_not_there_are_invalid(self, aws, tail, member):
        repository_of(aws.machine)
        arn = aws.arn(tail)
        wanted = {"ServiceName": "hello"} | image_source() | member(arn)
        refusal = await aws.refused("CreateService", **wanted)
        assert refusal.code == "InvalidRequestException"
        assert arn in refusal.message
        repository = await aws.service("other", **image_source())
        if "connection" not in tail:
            change = {"ServiceArn": repository["ServiceArn"]} | member(arn)
            refusal = await aws.refused("UpdateService", **change)
            assert refusal.code == "InvalidRequestException"

    async def test_to_another_region_are_invalid(self, aws):
        there = await aws.at(OTHER_REGION).scaling()
        arn = there["AutoScalingConfigurationArn"]
        refusal = await aws.refused(
            "CreateService", ServiceName="hello", **image_source(), AutoScalingConfigurationArn=arn
        )
        assert refusal.code == "InvalidRequestException"

    @documented(source="service model: specify just the name to associate the latest revision")
    async def test_may_be_by_name_and_are_shown_whole(self, aws):
        await aws.scaling()
        latest = (await aws.scaling())["AutoScalingConfigurationArn"]
        await aws.observability()
        tracing = (await aws.observability())["ObservabilityConfigurationArn"]
        service = await aws.service(
            AutoScalingConfigurationArn=aws.arn("autoscalingconfiguration/busy"),
            **observed_by(aws.arn("observabilityconfiguration/tracing")),
        )
        summary = service["AutoScalingConfigurationSummary"]
        assert summary["AutoScalingConfigurationArn"] == latest
        assert summary["AutoScalingConfigurationRevision"] == 2
        observability = service["ObservabilityConfiguration"]
        assert observability["ObservabilityConfigurationArn"] == tracing

    @documented(source="service model: specify name and revision to associate that revision")
    async def test_may_be_by_name_and_revision(self, aws):
        first = (await aws.scaling())["AutoScalingConfigurationArn"]
        await aws.scaling()
        partial = aws.arn("autoscalingconfiguration/busy/1")
        service = await aws.service(AutoScalingConfigurationArn=partial)
        summary = service["AutoScalingConfigurationSummary"]
        assert summary["AutoScalingConfigurationArn"] == first

    @observed(source="app-runner-deploy issue 36: the sentence for an ARN of the wrong kind")
    async def test_of_the_wrong_kind_are_not_valid(self, aws):
        arn = (await aws.connection())["ConnectionArn"]
        refusal = await aws.refused(
            "CreateService", ServiceName="hello", **image_source(), AutoScalingConfigurationArn=arn
        )
        assert refusal.message == (
            f"The auto scaling configuration ARN you specified isn't valid. ARN: '{arn}'"
        )

    @documented(source="service model: an observability configuration only when enabled")
    async def test_to_an_observability_configuration_need_it_enabled(self, aws):
        arn = (await aws.observability())["ObservabilityConfigurationArn"]
        off = {"ObservabilityEnabled": False, "ObservabilityConfigurationArn": arn}
        refusal = await aws.refused(
            "CreateService", ServiceName="hello", **image_source(), ObservabilityConfiguration=off
        )
        assert "only when ObservabilityEnabled is true" in refusal.message


class TestNetwork:
    @documented(source="service model: VpcConnectorArn belongs to EgressType VPC")
    async def test_through_a_vpc_needs_a_connector_and_only_there(self, aws):
        arn = (await aws.connector())["VpcConnectorArn"]
        for egress, words in (
            ({"EgressType": "VPC"}, "VpcConnectorArn is required"),
            ({"EgressType": "DEFAULT", "VpcConnectorArn": arn}, "needs EgressType VPC"),
            ({"VpcConnectorArn": arn}, "needs EgressType VPC"),
        ):
            network = {"EgressConfiguration": egress}
            refusal = await aws.refused(
                "CreateService", ServiceName="hello", **image_source(), NetworkConfiguration=network
            )
            assert words in refusal.message
        service = await aws.service(**through(arn))
        egress = service["NetworkConfiguration"]["EgressConfiguration"]
        assert egress == {"EgressType": "VPC", "VpcConnectorArn": arn}

    @observed(source="clients.md 1.8: the Go SDK leaves out a boolean that is false")
    async def test_with_an_empty_ingress_configuration_is_private(self, aws):
        network = {"IngressConfiguration": {}}
        service = await aws.service(NetworkConfiguration=network)
        ingress = service["NetworkConfiguration"]["IngressConfiguration"]
        assert ingress == {"IsPubliclyAccessible": False}

    async def test_without_an_ingress_configuration_is_public(self, aws):
        for number, network in enumerate(({}, {"IpAddressType": "DUAL_STACK"})):
            service = await aws.service(f"name{number}", NetworkConfiguration=network)
            ingress = service["NetworkConfiguration"]["IngressConfiguration"]
            assert ingress == {"IsPubliclyAccessible": True}

    @observed(source="Terraform and Copilot: the ServiceUrl of a private service is empty")
    async def test_that_is_private_has_an_empty_url_and_is_on_no_public_listener(self, aws):
        service = await aws.service(**private())
        assert service["ServiceUrl"] == ""
        platform = aws.emulator.platform
        assert platform.hosts(platform.ledger("hello").service) == ()
        public = {"NetworkConfiguration": {"IngressConfiguration": {"IsPubliclyAccessible": True}}}
        service = await aws.changed("UpdateService", service["ServiceArn"], **public)
        host = service["ServiceUrl"].removesuffix(":8443")
        assert host in platform.hosts(platform.ledger("hello").service)

    @documented(source="service model: IpAddressType; changing it is an update")
    async def test_can_become_dual_stack(self, aws):
        service = await aws.service(**private())
        dual = {"NetworkConfiguration": {"IpAddressType": "DUAL_STACK"}}
        network = (await aws.changed("UpdateService", service["ServiceArn"], **dual))[
            "NetworkConfiguration"
        ]
        assert network["IpAddressType"] == "DUAL_STACK"
        assert network["IngressConfiguration"] == {"IsPubliclyAccessible": False}

    async def test_leaves_the_vpc_by_an_update(self, aws):
        arn = (await aws.connector())["VpcConnectorArn"]
        service = await aws.service(**through(arn))
        default = {"NetworkConfiguration": {"EgressConfiguration": {"EgressType": "DEFAULT"}}}
        network = (await aws.changed("UpdateService", service["ServiceArn"], **default))[
            "NetworkConfiguration"
        ]
        assert network["EgressConfiguration"] == {"EgressType": "DEFAULT"}
        await aws("DeleteVpcConnector", VpcConnectorArn=arn)


class TestUpdate:
    @documented(source="developer guide, manage-rebuild: what is left out keeps its value")
    async def test_leaves_what_is_left_out(self, aws):
        scaling = (await aws.scaling())["AutoScalingConfigurationArn"]
        tracing = (await aws.observability())["ObservabilityConfigurationArn"]
        connector = (await aws.connector())["VpcConnectorArn"]
        before = await aws.service(
            **environment(A="1"),
            **observed_by(tracing),
            **through(connector),
            AutoScalingConfigurationArn=scaling,
            InstanceConfiguration={"Cpu": "256", "Memory": "1024", "InstanceRoleArn": ROLE},
            HealthCheckConfiguration={"Protocol": "HTTP", "Path": "/health", "Interval": 7},
            EncryptionConfiguration={"KmsKey": KEY},
        )
        after = await aws.changed("UpdateService", before["ServiceArn"])
        assert after | {"UpdatedAt": 0} == before | {"UpdatedAt": 0}
        assert after["UpdatedAt"] > before["UpdatedAt"]
        small = {"Cpu": "256", "Memory": "512"}
        after = await aws.changed(
            "UpdateService",
            before["ServiceArn"],
            InstanceConfiguration=small,
            HealthCheckConfiguration={"Interval": 9},
        )
        assert after["InstanceConfiguration"] == small | {"InstanceRoleArn": ROLE}
        check = before["HealthCheckConfiguration"] | {"Interval": 9}
        assert after["HealthCheckConfiguration"] == check

    @observed(source="clients.md 2.2: an environment that is not given is gone")
    async def test_replaces_the_whole_source(self, aws):
        wanted = image_source(
            Port="9000", StartCommand="run", RuntimeEnvironmentVariables={"A": "1", "B": "2"}
        )
        service = await aws.service(**wanted)
        after = await aws.changed("UpdateService", service["ServiceArn"], **environment(B="3"))
        image = after["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"]
        assert image == {"Port": "8080", "RuntimeEnvironmentVariables": {"B": "3"}}
        after = await aws.changed("UpdateService", service["ServiceArn"], **image_source())
        image = after["SourceConfiguration"]["ImageRepository"]
        assert image == image_source()["SourceConfiguration"]["ImageRepository"]

    async def test_can_change_only_whether_it_deploys_automatically(self, aws):
        service = await aws.service(**ecr())
        off = {"SourceConfiguration": {"AutoDeploymentsEnabled": False}}
        after = await aws.changed("UpdateService", service["ServiceArn"], **off)
        source = service["SourceConfiguration"] | {"AutoDeploymentsEnabled": False}
        assert after["SourceConfiguration"] == source

    async def test_keeps_the_role_and_the_choice_of_automatic_deployments(self, aws):
        service = await aws.service(**ecr(AutoDeploymentsEnabled=False))
        other = image_source(PRIVATE_IMAGE.replace(":1", ":2"))
        after = (await aws.changed("UpdateService", service["ServiceArn"], **other))[
            "SourceConfiguration"
        ]
        assert after["AutoDeploymentsEnabled"] is False
        assert after["AuthenticationConfiguration"] == {"AccessRoleArn": ROLE}

    async def test_to_a_public_image_ends_automatic_deployments_and_the_role(self, aws):
        service = await aws.service(**ecr())
        assert service["SourceConfiguration"]["AutoDeploymentsEnabled"] is True
        public = image_source("public.ecr.aws/x/app:1", "ECR_PUBLIC")
        after = (await aws.changed("UpdateService", service["ServiceArn"], **public))[
            "SourceConfiguration"
        ]
        assert after["AutoDeploymentsEnabled"] is False
        assert "AuthenticationConfiguration" not in after

    @documented(source="service model: the answer reflects changes that are being applied")
    async def test_shows_the_new_values_at_once(self, aws):
        service = await aws.service()
        arn = service["ServiceArn"]
        size = {"Cpu": "256", "Memory": "512"}
        answer = await aws("UpdateService", ServiceArn=arn, InstanceConfiguration=size)
        assert answer["Service"]["Status"] == BUSY
        assert answer["Service"]["InstanceConfiguration"] == size
        assert (await aws.operations(arn))[0]["Id"] == answer["OperationId"]

    @observed(source="clients.md 2.2: Terraform's update in place keeps ARN and URL")
    async def test_keeps_what_a_service_is_known_by(self, aws):
        before = await aws.service()
        after = await aws.changed("UpdateService", before["ServiceArn"], **image_source("app:2"))
        for member in ("ServiceArn", "ServiceId", "ServiceName", "ServiceUrl", "CreatedAt"):
            assert after[member] == before[member]

    @documented(source="service model: you can't switch from code to image or the other way around")
    async def test_cannot_change_the_kind_of_source(self, aws):
        repository_of(aws.machine)
        image, code = await aws.service("image"), await aws.service("code", **code_source())
        for service, source in ((image, code_source()), (code, image_source())):
            refusal = await aws.refused("UpdateService", ServiceArn=service["ServiceArn"], **source)
            assert refusal.code == "InvalidRequestException"
            assert "from code to image or the other way around" in refusal.message
            assert (await aws.described(service["ServiceArn"]))["Status"] == "RUNNING"

    @documented(source="service model: neither name nor encryption nor tags are members")
    @pytest.mark.parametrize(
        "member",
        [
            {"ServiceName": "other"},
            {"EncryptionConfiguration": {"KmsKey": KEY}},
            {"Tags": tags(a="1")},
        ],
    )
    async def test_cannot_change_what_is_fixed(self, aws, member):
        service = await aws.service()
        refusal = await aws.refused("UpdateService", ServiceArn=service["ServiceArn"], **member)
        assert refusal.code == "InvalidRequestException"

    @documented(source="developer guide, manage-rebuild: even with no changes")
    async def test_rebuilds_a_service_whose_creation_failed(self, aws):
        failed = await aws.service(**image_source("later:1"))
        arn = failed["ServiceArn"]
        assert (await aws.changed("UpdateService", arn))["Status"] == "CREATE_FAILED"
        aws.machine.world.images["later:1"] = "sha256:later"
        assert (await aws.changed("UpdateService", arn))["Status"] == "RUNNING"
        assert [o["Status"] for o in await aws.operations(arn)] == ["SUCCEEDED", "FAILED", "FAILED"]

    @documented(source="roadmap issues 59 and 147: an update that fails is rolled back")
    async def test_that_fails_leaves_the_old_version_and_its_configuration(self, aws):
        before = await aws.service()
        small = {"Cpu": "256", "Memory": "512"}
        after = await aws.changed(
            "UpdateService",
            before["ServiceArn"],
            **image_source("missing:1"),
            InstanceConfiguration=small,
        )
        assert after | {"UpdatedAt": 0} == before | {"UpdatedAt": 0}
        newest = (await aws.operations(before["ServiceArn"]))[0]
        assert (newest["Type"], newest["Status"]) == ("UPDATE_SERVICE", "ROLLBACK_SUCCEEDED")

    @observed(source="clients.md 1.6: nothing else may be seen during an update")
    @pytest.mark.parametrize("image", ["app:2", "missing:1"])
    async def test_shows_progress_and_then_a_running_service(self, aws, image):
        arn = (await aws.service())["ServiceArn"]
        await aws("UpdateService", ServiceArn=arn, **image_source(image))
        seen = []
        while "RUNNING" not in seen:
            seen.append((await aws.described(arn))["Status"])
            await aws.passes(0.02)
        assert set(seen) == {BUSY, "RUNNING"}

    @documented(source="developer guide, manage-autoscaling: another configuration redeploys")
    async def test_to_another_auto_scaling_configuration_is_a_deployment(self, aws):
        service = await aws.service()
        arn = service["ServiceArn"]
        scaling = (await aws.scaling(MinSize=2))["AutoScalingConfigurationArn"]
        after = await aws.changed("UpdateService", arn, AutoScalingConfigurationArn=scaling)
        summary = after["AutoScalingConfigurationSummary"]
        assert summary["AutoScalingConfigurationArn"] == scaling
        assert (await aws.operations(arn))[0]["Type"] == "UPDATE_SERVICE"
        world = aws.machine.world
        assert world.running(service["ServiceId"]) == {"r2": 2}


ACTIONS = [
    "UpdateService",
    "PauseService",
    "ResumeService",
    "DeleteService",
    "StartDeployment",
    "AssociateCustomDomain",
    "DisassociateCustomDomain",
]
NO_DEPLOYMENT = (
    "Can't start a deployment on the specified service, because it isn't in RUNNING state."
)
REFUSED = {
    BUSY: set(ACTIONS),
    "RUNNING": set(),
    "PAUSED": {*ACTIONS} - {"PauseService", "ResumeService", "DeleteService"},
    "CREATE_FAILED": {*ACTIONS} - {"UpdateService", "DeleteService"},
}


async def in_status(aws, status):
    """A service that is in this status and stays there for a while."""
    if status == BUSY:
        aws.machine.world.behaviours["sha256:app1"] = Behaviour(boot=15)
        return (await aws.begin())["Service"]["ServiceArn"]
    image = "missing:1" if status == "CREATE_FAILED" else "app:1"
    arn = (await aws.service(**image_source(image)))["ServiceArn"]
    if status == "PAUSED":
        await aws.changed("PauseService", arn)
    assert (await aws.described(arn))["Status"] == status
    return arn


def request(action, arn):
    domain = {"DomainName": "example.com"} if "Domain" in action else {}
    return {"ServiceArn": arn} | domain


class TestStates:
    @documented(source="developer guide, manage-pause; service model: declared errors")
    @pytest.mark.parametrize("action", ACTIONS)
    @pytest.mark.parametrize("status", REFUSED)
    async def test_allow_some_actions_and_refuse_the_others(self, aws, status, action):
        arn = await in_status(aws, status)
        if action == "DisassociateCustomDomain" and status == "RUNNING":
            await aws.domain(arn)
        members = request(action, arn)
        if action not in REFUSED[status]:
            await aws(action, **members)
            return
        refusal = await aws.refused(action, **members)
        if action == "StartDeployment":
            assert (refusal.code, refusal.message) == ("InvalidRequestException", NO_DEPLOYMENT)
        else:
            assert refusal.code == "InvalidStateException"
            assert refusal.message.endswith(f"current state: {status}.")

    @observed(source="tf-aws issue 19840: the sentence")
    async def test_in_progress_refuse_a_deletion_in_these_words(self, aws):
        arn = await in_status(aws, BUSY)
        refusal = await aws.refused("DeleteService", ServiceArn=arn)
        sentence = "Service cannot be deleted in the current state: OPERATION_IN_PROGRESS."
        assert (refusal.code, refusal.message) == ("InvalidStateException", sentence)

    @documented(source="developer guide, manage-pause: what a paused service allows")
    @pytest.mark.parametrize("status", REFUSED)
    async def test_all_allow_questions_and_tags(self, aws, status):
        arn = await in_status(aws, status)
        assert (await aws.described(arn))["Status"] == status
        assert len(await aws.operations(arn)) >= 1
        assert await aws.domains(arn) == {}
        await aws("TagResource", ResourceArn=arn, Tags=tags(a="1"))
        assert await aws.tags(arn) == {"a": "1"}
        await aws("UntagResource", ResourceArn=arn, TagKeys=["a"])
        assert await aws.tags(arn) == {}
        assert (await aws.described(arn))["Status"] == status

    @assumed(why="deleted services are described, and nothing else can be asked of them")
    @pytest.mark.parametrize("action", [*ACTIONS, "TagResource", "UntagResource"])
    async def test_end_with_deletion(self, aws, action):
        arn = (await aws.service())["ServiceArn"]
        await aws.changed("DeleteService", arn)
        members = request(action, arn)
        if action == "TagResource":
            members = {"ResourceArn": arn, "Tags": tags(a="1")}
        if action == "UntagResource":
            members = {"ResourceArn": arn, "TagKeys": ["a"]}
        refusal = await aws.refused(action, **members)
        declared = action != "AssociateCustomDomain"
        assert refusal.code == (
            "ResourceNotFoundException" if declared else "InvalidRequestException"
        )

    @documented(source="service model: ResourceNotFoundException; no SDK knows another one")
    @pytest.mark.parametrize("action", [*ACTIONS, "DescribeService", "ListOperations"])
    async def test_are_asked_of_services_that_are_there(self, aws, action):
        arn = aws.arn(f"service/hello/{'0' * 32}")
        refusal = await aws.refused(action, **request(action, arn))
        declared = action != "AssociateCustomDomain"
        assert refusal.code == (
            "ResourceNotFoundException" if declared else "InvalidRequestException"
        )
        refusal = await aws.refused(action, **request(action, aws.arn("connection/x/y")))
        assert refusal.code == "InvalidRequestException"


class TestPause:
    @documented(source="service model: capacity to zero")
    async def test_takes_the_capacity_away(self, aws):
        service = await aws.service()
        world, id_ = aws.machine.world, service["ServiceId"]
        assert world.running(id_) == {"r1": 1}
        answer = await aws("PauseService", ServiceArn=service["ServiceArn"])
        assert answer["Service"]["Status"] == BUSY
        paused = await aws.settled(service["ServiceArn"])
        assert paused["Status"] == "PAUSED"
        assert await aws.emulator.until(lambda: world.running(id_) == {}, within=10)

    @observed(source="Copilot: no OperationId in the answer says that nothing had to be done")
    async def test_of_a_paused_service_is_no_operation(self, aws):
        arn = await in_status(aws, "PAUSED")
        count = len(await aws.operations(arn))
        answer = await aws("PauseService", ServiceArn=arn)
        assert answer.keys() == {"Service"}
        assert answer["Service"]["Status"] == "PAUSED"
        assert len(await aws.operations(arn)) == count

    @observed(source="Copilot: no OperationId in the answer says that nothing had to be done")
    async def test_ends_with_a_resume_that_on_a_running_service_is_no_operation(self, aws):
        arn = await in_status(aws, "PAUSED")
        answer = await aws("ResumeService", ServiceArn=arn)
        assert answer["Service"]["Status"] == BUSY
        assert "OperationId" in answer
        assert (await aws.settled(arn))["Status"] == "RUNNING"
        answer = await aws("ResumeService", ServiceArn=arn)
        assert answer.keys() == {"Service"}
        assert answer["Service"]["Status"] == "RUNNING"

    @documented(source="developer guide, manage-pause: new commits are not deployed on resume")
    async def test_lets_commits_pass_by(self, aws):
        repository_of(aws.machine)
        service = await aws.service(**code_source())
        arn = service["ServiceArn"]
        await aws.changed("PauseService", arn)
        aws.machine.repository.commit_files("/repo", {"app.py": "print(2)\n"})
        await aws.passes(60)
        await aws.changed("ResumeService", arn)
        await aws.passes(60)
        types = [operation["Type"] for operation in await aws.operations(arn)]
        assert types == ["RESUME_SERVICE", "PAUSE_SERVICE", "CREATE_SERVICE"]
        assert aws.machine.world.running(service["ServiceId"]) in ({"r1": 1}, {})


class TestDelete:
    @observed(source="clients.md 1.6: any other status fails `terraform destroy`")
    @pytest.mark.parametrize("status", ["RUNNING", "PAUSED", "CREATE_FAILED"])
    @pytest.mark.parametrize("pace", PaceMode)
    async def test_shows_progress_and_then_the_end(self, status, pace):
        async with calling(at_pace(pace, speed=100.0)) as aws:
            arn = await in_status(aws, status)
            answer = await aws("DeleteService", ServiceArn=arn)
            assert answer["Service"]["Status"] == BUSY
            seen = []
            while "DELETED" not in seen:
                seen.append((await aws.described(arn))["Status"])
                await aws.passes(0.02)
            assert set(seen) == {BUSY, "DELETED"}

    @documented(source="service model: DeletedAt; CloudFormation needs it to stay describable")
    @assumed(why="for how long is not known; an hour here")
    async def test_leaves_a_description_for_an_hour(self, aws):
        service = await aws.service()
        arn = service["ServiceArn"]
        gone = await aws.changed("DeleteService", arn)
        assert gone["Status"] == "DELETED"
        assert gone["DeletedAt"] >= gone["CreatedAt"]
        assert gone["SourceConfiguration"] == service["SourceConfiguration"]
        assert (await aws("ListServices"))["ServiceSummaryList"] == []
        await aws.passes(3590)
        assert await aws.described(arn) == gone
        assert [o["Type"] for o in await aws.operations(arn)] == [
            "DELETE_SERVICE",
            "CREATE_SERVICE",
        ]
        await aws.passes(700)
        refusal = await aws.refused("DescribeService", ServiceArn=arn)
        assert refusal.code == "ResourceNotFoundException"

    @documented(source="developer guide, manage-delete: what it used stays")
    async def test_leaves_what_the_service_used(self, aws):
        scaling = (await aws.scaling())["AutoScalingConfigurationArn"]
        connector = (await aws.connector())["VpcConnectorArn"]
        service = await aws.service(AutoScalingConfigurationArn=scaling, **through(connector))
        await aws.changed("DeleteService", service["ServiceArn"])
        for operation, member, arn in (
            ("DeleteAutoScalingConfiguration", "AutoScalingConfigurationArn", scaling),
            ("DeleteVpcConnector", "VpcConnectorArn", connector),
        ):
            await aws(operation, **{member: arn})

    @observed(source="tf-aws issue 40896: the sentence")
    async def test_is_refused_while_a_vpc_leads_to_it(self, aws):
        service = await aws.service(**private())
        arn = service["ServiceArn"]
        way = (await aws.ingress(arn))["VpcIngressConnectionArn"]
        await aws.passes(1)
        refusal = await aws.refused("DeleteService", ServiceArn=arn)
        assert refusal.code == "InvalidStateException"
        assert refusal.message == (
            "You cannot delete a Service while it has VpcIngressConnections with a status of "
            f"AVAILABLE. Service Arn: {arn} VpcIngressConnection Arn: {way}"
        )
        await aws("DeleteVpcIngressConnection", VpcIngressConnectionArn=way)
        assert (await aws.changed("DeleteService", arn))["Status"] == "DELETED"

    @pytest.mark.parametrize("order", [1, -1])
    async def test_and_a_new_way_to_the_service_cannot_both_succeed(self, aws, order):
        arn = (await aws.service(**private()))["ServiceArn"]
        way = {"VpcIngressConnectionName": "inside", "IngressVpcConfiguration": {"VpcId": "vpc-1"}}
        calls = [
            aws.raw("CreateVpcIngressConnection", json.dumps({"ServiceArn": arn} | way).encode()),
            aws.raw("DeleteService", json.dumps({"ServiceArn": arn}).encode()),
        ][::order]
        first, second = await asyncio.gather(*calls)
        assert (first.status, second.status) == (200, 400)


class TestDeployment:
    @documented(source="service model: the latest image")
    async def test_takes_the_image_as_it_is_now(self, aws):
        service = await aws.service(**ecr(AutoDeploymentsEnabled=False))
        aws.machine.world.images["app:1"] = "sha256:newer"
        answer = await aws("StartDeployment", ServiceArn=service["ServiceArn"])
        assert answer.keys() == {"OperationId"}
        await aws.settled(service["ServiceArn"])
        revisions = aws.emulator.platform.ledger("hello").revisions
        assert [r.image for r in revisions.values()] == ["sha256:app1", "sha256:newer"]


class TestOperations:
    @documented(
        source="service model: reverse chronological; clients.md 1.12: from the first moment"
    )
    async def test_are_listed_newest_first_with_the_ids_that_calls_returned(self, aws):
        created = await aws.begin()
        arn = created["Service"]["ServiceArn"]
        ids = [created["OperationId"]]
        (first,) = await aws.operations(arn)
        assert first["Status"] in {"PENDING", "IN_PROGRESS"}
        await aws.settled(arn)
        for operation in (
            "UpdateService",
            "StartDeployment",
            "PauseService",
            "ResumeService",
            "DeleteService",
        ):
            ids.insert(0, (await aws(operation, ServiceArn=arn))["OperationId"])
            newest = (await aws.operations(arn))[0]
            assert newest["Id"] == ids[0]
            assert newest["Status"] in {"PENDING", "IN_PROGRESS"}
            assert "EndedAt" not in newest
            await aws.settled(arn)
        listed = await aws.operations(arn)
        assert [o["Id"] for o in listed] == ids
        assert [o["Type"] for o in listed] == [
            "DELETE_SERVICE",
            "RESUME_SERVICE",
            "PAUSE_SERVICE",
            "START_DEPLOYMENT",
            "UPDATE_SERVICE",
            "CREATE_SERVICE",
        ]
        for operation in listed:
            assert operation["Status"] == "SUCCEEDED"
            assert operation["TargetArn"] == arn
            assert operation["StartedAt"] <= operation["EndedAt"] == operation["UpdatedAt"]
        started = [o["StartedAt"] for o in listed]
        assert started == sorted(started, reverse=True)

    @documented(source="AWS CLI, example of list-operations: 203 seconds")
    async def test_are_in_progress_for_as_long_as_app_runners(self, realistic):
        created = await realistic.begin()
        arn = created["Service"]["ServiceArn"]
        await realistic.passes(200)
        (operation,) = await realistic.operations(arn)
        assert operation["Status"] == "IN_PROGRESS"
        await realistic.settled(arn)
        (operation,) = await realistic.operations(arn)
        assert operation["EndedAt"] - operation["StartedAt"] == pytest.approx(203, abs=1)

    @documented(source="roadmap issue 59")
    async def test_that_fail_over_a_serving_version_are_rolled_back(self, aws):
        arn = (await aws.service())["ServiceArn"]
        aws.machine.world.behaviours["sha256:app2"] = Behaviour(boot=9, crashes_after=2)
        await aws("UpdateService", ServiceArn=arn, **image_source("app:2"))
        seen = []
        while not seen or "EndedAt" not in seen[-1]:
            seen.append((await aws.operations(arn))[0])
            await aws.passes(0.02)
        statuses = list(dict.fromkeys(each["Status"] for each in seen))
        assert set(statuses) <= {"PENDING", "IN_PROGRESS", "ROLLBACK_IN_PROGRESS", statuses[-1]}
        assert statuses[-1] == "ROLLBACK_SUCCEEDED"
        assert (await aws.described(arn))["Status"] == "RUNNING"


class TestList:
    @documented(source="service model: ServiceSummary")
    async def test_has_the_members_of_a_summary_newest_first(self, aws):
        services = []
        for name in ("first", "second", "third"):
            services.insert(0, await aws.service(name))
            await aws.passes(1)
        rows = (await aws("ListServices"))["ServiceSummaryList"]
        members = (
            "ServiceName",
            "ServiceId",
            "ServiceArn",
            "ServiceUrl",
            "CreatedAt",
            "UpdatedAt",
            "Status",
        )
        assert rows == [{member: each[member] for member in members} for each in services]

    @observed(source="amazon-app-runner-deploy relies on finding CREATE_FAILED")
    async def test_has_every_service_that_is_not_deleted(self, aws):
        failed = await aws.service("failed", **image_source("missing:1"))
        paused = await aws.service("paused")
        gone = await aws.service("gone")
        await aws.changed("PauseService", paused["ServiceArn"])
        await aws.changed("DeleteService", gone["ServiceArn"])
        aws.machine.world.behaviours["sha256:app2"] = Behaviour(boot=15)
        await aws.begin("building", **image_source("app:2"))
        await aws.at(OTHER_REGION).begin("elsewhere")
        rows = (await aws("ListServices"))["ServiceSummaryList"]
        assert {row["ServiceName"]: row["Status"] for row in rows} == {
            "building": BUSY,
            "paused": "PAUSED",
            "failed": "CREATE_FAILED",
        }
        assert failed["ServiceArn"] in {row["ServiceArn"] for row in rows}

    async def test_is_of_one_region(self, aws):
        arn = (await aws.service())["ServiceArn"]
        elsewhere = aws.at(OTHER_REGION)
        assert (await elsewhere("ListServices"))["ServiceSummaryList"] == []
        for operation in ("DescribeService", "DeleteService", "ListOperations", "PauseService"):
            refusal = await elsewhere.refused(operation, ServiceArn=arn)
            assert refusal.code == "ResourceNotFoundException"


async def test_what_was_accepted_outlives_the_emulator():
    async with calling(SETTINGS) as aws:
        service = await aws.service(Tags=tags(team="blue"))
        arn, machine = service["ServiceArn"], aws.machine
        operations = await aws.operations(arn)
    async with calling(machine=machine) as aws:
        assert await aws.described(arn) == service
        assert await aws.operations(arn) == operations
        assert await aws.tags(arn) == {"team": "blue"}
