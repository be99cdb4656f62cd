"""From `aws ecr create-repository` to a push that deploys, with the tools that people use.

The application is the registry's own program: it is there wherever this test runs, needs no base
image, and answers with a header by which its versions can be told apart.
"""

import http.client
import json
import subprocess
import sys
from pathlib import Path

import pytest

from emulator.drivers.machine import Computer
from emulator.drivers.machine.registry import find_process, find_program
from tests.drivers.registry_image import lay_down_program
from tests.end_to_end.running import ENVIRONMENT, Running, docker, until

PROGRAM = find_program(Computer(environment=ENVIRONMENT))
AWS = Path(sys.executable).parent / "aws"
pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        PROGRAM is None,
        reason="docker-registry is not installed: APPRUNNER_REGISTRY_PORT=0 apprunner doctor --fix",
    ),
]


class Shell:
    """What a user types after `eval "$(apprunner env)"`, with a Docker configuration of its own."""

    def __init__(self, emulator: Running) -> None:
        self.directory = emulator.directory
        self.address = emulator.json("status")["Addresses"]["Registry"]
        self.environment = {
            **emulator.environment,
            **emulator.json("env"),
            "DOCKER_CONFIG": str(self.directory / "docker"),
        }

    def __call__(self, *argv: str, given: str = "") -> str:
        done = subprocess.run(
            argv, env=self.environment, input=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{argv}:\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def aws(self, *arguments: str):
        said = self(str(AWS), *arguments)
        return json.loads(said) if said.startswith("{") else said

    def repository(self, name: str) -> str:
        """A new one's URI, and the way in."""
        made = self.aws("ecr", "create-repository", "--repository-name", name)["repository"]
        password = self.aws("ecr", "get-login-password")
        login = ("docker", "login", "--username", "AWS", "--password-stdin", self.address)
        assert "Login Succeeded" in self(*login, given=password)
        return made["repositoryUri"]

    def build(self, name: str, version: str) -> None:
        context = self.directory / "image"
        if not context.exists():
            lay_down_program(context, "registry")
            with (context / "Dockerfile").open("a") as dockerfile:
                dockerfile.write('COPY config.yml /\nCMD ["/registry", "serve", "/config.yml"]\n')
        settings = {
            "version": "0.1",
            "storage": {"inmemory": {}},
            "http": {"addr": ":8080", "headers": {"X-Version": [version]}},
        }
        (context / "config.yml").write_text(json.dumps(settings))
        self("docker", "build", "--quiet", "--tag", name, str(context))

    def push(self, name: str, version: str) -> None:
        self.build(name, version)
        self("docker", "push", "--quiet", name)


@pytest.fixture
def registry(tmp_path):
    running = Running(tmp_path)
    running.environment["APPRUNNER_REGISTRY_PORT"] = "0"
    running.start()
    shell = Shell(running)
    try:
        yield running, shell
    finally:
        running.end()
        pushed = docker("images", "--quiet", "--filter", f"reference={shell.address}/*/*")
        if pushed:
            docker("rmi", "--force", *dict.fromkeys(pushed.split()))


def served(port: int) -> str | None:
    """The version that answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().getheader("X-Version")
    finally:
        connection.close()


def test_a_push_deploys_also_one_that_came_while_no_emulator_ran(registry):
    emulator, shell = registry
    image = f"{shell.repository('shop/web')}:latest"
    assert image == f"{shell.address}/shop/web:latest"
    shell.push(image, "1")
    source = {"ImageRepository": {"ImageIdentifier": image, "ImageRepositoryType": "ECR"}}
    create = ("--service-name", "shop", "--source-configuration", json.dumps(source))
    shell.aws("apprunner", "create-service", *create)
    until(lambda: emulator.describe("shop")["Status"] == "RUNNING")
    port = emulator.port("shop")
    assert served(port) == "1"

    shell.build(image, "not pushed")
    shell.push(image, "2")
    until(lambda: served(port) == "2")
    assert "not pushed" not in emulator.events("shop")
    details = shell.aws("ecr", "describe-images", "--repository-name", "shop/web")["imageDetails"]
    (newest,) = [each for each in details if "latest" in each.get("imageTags", ())]
    assert f"{image}@{newest['imageDigest']}" in emulator.events("shop")

    emulator.kill()
    shell.push(image, "3")  # to the registry that it left
    left = find_process(Computer(), emulator.state)
    emulator.start()
    until(lambda: served(port) == "3")
    assert find_process(Computer(), emulator.state) not in {None, left}
    assert emulator.json("status")["Addresses"]["Registry"] == shell.address

    emulator.run("stop")
    assert find_process(Computer(), emulator.state) is None
