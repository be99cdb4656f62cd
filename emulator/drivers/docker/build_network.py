"""The network that builds run in: one per state directory, made on demand."""

from emulator.drivers.docker.engine import ConflictError, Engine, Json
from emulator.drivers.docker.host import find_host
from emulator.drivers.docker.labels import Role, labels
from emulator.drivers.docker.networks import create_network
from emulator.model.errors import EngineError


def network_name(owner: str) -> str:
    return f"apprunner-build-{owner[:12]}"


async def ensure_network(engine: Engine, owner: str) -> Json:
    """The network as the engine shows it. By its id: engines before 25 make two of one name for
    who asks for them at once, and know neither by it then. All take the first of them.
    """
    if (there := await _first(engine, owner)) is not None:
        return there
    made = await _create(engine, owner)
    first = await _first(engine, owner)
    if first is None:
        raise EngineError(f"the network {network_name(owner)} was removed as soon as it was made")
    if made not in {"", first["Id"]}:
        await engine.delete(f"/networks/{made}")
    return first


async def _first(engine: Engine, owner: str) -> Json | None:
    name = network_name(owner)
    found = await engine.get("/networks", {"filters": {"name": [name]}})  # a part of the name
    exact = (each for each in found if each["Name"] == name)
    return min(exact, key=lambda each: (each["Created"], each["Id"]), default=None)


async def _create(engine: Engine, owner: str) -> str:
    """Its id; "" if another build was faster."""
    mtu = (await find_host(engine)).mtu
    wanted = {
        "Name": network_name(owner),
        "Driver": "bridge",
        "CheckDuplicate": True,
        "Labels": labels(owner, Role.BUILD),
        "Options": {"com.docker.network.driver.mtu": str(mtu)} if mtu else {},
    }
    try:
        return await create_network(engine, wanted)
    except ConflictError:
        return ""


def gateway_of(network: Json) -> str:
    """The host's address as the network's containers see it; "" if the engine does not say."""
    configurations = (network.get("IPAM") or {}).get("Config") or []
    return next((each["Gateway"] for each in configurations if each.get("Gateway")), "")
