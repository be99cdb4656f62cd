"""Repositories that are pushed to, served by git's own `http-backend` as a CGI program.

They are ours, unlike the ones in `git`: bare, in the state directory, for its owner alone. What
a push may do is written into each one's configuration when it is made; nothing of the user's or
the machine's configuration counts, and no hook runs.
"""

import asyncio
import logging
import re
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

from emulator.drivers.git import ALONE, SAFE
from emulator.drivers.process import MissingProgramError, ProcessError, run, stream
from emulator.model.errors import RepositoryError
from emulator.ports import GitAnswer, GitRequest

PATIENCE = 60.0  # seconds for what git does at once
FORMATS = ("sha1", "sha256")
FORM = re.compile(r"objectformat\s*=\s*(\w+)", re.IGNORECASE)
RECEIVE = "git-receive-pack"
LARGEST_HEAD = 65_536  # bytes
# Shallow clones, CI's for example, may push. An older version's commit may be on no branch any
# more and still be served, or be wanted back: nothing is thrown away. Nothing goes on behind
# the push's back either.
SETTINGS = """
[core]
	hooksPath = /dev/null
[http]
	receivepack = true
[receive]
	shallowUpdate = true
[gc]
	pruneExpire = never
	autoDetach = false
"""
# What a push that was killed leaves: objects in quarantine, and locks that would stop the next.
QUARANTINES = ("objects/tmp_objdir-*", "objects/incoming-*")
LOCKS = ("*.lock", "refs/**/*.lock")

_logger = logging.getLogger(__name__)


class GitRemotes:
    """ports.PushedRepositories below `root`, each at `NAME.git`. A name is one of a service: it
    is not looked at again here. Of `environment`, only PATH is passed on.
    """

    def __init__(self, environment: Mapping[str, str], root: Path) -> None:
        passed = {name: environment[name] for name in ("PATH",) if name in environment}
        self._environment = passed | ALONE
        self._root = root.absolute()
        self._making = asyncio.Lock()
        self._tidy: set[str] = set()

    def path(self, name: str) -> str:
        return str(self._root / f"{name}.git")

    async def make(self, name: str, form: str = "") -> str:
        directory = Path(self.path(name))
        async with self._making:
            found = await self._form(directory)
            if found and form not in {"", found} and await self._empty(directory):
                await asyncio.to_thread(shutil.rmtree, directory)
                found = ""
            if not found:
                found = form or FORMATS[0]
                await self._create(directory, found)
            await self._tidied(directory)
        if form not in {"", found}:
            raise RepositoryError(
                f"{directory} holds {found} commits already, and {form} ones cannot be beside "
                "them: push to another NAME"
            )
        return found

    async def point(self, name: str, branch: str) -> None:
        await self._git(Path(self.path(name)), "symbolic-ref", "HEAD", f"refs/heads/{branch}")

    @asynccontextmanager
    async def serve(
        self, name: str, request: GitRequest, body: AsyncIterator[bytes] | None
    ) -> AsyncGenerator[GitAnswer]:
        directory = Path(self.path(name))
        if request.service == RECEIVE:
            await self.make(name)
        elif not await self._form(directory):
            raise RepositoryError(f"nothing was pushed to {name} yet")
        environment = self._environment | self._variables(directory, request)
        argv = ("git", *SAFE, "http-backend")
        async with aclosing(stream(*argv, input=body, environment=environment)) as pieces:
            try:
                head, rest = await _head(pieces)
            except ProcessError as error:
                raise _failure(directory, error) from error
            yield _answer(head, _body(directory, rest, pieces))

    def _variables(self, directory: Path, request: GitRequest) -> dict[str, str]:
        """CGI's. Without a length the body goes to its end: it may come in chunks."""
        about = {
            "GIT_PROJECT_ROOT": str(directory.parent),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": "GET" if request.advertise else "POST",
            "PATH_INFO": f"/{directory.name}/{request.service}",
            "CONTENT_TYPE": request.content_type,
            "HTTP_CONTENT_ENCODING": request.encoding,
            "GIT_PROTOCOL": request.protocol,
        }
        if request.advertise:
            about["PATH_INFO"] = f"/{directory.name}/info/refs"
            about["QUERY_STRING"] = f"service={request.service}"
        return {name: value for name, value in about.items() if value}

    async def _form(self, directory: Path) -> str:
        """What kind of ids it is for, empty where there is none."""
        return await asyncio.to_thread(_form, directory)

    async def _empty(self, directory: Path) -> bool:
        return not await self._git(directory, "for-each-ref", "--count=1")

    async def _create(self, directory: Path, form: str) -> None:
        """All of it or nothing: no name of a service begins with a dot."""
        new = directory.with_name(f".{directory.name}")
        await asyncio.to_thread(_clear, new)
        options = ("--bare", "--quiet", "--template=", "--initial-branch=main")
        await self._git(new, "init", *options, f"--object-format={form}")
        await asyncio.to_thread(_finish, new, directory)

    async def _tidied(self, directory: Path) -> None:
        """Once in this process's life: what is found then is nobody's any more."""
        if directory.name not in self._tidy:
            await asyncio.to_thread(_tidy, directory)
            self._tidy.add(directory.name)

    async def _git(self, directory: Path, *arguments: str) -> str:
        environment = self._environment | {"GIT_DIR": str(directory)}
        argv = ("git", *SAFE, *arguments)
        try:
            finished = await run(*argv, environment=environment, timeout=PATIENCE)
        except ProcessError as error:
            raise _failure(directory, error) from error
        if finished.code:
            failed = ProcessError("git failed", code=finished.code, err=finished.err)
            raise _failure(directory, failed)
        return finished.out.decode(errors="surrogateescape").strip()


def _form(directory: Path) -> str:
    with suppress(FileNotFoundError):
        written = FORM.search((directory / "config").read_text())
        return written[1] if written else FORMATS[0]
    return ""


def _clear(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _finish(new: Path, directory: Path) -> None:
    with (new / "config").open("a") as file:
        file.write(SETTINGS)
    new.rename(directory)


def _tidy(directory: Path) -> None:
    for pattern in QUARANTINES:
        for left in directory.glob(pattern):
            shutil.rmtree(left, ignore_errors=True)
    for pattern in LOCKS:
        for left in directory.glob(pattern):
            left.unlink(missing_ok=True)


async def _head(pieces: AsyncIterator[bytes]) -> tuple[bytes, bytes]:
    """A CGI program's header, and what came with it of the body."""
    data = b""
    async for piece in pieces:
        data += piece
        head, found, rest = data.partition(b"\r\n\r\n")
        if found:
            return head, rest
        if len(data) > LARGEST_HEAD:
            break
    raise ProcessError("git http-backend gave no answer", code=1)


def _answer(head: bytes, body: AsyncIterator[bytes]) -> GitAnswer:
    fields = [line.partition(":") for line in head.decode("latin-1").split("\r\n")]
    values = [(name.strip(), value.strip()) for name, _, value in fields]
    status = next((int(v.split()[0]) for n, v in values if n.lower() == "status"), 200)
    headers = tuple((n, v) for n, v in values if n.lower() != "status")
    return GitAnswer(status=status, headers=headers, body=body)


async def _body(
    directory: Path, first: bytes, pieces: AsyncIterator[bytes]
) -> AsyncGenerator[bytes]:
    """A failure in the middle can no longer be told by HTTP; the pusher's git sees the gap."""
    if first:
        yield first
    try:
        async for piece in pieces:
            yield piece
    except ProcessError as error:
        _logger.warning("%s: %s (%s)", directory, error, error.complaint)


def _failure(directory: Path, error: ProcessError) -> RepositoryError:
    complaint = error.complaint or str(error)
    if isinstance(error, MissingProgramError):
        return RepositoryError(f"{error}: install it (apt-get install git, brew install git)")
    if "http-backend" in complaint and "not a git command" in complaint:
        return RepositoryError(
            "this git has no http-backend: install all of git (Alpine: git-daemon)"
        )
    return RepositoryError(f"git cannot use {directory}: {complaint.splitlines()[-1]}")
