"""Working-tree mode over a repository and a machine in memory, in virtual time."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from emulator.controllers.development import What
from emulator.model.errors import BuildError, InvalidRequestException, InvalidStateException
from emulator.model.instance import Health
from emulator.model.service import ServiceStatus
from tests.fakes.emulators import Emulator, Machine, code, configuration
from tests.fakes.world import Behaviour

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
APP = {"requirements.txt": "flask\n", "app.py": "print(1)\n"}


@pytest.fixture
def machine():
    made = Machine()
    made.first = made.repository.commit_files("/repo", APP, "First")
    return made


@pytest.fixture
async def emulator(machine):
    async with Emulator(machine) as running:
        await running.platform.create("hello", code())
        await running.at_rest()
        yield running


@asynccontextmanager
async def developing(emulator, key="hello"):
    """As long as the command lives."""
    news = []
    task = asyncio.get_running_loop().create_task(emulator.platform.develop(key, news.append))
    try:
        assert await emulator.until(lambda: task.done() or news, within=5)
        if task.done():
            await task
        yield news
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def serving(emulator):
    """The commit, or the tree of what is not committed."""
    ledger = emulator.platform.ledger("hello")
    revision = ledger.revision(ledger.serving)
    return (revision.commit or revision.source.tree) if revision else None


def routed(emulator):
    """How many instances get requests."""
    ledger = emulator.platform.ledger("hello")
    instances = emulator.platform.worker(ledger.service.id).instances()
    ready = [i for i in instances if i.health is Health.HEALTHY and not i.draining]
    return len([i for i in ready if i.revision == ledger.serving])


async def serves(emulator, what, *, within=30.0):
    return await emulator.until(lambda: serving(emulator) == what, within=within)


def running(emulator):
    service = emulator.platform.ledger("hello").service
    return emulator.machine.world.running(service.id)


def last(news):
    return news[-1].what, news[-1].changed


async def test_a_name_of_any_bytes_is_told_as_one_line_of_text(emulator, machine):
    async with developing(emulator) as news:
        machine.repository.save_files("/repo", {"caf\u00e9\n.py": "1"})
        told = ("caf\u00e9\\n.py",)
        assert await emulator.until(lambda: any(n.changed == told for n in news), within=9)


async def test_a_save_is_served_without_a_commit(emulator, machine):
    async with developing(emulator) as news:
        assert last(news) == (What.WATCHING, ())
        tree = machine.repository.save_files("/repo", {"app.py": "print(2)\n"})
        assert await serves(emulator, tree)
        assert await emulator.until(lambda: news[-1].what is What.SERVING, within=1)
        assert news[-1].changed == ("app.py",)
        assert 0 < news[-1].seconds < 2
        assert await emulator.until(lambda: len(running(emulator)) == 1, within=10)


async def test_a_source_only_save_builds_nothing_and_a_dependency_builds(emulator, machine):
    builds = len(machine.builder.built)
    async with developing(emulator):
        tree = machine.repository.save_files("/repo", {"app.py": "print(2)\n"})
        assert await serves(emulator, tree)
        assert len(machine.builder.built) == builds
        tree = machine.repository.save_files("/repo", {"requirements.txt": "flask\nredis\n"})
        assert await serves(emulator, tree)
        assert len(machine.builder.built) == builds + 1


async def test_what_was_changed_before_it_began_is_served_as_well(emulator, machine):
    tree = machine.repository.save_files("/repo", {"app.py": "print(2)\n"})
    async with developing(emulator) as news:
        assert await serves(emulator, tree)
        assert news[0].changed == ("app.py",)


async def test_its_end_brings_the_committed_revision_back(emulator, machine):
    async with developing(emulator):
        tree = machine.repository.save_files("/repo", {"app.py": "print(2)\n"})
        assert await serves(emulator, tree)
    assert await serves(emulator, machine.first)
    ledger = emulator.platform.ledger("hello")
    assert await emulator.until(lambda: ledger.dev is None, within=5)
    assert await emulator.until(lambda: running(emulator) == {ledger.service.revision: 1}, within=9)
    assert any("Working-tree mode has ended" in e for e in await emulator.events())


async def test_it_serves_on_until_the_committed_revision_does(emulator, machine):
    machine.world.behaviours[machine.first] = Behaviour(boot=5.0)
    async with developing(emulator):
        tree = machine.repository.save_files("/repo", {"app.py": "print(2)\n"})
        assert await serves(emulator, tree)
    await emulator.machine.clock.sleep(3)
    assert serving(emulator) == tree
    assert await serves(emulator, machine.first)


async def test_commits_wait_for_its_end(emulator, machine):
    async with developing(emulator):
        tree = machine.repository.save_files("/repo", {"app.py": "print(2)\n"})
        assert await serves(emulator, tree)
        second = machine.repository.commit_files("/repo", {"app.py": "print(2)\n"}, "Second")
        await emulator.machine.clock.sleep(10)
        assert serving(emulator) == tree
        assert any("queued: the working tree" in e for e in await emulator.events())
    seen = []
    assert await emulator.until(
        lambda: seen.append(serving(emulator)) or serving(emulator) == second, within=30
    )
    assert machine.first not in seen


async def test_leaving_returns_when_what_is_committed_serves(emulator, machine):
    async with developing(emulator):
        tree = machine.repository.save_files("/repo", {"app.py": "print(2)\n"})
        assert await serves(emulator, tree)
        await emulator.platform.leave_development("hello")
        assert serving(emulator) == machine.first


async def test_an_application_that_does_not_start_leaves_the_last_good_one_serving(
    emulator, machine
):
    async with developing(emulator) as news:
        good = machine.repository.save_files("/repo", {"app.py": "print(2)\n"})
        assert await serves(emulator, good)
        files = {"app.py": "raise\n"}
        bad = machine.repository.save_files("/repo", files)
        machine.world.behaviours[bad] = Behaviour(boot=9.0, crashes_after=0.1, exit_code=3)
        assert await emulator.until(lambda: news[-1].what is What.FAILED, within=5)
        assert "exit code: 3" in news[-1].text
        assert (serving(emulator), routed(emulator)) == (good, 1)
        assert emulator.platform.ledger("hello").dev.failure
        better = machine.repository.save_files("/repo", {"app.py": "print(3)\n"})
        assert await serves(emulator, better)


async def test_a_build_that_fails_leaves_the_last_good_one_serving(emulator, machine):
    async with developing(emulator) as news:
        files = {"requirements.txt": "nonsense\n"}
        build = machine.builder.build

        async def fail(_request, _on_line):
            raise BuildError("exit code 1", exit_code=1)

        machine.builder.build = fail
        machine.repository.save_files("/repo", files)
        assert await emulator.until(lambda: news[-1].what is What.FAILED, within=5)
        assert "exit code 1" in news[-1].text
        assert serving(emulator) == machine.first
        machine.builder.build = build
        machine.repository.save_files("/repo", APP)
        assert await emulator.until(lambda: last(news)[0] is What.SERVING, within=5)


async def test_a_save_supersedes_the_build_of_an_older_one(emulator, machine):
    async with developing(emulator) as news:
        machine.repository.save_files("/repo", {"requirements.txt": "one\n"})
        await emulator.machine.clock.sleep(1)
        tree = machine.repository.save_files("/repo", {"requirements.txt": "two\n"})
        assert await serves(emulator, tree)
        assert machine.world.helpers == set()
        assert [n.what for n in news].count(What.SERVING) == 1


async def test_the_same_content_is_not_started_again(emulator, machine):
    async with developing(emulator) as news:
        tree = machine.repository.save_files("/repo", {"app.py": "print(2)\n"})
        assert await serves(emulator, tree)
        before = len(machine.store._usage)
        machine.repository.save_files("/repo", {"app.py": "print(2)\n"})
        await emulator.machine.clock.sleep(3)
        assert [n.what for n in news] == [What.WATCHING, What.SERVING]
        assert len(machine.store._usage) <= before + 1


async def test_only_one_may_hold_it(emulator):
    async with developing(emulator):
        with pytest.raises(InvalidStateException, match="already"):
            await emulator.platform.develop("hello", print)


async def test_an_image_has_no_working_tree(emulator):
    await emulator.platform.create("image", configuration())
    with pytest.raises(InvalidRequestException, match="runs an image"):
        await emulator.platform.develop("image", print)


async def test_what_could_not_be_created_can_be_worked_on(machine):
    machine.repository.commit_files("/repo", {"apprunner.yaml": "version: 1.0\n"})
    async with Emulator(machine) as emulator:
        await emulator.platform.create("hello", code())
        assert (await emulator.at_rest()).status is ServiceStatus.CREATE_FAILED
        async with developing(emulator):
            tree = machine.repository.save_files("/repo", {"apprunner.yaml": None})
            assert await serves(emulator, tree)
            assert routed(emulator) == 1
        assert await emulator.until(lambda: running(emulator) == {}, within=20)
        assert emulator.platform.ledger("hello").dev is None


async def test_it_goes_to_zero_and_wakes_with_what_was_saved(emulator, machine):
    async with developing(emulator):
        tree = machine.repository.save_files("/repo", {"app.py": "print(2)\n"})
        assert await serves(emulator, tree)
        assert await emulator.until(lambda: running(emulator) == {}, within=60)
        later = machine.repository.save_files("/repo", {"app.py": "print(3)\n"})
        assert await serves(emulator, later)


async def test_a_killed_emulator_leaves_nothing_of_it(machine):
    async with Emulator(machine) as emulator:
        await emulator.platform.create("hello", code())
        await emulator.at_rest()
        async with developing(emulator):
            tree = machine.repository.save_files("/repo", {"app.py": "print(2)\n"})
            assert await serves(emulator, tree)
            emulator.fuse.blown = True
    async with Emulator(machine) as emulator:
        assert serving(emulator) == machine.first
        # What ran goes, and somebody looks at it: what is committed is started in its place.
        committed = emulator.platform.ledger("hello").service.revision
        assert await emulator.until(lambda: running(emulator) == {committed: 1}, within=20)


async def test_a_paused_service_serves_nothing_of_it(emulator, machine):
    async with developing(emulator):
        tree = machine.repository.save_files("/repo", {"app.py": "print(2)\n"})
        assert await serves(emulator, tree)
        await emulator.platform.pause("hello")
        await emulator.at_rest()
        assert running(emulator) == {}
    assert await emulator.until(lambda: emulator.platform.ledger("hello").dev is None, within=5)
