"""What a patient user wants, step by step: what was not accepted is asked for again.

A step is a request (or something that happens outside the emulator) and what must come of it.
"""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from emulator.controllers.platform import Platform
from emulator.model.configuration import ServiceConfiguration
from emulator.model.errors import AppRunnerError
from emulator.model.instance import ContainerState
from emulator.model.operation import TRANSITIONS
from emulator.model.service import Service, ServiceStatus
from tests.fakes.emulators import Emulator, Killed, Machine, code, configuration
from tests.fakes.world import Behaviour

SETTLED = 150.0  # virtual seconds within which everything must have come to rest
APP = {"requirements.txt": "flask\n", "app.py": "print(1)\n"}


@dataclass(frozen=True)
class Step:
    request: Callable[[Platform], Awaitable[object]]
    holds: Callable[[], bool]
    outside: bool = False


class Story:
    """`steps` are told in order; `done` of them hold already."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.done = 0
        self.steps: list[Step] = []

    @property
    def service(self) -> Service | None:
        live = [s for s in self.machine.store._services.values() if s.live]
        return live[0] if live else None

    @property
    def all_services(self) -> list[Service]:
        return list(self.machine.store._services.values())

    def status(self, status: ServiceStatus) -> bool:
        return self.service is not None and self.service.status is status

    def serving(self):
        if not self.status(ServiceStatus.RUNNING):
            return None
        return self.machine.store._revisions.get((self.service.id, self.service.revision))

    async def tell(self, emulator: Emulator) -> bool:
        """Carry on; True when the whole story was told."""
        while self.done < len(self.steps):
            step = self.steps[self.done]
            if not await self._comes_about(step, emulator):
                return False
            self.done += 1
        return True

    async def _comes_about(self, step: Step, emulator: Emulator) -> bool:
        for _ in range(3):
            if step.holds():
                return True
            if self._may_ask(step):
                with contextlib.suppress(Killed, AppRunnerError):
                    await step.request(emulator.platform)
            if await emulator.until(step.holds, within=SETTLED):
                return True
            if emulator.dead:
                return False
        return step.holds()

    def _may_ask(self, step: Step) -> bool:
        service = self.service
        busy = service is not None and service.status is ServiceStatus.OPERATION_IN_PROGRESS
        return step.outside or not busy

    def leftovers(self) -> list[str]:
        """What nobody needs."""
        world, service = self.machine.world, self.service
        own = world.of(service.id) if service else []
        standbys = [s for s in own if s.state is ContainerState.CREATED]
        exited = [s for s in own if s.state is ContainerState.EXITED]
        live = {service.id} if service else set()
        strangers = [c for c in world.containers.values() if c.seen.service not in live]
        unfinished = [o for o in self.machine.store._operations.values() if TRANSITIONS[o.status]]
        things = [*standbys[1:], *exited, *strangers, *(world.networks - live), *world.helpers]
        return [repr(thing) for thing in [*things, *unfinished]]

    def deployed_by_itself(self) -> list[str]:
        """The commits and images of deployments that nobody asked for."""
        revisions = {r.id: r for r in self.machine.store._revisions.values()}
        operations = self.machine.store._operations.values()
        targets = [revisions[o.target] for o in operations if o.automatic and o.target]
        return [revision.commit or revision.image for revision in targets]


class ImageStory(Story):
    """Create, two new images of the name, the second while the first is deployed, update to two
    instances, pause, resume, deploy again.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        status = ServiceStatus
        self.steps = [
            Step(lambda p: p.create("hello", automatic()), lambda: self.runs("app:1")),
            Step(self._tag, lambda: self._tagged, outside=True),
            Step(self._tag_again, lambda: self._tagged_again and self.runs("app:1"), outside=True),
            Step(
                lambda p: p.update(self.service.id, automatic("app:2", min_size=2)),
                lambda: self.runs("app:2"),
            ),
            Step(lambda p: p.pause(self.service.id), lambda: self.status(status.PAUSED)),
            Step(lambda p: p.resume(self.service.id), lambda: self.status(status.RUNNING)),
            Step(self._deploy_again, lambda: self.revision() > self._before > 0),
        ]
        self._before = 0
        self._tagged = self._tagged_again = False

    async def _tag(self, _: Platform) -> None:
        if not self._tagged:
            self._tagged = True
            self.machine.world.tag("app:1", "sha256:newer")

    async def _tag_again(self, _: Platform) -> None:
        await self.machine.clock.sleep(0.2)
        if not self._tagged_again:
            self._tagged_again = True
            self.machine.world.tag("app:1", "sha256:newest")

    async def _deploy_again(self, platform: Platform) -> None:
        self._before = self._before or self.revision()
        await platform.start_deployment(self.service.id)

    def runs(self, image: str) -> bool:
        revision = self.serving()
        return revision is not None and revision.image == self.machine.world.images[image]

    def revision(self) -> int:
        return int(self.service.revision[1:]) if self.status(ServiceStatus.RUNNING) else 0


def automatic(image: str = "app:1", **scaling) -> ServiceConfiguration:
    return replace(configuration(image, **scaling), auto_deploy=True)


class CancelStory(Story):
    """A repository, a deployment that is cancelled while it builds, one while its instance boots,
    and a commit that overtakes the build of another.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.first = machine.repository.commit_files("/repo", APP)
        self.newest = ""
        self._commits = 0
        self.steps = [
            Step(lambda p: p.create("hello", code()), lambda: self.commit() == self.first),
            Step(self._cancel_build, lambda: self._cancelled(1), outside=True),
            Step(self._cancel_boot, lambda: self._cancelled(2), outside=True),
            Step(
                self._commit_twice,
                lambda: self._commits == 4 and self._serves_newest(),
                outside=True,
            ),
        ]

    def commit(self) -> str | None:
        revision = self.serving()
        return revision.commit if revision else None

    def _cancelled(self, count: int) -> bool:
        """So many were, nothing else was deployed, and the old version serves."""
        operations = [o for o in self.machine.store._operations.values() if o.automatic]
        ends = [o.status for o in operations if o.cancelled]
        return ends == ["ROLLBACK_SUCCEEDED"] * count and self.commit() == self.first

    async def _cancel_build(self, platform: Platform) -> None:
        self._commit(1)
        await self._cancel_when(lambda: bool(self.machine.world.helpers), platform)

    async def _cancel_boot(self, platform: Platform) -> None:
        self._commit(2)
        await self._cancel_when(self._boots, platform)

    def _boots(self) -> bool:
        """The old version may be at zero meanwhile: policy time passes fast in some stories."""
        return bool(self._running().keys() - {self.service.revision})

    async def _cancel_when(self, reached: Callable[[], bool], platform: Platform) -> None:
        for _ in range(100):
            if reached():
                break
            await self.machine.clock.sleep(0.1)
        await platform.cancel(self.service.id)

    def _serves_newest(self) -> bool:
        return self.commit() == self.newest

    def _running(self) -> dict:
        return self.machine.world.running(self.service.id)

    def _commit(self, number: int) -> None:
        """The one of this number, unless it was made before a kill."""
        if self._commits < number:
            self._commits = number
            files = {"requirements.txt": f"flask=={number}\n"}
            self.newest = self.machine.repository.commit_files("/repo", files)
            self.machine.world.behaviours[self.newest] = Behaviour(boot=3.0)

    async def _commit_twice(self, _: Platform) -> None:
        self._commit(3)
        await self.machine.clock.sleep(1.0)
        self._commit(4)


class CodeStory(Story):
    """A repository, new commits, a container removed by hand, an engine that restarts, a rollback,
    the end.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.first = machine.repository.commit_files("/repo", APP)
        self.second = self.third = ""
        self.steps = [
            Step(lambda p: p.create("hello", code()), lambda: self.commit() == self.first),
            Step(self._commit_source, lambda: self.commit() == self.second != "", outside=True),
            Step(self._commit_dependency, lambda: self.commit() == self.third != "", outside=True),
            Step(self._remove_by_hand, lambda: self._removed and self._healed(), outside=True),
            Step(self._restart_engine, lambda: self._restarted and self._healed(), outside=True),
            Step(lambda p: p.rollback(self.service.id), lambda: self.commit() == self.second),
            Step(
                lambda p: p.delete(self.service.id),
                lambda: self.all_services != [] and self.service is None,
            ),
        ]
        self._removed = self._restarted = False

    def commit(self) -> str | None:
        revision = self.serving()
        return revision.commit if revision else None

    async def _commit_source(self, _: Platform) -> None:
        if not self.second:
            files = {"app.py": "print(2)\n"}
            self.second = self.machine.repository.commit_files("/repo", files)

    async def _commit_dependency(self, _: Platform) -> None:
        if not self.third:
            files = {"requirements.txt": "flask\ngunicorn\n"}
            self.third = self.machine.repository.commit_files("/repo", files)

    async def _remove_by_hand(self, _: Platform) -> None:
        running = [s for s in self.machine.world.of(self.service.id) if s.endpoint]
        if running and not self._removed:
            self._removed = True
            self.machine.world.remove_by_hand(running[0].id)

    async def _restart_engine(self, _: Platform) -> None:
        if not self._restarted:
            self._restarted = True
            self.machine.world.restart_engine(self.machine.clock.now())

    def _healed(self) -> bool:
        """One instance serves, or the service rests at zero; and nothing is left over."""
        counts = self.machine.world.running(self.service.id) if self.service else {}
        return counts in ({self.service.revision: 1}, {}) and self.leftovers() == []
