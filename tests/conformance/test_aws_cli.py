"""`aws apprunner …` as a user types it, with nothing set but what `apprunner env` prints."""

import json
import time

import pytest

from tests.conformance.clients import AwsCli, spawned
from tests.end_to_end.running import until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
ACCOUNT = "000000000000"
NOWHERE = f"arn:aws:apprunner:us-east-1:{ACCOUNT}:service/nothing/{'0' * 32}"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    with spawned(tmp_path_factory.mktemp("cli")) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def image(emulator):
    return emulator.image


@pytest.fixture(scope="module")
def aws(emulator):
    return AwsCli(emulator)


def source(image: str, **configuration: object) -> str:
    found: dict = {"ImageIdentifier": image, "ImageRepositoryType": "ECR"}
    if configuration:
        found["ImageConfiguration"] = configuration
    return json.dumps({"ImageRepository": found, "AutoDeploymentsEnabled": False})


class Service:
    """One that the CLI has created."""

    def __init__(self, aws: AwsCli, name: str, *more: str) -> None:
        self._aws = aws
        query = "[Service.ServiceArn, Service.ServiceUrl, Service.Status]"
        printed = aws.text(
            "apprunner", "create-service", "--service-name", name, *more, query=query
        )
        self.arn, self.url, status = printed.split()
        assert status == "OPERATION_IN_PROGRESS"

    def status(self) -> str:
        return self.text("describe-service", query="Service.Status")

    def text(self, verb: str, *more: str, query: str) -> str:
        return self._aws.text("apprunner", verb, "--service-arn", self.arn, *more, query=query)

    def do(self, verb: str, *more: str) -> str:
        """One of the service's operations, to its end; its id."""
        id_ = self.text(verb, *more, query="OperationId")
        until(lambda: self.operation(id_)[1] in {"SUCCEEDED", "FAILED", "ROLLBACK_SUCCEEDED"})
        return id_

    def operation(self, id_: str) -> list[str]:
        query = f"OperationSummaryList[?Id=='{id_}'].[Type, Status]"
        return self.text("list-operations", query=query).split()


def test_a_service_from_create_to_delete(aws, emulator, image):
    service = Service(aws, "shop", "--source-configuration", source(f"{image}:1"))
    assert service.arn.startswith(f"arn:aws:apprunner:us-east-1:{ACCOUNT}:service/shop/")
    until(lambda: service.status() == "RUNNING")
    assert "version 1!" in emulator.ask(service.url)[1]

    newer = source(f"{image}:2", Port="8000", RuntimeEnvironmentVariables={"GREETING": "moin"})
    size = "Cpu=0.25 vCPU,Memory=0.5 GB"
    service.do("update-service", "--source-configuration", newer, "--instance-configuration", size)
    assert "version 2!" in emulator.ask(service.url)[1]
    described = aws.json("apprunner", "describe-service", "--service-arn", service.arn)["Service"]
    assert described["InstanceConfiguration"] == {"Cpu": "256", "Memory": "512"}
    settings = described["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"]
    assert settings == {"Port": "8000", "RuntimeEnvironmentVariables": {"GREETING": "moin"}}

    service.do("pause-service")
    assert service.status() == "PAUSED"
    assert emulator.ask(service.url)[0] == 503
    service.do("resume-service")
    assert emulator.ask(service.url)[0] == 200
    service.do("start-deployment")
    operations = service.text("list-operations", query="OperationSummaryList[].[Type, Status]")
    assert operations.split() == [
        *("START_DEPLOYMENT", "SUCCEEDED", "RESUME_SERVICE", "SUCCEEDED"),
        *("PAUSE_SERVICE", "SUCCEEDED", "UPDATE_SERVICE", "SUCCEEDED"),
        *("CREATE_SERVICE", "SUCCEEDED"),
    ]

    service.text("delete-service", query="Service.Status")
    until(lambda: service.status() == "DELETED")
    assert aws.json("apprunner", "list-services")["ServiceSummaryList"] == []
    assert emulator.owned() == []


def test_tags_and_a_custom_domain(aws, emulator, image):
    service = Service(aws, "named", "--source-configuration", source(f"{image}:2"))
    until(lambda: service.status() == "RUNNING")
    resource = ("--resource-arn", service.arn)
    assert aws.json("apprunner", "tag-resource", *resource, "--tags", "Key=team,Value=a b") is None
    tags = aws.json("apprunner", "list-tags-for-resource", *resource)["Tags"]
    assert tags == [{"Key": "team", "Value": "a b"}]
    aws.json("apprunner", "untag-resource", *resource, "--tag-keys", "team")
    assert aws.json("apprunner", "list-tags-for-resource", *resource)["Tags"] == []

    domain = ("--domain-name", "shop.example.com")
    target = service.text("associate-custom-domain", *domain, query="DNSTarget")
    assert target == service.url
    assert "version 2!" in emulator.ask("www.shop.example.com")[1]
    query = "CustomDomains[].Status"
    until(lambda: service.text("describe-custom-domains", query=query).endswith("_validation"))
    service.text("disassociate-custom-domain", *domain, query="CustomDomain.Status")
    assert emulator.ask("www.shop.example.com")[0] == 404
    service.do("delete-service")


def test_who_one_is(aws):
    assert aws.json("sts", "get-caller-identity")["Account"] == ACCOUNT


def test_a_local_image_answers_soon_after_its_creation(aws, emulator, image):
    """How soon is printed; the limit here is for machines that are busy with something else."""
    began = time.perf_counter()
    service = Service(aws, "soon", "--source-configuration", source(f"{image}:1"))
    accepted = time.perf_counter()
    until(lambda: emulator.ask(service.url)[0] == 200)
    answered = time.perf_counter()
    until(lambda: service.status() == "RUNNING")
    running = time.perf_counter()
    print(  # noqa: T201 - the figure is the point
        f"create-service returned after {accepted - began:.2f} s, the service answered "
        f"{answered - accepted:.2f} s later; RUNNING was seen {running - began:.2f} s after all"
    )
    assert running - began < 30
    service.do("delete-service")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("create-service", "--service-name", "taken", "--source-configuration", source("x:1")),
            "InvalidRequestException",
            "Service with the provided name already exists: taken",
        ),
        (
            (
                *("create-service", "--service-name", "huge"),
                *("--source-configuration", source("x:1")),
                *("--instance-configuration", "Cpu=256,Memory=4096"),
            ),
            "InvalidRequestException",
            "Cpu 256 and Memory 4096 are not a supported pair",
        ),
        (
            ("describe-service", "--service-arn", NOWHERE),
            "ResourceNotFoundException",
            f"There is no service {NOWHERE} in us-east-1.",
        ),
    ],
)
@pytest.mark.usefixtures("taken")
def test_a_mistake_ends_with_255_and_says_what_it_was(aws, arguments, code, message):
    done = aws("apprunner", *arguments)
    assert done.returncode == 255
    assert f"An error occurred ({code})" in done.stderr
    assert message in done.stderr


@pytest.fixture(scope="module")
def taken(aws, image):
    """A service that fails, because its process ends: it keeps its name."""
    service = Service(
        aws, "taken", "--source-configuration", source(f"{image}:1", StartCommand="false")
    )
    until(lambda: service.status() == "CREATE_FAILED")
    return service


def test_a_service_that_failed_says_why_and_is_mended_by_an_update(emulator, taken, image):
    assert "Container exit code: 1" in emulator.events("taken")
    taken.do("update-service", "--source-configuration", source(f"{image}:1"))
    assert taken.status() == "RUNNING"
    assert emulator.ask(taken.url)[0] == 200


def test_a_new_tag_of_the_image_is_what_the_next_deployment_takes(aws, emulator, image):
    emulator.tag(f"{image}:1", f"{image}:latest")
    service = Service(aws, "retagged", "--source-configuration", source(image))
    until(lambda: service.status() == "RUNNING")
    emulator.tag(f"{image}:2", f"{image}:latest")
    assert "version 1!" in emulator.ask(service.url)[1]
    service.do("start-deployment")
    assert "version 2!" in emulator.ask(service.url)[1]
