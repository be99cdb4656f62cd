"""What a replay starts from and what it ends with, as values; `simulation` is what lies between."""

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from emulator.decisions.cost import Billable
from emulator.model.configuration import AutoScaling, InstanceSize


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in the order of their arrival; microseconds since the first one, and how long an
    instance is busy with each. `requests` of one trace may be replayed any number of times.
    """

    arrivals: Sequence[int] = field(default_factory=lambda: array("q"))
    durations: Sequence[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.arrivals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """How long what the engine does takes, in seconds.

    `prepare` makes a container where no standby is left, `start` starts it, `boot` is from there
    to the first successful health check. `queue` and `queue_wait` are the load balancer's.
    """

    prepare: float = 0.15
    start: float = 0.15
    boot: float = 0.2
    thaw: float = 0.003
    stop: float = 0.15
    starts_at_once: int = 3
    queue: int = 1000
    queue_wait: float = 60.0
    request_timeout: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A configuration to try; seconds, None for off."""

    scaling: AutoScaling = field(default_factory=AutoScaling)
    size: InstanceSize = field(default_factory=InstanceSize)
    zero_after: float | None = 300.0
    freeze_after: float | None = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of it. Seconds; `latencies` counts requests by how long they took from
    arrival to the last byte, to a tenth of a millisecond (of those over a second: ten); `timeline` is the number of instances from each moment on.

    `cold` requests found no instance at all, `queued` ones had to wait, `refused` got a 429,
    `unserved` a 503.
    """

    seconds: float
    requests: int
    served: int
    refused: int
    unserved: int
    queued: int
    longest_wait: float
    cold: int
    starts: int
    most: int
    instance_seconds: float
    active_seconds: float
    latencies: Mapping[float, int]
    timeline: tuple[tuple[float, int], ...]
    billable: Billable

    def latency(self, quantile: float) -> float:
        """Of those that were served, in seconds; 0 where none was."""
        wanted, seen = math.ceil(quantile * self.served), 0
        for latency in sorted(self.latencies):
            seen += self.latencies[latency]
            if seen >= wanted:
                return latency
        return 0.0

    @property
    def average(self) -> float:
        return self.instance_seconds / self.seconds if self.seconds else 0.0
