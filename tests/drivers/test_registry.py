"""What ports.ImageRegistry promises, by the fake and by distribution's registry; and its process."""

import asyncio
import hashlib
import json
import os
import signal
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from emulator.drivers.clock import SystemClock
from emulator.drivers.docker.engine import Engine
from emulator.drivers.docker.labels import labelled
from emulator.drivers.docker.pull import Images
from emulator.drivers.machine import Computer
from emulator.drivers.machine.registry import find_process, find_program
from emulator.drivers.process import run
from emulator.drivers.registry.runners import ContainerRunner, ProgramRunner
from emulator.drivers.registry.server import OwnRegistry
from emulator.model.errors import AddressInUseError, EngineError
from tests.conftest import ENVIRONMENT
from tests.drivers.registry_image import lay_down_program
from tests.fakes.builder import FakeBuilder
from tests.fakes.clock import LoopClock
from tests.fakes.registry import DOCKER, FakeRegistry
from tests.fakes.world import World

NOBODY = "http://127.0.0.1:9/events"
needs_program = pytest.mark.skipif(
    find_program(Computer(environment=ENVIRONMENT)) is None,
    reason="docker-registry is not installed: APPRUNNER_REGISTRY_PORT=0 apprunner doctor --fix",
)


class Fake:
    """The fake, pushed to."""

    def __init__(self):
        self.registry = FakeRegistry(FakeBuilder(World(), LoopClock()))

    async def push(self, repository, tag, image):
        return await self.registry.push(repository, tag, image, size=5)


class Real:
    """The real one, pushed to by its own API: an image is its configuration's text."""

    def __init__(self, registry):
        self.registry = registry
        self.http = aiohttp.ClientSession()

    async def push(self, repository, tag, image):
        config = image.encode()
        digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        base = f"http://{self.registry.address}/v2/{repository}"
        async with self.http.post(f"{base}/blobs/uploads/") as begun:
            upload = begun.headers["Location"]
        joined = "&" if "?" in upload else "?"
        url = f"{upload}{joined}digest={digest.replace(':', '%3A')}"
        async with self.http.put(url, data=config) as stored:
            assert stored.status == 201
        blob = {"mediaType": "application/octet-stream", "digest": digest}
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER,
            "config": {**blob, "mediaType": f"{DOCKER}.config", "size": len(config)},
            "layers": [{**blob, "size": 5}],
        }
        async with self.http.put(
            f"{base}/manifests/{tag}",
            data=json.dumps(manifest).encode(),
            headers={"Content-Type": DOCKER},
        ) as pushed:
            assert pushed.status == 201, await pushed.text()
            return pushed.headers["Docker-Content-Digest"]


def own(directory, port=0, runner=None):
    computer = Computer(environment=ENVIRONMENT)
    runners = (runner or ProgramRunner(directory, computer),)
    return OwnRegistry(directory, port, runners, computer, SystemClock())


@asynccontextmanager
async def served(registry, told=NOBODY):
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(registry.serving(told))
        made = Real(registry)
        stack.push_async_callback(made.http.close)
        yield made


@pytest.fixture(params=["fake", pytest.param("real", marks=needs_program)])
def world(request, tmp_path):
    @asynccontextmanager
    async def made():
        if request.param == "fake":
            yield Fake()
            return
        async with served(own(tmp_path)) as real:
            yield real

    return made


async def test_a_tag_means_the_image_that_was_pushed_last(world):
    async with world() as it:
        first = await it.push("shop/web", "1", "a")
        second = await it.push("shop/web", "1", "b")
        assert first != second
        assert await it.registry.digest("shop/web", "1") == second
        assert await it.registry.digest("shop/web", first) == first
        assert await it.registry.digest("shop/web", "2") is None
        assert await it.registry.digest("web", "1") is None
        assert await it.registry.digest("web", first) is None


async def test_tells_every_image_oldest_first_also_those_without_a_tag(world):
    async with world() as it:
        first = await it.push("shop/web", "1", "a")
        second = await it.push("shop/web", "1", "b")
        await it.push("shop/web", "latest", "b")
        found = await it.registry.images("shop/web")
        assert [(i.digest, i.tags) for i in found] == [(first, ()), (second, ("1", "latest"))]
        assert {i.size for i in found} == {5}
        assert {i.media_type for i in found} == {DOCKER}
        assert all(json.loads(i.manifest)["schemaVersion"] == 2 for i in found)
        assert await it.registry.images("web") == ()


async def test_repositories_go_with_their_images_and_not_with_those_below(world):
    async with world() as it:
        for name in ("shop/web", "shop", "web"):
            await it.push(name, "1", "a")
        assert await it.registry.repositories() == ("shop", "shop/web", "web")
        for _ in range(2):
            await it.registry.remove("shop")
        assert await it.registry.repositories() == ("shop/web", "web")
        assert await it.registry.images("shop") == ()
        assert len(await it.registry.images("shop/web")) == 1


async def test_an_image_goes_with_its_tags_and_can_be_pushed_again(world):
    async with world() as it:
        digest = await it.push("web", "1", "a")
        await it.push("web", "2", "a")
        for _ in range(2):
            await it.registry.untag("web", "2")
        assert [i.tags for i in await it.registry.images("web")] == [("1",)]
        for _ in range(2):
            await it.registry.delete("web", digest)
        assert await it.registry.digest("web", "1") is None
        assert await it.registry.images("web") == ()
        assert await it.push("web", "1", "a") == digest
        assert await it.registry.digest("web", "1") == digest


# -- the process ---------------------------------------------------------------------------------


@needs_program
async def test_tells_of_each_push_where_it_was_asked_to(tmp_path):
    told = asyncio.Queue()

    async def events(request):
        for event in json.loads(await request.read())["events"]:
            if "tag" in event["target"]:
                told.put_nowait((event["action"], event["target"]["repository"]))
        return web.Response()

    app = web.Application()
    app.router.add_post("/events", events)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with served(own(tmp_path), f"http://127.0.0.1:{runner.addresses[0][1]}/events") as it:
        await it.push("shop/web", "1", "a")
        async with asyncio.timeout(10):
            assert await told.get() == ("push", "shop/web")
    await runner.cleanup()


@needs_program
async def test_what_was_pushed_and_a_free_port_are_the_same_at_the_next_start(tmp_path):
    async with served(own(tmp_path)) as it:
        digest = await it.push("web", "1", "a")
        address = it.registry.address
    async with served(own(tmp_path)) as it:
        assert it.registry.address == address
        assert await it.registry.digest("web", "1") == digest
        assert await it.push("web", "2", "a") == digest


@needs_program
async def test_it_ends_with_the_emulator_and_starts_again_when_it_is_killed(tmp_path):
    async with served(own(tmp_path)) as it:
        killed = await pid_of(it.registry)
        os.kill(killed, signal.SIGKILL)
        async with asyncio.timeout(10):
            while (last := await pid_of(it.registry)) in {None, killed}:
                await SystemClock().sleep(0.02)
            while not await it.registry._answers():
                await SystemClock().sleep(0.02)
        await it.push("web", "1", "a")
    assert not await asyncio.to_thread(Computer().lives, last)


@needs_program
async def test_one_that_a_killed_emulator_left_is_ended_first(tmp_path):
    async with served(own(tmp_path)) as left:
        orphan = await pid_of(left.registry)
        async with served(own(tmp_path)) as it:
            assert await pid_of(it.registry) != orphan
            await it.push("web", "1", "a")


async def pid_of(registry):
    return await asyncio.to_thread(find_process, Computer(), registry._directory.parent)


@needs_program
async def test_a_port_that_is_taken_is_named_with_its_holder(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUseError, match=rf"port {port}.*pid {os.getpid()}.*registry"):
            async with served(own(tmp_path, port)):
                pass


async def test_one_that_does_not_start_is_told_in_its_own_words(tmp_path):
    broken = tmp_path / "docker-registry"
    broken.write_text("#!/bin/sh\necho no good >&2\nexit 3\n")
    broken.chmod(0o755)
    computer = Computer(environment={"PATH": f"{tmp_path}:/usr/bin:/bin"}, programs=())
    with pytest.RaisesGroup(
        pytest.RaisesExc(EngineError, match="registry cannot be started: no good")
    ):
        async with own(tmp_path, runner=ProgramRunner(tmp_path, computer)).serving(NOBODY):
            pass


async def test_without_the_program_and_the_image_the_commands_are_named(tmp_path):
    runner = ProgramRunner(tmp_path, Computer(programs=()))
    with pytest.raises(EngineError, match=r"apt-get install docker-registry.*docker pull registry"):
        async with own(tmp_path, runner=runner).serving(NOBODY):
            pass


@asynccontextmanager
async def engine_with_image(directory):
    """The registry's image, as it is where one can be pulled: made of the program that is here."""
    name = f"apprunner-test/registry:{uuid4().hex}"
    await asyncio.to_thread(lay_down_program, directory / "image", "bin/registry")
    await run("docker", "build", "--tag", name, str(directory / "image"), environment=ENVIRONMENT)
    async with await Engine.connect(ENVIRONMENT) as engine:
        yield engine, name
        await engine.delete(f"/images/{name}")


@pytest.mark.docker
@needs_program
async def test_an_image_of_it_does_where_the_program_is_not(tmp_path):
    async with engine_with_image(tmp_path) as (engine, name):
        owner = uuid4().hex
        images = Images(engine, SystemClock())
        runner = ContainerRunner(tmp_path, engine, owner, images, image=name)
        filters = {"filters": labelled(owner)}
        async with served(own(tmp_path, runner=runner)) as it:
            digest = await it.push("shop/web", "1", "a")
            assert await it.registry.digest("shop/web", "1") == digest
            (left,) = await engine.get("/containers/json", filters)
            await runner.end_left()  # as the next emulator does after a kill
            async with asyncio.timeout(20):
                while left["Id"] in [
                    c["Id"] for c in await engine.get("/containers/json", filters)
                ]:
                    await SystemClock().sleep(0.02)
        await it.registry.remove("shop/web")
        assert await it.registry.repositories() == ()
        assert await engine.get("/containers/json", {"all": True, **filters}) == []
        absent = ContainerRunner(tmp_path, engine, owner, images, image="registry.invalid/x:1")
        assert not await absent.available()
