"""Kill the emulator at every effect, twice, and meddle by hand: it always converges.

The user of these stories is patient: what was not accepted is asked for again.
"""

import random

import looptime
import pytest

from emulator.model.errors import AppRunnerError
from emulator.model.instance import ContainerState
from emulator.model.service import ServiceStatus
from tests.fakes.emulators import Emulator, Killed, Machine, configuration

SETTLED = 150.0  # virtual seconds within which everything must have come to rest


async def ask(request):
    """A request that a dead emulator did not answer counts as not asked."""
    try:
        await request
    except (Killed, AppRunnerError):
        pass


class Story:
    """What the user wants, step by step; each step is repeated until it holds."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    @property
    def service(self):
        live = [s for s in self.machine.store._services.values() if s.live]
        return live[0] if live else None

    @property
    def steps(self):
        return [
            (lambda p: p.create("hello", configuration()), lambda: self.serves("app:1")),
            (
                lambda p: p.update(self.service.id, configuration("app:2", min_size=2)),
                lambda: self.serves("app:2"),
            ),
            (lambda p: p.pause(self.service.id), lambda: self.status(ServiceStatus.PAUSED)),
            (lambda p: p.resume(self.service.id), lambda: self.status(ServiceStatus.RUNNING)),
            (lambda p: p.start_deployment(self.service.id), lambda: self.revision_at_least(3)),
        ]

    def serves(self, image: str) -> bool:
        service = self.service
        if service is None or service.status is not ServiceStatus.RUNNING:
            return False
        revision = self.machine.store._revisions.get((service.id, service.revision))
        return revision is not None and revision.image == self.machine.world.images[image]

    def status(self, status: ServiceStatus) -> bool:
        return self.service is not None and self.service.status is status

    def revision_at_least(self, number: int) -> bool:
        service = self.service
        return self.status(ServiceStatus.RUNNING) and int(service.revision[1:]) >= number

    async def tell(self, emulator: Emulator, done: int) -> int:
        """Carry on from step `done`; returns how many steps hold."""
        for request, holds in self.steps[done:]:
            if not holds():
                service = self.service
                at_rest = service is None or service.status is not (
                    ServiceStatus.OPERATION_IN_PROGRESS
                )
                if at_rest:
                    await ask(request(emulator.platform))
                if not await emulator.until(holds, within=SETTLED):
                    if (
                        not emulator.dead
                        and self.service
                        and self.service.status is (ServiceStatus.RUNNING)
                    ):
                        await ask(request(emulator.platform))
                        if await emulator.until(holds, within=SETTLED):
                            done += 1
                            continue
                    return done
            done += 1
        return done


async def tell(machine: Machine, kills: list[int]) -> tuple[int, list[int]]:
    """The whole story with an emulator killed at these points; then one that lives.

    Returns how many kill points the runs passed.
    """
    story, done, counts = Story(machine), 0, []
    for kill_at in [*kills, None]:
        async with Emulator(machine, kill_at) as emulator:
            done = await story.tell(emulator, done)
            if kill_at is None:
                assert done == len(story.steps), f"stuck at step {done}: {story.service!r}"
                await check_at_rest(machine, emulator)
                await check_at_zero(machine, emulator)
        counts.append(emulator.fuse.count)
    return done, counts


async def check_at_rest(machine: Machine, emulator: Emulator) -> None:
    """What runs is what serves, nothing else; nothing is left over."""
    service = Story(machine).service
    wanted = {service.revision: service.configuration.scaling.min_size}
    settled = await emulator.until(
        lambda: machine.world.running(service.id) == wanted and leftovers(machine) == [], within=20
    )
    assert settled, (machine.world.running(service.id), wanted, leftovers(machine))
    unfinished = [o for o in machine.store._operations.values() if not o.ended]
    assert unfinished == []


async def check_at_zero(machine: Machine, emulator: Emulator) -> None:
    service = Story(machine).service
    assert await emulator.until(lambda: machine.world.running(service.id) == {}, within=60)
    await emulator.machine.clock.sleep(5)
    usage = machine.store._usage.values()
    assert [u for u in usage if u.end is None] == [], "something is metered at zero"


def leftovers(machine: Machine) -> list[str]:
    service = Story(machine).service
    world = machine.world
    standbys = [s for s in world.of(service.id) if s.state is ContainerState.CREATED]
    exited = [s for s in world.of(service.id) if s.state is ContainerState.EXITED]
    strangers = [c for c in world.containers.values() if c.seen.service != service.id]
    networks = world.networks - {service.id}
    return [
        *map(repr, standbys[1:]),
        *map(repr, exited),
        *map(repr, strangers),
        *map(str, networks),
        *world.helpers,
    ]


def run(kills: list[int]) -> list[int]:
    loop = looptime.new_event_loop()
    try:
        return loop.run_until_complete(tell(Machine(), kills))[1]
    finally:
        loop.close()


def test_the_story_ends_well_without_a_kill():
    (count,) = run([])
    assert count > 50


@pytest.mark.timeout(300)
def test_converges_after_a_kill_at_every_point():
    (count,) = run([])
    for point in range(1, count + 1):
        run([point])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(10))
def test_converges_after_pairs_of_kills(seed):
    (count,) = run([])
    chance = random.Random(seed)
    for _ in range(15):
        run([chance.randint(1, count), chance.randint(1, count)])
