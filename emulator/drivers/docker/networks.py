"""Networks, also where the engine has run out of addresses for them.

An engine makes about thirty networks from its default pools, whoever asks; an account may have
thirty services. So when it has none left, it is told which addresses to take: small ones, in a
corner of the private ranges that nothing on this machine leads to.
"""

import asyncio
import secrets
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from itertools import islice
from pathlib import Path
from typing import Final

from emulator.drivers.docker.engine import Engine, Json
from emulator.model.errors import EngineError

CORNER: Final = IPv4Network("10.212.0.0/14")
PREFIX: Final = 26  # bits: 62 addresses, more than a service has instances and standbys
TRIES: Final = 20  # others may take the same at the same time
SUBNETS: Final = 2 ** (PREFIX - CORNER.prefixlen)
ROUTES: Final = Path("/proc/net/route")
_DESTINATION, _MASK = 1, 7  # columns
_EXHAUSTED = "address pool"


async def create_network(engine: Engine, wanted: Json) -> str:
    """Its id. As the engine's API has it; addresses are found where the engine has none left."""
    try:
        made = await engine.post("/networks/create", json=wanted)
    except EngineError as error:
        if _EXHAUSTED not in str(error):
            raise
        return await _create_in_corner(engine, wanted, error)
    return str(made["Id"])


async def _create_in_corner(engine: Engine, wanted: Json, error: EngineError) -> str:
    taken = [*subnets_of(await engine.get("/networks")), *await asyncio.to_thread(routed)]
    for subnet in islice(free_subnets(taken, secrets.randbelow(SUBNETS)), TRIES):
        # Of a subnet that it was given the engine does not tell the gateway that it chooses.
        addresses = {"Subnet": str(subnet), "Gateway": str(subnet[1])}
        addressed = {**wanted, "IPAM": {"Config": [addresses]}}
        try:
            made = await engine.post("/networks/create", json=addressed)
        except EngineError as again:
            error = again
        else:
            return str(made["Id"])
    hint = "remove networks that nobody uses (`docker network prune`) or delete a service"
    raise EngineError(f"{error}: {hint}") from error


def free_subnets(taken: Iterable[IPv4Network], start: int) -> Iterator[IPv4Network]:
    """Those of the corner that overlap none of `taken`, from the `start`-th on and around."""
    others = [network for network in taken if network.overlaps(CORNER)]
    size = 2 ** (32 - PREFIX)
    for number in range(start, start + SUBNETS):
        address = int(CORNER.network_address) + number % SUBNETS * size
        subnet = IPv4Network((address, PREFIX))
        if not any(subnet.overlaps(other) for other in others):
            yield subnet


def subnets_of(networks: Iterable[Json]) -> Iterator[IPv4Network]:
    """What the engine's networks have, as it lists them."""
    for network in networks:
        for configuration in (network.get("IPAM") or {}).get("Config") or []:
            subnet = configuration.get("Subnet", "")
            if subnet and ":" not in subnet:
                yield IPv4Network(subnet, strict=False)


def routed(table: Path = ROUTES) -> tuple[IPv4Network, ...]:
    """Where this machine's routes lead, but for the default one; nothing where there is no such
    table. It reads a file.
    """
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return ()
    found = (_route(line.split()) for line in lines if line.strip())
    return tuple(network for network in found if network.prefixlen)


def _route(columns: list[str]) -> IPv4Network:
    """The kernel writes addresses as hexadecimal numbers of the machine's byte order."""
    address, mask = (
        int.from_bytes(bytes.fromhex(columns[column]), "little") for column in (_DESTINATION, _MASK)
    )
    return IPv4Network((address, mask.bit_count()), strict=False)
