"""An emulator over a machine in memory, that can be killed at any of its effects.

Every call of a port is an effect with two kill points: just before, and just after it took
place. A killed emulator does nothing more, not even clean up: as after a SIGKILL.
"""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Self

from emulator.cli import prices
from emulator.controllers.deployment import Deployer, Planner
from emulator.controllers.meter import Meter
from emulator.controllers.platform import Platform
from emulator.controllers.router import Router
from emulator.drivers import buildpacks, yaml
from emulator.model.configuration import (
    CodeSource,
    Extensions,
    ImageSource,
    ServiceConfiguration,
)
from emulator.model.service import Service
from emulator.model.settings import Limits, Settings
from emulator.ports import Ports
from tests.fakes.builder import FakeBuilder
from tests.fakes.clock import LoopClock, LoopPolicyClock
from tests.fakes.identifiers import CountingIdentifiers
from tests.fakes.instances import FakeInstances
from tests.fakes.logs import FakeLogs
from tests.fakes.probe import FakeProbe
from tests.fakes.registry import FakeRegistry
from tests.fakes.repository import FakeRepository
from tests.fakes.secrets import FakeSecrets
from tests.fakes.store import FakeStore
from tests.fakes.world import World

BUILDPACKS = buildpacks.load(buildpacks.folder())
LIMITS = Limits(start=20.0, stop=1.0, drain=5.0, build=60.0)
SETTINGS = Settings(state_dir="/nowhere", limits=LIMITS, prices=prices.builtin())
EXTENSIONS = Extensions(scale_to_zero_after=30.0, freeze_after=5.0)


class Killed(BaseException):
    """The process is gone."""


class Fuse:
    """Burns at the kill point number `at` (None: never)."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.count = 0
        self.blown = False

    def check(self) -> None:
        if self.blown:
            raise Killed

    def step(self) -> None:
        self.check()
        self.count += 1
        if self.count == self.at:
            self.blown = True
            raise Killed


class Guarded:
    """A port whose every asynchronous call has a kill point before and after it, if it has
    `effects`: one that only asks dies with the rest.
    """

    def __init__(self, port: object, fuse: Fuse, *, effects: bool = True) -> None:
        self._port = port
        self._fuse = fuse
        self._step = fuse.step if effects else fuse.check

    def __getattr__(self, name: str):
        attribute = getattr(self._port, name)
        if inspect.iscoroutinefunction(attribute):
            return self._guard(attribute)
        if inspect.isasyncgenfunction(attribute):
            return self._guard_stream(attribute)
        return attribute

    def _guard(self, call: Callable) -> Callable:
        async def guarded(*args, **more):
            self._step()
            result = await call(*args, **more)
            self._step()
            return result

        return guarded

    def _guard_stream(self, call: Callable) -> Callable:
        async def guarded(*args, **more):
            async for item in call(*args, **more):
                if self._fuse.blown:
                    raise Killed
                yield item

        return guarded


class FakeDoors:
    def __init__(self) -> None:
        self.next = 9000

    async def open(self, service, port):
        self.next += 1
        return port or self.next

    async def close(self, service):
        pass


class Machine:
    """What outlives the emulator: the engine, the state directory, the repository, the user."""

    def __init__(self) -> None:
        self.world = World()
        self.world.images = {"app:1": "sha256:app1", "app:2": "sha256:app2"}
        self.store = FakeStore()
        self.logs = FakeLogs()
        self.clock = LoopClock()
        self.policy = LoopPolicyClock(self.clock)
        self.world.now = self.policy.now
        self.identifiers = CountingIdentifiers()
        self.instances = FakeInstances(self.world, self.clock)
        self.builder = FakeBuilder(self.world, self.clock)
        self.probe = FakeProbe(self.world, self.clock)
        self.repository = FakeRepository()
        self.secrets = FakeSecrets()
        self.registry: FakeRegistry | None = None

    def ports(self, fuse: Fuse) -> Ports:
        return Ports(
            clock=self.policy,
            machine=self.clock,
            identifiers=self.identifiers,
            store=Guarded(self.store, fuse),
            instances=Guarded(self.instances, fuse),
            builder=Guarded(self.builder, fuse),
            repository=Guarded(self.repository, fuse),
            probe=Guarded(self.probe, fuse, effects=False),
            logs=self.logs,
            secrets=self.secrets,
            registry=self.registry,
        )


class Emulator:
    """One run of the emulator: from its start until it is killed or stopped."""

    def __init__(
        self, machine: Machine, kill_at: int | None = None, *, settings: Settings = SETTINGS
    ) -> None:
        self.machine = machine
        self.fuse = Fuse(kill_at)
        ports = machine.ports(self.fuse)
        machine.policy.adopt(
            machine.policy.timeline.begun(
                machine.clock.now(), speed=settings.pace.speed, not_before=0.0
            )
        )
        meter = Meter(ports.store, ports.clock, ports.machine)
        planner = Planner(ports.repository, buildpacks=BUILDPACKS, parse=yaml.load)
        self.platform = Platform(
            ports=ports,
            settings=settings,
            router=Router(),
            meter=meter,
            deployer=Deployer(
                ports,
                planner,
                meter=meter,
                images=settings.images,
                build_log=1000,
                strict=settings.strict,
            ),
        )
        self._ready = asyncio.Event()
        self._task: asyncio.Task | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(
            self.platform.run(FakeDoors(), self._ready.set)
        )
        ready = asyncio.get_running_loop().create_task(self._ready.wait())
        await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        return self

    async def __aexit__(self, *_) -> None:
        """The end, one way or the other: no effect takes place any more."""
        self.fuse.blown = True
        self._task.cancel()
        try:
            await self._task
        except BaseException as error:  # noqa: BLE001 - told apart just below
            unexpected = unexpected_in(error)
            if unexpected:
                raise unexpected[0] from None

    @property
    def dead(self) -> bool:
        return self.fuse.blown or self._task.done()

    async def at_rest(self, key: str = "hello", *, within: float = 100.0) -> Service:
        """The service, once no operation is under way."""
        ledger = self.platform.ledger(key)
        resting = await self.until(lambda: ledger.operation is None, within=within)
        assert resting, f"{ledger!r} did not come to rest"
        return ledger.service

    async def events(self, key: str = "hello") -> list[str]:
        service = self.platform.ledger(key).service
        return [e.text for e in await self.machine.store.events(service.id)]

    async def operations(self, key: str = "hello") -> list[str]:
        service = self.platform.ledger(key).service
        stored = await self.machine.store.operations(service.id)
        return [f"{o.type} {o.status}" for o in stored]

    async def until(self, condition: Callable[[], bool], *, within: float) -> bool:
        """True when the condition holds; False when the emulator died or the time is over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while not self.dead and loop.time() < end:
            if condition():
                return True
            await self.machine.clock.sleep(0.25)
        return False


def unexpected_in(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [u for e in error.exceptions for u in unexpected_in(e)]
    return [] if isinstance(error, Killed | asyncio.CancelledError) else [error]


def configuration(image: str = "app:1", **scaling) -> ServiceConfiguration:
    wanted = ServiceConfiguration(
        source=ImageSource(identifier=image), auto_deploy=False, extensions=EXTENSIONS
    )
    return replace(wanted, scaling=replace(wanted.scaling, **scaling))


def code(repository: str = "/repo") -> ServiceConfiguration:
    return ServiceConfiguration(
        source=CodeSource(repository=repository, branch="main"), extensions=EXTENSIONS
    )
