"""The credentials that `docker login` has stored, for pulls: the engine itself keeps none.

Found as Docker's own command line finds them: DOCKER_AUTH_CONFIG, else the registry's helper in
`credHelpers`, else `credsStore`, else `auths` of config.json. Helpers are asked by their protocol
(https://github.com/docker/docker-credential-helpers). Read anew for each pull, kept nowhere.
"""

import asyncio
import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emulator.drivers.docker.connect import docker_directory
from emulator.drivers.process import ProcessError, run

HELPER_SECONDS = 30.0  # it may ask somebody to unlock a key ring
_DOCKER_HUB = "https://index.docker.io/v1/"
_ALSO_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_NAME = re.compile(r"[\w.-]+")
_TOKEN = "<token>"  # noqa: S105 - a user's name that says what its secret is


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """`secret` is a password, or a token in exchange for which the registry gives another."""

    server: str
    user: str = ""
    secret: str = field(repr=False)

    @property
    def header(self) -> str:
        """X-Registry-Auth."""
        if self.user in {"", _TOKEN}:
            members = {"identitytoken": self.secret}
        else:
            members = {"username": self.user, "password": self.secret}
        document = json.dumps({**members, "serveraddress": self.server})
        return base64.urlsafe_b64encode(document.encode()).decode()


class CredentialsError(Exception):
    """A helper that does not do its work; the message holds no secret."""


async def find_login(registry: str, environment: Mapping[str, str]) -> Login | None:
    """For a registry by its host (and port); None where nobody logged in to it.

    Raises CredentialsError.
    """
    server = _DOCKER_HUB if registry in _ALSO_DOCKER_HUB else registry
    if given := _from_file(_parsed(environment.get("DOCKER_AUTH_CONFIG", "")), server):
        return given
    settings = await asyncio.to_thread(_read, environment)
    helper = _member(settings, "credHelpers").get(server) or settings.get("credsStore")
    if isinstance(helper, str) and helper:
        found = await _from_helper(helper, server, environment)
        if found is not None:
            return found
    return _from_file(settings, server)


def _read(environment: Mapping[str, str]) -> Mapping[str, Any]:
    try:
        return _parsed((docker_directory(environment) / "config.json").read_text())
    except (OSError, UnicodeDecodeError):
        return {}


def _parsed(text: str) -> Mapping[str, Any]:
    """Docker itself complains of a broken file; a pull goes on without it."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _member(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = settings.get(name)
    return found if isinstance(found, dict) else {}


def _from_file(settings: Mapping[str, Any], server: str) -> Login | None:
    auths = _member(settings, "auths")
    exact = [auths[server]] if server in auths else []
    others = [entry for key, entry in auths.items() if _host(key) == _host(server)]
    logins = (_login(server, entry) for entry in (*exact, *others) if isinstance(entry, dict))
    return next((login for login in logins if login is not None), None)


def _host(address: str) -> str:
    """Older versions wrote whole addresses."""
    return re.sub(r"^https?://", "", address).partition("/")[0]


def _login(server: str, entry: Mapping[str, Any]) -> Login | None:
    """None for an entry that only says that a helper has it."""
    if token := entry.get("identitytoken"):
        return Login(server=server, secret=str(token))
    user, password = str(entry.get("username", "")), str(entry.get("password", ""))
    if encoded := entry.get("auth"):
        try:
            user, _, password = base64.b64decode(str(encoded)).decode().partition(":")
        except ValueError:
            return None
    password = password.rstrip("\0")
    return Login(server=server, user=user, secret=password) if user and password else None


async def _from_helper(name: str, server: str, environment: Mapping[str, str]) -> Login | None:
    program = f"docker-credential-{name}"
    if not _NAME.fullmatch(name):
        raise CredentialsError(f"{program!r} is no name of a credential helper")
    try:
        done = await run(
            program, "get", input=server.encode(), environment=environment, timeout=HELPER_SECONDS
        )
    except ProcessError as error:
        raise CredentialsError(str(error)) from error
    if done.code:
        said = done.out.decode(errors="replace").strip() or done.complaint
        if "not found" in said.lower():
            return None
        raise CredentialsError(f"{program} failed: {said[:200] or f'exit code {done.code}'}")
    answer = _parsed(done.out.decode(errors="replace"))
    user, secret = str(answer.get("Username", "")), str(answer.get("Secret", ""))
    return Login(server=server, user=user, secret=secret) if secret else None
