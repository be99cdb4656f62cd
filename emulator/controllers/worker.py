"""One service's serial worker: observe, plan, act, again and again until all is as wanted.

The loop itself never waits for anything slow: starts, stops, builds and health checks are jobs
that poke the loop when they are done. Two jobs never touch the same instance.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import assert_never

from emulator.controllers.balancer import Balancer, Door, Target
from emulator.controllers.bell import Bell
from emulator.controllers.deployment import Deployer
from emulator.controllers.ledger import Ledger
from emulator.controllers.meter import Meter
from emulator.controllers.observatory import Observatory
from emulator.controllers.watcher import HealthWatcher, Patient, Vitals
from emulator.decisions import narration, reconcile, scaling
from emulator.decisions.health import Streak, back_off
from emulator.decisions.reconcile import BuildState, Situation
from emulator.model.configuration import ServiceConfiguration
from emulator.model.errors import BuildError, ConfigurationError, EngineError, RepositoryError
from emulator.model.identifiers import Epoch, InstanceId, OperationId, RevisionId
from emulator.model.instance import ContainerState, Health, Instance, ObservedInstance
from emulator.model.operation import Operation, OperationStatus, OperationType
from emulator.model.revision import Revision
from emulator.model.service import ServiceStatus
from emulator.model.settings import Limits
from emulator.ports import Ports

RESYNC = 30.0  # seconds after which the engine is looked at again although nothing happened
CALM = 120.0  # seconds without a crash that end a crash loop
LOG_TAIL = 12


class Overtaken(Exception):  # noqa: N818 - not an error: somebody was faster
    """Another operation began first."""


@dataclass(slots=True)
class Crashes:
    """Of the serving revision, in a row."""

    count: int = 0
    last: float = float("-inf")
    held_until: Epoch | None = None


class Worker:
    """Brings one service to where its ledger says it should be, and keeps it there."""

    def __init__(  # noqa: PLR0913 - its whole world, each by name
        self,
        *,
        ledger: Ledger,
        ports: Ports,
        observatory: Observatory,
        balancer: Balancer,
        meter: Meter,
        deployer: Deployer,
        limits: Limits,
        starts: asyncio.Semaphore,
    ) -> None:
        self.ledger = ledger
        self.balancer = balancer
        self._ports = ports
        self._clock = ports.clock
        self._engine = ports.instances
        self._observatory = observatory
        self._meter = meter
        self._deployer = deployer
        self._limits = limits
        self._starts = starts
        self._watcher = HealthWatcher(
            clock=ports.clock,
            probe=ports.probe,
            instances=ports.instances,
            start_limit=limits.start,
        )
        self._bell = Bell()
        self._group: asyncio.TaskGroup | None = None
        self._view: dict[InstanceId, ObservedInstance] = {}
        self._vitals: dict[InstanceId, Vitals] = {}
        self._stale = True
        self._adopting = True
        self._touched: set[InstanceId] = set()
        self._observed_at = Epoch(0.0)
        self._busy: set[InstanceId] = set()
        self._launching: dict[InstanceId, RevisionId] = {}
        self._start_failures: dict[RevisionId, str] = {}
        self._building: OperationId | None = None
        self._build_failures: dict[OperationId, str] = {}
        self._preparing = False
        self._closing = False
        self._closed = False
        self._crashes = Crashes()
        self._memory: scaling.Memory | None = None
        self._rest_lock: dict[InstanceId, asyncio.Lock] = {}
        self._watched: set[InstanceId] = set()
        self._trouble = ""
        ledger.wake = self.poke

    # -- the loop ------------------------------------------------------------------------------

    def poke(self) -> None:
        """Something may have changed: plan again."""
        self._bell.ring()

    def look_again(self) -> None:
        """The engine changed something by itself: observe and plan again."""
        self._stale = True
        self._bell.ring()

    async def run(self) -> None:
        """Until the service is deleted."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            while self.ledger.service.live:
                seen = self._bell.count
                timeout = await self._guarded_turn()
                await self._bell.later(seen, timeout=timeout)
            self.balancer.serve(Door.CLOSED)

    async def _guarded_turn(self) -> float:
        """A turn; an engine that fails is told once and tried again soon."""
        try:
            timeout = await self._turn()
        except EngineError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                await self.ledger.say(f"The container engine has a problem: {error}")
            self._stale = True
            return 1.0
        self._trouble = ""
        return timeout

    async def _turn(self) -> float:
        now = self._clock.now()
        if self._stale or now - self._observed_at >= RESYNC:
            await self._observe()
        now = self._clock.now()
        size, size_due = await self._size(now)
        plan = reconcile.plan(self._situation(now, size))
        for action in plan.actions:
            await self._act(action)
        self._route()
        self._watch_all()
        dues = [d for d in (plan.due, size_due, Epoch(self._observed_at + RESYNC)) if d is not None]
        return max(0.001, min(dues) - now)

    # -- what is there -------------------------------------------------------------------------

    async def _observe(self) -> None:
        self._stale = False
        self._touched.clear()
        observed = await self._observatory.look(self.ledger.service.id)
        self._observed_at = self._clock.now()
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
        self._rest_lock.pop(instance.id, None)
        if instance.started_at is None or vitals.reported:
            return
        vitals.reported = True
        await self._ended(replace(instance, state=ContainerState.EXITED), vitals, removed=True)

    async def _ended(
        self, instance: ObservedInstance, vitals: Vitals, *, removed: bool = False
    ) -> None:
        """Take note of a process that is gone, and ask whether it was us."""
        ended_at = instance.exit.at if instance.exit and instance.exit.at else self._clock.now()
        self._meter.ended(instance.id, at=ended_at)
        if vitals.draining or instance.id in self._busy or instance.revision is None:
            return
        revision = self.ledger.revisions.get(instance.revision)
        memory = revision.size.memory if revision else 0
        vitals.failure = (
            "An instance was removed from outside."
            if removed
            else narration.stopped(instance.exit, memory)
        )
        if instance.revision == self.ledger.service.revision:
            await self._crashed(vitals, removed=removed)

    async def _crashed(self, vitals: Vitals, *, removed: bool = False) -> None:
        """Hold a crash loop back; tell it in ever fewer words."""
        now = self._clock.now()
        crashes = self._crashes
        crashes.count = 0 if now - crashes.last > CALM else crashes.count
        if not removed:
            crashes.count += 1
            crashes.last = now
        wait = back_off(crashes.count)
        crashes.held_until = Epoch(now + wait) if wait else None
        if crashes.count & (crashes.count - 1) == 0:  # the 1st, 2nd, 4th, 8th …
            again = f" It is the {crashes.count}. time in a row." if crashes.count > 1 else ""
            hold = f" Next start in {wait:g} s." if wait else ""
            await self.ledger.say(f"{vitals.failure}{again} A new instance replaces it.{hold}")

    def instances(self) -> tuple[Instance, ...]:
        """As they are shown: what the engine says, with what this side knows."""
        return tuple(self._instance(o) for o in self._view.values())

    def _instance(self, observed: ObservedInstance) -> Instance:
        vitals = self._vitals.setdefault(observed.id, Vitals())
        return Instance(
            observed=observed,
            health=vitals.streak.health,
            draining=vitals.draining,
            drain_deadline=vitals.drain_deadline,
            in_flight=self.balancer.in_flight(observed.id),
            idle_since=self.balancer.idle_since(observed.id),
            failure=vitals.failure,
        )

    def _situation(self, now: Epoch, size: int) -> Situation:
        operation = self.ledger.operation
        launching: dict[RevisionId, int] = {}
        for revision in self._launching.values():
            launching[revision] = launching.get(revision, 0) + 1
        return Situation(
            now=now,
            service=self.ledger.service,
            operation=operation,
            serving=self._revision(self.ledger.service.revision),
            target=self._revision(operation.target if operation else None),
            instances=self.instances(),
            size=size,
            build=self._build_state(operation),
            build_failure=self._build_failures.get(operation.id, "") if operation else "",
            launching=launching,
            start_failures=self._start_failures,
            busy=frozenset(self._busy),
            preparing=self._preparing,
            closing=self._closing,
            closed=self._closed,
            held_until=self._crashes.held_until,
            freeze_after=self._configuration.extensions.freeze_after,
        )

    @property
    def _configuration(self) -> ServiceConfiguration:
        return self.ledger.service.serving or self.ledger.service.configuration

    def _revision(self, id_: RevisionId | None) -> Revision | None:
        return self.ledger.revisions.get(id_) if id_ else None

    def _build_state(self, operation: Operation | None) -> BuildState:
        if operation is None:
            return BuildState.NONE
        if operation.id in self._build_failures:
            return BuildState.FAILED
        return BuildState.RUNNING if self._building == operation.id else BuildState.NONE

    # -- how many ------------------------------------------------------------------------------

    async def _size(self, now: Epoch) -> tuple[int, Epoch | None]:
        if self.ledger.service.revision is None:
            return 0, None
        serving = [i for i in self._view.values() if i.revision == self.ledger.service.revision]
        if self._memory is None:
            running = len([i for i in serving if i.state is not ContainerState.EXITED])
            self._memory = scaling.Memory(size=running, enough=running, since=now)
        extensions = self._configuration.extensions
        decision = scaling.decide(
            now,
            scaling.Load(demand=self.balancer.peak(), idle_since=self._idle_since(now)),
            scaling=self._configuration.scaling,
            zero_after=extensions.scale_to_zero_after,
            memory=self._memory,
        )
        old, self._memory = self._memory.size, decision.memory
        if old != decision.size and self.ledger.operation is None:
            await self.ledger.say(narration.scaled(old, decision.size, decision.reason))
        return decision.size, decision.due

    def _idle_since(self, now: Epoch) -> Epoch | None:
        if self.balancer.total_in_flight or self.balancer.waiting:
            return None
        since = [idle for i in self._view if (idle := self.balancer.idle_since(i)) is not None]
        return max(since, default=self.balancer.last_activity or now)

    # -- acting --------------------------------------------------------------------------------

    async def _act(self, action: reconcile.Action) -> None:  # noqa: C901, PLR0912 - one row each
        match action:
            case reconcile.Begin():
                await self._begin()
            case reconcile.Deploy(commit=commit):
                with suppress(Overtaken):
                    await self._deploy(commit)
            case reconcile.Build():
                self._build()
            case reconcile.Start(revision=revision):
                self._start(revision)
            case reconcile.Prepare(revision=revision):
                self._prepare(revision)
            case reconcile.Freeze(instance=instance):
                self._freeze(instance)
            case reconcile.Drain(instance=instance):
                self._drain(instance)
            case reconcile.Stop(instance=instance):
                self._job(self._stop(instance), instance)
            case reconcile.Remove(instance=instance):
                self._job(self._remove(instance), instance)
            case reconcile.Promote(revision=revision):
                await self._promote(revision)
            case reconcile.RollBack(reason=reason):
                await self._roll_back(reason)
            case reconcile.Finish(status=status, service=service, reason=reason):
                await self._finish(status, service, reason)
            case reconcile.Close():
                self._closing = True
                self._job(self._close())
            case _:
                assert_never(action)

    def _job(
        self, work: Coroutine[object, object, None], instance: InstanceId | None = None
    ) -> None:
        """Run something slow beside the loop; an engine error is told and tried again."""
        if self._group is None:
            raise RuntimeError("the worker does not run")
        if instance is not None:
            self._busy.add(instance)
        self._group.create_task(self._guarded(work, instance))

    async def _guarded(
        self, work: Coroutine[object, object, None], instance: InstanceId | None
    ) -> None:
        failed = False
        try:
            await work
        except EngineError as error:
            failed = True
            await self.ledger.say(f"The container engine refused: {error}")
        if failed:
            await self._clock.sleep(1.0)  # not a busy loop against an engine that is down
        if instance is not None:
            self._busy.discard(instance)
        self.look_again() if failed else self.poke()

    # ---- operations

    async def _begin(self) -> None:
        operation = self._operation()
        now = self._clock.now()
        limit = self._limits.build + self._limits.start + self._limits.drain
        begun = replace(
            operation.moved(OperationStatus.IN_PROGRESS, now=now), deadline=Epoch(now + limit)
        )
        lines = list(narration.begun(begun))
        if begun.deploys:
            lines.append(narration.artifact(self.ledger.service.configuration.source))
        if begun.type is OperationType.START_DEPLOYMENT and begun.target:
            lines.append(f"Rolling back to revision {begun.target}: its image is kept, no build.")
            lines.append("Provisioning instances and deploying image.")
        await self.ledger.save(begun, *(self.ledger.event(t) for t in lines))
        self._crashes = Crashes()
        self._start_failures.clear()
        self.poke()

    async def _deploy(self, commit: str) -> None:
        now = self._clock.now()
        first = self.ledger.service.revision is None
        operation = Operation(
            id=OperationId(self._ports.identifiers.uuid()),
            service=self.ledger.service.id,
            type=OperationType.UPDATE_SERVICE if first else OperationType.START_DEPLOYMENT,
            started_at=now,
            updated_at=now,
            commit=commit,
            automatic=True,
        )
        await self.ledger.save(
            operation,
            check=self._at_rest,
            queued=None,
            status=ServiceStatus.OPERATION_IN_PROGRESS,
        )
        self.poke()

    def _at_rest(self) -> None:
        """A request may have come first; the commit stays queued then."""
        if self.ledger.operation is not None:
            raise Overtaken

    def _operation(self) -> Operation:
        operation = self.ledger.operation
        if operation is None:
            raise RuntimeError("no operation is under way")
        return operation

    def _build(self) -> None:
        operation = self._operation()
        self._building = operation.id
        self._job(self._build_job(operation))

    async def _build_job(self, operation: Operation) -> None:
        try:
            async with asyncio.timeout(self._limits.build + self._limits.start):
                revision = await self._deployer.revision(self.ledger, operation)
        except (
            BuildError,
            ConfigurationError,
            RepositoryError,
            EngineError,
            TimeoutError,
        ) as error:
            self._build_failures[operation.id] = str(error) or "the build took too long"
        else:
            await self.ledger.save(
                revision,
                replace(self._operation(), target=revision.id),
                self.ledger.event("Provisioning instances and deploying image."),
                self.ledger.event(narration.checking(revision.health_check, revision.port)),
                revisions=self.ledger.service.revisions + 1,
            )
        finally:
            self._building = None
        self.poke()

    async def _promote(self, revision: Revision) -> None:
        operation = self._operation()
        now = self._clock.now()
        await self.ledger.save(
            operation.moved(OperationStatus.SUCCEEDED, now=now),
            *(self.ledger.event(t) for t in narration.promoted(operation)),
            revision=revision.id,
            status=ServiceStatus.RUNNING,
            paused=False,
            serving=self.ledger.service.configuration,
            updated_at=now,
        )
        healthy = [i for i in self.instances() if i.revision == revision.id]
        self._memory = scaling.Memory(size=len(healthy), enough=len(healthy), since=now)
        self._crashes = Crashes()
        self._configure()
        self._route()
        self.poke()

    async def _roll_back(self, reason: str) -> None:
        operation = self._operation()
        moved = operation.moved(
            OperationStatus.ROLLBACK_IN_PROGRESS, now=self._clock.now(), reason=reason
        )
        texts = await self._failure_texts(operation, reason)
        await self.ledger.save(moved, *(self.ledger.event(t) for t in texts))
        self.poke()

    async def _failure_texts(self, operation: Operation, reason: str) -> list[str]:
        texts = [narration.deployment_failed(operation, reason)] if operation.deploys else [reason]
        tail = await self._last_lines(operation.target)
        return [*texts, narration.last_lines(tail)] if tail else texts

    async def _last_lines(self, revision: RevisionId | None) -> tuple[str, ...]:
        """Of the log of an instance of that revision, wherever one has written anything."""
        for instance in self._view.values():
            if revision is not None and instance.revision == revision:
                tail = await self._ports.logs.tail(
                    self.ledger.service.id, f"instance/{instance.id}", LOG_TAIL
                )
                if tail:
                    return tail
        return ()

    async def _finish(self, status: OperationStatus, to: ServiceStatus, reason: str) -> None:
        operation = self._operation()
        now = self._clock.now()
        texts: list[str] = []
        if status is OperationStatus.FAILED and reason:
            texts += await self._failure_texts(operation, reason)
        texts += narration.finished(operation, status, to)
        await self.ledger.save(
            operation.moved(status, now=now, reason=reason),
            *(self.ledger.event(t) for t in texts),
            status=to,
            paused=to is ServiceStatus.PAUSED,
            updated_at=now,
            deleted_at=now if to is ServiceStatus.DELETED else None,
            configuration=self._settled_configuration(status),
        )
        self._build_failures.pop(operation.id, None)
        self._configure()
        self.poke()

    def _settled_configuration(self, status: OperationStatus) -> ServiceConfiguration:
        """What failed to deploy is not the service's configuration."""
        service = self.ledger.service
        if status is OperationStatus.ROLLBACK_SUCCEEDED and service.serving is not None:
            return service.serving
        return service.configuration

    # ---- instances

    def _start(self, revision: Revision) -> None:
        instance = self._standby(revision) or InstanceId(self._ports.identifiers.hexadecimal())
        prepared = instance in self._view
        self._launching[instance] = revision.id
        self._job(self._launch(instance, revision, prepared=prepared), instance)

    def _standby(self, revision: Revision) -> InstanceId | None:
        for instance in self._view.values():
            created = instance.state is ContainerState.CREATED and instance.id not in self._busy
            if created and instance.fingerprint == revision.fingerprint:
                return instance.id
        return None

    async def _launch(self, id_: InstanceId, revision: Revision, *, prepared: bool) -> None:
        try:
            async with self._starts:
                if not prepared:
                    await self._engine.prepare(id_, self.ledger.service, revision)
                self._metered(id_, revision)
                endpoint = await self._engine.start(id_, revision)
        except EngineError as error:
            self._meter.ended(id_, at=self._clock.now())
            self._start_failures[revision.id] = f"an instance could not be started: {error}"
            await self._crashed(Vitals(failure=f"An instance could not be started: {error}."))
            self._stale = True
        else:
            self._see(
                ObservedInstance(
                    id=id_,
                    service=self.ledger.service.id,
                    state=ContainerState.RUNNING,
                    fingerprint=revision.fingerprint,
                    revision=revision.id,
                    endpoint=endpoint,
                    started_at=self._clock.now(),
                )
            )
        finally:
            self._launching.pop(id_, None)

    def _metered(self, id_: InstanceId, revision: Revision) -> None:
        size = revision.size
        service = self.ledger.service.id
        self._meter.provisioned(id_, service, cpu=size.cpu, memory=size.memory)
        self._meter.starting(id_)

    def _see(self, instance: ObservedInstance) -> None:
        """Our own doing needs no look at the engine."""
        self._touched.add(instance.id)
        self._view[instance.id] = instance
        self._vitals.setdefault(instance.id, Vitals())

    def _unsee(self, instance: InstanceId) -> None:
        self._touched.add(instance)
        self._view.pop(instance, None)
        self._vitals.pop(instance, None)
        self._rest_lock.pop(instance, None)

    def _prepare(self, revision: Revision) -> None:
        instance = InstanceId(self._ports.identifiers.hexadecimal())
        self._preparing = True
        self._job(self._prepare_job(instance, revision), instance)

    async def _prepare_job(self, id_: InstanceId, revision: Revision) -> None:
        try:
            await self._engine.prepare(id_, self.ledger.service, revision)
        finally:
            self._preparing = False
        self._see(
            ObservedInstance(
                id=id_,
                service=self.ledger.service.id,
                state=ContainerState.CREATED,
                fingerprint=revision.fingerprint,
            )
        )

    def _drain(self, instance: InstanceId) -> None:
        vitals = self._vitals.setdefault(instance, Vitals())
        vitals.draining = True
        vitals.drain_deadline = Epoch(self._clock.now() + self._limits.drain)
        self._route()
        self.poke()

    async def _stop(self, instance: InstanceId) -> None:
        await self._engine.stop(instance, grace=self._limits.stop)
        self._meter.ended(instance, at=self._clock.now())
        await self._remove(instance)

    async def _remove(self, instance: InstanceId) -> None:
        await self._engine.remove(instance)
        self._unsee(instance)

    async def _close(self) -> None:
        try:
            await self._engine.clear(self.ledger.service.id)
            self._closed = True
        finally:
            self._closing = False

    # ---- rest

    def _freeze(self, instance: InstanceId) -> None:
        if self.balancer.rest(instance):
            self._job(self._freeze_job(instance), instance)

    async def _freeze_job(self, instance: InstanceId) -> None:
        async with self._rest_lock.setdefault(instance, asyncio.Lock()):
            try:
                await self._engine.freeze(instance)
            except EngineError:
                self.balancer.awake(instance)
                self._stale = True
                raise
            self._become(instance, ContainerState.FROZEN)

    async def thaw(self, instance: InstanceId) -> None:
        """Called by the balancer for the first request to a frozen instance."""
        async with self._rest_lock.setdefault(instance, asyncio.Lock()):
            self._become(instance, ContainerState.RUNNING)
            await self._engine.thaw(instance)

    def _become(self, instance: InstanceId, state: ContainerState) -> None:
        seen = self._view.get(instance)
        if seen is not None:
            self._touched.add(instance)
            self._view[instance] = replace(seen, state=state)

    # ---- routes and health

    def _route(self) -> None:
        """Requests go to the healthy instances of what serves, and nowhere else."""
        serving = self.ledger.service.revision
        self.balancer.route(
            [
                Target(
                    instance=i.id,
                    endpoint=i.observed.endpoint,
                    frozen=i.observed.state is ContainerState.FROZEN,
                )
                for i in self.instances()
                if i.observed.endpoint is not None
                and i.runs
                and i.revision == serving
                and i.health is Health.HEALTHY
                and not i.draining
            ]
        )
        self.balancer.serve(self._door())

    def _door(self) -> Door:
        service = self.ledger.service
        if service.revision is None or service.status is ServiceStatus.DELETED:
            return Door.CLOSED
        operation = self.ledger.operation
        leaving = {OperationType.PAUSE_SERVICE, OperationType.DELETE_SERVICE}
        if service.paused or (operation is not None and operation.type in leaving):
            return Door.PAUSED
        return Door.OPEN

    def _configure(self) -> None:
        configuration = self._configuration
        self.balancer.configure(
            max_concurrency=configuration.scaling.max_concurrency,
            request_timeout=configuration.extensions.request_timeout,
        )

    def _watch_all(self) -> None:
        for instance in self._view.values():
            vitals = self._vitals.setdefault(instance.id, Vitals())
            running = instance.state in {ContainerState.RUNNING, ContainerState.FROZEN}
            if running and not vitals.draining and instance.id not in self._watched:
                self._watch(instance, vitals)

    def _watch(self, instance: ObservedInstance, vitals: Vitals) -> None:
        revision = self._revision(instance.revision)
        if revision is None or instance.endpoint is None or self._group is None:
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
        self._group.create_task(self._watch_job(patient))

    def _rests(self, instance: InstanceId) -> bool:
        seen = self._view.get(instance)
        return seen is not None and seen.state is not ContainerState.RUNNING

    async def _watch_job(self, patient: Patient) -> None:
        try:
            await self._watcher.watch(patient, lambda: self._verdict(patient))
        finally:
            self._watched.discard(patient.id)

    def _verdict(self, patient: Patient) -> None:
        if patient.vitals.streak.health is Health.HEALTHY:
            self._meter.started(patient.id)
        self.poke()
