"""What a build may write: looked at while it runs, so that it ends before the disk is full.

The engine tells the size of a container's own files, but must walk over them for it. So it is asked
seldom, and at once only when its disk has lost about as much as the build may write.
"""

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emulator.drivers.docker.engine import Engine, NotFoundError
from emulator.model.errors import BuildError, EngineError
from emulator.model.identifiers import Epoch
from emulator.ports import Clock

_LOOK: Final = 1.0  # seconds
_SELDOM: Final = 15.0  # seconds
_SHARE: Final = 20  # of the time, walking takes one part
LEAST_FREE: Final = 500_000_000  # bytes of the engine's disk


@dataclass(frozen=True, slots=True)
class Running:
    """The containers that a build has now, and the command in them."""

    containers: tuple[str, ...] = ()
    command: str = ""


class BuildWatch:
    """One build's. `root` is the engine's directory where that is on this machine."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        limit: int,
        root: Path | None,
        least_free: int = LEAST_FREE,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._limit = limit
        self._root = root
        self._least_free = least_free
        self._sizes: dict[str, int] = {}
        self._free_before: int | None = None
        self.running: Callable[[], Running] = Running
        self.error: BuildError | None = None

    async def check_disk(self, doing: str = "The build cannot begin") -> None:
        """Raises BuildError."""
        free = await self._free()
        self._free_before = self._free_before or free
        if free is not None and free < self._least_free:
            raise BuildError(
                f"{doing}: only {_shown(free)} are free on the disk of {self._root}, and"
                f" {_shown(self._least_free)} must be. `apprunner prune` makes room, and"
                " `apprunner prune --caches` more."
            )

    async def _free(self) -> int | None:
        """Bytes of the engine's disk, None where it is not this machine's."""
        if self._root is not None:
            with suppress(OSError):
                return (await asyncio.to_thread(shutil.disk_usage, self._root)).free
        return None

    async def follow(self, build: asyncio.Timeout) -> None:
        """Ends the build early, with `error` set, once it has gone too far."""
        walk = self._clock.now()
        try:
            while True:
                await self._clock.sleep(_LOOK)
                await self.check_disk(self._ended())
                if self._clock.now() >= walk and await self._is_worth_it(walk):
                    walk = await self._walk()
        except BuildError as error:
            self.error = error
            build.reschedule(asyncio.get_running_loop().time())

    async def _is_worth_it(self, due: float) -> bool:
        """Others use the disk as well: now and then it is looked at whatever it has lost."""
        free = await self._free()
        if free is None or self._free_before is None or self._clock.now() - due >= _SELDOM:
            return True
        return self._free_before - free >= self._limit / 2

    async def _walk(self) -> Epoch:
        """When to do it again at the soonest."""
        began = self._clock.now()
        for container in self.running().containers:
            with suppress(NotFoundError, EngineError):
                self._sizes[container] = await self._size(container)
        written = sum(self._sizes.values())
        if written > self._limit:
            raise BuildError(
                f"{self._ended()}: the build has written {_shown(written)}, and"
                f" {_shown(self._limit)} are allowed. Raise `build_size` (bytes, under [limits] in"
                " emulator.toml) if it needs that much.",
                command=self.running().command,
            )
        now = self._clock.now()
        return Epoch(now + _SHARE * (now - began))

    def _ended(self) -> str:
        command = self.running().command
        return f"`{command}` was ended" if command else "The build was ended"

    async def _size(self, container: str) -> int:
        found = await self._engine.get(f"/containers/{container}/json", {"size": True})
        return int(found.get("SizeRw") or 0)


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"  # noqa: PLR2004
