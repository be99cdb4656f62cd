"""An instance's source tree: laid when it is prepared, changed before it starts, removed with it."""

import asyncio
import shlex
from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from emulator.drivers.docker.containers import create_container, remove_container
from emulator.drivers.docker.engine import Engine
from emulator.drivers.docker.labels import Role, labels
from emulator.drivers.docker.records import Records
from emulator.drivers.docker.trees import (
    MOUNT,
    change_tree,
    empty_directory,
    lay_tree,
    pack_tree,
)
from emulator.model.errors import EngineError, RepositoryError
from emulator.model.identifiers import InstanceId
from emulator.model.revision import Revision, SourceTree
from emulator.ports import Repository

_EMPTY: Final = f"cd {shlex.quote(MOUNT)} && rm -rf -- * .[!.]* ..?*"
_PATIENCE: Final = 120.0
_FEW: Final = 200  # files, of which a command line holds the names
_PLAIN_FILES: Final = frozenset({"100644", "100755"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Between two trees: paths of plain files that come or change, and of those that are gone."""

    come: tuple[str, ...]
    gone: tuple[str, ...]


def _any_below(paths: Iterable[str], links: Collection[str]) -> bool:
    parts = (PurePosixPath(path) for path in paths)
    return any(str(p) in links or any(str(q) in links for q in p.parents) for p in parts)


async def _nothing() -> AsyncGenerator[bytes, None]:
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece


class InstanceFiles:
    """A private copy per instance: instances may write to /app, and see only their own writes."""

    def __init__(
        self, engine: Engine, owner: str, records: Records, repository: Repository
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._records = records
        self._repository = repository

    async def lay(self, instance: InstanceId, revision: Revision) -> None:
        """Into the directory that is mounted; nothing if this very tree is there already."""
        source, record = revision.source, await self._records.find(instance)
        if source is None or record is None or record.tree == source.tree:
            return
        await self._records.update(instance, tree=None)
        old = record.tree if record.revision is None else None  # else it has written there
        try:
            difference = await self._difference(source, old) if old else None
            if difference is None:
                archive = self._repository.archive(source.repository, source.tree)
                await lay_tree(archive, source.links, self._records.app(instance))
            else:
                await self._change(instance, source, difference)
        except RepositoryError as error:
            raise EngineError(str(error)) from error
        await self._records.update(instance, tree=source.tree)

    async def _difference(self, source: SourceTree, old: str) -> Difference | None:
        """None where it is better laid as a whole."""
        try:
            before = await self._listed(source.repository, old)
        except RepositoryError:
            return None  # a working tree's of another run of the emulator
        after = await self._listed(source.repository, source.tree)
        paths = [p for p in before.keys() | after.keys() if before.get(p) != after.get(p)]
        modes = {side[p][0] for p in paths for side in (before, after) if p in side}
        hidden = {link for link, _ in source.links}
        if len(paths) > _FEW or not modes <= _PLAIN_FILES or _any_below(paths, hidden):
            return None
        come = tuple(p for p in paths if p in after)
        return Difference(come=come, gone=tuple(p for p in paths if p not in after))

    async def _listed(self, repository: str, tree: str) -> dict[str, tuple[str, str]]:
        files = await self._repository.files(repository, tree)
        return {f.path: (f.mode, f.blob) for f in files}

    async def _change(
        self, instance: InstanceId, source: SourceTree, difference: Difference
    ) -> None:
        come, app = difference.come, self._records.app(instance)
        archive = (
            self._repository.archive(source.repository, source.tree, come) if come else _nothing()
        )
        await change_tree(archive, difference.gone, app)

    async def send(self, container: str, source: SourceTree) -> None:
        """Into a container of an engine that cannot mount what is here; it must not run yet."""
        archive = self._repository.archive(source.repository, source.tree)
        try:
            async with aclosing(pack_tree(archive, source.links)) as packed:
                await self._engine.put_archive(container, "/", packed)
        except RepositoryError as error:
            raise EngineError(str(error)) from error

    async def remove(self, instance: InstanceId) -> None:
        app = self._records.app(instance)
        try:
            await asyncio.to_thread(empty_directory, app)
        except PermissionError:  # the container's root made them, and we are not root
            record = await self._records.find(instance)
            await self._empty_inside(app, record.image if record else "")
        try:
            await self._records.forget(instance)
        except OSError as error:
            raise EngineError(f"the files of instance {instance} stay: {error}") from error

    async def _empty_inside(self, directory: Path, image: str) -> None:
        """By root of a container of the same image."""
        body = {
            "Image": image,
            "User": "0:0",
            "Entrypoint": ["/bin/sh", "-c", _EMPTY],
            "Cmd": [],
            "Labels": labels(self._owner, Role.HELPER),
            "HostConfig": {"Binds": [f"{directory}:{MOUNT}:Z"], "NetworkMode": "none"},
        }
        try:
            helper = await create_container(self._engine, None, body)
            try:
                await self._engine.post(f"/containers/{helper}/start")
                await self._engine.post(f"/containers/{helper}/wait", timeout=_PATIENCE)
            finally:
                await remove_container(self._engine, helper)
        except EngineError as error:
            raise EngineError(
                f"{directory} holds files of another user; remove it with sudo: {error}"
            ) from error
