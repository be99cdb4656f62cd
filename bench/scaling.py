"""Autoscaling and metering without Docker: how much of a core they take."""

import asyncio
import tempfile
import time
from pathlib import Path

from emulator.controllers.meter import Meter
from emulator.decisions import reconcile, scaling
from emulator.drivers.clock import SteeredClock, SystemClock
from emulator.drivers.store.database import Database
from emulator.model.configuration import AutoScaling, ImageSource, ServiceConfiguration
from emulator.model.identifiers import Epoch, InstanceId, RevisionId, ServiceId
from emulator.model.instance import ContainerState, Health, Instance, ObservedInstance
from emulator.model.revision import Revision
from emulator.model.service import Service, ServiceStatus

SERVICES, INSTANCES = 1000, 25
METERED = 500
SECONDS = 10
RULES = AutoScaling(max_concurrency=100, min_size=1, max_size=25)


def decisions() -> tuple[float, float]:
    """Seconds for the sizes of all services, and for the whole plans of all."""
    idle = [[float(n + i) for i in range(INSTANCES)] for n in range(SERVICES)]
    needed = tuple((n, Epoch(1030.0 - n)) for n in range(INSTANCES, 0, -1))
    memories = [scaling.Memory(size=INSTANCES, since=Epoch(0.0), needed=needed)] * SERVICES
    began = time.perf_counter()
    for since, memory in zip(idle, memories, strict=True):
        load = scaling.Load(
            demand=2300, idle_since=Epoch(max(since)), needed={23: Epoch(1029.0), 20: Epoch(1030.0)}
        )
        scaling.decide(Epoch(1030.0), load, scaling=RULES, zero_after=300.0, memory=memory)
    sizes = time.perf_counter() - began
    situation = _situation()
    began = time.perf_counter()
    for _ in range(SERVICES):
        reconcile.plan(situation)
    return sizes, time.perf_counter() - began


def _situation() -> reconcile.Situation:
    service = ServiceId("s")
    revision = Revision(id=RevisionId("r1"), service=service, image="i", created_at=Epoch(0.0))
    configuration = ServiceConfiguration(source=ImageSource(identifier="i"), scaling=RULES)
    instances = tuple(
        Instance(
            observed=ObservedInstance(
                id=InstanceId(f"i{n}"),
                service=service,
                state=ContainerState.RUNNING,
                fingerprint=revision.fingerprint,
                revision=revision.id,
            ),
            health=Health.HEALTHY,
            in_flight=90,
        )
        for n in range(INSTANCES)
    )
    return reconcile.Situation(
        now=Epoch(1.0),
        service=Service(
            id=service,
            name="hello",
            region="us-east-1",
            account="000000000000",
            label="l",
            port=1,
            status=ServiceStatus.RUNNING,
            configuration=configuration,
            serving=configuration,
            revision=revision.id,
            created_at=Epoch(0.0),
            updated_at=Epoch(0.0),
        ),
        operation=None,
        serving=revision,
        target=None,
        instances=instances,
        size=INSTANCES,
        freeze_after=10.0,
    )


async def metering(*, changing: int) -> float:
    """The part of a core that the meter of 500 services takes, where each second so many of them
    become active and as many rest.
    """
    with tempfile.TemporaryDirectory(prefix="apprunner-bench-") as directory:
        store = await Database.open(Path(directory))
        machine = SystemClock()
        meter = Meter(store, SteeredClock(machine), machine)
        names = [InstanceId(f"i{n}") for n in range(METERED)]
        for n, name in enumerate(names):
            meter.provisioned(name, ServiceId(f"s{n}"), cpu=1024, memory=2048)
        await meter.flush()
        run = asyncio.get_running_loop().create_task(meter.run())
        began, used = time.perf_counter(), time.process_time()
        turned = 0
        while time.perf_counter() - began < SECONDS:
            for _ in range(changing):
                meter.activity(names[turned % METERED], active=turned // METERED % 2 == 0)
                turned += 1
            await asyncio.sleep(1.0)
        share = (time.process_time() - used) / (time.perf_counter() - began)
        run.cancel()
        await store.close()
        return share
