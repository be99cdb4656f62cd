"""Carries a build's output to the log streams in batches, as it comes."""

import asyncio
from types import TracebackType
from typing import Self

from emulator.model.identifiers import ServiceId
from emulator.model.operation import Operation
from emulator.ports import LogLine, Ports

PAUSE = 0.1  # seconds that lines are collected for one write


class BuildLog:
    """Use as an async context; `line` may be called from the loop at any time within."""

    def __init__(
        self, ports: Ports, service: ServiceId, operation: Operation, *, limit: int
    ) -> None:
        self._ports = ports
        self._service = service
        self._stream = f"deployment/{operation.deployment_id}"
        self._left = limit
        self._lines: list[LogLine] = []
        self._group = asyncio.TaskGroup()
        self._writer: asyncio.Task[None] | None = None

    def line(self, text: str) -> None:
        """One line of output, without its end; over the limit nothing more is kept."""
        if self._left <= 0:
            return
        self._left -= len(text)
        if self._left <= 0:
            text = "The log is cut here: it is too long."
        line = LogLine(at=self._ports.machine.now(), stream=self._stream, text=f"[Build] {text}")
        self._lines.append(line)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._writer = self._group.create_task(self._write_on())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        finally:
            await self._flush()

    async def _write_on(self) -> None:
        while True:
            await self._ports.machine.sleep(PAUSE)
            await self._flush()

    async def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            await self._ports.logs.write(self._service, lines)
