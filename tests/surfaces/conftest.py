"""The API in process and in virtual time, for the tests of App Runner's behaviour.

Time is virtual in tests only: a fixture that waits, waits for real.
"""

import pytest

from emulator.model.settings import PaceMode
from tests.surfaces.aws_calls import at_pace, calling


@pytest.fixture
async def aws():
    """At the emulator's own pace."""
    async with calling() as api:
        yield api


@pytest.fixture
async def realistic():
    """At App Runner's pace."""
    async with calling(at_pace(PaceMode.REALISTIC)) as api:
        yield api
