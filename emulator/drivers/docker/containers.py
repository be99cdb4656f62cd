"""An instance's own container: what it is given, and what is kept from it."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from emulator.drivers.docker.engine import ConflictError, Engine, Json, NotFoundError
from emulator.drivers.docker.gates import INSIDE, waiting
from emulator.drivers.docker.host import Host
from emulator.drivers.docker.labels import Role, labels
from emulator.drivers.docker.trees import MOUNT
from emulator.model.identifiers import InstanceId, ServiceId
from emulator.model.revision import Revision

# Docker's defaults without raw sockets, devices, the audit log and file capabilities.
CAPABILITIES: Final = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)
_CPU: Final = 1024  # units of one processor
_MEGABYTE: Final = 1024 * 1024
_LOG: Final = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}


def instance_labels(
    owner: str, instance: InstanceId, service: ServiceId, revision: Revision
) -> Mapping[str, str]:
    return labels(
        owner,
        Role.INSTANCE,
        service=service,
        instance=instance,
        deployment=revision.deployment,
        fingerprint=revision.fingerprint,
        port=revision.port,
    )


def instance_body(
    revision: Revision,
    *,
    host: Host,
    sandbox: str,
    mounted: str | None,
    pids: int,
    gate: str | None = None,
) -> Json:
    """For the engine; `mounted` is the directory that becomes /app, None for the image's own; `gate`
    is what it waits at before it runs its command.
    """
    size = revision.size
    binds = {mounted: MOUNT, gate: INSIDE}
    body: dict[str, Json] = {
        "Image": revision.image,
        "Env": [f"{name}={value}" for name, value in _environment(revision).items()],
        "HostConfig": {
            "NetworkMode": f"container:{sandbox}",
            "Binds": [f"{here}:{inside}:Z" for here, inside in binds.items() if here],
            "NanoCpus": min(size.cpu * 1_000_000_000 // _CPU, host.processors * 1_000_000_000),
            "Memory": size.memory * _MEGABYTE,
            "MemorySwap": size.memory * _MEGABYTE,
            "PidsLimit": pids,
            "CapDrop": ["ALL"],
            "CapAdd": list(CAPABILITIES),
            "SecurityOpt": ["no-new-privileges"],
            "Init": host.init,
            "LogConfig": _LOG,
        },
    }
    if revision.command is not None:
        command = list(revision.command)
        body |= {"Entrypoint": [], "Cmd": waiting(command) if gate else command}
    if revision.directory is not None:
        body["WorkingDir"] = revision.directory
    return body


def _environment(revision: Revision) -> Mapping[str, str]:
    return {"PORT": str(revision.port), **revision.env}


async def create_container(engine: Engine, name: str | None, body: Json) -> str:
    """Its id."""
    created = await engine.post("/containers/create", {"name": name}, json=body)
    return str(created["Id"])


async def remove_container(engine: Engine, container: str) -> None:
    """Returns when it is gone."""
    try:
        await engine.delete(f"/containers/{container}", {"force": True, "v": True})
    except NotFoundError:
        pass
    except ConflictError:  # somebody else is removing it
        with suppress(NotFoundError):
            await engine.post(f"/containers/{container}/wait", {"condition": "removed"})
