"""One build on the engine's classic builder, which every engine has and which names its steps."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from emulator.decisions.build_environment import Prepared
from emulator.drivers.docker.build_context import DOCKERFILE, close
from emulator.drivers.docker.build_output import BuildOutput
from emulator.drivers.docker.engine import ConflictError, Engine, NotFoundError
from emulator.model.configuration import NOTHING
from emulator.model.errors import BuildError, EngineError

_CLEANING = 20.0  # seconds for the container of a step to come and to go away
_GLANCE = 0.05
_MISTAKE = "parse error"  # the engine refuses a Dockerfile as a bad request


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What is built: `arguments` are build arguments, `network` a network's name or id. One without a
    tag is a part of a build.
    """

    dockerfile: Prepared
    tag: str = ""
    arguments: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    network: str


async def run_build(
    engine: Engine, build: Build, context: AsyncGenerator[bytes, None], output: BuildOutput
) -> str:
    """The id of the new image. Cancelling it ends the build in the engine; no step is left, nor an
    image that it made: what failed is cached for the next try, of what was cancelled there is none.
    """
    try:
        error = await _ended(engine, build, context, output)
    except asyncio.CancelledError:
        await remove_images(engine, output.outcome.made)
        raise
    if isinstance(error, EngineError) and _MISTAKE in str(error).lower():
        raise output.failure(str(error)) from error
    if error is not None:
        raise error
    if output.outcome.error:
        raise output.failure(output.outcome.error)
    if not output.outcome.image:
        raise EngineError(f"the engine ended the build of {build.tag} without an image")
    return output.outcome.image


async def _ended(
    engine: Engine, build: Build, context: AsyncGenerator[bytes, None], output: BuildOutput
) -> Exception | None:
    try:
        return await _follow(engine, build, context, output)
    finally:
        output.end()
        await close(context)
        await _remove_steps(engine, output.outcome.containers)


async def _follow(
    engine: Engine, build: Build, context: AsyncGenerator[bytes, None], output: BuildOutput
) -> Exception | None:
    """Reads to the end, also when cancelled: who hangs up never learns of the step that the
    engine was just starting. Returns what went wrong on the way.
    """
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_read(engine, build, context, output))
        try:
            await asyncio.wait([reading])
        except asyncio.CancelledError:
            await _end_early(engine, reading, output)
            reading.cancel()
            raise
    return reading.result()


async def _read(
    engine: Engine, build: Build, context: AsyncGenerator[bytes, None], output: BuildOutput
) -> Exception | None:
    stream = engine.stream("POST", "/build", _parameters(build), data=context)
    try:
        async with aclosing(stream):
            async for message in stream:
                output.feed(message)
    except Exception as error:  # noqa: BLE001 - raised by who waits, without a group around it
        return error
    return None


async def _end_early(
    engine: Engine, reading: "asyncio.Task[Exception | None]", output: BuildOutput
) -> None:
    """A build whose step is killed ends by itself. One that has none yet may be hung up on."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLEANING):
            while output.outcome.began and not reading.done():
                await _remove_steps(engine, output.outcome.containers)
                await asyncio.wait([reading], timeout=_GLANCE)


def _parameters(build: Build) -> Mapping[str, object]:
    return {
        "dockerfile": DOCKERFILE,
        "t": build.tag or None,
        "rm": True,
        "forcerm": True,
        "networkmode": build.network,
        "buildargs": build.arguments,
    }


async def _remove_steps(engine: Engine, containers: tuple[str, ...]) -> None:
    """The engine removes a step's container itself, a moment after the connection has ended."""
    for container in containers:
        with suppress(EngineError, TimeoutError):
            async with asyncio.timeout(_CLEANING):
                await _remove(engine, container)


async def _remove(engine: Engine, container: str) -> None:
    with suppress(NotFoundError):
        with suppress(EngineError):  # being removed already
            await engine.delete(f"/containers/{container}", {"force": True, "v": True})
        await engine.post(f"/containers/{container}/wait", {"condition": "removed"})


async def remove_images(engine: Engine, images: Sequence[str]) -> None:
    """The last first, and only these: what another build has put on top of one needs it. A build
    may print what it likes; what has a name is not one of its steps, or is all of it.
    """
    with suppress(EngineError, TimeoutError):
        async with asyncio.timeout(_CLEANING):
            for image in reversed(images):
                with suppress(NotFoundError, ConflictError):
                    found = await engine.get(f"/images/{image}/json")
                    if not found["RepoTags"]:
                        await engine.delete(f"/images/{image}", {"noprune": True})


def shown(error: BuildError, prefix: str) -> BuildError:
    """The same error of a part of the build that its user did not write."""
    return BuildError(f"{prefix}: {error}", command=error.command, exit_code=error.exit_code)
