"""What was asked and answered: counters per service and the most recent requests, in memory."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from emulator.model.identifiers import Epoch, InstanceId, ServiceId

LONGEST_PATH = 512  # characters kept of a path, so that the ring stays bounded in bytes too


class AccessEntry(NamedTuple):
    """One request; `status` 0: the client went away first. `seconds` to the end of the answer,
    `queued` of them until an instance was found, `upstream` since the request was sent to it.

    `received` and `sent` count the bytes of the bodies. `cold`: no instance was there to take it.
    A named tuple, being the cheapest to make.
    """

    at: Epoch
    service: ServiceId | None
    instance: InstanceId | None
    method: str
    path: str
    status: int
    seconds: float
    queued: float
    upstream: float
    received: int
    sent: int
    cold: bool
    request_id: str
    reason: str = ""


class Counters:
    """Since the start; `by_class[2]` counts 2xx answers, `by_class[0]` clients that went away."""

    __slots__ = ("by_class", "requests", "seconds", "sent")

    def __init__(self) -> None:
        self.requests = 0
        self.seconds = 0.0
        self.sent = 0
        self.by_class = [0] * 10

    def __repr__(self) -> str:
        classes = ", ".join(f"{n} {i}xx" for i, n in enumerate(self.by_class) if n)
        return f"<Counters {self.requests} requests: {classes}>"


class AccessLog:
    """Cheap enough for the request path: one tuple and four additions per request."""

    def __init__(self, *, remember: int = 1000) -> None:
        self._recent: deque[AccessEntry] = deque(maxlen=remember)
        self._counters: dict[ServiceId, Counters] = {}

    def record(self, entry: AccessEntry) -> None:
        self._recent.append(entry)
        if entry.service is None:
            return
        counters = self._counters.get(entry.service)
        if counters is None:
            counters = self._counters[entry.service] = Counters()
        counters.requests += 1
        counters.seconds += entry.seconds
        counters.sent += entry.sent
        counters.by_class[entry.status // 100] += 1

    def counters(self, service: ServiceId) -> Counters:
        return self._counters.get(service) or Counters()

    def recent(self, service: ServiceId | None = None) -> Iterator[AccessEntry]:
        """Newest first; of all services where none is named."""
        return (e for e in reversed(self._recent) if service is None or e.service == service)

    def forget(self, service: ServiceId) -> None:
        """Its counters; what it was asked leaves the ring by itself."""
        self._counters.pop(service, None)
