"""The installation of programs by apt, as root on Debian and Ubuntu, and only of what is missing."""

import asyncio
from collections.abc import Mapping, Sequence

from emulator.drivers.machine.computer import Computer, Packages
from emulator.drivers.process import ProcessError

# Debian's packages that would start a service of their own: without its files it has none.
SERVICES: Mapping[str, tuple[str, ...]] = {
    "docker-registry": (
        "/etc/init.d/docker-registry",
        "/lib/systemd/system/docker-registry.service",
        "/usr/lib/systemd/system/docker-registry.service",
    )
}
CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
PACKAGES: Mapping[str, str] = {  # program -> package
    "dockerd": "docker.io",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
}
PATIENCE = 900.0  # seconds; a slow mirror is still better than none
_LOCK = "DPkg::Lock::Timeout=120"  # another apt may be at work


class InstallError(Exception):
    """What apt said at the end."""


async def may_install(computer: Computer) -> bool:
    packages = await asyncio.to_thread(computer.packages)
    return computer.administrator and packages is Packages.APT


async def missing_packages(computer: Computer) -> list[str]:
    """Of all that the emulator uses."""
    missing = [package for name, package in PACKAGES.items() if not await computer.has(name)]
    if await asyncio.to_thread(computer.read, CA_BUNDLE) is None:
        missing.append("ca-certificates")
    return missing


async def install(computer: Computer, packages: Sequence[str]) -> None:
    """With fresh package lists only where the ones at hand do not do. Raises InstallError."""
    left_out = [path for package in packages for path in SERVICES.get(package, ())]
    options = [f"-oDpkg::Options::=--path-exclude={path}" for path in left_out]
    command = ("install", "-y", "--no-install-recommends", *options, *packages)
    if await _apt(computer, *command):
        await _apt(computer, "update")
        if problem := await _apt(computer, *command):
            raise InstallError(f"apt-get install {' '.join(packages)} failed: {problem}")


async def _apt(computer: Computer, *arguments: str) -> str:
    """The end of what it complained about, empty if it succeeded."""
    command = ("apt-get", "-q", "-o", _LOCK, *arguments)
    try:
        done = await computer.call(*command, timeout=PATIENCE, DEBIAN_FRONTEND="noninteractive")
    except ProcessError as error:
        return str(error)
    return "" if done.code == 0 else done.complaint[-2000:] or f"exit code {done.code}"
