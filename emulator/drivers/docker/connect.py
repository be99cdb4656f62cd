"""Where the engine is: nobody should have to tell the emulator what `docker` already knows."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from emulator.model.errors import EngineUnavailableError

DEFAULT_SOCKET = "/var/run/docker.sock"
DEFAULT_CONTEXT = "default"
_PLAIN, _TLS = 2375, 2376
_HINT = "set DOCKER_HOST to unix:///… or tcp://host:port"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Paths to PEM files; without `authority` the system's are trusted."""

    authority: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """`address` is unix:///path or tcp://host:port, `origin` what named it, for people.

    `local` means a socket of this machine; what runs behind it may still be a virtual machine.
    """

    address: str
    local: bool
    tls: Tls | None = None
    origin: str = "default"

    @property
    def socket(self) -> str | None:
        """The path of a Unix socket."""
        return self.address.removeprefix("unix://") if self.local else None

    @property
    def hostname(self) -> str:
        """Where the engine's published ports can be dialled."""
        return "127.0.0.1" if self.local else urlsplit(self.address).hostname or "127.0.0.1"

    @property
    def url(self) -> str:
        """What HTTP requests are made against."""
        if self.local:
            return "http://docker"
        scheme = "https" if self.tls else "http"
        return scheme + self.address.removeprefix("tcp")


def find_connection(environment: Mapping[str, str]) -> Connection:
    """DOCKER_HOST, else the current context, else the first socket that is there.

    Reads files: call it in a thread.
    """
    if host := environment.get("DOCKER_HOST"):
        return connection_to(host, tls=_tls_of(environment), origin="DOCKER_HOST")
    name = environment.get("DOCKER_CONTEXT") or _current_context(environment)
    if name and name != DEFAULT_CONTEXT:
        return _connection_of_context(name)
    path = _first_socket(environment)
    return connection_to(f"unix://{path}", origin="default")


def connection_to(address: str, *, tls: Tls | None = None, origin: str) -> Connection:
    """A connection for an address as DOCKER_HOST gives it."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "tcp", address
    rest = rest.rstrip("/")
    if scheme == "unix":
        return Connection(address=f"unix://{rest}", local=True, origin=origin)
    if scheme in {"tcp", "http", "https"}:
        secure = tls or (Tls() if scheme == "https" else None)
        port = "" if _has_port(rest) else f":{_TLS if secure else _PLAIN}"
        return Connection(address=f"tcp://{rest}{port}", local=False, tls=secure, origin=origin)
    raise EngineUnavailableError(f"{origin}: cannot speak {scheme}:// ({address}); {_HINT}")


def _has_port(rest: str) -> bool:
    """Also of an IPv6 address in brackets."""
    return rest.rpartition(":")[2].isdigit() and not rest.endswith("]")


def _tls_of(environment: Mapping[str, str]) -> Tls | None:
    verify = environment.get("DOCKER_TLS_VERIFY", "") not in {"", "0"}
    directory = environment.get("DOCKER_CERT_PATH")
    if not verify and not directory:
        return None
    base = Path(directory) if directory else docker_directory(environment)
    return Tls(
        authority=_if_file(base / "ca.pem"),
        certificate=_if_file(base / "cert.pem"),
        key=_if_file(base / "key.pem"),
        verify=verify,
    )


def _if_file(path: Path) -> str | None:
    return str(path) if path.is_file() else None


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment["HOME"]) if environment.get("HOME") else Path.home()


def docker_directory(environment: Mapping[str, str]) -> Path:
    """Where Docker's command line keeps its settings."""
    named = environment.get("DOCKER_CONFIG")
    return Path(named) if named else _home(environment) / ".docker"


def _current_context(environment: Mapping[str, str]) -> str | None:
    path = docker_directory(environment) / "config.json"
    try:
        settings = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    name = settings.get("currentContext") if isinstance(settings, dict) else None
    return name if isinstance(name, str) else None


def _connection_of_context(name: str) -> Connection:
    from docker.context import ContextAPI  # noqa: PLC0415 - its import takes 150 ms

    origin = f"context {name}"
    try:
        context = ContextAPI.get_context(name)
    except Exception as error:  # the SDK raises bare ones for a corrupt file
        raise EngineUnavailableError(f"{origin} cannot be read: {error}") from error
    host = getattr(context, "Host", None)
    if not host:
        raise EngineUnavailableError(f"{origin} does not exist; see `docker context ls`")
    return connection_to(host, tls=_tls_of_context(context.TLSConfig), origin=origin)


def _tls_of_context(config: object) -> Tls | None:
    """From the SDK's TLSConfig, None for a plain connection."""
    pair: tuple[str, str] | None = getattr(config, "cert", None)
    certificate, key = pair or (None, None)
    authority = getattr(config, "ca_cert", None)
    if not (certificate or authority):
        return None
    verify = bool(getattr(config, "verify", True))
    return Tls(authority=authority, certificate=certificate, key=key, verify=verify)


def _first_socket(environment: Mapping[str, str]) -> Path:
    """One that may be used, else one that is there (its error says why not), else the default."""
    there = [path for path in _usual_sockets(environment) if path.is_socket()]
    usable = (path for path in there if os.access(path, os.R_OK | os.W_OK))
    return next(usable, there[0] if there else Path(DEFAULT_SOCKET))


def _usual_sockets(environment: Mapping[str, str]) -> Iterator[Path]:
    """Debian and most others, rootless, Docker Desktop, Colima, Rancher Desktop, OrbStack."""
    home = _home(environment)
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    yield Path(DEFAULT_SOCKET)
    yield Path(runtime) / "docker.sock"
    yield home / ".docker/run/docker.sock"
    yield home / ".docker/desktop/docker.sock"
    yield home / ".colima/default/docker.sock"
    yield home / ".colima/docker.sock"
    yield home / ".rd/docker.sock"
    yield home / ".orbstack/run/docker.sock"
