"""What comes of a push, and what the pusher is told of it.

A push that git has stored is no longer the pusher's: whatever `begin` began goes on without a
listener, and `told` only watches. For a service that is there it does what the watcher of its
repository does anyway, but at once, so that there is something to watch.
"""

import asyncio
import shlex
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from emulator.controllers.ledger import Ledger
from emulator.controllers.platform import Platform
from emulator.model.configuration import CodeSource, ImageSource
from emulator.model.errors import AppRunnerError, EngineError, RepositoryError, StoreError
from emulator.model.identifiers import Epoch
from emulator.model.operation import Operation, OperationType
from emulator.model.service import Service, ServiceStatus
from emulator.ports import PushedRepositories
from emulator.surfaces.api import feed, requests

HEADS = "refs/heads/"
USUAL = ("main", "master")
_REFUSED = (AppRunnerError, EngineError, RepositoryError, StoreError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """The deployment of `commit` by `operation`, or by one that began after `since` or is to come."""

    ledger: Ledger
    commit: str
    since: Epoch
    operation: Operation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What a push has led to: to be said at once, and to be waited for."""

    lines: tuple[str, ...] = ()
    awaited: Awaited | None = None


class Pushes:
    """From references that moved to services."""

    def __init__(self, platform: Platform, repositories: PushedRepositories) -> None:
        self._platform = platform
        self._repositories = repositories
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def begin(self, name: str, references: Sequence[str], since: Epoch) -> Begun:
        """Create the service, or queue the commit; the references moved after `since`. Never
        fails.
        """
        branches = [r.removeprefix(HEADS) for r in references if r.startswith(HEADS)]
        if not branches:
            none = "No branch was pushed: nothing is deployed."
            return Begun(lines=(none,) if references else ())
        try:
            async with self._turns[name]:
                service = await self._found(name)
                if service is None:
                    return await self._create(name, branches)
                return await self._deploy(service, branches, since)
        except _REFUSED as error:
            return Begun(lines=(f"Stored, but nothing is deployed: {error}", self._again(name)))

    async def told(self, begun: Begun) -> AsyncGenerator[str]:
        """What there is to say, until the deployment ends."""
        for line in begun.lines:
            yield line
        if begun.awaited is not None:
            async with aclosing(self._watched(begun.awaited)) as lines:
                async for line in lines:
                    yield line

    # -- what is done --------------------------------------------------------------------------

    async def _found(self, name: str) -> Service | None:
        """The live service of that name, rather the one that is deployed from this repository; a
        deletion that is under way is let end first.
        """
        path = self._repositories.path(name)
        named = [s for s in self._platform.services() if s.name == name]
        named.sort(key=lambda s: _origin(s) != path)
        if not named:
            return None
        operation = self._platform.ledger(named[0].id).operation
        if operation is not None and operation.type is OperationType.DELETE_SERVICE:
            await self._platform.at_rest(named[0].id)
            return await self._found(name)
        return named[0]

    async def _create(self, name: str, branches: Sequence[str]) -> Begun:
        """As `apprunner deploy` would, without an option."""
        branch = await self._first(name, branches)
        if branch is None:
            return Begun(lines=("There is no service, and no branch to make one of.",))
        await self._repositories.point(name, branch)
        source = {
            "RepositoryUrl": self._repositories.path(name),
            "SourceCodeVersion": {"Type": "BRANCH", "Value": branch},
        }
        settings = self._platform.settings
        wanted = requests.configuration(
            {"SourceConfiguration": {"CodeRepository": source}},
            rules=requests.Rules(aws=False, strict=settings.strict),
        )
        wanted = self._platform.account.resolved(settings.region, wanted, None)
        service, operation = await self._platform.create(name, wanted)
        awaited = Awaited(
            ledger=self._platform.ledger(service.id),
            commit=operation.commit or "",
            since=operation.started_at,
            operation=operation,
        )
        return Begun(lines=(f"{name} is created, from the branch {branch}.",), awaited=awaited)

    async def _first(self, name: str, branches: Sequence[str]) -> str | None:
        """Of those that were pushed and not removed the most usual one."""
        path = self._repositories.path(name)
        for branch in sorted(branches, key=lambda b: USUAL.index(b) if b in USUAL else len(USUAL)):
            try:
                await self._platform.ports.repository.resolve(path, branch)
            except RepositoryError:
                continue
            return branch
        return None

    async def _deploy(self, service: Service, branches: Sequence[str], since: Epoch) -> Begun:
        source = service.configuration.source
        refused = self._why_not(service, branches)
        if refused or not isinstance(source, CodeSource):
            return Begun(lines=refused)
        commit = await self._platform.look(service.id, source)
        ledger = self._platform.ledger(service.id)
        return Begun(awaited=Awaited(ledger=ledger, commit=commit.id, since=since))

    def _why_not(self, service: Service, branches: Sequence[str]) -> tuple[str, ...]:
        """Empty where the push is for this service."""
        name, source = service.name, service.configuration.source
        again = f"apprunner deploy {self._quoted(name)} --name {name}"
        if isinstance(source, ImageSource):
            return (
                f"Stored, but not deployed: {name} runs the image {source.identifier}.",
                f"Push to another name, or first: apprunner delete {name}",
            )
        if source.repository != self._repositories.path(name):
            return (
                f"Stored, but not deployed: {name} is deployed from {source.repository}.",
                f"To deploy it from what is pushed: {again} --branch {branches[0]}",
            )
        if source.branch not in branches:
            pushed = ", ".join(branches)
            return (
                f"Stored, but not deployed: {name} deploys the branch {source.branch}, not {pushed}.",
                f"To deploy another branch: {again} --branch {branches[0]}",
            )
        if not service.configuration.auto_deploy:
            return (
                f"Stored, but not deployed: automatic deployments of {name} are off.",
                f"To deploy it: apprunner redeploy {name}",
            )
        return ()

    def _again(self, name: str) -> str:
        path = self._quoted(name)
        return f"Pushing the same again does nothing; this does: apprunner deploy {path}"

    def _quoted(self, name: str) -> str:
        """The path, for a shell: on some systems state is kept where names have blanks."""
        return shlex.quote(self._repositories.path(name))

    # -- what is seen of it --------------------------------------------------------------------

    async def _watched(self, awaited: Awaited) -> AsyncGenerator[str]:
        ledger, after, operation = awaited.ledger, 0, awaited.operation
        if operation is None:
            async for event in self._platform.events(ledger):
                after = event.id
                if event.at >= awaited.since:
                    yield event.text
            operation = await self._operation(awaited)
        if operation is None:
            for line in _why_none(awaited):
                yield line
            return
        async with aclosing(feed.rows(self._platform, ledger, operation, after=after)) as rows:
            async for row in rows:
                for line in _lines(row):
                    yield line

    async def _operation(self, awaited: Awaited) -> Operation | None:
        """The one that deploys the commit, once it is there; None if there will be none."""
        ledger, commit = awaited.ledger, awaited.commit
        while True:
            seen = ledger.bell.count
            current = ledger.operation
            if current is not None and current.commit == commit and current.deploys:
                return current
            if not ledger.service.live or ledger.service.queued != commit:
                break
            await ledger.bell.later(seen)
        stored = await self._platform.ports.store.operations(ledger.service.id)
        late = [o for o in stored if o.commit == commit and o.started_at >= awaited.since]
        return late[0] if late else None


def _origin(service: Service) -> str:
    source = service.configuration.source
    return source.repository if isinstance(source, CodeSource) else ""


def _why_none(awaited: Awaited) -> tuple[str, ...]:
    """What the event log has not said by then."""
    service = awaited.ledger.service
    if not service.live:
        return (f"{service.name} was deleted meanwhile.",)
    if service.seen_commit != awaited.commit:
        return (f"A newer commit is deployed instead: apprunner events {service.name} -f",)
    if service.status is ServiceStatus.PAUSED:
        return (f"To deploy it: apprunner resume {service.name}",)
    return ()


def _lines(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "Log" in row:
        return (f"│ {row['Log']}",)
    if "Event" in row:
        return (row["Event"],)
    return _outcome(row["Operation"], row["Service"])


def _outcome(operation: Mapping[str, Any], service: Mapping[str, Any]) -> tuple[str, ...]:
    """As `apprunner deploy` ends."""
    name, own = service["ServiceName"], service["Emulator"]
    if operation["Status"] == "SUCCEEDED":
        took = operation["EndedAt"] - operation["StartedAt"]
        running = f"{name} is {service['Status']} after {took:.1f} s."
        return ("", running, f"  {own['Url']}", f"  {own['LocalUrl']}")
    reason = operation.get("Reason") or f"{operation['Type']} ended {operation['Status']}."
    old = ("What was deployed before goes on serving.",) if own.get("Revision") else ()
    more = f"apprunner events {name} tells the story, apprunner logs {name} --build the build."
    return ("", f"{name}: {reason}", *old, more)
