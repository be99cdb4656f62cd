"""Several sources as one stream, and listeners that leave."""

import asyncio
from contextlib import aclosing

import pytest

from emulator.surfaces.api import feed
from emulator.surfaces.api.merging import merged
from tests.fakes.emulators import Emulator, Machine, configuration

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]


async def endless(queue):
    while True:
        await queue.put({"Text": "on and on"})


async def ends(queue):
    await queue.put({"Text": "first"})
    await queue.put({"End": "now"})


async def fails(queue):
    raise LookupError(queue)


async def test_the_row_that_is_to_be_the_last_is():
    assert [row async for row in merged(ends, last="End")] == [{"Text": "first"}, {"End": "now"}]


async def test_a_source_that_fails_ends_the_stream_with_its_error():
    with pytest.raises(LookupError):
        async for _ in merged(fails, last="End"):
            pass


async def test_a_listener_may_leave_and_nothing_goes_on():
    before = asyncio.all_tasks()
    async with aclosing(merged(endless, endless, last="End")) as rows:
        await anext(rows)
    assert asyncio.all_tasks() == before


async def test_who_follows_an_operation_may_leave_in_the_middle():
    async with Emulator(Machine()) as emulator:
        service, operation = await emulator.platform.create("hello", configuration())
        ledger = emulator.platform.ledger(service.id)
        async with aclosing(feed.rows(emulator.platform, ledger, operation)) as rows:
            assert "Event" in await anext(rows)
        assert (await emulator.at_rest()).status == "RUNNING"
