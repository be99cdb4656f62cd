"""What the engine cannot hold about an instance: which revision it runs, which tree is laid.

Labels are fixed when a container is created, but a standby serves whatever revision fits when it
is needed. One directory per instance: `app` (mounted at /app) and `instance.json`.
"""

import asyncio
import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from emulator.model.identifiers import InstanceId, RevisionId, ServiceId

_RECORD: Final = "instance.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """`tree` is what is laid completely, `attachment` the sandbox's network at the start.

    `gated`: its container waits at a gate before its application. `waiting`: it does so now, for a
    revision; where it has got one, the gate may be shut still. `exit_code` is set where the process could not even be started: the engine would go on
    calling the container created.
    """

    service: ServiceId
    image: str
    tree: str | None = None
    revision: RevisionId | None = None
    attachment: str | None = None
    gated: bool = False
    waiting: bool = False
    exit_code: int | None = None


class Records:
    """Nobody else writes them, so they are read once and then remembered."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[InstanceId, Record] | None = None

    def directory(self, instance: InstanceId) -> Path:
        return self._directory / instance

    def app(self, instance: InstanceId) -> Path:
        return self.directory(instance) / "app"

    async def all(self) -> dict[InstanceId, Record]:
        if self._known is None:
            read = await asyncio.to_thread(self._read_all)
            if self._known is None:  # else another caller was faster, and it may have saved since
                self._known = read
        return self._known

    async def find(self, instance: InstanceId) -> Record | None:
        return (await self.all()).get(instance)

    async def create(self, instance: InstanceId, record: Record) -> None:
        """With an empty directory for the source tree."""
        await asyncio.to_thread(_make_directory, self.app(instance))
        await self._save(instance, record)

    async def update(self, instance: InstanceId, **changes: Any) -> None:  # noqa: ANN401 - fields
        """Durable against the end of this process; nothing for an instance that has none."""
        record = await self.find(instance)
        if record is not None:
            await self._save(instance, replace(record, **changes))

    async def forget(self, instance: InstanceId) -> None:
        """Remove the directory."""
        await asyncio.to_thread(_remove, self.directory(instance))
        (await self.all()).pop(instance, None)

    async def directories(self) -> tuple[InstanceId, ...]:
        """Also those without a readable record."""
        return await asyncio.to_thread(self._names)

    async def _save(self, instance: InstanceId, record: Record) -> None:
        known = await self.all()
        await asyncio.to_thread(write_json, self.directory(instance) / _RECORD, asdict(record))
        known[instance] = record

    def _names(self) -> tuple[InstanceId, ...]:
        with suppress(FileNotFoundError):
            return tuple(InstanceId(path.name) for path in self._directory.iterdir())
        return ()

    def _read_all(self) -> dict[InstanceId, Record]:
        read = {name: _read(self.directory(name) / _RECORD) for name in self._names()}
        return {name: record for name, record in read.items() if record is not None}


def write_json(path: Path, value: object) -> None:
    """All or nothing, for readers and for a killed writer."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(value))
    draft.replace(path)


def read_json(path: Path) -> Any:  # noqa: ANN401 - as json.loads
    """None for a file that is missing or broken."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _read(path: Path) -> Record | None:
    try:
        return Record(**read_json(path))
    except TypeError:
        return None


def _make_directory(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)


def _remove(directory: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(directory)
