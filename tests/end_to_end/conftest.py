"""One emulator for each test module, on real Docker."""

import pytest

from tests.end_to_end.running import Repository, Running


@pytest.fixture
def emulator(tmp_path):
    running = Running(tmp_path)
    running.start()
    try:
        yield running
    finally:
        running.end()


@pytest.fixture
def sample(tmp_path):
    """The Python sample in a repository of its own."""
    return Repository(tmp_path / "hello")
