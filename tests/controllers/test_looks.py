"""Who knows that a branch has moved may look at once: together with the watcher, and before it."""

import asyncio

import pytest

from emulator.model.errors import RepositoryError
from tests.fakes.emulators import Emulator, Machine, code

FILES = {"requirements.txt": "flask\n", "app.py": "print(1)\n"}

pytestmark = pytest.mark.looptime


async def test_several_looks_at_one_moment_queue_a_commit_once():
    machine = Machine()
    machine.repository.commit_files("/repo", FILES)
    async with Emulator(machine) as emulator:
        service, _ = await emulator.platform.create("hello", code())
        await emulator.at_rest()
        commit = machine.repository.commit_files("/repo", {"app.py": "print(2)\n"})
        source = service.configuration.source
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(emulator.platform.look("hello", source)) for _ in range(3)]
        assert {task.result().id for task in looks} == {commit}
        await emulator.at_rest()
        events = await emulator.events()
        assert len([text for text in events if "is deployed." in text]) == 1
        assert len(await emulator.operations()) == 2


async def test_a_look_tells_its_trouble_to_who_looks():
    machine = Machine()
    machine.repository.commit_files("/repo", FILES)
    async with Emulator(machine) as emulator:
        service, _ = await emulator.platform.create("hello", code())
        await emulator.at_rest()
        machine.repository.take_away("/repo")
        with pytest.raises(RepositoryError, match="there is no directory"):
            await emulator.platform.look("hello", service.configuration.source)
