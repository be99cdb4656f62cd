"""An instance's source tree: laid when it is prepared, changed before it starts, removed with it."""

import asyncio
import shlex
from contextlib import aclosing
from pathlib import Path
from typing import Final

from emulator.drivers.docker.containers import create_container, remove_container
from emulator.drivers.docker.engine import Engine
from emulator.drivers.docker.labels import Role, labels
from emulator.drivers.docker.records import Records
from emulator.drivers.docker.trees import MOUNT, empty_directory, lay_tree, pack_tree
from emulator.model.errors import EngineError, RepositoryError
from emulator.model.identifiers import InstanceId
from emulator.model.revision import Revision, SourceTree
from emulator.ports import Repository

_EMPTY: Final = f"cd {shlex.quote(MOUNT)} && rm -rf -- * .[!.]* ..?*"
_PATIENCE: Final = 120.0


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
        archive = self._repository.archive(source.repository, source.tree)
        try:
            await lay_tree(archive, source.links, self._records.app(instance))
        except RepositoryError as error:
            raise EngineError(str(error)) from error
        await self._records.update(instance, tree=source.tree)

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
