"""Secrets on their way into instances: read at deployment, and told to nobody else."""

import json
import logging
from dataclasses import fields, replace

import pytest

from emulator.model.service import ServiceStatus
from emulator.surfaces.api import views
from tests.fakes.emulators import Emulator, Machine, code, configuration

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]

VALUE = "hunter2"
ARN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:db-AbC123"
YAML = f"""
version: 1.0
runtime: python311
build:
  commands:
    build:
      - pip install -r requirements.txt
run:
  command: python app.py
  secrets:
    - name: DB
      value-from: {ARN}
"""
APP = {"requirements.txt": "flask\n", "app.py": "print(1)\n", "apprunner.yaml": YAML}


@pytest.fixture
def machine():
    made = Machine()
    made.secrets.values = {ARN: VALUE}
    return made


@pytest.fixture
async def emulator(machine):
    async with Emulator(machine) as running:
        yield running


def with_secret(reference, image="app:1"):
    wanted = configuration(image)
    return replace(wanted, source=replace(wanted.source, secrets={"DB": reference}))


async def created(emulator, wanted):
    await emulator.platform.create("hello", wanted)
    return await emulator.at_rest()


def revision(emulator):
    ledger = emulator.platform.ledger("hello")
    return ledger.revisions[ledger.service.revision]


@pytest.mark.documented(source="developer guide, env-variable")
async def test_a_value_is_read_at_deployment_and_no_more(emulator, machine):
    service = await created(emulator, with_secret(ARN))
    assert service.status is ServiceStatus.RUNNING
    assert revision(emulator).env["DB"] == VALUE
    machine.secrets.values[ARN] = "rotated"
    await emulator.platform.pause("hello")
    await emulator.at_rest()
    await emulator.platform.resume("hello")
    await emulator.at_rest()
    assert revision(emulator).env["DB"] == VALUE
    await emulator.platform.start_deployment("hello")
    await emulator.at_rest()
    assert revision(emulator).env["DB"] == "rotated"


async def test_it_is_asked_for_in_the_service_s_region(emulator, machine):
    service = await created(emulator, with_secret(ARN))
    assert machine.secrets.asked == [(ARN, service.region)]


async def test_a_repository_names_secrets_in_its_own_file(emulator, machine):
    machine.repository.commit_files("/repo", APP)
    service = await created(emulator, code())
    assert service.status is ServiceStatus.RUNNING, await emulator.events()
    assert revision(emulator).env["DB"] == VALUE
    assert machine.secrets.asked == [(ARN, service.region)]


async def test_one_that_cannot_be_resolved_fails_the_creation_in_words(emulator):
    service = await created(emulator, with_secret("missing"))
    assert service.status is ServiceStatus.CREATE_FAILED
    assert await emulator.operations() == ["CREATE_SERVICE FAILED"]
    (told,) = [e for e in await emulator.events() if "Failure reason" in e]
    assert 'secrets."missing"' in told
    assert "[secrets]" in told


async def test_one_that_cannot_be_resolved_any_more_leaves_the_old_revision_serving(
    emulator, machine
):
    service = await created(emulator, with_secret(ARN))
    machine.secrets.values.clear()
    await emulator.platform.update("hello", with_secret(ARN, "app:2"))
    after = await emulator.at_rest()
    assert after.status is ServiceStatus.RUNNING
    assert after.configuration == service.configuration
    assert (await emulator.operations())[0] == "UPDATE_SERVICE ROLLBACK_SUCCEEDED"
    assert machine.world.running(service.id) == {"r1": 1}
    assert any(f"secrets.{json.dumps(ARN)}" in e for e in await emulator.events())


async def everything_told(emulator, machine):
    """All that is stored but the revisions' environments, and all that a client can see."""
    platform, store = emulator.platform, machine.store
    ledger = platform.ledger("hello")
    id_ = ledger.service.id
    kept = [
        {f.name: getattr(each, f.name) for f in fields(each) if f.name != "env"}
        for each in await store.revisions(id_)
    ]
    stored = [
        await store.services(),
        await store.operations(id_),
        await store.events(id_),
        await store.usage(id_),
        await store.resources(),
    ]
    operations = await store.operations(id_)
    seen = [
        views.described(platform, ledger),
        views.listed(platform, ledger),
        [views.operation(each, ledger) for each in operations],
    ]
    lines = [line async for line in machine.logs.read(id_)]
    return "\n".join([repr(kept), *map(repr, stored), *map(json.dumps, seen), repr(lines)])


@pytest.mark.parametrize("image", ["app:2", "missing:1"])
async def test_a_value_is_in_no_event_no_log_and_no_answer(emulator, machine, image, caplog):
    caplog.set_level(logging.DEBUG)
    await created(emulator, with_secret(ARN))
    await emulator.platform.update("hello", with_secret(ARN, image))
    await emulator.at_rest()
    told = await everything_told(emulator, machine)
    assert ARN in told
    assert VALUE not in told
    assert VALUE not in caplog.text
    assert VALUE in repr(
        [dict(r.env) for r in emulator.platform.ledger("hello").revisions.values()]
    )


async def test_nor_is_the_value_of_a_secret_that_a_repository_names(emulator, machine, caplog):
    caplog.set_level(logging.DEBUG)
    machine.repository.commit_files("/repo", APP)
    await created(emulator, code())
    told = await everything_told(emulator, machine)
    assert VALUE not in told
    assert VALUE not in caplog.text
