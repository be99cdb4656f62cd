"""One service's serial worker: observe, plan, act, again and again until all is as wanted.

The loop itself never waits for anything slow: starts, stops, builds and health checks are jobs
that poke the loop when they are done.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, assert_never

from emulator.controllers.balancer import Balancer, Door
from emulator.controllers.bell import Bell
from emulator.controllers.deployment import Deployer
from emulator.controllers.fleet import Crashes, Equipment, Fleet, Start
from emulator.controllers.ledger import Ledger, Overtaken
from emulator.decisions import narration, reconcile, scaling
from emulator.decisions.admission import Refusal
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
from emulator.ports import Change, Ports

RESYNC = 30.0  # seconds after which the engine is looked at again although nothing happened
TROUBLE_PAUSE = 1.0  # seconds between two tries against an engine that fails
REFUSALS_EVERY = 60.0  # seconds between two lines about refused requests
LOG_TAIL = 25  # a stack trace of Node.js ends long after what it is about


@dataclass(slots=True)
class BuildUnderWay:
    """For one operation; `ending` once it was cancelled, which is done only once."""

    operation: OperationId
    task: "asyncio.Task[None]"
    ending: bool = False


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
        self._machine = equipment.ports.machine
        self._meter = equipment.meter
        self._fleet = Fleet(ledger, self.balancer, equipment, self.poke)
        self.balancer.cold_start = self._fleet.tell_start
        self.balancer.refused = self._note_refusal
        self._refusal: Refusal | None = None  # the last of those that are still to be told
        self._refusals = 0
        self._refusals_told = float("-inf")
        self._deployer = deployer
        self._bell = Bell()
        self._building: BuildUnderWay | None = None
        self._build_failures: dict[OperationId, str] = {}
        self._closing = False
        self._closed = False
        self._memory: scaling.Memory | None = None
        self._trouble = ""
        self._due: Epoch | None = None
        self._seen = 0
        self._turned = Bell()
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

    def _note_refusal(self, refusal: Refusal) -> None:
        """For the balancer: told at once, and then once a minute at most."""
        if self.balancer.door is Door.OPEN:
            self._refusals += 1
            self._refusal = refusal
            if self._refusals == 1:
                self.poke()

    async def _tell_of_refusals(self) -> tuple[float, ...]:
        """Seconds until those that came since the last line are to be told, if there are any."""
        if self._refusal is None:
            return ()
        now = self._machine.steady()
        left = self._refusals_told + REFUSALS_EVERY - now
        if left > 0:
            return (left,)
        told = narration.refused(self._refusal.status, self._refusal.reason, self._refusals)
        self._refusal, self._refusals, self._refusals_told = None, 0, now
        await self.ledger.say(told)
        return ()

    @property
    def last_start(self) -> Start | None:
        return self._fleet.last_start

    async def run(self) -> None:
        """Until the service is deleted."""
        self.reconfigure()
        self._fleet.stale = True
        async with self._fleet.jobs:
            while self.ledger.service.live:
                self._seen = self._bell.count
                timeout = await self._guarded_turn()
                self._turned.ring()
                await self._bell.later(self._seen, timeout=timeout)
            self.balancer.serve(Door.CLOSED)
            self._fleet.jobs.cancel()

    async def caught_up(self) -> Epoch | None:
        """Once all is done that policy time asks for: when it asks for more, None for never.

        Builds and applications that boot are not waited for: their time is the machine's.
        """
        self.poke()
        while self.ledger.service.live:
            turns = self._turned.count
            await self._turned.later(turns, timeout=RESYNC)
            if self._seen == self._bell.count and not self._fleet.jobs.busy:
                break
        return self._due

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
        if fleet.stale or self._machine.steady() - fleet.observed_at >= RESYNC:
            await fleet.observe()
        now = self._clock.now()
        await self._leave_working_tree()
        size, size_due = await self._size(now)
        plan = reconcile.plan(self._situation(now, size))
        for action in plan.actions:
            with suppress(Overtaken):  # by a request; it has poked, so there is another turn
                await self._act(action)
        fleet.route()
        for instance, why in self.balancer.trouble():
            if not fleet.crashes.loop:
                await self.ledger.say(narration.set_aside(instance, why))
        to_tell = await self._tell_of_refusals()
        self.balancer.serve(self._door())
        fleet.watch()
        dues = [d for d in (plan.due, size_due) if d is not None]
        self._due = min(dues, default=None)
        resync = fleet.observed_at + RESYNC - self._machine.steady()
        waits = [resync, *to_tell, *((due - now) / self._clock.speed for due in dues)]
        return max(0.001, min(waits))

    def _situation(self, now: Epoch, size: int) -> Situation:
        operation = self.ledger.operation
        launching: dict[RevisionId, int] = {}
        for revision in self._fleet.launching.values():
            launching[revision] = launching.get(revision, 0) + 1
        return Situation(
            now=now,
            service=self.ledger.service,
            operation=operation,
            deadline=self._deadline(operation),
            serving=self.ledger.revision(self.ledger.serving),
            target=self._revision(operation.target if operation else None),
            candidate=self._candidate(),
            developing=self.ledger.dev is not None,
            holding=self.ledger.dev is not None and not self.ledger.dev.ending,
            instances=self._fleet.instances(),
            size=size,
            build=self._build_state(operation),
            build_failure=self._build_failures.get(operation.id, "") if operation else "",
            launching=launching,
            start_failures=self._fleet.start_failures,
            busy=frozenset(self._fleet.jobs.busy),
            preparing=self._fleet.preparing,
            warm=frozenset(self._fleet.warm),
            closing=self._closing,
            closed=self._closed,
            held_until=self._fleet.crashes.held_until,
            freeze_after=self._configuration.extensions.freeze_after,
            pace=self._pace,
        )

    def _deadline(self, operation: Operation | None) -> Epoch | None:
        """Of its work; the machine's, as policy time is going on now."""
        if operation is None or operation.deadline is None:
            return None
        return self._clock.at(operation.deadline)

    @property
    def _configuration(self) -> ServiceConfiguration:
        return self.ledger.service.serving or self.ledger.service.configuration

    def _revision(self, id_: RevisionId | None) -> Revision | None:
        return self.ledger.revisions.get(id_) if id_ else None

    def _candidate(self) -> Revision | None:
        """What is committed, where a working tree is to make room for it: once that is deployed."""
        dev, service = self.ledger.dev, self.ledger.service
        if dev is None or not dev.ending:
            return dev.candidate if dev else None
        waits = self.ledger.operation is not None or service.queued is not None
        return None if waits else self._revision(service.revision)

    def _build_state(self, operation: Operation | None) -> BuildState:
        if operation is None:
            return BuildState.NONE
        if operation.id in self._build_failures:
            return BuildState.FAILED
        if self._building is None or self._building.operation != operation.id:
            return BuildState.NONE
        return BuildState.ENDING if self._building.ending else BuildState.RUNNING

    # -- how many ------------------------------------------------------------------------------

    async def _size(self, now: Epoch) -> tuple[int, Epoch | None]:
        if self.ledger.serving is None:
            return 0, None
        if self._memory is None:
            running = self._found_running()
            self._memory = scaling.Memory(size=running, since=now)
        extensions = self._configuration.extensions
        demand = self.balancer.demand()
        decision = scaling.decide(
            now,
            scaling.Load(
                demand=demand.peak, needed=demand.needed, idle_since=self._fleet.idle_since(now)
            ),
            scaling=self._configuration.scaling,
            zero_after=extensions.scale_to_zero_after,
            memory=self._memory,
        )
        old, self._memory = self._memory.size, decision.memory
        if old != decision.size and self.ledger.operation is None:
            await self.ledger.say(narration.scaled(old, decision.size, decision.reason))
        return decision.size, decision.due

    def _found_running(self) -> int:
        """Instances of what serves, as the emulator before left them. One at least where it was
        killed while a working tree served: nobody knows that any more, and requests came for it.
        """
        instances = self._fleet.instances()
        serving = [i for i in instances if i.revision == self.ledger.serving]
        running = [i for i in serving if i.observed.state is not ContainerState.EXITED]
        unknown = [i for i in instances if i.runs and self.ledger.revision(i.revision) is None]
        return max(len(running), min(1, len(unknown)))

    # -- acting --------------------------------------------------------------------------------

    async def _act(self, action: reconcile.Action) -> None:  # noqa: C901, PLR0912, PLR0915 - a row each
        match action:
            case reconcile.Begin():
                await self._begin()
            case reconcile.Deploy(commit=commit):
                await self._deploy(commit)
            case reconcile.Build():
                self._build()
            case reconcile.CancelBuild():
                await self._cancel_build()
            case reconcile.Supersede(reason=reason):
                await self._supersede(reason)
            case reconcile.Start(revision=revision, standby=standby, reason=reason):
                self._fleet.start(revision, standby, reason)
            case reconcile.Prepare(revision=revision, warm=warm):
                self._fleet.prepare(revision, warm=warm)
            case reconcile.Freeze(instance=instance, reason=reason):
                self._fleet.freeze(instance, reason)
            case reconcile.Drain(instance=instance, reason=reason):
                self._fleet.drain(instance, reason)
            case reconcile.Stop(instance=instance):
                self._fleet.stop(instance)
            case reconcile.Remove(instance=instance):
                self._fleet.remove(instance)
            case reconcile.Promote(revision=revision):
                await self._promote(revision)
            case reconcile.Adopt(revision=revision):
                self._adopt(revision)
            case reconcile.Refuse(revision=revision, reason=reason):
                await self._refuse(revision, reason)
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
            operation.moved(OperationStatus.IN_PROGRESS, now=now),
            deadline=Epoch(self._machine.now() + limit),
        )
        lines = list(narration.begun(begun))
        if begun.deploys:
            lines.append(narration.artifact(self.ledger.service.configuration.source))
        if begun.type is OperationType.START_DEPLOYMENT and begun.target:
            lines.append(f"Rolling back to revision {begun.target}: its image is kept, no build.")
            lines.append("Provisioning instances and deploying image.")
        await self._save(operation, begun, *(self.ledger.event(t) for t in lines))
        self._fleet.crashes = Crashes()
        self._fleet.start_failures.clear()
        self.poke()

    async def _save(self, operation: Operation, *changes: Change, **more: Any) -> None:  # noqa: ANN401 - as Ledger.save
        """Raises Overtaken where the operation was cancelled meanwhile: that would be lost."""
        await self.ledger.save(*changes, check=partial(self.ledger.still_does, operation), **more)

    async def _deploy(self, commit: str) -> None:
        now = self._clock.now()
        service = self.ledger.service
        of_code = isinstance(service.configuration.source, CodeSource)
        first = service.revision is None
        operation = Operation(
            id=OperationId(self._ports.identifiers.uuid()),
            service=service.id,
            type=OperationType.UPDATE_SERVICE if first else OperationType.START_DEPLOYMENT,
            started_at=now,
            updated_at=now,
            commit=commit if of_code else None,
            automatic=True,
            pushed=commit == service.pushed,
        )
        await self.ledger.save(
            operation,
            check=partial(self._at_rest, service),
            queued=None,
            status=ServiceStatus.OPERATION_IN_PROGRESS,
        )
        self.poke()

    def _at_rest(self, service: Service) -> None:
        """A request may have come first; the commit stays queued then."""
        self.ledger.still_does(None)
        self.ledger.still(service)

    def _operation(self) -> Operation:
        operation = self.ledger.operation
        if operation is None:
            raise RuntimeError("no operation is under way")
        return operation

    def _build(self) -> None:
        operation = self._operation()
        task = self._fleet.jobs.begin(self._build_job(operation))
        self._building = BuildUnderWay(operation.id, task)
        task.add_done_callback(self._build_over)

    def _build_over(self, _: "asyncio.Task[None]") -> None:
        """Also where it was cancelled before it began."""
        self._building = None
        self.poke()

    async def _cancel_build(self) -> None:
        building = self._building
        if building is None or building.ending:
            return
        building.ending = True
        await self.ledger.between_saves(building.task.cancel)

    async def _supersede(self, reason: str) -> None:
        operation = self._operation()
        cancelled = replace(operation, cancelled=reason, updated_at=self._clock.now())
        await self._save(
            operation,
            cancelled,
            self.ledger.event(narration.cancelling(operation, reason)),
            amend=lambda service: replace(service, superseded=service.superseded + 1),
        )
        self.poke()

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
            await self._target(revision)
        self.poke()

    async def _target(self, revision: Revision) -> None:
        """What was built is to be deployed, unless that was cancelled in the last moment."""
        while not (operation := self._operation()).cancelled:
            with suppress(Overtaken):
                await self._save(
                    operation,
                    revision,
                    replace(operation, target=revision.id),
                    self.ledger.event("Provisioning instances and deploying image."),
                    self.ledger.event(narration.checking(revision.health_check, revision.port)),
                    revisions=self.ledger.service.revisions + 1,
                )
                return

    async def _promote(self, revision: Revision) -> None:
        operation = self._operation()
        now = self._clock.now()
        succeeded = operation.moved(OperationStatus.SUCCEEDED, now=now)
        await self._save(
            operation,
            replace(succeeded, provision=self.ledger.service.configuration.provision),
            *(self.ledger.event(t) for t in narration.promoted(operation)),
            revision=revision.id,
            status=ServiceStatus.RUNNING,
            paused=False,
            superseded=0,
            updated_at=now,
            amend=lambda service: replace(service, serving=service.configuration),
        )
        if self.ledger.dev is not None and self.ledger.dev.ending:
            self.ledger.develop(replace(self.ledger.dev, serving=None))
        self.reconfigure()
        self._shift(revision)

    async def _roll_back(self, reason: str) -> None:
        operation = self._operation()
        moved = operation.moved(
            OperationStatus.ROLLBACK_IN_PROGRESS, now=self._clock.now(), reason=reason
        )
        texts = await self._failure_texts(operation, reason)
        await self._save(operation, moved, *(self.ledger.event(t) for t in texts))
        self.poke()

    async def _fail(self, reason: str) -> None:
        """Told and stored now; the operation goes on until App Runner's would end."""
        operation = self._operation()
        texts = await self._failure_texts(operation, reason)
        await self._save(
            operation, replace(operation, reason=reason), *(self.ledger.event(t) for t in texts)
        )
        self.poke()

    async def _failure_texts(self, operation: Operation, reason: str) -> list[str]:
        texts = [narration.deployment_failed(operation, reason)] if operation.deploys else [reason]
        tail = () if operation.cancelled else await self._last_lines(operation.target)
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
        gave_way = operation.automatic and operation.cancelled
        await self._save(
            operation,
            operation.moved(status, now=now, reason=reason),
            *(self.ledger.event(t) for t in texts),
            status=to,
            paused=to is ServiceStatus.PAUSED,
            superseded=self.ledger.service.superseded if gave_way else 0,
            updated_at=now,
            deleted_at=now if to is ServiceStatus.DELETED else None,
            amend=lambda service: _settled(service, status, serving),
        )
        self._build_failures.pop(operation.id, None)
        self.reconfigure()
        self.poke()

    # ---- working-tree mode

    def _adopt(self, revision: Revision) -> None:
        """In memory alone, but for the end of it, which the next turn tells."""
        dev = self.ledger.dev
        if dev is None:
            return
        serving = None if dev.ending else revision
        self.ledger.develop(replace(dev, serving=serving, candidate=None))
        self._shift(revision)

    def _shift(self, revision: Revision) -> None:
        """Requests are for this one from now on."""
        healthy = len(self._fleet.of(revision.id))
        self._memory = scaling.Memory(size=healthy, since=self._clock.now())
        self._fleet.crashes = Crashes()
        self._fleet.route()
        self.poke()

    async def _refuse(self, revision: Revision, reason: str) -> None:
        dev = self.ledger.dev
        tail = await self._last_lines(revision.id)
        self._fleet.start_failures.pop(revision.id, None)
        if dev is None or dev is not self.ledger.dev:
            return
        failure = f"{reason}\n{narration.last_lines(tail)}" if tail else reason
        serving = None if dev.ending else dev.serving  # the committed one's crashes are told
        self.ledger.develop(replace(dev, serving=serving, candidate=None, failure=failure))

    async def _leave_working_tree(self) -> None:
        """It has ended, and nothing of it serves or nothing else could."""
        dev, service = self.ledger.dev, self.ledger.service
        if dev is None or not dev.ending:
            return
        waits = self.ledger.operation is not None or service.queued is not None
        makes_room = waits or service.revision is not None
        if dev.serving is not None and makes_room and service.status is not ServiceStatus.PAUSED:
            return
        self.ledger.develop(None)
        committed = self._revision(service.revision)
        await self.ledger.say(narration.working_tree_ends(committed.commit if committed else None))

    async def _close(self) -> None:
        try:
            await self._ports.instances.clear(self.ledger.service.id)
            self._closed = True
        finally:
            self._closing = False

    def _door(self) -> Door:
        service = self.ledger.service
        if self.ledger.serving is None or service.status is ServiceStatus.DELETED:
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
            websockets=configuration.extensions.websockets,
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
    seen = serving.commit or serving.version or serving.image
    return replace(settled, seen_commit=seen, queued=None)


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
