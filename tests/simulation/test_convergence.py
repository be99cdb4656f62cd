"""Kill the emulator at every effect, twice, and meddle by hand: it always converges."""

from dataclasses import replace
from random import Random  # noqa: TID251 - a seed makes it repeatable

import looptime
import pytest

from emulator.model.settings import Pace, PaceMode, Settings
from tests.fakes.emulators import SETTINGS, Emulator, Machine
from tests.simulation.stories import CancelStory, CodeStory, ImageStory, Story

STORIES = [ImageStory, CodeStory, CancelStory]
PACED = replace(SETTINGS, pace=Pace(mode=PaceMode.REALISTIC, speed=10))


def run(kind: type[Story], kills: list[int], settings: Settings = SETTINGS) -> int:
    """The whole story with an emulator killed at these points, then one that lives.

    Returns how many kill points the last emulator passed.
    """
    loop = looptime.new_event_loop()
    try:
        return loop.run_until_complete(tell(kind, kills, settings))
    finally:
        loop.close()


async def tell(kind: type[Story], kills: list[int], settings: Settings) -> int:
    machine = Machine()
    story = kind(machine)
    for kill_at in kills:
        async with Emulator(machine, kill_at, settings=settings) as emulator:
            await story.tell(emulator)
    async with Emulator(machine, settings=settings) as emulator:
        told = await story.tell(emulator)
        assert told, f"stuck at step {story.done}: {story.service!r}"
        alone = story.deployed_by_itself()
        assert len(alone) == len(set(alone)) > 0, alone
        await check_at_rest(story, emulator)
        await check_at_zero(story, emulator)
    return emulator.fuse.count


async def check_at_rest(story: Story, emulator: Emulator) -> None:
    """What runs is what serves, nothing else; nothing is left over."""
    world, service = story.machine.world, story.service
    wanted = {service.revision: service.configuration.scaling.min_size} if service else {}

    def settled() -> bool:
        running = world.running(service.id) if service else {}
        return running == wanted and story.leftovers() == []

    assert await emulator.until(settled, within=20), (wanted, world, story.leftovers())


async def check_at_zero(story: Story, emulator: Emulator) -> None:
    world = story.machine.world
    service = story.service
    if service is not None:
        assert await emulator.until(lambda: world.running(service.id) == {}, within=60)
    await emulator.machine.clock.sleep(5)
    usage = story.machine.store._usage.values()
    assert [u for u in usage if u.end is None] == [], "something is metered while nothing runs"


@pytest.mark.parametrize("kind", STORIES)
def test_the_story_ends_well_without_a_kill(kind):
    assert run(kind, []) > 50


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("kind", STORIES)
def test_converges_after_a_kill_at_every_point(kind, part):
    for point in range(1 + part, run(kind, []) + 1, 4):
        run(kind, [point])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", STORIES)
def test_converges_after_pairs_of_kills(kind, seed):
    chance = Random(seed)
    count = run(kind, [])
    for _ in range(15):
        run(kind, [chance.randint(1, count), chance.randint(1, count)])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", STORIES)
def test_converges_after_a_kill_while_it_waits_for_app_runners_pace(kind):
    chance = Random(0)
    count = run(kind, [], PACED)
    for _ in range(15):
        run(kind, [chance.randint(1, count), chance.randint(1, count)], PACED)
