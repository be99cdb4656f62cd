"""Two ways to run the registry: its program on this machine, or its image in the engine.

The program comes first: Debian has it where no registry has the image. The image is for machines
whose packages have no such program, or whose engine is in a virtual machine.
"""

import asyncio
import os
import select
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from emulator.drivers.docker.containers import create_container, remove_container
from emulator.drivers.docker.engine import Engine
from emulator.drivers.docker.labels import Role, labelled, labels
from emulator.drivers.docker.pull import Images
from emulator.drivers.machine.computer import Computer
from emulator.drivers.machine.registry import (
    CONFIGURATION,
    HOST,
    PID,
    directory_of,
    find_process,
    find_program,
)
from emulator.drivers.process import ProcessError, run
from emulator.model.errors import EngineError

IMAGE: Final = "registry:2"
_KILL_SECONDS: Final = 10.0
_COMPLAINT: Final = 500  # characters
_PORT: Final = 5000
_INSIDE: Final = "/emulator"
# It becomes the registry, under the number that is written down for who comes after a kill. It
# writes to a file: with a killed emulator's pipe it would die of its next word.
_LAUNCH: Final = f'cd "$1" && shift && echo $$ >{PID} && exec "$@" >log 2>&1'


class Runner(Protocol):
    """`hears` is whether the registry can tell the emulator of pushes."""

    hears: bool

    async def available(self) -> bool: ...

    async def end_left(self) -> None:
        """End the one of an emulator that was killed: it tells of pushes where nobody listens."""
        ...

    def place(self, port: int) -> tuple[str, str]:
        """The directory of all its files, and where it listens, as it sees them itself."""
        ...

    async def run(self, port: int) -> str:
        """Until it ends; returns why. Cancelled, it is ended."""
        ...


class ProgramRunner:
    """In a process of its own."""

    hears = True

    def __init__(self, state_dir: Path, computer: Computer) -> None:
        self._state_dir = state_dir
        self._directory = directory_of(state_dir)
        self._computer = computer

    async def available(self) -> bool:
        return await asyncio.to_thread(find_program, self._computer) is not None

    async def end_left(self) -> None:
        pid = await asyncio.to_thread(find_process, self._computer, self._state_dir)
        if pid is not None:
            await asyncio.to_thread(_kill, pid)

    def place(self, port: int) -> tuple[str, str]:
        return str(self._directory), f"{HOST}:{port}"

    async def run(self, port: int) -> str:  # noqa: ARG002 - its configuration has it
        program = await asyncio.to_thread(find_program, self._computer) or ""
        launch = ("/bin/sh", "-c", _LAUNCH, "sh", str(self._directory))
        argv = (*launch, program, "serve", str(self._directory / CONFIGURATION))
        environment = {"PATH": self._computer.search_path, "OTEL_TRACES_EXPORTER": "none"}
        try:
            done = await run(*argv, environment=environment)
        except ProcessError as error:
            return str(error)
        said = done.complaint or await asyncio.to_thread(self._last_words)
        return said or f"exit code {done.code}"

    def _last_words(self) -> str:
        with suppress(OSError):
            return (self._directory / "log").read_text(errors="replace")[-_COMPLAINT:].strip()
        return ""


def _kill(pid: int) -> None:
    """Returns when its last thread has let go of the port: /proc calls it dead with the first."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], _KILL_SECONDS)
        finally:
            os.close(descriptor)


class ContainerRunner:
    """In a container that publishes its port on the engine's loopback. From in there the emulator
    cannot be reached: pushes are found by looking.
    """

    hears = False

    def __init__(
        self, state_dir: Path, engine: Engine, owner: str, images: Images, *, image: str = IMAGE
    ) -> None:
        self._directory = directory_of(state_dir)
        self._engine = engine
        self._owner = owner
        self._images = images
        self._image = image

    async def available(self) -> bool:
        try:
            await self._images.pull(self._image, lambda _: None)
        except EngineError:
            return False
        return True

    async def end_left(self) -> None:
        filters = labelled(self._owner, Role.REGISTRY)
        found = await self._engine.get("/containers/json", {"all": True, "filters": filters})
        for container in found:
            await remove_container(self._engine, container["Id"])

    def place(self, port: int) -> tuple[str, str]:  # noqa: ARG002 - that is the one outside
        return _INSIDE, f":{_PORT}"

    async def run(self, port: int) -> str:
        try:
            container = await create_container(self._engine, None, self._body(port))
            try:
                await self._engine.post(f"/containers/{container}/start")
                ended = await self._engine.post(f"/containers/{container}/wait", timeout=None)
            finally:
                await remove_container(self._engine, container)
        except EngineError as error:
            return str(error)
        return f"exit code {ended['StatusCode']}"

    def _body(self, port: int) -> dict[str, object]:
        """As this user: the emulator deletes what it wrote."""
        return {
            "Image": self._image,
            "Entrypoint": ["registry"],
            "Cmd": ["serve", f"{_INSIDE}/{CONFIGURATION}"],
            "Env": ["OTEL_TRACES_EXPORTER=none"],
            "User": f"{os.getuid()}:{os.getgid()}",
            "Labels": labels(self._owner, Role.REGISTRY),
            "ExposedPorts": {f"{_PORT}/tcp": {}},
            "HostConfig": {
                "Binds": [f"{self._directory}:{_INSIDE}:Z"],
                "PortBindings": {f"{_PORT}/tcp": [{"HostIp": HOST, "HostPort": str(port)}]},
            },
        }
