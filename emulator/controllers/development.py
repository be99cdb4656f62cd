"""Working-tree mode (`apprunner dev`): what is saved is served, as long as somebody holds the session.

Each state of the working tree becomes a revision that is tried beside what serves, and takes over
once it is healthy; what fails takes nothing down. None of it is stored: the worker falls back to the
committed revision when the session ends, however it ends.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from emulator.controllers.deployment import Deployer
from emulator.controllers.ledger import Ledger
from emulator.decisions import narration
from emulator.decisions.source_tree import shown
from emulator.model.configuration import CodeSource
from emulator.model.development import Development
from emulator.model.errors import (
    BuildError,
    ConfigurationError,
    EngineError,
    InvalidRequestException,
    InvalidStateException,
    RepositoryError,
    ResourceNotFoundException,
)
from emulator.model.identifiers import Epoch, OperationId, RevisionId
from emulator.model.operation import Operation, OperationType
from emulator.model.revision import Revision
from emulator.ports import Ports

DEBOUNCE = 0.05  # seconds without a further save after which one is served; planned meanwhile
WORTH_TELLING = ("Warning", "Starting source code build", "Successfully built")
_EXPECTED = (BuildError, ConfigurationError, RepositoryError, EngineError)


class What(StrEnum):
    """Of a piece of news."""

    WATCHING = "Watching"
    SERVING = "Serving"
    FAILED = "Failed"
    UNCHANGED = "Unchanged"
    TOLD = "Told"


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What came of a save: `changed` are paths, `seconds` how long it took from the save on."""

    what: What
    at: Epoch
    changed: tuple[str, ...] = ()
    seconds: float | None = None
    text: str = ""


class Session:
    """One service's. `tell` gets the news."""

    def __init__(
        self, ledger: Ledger, ports: Ports, deployer: Deployer, tell: Callable[[News], None]
    ) -> None:
        self._ledger = ledger
        self._ports = ports
        self._deployer = deployer
        self._tell = tell
        self._source = _source(ledger)
        self._files: Mapping[str, tuple[str, str]] = {}
        self._wanted = ""  # the source directory's tree that serves, or is being tried
        self._attempt: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until cancelled, or until the service is deleted. Raises RepositoryError."""
        await self._begin()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._until_deleted())
                await self._follow(group)
        finally:
            self._end()

    async def _until_deleted(self) -> None:
        ledger = self._ledger
        while ledger.service.live:
            seen = ledger.bell.count
            await ledger.bell.later(seen)
        raise ResourceNotFoundException(f"Service {ledger.service.name!r} is deleted.")

    async def _begin(self) -> None:
        dev = self._ledger.dev
        if dev is not None and not dev.ending:
            raise InvalidStateException(
                f"{self._ledger.service.name} is in working-tree mode already: another "
                "`apprunner dev` holds it."
            )
        kept = replace(dev, holder=self, ending=False, candidate=None, failure="") if dev else None
        now = self._ports.clock.now()
        self._ledger.develop(kept or Development(holder=self, since=now))
        self._wanted = await self._committed()
        await self._ledger.say(narration.working_tree_begins(self._source.repository))

    def _end(self) -> None:
        """The worker goes back to what is committed."""
        dev = self._held()
        if dev is not None:
            self._ledger.develop(replace(dev, candidate=None, ending=True))

    def _held(self) -> Development | None:
        dev = self._ledger.dev
        return dev if dev is not None and dev.holder is self and not dev.ending else None

    async def _committed(self) -> str:
        """The source directory's tree of what serves, "" where nothing does."""
        serving = self._ledger.revision(self._ledger.serving)
        if serving is None or serving.commit is None:
            return ""
        with suppress(RepositoryError):
            tree = await self._ports.repository.tree(self._source.repository, serving.commit, "")
            self._files = await self._listed(tree)
            return await self._inside(tree)
        return ""

    async def _inside(self, tree: str) -> str:
        """The tree of the source directory in the repository's."""
        source = self._source
        directory = source.source_directory.strip("/")
        if not directory:
            return tree
        return await self._ports.repository.tree(source.repository, tree, directory)

    async def _listed(self, tree: str) -> Mapping[str, tuple[str, str]]:
        files = await self._ports.repository.files(self._source.repository, tree)
        return {f.path: (f.mode, f.blob) for f in files}

    # -- saves ---------------------------------------------------------------------------------

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        first = True
        async with aclosing(self._ports.repository.saves(self._source.repository)) as moments:  # type: ignore[type-var]
            async for moment in moments:
                try:
                    await self._look(group, moment, first=first)
                except RepositoryError as error:
                    self._say(What.FAILED, text=str(error))
                first = False

    async def _look(self, group: asyncio.TaskGroup, moment: Epoch, *, first: bool) -> None:
        tree = await self._ports.repository.snapshot(self._source.repository)
        inside, files = await self._inside(tree), await self._listed(tree)
        changed = _changes(self._files, files)
        self._files = files
        if first:
            self._say(What.WATCHING, changed, text=self._source.repository)
        if inside == self._wanted:
            if changed and not first:
                self._say(What.UNCHANGED, changed)
            return
        self._wanted = inside
        await self._give_up()
        self._attempt = group.create_task(self._serve(tree, changed, moment))

    async def _give_up(self) -> None:
        """What was being tried is not the newest any more."""
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.gather(self._attempt, return_exceptions=True)
            self._attempt = None

    async def _serve(self, tree: str, changed: tuple[str, ...], moment: Epoch) -> None:
        try:
            revision = await self._revision(tree)
            clock = self._ports.machine
            await clock.sleep(max(0.0, moment + DEBOUNCE - clock.now()))
            failure = await self._try(revision)
        except _EXPECTED as error:
            failure = str(error)
            self._note(failure)
        if failure:
            self._say(What.FAILED, changed, text=failure)
            return
        self._say(What.SERVING, changed, seconds=self._ports.machine.now() - moment)

    async def _revision(self, tree: str) -> Revision:
        ports, now = self._ports, self._ports.clock.now()
        operation = Operation(
            id=OperationId(ports.identifiers.uuid()),
            service=self._ledger.service.id,
            type=OperationType.START_DEPLOYMENT,
            started_at=now,
            updated_at=now,
        )
        aside = self._ledger.aside(self._told)
        revision = await self._deployer.draft(aside, operation, self._source, tree)
        return replace(revision, id=RevisionId(f"dev-{ports.identifiers.hexadecimal()[:8]}"))

    async def _try(self, revision: Revision) -> str:
        """Why it does not serve; "" once it does."""
        ledger = self._ledger
        dev = self._held()
        if dev is None:
            return ""
        ledger.develop(replace(dev, candidate=revision, failure=""))
        while (dev := self._held()) is not None and dev.candidate is revision:
            seen = ledger.bell.count
            await ledger.bell.later(seen)
        return dev.failure if dev is not None else ""

    # -- telling -------------------------------------------------------------------------------

    def _note(self, failure: str) -> None:
        dev = self._held()
        if dev is not None:
            self._ledger.develop(replace(dev, candidate=None, failure=failure))

    def _told(self, text: str) -> None:
        if text.startswith(WORTH_TELLING):
            self._say(What.TOLD, text=text)

    def _say(
        self,
        what: What,
        changed: tuple[str, ...] = (),
        *,
        text: str = "",
        seconds: float | None = None,
    ) -> None:
        at, paths = self._ports.clock.now(), tuple(map(shown, changed))
        self._tell(News(what=what, at=at, changed=paths, text=text, seconds=seconds))


def _source(ledger: Ledger) -> CodeSource:
    source = ledger.service.configuration.source
    if not isinstance(source, CodeSource):
        raise InvalidRequestException(
            f"{ledger.service.name} runs an image: only a repository has a working tree."
        )
    return source


def _changes(
    old: Mapping[str, tuple[str, str]], new: Mapping[str, tuple[str, str]]
) -> tuple[str, ...]:
    return tuple(sorted(p for p in old.keys() | new.keys() if old.get(p) != new.get(p)))
