"""All nine aws_apprunner_* resources: made, changed, imported and destroyed by Terraform itself."""

import pytest

from tests.conformance.clients import ECR, Terraform, spawned
from tests.end_to_end.running import Repository, get

REPOSITORY = "https://github.com/example/hello"
DEFAULT = (
    "arn:aws:apprunner:us-east-1:000000000000:autoscalingconfiguration/DefaultConfiguration/1/"
    "00000000000000000000000000000001"
)

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("terraform")


@pytest.fixture(scope="module")
def sample(directory):
    return Repository(directory / "hello")


@pytest.fixture(scope="module")
def emulator(directory, sample):
    with spawned(directory, f"[repositories]\n'{REPOSITORY}' = '{sample.path}'\n") as emulator:
        yield emulator


@pytest.fixture(scope="module")
def image(emulator):
    return emulator.image


def test_every_resource_is_made_changed_imported_and_destroyed(emulator, image, directory):
    environment = emulator.variables()
    terraform = Terraform(directory / "first", environment, "everything", "deployment")
    wanted = {"image": f"{ECR}/{image}", "repository": REPOSITORY}

    terraform.variables(**wanted, stage="1")
    assert "Resources: 13 added, 0 changed, 0 destroyed" in terraform.apply()
    terraform.expect_no_changes()
    assert serves(emulator, terraform) == ("1", "1")
    private = terraform.attributes("service.private")
    assert emulator.ask(private["service_url"])[0] == 404
    assert get(emulator.port("private"), "/healthz") == (200, "ok\n")
    assert terraform.attributes("deployment.again")["status"] == "SUCCEEDED"

    before = terraform.attributes("service.image")
    terraform.variables(**wanted, stage="2")
    assert "Resources: 0 added, 9 changed, 0 destroyed" in terraform.apply()
    terraform.expect_no_changes()
    assert serves(emulator, terraform) == ("2", "1")
    after = terraform.attributes("service.image")
    assert (after["arn"], after["service_url"]) == (before["arn"], before["service_url"])

    imported = Terraform(directory / "second", environment, "everything", "import")
    ids = {
        address.removeprefix("aws_apprunner_"): instance["attributes"]["id"]
        for address, instance in terraform.state().items()
    }
    imported.variables(**wanted, stage="2", ids=ids)
    summary = imported.apply()
    assert "Resources: 12 imported, 0 added, 0 changed, 0 destroyed" in summary, summary
    imported.expect_no_changes()

    # As on AWS, the default auto scaling configuration cannot be deleted, and Terraform leaves
    # it the default one (the provider's own tests do the same).
    emulator.boto3().update_default_auto_scaling_configuration(AutoScalingConfigurationArn=DEFAULT)
    assert "Resources: 13 destroyed" in terraform.destroy()
    assert emulator.boto3().list_services()["ServiceSummaryList"] == []
    assert emulator.owned() == []
    assert emulator.networks() == []


def serves(emulator, terraform) -> tuple[str, str]:
    """The versions that the public services answer, by every one of their names."""
    own = terraform.attributes("service.image")["service_url"]
    names = (own, "shop.localhost", "www.shop.localhost", "api.example.com")
    (answer,) = {emulator.ask(name) for name in names}
    assert answer[0] == 200
    code = terraform.attributes("service.code")["service_url"]
    return answer[1].split()[-1].rstrip("!"), emulator.ask(code, "/version")[1].strip()


def test_a_mistake_fails_the_apply_and_is_mended_by_the_next(emulator, image, directory):
    terraform = Terraform(directory / "mistakes", emulator.bare(), "mistakes")
    wanted = {"image": f"{ECR}/{image}", "endpoint": emulator.addresses["Api"]}

    terraform.variables(**wanted, mended=False)
    done = terraform("apply", "-auto-approve")
    assert done.returncode == 1
    assert done.stderr.count("unexpected state 'CREATE_FAILED', wanted target 'RUNNING'") == 2
    assert {i["status"] for i in terraform.state().values()} == {"tainted"}
    assert "Container exit code: 1" in emulator.events("ends")
    assert f"docker tag IMAGE {image}:nothing" in emulator.events("misspelt")

    terraform.variables(**wanted, mended=True)
    assert "Resources: 2 added, 0 changed, 2 destroyed" in terraform.apply()
    for name, version in (("ends", "1"), ("misspelt", "2")):
        url = terraform.attributes(f"service.{name}")["service_url"]
        assert f"version {version}!" in emulator.ask(url)[1]

    terraform.destroy()
    assert emulator.owned() == []
    assert emulator.networks() == []
