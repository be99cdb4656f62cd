"""The composition root: the only module that knows drivers and controllers alike."""

import asyncio
import contextlib
import errno
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from emulator import __version__
from emulator.controllers.deployment import Deployer, Planner
from emulator.controllers.meter import Meter
from emulator.controllers.platform import Platform
from emulator.controllers.router import Router
from emulator.decisions import dockerfile
from emulator.drivers import buildpacks, yaml
from emulator.drivers.access_log_file import AccessLogFile
from emulator.drivers.certificates import Certificates
from emulator.drivers.clock import SteeredClock, SystemClock
from emulator.drivers.docker.base_images import host_suite
from emulator.drivers.docker.builder import DockerBuilder
from emulator.drivers.docker.caches import cache_sizes
from emulator.drivers.docker.engine import Engine
from emulator.drivers.docker.instances import DockerInstances
from emulator.drivers.docker.prune import build_is_under_way, prune_caches, prune_images
from emulator.drivers.docker.pull import Images
from emulator.drivers.git import GitRepositories
from emulator.drivers.git_remote import GitRemotes
from emulator.drivers.identifiers import RandomIdentifiers
from emulator.drivers.lock import StateLock
from emulator.drivers.logs import FileLogs
from emulator.drivers.machine import Computer, Finding, Machine
from emulator.drivers.probe import NetworkProbe
from emulator.drivers.registry.runners import ContainerRunner, ProgramRunner
from emulator.drivers.registry.server import OwnRegistry
from emulator.drivers.secrets import ConfiguredSecrets
from emulator.drivers.store.database import Database
from emulator.drivers.tuning import suit_connections
from emulator.drivers.watch import Watcher
from emulator.model.build import Buildpack
from emulator.model.configuration import CodeSource
from emulator.model.errors import ResourceNotFoundException
from emulator.model.identifiers import InstanceId, ServiceId
from emulator.model.settings import LoadBalancer, Settings
from emulator.ports import Ports
from emulator.surfaces.api import views
from emulator.surfaces.api.server import PUSHED, Api
from emulator.surfaces.proxy.access_log import AccessLog
from emulator.surfaces.proxy.listener import PortTakenError, Proxy
from emulator.surfaces.proxy.port_holder import holder_of

Status = dict[str, Any]
STATUS_FILE = "emulator.json"
ACCESS_LOG = "access.log"
MOST_DESCRIPTORS = 65_536  # more than anybody needs here; some systems allow a billion
RESERVED_DESCRIPTORS = 256  # for the engine, the store, logs, builds, the API

_log = logging.getLogger(__name__)


def run(settings: Settings, ready: Callable[[Status], None]) -> None:
    """Run until SIGINT, SIGTERM or a request to stop; `ready` gets the status document."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(settings, ready))
    except ExceptionGroup as group:
        raise _first(group) from group


def _first(error: Exception) -> Exception:
    """What went wrong inside task groups, without the groups."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop where it runs: half the CPU time per request."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return None
    return uvloop.new_event_loop


@dataclass(slots=True)
class Ending:
    """How the emulator was asked to end."""

    asked: asyncio.Event
    everything: bool = False

    def ask(self, everything: bool = False) -> None:  # noqa: FBT001, FBT002 - a callback
        self.everything = self.everything or everything
        self.asked.set()


async def serve(settings: Settings, ready: Callable[[Status], None]) -> None:
    """The whole emulator, from taking its state directory to giving it back."""
    suit_connections()
    ending = Ending(asyncio.Event())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.ask)
    async with assemble(settings) as world:
        await _serve(world, ending, ready)


async def _serve(world: "World", ending: Ending, ready: Callable[[Status], None]) -> None:
    started = asyncio.Event()
    async with AsyncExitStack() as stack:
        await world.proxy.start()
        stack.push_async_callback(world.proxy.stop)
        world.listening()
        api = Api(
            world.platform,
            status=world.status,
            stop=ending.ask,
            pushed=_pushed(world.settings),
            metrics=partial(world.proxy.metrics, partial(_name_of, world.platform)),
        )
        world.listening(api_port=await _listen(world, api, stack))
        if world.registry is not None:
            await stack.enter_async_context(world.registry.serving(_told(world.settings)))
        async with asyncio.TaskGroup() as group:
            drivers = [group.create_task(each.run()) for each in (world.instances, world.builder)]
            platform = group.create_task(world.platform.run(world.proxy.doors, started.set))
            await started.wait()
            announce(world)
            stack.callback(_unannounce, world)
            gc.freeze()  # what lives as long as the process need not be looked at again
            ready(world.status())
            group.create_task(api.aws.warm_up())
            group.create_task(world.proxy.warm_up())
            await ending.asked.wait()
            platform.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await platform
            await world.leave(everything=ending.everything)
            for driver in drivers:
                driver.cancel()


async def _listen(world: "World", api: Api, stack: AsyncExitStack) -> int:
    """The API's port, once it listens. Raises PortTakenError."""
    # Compressed bodies stay so: what is for another emulator is passed on byte for byte.
    runner = web.AppRunner(
        api.application(), access_log=None, handle_signals=False, auto_decompress=False
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    addresses = world.settings.addresses
    try:
        site = web.TCPSite(runner, addresses.host, addresses.api_port, shutdown_timeout=1.0)
        await site.start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        holder = await asyncio.to_thread(holder_of, addresses.api_port)
        raise PortTakenError(addresses.api_port, holder) from None
    socket_name: tuple[str, int] = runner.addresses[0]
    return socket_name[1]


def _told(settings: Settings) -> str:
    """Where the registry tells of pushes."""
    host, port = settings.addresses.host, settings.addresses.api_port
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}{PUSHED}"


def _pushed(settings: Settings) -> GitRemotes:
    """They go with the state directory, not with their services."""
    return GitRemotes(settings.environment, Path(settings.state_dir) / "pushed")


def announce(world: "World") -> None:
    """Let the command line find this emulator."""
    world.lock.announce(world.status()["Addresses"]["Api"])
    file = Path(world.settings.state_dir) / STATUS_FILE
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(world.status()))
    temporary.replace(file)


def _unannounce(world: "World") -> None:
    (Path(world.settings.state_dir) / STATUS_FILE).unlink(missing_ok=True)


@dataclass(slots=True)
class World:
    """All that a running emulator consists of."""

    settings: Settings
    lock: StateLock
    ports: Ports
    instances: DockerInstances
    builder: DockerBuilder
    platform: Platform
    proxy: Proxy
    registry: OwnRegistry | None

    def listening(self, api_port: int | None = None) -> None:
        """Put the real ports where 0 was asked for."""
        addresses = replace(
            self.settings.addresses,
            https_port=self.proxy.https_port,
            http_port=self.proxy.http_port,
        )
        if api_port is not None:
            addresses = replace(addresses, api_port=api_port)
        self.settings = replace(self.settings, addresses=addresses)
        self.platform.settings = self.settings

    def status(self) -> Status:
        addresses = self.settings.addresses
        registry = {"Registry": self.registry.address} if self.registry else {}
        return {
            "Pid": os.getpid(),
            "StateDir": self.settings.state_dir,
            "Version": __version__,
            "Addresses": {
                "Api": f"http://{addresses.host}:{addresses.api_port}",
                "Https": f"https://localhost:{addresses.https_port}",
                "Http": f"http://localhost:{addresses.http_port}",
                **registry,
            },
            "Services": [
                views.listed(self.platform, self.platform.ledger(service.id))
                for service in self.platform.services()
            ],
        }

    async def leave(self, *, everything: bool) -> None:
        """Running services go on without us, awake; or nothing at all stays. Until the next
        emulator starts, a second is a second.
        """
        await self.platform.meter.close()
        if self.ports.clock.speed != 1.0:
            await self.ports.store.save(self.ports.clock.slowed())
        if everything:
            for ledger in self.platform.ledgers():
                await self.ports.instances.clear(ledger.service.id)
            await self.ports.instances.sweep([], [])
            return
        for instance in await self.ports.instances.observe():
            if instance.endpoint is not None:
                await self.ports.instances.thaw(InstanceId(instance.id))


@asynccontextmanager
async def assemble(settings: Settings) -> AsyncIterator[World]:
    """Open everything that needs closing, in order; raises before anything is changed."""
    state_dir = Path(settings.state_dir)
    async with AsyncExitStack() as stack:
        lock = await asyncio.to_thread(_take, state_dir)
        stack.callback(lock.release)
        engine = await stack.enter_async_context(await Engine.connect(settings.environment))
        await engine.version()
        database = await Database.open(state_dir)
        stack.push_async_callback(database.close)
        clock = SystemClock()
        policy = await _policy_clock(database, clock, settings.pace.speed)
        logs = FileLogs(state_dir, limit=settings.limits.log_file)
        repository = GitRepositories(
            environment=settings.environment,
            repositories=settings.repositories,
            watcher=Watcher(clock),
            scratch=state_dir / "git",
        )
        stack.push_async_callback(repository.close)
        registry = _registry(settings, clock, engine, database.owner)
        packs = await asyncio.to_thread(_buildpacks, strict=settings.strict)
        instances = DockerInstances(
            engine,
            owner=database.owner,
            state_dir=state_dir,
            repository=repository,
            logs=logs,
            clock=clock,
            limits=settings.limits,
        )
        builder = _builder(engine, database.owner, repository, settings, packs)
        ports = Ports(
            clock=policy,
            machine=clock,
            identifiers=RandomIdentifiers(),
            store=database,
            instances=instances,
            builder=builder,
            repository=repository,
            probe=NetworkProbe(),
            logs=logs,
            secrets=ConfiguredSecrets(settings.secrets, settings.environment, settings.upstream),
            registry=registry,
        )
        platform = _platform(ports, settings, packs)
        protocols = ("h2", "http/1.1") if settings.load_balancer.http2 else ("http/1.1",)
        certificates = Certificates(state_dir, clock, protocols=protocols)
        await certificates.load()
        proxy = Proxy(
            platform.router,
            certificates,
            settings.addresses,
            clock,
            log=_access_log(state_dir, settings.load_balancer, platform),
            limits=_within_descriptors(_front(settings), _raised_descriptor_limit()),
        )
        yield World(
            settings=settings,
            lock=lock,
            ports=ports,
            instances=instances,
            builder=builder,
            platform=platform,
            proxy=proxy,
            registry=registry,
        )


def _registry(
    settings: Settings, clock: SystemClock, engine: Engine, owner: str
) -> OwnRegistry | None:
    port = settings.addresses.registry_port
    if port is None:
        return None
    state_dir, computer = Path(settings.state_dir), Computer(environment=settings.environment)
    images = Images(engine, clock, settings.environment)
    runners = (
        ProgramRunner(state_dir, computer),
        ContainerRunner(state_dir, engine, owner, images),
    )
    return OwnRegistry(state_dir, port, runners, computer, clock)


def _access_log(state_dir: Path, front: LoadBalancer, platform: Platform) -> AccessLog:
    if not front.access_log:
        return AccessLog()
    file = AccessLogFile(state_dir / ACCESS_LOG, limit=front.access_log_bytes)
    return AccessLog(
        write=file.write, name_of=partial(_name_of, platform), shown=platform.ports.clock.at
    )


def _name_of(platform: Platform, service: ServiceId) -> str:
    """The id, where the service is not known any more."""
    try:
        return platform.ledger(service).service.name
    except ResourceNotFoundException:
        return service


def _front(settings: Settings) -> LoadBalancer:
    """App Runner shows no waiting page, and nobody where time goes."""
    if settings.strict:
        return replace(settings.load_balancer, waiting_page=False, server_timing=False)
    return settings.load_balancer


def _raised_descriptor_limit() -> int:
    """How many files and connections this process may have open: as many as it is allowed to."""
    try:
        import resource  # noqa: PLC0415 - not everywhere
    except ImportError:
        return sys.maxsize
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft in {resource.RLIM_INFINITY, most}:
        return most
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    return max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 0)


def _within_descriptors(limits: LoadBalancer, descriptors: int) -> LoadBalancer:
    """A client's connection may need another one, to an instance; the rest is for all else."""
    most = max((descriptors - RESERVED_DESCRIPTORS) // 2, 1)
    if limits.connections <= most:
        return limits
    _log.warning(
        "this process may open %d files (ulimit -n): the load balancer takes %d connections, not %d",
        descriptors,
        most,
        limits.connections,
    )
    return replace(limits, connections=most)


async def _policy_clock(store: Database, machine: SystemClock, speed: float) -> SteeredClock:
    """Policy time goes on where it was, at the speed that is asked for."""
    stored = await store.timeline()
    timeline = stored.begun(machine.wall(), speed=speed, not_before=await store.heartbeat() or 0.0)
    if timeline != stored:
        await store.save(timeline)
    return SteeredClock(machine, timeline)


def _take(state_dir: Path) -> StateLock:
    """The state directory, for us alone: other users of the machine see nothing of it."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return StateLock.acquire(state_dir)


def _buildpacks(*, strict: bool = False) -> tuple[Buildpack, ...]:
    packs = buildpacks.load(buildpacks.folder(), suite=host_suite())
    return buildpacks.without_programs(packs) if strict else packs


def _builder(
    engine: Engine,
    owner: str,
    repository: GitRepositories,
    settings: Settings,
    packs: Sequence[Buildpack],
) -> DockerBuilder:
    return DockerBuilder(
        engine,
        owner=owner,
        repository=repository,
        clock=SystemClock(),
        environment=settings.environment,
        limits=settings.limits,
        bases=[runtime.base for pack in packs for runtime in pack.runtimes],
    )


def _platform(ports: Ports, settings: Settings, packs: Sequence[Buildpack]) -> Platform:
    meter = Meter(ports.store, ports.clock, ports.machine)
    limits = settings.limits
    planner = Planner(ports.repository, buildpacks=packs, parse=yaml.load)
    deployer = Deployer(
        ports,
        planner,
        meter=meter,
        images=settings.images,
        build_log=limits.build_log,
        strict=settings.strict,
    )

    return Platform(
        ports=ports,
        settings=settings,
        router=Router(),
        meter=meter,
        deployer=deployer,
    )


# -- what the command line does without a running emulator ---------------------------------------


def doctor(settings: Settings, *, fix: bool, say: Callable[[str], None]) -> tuple[Finding, ...]:
    """What is missing on this machine; with `fix` mended where that is possible."""
    machine = Machine(settings, SystemClock())
    return asyncio.run(machine.fix(say) if fix else machine.inspect())


def detect(settings: Settings, path: Path, directory: str, branch: str) -> dict[str, Any]:
    """How the newest commit of a branch would be built, and why. Raises ConfigurationError."""
    return asyncio.run(_detect(settings, path, directory, branch))


async def _detect(settings: Settings, path: Path, directory: str, branch: str) -> dict[str, Any]:
    clock = SystemClock()
    repository = GitRepositories(
        environment=settings.environment, repositories={}, watcher=Watcher(clock)
    )
    try:
        planner = Planner(repository, buildpacks=_buildpacks(), parse=yaml.load)
        source = CodeSource(repository=str(path), branch=branch, source_directory=f"/{directory}")
        snapshot = await planner.snapshot(source, None)
        decision = planner.decide(snapshot, source, {})
    finally:
        await repository.close()
    plan = decision.plan
    return {
        "Buildpack": decision.buildpack,
        "Runtime": decision.runtime,
        "Kind": str(plan.kind),
        "Because": list(plan.reasons),
        "Warnings": list(plan.warnings),
        "Dockerfile": dockerfile.render(plan, plan.base.image if plan.base else ""),
        "AppRunnerYaml": decision.app_runner_yaml,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed, in words; `kept` is the size of the builds' caches that were not. With
    `building` no image was, for the sake of a build under way.
    """

    removed: tuple[str, ...]
    kept: int
    building: bool = False


def prune(settings: Settings, *, dry_run: bool, caches: bool) -> Pruned:
    """Remove what nobody needs any more, with `caches` also the builds' caches."""
    return asyncio.run(_prune(settings, dry_run=dry_run, caches=caches))


async def _prune(settings: Settings, *, dry_run: bool, caches: bool) -> Pruned:
    async with await Engine.connect(settings.environment) as engine:
        building = await build_is_under_way(engine)
        removed = await prune_images(engine, dry_run=dry_run)
        sizes = await cache_sizes(engine)
        if caches:
            removed += await prune_caches(engine, sizes, dry_run=dry_run)
        kept = 0 if caches else sum(sizes.values())
        return Pruned(removed=removed, kept=kept, building=building)
