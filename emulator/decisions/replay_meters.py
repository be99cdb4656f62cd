"""What a simulated service would be charged: `metering`'s rules without its intervals.

A simulated day has millions of activations; each of them costs constant time here, and none is
kept. That both agree is a test. Time is whole microseconds.
"""

from emulator.decisions.metering import SHORTEST_ACTIVE

SECOND = 1_000_000
SHORTEST_GAP = SECOND  # as the meter's: a shorter rest does not end an active stretch
_MINUTE = round(SHORTEST_ACTIVE * SECOND)
_ROUNDING_ERROR = 1_000
_LONG_AGO = -(1 << 62)


class ReplayMeters:
    """Instances are numbers from 0 on, used again when an instance has ended.

    `memory_seconds` and `cpu_seconds` are as they are charged: whole, per stretch, of instances
    that have ended; `stretches` counts the active ones. `instance_time` and `active_time` are exact, and
    what rests for less than `SHORTEST_GAP` is active. `shortfall` is the instance time by which there
    was less than MinSize, `busy_time` the time in which any had requests. `timeline`: from each moment
    on so many instances.
    """

    __slots__ = (
        "_active",
        "_begin",
        "_busy",
        "_busy_since",
        "_charged_from",
        "_charged_to",
        "_min_size",
        "_quiet",
        "_there",
        "active_time",
        "busy_time",
        "cpu_seconds",
        "instance_time",
        "memory_seconds",
        "most",
        "shortfall",
        "stretches",
        "timeline",
    )

    def __init__(self, min_size: int) -> None:
        self.timeline: list[tuple[int, int]] = [(0, 0)]
        self.memory_seconds = self.cpu_seconds = self.stretches = 0
        self.instance_time = self.active_time = self.busy_time = self.shortfall = 0
        self._busy = self._busy_since = 0
        self.most = 0
        self._min_size = min_size
        self._there: set[int] = set()
        self._begin: list[int] = []
        self._active: list[int] = []  # since when; -1: it is not
        self._quiet: list[int] = []  # since when
        self._charged_from: list[int] = []  # the stretch that is charged, so far
        self._charged_to: list[int] = []

    def provisioned(self, instance: int, at: int) -> None:
        while instance >= len(self._begin):
            self._begin.append(0)
            self._active.append(0)
            self._quiet.append(0)
            self._charged_from.append(0)
            self._charged_to.append(0)
        self._there.add(instance)
        self._begin[instance] = at
        self._active[instance] = -1
        self._quiet[instance] = _LONG_AGO
        self._charged_from[instance] = self._charged_to[instance] = _LONG_AGO
        self._counted(at)

    def activate(self, instance: int, at: int) -> None:
        self._active[instance] = at
        if not self._busy:
            self._busy_since = at
        self._busy += 1
        end = self._charged_to[instance]
        rest = at - self._quiet[instance]
        if rest < SHORTEST_GAP:
            self.active_time += rest
        if at <= end or rest < SHORTEST_GAP:
            return
        self.cpu_seconds += _whole(end - self._charged_from[instance])
        self._charged_from[instance] = at
        self._charged_to[instance] = at + _MINUTE
        self.stretches += 1

    def deactivate(self, instance: int, at: int) -> None:
        self.active_time += at - self._active[instance]
        self._active[instance] = -1
        self._busy -= 1
        if not self._busy:
            self.busy_time += at - self._busy_since
        self._quiet[instance] = at
        self._charged_to[instance] = max(self._charged_to[instance], at)

    def ended(self, instance: int, at: int) -> None:
        if self._active[instance] >= 0:
            self.deactivate(instance, at)
        self.cpu_seconds += _whole(self._charged_to[instance] - self._charged_from[instance])
        lived = at - self._begin[instance]
        self.memory_seconds += _whole(lived)
        self.instance_time += lived
        self._there.remove(instance)
        self._counted(at)

    def close(self, at: int) -> None:
        """It ends now, with everything that is still there."""
        there = len(self._there)
        for instance in tuple(self._there):
            self.ended(instance, at)
        self._counted(at)
        self.timeline[-1] = at, there

    def _counted(self, at: int) -> None:
        """How many there are has changed."""
        moment, before = self.timeline[-1]
        count = len(self._there)
        self.shortfall += max(0, self._min_size - before) * (at - moment)
        self.most = max(self.most, count)
        if moment == at:
            self.timeline[-1] = at, count
        else:
            self.timeline.append((at, count))


def _whole(microseconds: int) -> int:
    """Seconds, rounded up, but for what `metering` takes for a rounding error."""
    return max(0, -((_ROUNDING_ERROR - microseconds) // SECOND))
