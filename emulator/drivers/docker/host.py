"""How near the engine is: what may be done past it, through the kernel and the file system."""

import asyncio
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from emulator.drivers.docker.engine import Engine, Json

_ROUTES = Path("/proc/net/route")
_INTERFACES = Path("/sys/class/net")
_DEFAULT_ROUTE = "00000000"
_ROUTE_COLUMNS = 8  # interface, destination, …, mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """`shared`: its processes, control groups and files are this machine's.
    `dials`: its containers' addresses can be dialled from here.

    `processors` bounds what one container may be promised. `mtu` of the way out, None for
    Docker's default. `gateway` is what published ports are bound to and dialled at, `root` the
    engine's directory.
    """

    shared: bool
    dials: bool
    architecture: str
    processors: int
    init: bool
    mtu: int | None
    gateway: str = "127.0.0.1"
    root: str = ""


class Hosts:
    """Asks the engine when it is first needed, and once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._host: Host | None = None

    async def here(self) -> Host:
        if self._host is None:
            self._host = await find_host(self._engine)
        return self._host


async def find_host(engine: Engine) -> Host:
    """All of it follows from what the engine says about itself."""
    info = await engine.get("/info")
    shared = engine.connection.local and await asyncio.to_thread(_this_machine, info)
    return Host(
        shared=shared,
        dials=shared and not _rootless(info),
        architecture=info["Architecture"],
        processors=int(info["NCPU"]),
        init=bool(info.get("InitBinary")),
        mtu=await asyncio.to_thread(_default_mtu) if shared else None,
        gateway=engine.connection.hostname,
        root=info["DockerRootDir"],
    )


def _this_machine(info: Json) -> bool:
    """Not Docker Desktop's (on WSL it has the same kernel), nor seen from inside a container.

    Whoever shares the engine's files sees its directory, if not what is in there.
    """
    return (
        sys.platform == "linux"
        and info["KernelVersion"] == platform.release()
        and "Docker Desktop" not in info["OperatingSystem"]
        and Path(info["DockerRootDir"]).is_dir()
    )


def _rootless(info: Json) -> bool:
    """Its networks are in a namespace of their own."""
    return any("rootless" in option for option in info.get("SecurityOptions") or ())


def _default_mtu() -> int | None:
    """Of the interface that the default route leaves by; a bridge must not promise more."""
    try:
        routes = [line.split() for line in _ROUTES.read_text().splitlines()]
        leaving = [r[0] for r in routes if len(r) >= _ROUTE_COLUMNS and _is_default(r)]
        return int((_INTERFACES / leaving[0] / "mtu").read_text()) if leaving else None
    except (OSError, ValueError):
        return None


def _is_default(route: list[str]) -> bool:
    return route[1] == _DEFAULT_ROUTE == route[7]
