"""`git push` to the emulator: git's smart HTTP at `/_emulator/git/NAME.git`, answered by git.

The deployment is told on the side band of the push's own answer: receive-pack's answer is passed
on as it comes, all but the flush packet that ends it; in front of that go the events and the
build log, as they come, in the packets in which git carries a post-receive hook's words. So
there is no hook, nothing that calls back and no address for it that others could reach, and
every git since 1.6.6 shows it. Which references moved is read from the report in that answer,
not by comparing before and after: pushes to one repository may come at the same time.

By then the push has succeeded, and it belongs to git: a pusher who leaves misses the rest of the
story and nothing else. A pusher who leaves earlier has sent half a pack, which git throws away.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

from aiohttp import web

from emulator.controllers.platform import Platform
from emulator.model.errors import (
    AppRunnerError,
    InvalidRequestException,
    RepositoryError,
    ResourceNotFoundException,
)
from emulator.ports import Clock, GitAnswer, GitRequest, PushedRepositories
from emulator.surfaces.api import requests, sideband
from emulator.surfaces.api.pushes import Begun, Pushes

PREFIX = "/_emulator/git"
RECEIVE, UPLOAD = "git-receive-pack", "git-upload-pack"
FORMATS = {"", "sha1", "sha256"}
STOPS = "The emulator stops: what is not finished goes on at its next start."
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class GitRemote:
    """The addresses that git asks for, and the one that `apprunner git-remote` does."""

    def __init__(self, platform: Platform, repositories: PushedRepositories) -> None:
        self._repositories = repositories
        self._clock = platform.ports.machine
        self._pushes = Pushes(platform, repositories)
        self._telling: set[asyncio.Task[None]] = set()

    def add_to(self, app: web.Application) -> None:
        router = app.router
        app.on_shutdown.append(self._stop_telling)
        router.add_get(f"{PREFIX}/{{name}}.git/info/refs", _in_text(self.advertise))
        for service in (RECEIVE, UPLOAD):
            router.add_post(f"{PREFIX}/{{name}}.git/{service}", _in_text(self.exchange))
        router.add_post(f"{PREFIX}/{{name}}", self.about)

    async def about(self, request: web.Request) -> web.Response:
        """Where to push, for the kind of ids that the pusher's repository has."""
        name, form = _name(request), request.query.get("format", "")
        if form not in FORMATS:
            raise InvalidRequestException("The format is sha1 or sha256.")
        try:
            form = await self._repositories.make(name, form)
        except RepositoryError as error:
            raise InvalidRequestException(str(error)) from error
        return web.json_response(
            {
                "Name": name,
                "Url": f"http://{request.host}{PREFIX}/{name}.git",
                "Repository": self._repositories.path(name),
                "ObjectFormat": form,
            }
        )

    async def advertise(self, request: web.Request) -> web.StreamResponse:
        service = request.query.get("service", "")
        if service not in {RECEIVE, UPLOAD}:
            raise ResourceNotFoundException("Only git's smart HTTP protocol is spoken here.")
        asked = _asked(request, service, advertise=True)
        async with self._repositories.serve(_name(request), asked, None) as answer:
            return await _Listener(request, answer).hear_all()

    async def exchange(self, request: web.Request) -> web.StreamResponse:
        name, service = _name(request), request.path.rsplit("/", 1)[-1]
        asked, upload = _asked(request, service), _Upload(request, self._clock)
        async with self._repositories.serve(name, asked, upload.pieces()) as answer:
            listener = _Listener(request, answer)
            if service == UPLOAD:
                return await listener.hear_all()
            received = sideband.Answer()
            async for piece in answer.body:
                await listener.hear(received.passed(piece))
        begun = await self._pushes.begin(name, received.updated(), upload.at)
        if received.banded and received.end:
            await self._tell(begun, listener)
        await listener.hear(received.rest())
        return await listener.end()

    async def _tell(self, begun: Begun, listener: "_Listener") -> None:
        """Until it is over; an emulator that stops has its last word, as the push has succeeded."""
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(self._tell_all(begun, listener))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)
        if telling.cancelled():
            await listener.hear(sideband.said(STOPS))

    async def _tell_all(self, begun: Begun, listener: "_Listener") -> None:
        async with aclosing(self._pushes.told(begun)) as lines:
            async for line in lines:
                if listener.gone:
                    break
                await listener.hear(sideband.said(line or " "))

    async def _stop_telling(self, _: web.Application) -> None:
        for telling in self._telling:
            telling.cancel()


class _Listener:
    """Who asked; one who leaves changes nothing for git."""

    def __init__(self, request: web.Request, answer: GitAnswer) -> None:
        self.gone = False
        self._request = request
        self._answer = answer
        self._response = web.StreamResponse(status=answer.status, headers=answer.headers)

    async def hear(self, data: bytes) -> None:
        if self.gone or not data:
            return
        try:
            if not self._response.prepared:
                await self._response.prepare(self._request)
            await self._response.write(data)
        except ConnectionError:
            self.gone = True

    async def hear_all(self) -> web.StreamResponse:
        """Whoever has left need not be answered to the end."""
        async for piece in self._answer.body:
            await self.hear(piece)
            if self.gone:
                break
        return await self.end()

    async def end(self) -> web.StreamResponse:
        with suppress(ConnectionError):
            await self._response.prepare(self._request)
            await self._response.write_eof()
        return self._response


def _in_text(handler: Handler) -> Handler:
    """Refusals as git shows them, after `remote: `.

    Asking makes a repository, so a page must not even send a browser here.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        if "Sec-Fetch-Mode" in request.headers:
            return web.Response(status=403, text="Only git may ask here.\n")
        try:
            return await handler(request)
        except AppRunnerError as error:
            missing = isinstance(error, ResourceNotFoundException)
            return web.Response(status=404 if missing else 400, text=f"{error}\n")
        except RepositoryError as error:
            return web.Response(status=404, text=f"{error}\n")

    return handle


def _name(request: web.Request) -> str:
    return requests.name(request.match_info["name"])


def _asked(request: web.Request, service: str, *, advertise: bool = False) -> GitRequest:
    headers = request.headers
    return GitRequest(
        service=service,
        advertise=advertise,
        content_type=headers.get("Content-Type", ""),
        encoding=headers.get("Content-Encoding", ""),
        protocol=headers.get("Git-Protocol", ""),
    )


class _Upload:
    """What a pusher sends, as it comes, of any size. Where the pusher leaves in the middle it ends,
    and git sees that it is not all. `at` is when the last of it came: git moved nothing before.
    """

    def __init__(self, request: web.Request, clock: Clock) -> None:
        self.at = clock.now()
        self._request = request
        self._clock = clock

    async def pieces(self) -> AsyncGenerator[bytes]:
        with suppress(ConnectionError, web.RequestPayloadError):
            async for piece in self._request.content.iter_any():
                self.at = self._clock.now()
                yield piece
