"""A clock that follows the event loop, so that looptime makes it virtual."""

import asyncio
import math

from emulator.drivers.clock import SteeredClock
from emulator.model.identifiers import Epoch

START = 1_800_000_000.0


class LoopClock:
    """`start` plus the loop's time; only inside a running loop.

    As if the machine slept or its clock was set: change `start`.
    """

    def __init__(self, start: float = START) -> None:
        self.start = start

    def now(self) -> Epoch:
        return Epoch(self.start + asyncio.get_running_loop().time())

    def wall(self) -> Epoch:
        return self.now()

    def steady(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - the clock is where time comes in


class LoopPolicyClock(SteeredClock):
    """The real one over a LoopClock. looptime's time begins at zero when the fixtures are done, whose
    own was real and later: what was read there is forgotten.
    """

    def now(self) -> Epoch:
        if self._read_steady() < self._steady:
            self._wall = self._steady = math.nan
            self._latest = Epoch(-math.inf)
        return super().now()
