"""Images of registries: found here, or pulled; a registry that is silent is not asked again at once."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import aclosing

from emulator.decisions.image_names import split_reference
from emulator.drivers.docker.build_output import OnLine
from emulator.drivers.docker.credentials import CredentialsError, find_login
from emulator.drivers.docker.engine import Engine, Json, NotFoundError
from emulator.model.configuration import NOTHING
from emulator.model.errors import EngineError, EngineUnavailableError
from emulator.ports import Clock

FIRST_ANSWER = 15.0  # seconds
SILENCE = 300.0  # seconds that a registry which did not answer is left alone
_DEFAULT_REGISTRY = "docker.io"
_REFUSED = re.compile(
    r"basic auth|unauthorized|authentication required|access denied|denied:", re.IGNORECASE
)
_LOGIN = " (with `docker login {}` its credentials are used)"
_UNREACHABLE = re.compile(
    r"no such host|i/o timeout|connection refused|connection reset|no route to host"
    r"|network is unreachable|TLS handshake timeout|context deadline exceeded"
    r"|Client\.Timeout|server misbehaving|proxyconnect|x509|certificate|: EOF",
)


class Images:
    """Local images, and those that a registry has."""

    def __init__(
        self, engine: Engine, clock: Clock, environment: Mapping[str, str] = NOTHING
    ) -> None:
        """`environment` leads to what `docker login` stored."""
        self._engine = engine
        self._clock = clock
        self._environment = environment
        self._silent: dict[str, tuple[float, str]] = {}  # registry: until when, why

    async def find(self, reference: str) -> str | None:
        try:
            image = await self._engine.get(f"/images/{reference}/json")
        except NotFoundError:
            return None
        return str(image["Id"])

    async def pull(self, reference: str, on_line: OnLine) -> str:
        """The id of an image, pulled unless it is here."""
        here = await self.find(reference)
        if here is not None:
            return here
        registry = registry_of(reference)
        self._raise_if_silent(registry, reference)
        try:
            headers = await self._headers(registry, on_line)
            await self._pull(reference, headers, on_line)
        except EngineUnavailableError:
            raise
        except EngineError as error:
            if _UNREACHABLE.search(str(error)):
                self._silent[registry] = (self._clock.now() + SILENCE, str(error))
            hint = _LOGIN.format(registry) if _REFUSED.search(str(error)) else ""
            raise EngineError(f"{reference} cannot be pulled: {error}{hint}") from error
        pulled = await self.find(reference)
        if pulled is None:
            raise EngineError(f"{reference} was pulled, but the engine does not have it")
        return pulled

    def _raise_if_silent(self, registry: str, reference: str) -> None:
        until, why = self._silent.get(registry, (0.0, ""))
        if self._clock.now() < until:
            raise EngineError(
                f"{reference} cannot be pulled: {registry} did not answer within the last"
                f" {SILENCE / 60:g} minutes ({why})"
            )

    async def _headers(self, registry: str, on_line: OnLine) -> Mapping[str, str]:
        """Many an image is public: what is wrong with the credentials is told, and no reason not
        to try.
        """
        try:
            login = await find_login(registry, self._environment)
        except CredentialsError as error:
            on_line(f"Pulled without the credentials of `docker login`: {error}")
            return {}
        return {"X-Registry-Auth": login.header} if login else {}

    async def _pull(self, reference: str, headers: Mapping[str, str], on_line: OnLine) -> None:
        name, tag = split_reference(reference)
        messages = self._engine.stream(
            "POST", "/images/create", {"fromImage": name, "tag": tag}, headers=headers
        )
        async with aclosing(messages):
            try:
                async with asyncio.timeout(FIRST_ANSWER):
                    first = await anext(messages, None)
            except TimeoutError:
                raise EngineError(f"no answer within {FIRST_ANSWER:g} s (i/o timeout)") from None
            _tell(first, on_line)
            async for message in messages:
                _tell(message, on_line)


def _tell(message: Json, on_line: OnLine) -> None:
    """One line a transition; not the bars in between."""
    message = message or {}
    if message.get("error"):
        raise EngineError(str(message["error"]))
    if message.get("status") and not message.get("progressDetail"):
        layer = f"{message['id']}: " if message.get("id") else ""
        on_line(f"{layer}{message['status']}")


def registry_of(reference: str) -> str:
    """The first part if it looks like a host, as Docker decides it."""
    first, slash, _ = reference.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return first if is_host else _DEFAULT_REGISTRY
