"""Builds of our own Dockerfiles whose commands may use caches.

All but the commands is left to the engine's builder: files come into an image, and from one stage
into another, exactly as they always did. Why: docs/adr/0006-caches-beside-images.md.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from emulator.decisions.build_environment import (
    BuildEnvironment,
    Prepared,
    command_variables,
    insert_prelude,
)
from emulator.decisions.build_stages import BuildStage, Run, count, take_apart
from emulator.drivers.docker.build_output import BuildOutput, OnLine, Part
from emulator.drivers.docker.build_run import Build, run_build
from emulator.drivers.docker.build_watch import Running
from emulator.drivers.docker.caches import volume_name
from emulator.drivers.docker.engine import Engine
from emulator.drivers.docker.labels import SERVICE
from emulator.drivers.docker.layers import Layers, Named, Workshop
from emulator.model.build import Cache
from emulator.model.errors import BuildError

Context = Callable[[Prepared, bool], AsyncGenerator[bytes, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedBuild:
    """What is built: `part_labels` are those of its parts, `labels` of the image and of containers.

    `context` makes one for a Dockerfile, with the source or without.
    """

    dockerfile: str
    tag: str
    environment: BuildEnvironment
    network: str
    part_labels: Mapping[str, str]
    labels: Mapping[str, str]
    caches: tuple[Cache, ...]
    context: Context


class CachedBuilds:
    """One for all builds: whoever has an exclusive cache keeps others of the service from it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def begin(self, build: CachedBuild, on_line: OnLine) -> "BuildUnderWay":
        names = [volume_name(c, build.labels[SERVICE]) for c in build.caches if c.exclusive]
        locks = [self._locks[name] for name in sorted(names)]
        return BuildUnderWay(self._engine, build, on_line, locks)


class BuildUnderWay:
    """One build: `run` it, and ask what is `running` meanwhile."""

    def __init__(
        self, engine: Engine, build: CachedBuild, on_line: OnLine, locks: list[asyncio.Lock]
    ) -> None:
        self._engine = engine
        self._build = build
        self._on_line = on_line
        self._locks = locks
        self._stages = take_apart(build.dockerfile)
        self._steps = count(self._stages)
        self._layers = Layers(
            engine,
            Workshop(
                network=build.network,
                variables=command_variables(build.environment),
                labels=build.labels,
                caches=build.caches,
            ),
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
            image = await self._start(stage, images)
            for layer in stage.layers:
                is_last = stage is self._stages[-1] and layer is stage.layers[-1]
                image, has_name = await self._layer(image, layer, name if is_last else None)
            images[stage.name] = image
        return image if has_name else await self._layers.name(image, name)

    async def _start(self, stage: BuildStage, images: Mapping[str, str]) -> str:
        """The image that a stage's commands begin with."""
        if stage.image in images:
            self._on_line(f"Step {stage.number}/{self._steps} : {stage.head.strip()}")
            return images[stage.image]
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
        self, image: str, runs: tuple[Run, ...], name: Named | None
    ) -> tuple[str, bool]:
        """What it makes, and whether that has the name by now."""
        for run in runs:
            self._on_line(f"Step {run.number}/{self._steps} : RUN {run.command}")
        async with AsyncExitStack() as stack:
            for lock in self._locks:
                await stack.enter_async_context(lock)
            if found := await self._layers.find(image, runs):
                self._on_line(" ---> Using cache")
                return found, False
            output = BuildOutput(self._on_line, Prepared(""))
            return await self._layers.make(image, runs, output, name), name is not None
