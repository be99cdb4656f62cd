"""Rows of several sources as one stream, for answers that are told as they happen."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

Row = dict[str, Any]
Queue = asyncio.Queue[Row]
AHEAD = 1000  # rows that a slow listener may be behind


async def merged(
    *sources: Callable[[Queue], Coroutine[Any, Any, None]], last: str
) -> AsyncGenerator[Row]:
    """What the sources put into the queue, up to the first row with the member `last`.

    Where a source fails, so does the stream. A listener may leave at any time.
    """
    queue: Queue = asyncio.Queue(maxsize=AHEAD)
    # No task group: it would take the closing of this generator for an error.
    loop = asyncio.get_running_loop()
    working = [loop.create_task(source(queue)) for source in sources]
    taking = loop.create_task(queue.get())
    try:
        while True:
            await asyncio.wait([taking, *working], return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in working if task.done()]:
                task.result()
                working.remove(task)
            if not taking.done():
                continue
            row = taking.result()
            yield row
            if last in row:
                return
            taking = loop.create_task(queue.get())
    finally:
        for left in (taking, *working):
            left.cancel()
        await asyncio.gather(taking, *working, return_exceptions=True)
