"""Working-tree mode, killed at every effect: what is committed serves, and nothing is left over."""

import asyncio
import contextlib

import looptime
import pytest

from emulator.model.errors import AppRunnerError
from emulator.model.service import ServiceStatus
from tests.fakes.emulators import Emulator, Killed, Machine, code
from tests.simulation.stories import APP, CodeStory

SAVES = ({"app.py": "print(2)\n"}, {"requirements.txt": "redis\n"}, {"app.py": "print(3)\n"})


def run(kill_at: int | None) -> int:
    loop = looptime.new_event_loop()
    try:
        return loop.run_until_complete(tell(kill_at))
    finally:
        loop.close()


async def tell(kill_at: int | None) -> int:
    """A service, three saves, a commit between them; then an emulator that lives, and no session."""
    machine = Machine()
    story = CodeStory(machine)
    async with Emulator(machine, kill_at) as emulator:
        with contextlib.suppress(Killed, AppRunnerError):
            await emulator.platform.create("hello", code())
            await work(emulator)
        passed = emulator.fuse.count
    if story.service is None:
        machine.repository.commit_files("/repo", APP)
    async with Emulator(machine) as emulator:
        if story.service is None:
            await emulator.platform.create("hello", code())
        newest = (await machine.repository.resolve("/repo", "main")).id
        assert await emulator.until(lambda: story.commit() == newest, within=150), story.service
        assert await emulator.until(lambda: rests(story), within=60), (
            story.leftovers(),
            machine.world,
        )
    return passed


async def work(emulator: Emulator) -> None:
    """As somebody works on it until the emulator dies, or the work is done."""
    await emulator.until(lambda: emulator.platform.ledger("hello").operation is None, within=60)
    news: list = []
    session = asyncio.get_running_loop().create_task(
        emulator.platform.develop("hello", news.append)
    )
    repository = emulator.machine.repository
    try:
        for files in SAVES:
            count = len(news)
            repository.save_files("/repo", files)
            if files == SAVES[1]:
                repository.commit_files("/repo", files)
            await emulator.until(lambda count=count: len(news) > count, within=20)
    finally:
        session.cancel()
        await asyncio.gather(session, return_exceptions=True)
    await emulator.until(lambda: emulator.platform.ledger("hello").dev is None, within=30)


def rests(story: CodeStory) -> bool:
    """Nothing runs but what serves."""
    service = story.service
    counts = story.machine.world.running(service.id)
    running = counts in ({service.revision: 1}, {})
    return service.status is ServiceStatus.RUNNING and running and story.leftovers() == []


def test_it_ends_on_the_commit_without_a_kill():
    assert run(None) > 50


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(4))
def test_it_ends_on_the_commit_after_a_kill_at_every_point(part):
    for point in range(1 + part, run(None) + 1, 4):
        run(point)
