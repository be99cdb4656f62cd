"""What all clients of the load balancer share, and what whoever answers them may ask of each.

A client speaks HTTP/1 (`client`) or HTTP/2 (`http2`); to the request path both are a `Requester`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from emulator.model.identifiers import ServiceId
from emulator.model.settings import LoadBalancer
from emulator.surfaces.proxy.errors import Answers, Local
from emulator.surfaces.proxy.upstream import Response, Taken

TICK = 1.0  # seconds between looks at every connection's deadlines
_COMPLAIN_AGAIN = 60.0  # seconds between lines in the log about the same trouble

_log = logging.getLogger(__name__)


class Requester(Protocol):
    """Who asked one request (HTTP/2) or several in a row (HTTP/1), and takes the answers."""

    peer: str
    scheme: str
    service: ServiceId | None
    body_wanted: bool  # it is this client's turn to send its body: too slow counts

    @property
    def draining(self) -> bool: ...

    def spawn(self, work: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
        """Run something beside the handler; the handler ends it."""
        ...

    def taken_over(self) -> Taken | None:
        """Where the request that is to be handled is already; None: nowhere yet."""
        ...

    def forwarded(self, timeout: float) -> bytes:
        """What an instance is told of the client; it follows `framing.request_headers`."""
        ...

    def go_on(self) -> None:
        """100 Continue."""
        ...

    def answer(self, answer: Local, *, head_only: bool, keep: bool) -> None:
        """An answer of the load balancer's own."""
        ...

    def begin(
        self,
        response: Response,
        request: RawRequestMessage,
        *,
        keep: bool,
        elapsed: float,
        timing: str = "",
    ) -> bool:
        """An instance's head; `timing` says where a slow one's time went. Nothing is sent before
        `send` or `end`. False: the connection cannot be kept. Raises UpstreamError where it cannot
        be passed on.
        """
        ...

    def send(self, data: bytes) -> None:
        """Part of the body."""
        ...

    def end(self, data: bytes = b"") -> None:
        """The last part of the body."""
        ...

    async def drain(self) -> None:
        """Wait until the client has taken most of it."""
        ...

    def abort(self) -> None:
        """The only way to say that an answer is not complete."""
        ...


# Answers one request; False: an HTTP/1 connection ends with it.
Handler = Callable[[Requester, RawRequestMessage, StreamReader], Awaitable[bool]]


class Connection(Protocol):
    """A client's connection."""

    peer: str

    def tick(self, now: float) -> None:
        """Once a second: look whether it is idle for too long, or too slow."""
        ...

    def stop_if_idle(self) -> None:
        """No more requests; those in flight go on."""
        ...

    def cancel(self) -> None:
        """End it at once, whatever it does."""
        ...


@dataclass(slots=True, kw_only=True)
class Floor:
    """All connections of clients, and their limits."""

    group: asyncio.TaskGroup
    answers: Answers
    limits: LoadBalancer = field(default_factory=LoadBalancer)
    connections: set[Connection] = field(default_factory=set)
    draining: bool = False
    refused: int = 0  # connections above a limit
    too_slow: int = 0  # connections that were ended for their pace
    malformed: int = 0  # requests that were not let in
    quick: int = 0  # requests that were answered without a task (`quick.py`)
    _by_peer: Counter[str] = field(default_factory=Counter)
    _emptied: asyncio.Event = field(default_factory=asyncio.Event)
    _complained: dict[str, float] = field(default_factory=dict)

    def admit(self, connection: Connection) -> bool:
        """Take it on; False: there are too many."""
        limits = self.limits
        if self.draining:
            return False
        if len(self.connections) >= limits.connections:
            self._refuse(f"{limits.connections} (load_balancer.connections)")
            return False
        if self._by_peer[connection.peer] >= limits.connections_per_client:
            most = limits.connections_per_client
            self._refuse(f"{most} from one client (load_balancer.connections_per_client)")
            return False
        self.connections.add(connection)
        self._by_peer[connection.peer] += 1
        self._emptied.clear()
        return True

    def leave(self, connection: Connection) -> None:
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        self._by_peer[connection.peer] -= 1
        if not self._by_peer[connection.peer]:
            del self._by_peer[connection.peer]
        if not self.connections:
            self._emptied.set()

    def tick(self, now: float) -> None:
        for connection in list(self.connections):
            connection.tick(now)

    async def empty(self) -> None:
        """Wait until every client has gone."""
        if self.connections:
            await self._emptied.wait()

    def complain(self, trouble: str) -> None:
        """One line in the log; more of them only every now and then, whoever provokes them."""
        now = asyncio.get_running_loop().time()
        if now - self._complained.get(trouble, float("-inf")) >= _COMPLAIN_AGAIN:
            self._complained[trouble] = now
            _log.warning("%s", trouble)

    def out_of_descriptors(self) -> None:
        self.complain("no connection is accepted: no file descriptor is left (ulimit -n)")

    def _refuse(self, limit: str) -> None:
        self.refused += 1
        self.complain(f"a connection was refused: there are {limit}")


class Pace:
    """Whether a client moves what it has to: `minimum_rate` on average of each `rate_grace`."""

    __slots__ = ("_limits", "_moved", "_since")

    def __init__(self, limits: LoadBalancer) -> None:
        self._limits = limits
        self._since: float | None = None
        self._moved = 0

    def too_slow(self, now: float, moved: int, *, expected: bool) -> bool:
        """`moved` counts bytes since the connection began; `expected`: it is the client's turn."""
        if not expected:
            self._since = None
        elif self._since is None:
            self._since, self._moved = now, moved
        elif (passed := now - self._since) >= self._limits.rate_grace:
            slow = moved - self._moved < self._limits.minimum_rate * passed
            self._since, self._moved = now, moved
            return slow
        return False
