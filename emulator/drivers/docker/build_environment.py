"""What of this host must reach a build: certificates, proxies, package indexes and their keys."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from configparser import Error as PipConfigurationError, RawConfigParser
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from emulator.decisions.build_environment import (
    JAVA_VARIABLE,
    PROXIES,
    TRUST_JAVA,
    BuildEnvironment,
    remote_addresses,
)
from emulator.drivers.docker.java_trust import EMPTY, trust_store

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
_GO = (
    *("GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOSUMCHECK", "GOPRIVATE", "GONOPROXY"),
    *("GOINSECURE", "GOVCS", "GOFLAGS"),
)
_YARN_REGISTRIES = ("YARN_NPM_REGISTRY_SERVER", "COREPACK_NPM_REGISTRY")
_BUNDLER = re.compile(r"BUNDLE_(?:MIRROR__\w+|SSL_VERIFY_MODE|RETRY|TIMEOUT)")
_COMPOSER = re.compile(r"COMPOSER_(?:IPRESOLVE|MAX_PARALLEL_HTTP|DISABLE_NETWORK|PROCESS_TIMEOUT)")
_MIRRORS = re.compile(r"<mirrors>.*?</mirrors>", re.DOTALL)
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
    arguments = _proxies(variables) | _pip(variables, home, root) | _go(variables, home)
    arguments |= _bundler(variables, home) | _matching(variables, _COMPOSER)
    arguments |= _node(variables, npm["registry"])
    token = _npm_token(npm)
    java, maven = trust_store(ca), _maven(home)
    named = [("ca.crt", ca), ("cacerts", java if ca else b""), ("npmrc", token)]
    named.append(("settings.xml", maven))
    files = tuple((name, content) for name, content in named if content)
    if java != EMPTY:
        arguments[JAVA_VARIABLE] = variables.get(JAVA_VARIABLE, TRUST_JAVA)
    environment = BuildEnvironment(
        arguments=arguments,
        files=_reference(files),
        ca=bool(ca),
        npmrc=bool(token),
        maven=bool(maven),
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


def _node(variables: Mapping[str, str], registry: str) -> dict[str, str]:
    """npm, pnpm and the first yarn read npm's; later yarns have one of their own, and corepack,
    which brings them, another.
    """
    own = {name: remote_addresses(variables.get(name, "").split()) for name in _YARN_REGISTRIES}
    found = {name: value or registry.rstrip("/") for name, value in own.items()}
    found |= {"YARN_REGISTRY": remote_addresses(variables.get("YARN_REGISTRY", "").split())}
    found |= {_NPM_REGISTRY: registry}
    return {name: value for name, value in found.items() if value}


def _maven(home: Path) -> bytes:
    """The mirrors of the user's settings, and nothing else: what else there is are keys."""
    mirrors = _MIRRORS.search(_text(home / ".m2/settings.xml"))
    return f"<settings>{mirrors[0]}</settings>\n".encode() if mirrors else b""


def _go(variables: Mapping[str, str], home: Path) -> dict[str, str]:
    """Also what `go env -w` has written; nothing that is a file of the host."""
    configuration = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    lines = _text(Path(variables.get("GOENV") or configuration / "go/env")).splitlines()
    written = dict(line.partition("=")[::2] for line in lines if "=" in line)
    found = {name: variables.get(name) or written.get(name, "") for name in _GO}
    proxies = re.split(r"([,|])", found["GOPROXY"])
    if any(proxy.startswith("file:") for proxy in proxies):
        kept = [p for p in proxies[::2] if not p.startswith("file:")]
        found["GOPROXY"] = ",".join(kept)
    return {name: value for name, value in found.items() if value}


def _bundler(variables: Mapping[str, str], home: Path) -> dict[str, str]:
    """Mirrors, of the user's file as well; no keys to them, as those name their hosts' own way."""
    lines = _text(home / ".bundle/config").splitlines()
    written = dict(line.partition(": ")[::2] for line in lines)
    named = {name: value.strip().strip("\"'") for name, value in written.items()}
    if rubygems := named.get("BUNDLE_MIRROR__HTTPS://RUBYGEMS__ORG/"):
        named.setdefault("BUNDLE_MIRROR__ALL", rubygems)
    return _matching(named, _BUNDLER) | _matching(variables, _BUNDLER)


def _matching(variables: Mapping[str, str], names: re.Pattern[str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value and names.fullmatch(name)}


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
