"""The load balancer alone, as the emulator composes it, over an upstream that is there already.

Its access log is on, in DIRECTORY, as it is by default; so is its flush once a second.

python -m bench.balancing.ours UPSTREAM_PORT DIRECTORY      prints its plain and its TLS port
"""

import asyncio
import gc
import sys
from pathlib import Path

import uvloop

from emulator.controllers.balancer import Balancer, Target
from emulator.controllers.router import Router
from emulator.drivers.access_log_file import AccessLogFile
from emulator.drivers.certificates import Certificates
from emulator.drivers.clock import SystemClock
from emulator.drivers.tuning import suit_connections
from emulator.model.identifiers import InstanceId, ServiceId
from emulator.model.instance import Endpoint
from emulator.model.settings import Addresses, LoadBalancer
from emulator.surfaces.proxy.access_log import AccessLog
from emulator.surfaces.proxy.listener import Proxy

SERVICE = ServiceId("0" * 32)


async def main(upstream: int, directory: Path) -> None:
    suit_connections()
    clock = SystemClock()
    balancer = Balancer(
        clock,
        max_concurrency=200,
        queue_limit=1000,
        queue_wait=30.0,
        wake=lambda: None,
        thaw=_nothing,
        activity=lambda _instance, _active: None,
    )
    balancer.route(
        [Target(instance=InstanceId("1" * 32), endpoint=Endpoint(host="127.0.0.1", port=upstream))]
    )
    router = Router()
    router.add(SERVICE, ["bench.localhost", "localhost", "127.0.0.1"], balancer)
    certificates = Certificates(directory, clock)
    await certificates.load()
    addresses = Addresses(https_port=0, http_port=0)
    file = AccessLogFile(directory / "access.log", limit=LoadBalancer().access_log_bytes)
    log = AccessLog(write=file.write, name_of=lambda _: "bench")
    async with Proxy(router, certificates, addresses, clock, log=log) as proxy:
        door = await proxy.doors.open(SERVICE, 0)
        gc.collect()
        gc.freeze()
        print(door, proxy.https_port, flush=True)
        await asyncio.Event().wait()


async def _nothing(_instance: InstanceId) -> None:
    return None


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2])))
