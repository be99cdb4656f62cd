"""Work that must not be left halfway, because what it asked for happens anyway."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any


async def together(*work: Coroutine[Any, Any, object]) -> None:
    """At the same time and each to its end, then the first error.

    Hanging up on the engine in the middle would not stop it from finishing what it was asked.
    """
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


async def to_the_end(work: Coroutine[Any, Any, object]) -> None:
    """A cancellation waits until it is done: nobody cleans up while it still writes."""
    future = asyncio.gather(work)
    try:
        await asyncio.shield(future)
    except asyncio.CancelledError:
        with suppress(Exception):
            await future
        raise
