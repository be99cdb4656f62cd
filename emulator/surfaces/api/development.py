"""Working-tree mode as a stream: it lasts as long as somebody listens.

The stream is the lease: when the command that listens is gone, however it went, writing to it fails
within a heartbeat, and the service goes back to what is committed.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from emulator.controllers.development import News
from emulator.controllers.platform import Platform
from emulator.model.errors import AppRunnerError, EngineError, RepositoryError, StoreError

Row = dict[str, Any]
AHEAD = 1000  # rows that a slow listener may be behind
HEARTBEAT = 0.5  # seconds
_EXPECTED = (AppRunnerError, EngineError, RepositoryError, StoreError)


async def rows(platform: Platform, key: str) -> AsyncGenerator[Row]:
    """`At` with `What` came of a save, or with `Log`, or nothing more; the last has `Ended`."""
    queue: asyncio.Queue[Row] = asyncio.Queue(maxsize=AHEAD)
    work = (_session(platform, key, queue), _logs(platform, key, queue), _beat(platform, queue))
    # No task group: it would take the closing of this generator for an error.
    tasks = [asyncio.get_running_loop().create_task(each) for each in work]
    try:
        while True:
            row = await queue.get()
            yield row
            if "Ended" in row:
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _session(platform: Platform, key: str, queue: asyncio.Queue[Row]) -> None:
    def tell(news: News) -> None:
        if not queue.full():  # who does not read learns the next news
            queue.put_nowait(_row(news))

    text = "the session was ended"
    try:
        await platform.develop(key, tell)
    except* _EXPECTED as errors:
        text = str(_first(errors))
    await queue.put({"At": platform.ports.clock.now(), "Ended": text})


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _row(news: News) -> Row:
    row: Row = {"At": news.at, "What": str(news.what), "Changed": list(news.changed)}
    if news.text:
        row["Text"] = news.text
    if news.seconds is not None:
        row["Seconds"] = news.seconds
    return row


async def _logs(platform: Platform, key: str, queue: asyncio.Queue[Row]) -> None:
    """Of the application and of builds."""
    service, since = platform.ledger(key).service.id, platform.ports.clock.now()
    async for line in platform.ports.logs.read(service, since=since, follow=True):
        await queue.put({"At": line.at, "Log": line.text, "Stream": line.stream})


async def _beat(platform: Platform, queue: asyncio.Queue[Row]) -> None:
    while True:
        await platform.ports.clock.sleep(HEARTBEAT)
        await queue.put({"At": platform.ports.clock.now()})
