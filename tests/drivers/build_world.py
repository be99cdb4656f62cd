"""Builds on a real engine; the source tree is in memory."""

import asyncio
import io
import tarfile
import uuid
from contextlib import asynccontextmanager, suppress

from emulator.drivers.clock import SystemClock
from emulator.drivers.docker.build_network import network_name
from emulator.drivers.docker.builder import DockerBuilder
from emulator.drivers.docker.engine import Engine, NotFoundError
from emulator.drivers.docker.labels import Role
from emulator.model.errors import EngineError
from emulator.model.identifiers import OperationId, ServiceId
from emulator.model.settings import Limits
from emulator.model.source import TreeFile
from emulator.ports import BuildRequest
from tests.conftest import ENVIRONMENT

DEBIAN = "apprunner-emulator/debian:bookworm"
PREFIX = "dev.apprunner-emulator."


class MemoryRepository:
    """One tree of files; of ports.Repository what a build needs."""

    def __init__(self, files):
        self.contents = {name: content.encode() for name, content in files.items()}
        self.problem = None

    async def files(self, _repository, _tree):
        return tuple(
            TreeFile(path=path, mode="100644", blob=path, size=len(content))
            for path, content in self.contents.items()
        )

    async def read(self, _repository, blob):
        return self.contents[blob]

    async def archive(self, _repository, _tree, paths=()):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for path, content in self.contents.items():
                if not paths or path in paths:
                    info = tarfile.TarInfo(path)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        yield out.getvalue()[:512]
        if self.problem:
            raise self.problem
        yield out.getvalue()[512:]


@asynccontextmanager
async def at_work(kind):
    """A bench of that kind on the engine; it leaves nothing."""
    async with await Engine.connect(ENVIRONMENT) as engine:
        bench = kind(engine)
        try:
            yield bench
        finally:
            await bench.clean()


class Bench:
    """A builder of an owner of its own, and the lines it has shown."""

    def __init__(self, engine):
        self.engine = engine
        self.owner = uuid.uuid4().hex
        self.mark = f"test.mark={self.owner}"
        self.lines = []
        self.seen = asyncio.Event()
        self.await_line = None
        self.running = []

    def on_line(self, line):
        self.lines.append(line)
        if self.await_line is not None and line.startswith(self.await_line):
            self.seen.set()

    def builder(self, files=None, *, variables=None, limits=None, bases=()):
        self.repository = MemoryRepository(files or {"app.py": "print(1)"})
        builder = DockerBuilder(
            self.engine,
            owner=self.owner,
            repository=self.repository,
            clock=SystemClock(),
            environment=ENVIRONMENT if variables is None else variables,
            limits=limits or Limits(),
            bases=bases,
        )
        self.running.append(asyncio.get_running_loop().create_task(builder.run()))
        return builder

    def request(self, dockerfile, **more):
        marked = (
            dockerfile.replace("\n", f"\nLABEL {self.mark}\n", 1)
            if more.pop("mark", 1)
            else (dockerfile)
        )
        return BuildRequest(
            service=ServiceId("s" * 32),
            operation=OperationId("operation-1"),
            dockerfile=marked,
            tag=f"apprunner-emulator-test:{self.owner}",
            repository="/nowhere",
            tree="tree",
            **more,
        )

    async def build(self, dockerfile, builder=None, **more):
        return await (builder or self.builder()).build(
            self.request(dockerfile, **more), self.on_line
        )

    async def inspect(self, image):
        return await self.engine.get(f"/images/{image}/json")

    def steps(self):
        """Containers that were started for steps and shown."""
        return [line.split()[-1] for line in self.lines if "Running in" in line]

    async def has_container(self, container):
        try:
            await self.engine.get(f"/containers/{container}/json")
        except NotFoundError:
            return False
        return True

    async def containers(self):
        """All that are this owner's or in its network, but for sandboxes that wait for a build."""
        found = []
        for filters in (
            {"network": [network_name(self.owner)]},
            {"label": [f"{PREFIX}owner={self.owner}"]},
        ):
            params = {"all": True, "filters": filters}
            found += await self.engine.get("/containers/json", params)
        sandbox = Role.BUILD_SANDBOX.value
        return [each for each in found if each["Labels"].get(f"{PREFIX}role") != sandbox]

    async def sandboxes(self):
        """Those of builds."""
        filters = {"label": [f"{PREFIX}owner={self.owner}", f"{PREFIX}role=build-sandbox"]}
        return await self.engine.get("/containers/json", {"all": True, "filters": filters})

    async def rest(self):
        """End what removes things beside builds, as an emulator that stops does."""
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    async def images(self):
        """Also those of single steps."""
        params = {"all": True, "filters": {"label": [self.mark]}}
        return sorted(i["Id"] for i in await self.engine.get("/images/json", params))

    async def clean(self):
        """All that carries this owner's label, and what failed builds left."""
        await self.rest()
        for label in (f"{PREFIX}owner={self.owner}", self.mark):
            filters = {"label": [label]}
            for image in await self.engine.get("/images/json", {"filters": filters}):
                with suppress(EngineError):
                    await self.engine.delete(f"/images/{image['Id']}", {"force": True})
        for volume in await self.volumes():
            await self.engine.delete(f"/volumes/{volume['Name']}")
        with suppress(NotFoundError):
            await self.engine.delete(f"/networks/{network_name(self.owner)}")

    async def volumes(self):
        """Those of caches whose names end in this owner's."""
        filters = {"label": [f"{PREFIX}role=cache"], "name": [self.owner[:8]]}
        return (await self.engine.get("/volumes", {"filters": filters}))["Volumes"] or ()
