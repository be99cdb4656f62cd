"""An in-process emulator over a machine in memory, behind real HTTP for real clients.

boto3 blocks, so the emulator runs in a thread of its own, in real time.
"""

import asyncio
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

import boto3
from aiohttp import web
from botocore.config import Config

from emulator.model.settings import Settings
from emulator.surfaces.api.server import Api
from tests.fakes.emulators import SETTINGS, Emulator, Machine

REGION = "us-east-1"
ONCE = Config(retries={"max_attempts": 0}, read_timeout=30)


def client(endpoint: str, service: str = "apprunner", region: str = REGION, **more):
    """A boto3 client, alone with its own session: nothing of this machine's configuration."""
    session = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test")
    return session.client(service, region_name=region, endpoint_url=endpoint, config=ONCE, **more)


class InProcess:
    """`machine` outlives the emulator; `endpoint` is where it answers."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.machine = Machine()
        self.settings = settings
        self.endpoint = ""
        self.emulator: Emulator | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None

    async def _serve(self, ready: Future) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with Emulator(self.machine, settings=self.settings) as self.emulator:
            api = Api(self.emulator.platform, status=dict, stop=lambda _: None)
            runner = web.AppRunner(api.application(), access_log=None)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            self.endpoint = f"http://127.0.0.1:{port}"
            ready.set_result(None)
            await self._end.wait()
            await runner.cleanup()

    @contextmanager
    def running(self):
        ready: Future = Future()

        def work() -> None:
            try:
                asyncio.run(self._serve(ready))
            except BaseException as error:
                if ready.done():
                    raise
                ready.set_exception(error)

        thread = threading.Thread(target=work, name="emulator")
        thread.start()
        try:
            ready.result(timeout=20)
            yield self
        finally:
            if self._loop is not None and self._end is not None:
                self._loop.call_soon_threadsafe(self._end.set)
            thread.join(timeout=20)

    def on_loop(self, call):
        """`call()` in the emulator's thread."""

        async def called():
            return call()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(timeout=20)


def with_settings(**changes) -> Settings:
    return replace(SETTINGS, **changes)
