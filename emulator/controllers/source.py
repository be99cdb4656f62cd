"""Watches the repositories of code services and queues what is committed.

It only writes down which commit is the newest; the worker deploys it when nothing else is under
way, so a newer commit supersedes one that waits.
"""

from emulator.controllers.ledger import Ledger, Overtaken
from emulator.decisions import narration
from emulator.model.configuration import CodeSource
from emulator.model.errors import RepositoryError
from emulator.model.service import Service, ServiceStatus
from emulator.model.source import Commit
from emulator.ports import Repository


class SourceWatcher:
    """One service's repository and branch."""

    def __init__(self, ledger: Ledger, repository: Repository) -> None:
        self._ledger = ledger
        self._repository = repository
        self._trouble = ""

    async def run(self) -> None:
        """Until cancelled."""
        source = self._ledger.service.configuration.source
        if not isinstance(source, CodeSource):
            return
        async for _ in self._repository.watch(source.repository):
            try:
                await self.look(source)
            except RepositoryError as error:
                await self._complain(str(error))

    async def look(self, source: CodeSource) -> Commit:
        """Queue the newest commit, if it is new; returns it. Raises RepositoryError.

        Several may look at the same moment: it is queued once, and no older one after it.
        """
        while True:
            service = self._ledger.service
            commit = await self._repository.resolve(source.repository, source.branch)
            if commit.id == service.seen_commit:
                return commit
            same = await self._same_tree(service, source, commit)
            self._trouble = ""
            try:
                await self._queue(commit, service, same=same)
            except Overtaken:
                continue
            return commit

    async def _complain(self, trouble: str) -> None:
        """Once for each new trouble; what runs goes on running."""
        if trouble != self._trouble:
            self._trouble = trouble
            await self._ledger.say(f"{trouble} What is deployed goes on running.")

    async def _same_tree(self, service: Service, source: CodeSource, commit: Commit) -> bool:
        """Whether the source directory is the same as in the last commit that was seen."""
        if service.seen_commit is None or source.source_directory.strip("/") == "":
            return False
        directory = source.source_directory.strip("/")
        try:
            old = await self._repository.tree(source.repository, service.seen_commit, directory)
        except RepositoryError:
            return False  # the old commit is gone: rewritten history
        return old == await self._repository.tree(source.repository, commit.id, directory)

    async def _queue(self, commit: Commit, seen: Service, *, same: bool) -> None:
        ledger = self._ledger

        def unseen() -> None:
            if ledger.service.seen_commit != seen.seen_commit:
                raise Overtaken

        what = f"Commit {commit.short} ({commit.subject})"
        status = ledger.service.status
        if status is ServiceStatus.DELETED:
            return
        paused = status is ServiceStatus.PAUSED
        busy = status is ServiceStatus.OPERATION_IN_PROGRESS
        skipped = busy and not ledger.service.configuration.extensions.queue_commits
        text = narration.arrived(what, status, developed=ledger.dev is not None)
        if same and not paused:
            text = f"{what} changes nothing in the source directory."
        elif skipped:
            text = f"{what} is not deployed: an operation is in progress, and none is queued."
        if same or paused or skipped:
            await ledger.save(ledger.event(text), check=unseen, seen_commit=commit.id)
        else:
            await ledger.save(
                ledger.event(text), check=unseen, seen_commit=commit.id, queued=commit.id
            )
