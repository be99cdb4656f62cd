"""This computer as the doctor sees it, in one value: a test brings another one."""

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from emulator.drivers.process import Finished, run
from emulator.model.configuration import NOTHING

SYSTEM_PROGRAMS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
DEFAULT_ROUTE = "00000000"
GONE = "ZX"  # the kernel's letters for zombies and the dead

Run = Callable[..., Awaitable[Finished]]


class Packages(StrEnum):
    """How programs are installed."""

    APT = "apt"
    DNF = "dnf"
    BREW = "brew"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Computer:
    """`root` is where /etc, /proc, /run and /sys are; `programs` are searched after the PATH.

    Methods that read files are for threads.
    """

    environment: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    root: Path = Path("/")
    system: str = sys.platform
    python: tuple[int, ...] = tuple(sys.version_info[:3])
    administrator: bool = field(default_factory=lambda: os.geteuid() == 0)
    programs: tuple[str, ...] = SYSTEM_PROGRAMS
    run: Run = run

    @property
    def search_path(self) -> str:
        """Where programs are: a user's PATH often lacks the system's."""
        parts = [*self.environment.get("PATH", "").split(os.pathsep), *self.programs]
        return os.pathsep.join(dict.fromkeys(part for part in parts if part))

    def find(self, program: str) -> str | None:
        return shutil.which(program, path=self.search_path)

    async def has(self, program: str) -> bool:
        return await asyncio.to_thread(self.find, program) is not None

    async def call(self, *argv: str, timeout: float | None = None, **changes: str) -> Finished:
        """Run a program in the user's environment; `changes` are further variables."""
        environment = {**self.environment, "PATH": self.search_path, **changes}
        return await self.run(*argv, environment=environment, timeout=timeout)

    def packages(self) -> Packages:
        if self.system == "darwin":
            return Packages.BREW
        families = {"debian": Packages.APT, "ubuntu": Packages.APT}
        families |= {"fedora": Packages.DNF, "rhel": Packages.DNF, "amzn": Packages.DNF}
        return next((families[name] for name in self._kin() if name in families), Packages.UNKNOWN)

    def _kin(self) -> list[str]:
        """The distribution's id and what it descends from."""
        lines = (self.read("etc/os-release") or "").splitlines()
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        named = f"{values.get('ID', '')} {values.get('ID_LIKE', '')}"
        return named.replace('"', " ").replace("'", " ").split()

    def has_systemd(self) -> bool:
        return (self.root / "run/systemd/system").is_dir()

    def runs(self, pid: int, name: str) -> bool:
        """Whether this process lives and is that program, not another one with its old number."""
        return self.lives(pid) and self._status(pid).get("Name") == name

    def lives(self, pid: int) -> bool:
        return self._status(pid).get("State", "Z")[0] not in GONE

    def _status(self, pid: int) -> dict[str, str]:
        lines = (self.read(f"proc/{pid}/status") or "").splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    def mtu(self) -> int | None:
        """Of the interface that the default route leaves by."""
        routes = [line.split() for line in (self.read("proc/net/route") or "").splitlines()]
        names = [route[0] for route in routes if route[1:2] == [DEFAULT_ROUTE]]
        text = self.read(f"sys/class/net/{names[0]}/mtu") if names else None
        return int(text) if text else None

    def read(self, path: str) -> str | None:
        """A small file of the system, None where it is not there or not ours to read."""
        try:
            return (self.root / path).read_text(errors="replace")
        except OSError:
            return None
