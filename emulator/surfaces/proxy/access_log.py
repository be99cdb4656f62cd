"""What was asked and answered: counters per service, the most recent requests, and a file of them.

The request path appends a tuple and counts; lines are made a second later, some at a time between
requests (a thread that makes them takes Python's lock from all of these), and written in a thread.
Under pressure the file gets every second, fourth … request, and what it lacks is counted.
"""

import asyncio
import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from json.encoder import encode_basestring_ascii as _quoted
from typing import NamedTuple

from emulator.model.identifiers import Epoch, InstanceId, ServiceId

LONGEST_PATH = 512  # characters kept of a path, so that the ring stays bounded in bytes too
LINES = 2_000  # written per flush at most; of as many again every second one is kept till then
SLICE = 20  # lines made in one go: a tenth of a millisecond
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


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
    """Since the start; `by_class[2]` counts 2xx answers, `by_class[0]` clients that went away.

    `buckets[n]` counts requests that took `BOUNDS[n]` seconds at most and longer than the one
    before; the last one, longer ones.
    """

    __slots__ = ("buckets", "by_class", "requests", "seconds", "sent")

    def __init__(self) -> None:
        self.requests = 0
        self.seconds = 0.0
        self.sent = 0
        self.by_class = [0] * 10
        self.buckets = [0] * (len(BOUNDS) + 1)

    def __repr__(self) -> str:
        classes = ", ".join(f"{n} {i}xx" for i, n in enumerate(self.by_class) if n)
        return f"<Counters {self.requests} requests: {classes}>"


class AccessLog:
    """`write` takes whole lines, in a thread; without it there is no file. `name_of` says how a
    service is called in it, `shown` which moment is shown for one of the machine's.
    """

    def __init__(
        self,
        *,
        remember: int = 1000,
        write: Callable[[bytes], None] | None = None,
        name_of: Callable[[ServiceId], str] = str,
        shown: Callable[[Epoch], Epoch] = Epoch,
    ) -> None:
        self.dropped = 0  # requests that the file lacks
        self._recent: deque[AccessEntry] = deque(maxlen=remember)
        self._pending: list[AccessEntry] = []
        self._seen = 0  # requests since the last flush
        self._each = 1 if write is not None else sys.maxsize  # so many-th of them is kept for it
        self._counters: dict[ServiceId | None, Counters] = {}
        self._write = write
        self._name_of = name_of
        self._shown = shown

    def record(self, entry: AccessEntry) -> None:
        self._recent.append(entry)
        self._seen += 1
        if not self._seen % self._each:
            self._pending.append(entry)
            if len(self._pending) == 2 * LINES:
                self._thin()
        counters = self._counters.get(entry.service)
        if counters is None:
            counters = self._counters[entry.service] = Counters()
        counters.requests += 1
        counters.seconds += entry.seconds
        counters.sent += entry.sent
        counters.by_class[entry.status // 100] += 1
        counters.buckets[bisect_left(BOUNDS, entry.seconds)] += 1

    def _thin(self) -> None:
        del self._pending[::2]
        self._each *= 2

    def counters(self, service: ServiceId) -> Counters:
        return self._counters.get(service) or Counters()

    @property
    def all_counters(self) -> Mapping[ServiceId | None, Counters]:
        """None: requests that no service was found for."""
        return self._counters

    def recent(self, service: ServiceId | None = None) -> Iterator[AccessEntry]:
        """Newest first; of all services where none is named."""
        return (e for e in reversed(self._recent) if service is None or e.service == service)

    def forget(self, service: ServiceId) -> None:
        """Its counters; what it was asked leaves the ring by itself."""
        self._counters.pop(service, None)

    async def flush(self, turn: Callable[[], Awaitable[None]]) -> None:
        """Write what is pending; `turn` lets others have theirs, as lines are made a few at a time.
        Raises OSError: what was to be written is lost then.
        """
        if not self._pending or self._write is None:
            return
        kept, self._pending = _sampled(self._pending, LINES), []
        self.dropped += self._seen - len(kept)
        self._seen, self._each = 0, 1
        lines: list[bytes] = []
        for start in range(0, len(kept), SLICE):
            lines += map(self._line, kept[start : start + SLICE])
            await turn()
        await asyncio.to_thread(self._write, b"".join(lines))

    def _line(self, entry: AccessEntry) -> bytes:
        name = None if entry.service is None else self._name_of(entry.service)
        return line(entry, name, at=self._shown(entry.at))


def _sampled(entries: list[AccessEntry], most: int) -> list[AccessEntry]:
    """Every one, or every second if they are too many."""
    return entries if len(entries) <= most else entries[1::2]


def line(entry: AccessEntry, name: str | None, *, at: Epoch) -> bytes:
    """One request as a line of JSON; times in milliseconds but `time`, in epoch seconds: `at`.

    Written out, not by way of a dictionary: that takes time from the request path.
    """
    reason = f', "reason": {_quoted(entry.reason)}' if entry.reason else ""
    return (
        f'{{"time": {at:.6f}, "service": {_quoted_or_null(name)}, '
        f'"method": {_quoted(entry.method)}, "path": {_quoted(entry.path)}, '
        f'"status": {entry.status}, "duration_ms": {entry.seconds * 1000:.3f}, '
        f'"queue_ms": {entry.queued * 1000:.3f}, "upstream_ms": {entry.upstream * 1000:.3f}, '
        f'"bytes_in": {entry.received}, "bytes_out": {entry.sent}, '
        f'"instance": {_quoted_or_null(entry.instance)}, '
        f'"cold_start": {"true" if entry.cold else "false"}, '
        f'"request_id": {_quoted(entry.request_id)}{reason}}}\n'
    ).encode()


def _quoted_or_null(text: str | None) -> str:
    return "null" if text is None else _quoted(text)
