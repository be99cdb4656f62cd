"""The whole emulator behind its surfaces: every request of a user is a method here.

A request is accepted or refused at once; what follows is its service's worker's business.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from emulator.controllers.account.account import Account, open_account
from emulator.controllers.account.desk import Desk, within_quota
from emulator.controllers.account.registry import Registry
from emulator.controllers.bell import Bell
from emulator.controllers.deployment import Deployer
from emulator.controllers.development import News, Session
from emulator.controllers.fleet import Equipment
from emulator.controllers.images import ImageWatcher, LocalImages
from emulator.controllers.ledger import Ledger, Overtaken
from emulator.controllers.meter import Meter
from emulator.controllers.observatory import Observatory
from emulator.controllers.reaper import PAUSE, Reaper
from emulator.controllers.router import Router
from emulator.controllers.source import SourceWatcher
from emulator.controllers.worker import Worker
from emulator.decisions import cancelling, keeping, narration
from emulator.decisions.pace import check_advance
from emulator.model.configuration import CodeSource, Extensions, ImageSource, ServiceConfiguration
from emulator.model.errors import (
    EngineError,
    InvalidRequestException,
    InvalidStateException,
    RepositoryError,
    ResourceNotFoundException,
    StoreError,
)
from emulator.model.event import Event
from emulator.model.identifiers import Epoch, OperationId, RevisionId, ServiceId
from emulator.model.operation import Operation, OperationType
from emulator.model.service import Service, ServiceStatus
from emulator.model.settings import Settings
from emulator.model.source import Commit
from emulator.ports import Doors, Heartbeat, Ports

START_OVER = 1.0  # seconds
PATIENCE = 60.0  # seconds for what is due while the clock is advanced
_logger = logging.getLogger(__name__)
_S = ServiceStatus
_T = OperationType
ALLOWED = {
    _T.UPDATE_SERVICE: {_S.RUNNING, _S.CREATE_FAILED},
    _T.START_DEPLOYMENT: {_S.RUNNING},
    _T.PAUSE_SERVICE: {_S.RUNNING},
    _T.RESUME_SERVICE: {_S.PAUSED},
    _T.DELETE_SERVICE: {_S.RUNNING, _S.PAUSED, _S.CREATE_FAILED, _S.DELETE_FAILED},
}
_VERBS = {
    _T.UPDATE_SERVICE: "updated",
    _T.PAUSE_SERVICE: "paused",
    _T.RESUME_SERVICE: "resumed",
    _T.DELETE_SERVICE: "deleted",
}


class Platform:
    """All services of one state directory."""

    def __init__(
        self,
        *,
        ports: Ports,
        settings: Settings,
        router: Router,
        meter: Meter,
        deployer: Deployer,
    ) -> None:
        self.ports = ports
        self.settings = settings
        self.router = router
        self.meter = meter
        self.bell = Bell()
        self._deployer = deployer
        self._images = LocalImages(ports.builder, settings.images, ports.registry)
        self._image_watcher = ImageWatcher(self._images, ports.machine, self.ledgers)
        self._doors: Doors | None = None
        self._reaper = Reaper(ports, keep=settings.keep)
        self._workers: dict[ServiceId, Worker] = {}
        self._ledgers: dict[ServiceId, Ledger] = {}
        self._sources: dict[ServiceId, asyncio.Task[None]] = {}
        self._watched: dict[ServiceId, CodeSource] = {}
        self._reserved: set[tuple[str, str]] = set()
        self._advancing = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None
        self.account: Account = open_account(
            Desk(
                registry=Registry(ports.store, ports.clock, settings.account),
                clock=ports.clock,
                identifiers=ports.identifiers,
                pace=settings.pace,
                quotas=settings.quotas,
                services=self.services,
            ),
            self._reroute,
            ports.registry,
        )
        self._equipment = Equipment(
            ports=ports,
            observatory=Observatory(ports.instances, ports.clock),
            meter=meter,
            limits=settings.limits,
            pace=settings.pace,
            starts=asyncio.Semaphore(settings.limits.starts_at_once),
        )

    # -- life ----------------------------------------------------------------------------------

    async def run(self, doors: Doors, ready: Callable[[], None]) -> None:
        """Take up what the last emulator left, call `ready`, go on until cancelled."""
        self._doors = doors
        await self.account.registry.load()
        stored = await self.ports.store.services()
        last = await self.ports.store.heartbeat() or Epoch(0.0)
        async with asyncio.TaskGroup() as group:
            self._group = group
            self.meter.slept = self._slept
            await self.meter.recover(await self._equipment.observatory.look_at_all())
            for service in stored:
                await self._take_up(service, last)
            group.create_task(self.meter.run())
            group.create_task(self._follow_engine())
            group.create_task(self._image_watcher.run())
            group.create_task(self._reap())
            ready()

    async def _take_up(self, service: Service, last: Epoch) -> None:
        """`last` is the last emulator's last sign of life."""
        ledger = await Ledger.load(self.ports.store, self.ports.clock, service)
        self._ledgers[service.id] = ledger
        operation = ledger.operation
        if operation is not None and operation.deadline is not None:
            # Its time, the machine's, does not run while nobody works on it.
            left = self.ports.clock.timeline.machine(max(last, operation.updated_at))
            away = max(0.0, self.ports.machine.now() - left)
            await ledger.save(replace(operation, deadline=Epoch(operation.deadline + away)))
        if service.live:
            await self._employ(ledger)
        else:  # the last emulator may have died before this
            await self._free_domains(service.id)

    async def _employ(self, ledger: Ledger) -> None:
        """Give a service its worker, its door and its watcher."""
        service = ledger.service
        if self._doors is None or self._group is None:
            raise RuntimeError("the platform does not run")
        port = await self._doors.open(service.id, service.port)
        if port != service.port:
            await ledger.save(port=port)
        worker = Worker(ledger, self._equipment, self._deployer)
        self._workers[service.id] = worker
        worker.reconfigured = lambda: self._reconfigured(ledger)
        self._reroute(service.id)
        self._group.create_task(self._work(worker))
        self._watch_source(ledger)

    async def _work(self, worker: Worker) -> None:
        await self._supervise(worker.ledger, worker.run)
        service = worker.ledger.service
        self.router.remove(service.id)
        self._stop_watching(service.id)
        self._workers.pop(service.id, None)
        await self._free_domains(service.id)
        if self._doors is not None:
            await self._doors.close(service.id)

    async def _free_domains(self, service: ServiceId) -> None:
        """A disk that is full must not end the emulator: they are freed at its next start."""
        registry = self.account.registry
        with suppress(StoreError):
            await registry.drop(registry.domains(service))

    def _reconfigured(self, ledger: Ledger) -> None:
        """A deployment has ended, perhaps in a rollback to another source."""
        self._reroute(ledger.service.id)
        if ledger.service.live and self._watched.get(ledger.service.id) != _source_of(ledger):
            self._watch_source(ledger)

    def _reroute(self, service: ServiceId) -> None:
        """Its names have changed, or whether it is public."""
        worker = self._workers.get(service)
        if worker is not None:
            self.router.add(service, self.hosts(worker.ledger.service), worker.balancer)

    async def _supervise(self, ledger: Ledger, run: Callable[[], Awaitable[None]]) -> None:
        """A mistake of ours in one service must not take the others along: it starts over."""
        while True:
            try:
                await run()
            except Exception:
                _logger.exception("service %s starts over", ledger.service.name)
                await ledger.say("The emulator made a mistake here; it starts over (see its log).")
                await self.ports.machine.sleep(START_OVER)
            else:
                return

    def _watch_source(self, ledger: Ledger) -> None:
        self._stop_watching(ledger.service.id)
        source = _source_of(ledger)
        if source is not None and self._group is not None:
            self._watched[ledger.service.id] = source
            watcher = SourceWatcher(ledger, self.ports.repository)
            task = self._group.create_task(self._supervise(ledger, watcher.run))
            self._sources[ledger.service.id] = task

    def _stop_watching(self, service: ServiceId) -> None:
        self._watched.pop(service, None)
        task = self._sources.pop(service, None)
        if task is not None:
            task.cancel()

    async def _follow_engine(self) -> None:
        async for service in self.ports.instances.changes():
            workers = [*self._workers.values()] if service is None else []
            if service is not None and service in self._workers:
                workers.append(self._workers[service])
            for worker in workers:
                worker.look_again()

    async def _reap(self) -> None:
        while True:
            await self._reaper.sweep(self.ledgers())
            with suppress(StoreError):  # a full disk: the next sweep is soon enough
                await self._forget()
            await self.ports.machine.sleep(PAUSE)

    async def _forget(self) -> None:
        for service in await self._reaper.forget(s.service for s in self.ledgers()):
            self._ledgers.pop(service.id, None)
        await self.account.registry.forget()

    def ledgers(self) -> tuple[Ledger, ...]:
        """Also of services that were deleted not long ago."""
        return tuple(self._ledgers.values())

    # -- time ----------------------------------------------------------------------------------

    async def advance(self, seconds: float) -> Epoch:
        """Let so much policy time pass at once; returns what time it is then.

        Everything happens on the way that would have happened, at its own moment: the clock
        leaps from one to the next, and waits there until all that is due is done.
        """
        check_advance(seconds)
        clock = self.ports.clock
        async with self._advancing:
            goal = clock.now() + seconds
            while clock.now() < goal:
                dues = await self._dues()
                now = clock.now()
                await self._leap(min([due for due in dues if due > now], default=goal), goal)
            await self._dues()
            await self.meter.flush()
            return clock.now()

    async def _leap(self, to: float, goal: float) -> None:
        clock = self.ports.clock
        by = min(to, goal) - clock.now()
        if by > 0:
            later = clock.leapt(by)
            await self.ports.store.save(later, Heartbeat(clock.now()))
            clock.adopt(later)

    async def _dues(self) -> list[Epoch]:
        """When services will have something to do, now that they have done what they had to."""
        dues: list[Epoch | None] = []
        with suppress(TimeoutError):  # something takes long: its own time is not leapt over
            async with asyncio.timeout(PATIENCE):
                dues += [await worker.caught_up() for worker in tuple(self._workers.values())]
        return [due for due in dues if due is not None]

    def _slept(self, services: frozenset[ServiceId], fell_asleep: Epoch, woke: Epoch) -> None:
        """The meter has left out what nobody was awake for: say so, once, and charge nothing."""
        ledgers = [self._ledgers[each] for each in services if each in self._ledgers]
        if self._group is not None:
            self._group.create_task(self._forgive(fell_asleep, woke))
            for ledger in ledgers:
                self._group.create_task(ledger.say(narration.slept(woke - fell_asleep)))

    async def _forgive(self, fell_asleep: Epoch, woke: Epoch) -> None:
        async with self._advancing:  # as long as nobody else turns the timeline
            timeline = self.ports.clock.timeline.awoken(fell_asleep, woke)
            self.ports.clock.adopt(timeline)
            try:
                await self.ports.store.save(timeline)
            except StoreError as error:  # the next one that is stored says it too
                _logger.warning("what the machine slept through cannot be stored: %s", error)

    # -- questions -----------------------------------------------------------------------------

    def host(self, service: Service) -> str:
        """Its own name, its ServiceUrl's."""
        return f"{service.label}.{service.region}.awsapprunner.localhost"

    def hosts(self, service: Service) -> tuple[str, ...]:
        """The names that reach it on the public listener; none where it is not public."""
        if not (service.serving or service.configuration).network.public:
            return ()
        domains = [d for d in self.account.registry.domains(service.id) if d.live]
        custom = [host for domain in domains for host in domain.hosts]
        return (self.host(service), f"{service.name}.localhost", *custom)

    def services(self) -> tuple[Service, ...]:
        """Live ones, newest first."""
        live = [ledger.service for ledger in self.ledgers() if ledger.service.live]
        return tuple(sorted(live, key=lambda s: s.created_at)[::-1])

    def ledger(self, key: str) -> Ledger:
        """By id, ARN or name; of several with a name the live one, else the newest."""
        id_ = ServiceId(key.rsplit("/", 1)[-1])
        if id_ in self._ledgers:
            return self._ledgers[id_]
        named = [ledger for ledger in self.ledgers() if ledger.service.name == key]
        if not named:
            raise ResourceNotFoundException(f"There is no service {key!r}.")
        return max(named, key=lambda each: (each.service.live, each.service.created_at))

    def worker(self, service: ServiceId) -> Worker | None:
        """None once the service is deleted."""
        return self._workers.get(service)

    async def at_rest(self, key: str) -> Service:
        """The service, once no operation is under way."""
        ledger = self.ledger(key)
        while ledger.operation is not None:
            seen = ledger.bell.count
            await ledger.bell.later(seen)
        return ledger.service

    async def events(
        self, ledger: Ledger, *, after: int = 0, follow: bool = False
    ) -> AsyncIterator[Event]:
        """The event log; with `follow` it goes on with what is to come."""
        while True:
            seen = ledger.bell.count
            for event in await self.ports.store.events(ledger.service.id, after=after):
                after = event.id
                yield event
            if not follow:
                return
            await ledger.bell.later(seen)

    # -- requests ------------------------------------------------------------------------------

    async def create(
        self, name: str, configuration: ServiceConfiguration, *, region: str | None = None
    ) -> tuple[Service, Operation]:
        """CreateService; names are unique among services that are not deleted."""
        region = region or self.settings.region
        if self._taken(region, name):
            raise InvalidRequestException(f"Service with the provided name already exists: {name}")
        here = [s for s in self.services() if s.region == region]
        pending = [r for r, _ in self._reserved if r == region]
        count = len(here) + len(pending)
        over = count >= self.settings.quotas.services
        within_quota(f"{count} in {region}" if over else "", "services")
        self._reserved.add((region, name))
        try:
            ledger, operation = await self._created(name, configuration, region)
        finally:
            self._reserved.discard((region, name))
        await self._employ(ledger)
        return ledger.service, operation

    def _taken(self, region: str, name: str) -> bool:
        live = {(s.region, s.name) for s in self.services()}
        return (region, name) in live | self._reserved

    async def _created(
        self, name: str, configuration: ServiceConfiguration, region: str
    ) -> tuple[Ledger, Operation]:
        newest = await self._newest(configuration)
        now = self.ports.clock.now()
        service = Service(
            id=ServiceId(self.ports.identifiers.hexadecimal()),
            name=name,
            region=region,
            account=self.settings.account,
            label=self.ports.identifiers.label(),
            port=0,
            status=ServiceStatus.OPERATION_IN_PROGRESS,
            configuration=configuration,
            seen_commit=newest,
            created_at=now,
            updated_at=now,
        )
        ledger = Ledger(self.ports.store, self.ports.clock, service)
        operation = self._new_operation(service, _T.CREATE_SERVICE, commit=newest)
        await ledger.save(operation, created_at=now)
        self._ledgers[service.id] = ledger
        return ledger, operation

    async def _newest(self, configuration: ServiceConfiguration) -> str | None:
        """The newest commit; or the image's version, None where the deployment has to get one."""
        source = configuration.source
        if isinstance(source, ImageSource):
            with suppress(EngineError):  # the deployment will say so
                found = await self._images.find(source)
                return found.version if found else None
            return None
        try:
            return (await self.ports.repository.resolve(source.repository, source.branch)).id
        except RepositoryError as error:
            raise InvalidRequestException(str(error)) from error

    def _new_operation(
        self,
        service: Service,
        type_: OperationType,
        *,
        commit: str | None = None,
        target: RevisionId | None = None,
    ) -> Operation:
        now = self.ports.clock.now()
        return Operation(
            id=OperationId(self.ports.identifiers.uuid()),
            service=service.id,
            type=type_,
            started_at=now,
            updated_at=now,
            commit=commit if isinstance(service.configuration.source, CodeSource) else None,
            target=target,
        )

    async def update(
        self, key: str, configuration: ServiceConfiguration
    ) -> tuple[Service, Operation]:
        """UpdateService: also rebuilds a service whose creation failed."""
        ledger = self.ledger(key)
        self._admit(ledger, _T.UPDATE_SERVICE)
        if type(configuration.source) is not type(ledger.service.configuration.source):
            raise InvalidRequestException(
                "A service's source can't change from code to image or the other way around."
            )
        newest = await self._newest(configuration)
        result = await self._begin(
            ledger,
            self._new_operation(ledger.service, _T.UPDATE_SERVICE, commit=newest),
            configuration=configuration,
            seen_commit=newest,
            queued=None,
        )
        self._watch_source(ledger)
        return result

    def admit_update(self, key: str) -> None:
        """Refuse an update for the service's state before anything is said about its content."""
        self._admit(self.ledger(key), _T.UPDATE_SERVICE)

    async def tag(self, key: str, tags: Mapping[str, str], extensions: Extensions) -> None:
        """Tags count at once, also those that switch the emulator's extensions."""
        ledger = self.ledger(key)

        def tagged(configuration: ServiceConfiguration) -> ServiceConfiguration:
            return replace(configuration, tags=tags, extensions=extensions)

        def amended(service: Service) -> Service:
            return replace(
                service,
                configuration=tagged(service.configuration),
                serving=tagged(service.serving) if service.serving else None,
            )

        await ledger.save(amend=amended)
        worker = self.worker(ledger.service.id)
        if worker is not None:
            worker.reconfigure()

    async def start_deployment(self, key: str) -> tuple[Service, Operation]:
        """StartDeployment: of the newest commit, or of the image as it is now."""
        ledger = self.ledger(key)
        self._admit(ledger, _T.START_DEPLOYMENT)
        newest = await self._newest(ledger.service.configuration)
        operation = self._new_operation(ledger.service, _T.START_DEPLOYMENT, commit=newest)
        return await self._begin(ledger, operation, seen_commit=newest, queued=None)

    async def look(self, key: str, source: CodeSource) -> Commit:
        """For a push: see at once what its watcher would see in a moment; the newest commit, which no
        later one supersedes. Raises RepositoryError.
        """
        ledger = self.ledger(key)
        commit = await SourceWatcher(ledger, self.ports.repository).look(source)
        while True:
            operation = ledger.operation  # the watcher may have been faster
            deploys = operation is not None and operation.commit == commit.id
            changes = (replace(operation, pushed=True),) if operation and deploys else ()
            with suppress(Overtaken):
                await ledger.save(
                    *changes, check=partial(ledger.still_does, operation), pushed=commit.id
                )
                return commit

    async def pushed(self, repository: str, tag: str) -> None:
        """An image arrived in the emulator's registry: deploy it where that is wanted."""
        await self._image_watcher.look(f"{self._images.registry}/{repository}:{tag}")

    async def develop(self, key: str, tell: Callable[[News], None]) -> None:
        """Serve what is saved in the service's working tree until cancelled. Raises RepositoryError."""
        ledger = self.ledger((await self.at_rest(key)).id)
        await Session(ledger, self.ports, self._deployer, tell).run()

    async def leave_development(self, key: str) -> Service:
        """End working-tree mode whoever holds it; returns once what is committed serves."""
        ledger = self.ledger(key)
        if ledger.dev is not None:
            ledger.develop(replace(ledger.dev, candidate=None, ending=True))
        while ledger.dev is not None and ledger.service.live:
            seen = ledger.bell.count
            await ledger.bell.later(seen)
        return ledger.service

    async def rollback(self, key: str, *, to: str | None = None) -> tuple[Service, Operation]:
        """Serve an older revision again; without `to` the one before the current."""
        ledger = self.ledger(key)
        self._admit(ledger, _T.START_DEPLOYMENT)
        target = await self._rollback_target(ledger, to)
        operation = self._new_operation(
            ledger.service,
            _T.START_DEPLOYMENT,
            commit=ledger.revisions[target].commit,
            target=target,
        )
        return await self._begin(ledger, operation, queued=None)

    async def _rollback_target(self, ledger: Ledger, to: str | None) -> RevisionId:
        """Never one that failed to deploy, nor one whose image is not kept."""
        served, current = await ledger.served(), ledger.service.revision
        kept = keeping.kept(tuple(ledger.revisions.values()), served, self.settings.keep)
        ids = [r.id for r in kept if r.id != current]
        if to is None:
            older = [r for r in ids if current is None or _number(r) < _number(current)]
            if older:
                return older[-1]
            raise InvalidRequestException("There is no earlier revision to roll back to.")
        chosen = [r for r in ids if r == to or (ledger.revisions[r].commit or "").startswith(to)]
        if not chosen:
            raise InvalidRequestException(
                f"There is no kept revision {to!r}; there are: {', '.join(ids) or 'none'}."
            )
        return chosen[-1]

    async def cancel(self, key: str) -> tuple[Service, Operation]:
        """End the deployment that is under way; what served goes on serving. Not App Runner's."""
        ledger = self.ledger(key)
        if not ledger.service.live:
            raise ResourceNotFoundException(f"Service {ledger.service.name!r} is deleted.")
        while True:
            operation = ledger.operation
            refusal = cancelling.refusal(ledger.service, operation)
            if operation is None or refusal:
                raise InvalidStateException(refusal)
            if operation.cancelled:
                return ledger.service, operation
            reason = cancelling.BY_USER
            cancelled = replace(operation, cancelled=reason, updated_at=self.ports.clock.now())
            with suppress(Overtaken):
                await ledger.save(
                    cancelled,
                    ledger.event(narration.cancelling(operation, reason)),
                    check=partial(ledger.still_does, operation),
                )
                return ledger.service, cancelled

    async def pause(self, key: str) -> tuple[Service, Operation]:
        return await self._simple(key, _T.PAUSE_SERVICE)

    async def resume(self, key: str) -> tuple[Service, Operation]:
        return await self._simple(key, _T.RESUME_SERVICE)

    async def delete(self, key: str) -> tuple[Service, Operation]:
        service = self.ledger(key).service
        ways = self.account.ingress.of(service)
        if ways and service.live:
            raise InvalidStateException(
                "You cannot delete a Service while it has VpcIngressConnections with a status of "
                f"AVAILABLE. Service Arn: {service.arn} VpcIngressConnection Arn: {ways[0].arn}"
            )
        return await self._simple(key, _T.DELETE_SERVICE)

    async def _simple(self, key: str, type_: OperationType) -> tuple[Service, Operation]:
        ledger = self.ledger(key)
        self._admit(ledger, type_)
        return await self._begin(ledger, self._new_operation(ledger.service, type_))

    def _admit(self, ledger: Ledger, type_: OperationType) -> None:
        """One operation at a time, and only from the statuses that allow it."""
        status = ledger.service.status
        if status is ServiceStatus.DELETED:
            raise ResourceNotFoundException(f"Service {ledger.service.name!r} is deleted.")
        if status in ALLOWED[type_]:
            return
        if type_ is _T.START_DEPLOYMENT:
            raise InvalidRequestException(
                "Can't start a deployment on the specified service, because it isn't in RUNNING "
                "state."
            )
        raise InvalidStateException(
            f"Service cannot be {_VERBS[type_]} in the current state: {status}."
        )

    async def _begin(
        self,
        ledger: Ledger,
        operation: Operation,
        **values: Any,  # noqa: ANN401 - as dataclasses.replace
    ) -> tuple[Service, Operation]:
        await ledger.save(
            operation,
            check=lambda: self._admit(ledger, operation.type),
            status=ServiceStatus.OPERATION_IN_PROGRESS,
            updated_at=self.ports.clock.now(),
            **values,
        )
        return ledger.service, operation


def _source_of(ledger: Ledger) -> CodeSource | None:
    """The source whose commits are deployed by themselves."""
    configuration = ledger.service.configuration
    source = configuration.source
    return source if configuration.auto_deploy and isinstance(source, CodeSource) else None


def _number(revision: RevisionId) -> int:
    return int(revision[1:])
