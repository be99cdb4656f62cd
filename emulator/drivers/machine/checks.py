"""The single checks: each looks at one thing, never raises, and says what mends it."""

import asyncio
import re
import shutil
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from emulator.drivers.lock import Holder
from emulator.drivers.machine import advice
from emulator.drivers.machine.computer import Computer, Packages
from emulator.drivers.machine.finding import Finding
from emulator.drivers.machine.listeners import find_listener, is_taken, problem_with
from emulator.drivers.machine.programs import may_install
from emulator.drivers.machine.registry import find_program
from emulator.drivers.process import ProcessError

REGISTRY = "docker-registry"
OLDEST_PYTHON = (3, 11)
OLDEST_GIT = (2, 25)
ENOUGH_DISK = 2_000_000_000  # bytes; a base image, an application and its dependencies
GIT_SECONDS = 10.0
CA_BUNDLES = (
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/ca-bundle.pem",
)
_LOCALHOST_REMEDY = (
    "use the service's LocalUrl (http://127.0.0.1:<port>); curl and browsers resolve it anyway"
)

Resolve = Callable[[str], Awaitable[bool]]


def check_python(computer: Computer) -> Finding:
    version = ".".join(str(part) for part in computer.python)
    return Finding(
        check="Python",
        ok=computer.python[:2] >= OLDEST_PYTHON,
        detail=f"Python {version}",
        remedy="install Python 3.11 or newer, then run `make setup`",
    )


async def check_git(computer: Computer) -> Finding:
    remedy = "install git 2.25 or newer"
    try:
        said = (await computer.call("git", "--version", timeout=GIT_SECONDS)).out.decode().strip()
    except ProcessError as error:
        return Finding(check="git", ok=False, detail=str(error), remedy=remedy)
    match = re.search(r"(\d+)\.(\d+)", said)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    return Finding(check="git", ok=version >= OLDEST_GIT, detail=said, remedy=remedy)


async def check_disk(check: str, directory: Path) -> Finding:
    there, free = await asyncio.to_thread(_free_space, directory)
    return Finding(
        check=check,
        ok=free >= ENOUGH_DISK,
        detail=f"{free / 1e9:.1f} GB free in {there}",
        remedy="free at least 2 GB: apprunner prune --caches, docker system prune",
    )


def _free_space(directory: Path) -> tuple[Path, int]:
    """Of the nearest directory above that exists."""
    there = next(path for path in (directory, *directory.parents) if path.is_dir())
    return there, shutil.disk_usage(there).free


async def check_mmdebstrap(computer: Computer) -> Finding | None:
    """It makes base images where no registry answers; None where there is no such program."""
    if computer.system != "linux":
        return None
    packages = await asyncio.to_thread(computer.packages)
    found = await computer.has("mmdebstrap")
    return Finding(
        check="mmdebstrap",
        ok=found,
        detail="present" if found else "missing: without a registry no base image can be made",
        remedy=advice.INSTALL_MMDEBSTRAP.get(packages, "install mmdebstrap"),
        fixable=await may_install(computer),
        required=False,
    )


async def check_registry(computer: Computer) -> Finding:
    """Of whoever wants one ([ports] registry)."""
    found = await asyncio.to_thread(find_program, computer)
    packages = await asyncio.to_thread(computer.packages)
    return Finding(
        check=REGISTRY,
        ok=found is not None,
        detail=found
        or "missing: the registry ([ports] registry) needs it, or the image registry:2",
        remedy=advice.INSTALL_REGISTRY.get(
            packages, "install distribution's registry: https://distribution.github.io/distribution"
        ),
        fixable=await may_install(computer),
        required=False,
    )


async def check_port(
    computer: Computer, host: str, name: str, port: int, own: Holder | None
) -> Finding:
    """Free, or held by the emulator of this state directory."""
    problem = await asyncio.to_thread(problem_with, host, port)
    detail = "free"
    ok = problem is None
    if problem is not None and is_taken(problem):
        holder = await find_listener(computer, port)
        ok = own is not None and holder.pid in {0, own.pid}
        detail = "held by the running emulator" if ok else f"held by {holder}"
    elif problem is not None:
        detail = f"cannot be listened on at {host}: {problem.strerror}"
    return Finding(
        check=f"port {port}",
        ok=ok,
        detail=detail,
        remedy=f"stop it, or choose another port: APPRUNNER_{name.upper()}=0 takes a free one",
        required=False,
    )


async def check_localhost(resolve: Resolve) -> Finding:
    found = await resolve("doctor.localhost")
    return Finding(
        check="*.localhost",
        ok=found,
        detail="resolves" if found else "is not resolved by this system",
        remedy=_LOCALHOST_REMEDY,
        required=False,
    )


async def resolves(name: str) -> bool:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return bool(found)


async def check_trust(computer: Computer, authority: Path) -> Finding:
    trusted = await asyncio.to_thread(authority.is_file) and await _is_trusted(computer, authority)
    return Finding(
        check="local CA",
        ok=trusted,
        detail="trusted" if trusted else "not trusted: HTTPS clients will refuse the certificate",
        remedy=(
            f"name it to your client (curl --cacert {authority}), or give it to the system: "
            f"sudo cp {authority} /usr/local/share/ca-certificates/apprunner-emulator.crt && "
            "sudo update-ca-certificates"
        ),
        required=False,
    )


async def _is_trusted(computer: Computer, authority: Path) -> bool:
    if await asyncio.to_thread(computer.packages) is not Packages.BREW:
        return await asyncio.to_thread(_is_in_a_bundle, computer, authority)
    try:
        checked = await computer.call("security", "verify-cert", "-c", str(authority), timeout=10)
    except ProcessError:
        return False
    return checked.code == 0


def _is_in_a_bundle(computer: Computer, authority: Path) -> bool:
    certificate = "".join(authority.read_text().split())
    bundles = (computer.read(path) or "" for path in CA_BUNDLES)
    return any(certificate in "".join(bundle.split()) for bundle in bundles)
