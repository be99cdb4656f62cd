"""The examination as a whole, and the treatment of what can be mended."""

import asyncio
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

from emulator.drivers.docker.engine import Engine
from emulator.drivers.lock import Holder, holder
from emulator.drivers.machine import checks, engine as docker
from emulator.drivers.machine.computer import Computer
from emulator.drivers.machine.daemon import Daemon, DaemonError, Say
from emulator.drivers.machine.finding import Finding
from emulator.drivers.machine.programs import (
    InstallError,
    install,
    may_install,
    missing_packages,
)
from emulator.drivers.machine.registry import HOST, find_process
from emulator.drivers.process import ProcessError
from emulator.model.errors import EngineError
from emulator.model.settings import Settings
from emulator.ports import Clock

PUBLIC_IMAGE = "/distribution/library/debian:bookworm-slim/json"
REGISTRY_SECONDS = 15.0
SYSTEMD_SECONDS = 120.0


class Machine:
    """`owner` is the state directory's id, empty where it has none yet.

    Both methods may be called again and again. `fix` says in one line each what it does and
    returns what is found afterwards; it never touches an engine that answers.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        owner: str = "",
        computer: Computer | None = None,
        daemon: Daemon | None = None,
        resolve: checks.Resolve = checks.resolves,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._owner = owner
        self._computer = computer or Computer(environment=settings.environment)
        self._daemon = daemon or Daemon()
        self._resolve = resolve

    async def inspect(self) -> tuple[Finding, ...]:
        """What there is and what is missing, the necessary first."""
        state_dir = Path(self._settings.state_dir)
        answer = await docker.ask(self._computer)
        found = [
            checks.check_python(self._computer),
            await checks.check_git(self._computer),
            await docker.check_engine(self._computer, self._daemon, answer),
            await docker.check_engine_disk(self._computer, answer),
            await checks.check_disk("disk of the state directory", state_dir),
            await checks.check_mmdebstrap(self._computer),
            await checks.check_registry(self._computer) if self._wants_registry else None,
            *await self._check_ports(),
            await checks.check_localhost(self._resolve),
            await checks.check_trust(self._computer, state_dir / "ca" / "ca.pem"),
            docker.check_leftovers(answer, self._owner),
        ]
        return tuple(_tidy(finding) for finding in found if finding is not None)

    async def fix(self, say: Say) -> tuple[Finding, ...]:
        """Mend what can be mended, then look again."""
        broken = {each.check: each for each in await self.inspect() if not each.ok}
        try:
            if docker.CHECK in broken:
                if broken[docker.CHECK].fixable:
                    await self._mend_engine(say)
            elif "mmdebstrap" in broken and broken["mmdebstrap"].fixable:
                await self._mend_mmdebstrap(say)
            if checks.REGISTRY in broken and broken[checks.REGISTRY].fixable:
                say("Installing docker-registry, without a service of its own.")
                await install(self._computer, [checks.REGISTRY])
        except (InstallError, DaemonError) as error:
            say(str(error))
        return await self.inspect()

    @property
    def _wants_registry(self) -> bool:
        return self._settings.addresses.registry_port is not None

    async def _check_ports(self) -> list[Finding]:
        own = await asyncio.to_thread(holder, Path(self._settings.state_dir))
        host = self._settings.addresses.host
        found = []
        for name, port in self._ports():
            if name == "registry_port":
                own, host = await self._holder_of_registry(), HOST
            found.append(await checks.check_port(self._computer, host, name, port, own))
        return found

    async def _holder_of_registry(self) -> Holder | None:
        """Its process is another one than the emulator."""
        state_dir = Path(self._settings.state_dir)
        pid = await asyncio.to_thread(find_process, self._computer, state_dir)
        return Holder(pid=pid) if pid else None

    def _ports(self) -> Iterator[tuple[str, int]]:
        """Those that are fixed."""
        addresses = self._settings.addresses
        for field in fields(addresses):
            port = getattr(addresses, field.name)
            if isinstance(port, int) and port > 0:
                yield field.name, port

    async def _mend_engine(self, say: Say) -> None:
        if not await self._computer.has("dockerd"):
            packages = await missing_packages(self._computer)
            say(f"Installing {', '.join(packages)}.")
            await install(self._computer, packages)
        if await asyncio.to_thread(self._computer.has_systemd):
            await self._start_by_systemd(say)
        else:
            await self._daemon.start(self._computer, self._clock, say)
        say("The Docker engine answers.")

    async def _start_by_systemd(self, say: Say) -> None:
        say("Starting Docker by systemctl.")
        try:
            done = await self._computer.call(
                "systemctl", "start", "docker", timeout=SYSTEMD_SECONDS
            )
        except ProcessError as error:
            raise DaemonError(str(error)) from error
        if done.code:
            raise DaemonError(f"{done.complaint}\nSee: journalctl -u docker -n 30")

    async def _mend_mmdebstrap(self, say: Say) -> None:
        """Where a registry answers nobody needs it."""
        if await may_install(self._computer) and not await self._registry_answers():
            say("No registry answers; installing mmdebstrap to make base images.")
            await install(self._computer, ["mmdebstrap"])

    async def _registry_answers(self) -> bool:
        """As the engine sees it: by its mirrors and its proxy."""
        try:
            client = await Engine.connect(self._computer.environment)
            async with client:
                await client.get(PUBLIC_IMAGE, timeout=REGISTRY_SECONDS)
        except EngineError:
            return False
        return True


def _tidy(finding: Finding) -> Finding:
    """What is well needs no remedy."""
    return replace(finding, remedy="", fixable=False) if finding.ok else finding
