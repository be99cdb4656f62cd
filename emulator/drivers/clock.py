"""Where time comes in: the only module that asks the machine what time it is."""

import asyncio
import time

from emulator.model.identifiers import Epoch


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

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
