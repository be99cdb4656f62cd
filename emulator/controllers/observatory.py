"""One look at the engine for all who ask at the same time, its moments as policy time.

Listing containers costs milliseconds whatever their number; ten services that look at once
share one listing, but nobody is ever given one that began before they asked.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from emulator.model.identifiers import ServiceId
from emulator.model.instance import ObservedInstance
from emulator.ports import Instances, PolicyClock


class Observatory:
    """Instances by service, as fresh as the question."""

    def __init__(self, instances: Instances, clock: PolicyClock) -> None:
        self._instances = instances
        self._clock = clock
        self._lock = asyncio.Lock()
        self._begun = 0
        self._failed = False
        self._seen: Mapping[ServiceId, Sequence[ObservedInstance]] = {}

    async def look(self, service: ServiceId) -> tuple[ObservedInstance, ...]:
        """What the engine shows of a service, observed after this call was made."""
        asked = self._begun
        async with self._lock:
            if self._begun == asked or self._failed:
                self._begun += 1
                self._failed = True
                self._seen = _by_service(await self.look_at_all())
                self._failed = False
            return tuple(self._seen.get(service, ()))

    async def look_at_all(self) -> tuple[ObservedInstance, ...]:
        """Of all services."""
        return tuple(self._told(each) for each in await self._instances.observe())

    def _told(self, seen: ObservedInstance) -> ObservedInstance:
        """The engine's moments are the machine's."""
        end = seen.exit
        if end is not None and end.at is not None:
            end = replace(end, at=self._clock.at(end.at))
        started = None if seen.started_at is None else self._clock.at(seen.started_at)
        return replace(seen, started_at=started, exit=end)


def _by_service(
    observed: Sequence[ObservedInstance],
) -> Mapping[ServiceId, Sequence[ObservedInstance]]:
    services: dict[ServiceId, list[ObservedInstance]] = {}
    for instance in observed:
        services.setdefault(instance.service, []).append(instance)
    return services
