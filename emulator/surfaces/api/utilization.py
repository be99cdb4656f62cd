"""What instances really use, as CloudWatch's CPUUtilization and MemoryUtilization: of a scrape."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from emulator.controllers.platform import Platform
from emulator.model.errors import EngineError
from emulator.model.identifiers import InstanceId
from emulator.model.instance import RUNS, Instance
from emulator.model.service import Service
from emulator.model.usage import Consumption

_UNITS = 1024  # of CPU in a vCPU
_MEGABYTE = 2**20
_HELP = "as the metric {} of AWS/AppRunner: percent of what instances have, their mean"


class Utilization:
    """CPU time is compared with the scrape before: a service has none in its first one."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._before: dict[InstanceId, tuple[float, float]] = {}

    async def render(self) -> bytes:
        """In Prometheus's text format."""
        before, self._before = self._before, {}
        found = [(one, *await self._of(one, before)) for one in self._platform.services()]
        return await asyncio.to_thread(_text, found)

    async def _of(
        self, service: Service, before: dict[InstanceId, tuple[float, float]]
    ) -> tuple[list[float], list[float]]:
        """Each running instance's share of its CPU and of its memory."""
        worker = self._platform.worker(service.id)
        instances = () if worker is None else worker.instances()
        running = [i for i in instances if i.observed.state in RUNS]
        size = (service.serving or service.configuration).size
        used, taken = [], []
        for instance, found in zip(
            running, await asyncio.gather(*map(self._ask, running)), strict=True
        ):
            if found is None:
                continue
            taken.append(found.memory / (size.memory * _MEGABYTE))
            now = asyncio.get_running_loop().time()
            self._before[instance.id] = (now, found.cpu)
            then, cpu = before.get(instance.id, (now, found.cpu))
            if now > then:
                used.append((found.cpu - cpu) / (now - then) * _UNITS / size.cpu)
        return used, taken

    async def _ask(self, instance: Instance) -> Consumption | None:
        with suppress(EngineError):
            return await self._platform.ports.instances.consumption(instance.id)
        return None


def _text(found: Iterable[tuple[Service, list[float], list[float]]]) -> bytes:
    from prometheus_client import CollectorRegistry, Gauge, generate_latest  # noqa: PLC0415 - slow

    registry = CollectorRegistry(auto_describe=False)
    labels = ("ServiceName", "ServiceID")
    cpu, memory = (
        Gauge(f"aws_apprunner_{name}", _HELP.format(theirs), labels, registry=registry)
        for name, theirs in (
            ("cpu_utilization", "CPUUtilization"),
            ("memory_utilization", "MemoryUtilization"),
        )
    )
    for service, used, taken in found:
        for gauge, shares in ((cpu, used), (memory, taken)):
            if shares:
                gauge.labels(service.name, service.id).set(100 * sum(shares) / len(shares))
    return generate_latest(registry)
