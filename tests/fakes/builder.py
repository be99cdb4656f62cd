"""Images in memory; a build takes `build_time` seconds and leaves a helper while it runs, a pull
of what is in `registry` takes `pull_time` seconds.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from emulator.model.build import Base, BaseImage
from emulator.model.errors import BuildError, EngineError
from emulator.ports import BuildRequest, Clock
from tests.fakes.world import World
from tests.helpers import turn


class FakeBuilder:
    def __init__(self, world: World, clock: Clock) -> None:
        self.world = world
        self.clock = clock
        self.build_time = 3.0
        self.pull_time = 2.0
        self.registry: dict[str, str] = {}
        self.unreachable: set[str] = set()  # public images that can only be imitated
        self.failures: dict[str, BuildError] = {}
        self.made: list[BaseImage] = []  # the bases that had to be imitated
        self.built: list[BuildRequest] = []

    async def find(self, reference: str) -> str | None:
        await turn()
        return self.world.image(reference)

    async def pull(self, reference: str, on_line: Callable[[str], None]) -> str:
        image = await self.find(reference)
        if image is not None:
            return image
        if reference not in self.registry:
            raise EngineError(f"no such image: {reference}")
        await self.clock.sleep(self.pull_time)
        self.world.tag(reference, self.registry[reference])
        await self.clock.sleep(0.01)  # the engine tells everybody before it answers
        return self.registry[reference]

    async def changes(self) -> AsyncIterator[str | None]:
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.world.tagged.append(queue.put_nowait)
        try:
            while True:
                name = await queue.get()
                if name is None or not name.startswith("apprunner-emulator/"):
                    yield name
        finally:
            self.world.tagged.remove(queue.put_nowait)

    async def base(self, base: BaseImage, on_line: Callable[[str], None]) -> Base:
        await turn()
        if base.image in self.unreachable and not base.can_be_made:
            raise EngineError(f"{base.image} cannot be pulled")
        if base.image in self.unreachable:
            self.made.append(base)
            return Base(f"made/{base.image}", base.packages_version)
        return Base(base.image, base.image_version)

    async def build(self, request: BuildRequest, on_line: Callable[[str], None]) -> str:
        helper = f"build {request.operation}"
        self.world.helpers.add(helper)
        on_line("Step 1/1 : built")
        try:
            await self.clock.sleep(self.build_time)
        except asyncio.CancelledError:
            self.world.helpers.discard(helper)
            raise
        self.world.helpers.discard(helper)
        if request.tree in self.failures:
            raise self.failures[request.tree]
        self.built.append(request)
        self.world.tag(request.tag, f"sha256:{request.tag}")
        return self.world.images[request.tag]
