"""Images in memory; a build takes `build_time` seconds and leaves a helper while it runs."""

import asyncio
from collections.abc import Callable

from emulator.model.build import BaseImage
from emulator.model.errors import BuildError, EngineError
from emulator.ports import BuildRequest, Clock
from tests.fakes.world import World


class FakeBuilder:
    def __init__(self, world: World, clock: Clock) -> None:
        self.world = world
        self.clock = clock
        self.build_time = 3.0
        self.failures: dict[str, BuildError] = {}
        self.built: list[BuildRequest] = []

    async def find(self, reference: str) -> str | None:
        await asyncio.sleep(0)  # noqa: TID251 - not for time: a real call suspends its caller
        return self.world.images.get(reference)

    async def pull(self, reference: str, on_line: Callable[[str], None]) -> str:
        image = await self.find(reference)
        if image is None:
            raise EngineError(f"no such image: {reference}")
        return image

    async def base(self, base: BaseImage, on_line: Callable[[str], None]) -> str:
        await asyncio.sleep(0)  # noqa: TID251 - not for time: a real call suspends its caller
        return base.image

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
        self.world.images[request.tag] = f"sha256:{request.tag}"
        return self.world.images[request.tag]
