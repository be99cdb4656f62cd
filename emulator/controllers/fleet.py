"""The instances of one service: what is seen of them, what is known of them, what is done to them.

The view is what the engine showed last, with what this side did since; it is looked at again
when anything else may have happened.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from emulator.controllers.balancer import Balancer, Target
from emulator.controllers.jobs import Jobs
from emulator.controllers.ledger import Ledger
from emulator.controllers.meter import Meter
from emulator.controllers.observatory import Observatory
from emulator.controllers.watcher import HealthWatcher, Patient, Vitals
from emulator.decisions import narration
from emulator.decisions.cold_start import Birth, Phase
from emulator.decisions.health import Streak, back_off
from emulator.model.errors import EngineError, EngineUnavailableError
from emulator.model.identifiers import Epoch, InstanceId, RevisionId
from emulator.model.instance import RUNS, ContainerState, Health, Instance, ObservedInstance
from emulator.model.revision import Revision
from emulator.model.settings import Limits, Pace
from emulator.ports import Ports

CALM = 120.0  # seconds without a crash that end a crash loop
LOOP = 3  # crashes in a row that make one
LAST_LINES = 5
STARTED = 3  # moments of a birth: began, created, started
AWAY_PAUSE = 1.0  # seconds before an engine that is away is asked again


@dataclass(slots=True)
class Crashes:
    """Of the serving revision, in a row."""

    count: int = 0
    last: float = float("-inf")
    held_until: Epoch | None = None

    @property
    def loop(self) -> bool:
        """It has been told, and all that it brings with it goes without saying until it is over."""
        return self.count >= LOOP


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How an instance came, the last time that one was needed."""

    at: Epoch
    instance: InstanceId
    phases: tuple[Phase, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """What every fleet shares with the others."""

    ports: Ports
    observatory: Observatory
    meter: Meter
    limits: Limits
    pace: Pace
    starts: asyncio.Semaphore


class Fleet:
    """One service's. `poke` is called when the worker should plan again."""

    def __init__(
        self, ledger: Ledger, balancer: Balancer, equipment: Equipment, poke: Callable[[], None]
    ) -> None:
        self.balancer = balancer
        self.stale = True
        self.observed_at = 0.0  # by the steady clock
        self.launching: dict[InstanceId, RevisionId] = {}
        self.start_failures: dict[RevisionId, str] = {}
        self.preparing = False
        self.warm: set[InstanceId] = set()  # of the standbys, by how they were asked for
        self.crashes = Crashes()
        self.last_start: Start | None = None
        self._ledger = ledger
        self._equipment = equipment
        self._clock = equipment.ports.clock
        self._machine = equipment.ports.machine
        self._engine = equipment.ports.instances
        self._poke = poke
        self.jobs = Jobs(ledger, self._machine, self._job_done)
        self._watcher = HealthWatcher(
            clock=self._machine,
            policy=self._clock,
            probe=equipment.ports.probe,
            instances=self._engine,
            start_limit=equipment.limits.start,
            tell=ledger.say,
        )
        self._view: dict[InstanceId, ObservedInstance] = {}
        self._vitals: dict[InstanceId, Vitals] = {}
        self._touched: set[InstanceId] = set()
        self._watched: set[InstanceId] = set()
        self._rest_locks: dict[InstanceId, asyncio.Lock] = {}
        self._seen_active: set[InstanceId] = set()
        self._births: dict[InstanceId, list[float]] = {}
        self._adopting = True
        self._told_of_rest = False
        self._news = 0

    def look_again(self) -> None:
        """The engine did something by itself."""
        self.stale = True
        self._news += 1

    def _job_done(self, failed: bool) -> None:  # noqa: FBT001 - a callback
        self.stale = self.stale or failed
        self._poke()

    # -- what is there -------------------------------------------------------------------------

    async def observe(self) -> None:
        """Look at the engine; take note of what came, went and ended meanwhile."""
        self.stale = False
        self._touched.clear()
        observed = await self._equipment.observatory.look(self._ledger.service.id)
        self.observed_at = self._machine.steady()
        view = {i.id: i for i in observed if i.id not in self._touched}
        for id_ in self._touched & self._view.keys():
            view[id_] = self._view[id_]
        gone = [i for i in self._view.values() if i.id not in view]
        self._view = view
        for instance in gone:
            await self._vanished(instance)
        for instance in tuple(view.values()):
            await self._notice(instance)
        self._adopting = False
        await self._calm_down(self._clock.now())

    async def _notice(self, instance: ObservedInstance) -> None:
        """Remember a new instance; report one that ended by itself, once."""
        vitals = self._vitals.get(instance.id)
        if vitals is None:
            vitals = self._vitals[instance.id] = Vitals()
            if instance.state is ContainerState.FROZEN:
                vitals.streak = Streak(health=Health.HEALTHY, good=1)
            if self._adopting and instance.state is ContainerState.EXITED:
                vitals.reported = True
        if instance.state is ContainerState.EXITED and not vitals.reported:
            vitals.reported = True
            await self._ended(instance, vitals)

    async def _vanished(self, instance: ObservedInstance) -> None:
        vitals = self._vitals.pop(instance.id, Vitals())
        self.warm.discard(instance.id)
        self._births.pop(instance.id, None)
        self._rest_locks.pop(instance.id, None)
        if instance.started_at is not None and not vitals.reported:
            await self._ended(instance, vitals, removed=True)

    async def _ended(
        self, instance: ObservedInstance, vitals: Vitals, *, removed: bool = False
    ) -> None:
        """Take note of a process that is gone, and ask whether it was us."""
        ended_at = instance.exit.at if instance.exit and instance.exit.at else self._clock.now()
        self._equipment.meter.ended(instance.id, at=ended_at)
        ours = instance.id in self.jobs.busy and instance.id not in self.launching
        if vitals.draining or ours or instance.revision is None:
            return
        revision = self._ledger.revision(instance.revision)
        memory = revision.size.memory if revision else 0
        vitals.failure = (
            "An instance was removed from outside."
            if removed
            else narration.stopped(instance.exit, memory)
        )
        if instance.revision == self._ledger.serving and removed:
            await self._ledger.say(narration.replaced(vitals.failure))
        elif instance.revision == self._ledger.serving:
            await self._crashed(vitals.failure, instance.id)

    async def _crashed(self, failure: str, instance: InstanceId | None = None) -> None:
        """Hold a crash loop back, and tell it once."""
        now = self._clock.now()
        crashes = self.crashes
        await self._calm_down(now)
        crashes.count += 1
        crashes.last = now
        wait = back_off(crashes.count)
        crashes.held_until = Epoch(now + wait) if wait else None
        if crashes.count <= LOOP:
            text = narration.replaced(failure, times=crashes.count, wait=wait, loop=LOOP)
            await self._ledger.say(await self._with_last_lines(text, instance))

    async def _calm_down(self, now: Epoch) -> None:
        """What has gone well for long enough is no loop any more."""
        if self.crashes.count and now - self.crashes.last > CALM:
            if self.crashes.loop:
                await self._ledger.say(narration.loop_over(self.crashes.count, CALM))
            self.crashes.count = 0

    async def _with_last_lines(self, text: str, instance: InstanceId | None) -> str:
        if instance is None:
            return text
        logs, stream = self._equipment.ports.logs, f"instance/{instance}"
        lines = await logs.tail(self._ledger.service.id, stream, LAST_LINES)
        return f"{text}\n{narration.last_lines(lines)}" if lines else text

    def instances(self) -> tuple[Instance, ...]:
        """As they are shown: what the engine says, with what this side knows."""
        return tuple(self._instance(o) for o in self._view.values())

    def of(self, revision: RevisionId | None) -> tuple[Instance, ...]:
        return tuple(i for i in self.instances() if revision and i.revision == revision)

    def _instance(self, observed: ObservedInstance) -> Instance:
        vitals = self._vitals.setdefault(observed.id, Vitals())
        in_flight = self.balancer.in_flight(observed.id)
        overdue = vitals.drain_deadline
        if in_flight:
            self._seen_active.add(observed.id)
        return Instance(
            observed=observed,
            health=vitals.streak.health,
            draining=vitals.draining,
            drain_deadline=None if overdue is None else self._clock.at(overdue),
            in_flight=in_flight,
            idle_since=self.balancer.idle_since(observed.id),
            failure=vitals.failure,
            because=vitals.because,
            checks=tuple(vitals.checks),
        )

    def idle_since(self, now: Epoch) -> Epoch | None:
        """When the last request of all ended; None while there are any."""
        if self.balancer.total_in_flight or self.balancer.waiting:
            return None
        since = [s for i in self._view if (s := self.balancer.idle_since(i)) is not None]
        return max(since, default=self.balancer.last_activity or now)

    def awaits_rest(self, instance: InstanceId) -> bool:
        """Whether the last plan had to leave something open because this instance was busy.

        Only then is the end of its last request worth a new plan: a client that sends one
        request after the other must not cost a plan for each.
        """
        waited = instance in self._seen_active
        self._seen_active.discard(instance)
        return waited

    def _see(self, instance: ObservedInstance) -> None:
        """Our own doing needs no look at the engine."""
        self._touched.add(instance.id)
        self._view[instance.id] = instance
        self._vitals.setdefault(instance.id, Vitals())

    def _unsee(self, instance: InstanceId) -> None:
        self._touched.add(instance)
        self._view.pop(instance, None)
        self._vitals.pop(instance, None)
        self._births.pop(instance, None)
        self.warm.discard(instance)
        self._rest_locks.pop(instance, None)

    # -- coming ----------------------------------------------------------------------------------

    def start(self, revision: Revision, standby: InstanceId | None, reason: str) -> None:
        """From a prepared instance, if one is given."""
        instance = standby or InstanceId(self._equipment.ports.identifiers.hexadecimal())
        self._vitals.setdefault(instance, Vitals()).because = reason
        self.launching[instance] = revision.id
        self._births[instance] = [_now()]
        launch = self._launch(instance, revision, prepared=standby is not None)
        self.jobs.run(launch, instance)

    async def _launch(self, id_: InstanceId, revision: Revision, *, prepared: bool) -> None:
        meter = self._equipment.meter
        size = revision.size
        try:
            async with self._equipment.starts:
                if not prepared:
                    await self._engine.prepare(id_, self._ledger.service, revision)
                self._mark(id_)
                meter.provisioned(id_, self._ledger.service.id, cpu=size.cpu, memory=size.memory)
                meter.starting(id_)
                news = self._news
                endpoint = await self._engine.start(id_, revision)
        except EngineUnavailableError:
            meter.ended(id_, at=self._clock.now())
            await self._machine.sleep(AWAY_PAUSE)  # nobody's fault but the engine's: no crash
            self.stale = True
        except EngineError as error:
            meter.ended(id_, at=self._clock.now())
            failure = f"an instance could not be started: {error}"
            self.start_failures[revision.id] = failure
            self.stale = True
            if revision.id == self._ledger.serving:
                await self._crashed(f"{failure[0].upper()}{failure[1:]}.")
        else:
            self._see(
                replace(
                    self._described(id_, revision, ContainerState.RUNNING),
                    revision=revision.id,
                    endpoint=endpoint,
                    started_at=self._clock.now(),
                )
            )
            self.stale = self.stale or self._news != news  # it may have ended before the answer
            self._mark(id_)
        finally:
            self.launching.pop(id_, None)

    def _mark(self, instance: InstanceId) -> None:
        """The next moment of its start."""
        self._births.setdefault(instance, []).append(_now())

    def _described(
        self, id_: InstanceId, revision: Revision, state: ContainerState
    ) -> ObservedInstance:
        service = self._ledger.service.id
        return ObservedInstance(
            id=id_, service=service, state=state, fingerprint=revision.fingerprint
        )

    def prepare(self, revision: Revision, *, warm: bool = False) -> None:
        instance = InstanceId(self._equipment.ports.identifiers.hexadecimal())
        self.preparing = True
        self.jobs.run(self._prepare(instance, revision, warm=warm), instance)

    async def _prepare(self, id_: InstanceId, revision: Revision, *, warm: bool) -> None:
        try:
            await self._engine.prepare(id_, self._ledger.service, revision, warm=warm)
        finally:
            self.preparing = False
        if warm:
            self.warm.add(id_)
        self._see(self._described(id_, revision, ContainerState.CREATED))

    # -- going -----------------------------------------------------------------------------------

    def drain(self, instance: InstanceId, reason: str) -> None:
        """No new requests from now on."""
        vitals = self._vitals.setdefault(instance, Vitals())
        vitals.because = reason
        vitals.draining = True
        vitals.drain_deadline = Epoch(self._machine.now() + self._equipment.limits.drain)
        self.route()
        self._poke()

    def stop(self, instance: InstanceId) -> None:
        self.jobs.run(self._stop(instance), instance)

    async def _stop(self, instance: InstanceId) -> None:
        await self._engine.stop(instance, grace=self._equipment.limits.stop)
        self._equipment.meter.ended(instance, at=self._clock.now())
        await self._remove(instance)

    def remove(self, instance: InstanceId) -> None:
        self.jobs.run(self._remove(instance), instance)

    async def _remove(self, instance: InstanceId) -> None:
        await self._engine.remove(instance)
        self._unsee(instance)

    # -- rest ------------------------------------------------------------------------------------

    def freeze(self, instance: InstanceId, reason: str) -> None:
        """Unless a request came in this very moment."""
        if self.balancer.rest(instance):
            self.jobs.run(self._freeze(instance, reason), instance)

    async def _freeze(self, instance: InstanceId, reason: str) -> None:
        async with self._rest_locks.setdefault(instance, asyncio.Lock()):
            try:
                await self._engine.freeze(instance)
            except EngineError:
                self.balancer.awake(instance)
                raise
            self._become(instance, ContainerState.FROZEN)
            self._vitals.setdefault(instance, Vitals()).because = reason
        await self._tell_of_rest(instance, reason)

    async def _tell_of_rest(self, instance: InstanceId, reason: str) -> None:
        """Once for each service, also across emulators: whoever has work beside requests wonders."""
        if self._told_of_rest:
            return
        self._told_of_rest = True
        told = await self._equipment.ports.store.events(self._ledger.service.id)
        if not any(narration.TOLD_ONCE in event.text for event in told):
            await self._ledger.say(narration.frozen(instance, reason))

    async def thaw(self, instance: InstanceId) -> None:
        """Called by the balancer for the first request to a frozen instance."""
        async with self._rest_locks.setdefault(instance, asyncio.Lock()):
            self._become(instance, ContainerState.RUNNING)
            self._vitals.setdefault(instance, Vitals()).because = "a request came"
            self._poke()  # the plan that was made for a frozen one does not know when it may rest
            await self._engine.thaw(instance)

    def _become(self, instance: InstanceId, state: ContainerState) -> None:
        seen = self._view.get(instance)
        if seen is not None:
            self._touched.add(instance)
            self._view[instance] = replace(seen, state=state)

    # -- routes and health -----------------------------------------------------------------------

    def route(self) -> None:
        """Requests go to the healthy instances of what serves, and nowhere else."""
        serving = self.of(self._ledger.serving)
        self.balancer.route(
            [
                Target(
                    instance=i.id,
                    endpoint=i.observed.endpoint,
                    frozen=i.observed.state is ContainerState.FROZEN,
                    birth=self._vitals[i.id].birth,
                )
                for i in serving
                if i.runs
                and i.health is Health.HEALTHY
                and not i.draining
                and i.observed.endpoint is not None
            ]
        )
        for i in serving:
            self._vitals[i.id].birth = None

    def watch(self) -> None:
        """Give every running instance its health checks."""
        for instance in self._view.values():
            running = instance.state in RUNS
            vitals = self._vitals.setdefault(instance.id, Vitals())
            if running and not vitals.draining and instance.id not in self._watched:
                self._watch(instance, vitals)

    def _watch(self, instance: ObservedInstance, vitals: Vitals) -> None:
        revision = self._ledger.revision(instance.revision)
        if revision is None or instance.endpoint is None:
            return
        patient = Patient(
            id=instance.id,
            endpoint=instance.endpoint,
            check=revision.health_check,
            port=revision.port,
            vitals=vitals,
            resting=lambda: self._rests(instance.id),
            gone=lambda: instance.id not in self._view,
        )
        self._watched.add(instance.id)
        self.jobs.beside(self._examine(patient))

    def _rests(self, instance: InstanceId) -> bool:
        seen = self._view.get(instance)
        frozen = seen is not None and seen.state is not ContainerState.RUNNING
        return frozen or self.balancer.frozen(instance)

    async def _examine(self, patient: Patient) -> None:
        try:
            await self._watcher.watch(patient, lambda: self._verdict(patient))
        finally:
            self._watched.discard(patient.id)

    def _verdict(self, patient: Patient) -> None:
        if patient.vitals.streak.health is Health.HEALTHY:
            self._equipment.meter.started(patient.id)
            self._note_birth(patient)
        elif not patient.vitals.draining and self._serves(patient.id):
            patient.vitals.reported = True
            self.jobs.beside(self._crashed(patient.vitals.failure, patient.id))
        self._poke()

    def _serves(self, instance: InstanceId) -> bool:
        """Requests are for it; a deployment's instances fail with their operation."""
        seen = self._view.get(instance)
        if seen is None or seen.state is not ContainerState.RUNNING:
            return False
        return seen.revision == self._ledger.serving

    def _note_birth(self, patient: Patient) -> None:
        """The balancer knows whether a request waits for it; a deployment tells its own."""
        moments = self._births.pop(patient.id, None)
        if moments is None or self._ledger.operation is not None:
            return
        now = _now()
        # The engine may have shown that it runs before it has answered that it was started.
        began, created, started = (*moments, now, now)[:STARTED]
        patient.vitals.birth = Birth(
            began=began,
            created=created,
            started=started,
            connected=patient.vitals.connected_at or now,
            healthy=now,
        )

    def tell_start(self, instance: InstanceId, phases: tuple[Phase, ...]) -> None:
        """An instance came: how long each part of that took."""
        self.last_start = Start(at=self._clock.now(), instance=instance, phases=phases)
        if not self.crashes.loop:
            self.jobs.beside(self._ledger.say(narration.woken(instance, phases)))


def _now() -> float:
    """For differences between moments of a start: the clock that requests are timed by, too."""
    return asyncio.get_running_loop().time()
