"""Where time comes in: the only module that asks the machine what time it is."""

import asyncio
import math
import time
from typing import Final

from emulator.model.identifiers import Epoch
from emulator.model.timeline import Timeline
from emulator.ports import Clock

LEAST_SLEEP: Final = 2.0  # seconds that the wall clock must be ahead for the machine to have slept
LEAST_STEP_BACK: Final = 0.5  # seconds


class SystemClock:
    """The wall clock, but one that never goes back while this process lives.

    Intervals and deadlines are made of `now`: a clock that is set back (NTP, a resumed laptop)
    must not make them negative. It stands still until the wall clock has caught up.
    """

    def __init__(self) -> None:
        self._latest = 0.0

    def now(self) -> Epoch:
        self._latest = max(self._latest, time.time())
        return Epoch(self._latest)

    def wall(self) -> Epoch:
        return Epoch(time.time())

    def steady(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SteeredClock:
    """ports.PolicyClock over the machine's, by a timeline.

    Each reading compares how far the wall clock and the steady one have come. Where the wall
    clock is ahead, the machine slept or its clock was set: policy time follows it, and `lost`
    says so. Where it was set back, policy time goes on from where it was.
    """

    def __init__(self, machine: Clock, timeline: Timeline | None = None) -> None:
        self.lost: list[tuple[Epoch, Epoch]] = []
        self.timeline = timeline or Timeline()
        self._read_wall, self._read_steady = machine.wall, machine.steady
        self._wall = self._steady = math.nan  # until the first reading, which compares with none
        self._latest = Epoch(-math.inf)
        self._stretch = self.timeline.last

    @property
    def speed(self) -> float:
        return self._stretch.speed

    def now(self) -> Epoch:
        """On the request path: one comparison decides that nothing odd has happened."""
        wall, steady = self._read_wall(), self._read_steady()
        awake = steady - self._steady
        ahead = wall - self._wall - awake
        self._wall, self._steady = wall, steady
        stretch = self._stretch
        moment = stretch.policy + (wall - stretch.machine) * stretch.speed
        if moment < self._latest or ahead > LEAST_SLEEP:
            return self._now(moment, awake, ahead)
        self._latest = Epoch(moment)
        return self._latest

    def _now(self, moment: float, awake: float, ahead: float) -> Epoch:
        latest, expected = self._latest, self._latest + awake * self.speed
        if moment < expected - LEAST_STEP_BACK * self.speed:
            self.adopt(self.timeline.turned(self._wall, expected))
            moment = expected
        self._latest = max(latest, Epoch(moment))
        if ahead > LEAST_SLEEP:
            woke = self._latest - awake * self.speed
            self.lost.append((latest, Epoch(max(latest, woke))))
        return self._latest

    def at(self, machine: Epoch) -> Epoch:
        return self.timeline.at(machine)

    def leapt(self, seconds: float) -> Timeline:
        now = self.now()
        return self.timeline.turned(self._wall, now + seconds)

    def slowed(self) -> Timeline:
        now = self.now()
        return self.timeline.turned(self._wall, now, 1.0)

    def adopt(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self._stretch = timeline.last
