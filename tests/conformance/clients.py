"""What tests with real clients share: an emulator of their own, an image, and the clients.

A client finds the emulator as a user's does: by the variables that `apprunner env` prints, and
by nothing else of this machine.
"""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from secrets import token_hex

import pytest

from tests.end_to_end.running import ENVIRONMENT, Failed, Repository, Running, docker
from tests.surfaces.aws_world import client

HERE = Path(__file__).parent
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"  # what Terraform takes for an image
IMAGE = "conformance"
PLACES = (
    "~/.terraform.d/plugins",
    "/usr/share/terraform/plugins",
    "/usr/local/share/terraform/plugins",
)
PROVIDER = "registry.terraform.io/hashicorp/aws"


class Local(Running):
    """An emulator on real Docker, with an emulator.toml of its own."""

    def __init__(self, directory: Path, toml: str = "") -> None:
        super().__init__(directory)
        (directory / "emulator.toml").write_text(toml)
        (directory / "home").mkdir()
        self._images: set[str] = set()

    def bare(self) -> dict[str, str]:
        """An environment without any setting for AWS tools."""
        kept = {k: v for k, v in self.environment.items() if not k.startswith("AWS_")}
        return kept | {"HOME": str(self.directory / "home")}

    def variables(self) -> dict[str, str]:
        """The same after `eval "$(apprunner env)"`."""
        script = f'eval "$({sys.executable} -m emulator env)" && env -0'
        done = subprocess.run(
            ["sh", "-c", script],
            env=self.bare(),
            capture_output=True,
            text=True,
            check=True,
            cwd=self.directory,
        )
        return dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)

    @property
    def addresses(self) -> Mapping[str, str]:
        return json.loads((self.state / "emulator.json").read_text())["Addresses"]

    def boto3(self, service: str = "apprunner", region: str = "us-east-1"):
        return client(self.addresses["Api"], service, region)

    def ask(self, name: str, path: str = "/") -> tuple[int, str]:
        """Over HTTPS, by a service's own name or a custom domain.

        The local authority vouches for names under localhost only: with any other one, a client
        has to be content with the certificate for `localhost`.
        """
        host = name.partition(":")[0]
        port = int(self.addresses["Https"].rsplit(":", 1)[1])
        context = ssl.create_default_context(cafile=str(self.state / "ca" / "ca.pem"))
        vouched = host if host.endswith(".localhost") else "localhost"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        raw = socket.create_connection(("127.0.0.1", port), timeout=60)
        connection.sock = context.wrap_socket(raw, server_hostname=vouched)
        try:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    # -- images ------------------------------------------------------------------------------------

    @cached_property
    def image(self) -> str:
        """The name of an image of a sample application, with the tags 1 and 2: what it answers
        tells them apart.
        """
        name = f"{IMAGE}-{token_hex(4)}"
        self.run("deploy", str(Repository(self.directory / IMAGE, "dockerfile").path))
        self.tag(self.describe(IMAGE)["Emulator"]["Deployments"][0]["Image"], f"{name}:1")
        self.run("delete", IMAGE)
        self.derive(f"{name}:1", f"{name}:2", "RUN echo 2 > version.txt")
        return name

    def derive(self, base: str, name: str, *lines: str) -> None:
        """Another image, as a user builds one."""
        directory = self.directory / "derived"
        directory.mkdir(exist_ok=True)
        (directory / "Dockerfile").write_text("\n".join((f"FROM {base}", *lines, "")))
        docker("build", "--quiet", "--tag", name, str(directory))
        self._images.add(name)

    def tag(self, image: str, name: str) -> None:
        """Until the end."""
        docker("tag", image, name)
        self._images.add(name)

    def end(self) -> None:
        super().end()
        if self._images:
            docker("rmi", *self._images)


@contextmanager
def spawned(directory: Path, toml: str = "") -> Iterator[Local]:
    emulator = Local(directory, toml)
    emulator.start()
    try:
        yield emulator
    finally:
        emulator.end()


# -- the AWS CLI -----------------------------------------------------------------------------------


class AwsCli:
    """`aws`, in a shell that has the emulator's variables."""

    def __init__(self, emulator: Local) -> None:
        self._environment = emulator.variables() | {"AWS_PAGER": ""}
        self._directory = emulator.directory

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess:
        """Whatever comes of it."""
        return subprocess.run(
            [sys.executable, "-m", "awscli", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=self._directory,
        )

    def text(self, *arguments: str, query: str) -> str:
        return self._run(*arguments, "--query", query, "--output", "text").strip()

    def json(self, *arguments: str):
        printed = self._run(*arguments)
        return json.loads(printed) if printed else None

    def _run(self, *arguments: str) -> str:
        done = self(*arguments)
        if done.returncode:
            raise Failed(f"aws {' '.join(arguments)}:\n{done.stderr}")
        return done.stdout


# -- Terraform -------------------------------------------------------------------------------------


def terraform_program() -> str:
    """Skips the test where there is none."""
    program = ENVIRONMENT.get("APPRUNNER_TEST_TERRAFORM") or shutil.which("terraform")
    if not program:
        pytest.skip("no terraform on the PATH, and APPRUNNER_TEST_TERRAFORM names none")
    return program


def terraform_plugins() -> Path:
    """A filesystem mirror that has the aws provider; skips the test where there is none."""
    named = ENVIRONMENT.get("APPRUNNER_TEST_TERRAFORM_PLUGINS")
    cache = ENVIRONMENT.get("TF_PLUGIN_CACHE_DIR")
    usual = [Path(place).expanduser() for place in (named, *PLACES, cache) if place]
    elsewhere = [found.parents[2] for found in Path("/opt").glob(f"*/{PROVIDER}")]
    for place in [*usual, *elsewhere]:
        if any((place / PROVIDER).glob("*")):
            return place
    pytest.skip(
        f"no mirror with {PROVIDER}: APPRUNNER_TEST_TERRAFORM_PLUGINS can name one, which "
        "`terraform providers mirror` makes"
    )


class Terraform:
    """A working directory with a copy of one of the configurations beside this file, or more."""

    def __init__(
        self, directory: Path, environment: Mapping[str, str], *configurations: str
    ) -> None:
        self._program = terraform_program()
        self._directory = directory
        directory.mkdir()
        for name in configurations:
            for file in (HERE / "terraform").glob(f"{name}.tf"):
                shutil.copy(file, directory)
        settings = directory / "terraform.rc"
        mirror = f'path = "{terraform_plugins()}"\n include = ["{PROVIDER}"]'
        settings.write_text(f"provider_installation {{\n filesystem_mirror {{\n{mirror}\n }}\n}}\n")
        self._environment = dict(environment) | {
            "TF_CLI_CONFIG_FILE": str(settings),
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            "CHECKPOINT_DISABLE": "1",
            "GOGC": "400",  # a third less of the processor's time
        }
        self.run("init")

    def __call__(self, command: str, *arguments: str) -> subprocess.CompletedProcess:
        """Whatever comes of it; how long it took is printed."""
        began = time.perf_counter()
        done = subprocess.run(
            [self._program, command, "-no-color", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
            cwd=self._directory,
        )
        seconds = time.perf_counter() - began
        print(f"terraform {command}: {seconds:.1f} s")  # noqa: T201 - shown by -s, and when it fails
        return done

    def run(self, command: str, *arguments: str) -> str:
        done = self(command, *arguments)
        if done.returncode:
            raise Failed(f"terraform {command}:\n{done.stderr}")
        return done.stdout

    def variables(self, **values: str) -> None:
        """From now on."""
        (self._directory / "values.auto.tfvars.json").write_text(json.dumps(values))

    def apply(self) -> str:
        return self.run("apply", "-auto-approve")

    def destroy(self) -> str:
        return self.run("destroy", "-auto-approve")

    def expect_no_changes(self) -> None:
        done = self("plan", "-detailed-exitcode")
        if done.returncode:
            plan = done.stdout.partition("Terraform will perform")[2]
            raise Failed(f"terraform plan:\n{plan}\n{done.stderr}")

    def state(self) -> dict[str, dict]:
        """Each resource's one instance, by address: `attributes`, and `status` where tainted."""
        document = json.loads((self._directory / "terraform.tfstate").read_text())
        return {f"{r['type']}.{r['name']}": r["instances"][0] for r in document["resources"]}

    def attributes(self, address: str) -> dict:
        return self.state()[f"aws_apprunner_{address}"]["attributes"]
