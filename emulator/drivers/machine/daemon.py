"""A dockerd started by ourselves, where no systemd does it: in containers, on WSL, in CI.

What an engine that was killed leaves behind keeps the next one from starting: dockerd refuses
while its old number belongs to any process, and waits in vain for a containerd that is another.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from emulator.drivers.docker.connect import connection_to
from emulator.drivers.docker.engine import Engine
from emulator.drivers.machine import advice
from emulator.drivers.machine.computer import Computer
from emulator.model.errors import EngineError
from emulator.ports import Clock

PATIENCE = 60.0  # seconds; a cold one on a slow disk takes ten
PAUSE = 0.1
USUAL_MTU = 1500
SHOWN = 12  # lines of the log
READ = 20_000  # bytes of it
# In a session of its own, away from our pipes: it shall survive us.
LAUNCH = 'log=$1; shift; setsid "$@" </dev/null >>"$log" 2>&1 & echo $!'

Say = Callable[[str], None]


class DaemonError(Exception):
    """It did not start; says why, as far as its log tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """Where dockerd keeps its things; `arguments` are added to its command.

    `command` must become dockerd, with the number it was started with.
    """

    socket: Path = Path("/var/run/docker.sock")
    pid_file: Path = Path("/var/run/docker.pid")
    containerd: Path = Path("/var/run/docker/containerd")
    log: Path = Path("/var/log/dockerd.log")
    command: tuple[str, ...] = ("dockerd",)
    arguments: tuple[str, ...] = ()
    patience: float = PATIENCE

    async def start(self, computer: Computer, clock: Clock, say: Say) -> None:
        """Until it answers. One that runs already is only waited for. Raises DaemonError."""
        pid = await asyncio.to_thread(self.running, computer)
        seen = await asyncio.to_thread(self._log_size)
        if pid is None:
            if removed := await asyncio.to_thread(self.remove_stale, computer):
                names = ", ".join(str(path) for path in removed)
                say(f"Removed what an engine that is gone left behind: {names}.")
            pid = await self._launch(computer)
            say(f"Started dockerd (pid {pid}), which logs to {self.log}.")
        await self._wait(computer, clock, pid, seen)

    def running(self, computer: Computer) -> int | None:
        """The dockerd that the pid file names, if it lives."""
        return _living(computer, self.pid_file, "dockerd")

    def remove_stale(self, computer: Computer) -> list[Path]:
        """Only with no dockerd running."""
        return [path for path in self._stale(computer) if _unlink(path)]

    async def answers(self) -> bool:
        engine = Engine(connection_to(f"unix://{self.socket}", origin="dockerd"))
        try:
            await engine.version()
        except EngineError:
            return False
        finally:
            await engine.close()
        return True

    def _stale(self, computer: Computer) -> Iterator[Path]:
        if self.running(computer) is None:
            yield self.pid_file
            yield self.socket
        pid_file = self.containerd / "containerd.pid"
        if _living(computer, pid_file, "containerd") is None:
            yield pid_file
            yield from self.containerd.glob("*.sock*")

    async def _launch(self, computer: Computer) -> int:
        mtu = await asyncio.to_thread(computer.mtu)
        options = [f"--mtu={mtu}"] if mtu is not None and mtu < USUAL_MTU else []
        command = [*self.command, *options, *self.arguments]
        launched = await computer.call("/bin/sh", "-c", LAUNCH, "sh", str(self.log), *command)
        if launched.code:
            raise DaemonError(f"dockerd cannot be started: {launched.complaint}")
        return int(launched.out)

    async def _wait(self, computer: Computer, clock: Clock, pid: int, seen: int) -> None:
        deadline = clock.now() + self.patience
        while not await self.answers():
            if not await asyncio.to_thread(self._is_alive, computer, pid):
                raise DaemonError(await self._explain("dockerd ended", seen))
            if clock.now() >= deadline:
                problem = f"dockerd (pid {pid}) does not answer after {self.patience:g} s"
                raise DaemonError(await self._explain(problem, seen))
            await clock.sleep(PAUSE)

    def _is_alive(self, computer: Computer, pid: int) -> bool:
        """Ours, or one that somebody else started meanwhile."""
        return computer.lives(pid) or self.running(computer) is not None

    async def _explain(self, problem: str, seen: int) -> str:
        lines = await asyncio.to_thread(self._tail, seen)
        hint = advice.hint_for(lines)
        said = [f"{problem}; the end of {self.log}:", *(f"  {line}" for line in lines[-SHOWN:])]
        return "\n".join([*said, hint] if hint else said)

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _tail(self, seen: int) -> list[str]:
        """What was logged since then."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(seen, self._log_size() - READ))
                return file.read().decode(errors="replace").splitlines()
        except OSError:
            return []


def _living(computer: Computer, pid_file: Path, name: str) -> int | None:
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return None
    return pid if computer.runs(pid, name) else None


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except (FileNotFoundError, IsADirectoryError):
        return False
    return True
