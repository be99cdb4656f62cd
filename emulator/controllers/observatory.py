"""One look at the engine for all who ask at the same time.

Listing containers costs milliseconds whatever their number; ten services that look at once
share one listing, but nobody is ever given one that began before they asked.
"""

import asyncio
from collections.abc import Mapping, Sequence

from emulator.model.identifiers import ServiceId
from emulator.model.instance import ObservedInstance
from emulator.ports import Instances


class Observatory:
    """Instances by service, as fresh as the question."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances
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
                self._seen = _by_service(await self._instances.observe())
                self._failed = False
            return tuple(self._seen.get(service, ()))


def _by_service(
    observed: Sequence[ObservedInstance],
) -> Mapping[ServiceId, Sequence[ObservedInstance]]:
    services: dict[ServiceId, list[ObservedInstance]] = {}
    for instance in observed:
        services.setdefault(instance.service, []).append(instance)
    return services
