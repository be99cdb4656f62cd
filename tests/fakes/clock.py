"""A clock that follows the event loop, so that looptime makes it virtual."""

import asyncio

from emulator.model.identifiers import Epoch

START = 1_800_000_000.0


class LoopClock:
    """`start` plus the loop's time; only inside a running loop."""

    def __init__(self, start: float = START) -> None:
        self.start = start

    def now(self) -> Epoch:
        return Epoch(self.start + asyncio.get_running_loop().time())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - the clock is where time comes in
