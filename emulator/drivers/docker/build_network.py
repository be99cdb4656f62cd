"""The network that builds run in: one per state directory, made on demand."""

from emulator.drivers.docker.engine import ConflictError, Engine, Json, NotFoundError
from emulator.drivers.docker.host import find_host
from emulator.drivers.docker.labels import Role, labels
from emulator.drivers.docker.networks import create_network


def network_name(owner: str) -> str:
    return f"apprunner-build-{owner[:12]}"


async def ensure_network(engine: Engine, owner: str) -> Json:
    """The network as the engine shows it."""
    name = network_name(owner)
    try:
        return await engine.get(f"/networks/{name}")
    except NotFoundError:
        await _create(engine, name, owner)
    return await engine.get(f"/networks/{name}")


async def _create(engine: Engine, name: str, owner: str) -> None:
    mtu = (await find_host(engine)).mtu
    wanted = {
        "Name": name,
        "Driver": "bridge",
        "CheckDuplicate": True,
        "Labels": labels(owner, Role.BUILD),
        "Options": {"com.docker.network.driver.mtu": str(mtu)} if mtu else {},
    }
    try:
        await create_network(engine, wanted)
    except ConflictError:
        return  # another build was faster


def gateway_of(network: Json) -> str:
    """The host's address as the network's containers see it; "" if the engine does not say."""
    configurations = (network.get("IPAM") or {}).get("Config") or []
    return next((each["Gateway"] for each in configurations if each.get("Gateway")), "")
