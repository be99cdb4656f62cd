"""The meter: when instances ran and were active, written down as intervals while it happens.

The request path only touches plain attributes. Once a second what changed goes to the store in
one transaction, with a sign of life: after a crash, what was open ends there. What the machine
slept through is cut out.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from emulator.model.errors import StoreError
from emulator.model.identifiers import Epoch, InstanceId, RevisionId, ServiceId
from emulator.model.instance import RUNS, ObservedInstance
from emulator.model.revision import Revision
from emulator.model.usage import Meter as Metered, UsageInterval
from emulator.ports import Clock, Heartbeat, PolicyClock, Store

TICK = 1.0  # seconds between writes
SHORTEST_GAP = 1.0  # a shorter rest does not end an active interval
_Key = tuple[ServiceId, InstanceId | None, Metered, Epoch]
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Gauge:
    """One running instance. `active` is its open active interval, `quiet_since` when the last
    request of it ended.
    """

    provisioned: UsageInterval
    active: UsageInterval | None = None
    quiet_since: Epoch | None = None
    starting: bool = False
    serving: bool = False


class Meter:
    """`linger` is how many seconds an instance counts as active after its last request. `slept`
    is called with the services that were metered when the machine slept, from when to when.
    """

    def __init__(
        self, store: Store, clock: PolicyClock, machine: Clock, *, linger: float = 0.0
    ) -> None:
        self.slept: Callable[[frozenset[ServiceId], Epoch, Epoch], None] = _nobody
        self._store = store
        self._clock = clock
        self._machine = machine
        self._lost = len(clock.lost)
        self._linger = linger
        self._gauges: dict[InstanceId, _Gauge] = {}
        self._changed: dict[_Key, UsageInterval] = {}
        self._failing = False

    def provisioned(
        self, instance: InstanceId, service: ServiceId, *, cpu: int, memory: int
    ) -> None:
        """The instance is being started: its memory is taken from now on."""
        if instance in self._gauges:
            return
        interval = UsageInterval(
            service=service,
            meter=Metered.PROVISIONED,
            start=self._now(),
            instance=instance,
            cpu=cpu,
            memory=memory,
        )
        self._gauges[instance] = _Gauge(interval)
        self._note(interval)

    def starting(self, instance: InstanceId) -> None:
        """It is active while it starts, until `started` (or its end)."""
        if gauge := self._gauges.get(instance):
            gauge.starting = True
            self._turn(gauge)

    def started(self, instance: InstanceId) -> None:
        """It is healthy: from now on only requests make it active."""
        if gauge := self._gauges.get(instance):
            gauge.starting = False
            self._turn(gauge)

    def activity(self, instance: InstanceId, active: bool) -> None:  # noqa: FBT001 - a level
        """Its requests in flight became some, or none. On the request path: no I/O, O(1)."""
        if gauge := self._gauges.get(instance):
            gauge.serving = active
            self._turn(gauge)

    def ended(self, instance: InstanceId, at: Epoch | None = None) -> None:
        """Its process has ended, at `at` if that is known; also twice."""
        now = self._now()
        gauge = self._gauges.pop(instance, None)
        if gauge is None:
            return
        moment = now if at is None else at
        self._deactivate(gauge, moment)
        self._close(gauge.provisioned, moment)

    def build(self, service: ServiceId, start: Epoch, end: Epoch) -> None:
        """A build ran."""
        self._note(UsageInterval(service=service, meter=Metered.BUILD, start=start, end=end))

    async def run(self) -> None:
        """Until cancelled. A store that fails is tried again; nothing is lost meanwhile."""
        while True:
            await self._machine.sleep(TICK)
            try:
                await self.flush()
            except StoreError as error:
                if not self._failing:
                    _logger.warning("usage cannot be stored for now: %s", error)
                self._failing = True
            else:
                self._failing = False

    async def flush(self) -> None:
        """Write what changed; nothing where nothing is open and nothing changed."""
        now = self._now()
        self._settle(now)
        if not self._changed and not self._gauges:
            return
        changed, self._changed = self._changed, {}
        try:
            await self._store.save(*changed.values(), Heartbeat(now))
        except BaseException:  # also when cancelled: saving again does no harm
            self._changed = changed | self._changed
            raise

    async def close(self) -> None:
        """At the end of the emulator: requests end with it, instances go on."""
        now = self._now()
        for gauge in self._gauges.values():
            self._deactivate(gauge, now)
        await self.flush()

    async def recover(self, observed: Sequence[ObservedInstance]) -> None:
        """After a start: go on with what still runs, close what does not.

        What ended unseen ends when its container did, or else at the last sign of life.
        """
        last = await self._store.heartbeat()
        by_id = {instance.id: instance for instance in observed}
        known: set[InstanceId | None] = set()
        for interval in await self._store.usage():
            if interval.meter is Metered.PROVISIONED:
                known.add(interval.instance)
            if interval.end is None:
                self._resume(interval, by_id, last)
        for instance in observed:
            if instance.id not in known and instance.id not in self._gauges:
                await self._discover(instance)
        await self.flush()

    def _resume(
        self,
        interval: UsageInterval,
        by_id: dict[InstanceId, ObservedInstance],
        last: Epoch | None,
    ) -> None:
        """An interval that the last emulator did not live to close."""
        instance = by_id.get(interval.instance) if interval.instance else None
        alive = last if last is not None else interval.start
        if interval.meter is not Metered.PROVISIONED or instance is None:
            self._close(interval, alive)
        elif _runs(instance):
            self._gauges[instance.id] = _Gauge(interval)
        else:
            exited = instance.exit.at if instance.exit else None
            self._close(interval, exited if exited is not None else alive)

    async def _discover(self, instance: ObservedInstance) -> None:
        """It was started in the last second before a crash: the store never heard of it."""
        revision = await self._revision(instance.service, instance.revision)
        if instance.started_at is None or revision is None:
            return
        interval = UsageInterval(
            service=instance.service,
            meter=Metered.PROVISIONED,
            start=instance.started_at,
            instance=instance.id,
            cpu=revision.size.cpu,
            memory=revision.size.memory,
        )
        if _runs(instance):
            self._gauges[instance.id] = _Gauge(interval)
            self._note(interval)
        elif instance.exit and instance.exit.at is not None:
            self._close(interval, instance.exit.at)

    async def _revision(self, service: ServiceId, wanted: RevisionId | None) -> Revision | None:
        revisions = await self._store.revisions(service)
        return next((each for each in revisions if each.id == wanted), None)

    def _turn(self, gauge: _Gauge) -> None:
        """Follow what it does now."""
        now = self._now()
        if not (gauge.starting or gauge.serving):
            if gauge.active is not None and gauge.quiet_since is None:
                gauge.quiet_since = now
            return
        if gauge.active is None:
            self._activate(gauge, now)
        elif gauge.quiet_since is not None:
            if self._rested(gauge.quiet_since, now):
                self._deactivate(gauge, now)
                self._activate(gauge, now)
            gauge.quiet_since = None

    def _now(self) -> Epoch:
        now = self._clock.now()
        while self._lost < len(self._clock.lost):
            fell_asleep, woke = self._clock.lost[self._lost]
            self._lost += 1
            self._cut_out(fell_asleep, woke)
        return now

    def _cut_out(self, fell_asleep: Epoch, woke: Epoch) -> None:
        """Whatever is open ends where the machine fell asleep, and goes on where it woke."""
        for gauge in self._gauges.values():
            gauge.provisioned = self._resumed(gauge.provisioned, fell_asleep, woke)
            if gauge.active is None:
                continue
            if gauge.quiet_since is not None and gauge.quiet_since <= woke:
                self._deactivate(gauge, fell_asleep)
            else:
                gauge.active = self._resumed(gauge.active, fell_asleep, woke)
        services = frozenset(g.provisioned.service for g in self._gauges.values())
        self.slept(services, fell_asleep, woke)

    def _resumed(self, interval: UsageInterval, fell_asleep: Epoch, woke: Epoch) -> UsageInterval:
        if interval.start >= woke:
            return interval
        self._close(interval, fell_asleep)
        resumed = replace(interval, start=woke, end=None)
        self._note(resumed)
        return resumed

    def _rested(self, quiet_since: Epoch, now: Epoch) -> bool:
        return now - quiet_since >= self._linger + SHORTEST_GAP

    def _settle(self, now: Epoch) -> None:
        """End the active intervals that no request can prolong any more."""
        for gauge in self._gauges.values():
            if gauge.quiet_since is not None and self._rested(gauge.quiet_since, now):
                self._deactivate(gauge, now)

    def _activate(self, gauge: _Gauge, now: Epoch) -> None:
        gauge.active = replace(gauge.provisioned, meter=Metered.ACTIVE, start=now, end=None)
        self._note(gauge.active)

    def _deactivate(self, gauge: _Gauge, now: Epoch) -> None:
        """`now` at the latest; what rested ended earlier."""
        if gauge.active is None:
            return
        quiet = gauge.quiet_since
        self._close(gauge.active, now if quiet is None else min(now, Epoch(quiet + self._linger)))
        gauge.active = gauge.quiet_since = None

    def _close(self, interval: UsageInterval, at: Epoch) -> None:
        self._note(replace(interval, end=max(interval.start, at)))

    def _note(self, interval: UsageInterval) -> None:
        key = (interval.service, interval.instance, interval.meter, interval.start)
        self._changed[key] = interval


def _nobody(services: frozenset[ServiceId], fell_asleep: Epoch, woke: Epoch) -> None:
    """Before the platform listens."""


def _runs(instance: ObservedInstance) -> bool:
    return instance.state in RUNS
