"""Resources beside services in the store: the contract, and a state directory of before."""

import sqlite3
from dataclasses import replace
from importlib import resources
from types import MappingProxyType
from typing import get_args

import pytest

from emulator.drivers.store.database import FILE_NAME, Database
from emulator.model.configuration import AutoScaling
from emulator.model.errors import StoreError
from emulator.model.identifiers import Epoch, ServiceId
from emulator.model.resources import (
    AutoScalingConfiguration,
    Connection,
    CustomDomain,
    ImageRepository,
    ObservabilityConfiguration,
    ProviderType,
    Resource,
    VpcConnector,
    VpcIngressConnection,
)
from emulator.ports import Store
from tests.fakes.store import FakeStore

NAMED = {
    "region": "eu-west-1",
    "account": "000000000000",
    "name": "mine",
    "created_at": Epoch(1.5),
    "tags": MappingProxyType({"team": "ä"}),
}
ALL: tuple[Resource, ...] = (
    AutoScalingConfiguration(
        **NAMED, id="1" * 32, revision=3, scaling=AutoScaling(max_size=7), is_default=True
    ),
    Connection(**NAMED, id="2" * 32, provider=ProviderType.BITBUCKET, authorized_at=Epoch(2.5)),
    ObservabilityConfiguration(**NAMED, id="3" * 32, revision=1, vendor="AWSXRAY"),
    VpcConnector(**NAMED, id="4" * 32, subnets=("subnet-1",), security_groups=("sg-1", "sg-2")),
    VpcIngressConnection(
        **NAMED, id="5" * 32, service="arn:aws:…", label="abc", vpc="vpc-1", updated_at=Epoch(3.5)
    ),
    CustomDomain(
        service=ServiceId("9" * 32),
        region="eu-west-1",
        domain="example.com",
        www=True,
        token="7" * 32,
        created_at=Epoch(1.5),
    ),
    ImageRepository(**NAMED, tag_mutability="IMMUTABLE", encryption="KMS", kms_key="alias/mine"),
)


@pytest.fixture(params=["fake", "real"])
async def store(request, tmp_path):
    if request.param == "fake":
        yield FakeStore()
        return
    opened = await Database.open(tmp_path)
    yield opened
    await opened.close()


def test_every_kind_is_here():
    assert {type(each) for each in ALL} == set(get_args(Resource))


async def test_resources_come_back_as_they_were_saved_oldest_first(store: Store):
    await store.save(*ALL)
    assert await store.resources() == ALL


async def test_a_later_save_replaces_and_keeps_the_order(store: Store):
    await store.save(*ALL)
    deleted = replace(ALL[0], deleted_at=Epoch(9.0))
    await store.save(deleted)
    assert await store.resources() == (deleted, *ALL[1:])


async def test_drops_one_and_no_other(store: Store):
    await store.save(*ALL)
    await store.drop(ALL[2].key)
    await store.drop(ALL[2].key)
    assert await store.resources() == (*ALL[:2], *ALL[3:])


async def test_a_state_directory_of_before_there_were_resources_is_taken_over(tmp_path):
    """As version 1 left it."""
    connection = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    schema = resources.files("emulator.drivers.store").joinpath("schema.sql").read_text()
    connection.executescript(f"{schema}; PRAGMA user_version = 1;")
    connection.execute("INSERT INTO event (service, at, text) VALUES ('x', 1.0, 'kept')")
    connection.close()
    database = await Database.open(tmp_path)
    try:
        assert await database.resources() == ()
        await database.save(*ALL)
        assert await database.resources() == ALL
        assert [e.text for e in await database.events(ServiceId("x"))] == ["kept"]
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [("kind = 'Balloon'", "unknown kind 'Balloon'"), ("document = '{}'", "Connection without")],
)
async def test_a_row_that_the_model_refuses_is_damage(tmp_path, change, complaint):
    database = await Database.open(tmp_path)
    try:
        await database.save(ALL[1])
        statement = f"UPDATE resource SET {change}"
        await database._run(lambda: database._opened().execute(statement))
        with pytest.raises(StoreError, match=complaint):
            await database.resources()
    finally:
        await database.close()
