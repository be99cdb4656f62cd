"""Log streams in memory."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

from emulator.model.identifiers import Epoch, ServiceId
from emulator.ports import LogLine


class FakeLogs:
    """Set `failure` to make every write fail."""

    def __init__(self) -> None:
        self.failure: OSError | None = None
        self._lines: dict[ServiceId, list[LogLine]] = defaultdict(list)
        self._written = asyncio.Condition()

    async def write(self, service: ServiceId, lines: Sequence[LogLine]) -> None:
        if self.failure is not None:
            raise self.failure
        async with self._written:
            self._lines[service].extend(lines)
            self._written.notify_all()

    async def read(
        self,
        service: ServiceId,
        *,
        prefix: str = "",
        since: Epoch | None = None,
        follow: bool = False,
    ) -> AsyncIterator[LogLine]:
        lines = self._lines[service]
        seen = len(lines)
        for line in sorted(lines, key=lambda line: line.at):
            if _wanted(line, prefix, since):
                yield line
        while follow:
            new, seen = await self._news(service, seen)
            for line in new:
                if _wanted(line, prefix, since):
                    yield line

    async def _news(self, service: ServiceId, seen: int) -> tuple[list[LogLine], int]:
        """What was written after the first `seen` lines, and how many there are now."""
        lines = self._lines[service]
        async with self._written:
            await self._written.wait_for(lambda: len(lines) != seen)
        return lines[min(seen, len(lines)) :], len(lines)

    async def tail(self, service: ServiceId, stream: str, count: int) -> tuple[str, ...]:
        texts = [line.text for line in self._lines[service] if line.stream == stream]
        return tuple(texts[-count:]) if count else ()

    async def forget(self, service: ServiceId) -> None:
        """In place: a reader that follows goes on with what comes later."""
        async with self._written:
            self._lines[service].clear()


def _wanted(line: LogLine, prefix: str, since: Epoch | None) -> bool:
    return line.stream.startswith(prefix) and (since is None or line.at >= since)
