"""What a push to the emulator's own registry brings about: it stands for ECR."""

from dataclasses import replace

import pytest

from emulator.controllers.images import RESYNC
from emulator.model.service import ServiceStatus
from tests.fakes.emulators import SETTINGS, Emulator, Machine, configuration
from tests.fakes.registry import FakeRegistry, digest_of

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
PRIVATE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop/web:1"
PUSHED = "localhost:5000/shop/web:1"
AT_ONCE = 0.001  # virtual seconds


@pytest.fixture
def machine():
    made = Machine()
    made.registry = FakeRegistry(made.builder)
    return made


def automatic(identifier, *, auto_deploy=True):
    return replace(configuration(identifier), auto_deploy=auto_deploy)


async def push(emulator, image, tag="1"):
    """With the registry's word of it."""
    digest = await emulator.machine.registry.push("shop/web", tag, image)
    await emulator.platform.pushed("shop/web", tag)
    return digest


async def created(emulator, identifier, **how):
    await emulator.platform.create("hello", automatic(identifier, **how))
    return await emulator.at_rest()


def ledger(emulator):
    return emulator.platform.ledger("hello")


def deployed(emulator):
    return [revision.image for revision in ledger(emulator).revisions.values()]


async def settle(emulator):
    await emulator.machine.clock.sleep(3 * RESYNC)
    await emulator.at_rest()


@pytest.mark.parametrize("identifier", [PUSHED, PUSHED.replace("localhost", "127.0.0.1"), PRIVATE])
async def test_what_was_pushed_is_deployed_and_each_push_after_it_at_once(machine, identifier):
    digest = await machine.registry.push("shop/web", "1", "sha256:a")
    async with Emulator(machine) as emulator:
        await created(emulator, identifier)
        told = await emulator.events()
        at = told.index(f"Pulling image {identifier} from ECR repository.")
        assert told[at + 1] == f"The emulator's registry has it: {PUSHED}@{digest}."
        await push(emulator, "sha256:b")
        await machine.clock.sleep(AT_ONCE)
        assert ledger(emulator).operation.automatic
        await settle(emulator)
        assert deployed(emulator) == ["sha256:a", "sha256:b"]


@pytest.mark.parametrize(("repository", "tag"), [("shop/web", "2"), ("shop", "1"), ("web", "1")])
async def test_a_push_to_another_name_is_no_news(machine, repository, tag):
    await machine.registry.push("shop/web", "1", "sha256:a")
    async with Emulator(machine) as emulator:
        await created(emulator, PUSHED)
        await machine.registry.push(repository, tag, "sha256:b")
        await emulator.platform.pushed(repository, tag)
        await settle(emulator)
        assert deployed(emulator) == ["sha256:a"]


async def test_a_push_that_nobody_told_of_is_found(machine):
    await machine.registry.push("shop/web", "1", "sha256:a")
    async with Emulator(machine) as emulator:
        await created(emulator, PUSHED)
        await machine.registry.push("shop/web", "1", "sha256:b")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:a", "sha256:b"]


async def test_a_push_while_no_emulator_ran_is_deployed_once(machine):
    await machine.registry.push("shop/web", "1", "sha256:a")
    async with Emulator(machine) as emulator:
        await created(emulator, PRIVATE)
    await machine.registry.push("shop/web", "1", "sha256:b")
    for _ in range(2):
        async with Emulator(machine) as emulator:
            await settle(emulator)
            assert deployed(emulator) == ["sha256:a", "sha256:b"]


async def test_without_automatic_deployments_a_deployment_takes_the_newest(machine):
    await machine.registry.push("shop/web", "1", "sha256:a")
    async with Emulator(machine) as emulator:
        await created(emulator, PUSHED, auto_deploy=False)
        await push(emulator, "sha256:b")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:a"]
        await emulator.platform.start_deployment("hello")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:a", "sha256:b"]


@pytest.mark.parametrize("name", ["localhost:5000/shop/web", PRIVATE.removesuffix(":1")])
async def test_a_digest_is_that_image_whatever_is_pushed(machine, name):
    digest = await machine.registry.push("shop/web", "1", "sha256:a")
    async with Emulator(machine) as emulator:
        await push(emulator, "sha256:b")
        await created(emulator, f"{name}@{digest}")
        await push(emulator, "sha256:c")
        await settle(emulator)
        await emulator.platform.start_deployment("hello")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:a", "sha256:a"]


async def test_what_is_only_built_is_not_pushed(machine):
    """As with ECR: `docker build -t localhost:5000/…` deploys nothing yet."""
    await machine.registry.push("shop/web", "1", "sha256:a")
    async with Emulator(machine) as emulator:
        await created(emulator, PUSHED)
        machine.world.tag(PUSHED, "sha256:built")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:a"]


async def test_nothing_pushed_is_told_with_what_to_do(machine):
    machine.world.tag(PUSHED, "sha256:built")
    async with Emulator(machine) as emulator:
        service = await created(emulator, PUSHED)
        assert service.status is ServiceStatus.CREATE_FAILED
        (told,) = [e for e in await emulator.events() if "Failed to pull" in e]
        assert f"Reason: nothing was pushed to {PUSHED}. Push one: `docker tag IMAGE" in told
        assert f"`docker push {PUSHED}`" in told
        await push(emulator, "sha256:mends")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:mends"]


async def test_a_private_name_means_a_local_image_until_one_is_pushed(machine):
    machine.world.tag("shop/web:1", "sha256:local")
    async with Emulator(machine) as emulator:
        await created(emulator, PRIVATE)
        await push(emulator, "sha256:a")
        await settle(emulator)
        machine.world.tag("shop/web:1", "sha256:newer")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:local", "sha256:a"]


async def test_a_private_name_that_is_nowhere_is_told_with_both_ways(machine):
    async with Emulator(machine) as emulator:
        await created(emulator, PRIVATE)
        (told,) = [e for e in await emulator.events() if "Failed to pull" in e]
        assert f"`docker push {PUSHED}`" in told
        assert "`docker build -t shop/web:1 .`" in told


async def test_a_mapped_name_may_mean_a_pushed_image(machine):
    await machine.registry.push("shop/web", "1", "sha256:a")
    settings = replace(SETTINGS, images={"far/away:1": "127.0.0.1:5000/shop/web:1"})
    async with Emulator(machine, settings=settings) as emulator:
        await created(emulator, "far/away:1")
        await push(emulator, "sha256:b")
        await settle(emulator)
        assert deployed(emulator) == ["sha256:a", "sha256:b"]


async def test_an_image_that_cannot_be_pulled_fails_the_deployment_with_the_reason(machine):
    digest = await machine.registry.push("shop/web", "1", "sha256:a")
    machine.builder.registry.clear()
    async with Emulator(machine) as emulator:
        await created(emulator, PUSHED)
        (told,) = [e for e in await emulator.events() if "Failed to pull" in e]
        assert f"no such image: localhost:5000/shop/web@{digest}" in told


async def test_a_failed_update_leaves_the_pushed_image_that_serves_without_news(machine):
    await machine.registry.push("shop/web", "1", "sha256:a")
    async with Emulator(machine) as emulator:
        await created(emulator, PUSHED)
        await emulator.platform.update("hello", automatic("missing:1"))
        await settle(emulator)
        assert (await emulator.operations())[0] == "UPDATE_SERVICE ROLLBACK_SUCCEEDED"
        assert ledger(emulator).service.seen_commit == digest_of("sha256:a")
        assert deployed(emulator) == ["sha256:a"]
