"""A small client for the Docker Engine's HTTP API: every call can be cancelled, none needs a thread.

Why not the SDK: docs/adr/0001-engine-api-over-aiohttp.md.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from emulator.drivers.docker.connect import Connection, Tls, find_connection
from emulator.model.errors import EngineError, EngineUnavailableError

Json = Any  # what the daemon sent, parsed; its shape is the daemon's business
Parameters = Mapping[str, Any]
Body = bytes | AsyncIterator[bytes]
Frame = tuple[int, bytes]  # 1 for stdout or 2 for stderr, and what was written there

NEWEST: Final = (1, 51)  # the newest API version that this client was written for
PATIENCE: Final = 60.0  # seconds for a call that should take milliseconds
_OLD: Final = "1.24"  # a daemon that does not say
_CONNECT: Final = 5.0
_FRAME: Final = 8
_NOT_FOUND, _CONFLICT, _ERROR = 404, 409, 400
_HINT = "Run `apprunner doctor --fix`."
_NO_LIMIT = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)


class NotFoundError(EngineError):
    """What the call was about is not there."""


class ConflictError(EngineError):
    """The name is taken, or it is already being removed, or in the wrong state."""


class Engine:
    """One daemon. Opens nothing before the first call; closing twice is fine.

    `params`: None is left out, bools become 1 and 0, mappings JSON, sequences are repeated.
    `data` is sent as it is; an error of an iterator is raised as itself.
    Raises EngineUnavailableError when nobody answers, NotFoundError, ConflictError and
    EngineError with the daemon's own words.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._session: aiohttp.ClientSession | None = None
        self._version: str | None = None

    @classmethod
    async def connect(cls, environment: Mapping[str, str]) -> Self:
        """To the engine that `docker` would use; raises EngineUnavailableError if it is down."""
        engine = cls(await asyncio.to_thread(find_connection, environment))
        try:
            await engine.version()
        except BaseException:
            await engine.close()
            raise
        return engine

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def version(self) -> str:
        """The API version both sides speak, asked for once."""
        if self._version is None:
            self._version = await self._negotiate()
        return self._version

    async def get(
        self, path: str, params: Parameters | None = None, *, timeout: float | None = PATIENCE
    ) -> Json:
        return await self._call("GET", path, params=params, timeout=timeout)

    async def post(
        self,
        path: str,
        params: Parameters | None = None,
        *,
        json: Json = None,
        data: Body | None = None,
        timeout: float | None = PATIENCE,
    ) -> Json:
        return await self._call("POST", path, params=params, json=json, data=data, timeout=timeout)

    async def put(
        self,
        path: str,
        params: Parameters | None = None,
        *,
        json: Json = None,
        data: Body | None = None,
        timeout: float | None = PATIENCE,
    ) -> Json:
        return await self._call("PUT", path, params=params, json=json, data=data, timeout=timeout)

    async def delete(
        self, path: str, params: Parameters | None = None, *, timeout: float | None = PATIENCE
    ) -> Json:
        return await self._call("DELETE", path, params=params, timeout=timeout)

    async def put_archive(self, container: str, path: str, data: Body) -> None:
        """Unpack a tar stream in a container's file system; it need not run."""
        await self.put(f"/containers/{container}/archive", {"path": path}, data=data, timeout=None)

    async def stream(
        self,
        method: str,
        path: str,
        params: Parameters | None = None,
        *,
        json: Json = None,
        data: Body | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Json, None]:
        """The JSON lines of an answer as they come, errors among them as the daemon sent them.

        Wrap it in `contextlib.aclosing` where you may leave early: closing hangs up.
        """
        rest = b""
        chunks = self.chunks(method, path, params, json=json, data=data, headers=headers)
        async with aclosing(chunks):
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield _parse(line)
        if rest.strip():
            yield _parse(rest)

    async def frames(
        self,
        method: str,
        path: str,
        params: Parameters | None = None,
        *,
        json: Json = None,
    ) -> AsyncGenerator[list[Frame], None]:
        """Logs and the output of an exec, as many frames at a time as have arrived."""
        buffer = bytearray()
        chunks = self.chunks(method, path, params, json=json)
        async with aclosing(chunks):
            async for chunk in chunks:
                buffer += chunk
                if frames := _take_frames(buffer):
                    yield frames

    async def chunks(
        self,
        method: str,
        path: str,
        params: Parameters | None = None,
        *,
        json: Json = None,
        data: Body | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """The raw answer as it comes."""
        parts = {"params": params, "json": json, "data": data, "headers": headers}
        async with self._request(method, await self._versioned(path), **parts) as response:
            async for chunk in response.content.iter_any():
                yield chunk

    async def _call(self, method: str, path: str, *, timeout: float | None, **parts: Json) -> Json:
        limit = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT)
        url = await self._versioned(path)
        async with self._request(method, url, timeout=limit, **parts) as response:
            content = await response.read()
            return _parse(content) if response.content_type.endswith("json") else content or None

    async def _versioned(self, path: str) -> str:
        return f"/v{await self.version()}{path}"

    async def _negotiate(self) -> str:
        async with self._request("GET", "/_ping") as response:
            newest = response.headers.get("Api-Version", _OLD)
        if _numbers(newest) <= NEWEST:
            return newest
        async with self._request("GET", "/version") as response:
            return _negotiated(newest, _parse(await response.read()).get("MinAPIVersion", _OLD))

    @asynccontextmanager
    async def _request(  # noqa: PLR0913 - a request has that many parts
        self,
        method: str,
        path: str,
        *,
        params: Parameters | None = None,
        json: Json = None,
        data: Body | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout = _NO_LIMIT,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        body = _Upload(data) if isinstance(data, AsyncIterator) else None
        sent = dict(headers or {})
        if data is not None:
            sent.setdefault("Content-Type", "application/x-tar")
        try:
            async with self._open().request(
                method,
                self.connection.url + path,
                params=_query(params),
                json=json,
                data=body.read() if body else data,
                headers=sent,
                timeout=timeout,
            ) as response:
                await _raise_for(response)
                yield response
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if body and body.error:
                raise body.error from None
            raise self._unavailable(error) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=_connector(self.connection))
        return self._session

    def _unavailable(self, error: Exception) -> EngineUnavailableError:
        self._version = None  # who answers next may be another daemon
        where = f"{self.connection.address} ({self.connection.origin})"
        return EngineUnavailableError(f"No engine answers at {where}: {_why(error)} {_HINT}")


class _Upload:
    """A body whose own error is not to be mistaken for the daemon's."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self.error: Exception | None = None

    async def read(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._source:
                yield chunk
        except Exception as error:
            self.error = error
            raise


def _connector(connection: Connection) -> aiohttp.BaseConnector:
    """Without a limit: every log that is followed holds a connection."""
    if connection.socket is not None:
        return aiohttp.UnixConnector(path=connection.socket, limit=0)
    return aiohttp.TCPConnector(limit=0, ssl=_tls_context(connection.tls))


def _tls_context(tls: Tls | None) -> ssl.SSLContext | bool:
    if tls is None:
        return True
    context = ssl.create_default_context(cafile=tls.authority)
    if not tls.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def _query(params: Parameters | None) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in (params or {}).items():
        several = value if isinstance(value, list | tuple) else (value,)
        pairs += [(name, _text(each)) for each in several if each is not None]
    return pairs


def _text(value: Json) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return json.dumps(value) if isinstance(value, Mapping) else str(value)


async def _raise_for(response: aiohttp.ClientResponse) -> None:
    if response.status < _ERROR:
        return
    message = _message(await response.read()) or f"{response.status} {response.reason}"
    kinds = {_NOT_FOUND: NotFoundError, _CONFLICT: ConflictError}
    raise kinds.get(response.status, EngineError)(message)


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace").strip()


def _parse(content: bytes) -> Json:
    if not content.strip():
        return None
    try:
        return json.loads(content)
    except ValueError as error:
        raise EngineError(f"the engine sent what is not JSON: {content[:100]!r}") from error


def _take_frames(buffer: bytearray) -> list[Frame]:
    """Complete frames, removed from the buffer: kind, three zeros, length, payload."""
    frames: list[Frame] = []
    start = 0
    while len(buffer) >= start + _FRAME:
        end = start + _FRAME + int.from_bytes(buffer[start + 4 : start + _FRAME])
        if len(buffer) < end:
            break
        frames.append((buffer[start], bytes(buffer[start + _FRAME : end])))
        start = end
    del buffer[:start]
    return frames


def _negotiated(newest: str, oldest: str) -> str:
    """What this client was written for, unless the daemon is too old or too new for it."""
    major, minor = max(min(NEWEST, _numbers(newest)), _numbers(oldest))
    return f"{major}.{minor}"


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor or 0)


def _why(error: Exception) -> str:
    """In words; aiohttp wraps what the system said."""
    cause = getattr(error, "os_error", error)
    match cause:
        case FileNotFoundError():
            return "there is no such socket; is Docker installed and running?"
        case PermissionError():
            return "this user may not use the socket."
        case ConnectionRefusedError():
            return "nobody listens there; is Docker running?"
        case TimeoutError():
            return "no answer in time."
        case _:
            return f"{str(cause) or type(cause).__name__}."
