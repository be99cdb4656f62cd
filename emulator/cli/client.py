"""Speaks to the running emulator: finds it by its state directory, asks it over loopback."""

import json
import os
from collections.abc import Generator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

ANNOUNCEMENT = "emulator.json"
LOG = "emulator.log"
PATIENCE = 120.0  # seconds for one answer; streams may be silent for ever
HEALTH_PATIENCE = 5.0
ANY_ADDRESS = {"0.0.0.0", "::"}
_OK = 200


class NotRunningError(Exception):
    """No emulator runs on this state directory."""


class RefusedError(Exception):
    """The emulator understood and said no; `code` is App Runner's name for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LostError(Exception):
    """The emulator went away, or does not answer."""


class Client:
    """One emulator; `document` is what it announced when it was ready."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.api: str = document["Addresses"]["Api"]
        self.has_registry = "Registry" in document["Addresses"]
        parts = urlsplit(self.api)
        host = parts.hostname or ""
        self._host = "127.0.0.1" if host in ANY_ADDRESS else host
        self._port = parts.port

    @property
    def pid(self) -> int:
        return int(self.document["Pid"])

    def get(self, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        return self._ask("GET", path, query)

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        patience: float | None = PATIENCE,
    ) -> Any:  # noqa: ANN401 - JSON
        return self._ask("POST", path, {}, body, patience)

    def stream(self, path: str, **query: str) -> Generator[dict[str, Any], None, None]:
        """The rows of an NDJSON answer as they come."""
        try:
            with closing(self._connection(None)) as connection:
                answer = _sent(connection, "GET", _target(path, query), None)
                _refuse(answer.status, answer.read() if answer.status != _OK else b"")
                for line in answer:
                    yield json.loads(line)
        except (OSError, HTTPException, ValueError) as error:
            raise LostError("the emulator went away in the middle of its answer") from error

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        patience: float | None = PATIENCE,
    ) -> Any:  # noqa: ANN401 - JSON
        try:
            with closing(self._connection(patience)) as connection:
                answer = _sent(connection, method, _target(path, query), body)
                content = answer.read()
        except ConnectionRefusedError:
            raise NotRunningError from None
        except (OSError, HTTPException) as error:
            raise LostError(f"the emulator at {self.api} does not answer ({error!r})") from error
        _refuse(answer.status, content)
        return json.loads(content)

    def _connection(self, patience: float | None) -> HTTPConnection:
        return HTTPConnection(self._host, self._port, timeout=patience)

    def healthy(self) -> bool:
        try:
            answer = self._ask("GET", "health", {}, patience=HEALTH_PATIENCE)
        except NotRunningError:
            return False
        return bool(answer.get("status") == "running")


def service(name: str, *more: str) -> str:
    """The path of a service's endpoint."""
    return "/".join(["services", *(quote(part, safe="") for part in (name, *more))])


def find(state_dir: str) -> Client | None:
    """The emulator that runs on a state directory."""
    client = _announced(state_dir)
    return client if client and _alive(client.pid) and client.healthy() else None


def require(state_dir: str) -> Client:
    """The same, or NotRunningError; small verbs spare themselves the question for its health."""
    client = _announced(state_dir)
    if client is None or not _alive(client.pid):
        raise NotRunningError
    return client


def _announced(state_dir: str) -> Client | None:
    try:
        return Client(json.loads((Path(state_dir) / ANNOUNCEMENT).read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _alive(pid: int) -> bool:
    """False: what it announced is a leftover, and its port may be another's by now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _target(path: str, query: Mapping[str, str]) -> str:
    return f"/_emulator/{path}" + (f"?{urlencode(query)}" if query else "")


def _sent(
    connection: HTTPConnection, method: str, target: str, body: Mapping[str, Any] | None
) -> HTTPResponse:
    content = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, target, body=content, headers=headers)
    return connection.getresponse()


def _refuse(status: int, content: bytes) -> None:
    """Raise what an answer other than 200 says."""
    if status == _OK:
        return
    try:
        members = json.loads(content)
        raise RefusedError(members.get("__type", ""), members["Message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RefusedError("", f"the emulator failed (HTTP {status})") from None
