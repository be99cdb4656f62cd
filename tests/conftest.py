"""What holds for every test: nobody blocks the event loop, and Docker tests never skip silently."""

import asyncio
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

from emulator.drivers.docker.engine import Engine
from emulator.model.errors import EngineError

DOCKER_SECONDS = 120  # per test, unless it says otherwise: a daemon on a busy machine is slow
SKIP = "APPRUNNER_TEST_SKIP_DOCKER"
LONG = "long"  # for hours: pytest --hypothesis-profile=long
ENVIRONMENT = dict(os.environ)  # noqa: TID251 - a test run reads its environment once, here

# A deadline would measure the machine; so would the time it takes to generate an example.
settings.register_profile("emulator", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(LONG, settings.get_profile("emulator"), max_examples=5000)
settings.load_profile("emulator")


@pytest.fixture(autouse=True, scope="session")
def loop_of_its_own() -> Iterator[None]:
    """One for tests that need none: looptime opens one for each of them and never closes it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()


@pytest.fixture(autouse=True, scope="session")
def no_blocking_calls() -> Iterator[None]:
    """A call that blocks the loop fails its test, if code of ours is on the stack.

    Waiting for a lock or a thread is seen as well; `asyncio.to_thread` is the way out.
    """
    with blockbuster_ctx("emulator"):
        yield


def pytest_configure() -> None:
    """Ctrl-C is tested: a shell that starts the tests in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real time is slower than virtual time: Docker tests may take longer."""
    for item in items:
        if item.get_closest_marker("docker") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(DOCKER_SECONDS))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without an engine a Docker test fails: a skip would look like a success."""
    if not item.get_closest_marker("docker"):
        return
    if ENVIRONMENT.get(SKIP) == "1":
        pytest.skip(f"{SKIP}=1")
    if problem := engine_problem():
        pytest.fail(f"{problem}\nOr set {SKIP}=1 to go without.", pytrace=False)


@cache
def engine_problem() -> str:
    """Why no engine answers, empty if one does; asked for once, in a loop of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, ask_engine()).result()


async def ask_engine() -> str:
    try:
        engine = await Engine.connect(ENVIRONMENT)
    except EngineError as error:
        return str(error)
    await engine.close()
    return ""
