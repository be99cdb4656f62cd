"""A store in memory. It survives a crash of the emulator as long as the object lives on:
what it holds is immutable, so nothing needs to be copied.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from emulator.model.errors import StoreError
from emulator.model.event import Event
from emulator.model.identifiers import Epoch, InstanceId, OperationId, RevisionId, ServiceId
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
from tests.helpers import turn

UsageKey = tuple[ServiceId, InstanceId | None, Meter, Epoch]


class FakeStore:
    """Set `failure` to make every write fail; `saves` counts the saves that did not."""

    def __init__(self) -> None:
        self.failure: StoreError | None = None
        self.saves = 0
        self._services: dict[ServiceId, Service] = {}
        self._revisions: dict[tuple[ServiceId, RevisionId], Revision] = {}
        self._operations: dict[OperationId, Operation] = {}
        self._events: dict[int, Event] = {}
        self._usage: dict[UsageKey, UsageInterval] = {}
        self._resources: dict[str, Resource] = {}
        self._heartbeat: Epoch | None = None
        self._timeline = Timeline()
        self._last_event = 0

    async def save(self, *changes: Change) -> None:
        if self.failure is not None:
            raise self.failure
        self._check_references(changes)
        for change in changes:
            self._apply(change)
        self.saves += bool(changes)
        await turn()

    async def services(self) -> tuple[Service, ...]:
        return tuple(self._services.values())

    async def revisions(self, service: ServiceId) -> tuple[Revision, ...]:
        return tuple(each for each in self._revisions.values() if each.service == service)

    async def operations(self, service: ServiceId) -> tuple[Operation, ...]:
        return tuple(o for o in reversed(self._operations.values()) if o.service == service)

    async def events(self, service: ServiceId, *, after: int = 0) -> tuple[Event, ...]:
        of_service = (event for event in self._events.values() if event.service == service)
        return tuple(event for event in of_service if event.id > after)

    async def usage(self, service: ServiceId | None = None) -> tuple[UsageInterval, ...]:
        found = (u for u in self._usage.values() if service is None or u.service == service)
        return tuple(sorted(found, key=lambda interval: interval.start))

    async def heartbeat(self) -> Epoch | None:
        return self._heartbeat

    async def timeline(self) -> Timeline:
        return self._timeline

    async def resources(self) -> tuple[Resource, ...]:
        return tuple(self._resources.values())

    async def drop(self, key: str) -> None:
        if self.failure is not None:
            raise self.failure
        self._resources.pop(key, None)
        await turn()

    async def forget(self, service: ServiceId) -> None:
        if self.failure is not None:
            raise self.failure
        self._services.pop(service, None)
        _drop(self._revisions, lambda each: each.service == service)
        _drop(self._operations, lambda each: each.service == service)
        _drop(self._events, lambda each: each.service == service)
        _drop(self._usage, lambda each: each.service == service)
        await turn()

    def _check_references(self, changes: tuple[Change, ...]) -> None:
        known = self._services.keys() | {each.id for each in changes if isinstance(each, Service)}
        for change in changes:
            if isinstance(change, Revision | Operation) and change.service not in known:
                raise StoreError(f"{change!r} of an unknown service {change.service!r}")

    def _apply(self, change: Change) -> None:
        match change:
            case Service():
                self._services[change.id] = change
            case Revision():
                self._revisions[change.service, change.id] = change
            case Operation():
                self._operations[change.id] = change
            case Event():
                self._append(change)
            case UsageInterval():
                key = (change.service, change.instance, change.meter, change.start)
                self._usage[key] = change
            case Heartbeat() | Timeline():
                self._note_time(change)
            case (
                AutoScalingConfiguration()
                | Connection()
                | ObservabilityConfiguration()
                | VpcConnector()
                | VpcIngressConnection()
                | CustomDomain()
                | ImageRepository()
            ):
                self._resources[change.key] = change
            case _:
                assert_never(change)

    def _note_time(self, change: Heartbeat | Timeline) -> None:
        if isinstance(change, Heartbeat):
            self._heartbeat = change.at
        else:
            self._timeline = change

    def _append(self, event: Event) -> None:
        number = event.id or self._last_event + 1
        self._last_event = max(self._last_event, number)
        self._events[number] = replace(event, id=number)


def _drop(rows: dict, gone: Callable) -> None:
    for key in [key for key, row in rows.items() if gone(row)]:
        del rows[key]
