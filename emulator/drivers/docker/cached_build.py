"""Builds of our own Dockerfiles whose commands may use caches.

All but the commands, and the few files that those of a layered build read, is left to the engine's
builder: files come into an image, and from one stage into another, exactly as they always did. Why:
docs/adr/0006-caches-beside-images.md.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from emulator.decisions.build_environment import (
    BuildEnvironment,
    Prepared,
    command_variables,
    insert_prelude,
)
from emulator.decisions.build_inputs import Input, shorten
from emulator.decisions.build_stages import BuildStage, Run, count, take_apart
from emulator.drivers.docker.build_output import BuildOutput, OnLine, Part
from emulator.drivers.docker.build_run import Build, run_build
from emulator.drivers.docker.build_sandboxes import BuildSandboxes
from emulator.drivers.docker.build_watch import Running
from emulator.drivers.docker.caches import volume_name
from emulator.drivers.docker.concurrency import to_the_end
from emulator.drivers.docker.containers import remove_container
from emulator.drivers.docker.engine import Engine, NotFoundError
from emulator.drivers.docker.labels import SERVICE
from emulator.drivers.docker.layers import Layers, Named, Start, Workshop, is_plain
from emulator.model.build import Cache
from emulator.model.errors import BuildError, EngineError

Context = Callable[[Prepared, bool], AsyncGenerator[bytes, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedBuild:
    """What is built: `part_labels` are those of its parts, `labels` of the image and of containers.

    `context` makes one for a Dockerfile, with the source or without; `inputs` are files that are in
    it, by their paths.
    """

    dockerfile: str
    tag: str
    environment: BuildEnvironment
    network: str
    part_labels: Mapping[str, str]
    labels: Mapping[str, str]
    caches: tuple[Cache, ...]
    context: Context
    inputs: Mapping[str, Input]


class CachedBuilds:
    """One for all builds: whoever has an exclusive cache keeps others of the service from it."""

    def __init__(self, engine: Engine, sandboxes: BuildSandboxes) -> None:
        self.engine = engine
        self.sandboxes = sandboxes
        self.roots: dict[tuple[str, str], str] = {}  # by the text they are of, and the base's id
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._done: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> None:
        """Remove the containers of builds that are over, beside what comes next, until cancelled."""
        try:
            while True:
                await to_the_end(self._remove(await self._done.get()))
        finally:
            while not self._done.empty():
                await self._remove(self._done.get_nowait())

    async def _remove(self, container: str) -> None:
        with suppress(EngineError):  # the next sweep finds it
            await remove_container(self.engine, container)

    def remove_later(self, container: str) -> None:
        self._done.put_nowait(container)

    def locks(self, build: CachedBuild) -> list[asyncio.Lock]:
        """In an order that all keep to."""
        names = [volume_name(c, build.labels[SERVICE]) for c in build.caches if c.exclusive]
        return [self._locks[name] for name in sorted(names)]


class BuildUnderWay:
    """One build: `run` it, and ask what is `running` meanwhile."""

    def __init__(self, builds: CachedBuilds, build: CachedBuild, on_line: OnLine) -> None:
        self._builds = builds
        self._engine = builds.engine
        self._build = build
        self._on_line = on_line
        self._locks = builds.locks(build)
        self._stages = take_apart(build.dockerfile)
        self._steps = count(self._stages)
        self._layers = Layers(
            builds.engine,
            Workshop(
                variables=command_variables(build.environment),
                labels=build.labels,
                caches=build.caches,
            ),
            builds.sandboxes,
            builds.remove_later,
        )

    @property
    def running(self) -> Running:
        return self._layers.running

    async def run(self) -> str:
        """The id of the new image. Cancelled it leaves nothing, like `run_build`."""
        try:
            image = await self._run()
        except asyncio.CancelledError:
            await self._layers.undo()
            raise
        except BuildError:
            used = ", ".join(cache.name for cache in self._build.caches)
            self._on_line(f"Caches in use: {used}; `apprunner prune --caches` empties them.")
            raise
        self._on_line(f"Successfully built {image.removeprefix('sha256:')[:12]}")
        self._on_line(f"Successfully tagged {self._build.tag}")
        return image

    async def _run(self) -> str:
        name = Named(tag=self._build.tag, labels=self._build.labels)
        images: dict[str, str] = {}
        image, has_name = "", False
        for stage in self._stages:
            start = await self._start(stage, images)
            for layer in stage.layers:
                is_last = stage is self._stages[-1] and layer is stage.layers[-1]
                image, has_name = await self._layer(start, layer, name if is_last else None)
                start = Start(image)
            image = images[stage.name] = start.image
        return image if has_name else await self._layers.name(image, name)

    async def _start(self, stage: BuildStage, images: Mapping[str, str]) -> Start:
        """What a stage's commands begin with."""
        if stage.image in images:
            self._show(stage)
            return Start(images[stage.image])
        base = await self._engine.get(f"/images/{stage.image}/json")
        if not stage.layers or not is_plain(base["Config"]):
            return Start(await self._head(stage, images))
        shorter, files, line = shorten(stage, self._build.inputs)
        if not files:
            return Start(await self._head(stage, images))
        image = await self._root(shorter, base["Id"])
        self._on_line(f"Step {stage.number + stage.length - 1}/{self._steps} : {line}")
        return Start(image, files)

    async def _root(self, stage: BuildStage, base: str) -> str:
        """Of a head that has nothing of the source: mostly one of those that are known."""
        build = self._build
        text = insert_prelude(stage.head, build.environment, build.part_labels).text
        known = self._builds.roots.get((text, base))
        with suppress(NotFoundError):
            if known:
                await self._engine.get(f"/images/{known}/json")
                self._show(stage)
                self._on_line(" ---> Using cache")
                return known
        made = self._builds.roots[text, base] = await self._head(stage, {})
        return made

    def _show(self, stage: BuildStage) -> None:
        lines = (line for line in stage.head.split("\n") if line and not line.startswith("#"))
        for number, line in enumerate(lines, stage.number):
            self._on_line(f"Step {number}/{self._steps} : {line}")

    async def _head(self, stage: BuildStage, images: Mapping[str, str]) -> str:
        """By the engine's builder."""
        build, head = self._build, stage.head_on(images)
        texts = dict(zip(head.split("\n"), stage.head.split("\n"), strict=True))
        prepared = insert_prelude(head, build.environment, build.part_labels)
        output = BuildOutput(self._on_line, prepared, Part(stage.number, self._steps, texts))
        part = Build(
            dockerfile=prepared, arguments=build.environment.arguments, network=build.network
        )
        context = build.context(prepared, stage.copies_context)
        image = await run_build(self._engine, part, context, output)
        self._layers.made += output.outcome.made
        return image

    async def _layer(
        self, start: Start, runs: tuple[Run, ...], name: Named | None
    ) -> tuple[str, bool]:
        """What it makes, and whether that has the name by now."""
        for run in runs:
            self._on_line(f"Step {run.number}/{self._steps} : RUN {run.command}")
        async with AsyncExitStack() as stack:
            for lock in self._locks:
                await stack.enter_async_context(lock)
            if found := await self._layers.find(start, runs):
                self._on_line(" ---> Using cache")
                return found, False
            output = BuildOutput(self._on_line, Prepared(""))
            return await self._layers.make(start, runs, output, name), name is not None
