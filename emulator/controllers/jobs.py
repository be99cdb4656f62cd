"""Slow work beside a worker's loop: at most one job at a time touches an instance."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from emulator.controllers.ledger import Ledger
from emulator.model.errors import EngineError, StoreError
from emulator.model.identifiers import InstanceId
from emulator.ports import Clock

Work = Coroutine[Any, Any, None]
PAUSE = 1.0  # seconds after an error: not a busy loop against an engine that is down


class Jobs:
    """`done(failed)` is called at the end of each; `busy` are the instances that have one."""

    def __init__(self, ledger: Ledger, clock: Clock, done: Callable[[bool], None]) -> None:
        self.busy: set[InstanceId] = set()
        self._ledger = ledger
        self._clock = clock
        self._done = done
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> None:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        try:
            if self._group is not None:
                await self._group.__aexit__(*error)  # type: ignore[arg-type]
        finally:
            self.busy.clear()

    def run(self, work: Work, instance: InstanceId | None = None) -> None:
        """An error of a driver is told in the event log; the next plan tries again."""
        _ = self.begin(work, instance)

    def begin(self, work: Work, instance: InstanceId | None = None) -> asyncio.Task[None]:
        """The same, for who may want to cancel it."""
        if instance is not None:
            self.busy.add(instance)
        task = self._spawn(self._told(work, instance))
        self._tasks.add(task)
        task.add_done_callback(lambda _: work.close())  # cancelled before it began
        return task

    def beside(self, work: Work) -> None:
        """Work that handles its own errors."""
        self._tasks.add(self._spawn(work))

    def _spawn(self, work: Work) -> asyncio.Task[None]:
        if self._group is None:
            raise RuntimeError("the worker does not run")
        task = self._group.create_task(work)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """End what is under way: nobody needs it any more."""
        for task in self._tasks:
            task.cancel()

    async def _told(self, work: Work, instance: InstanceId | None) -> None:
        failed = False
        try:
            await work
        except (EngineError, StoreError) as error:
            failed = True
            await self._ledger.say(f"Something went wrong and is tried again: {error}")
            await self._clock.sleep(PAUSE)
        if instance is not None:
            self.busy.discard(instance)
        self._done(failed)
