"""The registry's life: started with the emulator, started again if it ends, ended with it."""

import asyncio
import json
import logging
import secrets
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from emulator.drivers.machine.computer import Computer
from emulator.drivers.machine.listeners import find_listener, is_taken
from emulator.drivers.machine.registry import CONFIGURATION, HOST, directory_of
from emulator.drivers.registry.runners import IMAGE, Runner
from emulator.drivers.registry.storage import RegistryStorage
from emulator.model.errors import AddressInUseError, EngineError
from emulator.ports import Clock

PATIENCE = 15.0  # seconds until it answers; it takes some hundredths
PAUSE = 0.02
RESTART = 1.0
_logger = logging.getLogger(__name__)


class OwnRegistry(RegistryStorage):
    """ports.ImageRegistry, below a state directory; `port` 0 takes a free one, and the same again
    at the next start: services name it.
    """

    def __init__(
        self,
        state_dir: Path,
        port: int,
        runners: Sequence[Runner],
        computer: Computer,
        clock: Clock,
    ) -> None:
        """Of `runners` the first that is available runs it."""
        self._directory = directory_of(state_dir)
        super().__init__(self._directory / "storage")
        self._wanted = port
        self._runners = tuple(runners)
        self._clock = clock
        self._computer = computer
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
        runner = await self._chosen()
        await asyncio.to_thread(self._directory.mkdir, mode=0o700, parents=True, exist_ok=True)
        for each in self._runners:
            await each.end_left()
        self.port = await self._free_port()
        await asyncio.to_thread(self._configure, runner, told if runner.hears else "")
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._keep_running(runner))
            try:
                await self._until_it_answers()
                yield
            finally:
                task.cancel()

    async def _chosen(self) -> Runner:
        for runner in self._runners:
            if await runner.available():
                return runner
        raise EngineError(
            "the registry ([ports] registry) needs the program docker-registry (run `apprunner "
            "doctor --fix`, or install it; Debian: apt-get install docker-registry) or the image "
            f"{IMAGE} (`docker pull {IMAGE}`, or `docker load`)"
        )

    async def _keep_running(self, runner: Runner) -> None:
        while True:
            self._problem = await runner.run(self.port)
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

    def _configure(self, runner: Runner, told: str) -> None:
        (self._directory / "port").write_text(str(self.port))
        (self._directory / "storage").mkdir(exist_ok=True)
        directory, listening = runner.place(self.port)
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
                "filesystem": {"rootdirectory": f"{directory}/storage"},
                "delete": {"enabled": True},
            },
            "http": {"addr": listening, "secret": secrets.token_hex(16)},
            "notifications": {"endpoints": [endpoint] if told else []},
        }
        text = json.dumps(configuration, indent=1)  # YAML enough
        (self._directory / CONFIGURATION).write_text(text)

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


def _bindable(port: int) -> int:
    """The port, or a free one for 0."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        chosen: int = probe.getsockname()[1]
        return chosen
