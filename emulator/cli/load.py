"""A small crowd of visitors: keep-alive connections that notice every failed request."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from threading import Event, Lock, Thread
from urllib.parse import urlsplit

from emulator.cli import clock

PATIENCE = 30.0
_OK = 200


class Load:
    """What the visitors saw; `arrived` is set once an answer holds `expected`."""

    def __init__(self, address: str, path: str, *, expected: str = "", pause: float = 0.05) -> None:
        parts = urlsplit(address)
        self._host, self._port, self._path = parts.hostname or "", parts.port, path
        self._pause = pause
        self._expected = expected.encode()
        self._lock = Lock()
        self._over = Event()
        self.answers = 0
        self.failures: list[str] = []
        self.arrived = Event()
        self.arrived_at = 0.0

    @contextmanager
    def from_visitors(self, count: int) -> Iterator["Load"]:
        """So many at once, until the end of the block."""
        visitors = [Thread(target=self._visit, daemon=True) for _ in range(count)]
        try:
            for visitor in visitors:
                visitor.start()
            yield self
        finally:
            self._over.set()
            for visitor in visitors:
                visitor.join(PATIENCE)

    def _visit(self) -> None:
        connection = HTTPConnection(self._host, self._port, timeout=PATIENCE)
        while not self._over.is_set():
            self._ask(connection)
            self._over.wait(self._pause)
        connection.close()

    def _ask(self, connection: HTTPConnection) -> None:
        try:
            connection.request("GET", self._path)
            answer = connection.getresponse()
            self._count(answer.status, answer.read())
        except (OSError, HTTPException) as error:
            connection.close()
            with self._lock:
                self.failures.append(repr(error))

    def _count(self, status: int, body: bytes) -> None:
        now = clock.elapsed()
        with self._lock:
            self.answers += 1
            if status != _OK:
                self.failures.append(f"HTTP {status}")
            if self._expected and self._expected in body and not self.arrived.is_set():
                self.arrived_at = now
                self.arrived.set()
