"""An emulator of one's own, which leaves nothing behind."""

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from emulator.cli import launch
from emulator.cli.client import Client
from emulator.cli.settings import load

ANY_PORT = {"api_port": 0, "https_port": 0, "http_port": 0}


@contextmanager
def emulator(flags: Mapping[str, Any]) -> Iterator[tuple[Client, str]]:
    """On free ports and a temporary state directory, both gone afterwards, whatever happens."""
    wants_registry = load(flags).addresses.registry_port is not None
    ports = ANY_PORT | ({"registry_port": 0} if wants_registry else {})
    state_dir = tempfile.mkdtemp(prefix="apprunner-")
    client: Client | None = None
    terminated = signal.signal(signal.SIGTERM, _exit)
    try:
        client, _ = launch.running(state_dir, {**flags, **ports})
        yield client, state_dir
    finally:
        # A second signal must not leave containers behind.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            if client is not None:
                launch.stop(client, everything=True)
            shutil.rmtree(state_dir, ignore_errors=True)
        finally:
            signal.signal(signal.SIGINT, before)
            signal.signal(signal.SIGTERM, terminated)


def _exit(number: int, _: object) -> NoReturn:
    """Being terminated is no reason to leave things behind."""
    sys.exit(128 + number)
