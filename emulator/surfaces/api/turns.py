"""A few API calls in each turn of the event loop, so that a burst of them waits, not the traffic.

The load balancer runs in the same loop: two hundred calls that arrive together would otherwise be
answered in one go, and every request through it would wait for all of them.
"""

import asyncio
from collections import deque

AT_ONCE = 2


class Turns:
    """Callers go on in the order in which they came."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def mine(self) -> None:
        """Until it is the caller's turn; a caller alone goes on at once in the next one."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            loop.call_soon(self._let_in)
        await turn

    def _let_in(self) -> None:
        let_in = 0
        while self._waiting and let_in < self._at_once:
            turn = self._waiting.popleft()
            if not turn.done():  # its caller may have hung up
                turn.set_result(None)
                let_in += 1
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._let_in)
