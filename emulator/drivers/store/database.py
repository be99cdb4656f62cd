"""The store: one SQLite file, one thread that writes and reads it, one transaction per save.

A save is on the disk when it returns (WAL, synchronous=FULL). Whoever is cancelled while it
waits for a save cannot know whether it happened; it never happened in part.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, assert_never, get_args

from emulator.drivers.store import connection as files, documents
from emulator.model.errors import StoreError
from emulator.model.event import Event
from emulator.model.identifiers import Epoch, InstanceId, ServiceId
from emulator.model.operation import Operation
from emulator.model.resources import (
    AutoScalingConfiguration,
    Connection,
    CustomDomain,
    ImageRepository,
    ObservabilityConfiguration,
    Resource,
    VpcConnector,
    VpcIngressConnection,
)
from emulator.model.revision import Revision
from emulator.model.service import Service
from emulator.model.timeline import Timeline
from emulator.model.usage import Meter, UsageInterval
from emulator.ports import Change, Heartbeat

FILE_NAME = "state.db"
_JOURNAL = ("event", "usage_interval")  # the other tables follow their service
Result = TypeVar("Result")
Parameters = tuple[object, ...]
_KINDS: Mapping[str, Any] = MappingProxyType({kind.__name__: kind for kind in get_args(Resource)})

_SAVE_SERVICE = """
    INSERT INTO service (id, document) VALUES (?, ?)
    ON CONFLICT (id) DO UPDATE SET document = excluded.document"""
_SAVE_REVISION = """
    INSERT INTO revision (service, id, document) VALUES (?, ?, ?)
    ON CONFLICT (service, id) DO UPDATE SET document = excluded.document"""
_SAVE_OPERATION = """
    INSERT INTO operation (service, id, document) VALUES (?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET document = excluded.document"""
_SAVE_RESOURCE = """
    INSERT INTO resource (key, kind, document) VALUES (?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET kind = excluded.kind, document = excluded.document"""
_SAVE_EVENT = "INSERT OR REPLACE INTO event (id, service, at, text) VALUES (?, ?, ?, ?)"
_SAVE_USAGE = """
    INSERT INTO usage_interval
      (service, instance, meter, started_at, ended_at, cpu, memory) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (service, instance, meter, started_at) DO UPDATE
    SET ended_at = excluded.ended_at, cpu = excluded.cpu, memory = excluded.memory"""
_SAVE_HEARTBEAT = "INSERT OR REPLACE INTO heartbeat (id, at) VALUES (1, ?)"
_SAVE_TIMELINE = "INSERT OR REPLACE INTO meta (key, value) VALUES ('timeline', ?)"

_SERVICES = "SELECT document FROM service ORDER BY number"
_REVISIONS = "SELECT document FROM revision WHERE service = ? ORDER BY number"
_OPERATIONS = "SELECT document FROM operation WHERE service = ? ORDER BY number DESC"
_EVENTS = "SELECT id, at, text FROM event WHERE service = ? AND id > ? ORDER BY id"
_RESOURCES = "SELECT kind, document FROM resource ORDER BY number"
_USAGE = """
    SELECT service, instance, meter, started_at, ended_at, cpu, memory FROM usage_interval
    WHERE ? IN ('', service) ORDER BY started_at, number"""


class Database:
    """`ports.Store` over SQLite. `owner` names this state directory for good."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner = ""
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    @classmethod
    async def open(cls, state_dir: Path) -> "Database":
        """Open or create `state_dir`/state.db. Raises StoreError and leaves the file alone where
        it is damaged, not ours, or from a newer version.
        """
        database = cls(state_dir / FILE_NAME)
        try:
            await database._run(database._connect)
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Also after a failure, also twice."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    async def save(self, *changes: Change) -> None:
        if changes:
            await self._run(lambda: self._write([_statement(change) for change in changes]))

    async def services(self) -> tuple[Service, ...]:
        return await self._documents(Service, _SERVICES)

    async def revisions(self, service: ServiceId) -> tuple[Revision, ...]:
        return await self._documents(Revision, _REVISIONS, service)

    async def operations(self, service: ServiceId) -> tuple[Operation, ...]:
        return await self._documents(Operation, _OPERATIONS, service)

    async def events(self, service: ServiceId, *, after: int = 0) -> tuple[Event, ...]:
        rows = await self._rows(_EVENTS, service, after)
        return tuple(Event(service=service, id=row[0], at=row[1], text=row[2]) for row in rows)

    async def usage(self, service: ServiceId | None = None) -> tuple[UsageInterval, ...]:
        return tuple(_interval(row) for row in await self._rows(_USAGE, service or ""))

    async def heartbeat(self) -> Epoch | None:
        rows = await self._rows("SELECT at FROM heartbeat")
        return Epoch(rows[0][0]) if rows else None

    async def timeline(self) -> Timeline:
        rows = await self._rows("SELECT value FROM meta WHERE key = 'timeline'")
        try:
            return documents.read(Timeline, rows[0][0]) if rows else Timeline()
        except documents.DocumentError as error:
            raise files.damaged(self.path, str(error)) from error

    async def resources(self) -> tuple[Resource, ...]:
        rows = await self._rows(_RESOURCES)
        return tuple(self._resource(kind, document) for kind, document in rows)

    def _resource(self, kind: str, document: str) -> Resource:
        try:
            resource: Resource = documents.read(_KINDS[kind], document)
        except KeyError as error:
            raise files.damaged(self.path, f"a resource of the unknown kind {kind!r}") from error
        except documents.DocumentError as error:
            raise files.damaged(self.path, str(error)) from error
        return resource

    async def drop(self, key: str) -> None:
        await self._run(lambda: self._write([("DELETE FROM resource WHERE key = ?", (key,))]))

    async def forget(self, service: ServiceId) -> None:
        tables = [(f"DELETE FROM {table} WHERE service = ?", (service,)) for table in _JOURNAL]  # noqa: S608 - no input
        await self._run(
            lambda: self._write([("DELETE FROM service WHERE id = ?", (service,)), *tables])
        )

    async def _documents(
        self, kind: type[Result], query: str, *parameters: object
    ) -> tuple[Result, ...]:
        rows = await self._rows(query, *parameters)
        try:
            return tuple(documents.read(kind, row[0]) for row in rows)
        except documents.DocumentError as error:
            raise files.damaged(self.path, str(error)) from error

    async def _rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        return await self._run(lambda: self._opened().execute(query, parameters).fetchall())

    async def _run(self, work: Callable[[], Result]) -> Result:
        """In the store's thread, one after the other."""
        if self._closed:
            raise StoreError(f"{self.path} is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise files.explained(error, self.path) from error
        except OSError as error:
            raise StoreError(f"{error.filename or self.path}: {error.strerror}") from error

    # What follows runs in the store's thread.

    def _connect(self) -> None:
        self._connection = files.connect(self.path)
        self.owner = files.owner(self._connection)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _opened(self) -> sqlite3.Connection:
        assert self._connection is not None  # noqa: S101 - `open` has connected
        return self._connection

    def _write(self, statements: Sequence[tuple[str, Parameters]]) -> None:
        connection = self._opened()
        with files.transaction(connection):
            for statement, parameters in statements:
                connection.execute(statement, parameters)


def _statement(change: Change) -> tuple[str, Parameters]:
    match change:
        case Service() | Revision() | Operation():
            return _document(change)
        case Event():
            text = change.text.encode("utf-8", "backslashreplace").decode()
            return _SAVE_EVENT, (change.id or None, change.service, change.at, text)
        case UsageInterval():
            return _SAVE_USAGE, _row(change)
        case Heartbeat() | Timeline():
            return _time(change)
        case (
            AutoScalingConfiguration()
            | Connection()
            | ObservabilityConfiguration()
            | VpcConnector()
            | VpcIngressConnection()
            | CustomDomain()
            | ImageRepository()
        ):
            return _SAVE_RESOURCE, (change.key, type(change).__name__, documents.write(change))
        case _:
            assert_never(change)


def _time(change: Heartbeat | Timeline) -> tuple[str, Parameters]:
    if isinstance(change, Heartbeat):
        return _SAVE_HEARTBEAT, (change.at,)
    return _SAVE_TIMELINE, (documents.write(change),)


def _document(change: Service | Revision | Operation) -> tuple[str, Parameters]:
    text = documents.write(change)
    match change:
        case Service():
            return _SAVE_SERVICE, (change.id, text)
        case Revision():
            return _SAVE_REVISION, (change.service, change.id, text)
        case Operation():
            return _SAVE_OPERATION, (change.service, change.id, text)


def _row(interval: UsageInterval) -> Parameters:
    key = (interval.service, interval.instance or "", interval.meter.value, interval.start)
    return (*key, interval.end, interval.cpu, interval.memory)


def _interval(row: tuple[Any, ...]) -> UsageInterval:
    service, instance, meter, start, end, cpu, memory = row
    return UsageInterval(
        service=service,
        instance=InstanceId(instance) if instance else None,
        meter=Meter(meter),
        start=start,
        end=end,
        cpu=cpu,
        memory=memory,
    )
