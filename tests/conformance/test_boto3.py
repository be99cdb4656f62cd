"""boto3 against the emulator: the same stories on a machine in memory and on real Docker, and
what only real containers, processes and files can show.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from emulator.drivers.clock import SystemClock
from tests.conformance.clients import Local, spawned
from tests.end_to_end.running import Repository, get, until
from tests.fakes.world import Behaviour
from tests.surfaces.aws_world import InProcess, client

pytestmark = pytest.mark.timeout(300)
REPOSITORY = "https://github.com/example/hello"
SECRET = "arn:aws:secretsmanager:us-east-1:000000000000:secret:token-AbCdEf"
WORD = "a-word-that-nobody-else-says"
EMULATOR_TOML = f"""
[repositories]
'{REPOSITORY}' = "hello"

[secrets]
token = {{ value = "{WORD}" }}
"""
SMALL = {"Cpu": "256", "Memory": "512"}


class Cloud:
    """An App Runner that boto3 talks to; `versions` of an application and `broken`, which ends
    soon after its start, are names of images.
    """

    def __init__(self, apprunner, versions: dict[str, str], broken: dict) -> None:
        self.apprunner = apprunner
        self._versions = versions
        self._broken = broken

    def source(self, version: str = "1", **configuration: object) -> dict:
        image = {
            "ImageIdentifier": self._versions[version],
            "ImageRepositoryType": "ECR",
            "ImageConfiguration": configuration,
        }
        return {"ImageRepository": image, "AutoDeploymentsEnabled": False}

    def broken(self) -> dict:
        return {"ImageRepository": self._broken, "AutoDeploymentsEnabled": False}

    def create(self, name: str, source: dict | None = None, **more: object) -> dict:
        """The service at rest."""
        made = self.apprunner.create_service(
            ServiceName=name,
            SourceConfiguration=source or self.source(),
            InstanceConfiguration=SMALL,
            **more,
        )
        return self.at_rest(made["Service"]["ServiceArn"])

    def describe(self, arn: str) -> dict:
        return self.apprunner.describe_service(ServiceArn=arn)["Service"]

    def at_rest(self, arn: str) -> dict:
        until(lambda: self.describe(arn)["Status"] != "OPERATION_IN_PROGRESS", within=120)
        return self.describe(arn)

    def operations(self, arn: str) -> list[str]:
        """Newest first."""
        listed = self.apprunner.list_operations(ServiceArn=arn)["OperationSummaryList"]
        return [f"{o['Type']} {o['Status']}" for o in listed]

    def ingress(self, arn: str, name: str, **more: object) -> str:
        """Its ARN."""
        made = self.apprunner.create_vpc_ingress_connection(
            ServiceArn=arn,
            VpcIngressConnectionName=name,
            IngressVpcConfiguration={"VpcId": "vpc-1", "VpcEndpointId": "vpce-1"},
            **more,
        )
        return made["VpcIngressConnection"]["VpcIngressConnectionArn"]

    def ingress_status(self, arn: str) -> str:
        found = self.apprunner.describe_vpc_ingress_connection(VpcIngressConnectionArn=arn)
        return found["VpcIngressConnection"]["Status"]

    def delete(self, *arns: str) -> None:
        for arn in arns:
            self.apprunner.delete_service(ServiceArn=arn)
        for arn in arns:
            assert self.at_rest(arn)["Status"] == "DELETED"

    def serves(self, service: dict) -> str:
        """The version that answers."""
        raise NotImplementedError


class InMemory(Cloud):
    def __init__(self, world: InProcess) -> None:
        image = {"ImageIdentifier": "broken:1", "ImageRepositoryType": "ECR"}
        super().__init__(client(world.endpoint), {"1": "app:1", "2": "app:2"}, image)
        self._world = world
        world.machine.world.tag("broken:1", "sha256:broken")
        broken = Behaviour(boot=9, crashes_after=0.1)
        world.machine.world.behaviours["sha256:broken"] = broken

    def serves(self, service: dict) -> str:
        ledger = self._world.emulator.platform.ledger(service["ServiceId"])
        serving = ledger.revisions[ledger.service.revision]
        assert self._world.machine.world.running(ledger.service.id)[serving.id]
        return serving.image.removeprefix("sha256:app")


class OnDocker(Cloud):
    def __init__(self, emulator: Local) -> None:
        versions = {version: f"{emulator.image}:{version}" for version in "12"}
        broken = {
            "ImageIdentifier": versions["1"],
            "ImageRepositoryType": "ECR",
            "ImageConfiguration": {"StartCommand": "false"},
        }
        super().__init__(emulator.boto3(), versions, broken)
        self._emulator = emulator

    def serves(self, service: dict) -> str:
        status, text = self._emulator.ask(service["ServiceUrl"])
        assert status == 200
        return text.split()[-1].rstrip("!")


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return Repository(tmp_path_factory.mktemp("repositories") / "hello")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory, sample):
    directory = tmp_path_factory.mktemp("boto3")
    (directory / "hello").symlink_to(sample.path)
    with spawned(directory, EMULATOR_TOML) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def in_memory():
    with InProcess().running() as world:
        yield InMemory(world)


@pytest.fixture(scope="module")
def on_docker(emulator):
    return OnDocker(emulator)


@pytest.fixture(params=["in_memory", pytest.param("on_docker", marks=pytest.mark.docker)])
def cloud(request):
    return request.getfixturevalue(request.param)


# -- on both ---------------------------------------------------------------------------------------


def test_a_service_from_create_to_delete(cloud):
    made = cloud.apprunner.create_service(
        ServiceName="hello",
        SourceConfiguration=cloud.source("1"),
        InstanceConfiguration={"Cpu": "1 vCPU", "Memory": "2 GB"},
        Tags=[{"Key": "team", "Value": "shop"}],
    )
    arn, first = made["Service"]["ServiceArn"], made["OperationId"]
    assert made["Service"]["Status"] == "OPERATION_IN_PROGRESS"
    service = cloud.at_rest(arn)
    assert service["Status"] == "RUNNING"
    assert service["InstanceConfiguration"] == {"Cpu": "1024", "Memory": "2048"}
    assert cloud.serves(service) == "1"

    changed = cloud.apprunner.update_service(
        ServiceArn=arn, SourceConfiguration=cloud.source("2"), InstanceConfiguration=SMALL
    )
    assert changed["Service"]["InstanceConfiguration"] == SMALL
    assert changed["Service"]["Status"] == "OPERATION_IN_PROGRESS"
    assert cloud.serves(cloud.at_rest(arn)) == "2"
    cloud.apprunner.pause_service(ServiceArn=arn)
    assert cloud.at_rest(arn)["Status"] == "PAUSED"
    cloud.apprunner.resume_service(ServiceArn=arn)
    assert cloud.serves(cloud.at_rest(arn)) == "2"
    deployment = cloud.apprunner.start_deployment(ServiceArn=arn)["OperationId"]
    assert cloud.at_rest(arn)["Status"] == "RUNNING"

    listed = cloud.apprunner.list_operations(ServiceArn=arn)["OperationSummaryList"]
    assert (listed[0]["Id"], listed[-1]["Id"]) == (deployment, first)
    assert all(o["StartedAt"] <= o["EndedAt"] for o in listed)
    cloud.delete(arn)
    assert cloud.operations(arn) == [
        "DELETE_SERVICE SUCCEEDED",
        "START_DEPLOYMENT SUCCEEDED",
        "RESUME_SERVICE SUCCEEDED",
        "PAUSE_SERVICE SUCCEEDED",
        "UPDATE_SERVICE SUCCEEDED",
        "CREATE_SERVICE SUCCEEDED",
    ]
    again = cloud.create("hello")
    assert again["ServiceArn"] != arn
    cloud.delete(again["ServiceArn"])


def test_an_update_that_fails_rolls_back_and_the_old_version_goes_on_serving(cloud):
    service = cloud.create("steady")
    arn = service["ServiceArn"]
    cloud.apprunner.update_service(ServiceArn=arn, SourceConfiguration=cloud.broken())
    until(lambda: cloud.serves(service) == "1")
    after = cloud.at_rest(arn)
    assert after["Status"] == "RUNNING"
    assert after["SourceConfiguration"] == service["SourceConfiguration"]
    assert cloud.operations(arn)[0] == "UPDATE_SERVICE ROLLBACK_SUCCEEDED"
    assert cloud.serves(after) == "1"
    cloud.delete(arn)


def test_errors_are_those_of_the_service_model(cloud):
    apprunner = cloud.apprunner
    errors = apprunner.exceptions
    failed = cloud.create("failed", cloud.broken())
    arn, nowhere = failed["ServiceArn"], failed["ServiceArn"][:-1] + "x"
    assert failed["Status"] == "CREATE_FAILED"
    with pytest.raises(errors.InvalidRequestException, match="already exists: failed"):
        cloud.create("failed")
    with pytest.raises(errors.InvalidStateException, match="in the current state: CREATE_FAILED"):
        apprunner.pause_service(ServiceArn=arn)
    with pytest.raises(errors.InvalidRequestException, match="isn't in RUNNING state"):
        apprunner.start_deployment(ServiceArn=arn)
    with pytest.raises(errors.ResourceNotFoundException, match="There is no service"):
        apprunner.describe_service(ServiceArn=nowhere)
    with pytest.raises(errors.InvalidRequestException, match="2 validation errors detected"):
        apprunner.create_connection(ConnectionName="not a name", ProviderType="GITLAB")
    for number in range(10):
        apprunner.create_connection(ConnectionName=f"quota-{number}", ProviderType="GITHUB")
    with pytest.raises(errors.ServiceQuotaExceededException, match="10 in use"):
        apprunner.create_connection(ConnectionName="one-more", ProviderType="GITHUB")
    for connection in apprunner.list_connections()["ConnectionSummaryList"]:
        apprunner.delete_connection(ConnectionArn=connection["ConnectionArn"])
    cloud.delete(arn)


def test_of_eight_creates_of_one_name_one_succeeds(cloud):
    def create(_: int) -> str:
        try:
            return cloud.create("wanted")["ServiceArn"]
        except cloud.apprunner.exceptions.InvalidRequestException:
            return ""

    with ThreadPoolExecutor(8) as pool:
        (made,) = [arn for arn in pool.map(create, range(8)) if arn]
    cloud.delete(made)


def test_resources_beside_services_from_create_to_delete(cloud):
    apprunner, tags = cloud.apprunner, [{"Key": "team", "Value": "shop"}]
    scaling = apprunner.create_auto_scaling_configuration(
        AutoScalingConfigurationName="small", MaxSize=2, Tags=tags
    )["AutoScalingConfiguration"]
    traces = apprunner.create_observability_configuration(
        ObservabilityConfigurationName="traces", TraceConfiguration={"Vendor": "AWSXRAY"}, Tags=tags
    )["ObservabilityConfiguration"]
    connector = apprunner.create_vpc_connector(
        VpcConnectorName="inside", Subnets=["subnet-1"], Tags=tags
    )["VpcConnector"]
    service = cloud.create(
        "equipped",
        AutoScalingConfigurationArn=scaling["AutoScalingConfigurationArn"],
        ObservabilityConfiguration={
            "ObservabilityEnabled": True,
            "ObservabilityConfigurationArn": traces["ObservabilityConfigurationArn"],
        },
        NetworkConfiguration={
            "EgressConfiguration": {
                "EgressType": "VPC",
                "VpcConnectorArn": connector["VpcConnectorArn"],
            },
            "IngressConfiguration": {"IsPubliclyAccessible": False},
        },
        Tags=tags,
    )
    arn = service["ServiceArn"]
    way = cloud.ingress(arn, "inward", Tags=tags)
    made = (
        arn,
        scaling["AutoScalingConfigurationArn"],
        traces["ObservabilityConfigurationArn"],
        connector["VpcConnectorArn"],
        way,
    )
    for each in made:
        assert apprunner.list_tags_for_resource(ResourceArn=each)["Tags"] == tags
    users = apprunner.list_services_for_auto_scaling_configuration(
        AutoScalingConfigurationArn=scaling["AutoScalingConfigurationArn"]
    )
    assert users["ServiceArnList"] == [arn]

    # While they are used, they stay.
    errors = apprunner.exceptions
    with pytest.raises(errors.InvalidRequestException, match="used by one or more services"):
        apprunner.delete_auto_scaling_configuration(AutoScalingConfigurationArn=made[1])
    with pytest.raises(errors.InvalidRequestException, match="used by one or more services"):
        apprunner.delete_observability_configuration(ObservabilityConfigurationArn=made[2])
    with pytest.raises(errors.InvalidRequestException, match="being used by other services"):
        apprunner.delete_vpc_connector(VpcConnectorArn=made[3])
    with pytest.raises(errors.InvalidStateException, match="while it has VpcIngressConnections"):
        apprunner.delete_service(ServiceArn=arn)

    until(lambda: cloud.ingress_status(way) == "AVAILABLE")
    apprunner.delete_vpc_ingress_connection(VpcIngressConnectionArn=way)
    until(lambda: cloud.ingress_status(way) == "DELETED")
    cloud.delete(arn)
    apprunner.delete_auto_scaling_configuration(AutoScalingConfigurationArn=made[1])
    apprunner.delete_observability_configuration(ObservabilityConfigurationArn=made[2])
    apprunner.delete_vpc_connector(VpcConnectorArn=made[3])
    assert apprunner.list_vpc_connectors()["VpcConnectors"] == []


def test_every_list_can_be_read_page_by_page(cloud):
    apprunner = cloud.apprunner
    services = [cloud.create(f"page-{n}")["ServiceArn"] for n in range(3)]
    for n in range(3):
        apprunner.create_auto_scaling_configuration(AutoScalingConfigurationName=f"page-{n}")
        apprunner.create_observability_configuration(ObservabilityConfigurationName=f"page-{n}")
        apprunner.create_connection(ConnectionName=f"page-{n}", ProviderType="BITBUCKET")
        apprunner.create_vpc_connector(VpcConnectorName=f"page-{n}", Subnets=["subnet-1"])
        apprunner.associate_custom_domain(ServiceArn=services[0], DomainName=f"p{n}.example.com")
    ways = [cloud.ingress(arn, f"page-{n}") for n, arn in enumerate(services)]
    cloud.apprunner.start_deployment(ServiceArn=services[0])
    default = cloud.describe(services[0])["AutoScalingConfigurationSummary"]
    lists = {
        "list_services": ("ServiceSummaryList", 3, {}),
        "list_operations": ("OperationSummaryList", 2, {"ServiceArn": services[0]}),
        "list_auto_scaling_configurations": ("AutoScalingConfigurationSummaryList", 4, {}),
        "list_services_for_auto_scaling_configuration": (
            "ServiceArnList",
            3,
            {"AutoScalingConfigurationArn": default["AutoScalingConfigurationArn"]},
        ),
        "list_observability_configurations": ("ObservabilityConfigurationSummaryList", 3, {}),
        "list_connections": ("ConnectionSummaryList", 3, {}),
        "list_vpc_connectors": ("VpcConnectors", 3, {}),
        "list_vpc_ingress_connections": ("VpcIngressConnectionSummaryList", 3, {}),
        "describe_custom_domains": ("CustomDomains", 3, {"ServiceArn": services[0]}),
    }
    cloud.at_rest(services[0])
    for operation, (member, count, question) in lists.items():
        call = getattr(apprunner, operation)
        paged = pages(call, member, **question)
        assert len(paged) == count, operation
        assert paged == call(**question)[member], operation
    for way in ways:
        until(lambda way=way: cloud.ingress_status(way) == "AVAILABLE")
        apprunner.delete_vpc_ingress_connection(VpcIngressConnectionArn=way)
    cloud.delete(*services)


def pages(call, member: str, **question: object) -> list:
    """One item a page."""
    found, token = [], {}
    while True:
        page = call(MaxResults=1, **question, **token)
        assert len(page[member]) == 1
        found += page[member]
        if "NextToken" not in page:
            return found
        token = {"NextToken": page["NextToken"]}


# -- on Docker -------------------------------------------------------------------------------------


@pytest.mark.docker
class TestWhatOnlyRealContainersShow:
    def test_a_script_needs_the_printed_variables_and_nothing_else(self, emulator):
        script = (
            "import boto3; print(boto3.client('apprunner').list_services()['ServiceSummaryList'])"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=emulator.variables(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "[]\n"

    @pytest.mark.parametrize("url", ["file", "https"])
    def test_a_service_from_code_follows_its_branch(self, on_docker, emulator, sample, url):
        sample.version("1")
        repository = {
            "RepositoryUrl": f"file://{sample.path}" if url == "file" else REPOSITORY,
            "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"},
            "CodeConfiguration": {"ConfigurationSource": "REPOSITORY"},
        }
        service = on_docker.create(f"code-{url}", {"CodeRepository": repository})
        assert service["Status"] == "RUNNING"
        assert emulator.ask(service["ServiceUrl"], "/version") == (200, "1\n")
        sample.version("2")
        until(lambda: emulator.ask(service["ServiceUrl"], "/version") == (200, "2\n"))
        on_docker.at_rest(service["ServiceArn"])
        assert on_docker.operations(service["ServiceArn"]) == [
            "START_DEPLOYMENT SUCCEEDED",
            "CREATE_SERVICE SUCCEEDED",
        ]
        on_docker.delete(service["ServiceArn"])

    def test_a_new_image_of_the_same_name_is_deployed_by_itself(self, on_docker, emulator):
        name = f"{emulator.image}:live"
        emulator.tag(f"{emulator.image}:1", name)
        image = {"ImageIdentifier": name, "ImageRepositoryType": "ECR"}
        source = {"ImageRepository": image, "AutoDeploymentsEnabled": True}
        service = on_docker.create("live", source)
        assert on_docker.serves(service) == "1"
        emulator.tag(f"{emulator.image}:2", name)
        until(lambda: on_docker.serves(service) == "2")
        on_docker.at_rest(service["ServiceArn"])
        assert on_docker.operations(service["ServiceArn"])[0] == "START_DEPLOYMENT SUCCEEDED"
        on_docker.delete(service["ServiceArn"])

    def test_a_service_that_is_not_public_answers_on_its_loopback_port_only(
        self, on_docker, emulator
    ):
        private = {"IngressConfiguration": {"IsPubliclyAccessible": False}}
        service = on_docker.create("hidden", NetworkConfiguration=private)
        assert service["ServiceUrl"] == ""
        domains = on_docker.apprunner.describe_custom_domains(ServiceArn=service["ServiceArn"])
        assert emulator.ask(domains["DNSTarget"])[0] == 404
        assert emulator.ask("hidden.localhost")[0] == 404
        assert get(emulator.port("hidden"), "/healthz") == (200, "ok\n")
        on_docker.delete(service["ServiceArn"])


@pytest.mark.docker
class TestSecrets:
    def test_reach_the_application_and_nobody_else(self, on_docker, emulator):
        shown = "printenv TOKEN > index.html && exec python3 -m http.server $PORT"
        name = f"{emulator.image}:secretive"
        emulator.derive(f"{emulator.image}:1", name, f"CMD {shown}")
        source = on_docker.source("1", RuntimeEnvironmentSecrets={"TOKEN": SECRET})
        source["ImageRepository"]["ImageIdentifier"] = name
        service = on_docker.create("secretive", source)
        arn = service["ServiceArn"]
        assert service["Status"] == "RUNNING", emulator.events("secretive")
        assert emulator.ask(service["ServiceUrl"]) == (200, f"{WORD}\n")
        told = [
            str(on_docker.describe(arn)),
            str(on_docker.apprunner.list_operations(ServiceArn=arn)),
            str(emulator.describe("secretive")),
            emulator.events("secretive"),
            emulator.run("logs", "secretive"),
            *(file.read_text() for file in written(emulator.state)),
        ]
        assert SECRET in told[0]
        assert not [text for text in told if WORD in text]
        on_docker.delete(arn)

    def test_that_are_nowhere_fail_the_creation_and_say_what_to_do(self, on_docker, emulator):
        reference = SECRET.replace("token", "missing")
        settings = {"RuntimeEnvironmentSecrets": {"TOKEN": reference}}
        service = on_docker.create("clueless", on_docker.source("1", **settings))
        assert service["Status"] == "CREATE_FAILED"
        events = emulator.events("clueless")
        assert "emulator.toml" in events
        assert f'no such secret; add "{reference}"' in events
        on_docker.delete(service["ServiceArn"])


def written(state: Path) -> list[Path]:
    """The logs of the emulator and of its services."""
    found = [file for file in state.rglob("*") if file.is_file() and "log" in str(file)]
    assert found
    return found


@pytest.mark.docker
class TestRestarts:
    def test_an_operation_goes_on_after_a_stop(self, on_docker, emulator):
        self.interrupted("stopped", on_docker, emulator, lambda: emulator.run("stop"))

    def test_an_operation_goes_on_after_a_kill(self, on_docker, emulator):
        self.interrupted("killed", on_docker, emulator, emulator.kill)

    def interrupted(self, name: str, on_docker: Cloud, emulator: Local, end) -> None:
        slow = f"{emulator.image}:slow-{name}"
        emulator.derive(f"{emulator.image}:2", slow, "CMD sleep 2 && exec python3 server.py")
        source = on_docker.source()
        source["ImageRepository"]["ImageIdentifier"] = slow
        made = emulator.boto3().create_service(ServiceName=name, SourceConfiguration=source)
        arn = made["Service"]["ServiceArn"]
        end()
        ended = SystemClock().now()
        emulator.start()
        on_docker.apprunner = emulator.boto3()  # it has another port now
        service = on_docker.at_rest(arn)
        assert service["Status"] == "RUNNING"
        assert service["ServiceUrl"].split(":")[0] == made["Service"]["ServiceUrl"].split(":")[0]
        (operation,) = on_docker.apprunner.list_operations(ServiceArn=arn)["OperationSummaryList"]
        assert (operation["Id"], operation["Status"]) == (made["OperationId"], "SUCCEEDED")
        assert operation["StartedAt"].timestamp() < ended < operation["EndedAt"].timestamp()
        assert on_docker.serves(service) == "2"
        on_docker.delete(arn)
        assert emulator.owned() == []
