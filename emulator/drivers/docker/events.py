"""What happens to containers without our doing, as the engine tells it."""

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

from emulator.drivers.docker.engine import Engine, Json
from emulator.drivers.docker.labels import INSTANCE, SERVICE, labelled
from emulator.model.errors import EngineError
from emulator.model.identifiers import Epoch, InstanceId, ServiceId
from emulator.ports import Clock

KINDS: Final = ("die", "oom", "destroy", "pause", "unpause")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_OVERLAP: Final = 1.0  # seconds that are told twice rather than not at all
_REMEMBERED: Final = 256
News = TypeVar("News")


async def follow(
    engine: Engine, clock: Clock, events: Callable[[Epoch], AsyncGenerator[News, None]]
) -> AsyncGenerator[News | None, None]:
    """What `events` tells from a moment on, begun again after each loss of the connection.

    Never ends by itself; after a loss it comes back, and says so with None.
    """
    since, pause = clock.now(), _FIRST_PAUSE
    while True:
        with suppress(EngineError):
            stream = events(since)
            async with aclosing(stream):
                async for news in stream:
                    pause = _FIRST_PAUSE
                    yield news
        await clock.sleep(pause)
        while not await _answers(engine):
            pause = min(pause * 2, _LONGEST_PAUSE)
            await clock.sleep(pause)
        since = Epoch(clock.now() - _OVERLAP)
        yield None


async def _answers(engine: Engine) -> bool:
    try:
        await engine.get("/_ping")
    except EngineError:
        return False
    return True


@dataclass(slots=True)
class Changes:
    """One stream for all services of an owner."""

    engine: Engine
    owner: str
    clock: Clock
    _ended: deque[InstanceId] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def expect_end(self, instance: InstanceId) -> None:
        """We end it: that is no news."""
        if instance not in self._ended:
            self._ended.append(instance)

    def follow(self) -> AsyncGenerator[ServiceId | None, None]:
        """Never ends by itself; after a loss it comes back, and says so with None."""
        return follow(self.engine, self.clock, self._events)

    async def _events(self, since: Epoch) -> AsyncGenerator[ServiceId, None]:
        filters = {**labelled(self.owner), "type": ["container"], "event": list(KINDS)}
        params = {"filters": filters, "since": f"{since:.6f}"}
        stream = self.engine.stream("GET", "/events", params)
        async with aclosing(stream):
            async for event in stream:
                service = self._news(event)
                if service is not None and await self._can_be_seen(event):
                    yield service

    async def _can_be_seen(self, event: Json) -> bool:
        """Docker tells of a death 50 to 150 ms before it lists it; a look at the container itself
        waits for that. The death of one that is being removed is not worth a look: its end is.
        """
        with suppress(EngineError):
            container = await self.engine.get(f"/containers/{event['Actor']['ID']}/json")
            return bool(container["State"]["Status"] != "removing")
        return True

    def _news(self, event: Json) -> ServiceId | None:
        attributes = event.get("Actor", {}).get("Attributes", {})
        if attributes.get(INSTANCE) in self._ended or SERVICE not in attributes:
            return None
        return ServiceId(attributes[SERVICE])
