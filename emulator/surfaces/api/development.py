"""Working-tree mode as a stream: it lasts as long as somebody listens.

The stream is the lease: when the command that listens is gone, however it went, writing to it fails
within a heartbeat, and the service goes back to what is committed.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from emulator.controllers.development import News
from emulator.controllers.platform import Platform
from emulator.model.errors import AppRunnerError, EngineError, RepositoryError, StoreError
from emulator.surfaces.api.merging import Queue, Row, merged

HEARTBEAT = 0.5  # seconds
_EXPECTED = (AppRunnerError, EngineError, RepositoryError, StoreError)


async def rows(platform: Platform, key: str) -> AsyncGenerator[Row]:
    """`At` with `What` came of a save, or with `Log`, or nothing more; the last has `Ended`."""
    sources = (partial(_session, platform, key), partial(_logs, platform, key))
    async with aclosing(merged(*sources, partial(_beat, platform), last="Ended")) as found:
        async for row in found:
            yield row


async def _session(platform: Platform, key: str, queue: Queue) -> None:
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


async def _logs(platform: Platform, key: str, queue: Queue) -> None:
    """Of the application and of builds."""
    ports, service = platform.ports, platform.ledger(key).service.id
    async for line in ports.logs.read(service, since=ports.machine.now(), follow=True):
        await queue.put({"At": ports.clock.at(line.at), "Log": line.text, "Stream": line.stream})


async def _beat(platform: Platform, queue: Queue) -> None:
    while True:
        await platform.ports.machine.sleep(HEARTBEAT)
        await queue.put({"At": platform.ports.clock.now()})
