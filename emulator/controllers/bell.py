"""A wake-up call for whoever waits for news: rings are never lost, only merged."""

import asyncio


class Bell:
    """Each listener remembers the last `count` it saw and waits for a later one."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        self.count += 1
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    async def later(self, seen: int, *, timeout: float | None = None) -> bool:
        """Wait until `count` differs from `seen`; False when the time was over first."""
        if self.count != seen:
            return True
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(waiter)
        return True
