"""What of this host must reach a build: certificates, proxies, package indexes and their keys."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from configparser import Error as PipConfigurationError, RawConfigParser
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from emulator.decisions.build_environment import PROXIES, BuildEnvironment, remote_addresses

REPOSITORY = "apprunner-emulator/host"
_CA_VARIABLES = (
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("NODE_EXTRA_CA_CERTS", "PIP_CERT"),
)
_CA_BUNDLES = (  # Debian and Alpine, Red Hat and Amazon Linux, macOS
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/cert.pem",
)
_NPM_REGISTRY = "NPM_CONFIG_REGISTRY"
_REFERENCE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostEnvironment:
    """`files` (name, content) are those of the image that `environment` copies from."""

    environment: BuildEnvironment
    files: tuple[tuple[str, bytes], ...] = ()


def read_host(
    variables: Mapping[str, str], *, home: Path | None = None, root: Path = Path("/")
) -> HostEnvironment:
    """From the host's variables and files; reads files: call it in a thread."""
    home = home or (Path(variables["HOME"]) if variables.get("HOME") else Path.home())
    ca = _read_ca(variables, root)
    npm = _read_npm(variables, home, root)
    arguments = _proxies(variables) | _pip(variables, home, root)
    if npm.get("registry"):
        arguments[_NPM_REGISTRY] = npm["registry"]
    token = _npm_token(npm)
    files = tuple(
        (name, content) for name, content in (("ca.crt", ca), ("npmrc", token)) if content
    )
    environment = BuildEnvironment(
        arguments=arguments, files=_reference(files), ca=bool(ca), npmrc=bool(token)
    )
    return HostEnvironment(environment=environment, files=files)


def _reference(files: tuple[tuple[str, bytes], ...]) -> str:
    """Named after what is in it: other certificates are another image."""
    return f"{REPOSITORY}:{hashlib.sha256(repr(files).encode()).hexdigest()[:12]}" if files else ""


def _read_ca(variables: Mapping[str, str], root: Path) -> bytes:
    named = (Path(variables[name]) for name in _CA_VARIABLES if variables.get(name))
    usual = (root / path for path in _CA_BUNDLES)
    contents = (_content(path) for path in chain(named, usual))
    return next((content for content in contents if b"BEGIN CERTIFICATE" in content), b"")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _text(path: Path) -> str:
    return _content(path).decode(errors="replace")


def _proxies(variables: Mapping[str, str]) -> dict[str, str]:
    """Both spellings, as programs read one or the other."""
    found: dict[str, str] = {}
    for name in (*PROXIES, "ALL_PROXY", "all_proxy"):
        value = variables.get(name) or variables.get(name.lower()) or variables.get(name.upper())
        if value:
            found[name] = value
    return found


def _pip(variables: Mapping[str, str], home: Path, root: Path) -> dict[str, str]:
    settings = _pip_settings(variables, home, root)

    def value(option: str) -> str:
        name = "PIP_" + option.upper().replace("-", "_")
        return variables.get(name) or settings.get(option, "")

    found = {
        "PIP_INDEX_URL": remote_addresses(value("index-url").split()),
        "PIP_EXTRA_INDEX_URL": remote_addresses(value("extra-index-url").split()),
        "PIP_TRUSTED_HOST": " ".join(value("trusted-host").split()),
        "PIP_DEFAULT_TIMEOUT": variables.get("PIP_DEFAULT_TIMEOUT", ""),
    }
    return {name: text for name, text in found.items() if text}


def _pip_settings(variables: Mapping[str, str], home: Path, root: Path) -> Mapping[str, str]:
    """The user's file wins over the machine's, as in pip."""
    settings: dict[str, str] = {}
    for path in _pip_files(variables, home, root):
        parser = RawConfigParser(strict=False)
        try:
            parser.read_string(_text(path))
        except PipConfigurationError:
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                settings |= dict(parser.items(section))
    return settings


def _pip_files(variables: Mapping[str, str], home: Path, root: Path) -> Iterator[Path]:
    yield root / "etc/xdg/pip/pip.conf"
    yield root / "etc/pip.conf"
    yield home / ".pip/pip.conf"
    yield Path(variables.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"
    yield home / "Library/Application Support/pip/pip.conf"
    if named := variables.get("PIP_CONFIG_FILE"):
        yield Path(named)


def _read_npm(variables: Mapping[str, str], home: Path, root: Path) -> dict[str, str]:
    settings: dict[str, str] = {}
    machine = (root / "etc/npmrc", root / "usr/etc/npmrc", root / "usr/local/etc/npmrc")
    for path in (*machine, home / ".npmrc"):
        settings |= _npmrc(_text(path), variables)
    registry = variables.get(_NPM_REGISTRY) or variables.get(_NPM_REGISTRY.lower())
    settings["registry"] = remote_addresses((registry or settings.get("registry", "")).split())
    return settings


def _npmrc(text: str, variables: Mapping[str, str]) -> dict[str, str]:
    """`key=value` lines; one that names a variable which is not set is left out."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if not separator or key.startswith(("#", ";")):
            continue
        value = value.strip().strip("\"'")
        if all(variables.get(name) for name in _REFERENCE.findall(value)):
            found[key.strip()] = _REFERENCE.sub(lambda match: variables[match[1]], value)
    return found


def _npm_token(settings: Mapping[str, str]) -> bytes:
    """Only the key to the registry that the host names: no other key leaves the host."""
    registry = settings["registry"].partition("://")[2].rstrip("/") + "/"
    lines = [
        f"{key}={value}\n"
        for key, value in settings.items()
        if key.startswith("//")
        and key.endswith("/:_authToken")
        and registry.startswith(key[2:].removesuffix(":_authToken"))
    ]
    return "".join(lines).encode()
