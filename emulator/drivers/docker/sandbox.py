"""Sandboxes: a tiny container per instance that holds its network.

Most of the time that starting a container takes goes into its network. A sandbox is started
ahead, and the instance joins its network: a start then takes half as long, and the address is
known before anything runs. What runs in it is 130 bytes that only wait.
"""

import asyncio
import hashlib
import io
import secrets
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from emulator.drivers.docker.containers import create_container, remove_container
from emulator.drivers.docker.engine import Engine, Json, NotFoundError
from emulator.drivers.docker.host import Host, Hosts
from emulator.drivers.docker.labels import Role, labelled, labels
from emulator.drivers.docker.networks import create_network
from emulator.model.errors import EngineError
from emulator.model.identifiers import InstanceId, ServiceId
from emulator.model.instance import Endpoint

REPOSITORY: Final = "apprunner-emulator/sandbox"
_PROGRAM = "pause"
_LOAD_AT, _PAGE = 0x400000, 0x10000
_ELF_HEADER, _PROGRAM_HEADER = 64, 56
_EXECUTABLE, _LOADED, _READ_AND_RUN = 2, 1, 5
_CONFINED: Final[Mapping[str, Json]] = {
    "ReadonlyRootfs": True,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "PidsLimit": 8,
    "LogConfig": {"Type": "none"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """An ELF machine number, and code that waits for a signal again and again."""

    number: int
    code: bytes


MACHINES: Final[Mapping[str, Machine]] = {
    # mov eax, 34 (pause); syscall; jmp back
    "x86_64": Machine(number=62, code=bytes.fromhex("b822000000 0f05 ebf7")),
    # mov x8, 73 (ppoll); mov x0..x4, 0; svc 0; b back: there is no pause
    "aarch64": Machine(
        number=183,
        code=bytes.fromhex(
            "280980d2 000080d2 010080d2 020080d2 030080d2 040080d2 010000d4 f9ffff17"
        ),
    ),
}


def program(machine: Machine) -> bytes:
    """A static ELF executable of one segment."""
    start = _ELF_HEADER + _PROGRAM_HEADER
    size = start + len(machine.code)
    header = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64 bits, little endian, System V
    header += _numbers((_EXECUTABLE, 2), (machine.number, 2), (1, 4), (_LOAD_AT + start, 8))
    header += _numbers((_ELF_HEADER, 8), (0, 8), (0, 4), (_ELF_HEADER, 2))
    header += _numbers((_PROGRAM_HEADER, 2), (1, 2), (0, 2), (0, 2), (0, 2))
    segment = _numbers((_LOADED, 4), (_READ_AND_RUN, 4), (0, 8), (_LOAD_AT, 8), (_LOAD_AT, 8))
    segment += _numbers((size, 8), (size, 8), (_PAGE, 8))
    return header + segment + machine.code


def _numbers(*fields: tuple[int, int]) -> bytes:
    """(value, width in bytes) each."""
    return b"".join(value.to_bytes(width, "little") for value, width in fields)


def image_archive(architecture: str) -> bytes:
    """The image's only layer, the same bytes every time."""
    machine = MACHINES.get(architecture)
    if machine is None:
        known = ", ".join(MACHINES)
        raise EngineError(f"the engine runs on {architecture}; instances run on {known} only")
    content = program(machine)
    entry = tarfile.TarInfo(_PROGRAM)
    entry.size, entry.mode = len(content), 0o755
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def image_name(architecture: str) -> str:
    """By its content: another program is another image."""
    return f"{REPOSITORY}:{hashlib.sha256(image_archive(architecture)).hexdigest()[:12]}"


def endpoint_of(sandbox: Json, host: Host, port: int) -> Endpoint | None:
    """From the engine's list of containers; None while it does not run."""
    if not host.dials:
        published = (p.get("PublicPort") for p in sandbox["Ports"] if p["PrivatePort"] == port)
        found = next((p for p in published if p), None)
        return Endpoint(host=host.gateway, port=found) if found else None
    address = _network_of(sandbox).get("IPAddress")
    return Endpoint(host=address, port=port) if address else None


def attachment_of(sandbox: Json) -> str:
    """A name for this sandbox's network as it is now: another one after a restart."""
    return str(_network_of(sandbox).get("EndpointID", ""))


def _network_of(sandbox: Json) -> Json:
    networks = sandbox["NetworkSettings"]["Networks"]
    return next(iter(networks.values()), {})


async def create_sandbox(engine: Engine, host: Host, name: str, body: Json) -> str:
    """Its id; `body` says which network it holds. The image is made when it is missed."""
    image = image_name(host.architecture)
    body = {**body, "Image": image, "HostConfig": {**body["HostConfig"], **_CONFINED}}
    try:
        return await create_container(engine, name, body)
    except NotFoundError:
        await _import_image(engine, host)
        return await create_container(engine, name, body)


async def _import_image(engine: Engine, host: Host) -> None:
    repository, _, tag = image_name(host.architecture).partition(":")
    parameters = {
        "fromSrc": "-",
        "repo": repository,
        "tag": tag,
        "changes": f'ENTRYPOINT ["/{_PROGRAM}"]',
    }
    await engine.post("/images/create", parameters, data=image_archive(host.architecture))


class Sandboxes:
    """Makes those of instances; what they stand on (image, network) is made when it is missed."""

    def __init__(self, engine: Engine, owner: str, hosts: Hosts) -> None:
        self._engine = engine
        self._hosts = hosts
        self._owner = owner
        # One at a time: the engine does little of it in parallel, and it is not safe there. Its
        # check for duplicates is not atomic, and it was seen to count ends that no network had.
        self._networking = asyncio.Lock()

    async def create(self, name: str, instance: InstanceId, service: ServiceId, port: int) -> str:
        """The id of a new sandbox, not started."""
        host = await self._hosts.here()
        body = self._body(host, instance, service, port)
        body["HostConfig"]["NetworkMode"] = await self._network(service)
        return await create_sandbox(self._engine, host, name, body)

    async def start(self, sandbox: str) -> None:
        async with self._networking:
            await self._engine.post(f"/containers/{sandbox}/start")

    async def remove(self, sandbox: str) -> None:
        async with self._networking:
            await remove_container(self._engine, sandbox)

    def _body(self, host: Host, instance: InstanceId, service: ServiceId, port: int) -> Json:
        published = {} if host.dials else {f"{port}/tcp": [_binding(host)]}
        return {
            "Hostname": instance[:12],
            "Labels": labels(
                self._owner, Role.SANDBOX, service=service, instance=instance, port=port
            ),
            "ExposedPorts": {name: {} for name in published},
            "HostConfig": {
                "PortBindings": published,
                "ExtraHosts": ["host.docker.internal:host-gateway"],
            },
        }

    async def _network(self, service: ServiceId) -> str:
        """Looked up each time: somebody may have removed it."""
        filters = labelled(self._owner, Role.NETWORK, service=service)
        async with self._networking:
            for network in await self._engine.get("/networks", {"filters": filters}):
                return str(network["Name"])
            return await self._create_network(service)

    async def _create_network(self, service: ServiceId) -> str:
        """Its name is new each time: what a killed emulator asked for may still be on its way,
        and the engine refuses to join one of two networks with the same name.
        """
        mtu = (await self._hosts.here()).mtu
        name = f"apprunner-{service[:8]}-{secrets.token_hex(4)}"
        body = {
            "Name": name,
            "Driver": "bridge",
            "Options": {"com.docker.network.driver.mtu": str(mtu)} if mtu else {},
            "Labels": labels(self._owner, Role.NETWORK, service=service),
        }
        await create_network(self._engine, body)
        return name


def _binding(host: Host) -> Json:
    """Only a remote engine's port is open to others than this machine."""
    here = host.gateway == "127.0.0.1"
    return {"HostIp": "127.0.0.1" if here else "", "HostPort": "0"}
