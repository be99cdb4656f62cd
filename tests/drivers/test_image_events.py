"""What `Builder.changes` promises, kept by the fake and by Docker alike: images that get a name."""

import asyncio
import uuid
from contextlib import aclosing, suppress

import pytest

from emulator.drivers.clock import SystemClock
from emulator.drivers.docker import sandbox
from emulator.drivers.docker.engine import Engine, NotFoundError
from emulator.drivers.docker.image_events import ImageEvents
from tests.conftest import ENVIRONMENT
from tests.drivers.build_world import Bench
from tests.drivers.docker_world import Relay
from tests.fakes.builder import FakeBuilder
from tests.fakes.clock import LoopClock
from tests.fakes.world import World
from tests.helpers import until

WITHIN = 10.0  # seconds: nothing here should take more than some milliseconds


class FakeImages:
    """An image or two in memory."""

    def __init__(self):
        self.world = World()
        self.clock = LoopClock()
        self.builder = FakeBuilder(self.world, self.clock)
        self.name = "apprunner-test/image"

    async def tag(self, name):
        self.world.tag(name, "sha256:1")


class DockerImages:
    """Names of one tiny image, of this test alone."""

    def __init__(self, engine):
        self.engine = engine
        self.bench = Bench(engine)
        self.builder = self.bench.builder()
        self.name = f"apprunner-test/{uuid.uuid4().hex}"
        self.names = []

    async def make(self):
        params = {"fromSrc": "-", "changes": [f"LABEL {self.bench.mark}"]}
        body = sandbox.image_archive("x86_64")
        made = self.engine.stream("POST", "/images/create", params, data=body)
        async with aclosing(made):
            self.id = [line["status"] async for line in made][-1]

    async def tag(self, name):
        repository, _, tag = name.partition(":")
        params = {"repo": repository, "tag": tag or "latest"}
        await self.engine.post(f"/images/{self.id}/tag", params)
        self.names.append(name)

    async def load_anew(self, name):
        """As `docker save`, `docker rmi` and `docker load` do."""
        saved = await self.engine.get(f"/images/{name}/get")
        await self.engine.delete(f"/images/{name}")
        await self.engine.post("/images/load", {"quiet": True}, data=saved)

    async def clean_up(self):
        for image in [*self.names, self.id]:
            with suppress(NotFoundError):
                await self.engine.delete(f"/images/{image}", {"force": True})


@pytest.fixture
async def docker_images():
    async with await Engine.connect(ENVIRONMENT) as engine:
        made = DockerImages(engine)
        await made.make()
        yield made
        await made.clean_up()


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
def images(request):
    """Whichever of the two."""
    if request.param == "fake":
        return FakeImages()
    return request.getfixturevalue("docker_images")


class Listener:
    """What is heard of one test's images; others use the engine at the same time."""

    def __init__(self, changes, name):
        self.changes = changes
        self.name = name
        self.heard = []

    async def listen(self):
        async for name in self.changes:
            if name is None or self.name in name:
                self.heard.append(name)

    async def until(self, *names):
        await until(lambda: self.heard[-len(names) :] == list(names), within=WITHIN)


@pytest.fixture
async def listener(images):
    changes = images.builder.changes()
    async with aclosing(changes), asyncio.TaskGroup() as group:
        made = Listener(changes, images.name)
        listening = group.create_task(made.listen())
        await LoopClock().sleep(0)  # one turn of the loop: it listens from now on
        yield made
        listening.cancel()


async def test_tells_each_name_that_an_image_gets(images, listener):
    await images.tag(f"{images.name}:one")
    await listener.until(f"{images.name}:one")
    await images.tag(f"{images.name}:two")
    await listener.until(f"{images.name}:one", f"{images.name}:two")


async def test_tells_the_tag_that_none_means_and_leaves_out_docker_hubs_name(images, listener):
    await images.tag(f"docker.io/{images.name}")
    await listener.until(f"{images.name}:latest")


async def test_tells_a_name_again_that_is_given_again(images, listener):
    for _ in range(2):
        await images.tag(f"{images.name}:same")
    await listener.until(f"{images.name}:same", f"{images.name}:same")


async def test_keeps_the_emulators_own_builds_to_itself(images, listener):
    await images.tag(f"apprunner-emulator/{images.name}:ours")
    await images.tag(f"{images.name}:theirs")
    await listener.until(f"{images.name}:theirs")
    assert listener.heard == [f"{images.name}:theirs"]


async def test_a_name_can_be_found_when_it_is_told(images):
    changes = images.builder.changes()
    async with aclosing(changes), asyncio.timeout(WITHIN), asyncio.TaskGroup() as group:
        group.create_task(images.tag(f"{images.name}:there"))  # once it listens
        while await anext(changes) != f"{images.name}:there":
            pass
        assert await images.builder.find(f"{images.name}:there")


@pytest.mark.docker
@pytest.mark.parametrize("images", ["docker"], indirect=True)
async def test_tells_what_was_loaded_from_a_file(images, listener):
    await images.tag(f"{images.name}:saved")
    await listener.until(f"{images.name}:saved")
    listener.heard.clear()
    await images.load_anew(f"{images.name}:saved")
    await listener.until(f"{images.name}:saved")


async def test_the_fake_says_so_when_the_engine_was_away():
    images = FakeImages()
    changes = images.builder.changes()
    async with aclosing(changes), asyncio.timeout(WITHIN):
        now = images.clock.now()
        asyncio.get_running_loop().call_soon(images.world.restart_engine, now)
        assert await anext(changes) is None


@pytest.mark.docker
async def test_says_so_when_the_engine_was_away_and_goes_on(docker_images, tmp_path):
    images = docker_images
    socket = images.engine.connection.socket
    async with Relay(tmp_path / "relay", socket) as relay, relay.engine:
        changes = ImageEvents(relay.engine, SystemClock()).follow()
        async with aclosing(changes), asyncio.TaskGroup() as group:
            listener = Listener(changes, images.name)
            listening = group.create_task(listener.listen())
            await images.tag(f"{images.name}:before")
            await listener.until(f"{images.name}:before")
            await relay.cut()
            await relay.mend()
            await until(lambda: None in listener.heard, within=WITHIN)
            await images.tag(f"{images.name}:after")
            await listener.until(f"{images.name}:after")
            listening.cancel()
