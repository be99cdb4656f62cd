"""What is metered: intervals, opened and closed by transitions."""

from dataclasses import dataclass
from enum import StrEnum

from emulator.model.identifiers import Epoch, InstanceId, ServiceId


class Meter(StrEnum):
    """App Runner's billing words, and what it charges besides."""

    PROVISIONED = "provisioned"  # memory: from the start of the instance to its end
    ACTIVE = "active"  # vCPU: while it starts or serves requests
    BUILD = "build"  # build minutes; no instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumption:
    """What an instance really used: `cpu` in vCPU-seconds since its start, `memory` in bytes now."""

    cpu: float
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageInterval:
    """`end` is None while it is open; `cpu` in units and `memory` in MB of the instance.

    An interval that the emulator did not live to close ends at the last sign of life
    (`Meter.recover`), at most a second before.
    """

    service: ServiceId
    meter: Meter
    start: Epoch
    end: Epoch | None = None
    instance: InstanceId | None = None
    cpu: int = 0
    memory: int = 0

    def seconds(self, now: Epoch) -> float:
        return max(0.0, (self.end if self.end is not None else now) - self.start)
