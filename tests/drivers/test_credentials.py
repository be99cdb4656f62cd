"""What `docker login` stored reaches a pull; by files, helpers, and a registry that asks for it."""

import asyncio
import base64
import json
from contextlib import aclosing, asynccontextmanager, suppress

import pytest

from emulator.drivers.clock import SystemClock
from emulator.drivers.docker import sandbox
from emulator.drivers.docker.credentials import CredentialsError, find_login
from emulator.drivers.docker.engine import Engine
from emulator.drivers.docker.pull import Images
from emulator.drivers.machine import Computer
from emulator.drivers.machine.registry import HOST, find_program
from emulator.drivers.process import run
from emulator.drivers.registry.server import _bindable
from emulator.model.errors import EngineError
from tests.conftest import ENVIRONMENT

USER, PASSWORD = "ada", "open sesame"
HTPASSWD = f"{USER}:$2b$04$3hRf6OQ6Mx9UZR/68EjPfOqzhQJsjgZyY4z0xcFwmP17WXn0nCMzS\n"  # bcrypt
PROGRAM = find_program(Computer(environment=ENVIRONMENT))


def encoded(user=USER, password=PASSWORD):
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def read(login):
    return json.loads(base64.urlsafe_b64decode(login.header)) if login else None


class Home:
    """A user's, with helpers on the PATH."""

    def __init__(self, directory):
        self.directory = directory
        (directory / ".docker").mkdir()
        (directory / "bin").mkdir()
        self.environment = {"HOME": str(directory), "PATH": f"{directory}/bin:/usr/bin:/bin"}

    def configure(self, text="", **settings):
        (self.directory / ".docker/config.json").write_text(text or json.dumps(settings))

    def helper(self, name, script):
        there = self.directory / f"bin/docker-credential-{name}"
        there.write_text(f"#!/bin/sh\n{script}\n")
        there.chmod(0o755)

    async def login(self, registry, **variables):
        return read(await find_login(registry, {**self.environment, **variables}))


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


ANSWERS = 'read server; echo "{\\"Username\\": \\"$1-$server\\", \\"Secret\\": \\"s\\"}"'
KNOWS_NOTHING = 'echo "credentials not found in native keychain"; exit 1'


@pytest.mark.parametrize("key", ["ghcr.io", "https://ghcr.io", "http://ghcr.io/v1/"])
async def test_a_login_in_the_file_is_that_of_its_host(home, key):
    home.configure(auths={key: encoded(), "other.io": encoded("else")})
    expected = {"username": USER, "password": PASSWORD, "serveraddress": "ghcr.io"}
    assert await home.login("ghcr.io") == expected
    assert await home.login("ghcr.io:443") is None


@pytest.mark.parametrize("name", ["docker.io", "index.docker.io"])
async def test_docker_hub_has_an_address_of_its_own(home, name):
    home.configure(auths={"https://index.docker.io/v1/": encoded()})
    assert (await home.login(name))["serveraddress"] == "https://index.docker.io/v1/"


async def test_a_token_is_sent_as_one(home):
    home.configure(auths={"a.io": {"identitytoken": "t"}}, credHelpers={"b.io": "tokens"})
    home.helper("tokens", 'echo "{\\"Username\\": \\"<token>\\", \\"Secret\\": \\"t\\"}"')
    assert await home.login("a.io") == {"identitytoken": "t", "serveraddress": "a.io"}
    assert await home.login("b.io") == {"identitytoken": "t", "serveraddress": "b.io"}


async def test_a_registrys_own_helper_comes_before_the_store(home):
    home.configure(credsStore="store", credHelpers={"a.io": "own"})
    home.helper("store", f"set -- store; {ANSWERS}")
    home.helper("own", f"set -- own; {ANSWERS}")
    assert (await home.login("a.io"))["username"] == "own-a.io"
    assert (await home.login("b.io"))["username"] == "store-b.io"


async def test_what_a_store_does_not_know_may_stand_in_the_file(home):
    home.configure(credsStore="store", auths={"a.io": encoded(), "b.io": {}})
    home.helper("store", KNOWS_NOTHING)
    assert (await home.login("a.io"))["username"] == USER
    assert await home.login("b.io") is None


async def test_the_variable_of_ci_comes_first(home):
    home.configure(auths={"a.io": encoded()})
    given = json.dumps({"auths": {"a.io": encoded("ci")}})
    assert (await home.login("a.io", DOCKER_AUTH_CONFIG=given))["username"] == "ci"
    elsewhere = json.dumps({"auths": {"b.io": encoded("ci")}})
    assert (await home.login("a.io", DOCKER_AUTH_CONFIG=elsewhere))["username"] == USER


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo locked; exit 1", "docker-credential-broken failed: locked"),
        ("exit 3", "docker-credential-broken failed: exit code 3"),
        (None, "docker-credential-broken is not installed or not on the PATH"),
    ],
)
async def test_a_helper_that_fails_is_named(home, script, told):
    home.configure(credsStore="broken")
    if script:
        home.helper("broken", script)
    with pytest.raises(CredentialsError, match=told):
        await home.login("a.io")


async def test_a_helper_is_a_name_and_no_path(home):
    home.configure(credsStore="../../bin/sh")
    with pytest.raises(CredentialsError, match="no name of a credential helper"):
        await home.login("a.io")


@pytest.mark.parametrize(
    "text",
    ["", "not JSON", "[]", '{"auths": 1}', '{"auths": {"a.io": 1}}', "[" * 100_000,
     '{"auths": {"a.io": {"auth": "%"}}}', '{"credsStore": 1}', '{"credHelpers": []}'],
)  # fmt: skip
async def test_a_file_that_makes_no_sense_is_no_login(home, text):
    home.configure(text or "{}")
    assert await home.login("a.io") is None


async def test_nobody_has_logged_in_where_there_is_no_file(home):
    assert await home.login("a.io") is None


async def test_no_repr_shows_a_secret(home):
    home.configure(auths={"a.io": encoded()})
    assert PASSWORD not in repr(await find_login("a.io", home.environment))


@asynccontextmanager
async def closed_registry(directory):
    """One that lets nobody in without the password; its address."""
    port = await asyncio.to_thread(_bindable, 0)
    (directory / "htpasswd").write_text(HTPASSWD)
    settings = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}},
        "http": {"addr": f"{HOST}:{port}"},
        "auth": {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}},
    }
    (directory / "config.yml").write_text(json.dumps(settings))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(run(str(PROGRAM), "serve", str(directory / "config.yml")))
        try:
            async with asyncio.timeout(20):
                while not await answers(port):
                    await SystemClock().sleep(0.02)
            yield f"localhost:{port}"
        finally:
            serving.cancel()


async def answers(port):
    with suppress(OSError):
        _, writer = await asyncio.open_connection(HOST, port)
        writer.close()
        return True
    return False


@pytest.mark.docker
@pytest.mark.skipif(PROGRAM is None, reason="docker-registry is not installed")
async def test_an_image_of_a_registry_that_wants_a_password_is_pulled(home):
    async with closed_registry(home.directory) as address, await Engine.connect(ENVIRONMENT) as it:
        name = f"{address}/private/app"
        await make(it, name)
        home.configure(auths={address: encoded()})
        login = await find_login(address, home.environment)
        pushing = it.stream(
            "POST",
            f"/images/{name}/push",
            {"tag": "1"},
            headers={"X-Registry-Auth": login.header},
        )
        async with aclosing(pushing):
            told = [message async for message in pushing]
        assert not [message for message in told if "error" in message]
        await it.delete(f"/images/{name}:1")

        home.configure("{}")
        images = Images(it, SystemClock(), home.environment)
        with pytest.raises(
            EngineError, match=f"no basic auth credentials.*`docker login {address}`"
        ):
            await images.pull(f"{name}:1", print)
        home.configure(credHelpers={address: "own"})
        home.helper("own", f'echo \'{{"Username": "{USER}", "Secret": "{PASSWORD}"}}\'')
        assert await images.pull(f"{name}:1", print)
        await it.delete(f"/images/{name}:1")


async def make(engine, name):
    params = {"fromSrc": "-", "repo": name, "tag": "1", "changes": [f"LABEL of={name}"]}
    body = sandbox.image_archive("x86_64")
    made = engine.stream("POST", "/images/create", params, data=body)
    async with aclosing(made):
        assert [line async for line in made]
