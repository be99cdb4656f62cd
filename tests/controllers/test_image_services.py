"""What local images and their names bring about, over a machine in memory, in virtual time."""

import asyncio
from dataclasses import replace

import pytest

from emulator.controllers.images import RESYNC
from emulator.model.configuration import ImageSource
from emulator.model.errors import EngineError
from emulator.model.service import ServiceStatus
from tests.fakes.emulators import SETTINGS, Emulator, Machine, configuration
from tests.fakes.world import Behaviour

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
PRIVATE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop/web:1"
AT_ONCE = 0.001  # virtual seconds: only what needs no waiting at all is done by then


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
async def emulator(machine):
    """Begun by `created` or `begin`: in a fixture time is real, and what is to be done at some
    virtual time would be done never.
    """
    made = Emulator(machine)
    yield made
    await made.__aexit__()


async def begin(emulator):
    await emulator.__aenter__()


def automatic(image="app:1", **source):
    """Of an image service; `source` are further members of its ImageSource."""
    wanted = replace(configuration(image), auto_deploy=True)
    return replace(wanted, source=replace(wanted.source, **source))


async def created(emulator, wanted=None):
    await begin(emulator)
    await emulator.platform.create("hello", wanted or automatic())
    return await emulator.at_rest()


def ledger(emulator):
    return emulator.platform.ledger("hello")


def serving(emulator):
    revision = ledger(emulator).revisions.get(ledger(emulator).service.revision)
    return revision.image if revision else None


def deployed(emulator):
    """The image of each revision there was, in order."""
    return [revision.image for revision in ledger(emulator).revisions.values()]


async def serves(emulator, image, *, within=30.0):
    return await emulator.until(lambda: serving(emulator) == image, within=within)


async def settle(emulator):
    """Whatever is to come by itself has come."""
    await emulator.machine.clock.sleep(3 * RESYNC)
    await emulator.at_rest()


class TestNames:
    async def test_a_private_name_is_served_by_its_local_image_and_says_so(self, emulator, machine):
        machine.world.tag("shop/web:1", "sha256:local")
        await created(emulator, automatic(PRIVATE))
        assert serving(emulator) == "sha256:local"
        told = await emulator.events()
        at = told.index(f"Pulling image {PRIVATE} from ECR repository.")
        assert told[at + 1] == "The local image shop/web:1 stands in for it."
        assert told[at + 2] == "Successfully pulled image from ECR."

    async def test_an_image_of_the_very_name_needs_no_explanation(self, emulator):
        await created(emulator)
        assert not any("stands in" in e for e in await emulator.events())

    async def test_a_mapped_name_is_served_by_that_image_alone(self, machine):
        machine.world.tag("mine:dev", "sha256:mine")
        settings = replace(SETTINGS, images={PRIVATE: "mine:dev"})
        async with Emulator(machine, settings=settings) as emulator:
            await emulator.platform.create("hello", automatic(PRIVATE))
            await emulator.at_rest()
            assert serving(emulator) == "sha256:mine"
            machine.world.tag("shop/web:1", "sha256:other")
            machine.world.tag("mine:dev", "sha256:mine2")
            assert await serves(emulator, "sha256:mine2")
            await settle(emulator)
            assert deployed(emulator) == ["sha256:mine", "sha256:mine2"]

    async def test_an_image_that_is_nowhere_is_told_with_what_to_do(self, emulator):
        service = await created(emulator, automatic(PRIVATE))
        assert service.status is ServiceStatus.CREATE_FAILED
        (told,) = [e for e in await emulator.events() if "no such image" in e]
        assert f"This machine has no image {PRIVATE} or shop/web:1 either" in told
        assert "`docker build -t shop/web:1 .`" in told
        assert "`docker tag IMAGE shop/web:1`" in told
        assert f'[images] which one is meant ("{PRIVATE}" = "NAME:TAG")' in told

    async def test_what_a_registry_has_is_pulled_and_deployed_once(self, emulator, machine):
        machine.builder.registry = {"far:1": "sha256:far"}
        await created(emulator, automatic("far:1"))
        assert serving(emulator) == "sha256:far"
        await settle(emulator)
        assert deployed(emulator) == ["sha256:far"]
        assert not any("sha256:far)" in e for e in await emulator.events())


class TestAutomaticDeployment:
    async def test_a_new_image_of_the_name_is_deployed_by_itself_at_once(self, emulator, machine):
        await created(emulator)
        machine.world.tag("app:1", "sha256:abcdef0123456789")
        await machine.clock.sleep(AT_ONCE)
        operation = ledger(emulator).operation
        assert (operation.automatic, operation.commit) == (True, None)
        assert "Image app:1 (sha256:abcdef012345) is deployed." in await emulator.events()
        assert await serves(emulator, "sha256:abcdef0123456789")
        assert (await emulator.operations())[0] == "START_DEPLOYMENT SUCCEEDED"

    async def test_a_local_image_that_stands_in_is_watched_too(self, emulator, machine):
        machine.world.tag("shop/web:1", "sha256:old")
        await created(emulator, automatic(PRIVATE))
        machine.world.tag("shop/web:1", "sha256:new")
        assert await serves(emulator, "sha256:new")

    async def test_a_name_that_comes_before_the_one_that_stood_in_wins(self, emulator, machine):
        machine.world.tag("shop/web:1", "sha256:local")
        await created(emulator, automatic(PRIVATE))
        machine.world.tag(PRIVATE, "sha256:pulled")
        assert await serves(emulator, "sha256:pulled")

    async def test_one_stream_serves_all_services_of_an_image(self, emulator, machine):
        await begin(emulator)
        for name in ("hello", "other"):
            await emulator.platform.create(name, automatic())
            await emulator.at_rest(name)
        assert len(machine.world.tagged) == 1
        machine.world.tag("app:1", "sha256:new")
        await machine.clock.sleep(AT_ONCE)
        assert all(emulator.platform.ledger(name).operation for name in ("hello", "other"))

    @pytest.mark.parametrize(
        ("name", "image"), [("app:1", "sha256:app1"), ("app:2", "sha256:new"), ("app", "sha256:b")]
    )
    async def test_the_same_image_or_another_name_is_no_news(self, emulator, machine, name, image):
        await created(emulator)
        machine.world.tag(name, image)
        await settle(emulator)
        assert deployed(emulator) == ["sha256:app1"]

    async def test_no_automatic_deployment_where_it_is_off(self, emulator, machine):
        await created(emulator, configuration())
        machine.world.tag("app:1", "sha256:new")
        await settle(emulator)
        assert serving(emulator) == "sha256:app1"
        _, operation = await emulator.platform.start_deployment("hello")
        assert (operation.automatic, operation.commit) == (False, None)
        await emulator.at_rest()
        assert serving(emulator) == "sha256:new"

    @pytest.mark.documented("developer guide, image-based services: ECR Public")
    async def test_a_public_image_is_never_deployed_automatically(self, emulator, machine):
        await created(emulator, automatic(repository_type="ECR_PUBLIC"))
        machine.world.tag("app:1", "sha256:new")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:app1"]

    async def test_the_newest_of_the_images_that_come_during_a_deployment_wins(
        self, emulator, machine
    ):
        await created(emulator)
        machine.world.behaviours["sha256:a"] = Behaviour(boot=5.0)
        for image in "abcd":
            machine.world.tag("app:1", f"sha256:{image}")
            await machine.clock.sleep(0.5)
        told = await emulator.events()
        assert "Image app:1 (sha256:d) is queued: an operation is in progress." in told
        assert await serves(emulator, "sha256:d")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:app1", "sha256:a", "sha256:d"]

    async def test_an_image_that_comes_before_the_deployment_looks_goes_along(
        self, emulator, machine
    ):
        await begin(emulator)
        await emulator.platform.create("hello", automatic())
        machine.world.tag("app:1", "sha256:newer")
        await emulator.at_rest()
        await settle(emulator)
        assert deployed(emulator) == ["sha256:newer"]

    async def test_an_image_during_a_pause_is_not_deployed(self, emulator, machine):
        await created(emulator)
        await emulator.platform.pause("hello")
        await emulator.at_rest()
        machine.world.tag("app:1", "sha256:new")
        await settle(emulator)
        told = "Image app:1 (sha256:new) is not deployed: the service is paused."
        assert (await emulator.events())[-1] == told
        await emulator.platform.resume("hello")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:app1"]

    async def test_an_image_mends_what_could_not_be_created(self, emulator, machine):
        await created(emulator, automatic("missing:1"))
        machine.world.tag("missing:1", "sha256:found")
        assert await serves(emulator, "sha256:found")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:found"]

    async def test_an_image_that_fails_is_not_tried_again(self, emulator, machine):
        await created(emulator)
        machine.world.behaviours["sha256:bad"] = Behaviour(boot=9, crashes_after=1)
        machine.world.tag("app:1", "sha256:bad")
        await settle(emulator)
        failed = "START_DEPLOYMENT ROLLBACK_SUCCEEDED"
        assert await emulator.operations() == [failed, "CREATE_SERVICE SUCCEEDED"]
        assert serving(emulator) == "sha256:app1"

    async def test_a_rollback_by_hand_stays(self, emulator, machine):
        await created(emulator)
        machine.world.tag("app:1", "sha256:new")
        assert await serves(emulator, "sha256:new")
        await emulator.at_rest()
        await emulator.platform.rollback("hello")
        await settle(emulator)
        assert serving(emulator) == "sha256:app1"

    async def test_an_image_that_was_asked_for_meanwhile_is_no_news(self, emulator, machine):
        await created(emulator)
        original = machine.builder.find

        async def slow(reference):
            await machine.clock.sleep(0.1)
            return await original(reference)

        machine.builder.find = slow
        async with asyncio.TaskGroup() as group:
            group.create_task(emulator.platform.start_deployment("hello"))
            await machine.clock.sleep(AT_ONCE)
            machine.world.tag("app:1", "sha256:new")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:app1", "sha256:new"]
        assert not any("sha256:new" in e for e in await emulator.events())

    async def test_an_image_that_comes_while_the_deployment_looks_goes_along(
        self, emulator, machine
    ):
        await begin(emulator)
        original = machine.builder.find

        async def slow(reference):
            found = await original(reference)
            await machine.clock.sleep(1.0 if found == "sha256:app1" else 0.0)
            return found

        machine.builder.find = slow
        await emulator.platform.create("hello", automatic())
        await machine.clock.sleep(0.5)
        machine.world.tag("app:1", "sha256:newer")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:newer"]

    async def test_a_request_notes_the_image_that_it_is_about(self, emulator):
        await begin(emulator)
        service, _ = await emulator.platform.create("hello", automatic())
        assert service.seen_commit == "sha256:app1"
        await emulator.at_rest()
        service, _ = await emulator.platform.update("hello", automatic("app:2"))
        assert service.seen_commit == "sha256:app2"
        await emulator.at_rest()
        service, _ = await emulator.platform.update("hello", automatic("missing:1"))
        assert service.seen_commit is None


class TestWhatNobodyTold:
    async def test_a_tag_that_the_engine_kept_to_itself_is_found(self, emulator, machine):
        await created(emulator)
        machine.world.images["app:1"] = "sha256:new"
        assert await serves(emulator, "sha256:new", within=RESYNC + 5)

    async def test_a_tag_while_the_engine_was_away_is_found_at_once(self, emulator, machine):
        await created(emulator)
        await machine.clock.sleep(AT_ONCE)
        machine.world.images["app:1"] = "sha256:new"
        machine.world.restart_engine(machine.clock.now())
        await machine.clock.sleep(AT_ONCE)
        assert ledger(emulator).operation.automatic

    async def test_an_engine_that_does_not_answer_is_asked_again(self, emulator, machine):
        await created(emulator)
        original = machine.builder.find

        async def away(_reference):
            raise EngineError("no engine answers")

        machine.builder.find = away
        machine.world.tag("app:1", "sha256:new")
        await settle(emulator)
        machine.builder.find = original
        assert await serves(emulator, "sha256:new")

    async def test_a_tag_while_no_emulator_ran_is_deployed_once(self, machine):
        first = Emulator(machine)
        await created(first)
        await first.__aexit__()
        machine.world.tag("app:1", "sha256:new")
        async with Emulator(machine) as emulator:
            await machine.clock.sleep(AT_ONCE)
            assert ledger(emulator).operation.automatic
            await settle(emulator)
        async with Emulator(machine) as emulator:
            await settle(emulator)
            assert deployed(emulator) == ["sha256:app1", "sha256:new"]

    async def test_a_create_while_the_engine_is_away_is_accepted_and_says_why_it_fails(
        self, emulator, machine
    ):
        original = machine.builder.find

        async def away(_reference):
            raise EngineError("no engine answers")

        machine.builder.find = away
        service = await created(emulator)
        assert service.status is ServiceStatus.CREATE_FAILED
        assert any("no engine answers" in e for e in await emulator.events())
        machine.builder.find = original
        assert await serves(emulator, "sha256:app1")


class TestFailedUpdate:
    @pytest.fixture(autouse=True)
    def second_image_that_crashes(self, machine):
        machine.world.behaviours["sha256:app2"] = Behaviour(boot=9, crashes_after=1)

    async def test_to_another_name_leaves_the_old_one_without_news(self, emulator):
        await created(emulator)
        await emulator.platform.update("hello", automatic("app:2"))
        await settle(emulator)
        assert ledger(emulator).service.configuration.source == ImageSource(identifier="app:1")
        assert (await emulator.operations())[0] == "UPDATE_SERVICE ROLLBACK_SUCCEEDED"

    async def test_misses_no_image_that_came_meanwhile(self, emulator, machine):
        await created(emulator)
        await emulator.platform.update("hello", automatic("app:2"))
        machine.world.tag("app:1", "sha256:new")
        assert await serves(emulator, "sha256:new")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:app1", "sha256:app2", "sha256:new"]


async def test_an_idle_emulator_asks_the_engine_once_a_second_at_most_however_many_services():
    machine = Machine()
    asked = 0
    find = machine.builder.find

    async def counted(reference):
        nonlocal asked
        asked += 1
        return await find(reference)

    async with Emulator(machine) as emulator:
        for number in range(20):
            wanted = replace(configuration(), auto_deploy=True)
            await emulator.platform.create(f"hello{number}", wanted)
        for number in range(20):
            await emulator.at_rest(f"hello{number}")
        machine.builder.find = counted
        await machine.clock.sleep(100)
        assert 0 < asked <= 120


@pytest.mark.observed
async def test_a_start_command_that_wants_a_shell_gets_a_hint_and_none(emulator, machine):
    machine.world.behaviours["sha256:app1"] = Behaviour(boot=9, crashes_after=0.1)
    await created(emulator, automatic(start_command='sh -c "node a.js"'))
    revision = ledger(emulator).revisions["r1"]
    assert revision.command == ("sh", "-c", '"node', 'a.js"')
    events = await emulator.events()
    [warning] = [event for event in events if event.startswith("Warning: StartCommand: ")]
    assert "so quotes around several words will not work" in warning
    assert any("Failure reason" in e and "quotes around several words" in e for e in events)
