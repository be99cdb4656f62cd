"""What several tests of the Docker drivers start from."""

import pytest

from tests.drivers.build_world import Bench, at_work


@pytest.fixture
async def bench():
    async with at_work(Bench) as bench:
        yield bench
