"""The registry's process: started with the emulator, started again if it ends, ended with it.

One that a killed emulator left is ended first: it tells of pushes to an address that is gone.
"""

import asyncio
import json
import logging
import os
import secrets
import signal
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from emulator.drivers.machine.computer import Computer
from emulator.drivers.machine.listeners import find_listener, is_taken
from emulator.drivers.machine.registry import (
    CONFIGURATION,
    HOST,
    PID,
    directory_of,
    find_process,
    find_program,
)
from emulator.drivers.process import ProcessError, run
from emulator.drivers.registry.storage import RegistryStorage
from emulator.model.errors import AddressInUseError, EngineError
from emulator.ports import Clock

PATIENCE = 15.0  # seconds until it answers; it takes some hundredths
PAUSE = 0.02
RESTART = 1.0
_COMPLAINT = 500  # characters
# It becomes the registry, under the number that is written down for who comes after a kill. It
# writes to a file: with a killed emulator's pipe it would die of its next word.
_LAUNCH = f'cd "$1" && shift && echo $$ >{PID} && exec "$@" >log 2>&1'
_logger = logging.getLogger(__name__)


class OwnRegistry(RegistryStorage):
    """ports.ImageRegistry, below a state directory; `port` 0 takes a free one, and the same again
    at the next start: services name it.
    """

    def __init__(
        self, state_dir: Path, port: int, environment: Mapping[str, str], clock: Clock
    ) -> None:
        self._state_dir = state_dir
        self._directory = directory_of(state_dir)
        super().__init__(self._directory / "storage")
        self._wanted = port
        self._clock = clock
        self._computer = Computer(environment=environment)
        self._problem = ""
        self.port = port

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    @asynccontextmanager
    async def serving(self, told: str) -> AsyncGenerator[None]:
        """It answers from the beginning to the end; pushes are told to the address `told`.

        Raises EngineError if it cannot be started, AddressInUseError.
        """
        program = await asyncio.to_thread(find_program, self._computer)
        if program is None:
            raise EngineError(
                "the registry ([ports] registry) needs the program docker-registry: run "
                "`apprunner doctor --fix`, or install it (Debian: apt-get install docker-registry)"
            )
        await asyncio.to_thread(self._directory.mkdir, mode=0o700, parents=True, exist_ok=True)
        await self._end_orphan()
        self.port = await self._free_port()
        await asyncio.to_thread(self._configure, told)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._keep_running(program))
            try:
                await self._until_it_answers()
                yield
            finally:
                task.cancel()

    async def _keep_running(self, program: str) -> None:
        launch = ("/bin/sh", "-c", _LAUNCH, "sh", str(self._directory))
        argv = (*launch, program, "serve", str(self._configuration))
        environment = {"PATH": self._computer.search_path, "OTEL_TRACES_EXPORTER": "none"}
        while True:
            try:
                done = await run(*argv, environment=environment)
                said = done.complaint or await asyncio.to_thread(self._last_words)
                self._problem = said or f"exit code {done.code}"
            except ProcessError as error:
                self._problem = str(error)
            _logger.warning("The registry ended and is started again: %s", self._problem)
            await self._clock.sleep(RESTART)

    async def _until_it_answers(self) -> None:
        end = self._clock.now() + PATIENCE
        while not await self._answers():
            if self._problem or self._clock.now() > end:
                why = self._problem or f"it did not answer within {PATIENCE:g} s"
                raise EngineError(f"the registry cannot be started: {why}")
            await self._clock.sleep(PAUSE)

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(HOST, self.port)
        except OSError:
            return False
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return True

    # -- its files -----------------------------------------------------------------------------

    @property
    def _configuration(self) -> Path:
        return self._directory / CONFIGURATION

    def _last_words(self) -> str:
        with suppress(OSError):
            return (self._directory / "log").read_text(errors="replace")[-_COMPLAINT:].strip()
        return ""

    def _configure(self, told: str) -> None:
        (self._directory / "port").write_text(str(self.port))
        endpoint = {
            "name": "emulator",
            "url": told,
            "timeout": "2s",
            "threshold": 5,
            "backoff": "1s",
            "ignore": {"actions": ["pull"]},
        }
        configuration = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self._directory / "storage")},
                "delete": {"enabled": True},
            },
            "http": {"addr": f"{HOST}:{self.port}", "secret": secrets.token_hex(16)},
            "notifications": {"endpoints": [endpoint]},
        }
        self._configuration.write_text(json.dumps(configuration, indent=1))  # YAML enough

    async def _free_port(self) -> int:
        """Raises AddressInUseError, EngineError."""
        if self._wanted == 0:
            with suppress(OSError):
                return await asyncio.to_thread(lambda: _bindable(self._last_port()))
        try:
            return await asyncio.to_thread(_bindable, self._wanted)
        except OSError as error:
            if not is_taken(error):
                raise EngineError(f"the registry cannot listen on {HOST}: {error}") from error
        holder = await find_listener(self._computer, self._wanted)
        raise AddressInUseError(
            f"port {self._wanted}, the registry's, is in use by {holder}: stop that, or choose "
            "another by --registry-port or [ports] registry (0: any free one)"
        )

    def _last_port(self) -> int:
        try:
            return int((self._directory / "port").read_text())
        except (OSError, ValueError):
            return 0

    async def _end_orphan(self) -> None:
        pid = await asyncio.to_thread(find_process, self._computer, self._state_dir)
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while await asyncio.to_thread(self._computer.lives, pid):
            await self._clock.sleep(PAUSE)


def _bindable(port: int) -> int:
    """The port, or a free one for 0."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        chosen: int = probe.getsockname()[1]
        return chosen
