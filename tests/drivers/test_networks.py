"""Networks where the engine has no addresses left, and how addresses are found then."""

import asyncio
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis.strategies import integers, lists

from emulator.drivers.docker.build_network import ensure_network
from emulator.drivers.docker.connect import Connection
from emulator.drivers.docker.engine import Engine
from emulator.drivers.docker.networks import (
    CORNER,
    PREFIX,
    SUBNETS,
    create_network,
    free_subnets,
    routed,
    subnets_of,
)
from emulator.model.errors import EngineError
from tests.conftest import ENVIRONMENT

EXHAUSTED = EngineError("could not find an available, non-overlapping IPv4 address pool")


class FullEngine:
    """Knows networks; gives none from its own pools, and refuses what overlaps."""

    def __init__(self, *subnets: str) -> None:
        self.networks = [{"IPAM": {"Config": [{"Subnet": each}]}} for each in subnets]
        self.refusals = 0

    async def get(self, path):
        assert path == "/networks"
        return self.networks

    async def post(self, path, json):
        assert path == "/networks/create"
        if "IPAM" not in json:
            raise EXHAUSTED
        if self.refusals:
            self.refusals -= 1
            raise EngineError("Pool overlaps with other one on this address space")
        self.networks.append(json)
        return {"Id": json["Name"]}


async def test_a_network_gets_addresses_that_no_other_has():
    engine = FullEngine("10.212.0.0/15")
    await create_network(engine, {"Name": "one"})
    await create_network(engine, {"Name": "two"})
    _, one, two = subnets_of(engine.networks)
    assert one.subnet_of(IPv4Network("10.214.0.0/15"))
    assert not one.overlaps(two)


async def test_somebody_who_was_faster_only_costs_another_try():
    engine = FullEngine()
    engine.refusals = 3
    await create_network(engine, {"Name": "one"})
    assert len(engine.networks) == 1


class ForgetfulEngine:
    """Makes a second network of a name for whoever asked before the first was there."""

    connection = Connection(address="tcp://elsewhere:2375", local=False)

    def __init__(self) -> None:
        self.networks = []
        self.both_have_looked = asyncio.Barrier(2)

    async def get(self, path, parameters=None):
        if path == "/info":
            return {"Architecture": "x86_64", "NCPU": 2, "DockerRootDir": "/var/lib/docker"}
        assert path == "/networks"
        seen = list(self.networks)
        if not seen:
            await self.both_have_looked.wait()
        return [each for each in seen if parameters["filters"]["name"][0] in each["Name"]]

    async def post(self, path, json):
        assert path == "/networks/create"
        number = len(self.networks)
        self.networks.append({**json, "Id": f"n{9 - number}", "Created": f"2026-01-0{number + 1}"})
        return {"Id": self.networks[-1]["Id"]}

    async def delete(self, path):
        self.networks = [each for each in self.networks if f"/networks/{each['Id']}" != path]


async def test_builders_that_begin_at_once_share_one_network():
    engine = ForgetfulEngine()
    one, other = await asyncio.gather(ensure_network(engine, "me"), ensure_network(engine, "me"))
    assert one["Id"] == other["Id"] == engine.networks[0]["Id"]
    assert len(engine.networks) == 1


async def test_without_any_addresses_it_says_what_to_do():
    with pytest.raises(EngineError, match=r"address pool.*docker network prune"):
        await create_network(FullEngine(str(CORNER)), {"Name": "one"})


async def test_other_troubles_stay_as_they_are():
    class Broken(FullEngine):
        async def post(self, path, json):
            raise EngineError(f"no {path} of {json}")

    with pytest.raises(EngineError, match=r"no /networks/create of {'Name': 'one'}"):
        await create_network(Broken(), {"Name": "one"})


@given(lists(integers(0, SUBNETS - 1), max_size=20), integers(0, SUBNETS - 1))
def test_free_subnets_are_all_but_those_taken(numbers, start):
    everything = list(free_subnets((), 0))
    taken = {everything[number] for number in numbers}
    assert set(free_subnets(taken, start)) == set(everything) - taken


def test_the_subnets_fill_the_corner():
    everything = list(free_subnets((), 7))
    assert len(set(everything)) == SUBNETS
    assert all(each.prefixlen == PREFIX and each.subnet_of(CORNER) for each in everything)


def test_routes_are_read_as_the_kernel_writes_them(tmp_path):
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "tun0\t0000D40A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    )
    assert routed(table) == (IPv4Network("10.212.0.0/16"),)
    assert routed(tmp_path / "missing") == ()


@pytest.mark.docker
async def test_the_engine_takes_such_addresses():
    async with await Engine.connect(ENVIRONMENT) as engine:
        taken = list(subnets_of(await engine.get("/networks")))
        taken += await asyncio.to_thread(routed)
        subnet = next(free_subnets(taken, 5))
        name = "apprunner-test-addresses"
        body = {"Name": name, "IPAM": {"Config": [{"Subnet": str(subnet)}]}}
        await engine.post("/networks/create", json=body)
        try:
            assert subnet in list(subnets_of(await engine.get("/networks")))
        finally:
            await engine.delete(f"/networks/{name}")
