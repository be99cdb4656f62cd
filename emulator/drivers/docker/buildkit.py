"""Builds that need BuildKit go through `docker buildx`, where it is installed.

The engine's own API reaches BuildKit only over a protocol of gRPC sessions: not worth its code.
Its log comes at the end, and builds run in the engine's default network.
"""

from collections.abc import AsyncGenerator, Mapping

from emulator.drivers import process
from emulator.drivers.docker.build_context import DOCKERFILE
from emulator.drivers.docker.build_output import BuildOutput
from emulator.drivers.docker.build_run import Build
from emulator.drivers.docker.engine import Engine
from emulator.model.errors import BuildError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ASKING = 10.0


async def has_buildkit(variables: Mapping[str, str]) -> bool:
    try:
        asked = process.run(
            *("docker", "buildx", "version"), environment=_environment(variables), timeout=_ASKING
        )
        return (await asked).code == 0
    except process.ProcessError:
        return False


async def run_buildkit(
    engine: Engine,
    build: Build,
    context: AsyncGenerator[bytes, None],
    output: BuildOutput,
    variables: Mapping[str, str],
) -> None:
    """Raises BuildError. The image is found by its tag."""
    environment = {**build.arguments, **_environment(variables)}
    if engine.connection.origin == "default":
        environment["DOCKER_HOST"] = engine.connection.address
    done = await process.run(*_command(build), input=context, environment=environment)
    for text in (done.out, done.err):
        output.feed({"stream": text.decode(errors="replace")})
    output.end()
    if done.code:
        raise output.failure(_last_words(done.complaint))


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    engine = {name: text for name, text in variables.items() if name.startswith("DOCKER_")}
    home = {"HOME": variables["HOME"]} if variables.get("HOME") else {}
    return {"PATH": variables.get("PATH") or PATH, "DOCKER_BUILDKIT": "1", **home, **engine}


def _command(build: Build) -> list[str]:
    """Arguments by name only: their values are in the environment, not in the process list."""
    command = ["docker", "build", "--progress=plain", "--file", DOCKERFILE, "--tag", build.tag]
    for name in build.arguments:
        command += ["--build-arg", name]
    return [*command, "-"]


def _last_words(complaint: str) -> str:
    """The line that says ERROR, else the last."""
    lines = [line for line in complaint.splitlines() if line.strip()] or ["docker build failed"]
    return next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1])


def refusal(what: str) -> BuildError:
    return BuildError(
        f"The Dockerfile needs BuildKit ({what}), but `docker buildx` is not installed:"
        " install Docker's buildx plugin, or write that instruction without it."
    )
