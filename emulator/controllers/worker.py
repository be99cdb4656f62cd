"""One service's serial worker: observe, plan, act, again and again until all is as wanted.

The loop itself never waits for anything slow: starts, stops, builds and health checks are jobs
that poke the loop when they are done.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import assert_never

from emulator.controllers.balancer import Balancer, Door
from emulator.controllers.bell import Bell
from emulator.controllers.deployment import Deployer
from emulator.controllers.fleet import Crashes, Equipment, Fleet
from emulator.controllers.ledger import Ledger, Overtaken
from emulator.decisions import narration, reconcile, scaling
from emulator.decisions.reconcile import BuildState, Situation
from emulator.model.configuration import CodeSource, ImageSource, ServiceConfiguration
from emulator.model.errors import (
    BuildError,
    ConfigurationError,
    EngineError,
    RepositoryError,
    StoreError,
)
from emulator.model.identifiers import Epoch, InstanceId, OperationId, RevisionId
from emulator.model.instance import ContainerState, Instance
from emulator.model.operation import Operation, OperationStatus, OperationType
from emulator.model.revision import Revision
from emulator.model.service import Service, ServiceStatus
from emulator.ports import Ports

RESYNC = 30.0  # seconds after which the engine is looked at again although nothing happened
TROUBLE_PAUSE = 1.0  # seconds between two tries against an engine that fails
LOG_TAIL = 12


class Worker:
    """Brings one service to where its ledger says it should be, and keeps it there."""

    def __init__(self, ledger: Ledger, equipment: Equipment, deployer: Deployer) -> None:
        self.ledger = ledger
        self._limits = equipment.limits
        self._pace = equipment.pace
        self.balancer = Balancer(
            equipment.ports.clock,
            max_concurrency=ledger.service.configuration.scaling.max_concurrency,
            queue_limit=equipment.limits.queue,
            queue_wait=equipment.limits.queue_wait,
            wake=self.poke,
            thaw=self.thaw,
            activity=self.activity,
        )
        self._ports: Ports = equipment.ports
        self._clock = equipment.ports.clock
        self._meter = equipment.meter
        self._fleet = Fleet(ledger, self.balancer, equipment, self.poke)
        self._deployer = deployer
        self._bell = Bell()
        self._building: OperationId | None = None
        self._build_failures: dict[OperationId, str] = {}
        self._closing = False
        self._closed = False
        self._memory: scaling.Memory | None = None
        self._trouble = ""
        self.reconfigured: Callable[[], None] = _nobody
        ledger.wake = self.poke

    # -- the loop ------------------------------------------------------------------------------

    def poke(self) -> None:
        """Something may have changed: plan again."""
        self._bell.ring()

    def look_again(self) -> None:
        """The engine changed something by itself: observe and plan again."""
        self._fleet.look_again()
        self._bell.ring()

    def instances(self) -> tuple[Instance, ...]:
        """As they are shown."""
        return self._fleet.instances()

    async def thaw(self, instance: InstanceId) -> None:
        """For the balancer."""
        await self._fleet.thaw(instance)

    def activity(self, instance: InstanceId, active: bool) -> None:  # noqa: FBT001 - a level
        """For the balancer, on its request path: an instance's requests became some, or none."""
        self._meter.activity(instance, active)
        if not active and self._fleet.awaits_rest(instance):
            self.poke()

    async def run(self) -> None:
        """Until the service is deleted."""
        self.reconfigure()
        self._fleet.stale = True
        async with self._fleet.jobs:
            while self.ledger.service.live:
                seen = self._bell.count
                timeout = await self._guarded_turn()
                await self._bell.later(seen, timeout=timeout)
            self.balancer.serve(Door.CLOSED)
            self._fleet.jobs.cancel()

    async def _guarded_turn(self) -> float:
        """A turn; an engine or a disk that fails is told once and tried again soon."""
        try:
            timeout = await self._turn()
        except (EngineError, StoreError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                await self.ledger.say(f"Nothing can be done for now: {error}")
            self._fleet.stale = True
            return TROUBLE_PAUSE
        self._trouble = ""
        return timeout

    async def _turn(self) -> float:
        fleet = self._fleet
        if fleet.stale or self._clock.now() - fleet.observed_at >= RESYNC:
            await fleet.observe()
        now = self._clock.now()
        size, size_due = await self._size(now)
        plan = reconcile.plan(self._situation(now, size))
        for action in plan.actions:
            await self._act(action)
        fleet.route()
        self.balancer.serve(self._door())
        fleet.watch()
        dues = [d for d in (plan.due, size_due, Epoch(fleet.observed_at + RESYNC)) if d]
        return max(0.001, min(dues) - now)

    def _situation(self, now: Epoch, size: int) -> Situation:
        operation = self.ledger.operation
        launching: dict[RevisionId, int] = {}
        for revision in self._fleet.launching.values():
            launching[revision] = launching.get(revision, 0) + 1
        return Situation(
            now=now,
            service=self.ledger.service,
            operation=operation,
            serving=self._revision(self.ledger.service.revision),
            target=self._revision(operation.target if operation else None),
            instances=self._fleet.instances(),
            size=size,
            build=self._build_state(operation),
            build_failure=self._build_failures.get(operation.id, "") if operation else "",
            launching=launching,
            start_failures=self._fleet.start_failures,
            busy=frozenset(self._fleet.jobs.busy),
            preparing=self._fleet.preparing,
            closing=self._closing,
            closed=self._closed,
            held_until=self._fleet.crashes.held_until,
            freeze_after=self._configuration.extensions.freeze_after,
            pace=self._pace,
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
        if self._memory is None:
            serving = self._fleet.of(self.ledger.service.revision)
            running = len([i for i in serving if i.observed.state is not ContainerState.EXITED])
            self._memory = scaling.Memory(size=running, enough=running, since=now)
        extensions = self._configuration.extensions
        decision = scaling.decide(
            now,
            scaling.Load(demand=self.balancer.peak(), idle_since=self._fleet.idle_since(now)),
            scaling=self._configuration.scaling,
            zero_after=extensions.scale_to_zero_after,
            memory=self._memory,
        )
        old, self._memory = self._memory.size, decision.memory
        if old != decision.size and self.ledger.operation is None:
            await self.ledger.say(narration.scaled(old, decision.size, decision.reason))
        return decision.size, decision.due

    # -- acting --------------------------------------------------------------------------------

    async def _act(self, action: reconcile.Action) -> None:  # noqa: C901, PLR0912, PLR0915 - a row each
        match action:
            case reconcile.Begin():
                await self._begin()
            case reconcile.Deploy(commit=commit):
                with suppress(Overtaken):
                    await self._deploy(commit)
            case reconcile.Build():
                self._build()
            case reconcile.Start(revision=revision, standby=standby):
                self._fleet.start(revision, standby)
            case reconcile.Prepare(revision=revision):
                self._fleet.prepare(revision)
            case reconcile.Freeze(instance=instance):
                self._fleet.freeze(instance)
            case reconcile.Drain(instance=instance):
                self._fleet.drain(instance)
            case reconcile.Stop(instance=instance):
                self._fleet.stop(instance)
            case reconcile.Remove(instance=instance):
                self._fleet.remove(instance)
            case reconcile.Promote(revision=revision):
                await self._promote(revision)
            case reconcile.RollBack(reason=reason):
                await self._roll_back(reason)
            case reconcile.Fail(reason=reason):
                await self._fail(reason)
            case reconcile.Finish(status=status, service=service, reason=reason):
                await self._finish(status, service, reason)
            case reconcile.Close():
                self._closing = True
                self._fleet.jobs.run(self._close())
            case _:
                assert_never(action)

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
        self._fleet.crashes = Crashes()
        self._fleet.start_failures.clear()
        self.poke()

    async def _deploy(self, commit: str) -> None:
        now = self._clock.now()
        of_code = isinstance(self.ledger.service.configuration.source, CodeSource)
        first = self.ledger.service.revision is None
        operation = Operation(
            id=OperationId(self._ports.identifiers.uuid()),
            service=self.ledger.service.id,
            type=OperationType.UPDATE_SERVICE if first else OperationType.START_DEPLOYMENT,
            started_at=now,
            updated_at=now,
            commit=commit if of_code else None,
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
        self._fleet.jobs.run(self._build_job(operation))

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
            updated_at=now,
            amend=lambda service: replace(service, serving=service.configuration),
        )
        healthy = self._fleet.of(revision.id)
        self._memory = scaling.Memory(size=len(healthy), enough=len(healthy), since=now)
        self._fleet.crashes = Crashes()
        self.reconfigure()
        self._fleet.route()
        self.poke()

    async def _roll_back(self, reason: str) -> None:
        operation = self._operation()
        moved = operation.moved(
            OperationStatus.ROLLBACK_IN_PROGRESS, now=self._clock.now(), reason=reason
        )
        texts = await self._failure_texts(operation, reason)
        await self.ledger.save(moved, *(self.ledger.event(t) for t in texts))
        self.poke()

    async def _fail(self, reason: str) -> None:
        """Told and stored now; the operation goes on until App Runner's would end."""
        operation = self._operation()
        texts = await self._failure_texts(operation, reason)
        await self.ledger.save(
            replace(operation, reason=reason), *(self.ledger.event(t) for t in texts)
        )
        self.poke()

    async def _failure_texts(self, operation: Operation, reason: str) -> list[str]:
        texts = [narration.deployment_failed(operation, reason)] if operation.deploys else [reason]
        tail = await self._last_lines(operation.target)
        return [*texts, narration.last_lines(tail)] if tail else texts

    async def _last_lines(self, revision: RevisionId | None) -> tuple[str, ...]:
        """Of the log of an instance of that revision, wherever one has written anything."""
        service = self.ledger.service.id
        for instance in self._fleet.of(revision):
            tail = await self._ports.logs.tail(service, f"instance/{instance.id}", LOG_TAIL)
            if tail:
                return tail
        return ()

    async def _finish(self, status: OperationStatus, to: ServiceStatus, reason: str) -> None:
        operation = self._operation()
        now = self._clock.now()
        texts: list[str] = []
        if status is OperationStatus.FAILED and reason and not operation.reason:
            texts += await self._failure_texts(operation, reason)
        texts += narration.finished(operation, status, to)
        serving = self._revision(self.ledger.service.revision)
        await self.ledger.save(
            operation.moved(status, now=now, reason=reason),
            *(self.ledger.event(t) for t in texts),
            status=to,
            paused=to is ServiceStatus.PAUSED,
            updated_at=now,
            deleted_at=now if to is ServiceStatus.DELETED else None,
            amend=lambda service: _settled(service, status, serving),
        )
        self._build_failures.pop(operation.id, None)
        self.reconfigure()
        self.poke()

    async def _close(self) -> None:
        try:
            await self._ports.instances.clear(self.ledger.service.id)
            self._closed = True
        finally:
            self._closing = False

    def _door(self) -> Door:
        service = self.ledger.service
        if service.revision is None or service.status is ServiceStatus.DELETED:
            return Door.CLOSED
        operation = self.ledger.operation
        leaving = {OperationType.PAUSE_SERVICE, OperationType.DELETE_SERVICE}
        if service.paused or (operation is not None and operation.type in leaving):
            return Door.PAUSED
        return Door.OPEN

    def reconfigure(self) -> None:
        """The service's configuration is another one."""
        configuration = self._configuration
        self.balancer.configure(
            max_concurrency=configuration.scaling.max_concurrency,
            request_timeout=configuration.extensions.request_timeout,
        )
        self.reconfigured()


def _settled(service: Service, status: OperationStatus, serving: Revision | None) -> Service:
    """What failed to deploy is not the service's configuration, nor its image or commit the one
    to compare with what the old source has now.
    """
    if status is not OperationStatus.ROLLBACK_SUCCEEDED or service.serving is None:
        return service
    settled = replace(service, configuration=service.serving)
    if serving is None or _has_same_origin(settled.configuration, service.configuration):
        return settled
    return replace(settled, seen_commit=serving.commit or serving.image, queued=None)


def _has_same_origin(one: ServiceConfiguration, other: ServiceConfiguration) -> bool:
    """What is new there is new for both."""
    match one.source, other.source:
        case ImageSource(identifier=first), ImageSource(identifier=second):
            return first == second
        case CodeSource() as first, CodeSource() as second:
            return (first.repository, first.branch) == (second.repository, second.branch)
        case _:
            return True


def _nobody() -> None:
    """Before the platform has taken the worker on."""
