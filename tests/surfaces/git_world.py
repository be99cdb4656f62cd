"""An emulator that git pushes to: the real git and the real server, over a machine in memory."""

import asyncio
import os
import signal
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from emulator.drivers.clock import SystemClock
from emulator.drivers.git import GitRepositories
from emulator.drivers.git_remote import GitRemotes
from emulator.drivers.watch import Watcher
from emulator.surfaces.api.server import Api
from tests.fakes.emulators import Emulator, Machine
from tests.helpers import GIT, GIT_ENVIRONMENT, GitRepository

FILES = {"requirements.txt": "flask\n", "app.py": "print(1)\n"}
PAUSE = 0.05  # seconds that a fake build takes


@dataclass
class Pushed:
    """How a push ended, and what the pusher saw."""

    code: int
    seen: str

    @property
    def remote(self) -> list[str]:
        """What the emulator and its git said."""
        lines = [line for line in self.seen.splitlines() if line.startswith("remote: ")]
        return [line.removeprefix("remote: ").rstrip() for line in lines]


class GitWorld:
    """`base` is the server's address, `root` where the repositories are."""

    def __init__(self, emulator: Emulator, remotes: GitRemotes, base: str, root) -> None:
        self.emulator = emulator
        self.machine = emulator.machine
        self.remotes = remotes
        self.base = base
        self.root = root

    def url(self, name: str = "hello") -> str:
        return f"{self.base}/_emulator/git/{name}.git"

    async def push(self, repository, *arguments: str, name: str = "hello", options=()) -> Pushed:
        references = arguments or ("main",)
        return await self.git(repository, *options, "push", self.url(name), *references)

    async def git(self, repository: GitRepository, *arguments: str) -> Pushed:
        process = await self.start(repository, *arguments)
        out, err = await process.communicate()
        return Pushed(process.returncode, (out + err).decode())

    async def start(self, repository, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            GIT,
            *arguments,
            cwd=repository.path,
            env=GIT_ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    @staticmethod
    async def interrupt(process: asyncio.subprocess.Process) -> None:
        """As Ctrl-C does it: all that the terminal runs in front."""
        os.killpg(process.pid, signal.SIGINT)
        await process.communicate()

    def service(self, name: str = "hello"):
        return self.emulator.platform.ledger(name).service


@asynccontextmanager
async def git_world(root):
    """The port as the emulator opens it: compressed bodies stay so."""
    watcher = Watcher(SystemClock(), every=0.05, alone=0.05)
    machine = Machine()
    machine.builder.build_time = PAUSE
    machine.repository = GitRepositories(GIT_ENVIRONMENT, {}, watcher)
    remotes = GitRemotes(GIT_ENVIRONMENT, root)
    async with Emulator(machine) as emulator:
        api = Api(emulator.platform, status=dict, stop=lambda _: None, pushed=remotes)
        runner = web.AppRunner(
            api.application(), access_log=None, auto_decompress=False, shutdown_timeout=0.1
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0]
            world = GitWorld(emulator, remotes, f"http://{host}:{port}", root)
            world.stop_serving = runner.cleanup
            yield world
        finally:
            await runner.cleanup()
            await machine.repository.close()
