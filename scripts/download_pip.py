"""Get pip's newest wheel for a Python without ensurepip, the way pip itself would get it.

The index, its CA, its proxy and its password are the user's: PIP_… variables, then pip.conf.
A wheel without a SHA-256 in the index, or with another one, is refused.
"""

import base64
import configparser
import hashlib
import html
import json
import os
import re
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

PYPI = "https://pypi.org/simple"
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
TRIES = 3
SECONDS = 60
SERVERS_FAULT = 500


class DownloadError(Exception):
    """No index has pip for us; says what each of them answered."""


@dataclass(frozen=True, slots=True, order=True)
class Wheel:
    """A final release of pip."""

    version: tuple[int, ...]
    url: str
    digest: str


@dataclass(frozen=True, slots=True)
class Page:
    """What a URL answered; `url` is where it was found, for the relative links in it."""

    url: str
    kind: str
    content: bytes


def download_pip(directory: Path) -> Path:
    """The wheel, saved under its name in `directory`."""
    problems = []
    for index in indexes():
        try:
            return save_newest(index, directory)
        except (OSError, ValueError, KeyError) as error:
            problems.append(f"  {without_secrets(index)}: {error}")
    advice = "Set PIP_INDEX_URL (and SSL_CERT_FILE for its CA), or install python3-venv."
    raise DownloadError("\n".join(["pip cannot be downloaded:", *problems, advice]))


def save_newest(index: str, directory: Path) -> Path:
    wheels = wheels_on(fetch_index(index))
    if not wheels:
        raise ValueError("no wheel of pip with a SHA-256 there")
    newest = max(wheels)
    content = fetch(newest.url).content
    if hashlib.sha256(content).hexdigest() != newest.digest:
        raise ValueError(f"{without_secrets(newest.url)} has not the SHA-256 that the index says")
    path = directory / unquote(urlsplit(newest.url).path.rpartition("/")[2])
    path.write_bytes(content)
    return path


def indexes() -> list[str]:
    return [setting("index-url") or PYPI, *setting("extra-index-url").split()]


def fetch_index(index: str) -> Page:
    page = index.rstrip("/") + "/pip/"
    return fetch(page + "index.html" if page.startswith("file:") else page)


def wheels_on(page: Page) -> list[Wheel]:
    """Of the simple API, as JSON (PEP 691) or HTML (PEP 503)."""
    text = page.content.decode(errors="replace")
    files = files_of_json(text) if "json" in page.kind else files_of_html(text)
    return [
        Wheel(version, urljoin(page.url, url), digest)
        for url, digest, requirement in files
        if (version := version_of(url)) and digest and runs_here(requirement)
    ]


def files_of_json(text: str) -> list[tuple[str, str, str]]:
    return [
        (each["url"], each["hashes"].get("sha256", ""), each.get("requires-python") or "")
        for each in json.loads(text)["files"]
        if not each.get("yanked")
    ]


def files_of_html(text: str) -> list[tuple[str, str, str]]:
    found = []
    for attributes in re.findall(r"<a\s+([^>]*)>", text, re.IGNORECASE):
        pairs = re.findall(r"""([\w-]+)\s*=\s*["']([^"']*)["']""", attributes)
        values = {name.lower(): html.unescape(value) for name, value in pairs}
        url, _, digest = values.get("href", "").partition("#sha256=")
        if "data-yanked" not in attributes:
            found.append((url, digest, values.get("data-requires-python", "")))
    return found


def version_of(url: str) -> tuple[int, ...]:
    """Empty for anything but a wheel of a final release."""
    match = re.search(r"(?:^|/)pip-(\d+(?:\.\d+)*)-py3-none-any\.whl$", urlsplit(url).path)
    return tuple(int(part) for part in match.group(1).split(".")) if match else ()


def runs_here(requirement: str) -> bool:
    """By its lower bounds; pip sets no upper ones."""
    bounds = re.findall(r">=\s*([\d.]*\d)", requirement)
    return all(
        sys.version_info[:3] >= tuple(int(part) for part in bound.split(".")) for bound in bounds
    )


def fetch(url: str) -> Page:
    """Raises OSError; a server gets a second and a third chance."""
    for attempt in range(1, TRIES + 1):
        try:
            with opener().open(request_for(url), timeout=SECONDS) as answer:
                kind = answer.headers.get("Content-Type", "")
                moved = answer.url != without_secrets(url)
                return Page(answer.url if moved else url, kind, answer.read())
        except OSError as error:
            refused = isinstance(error, HTTPError) and error.code < SERVERS_FAULT
            if refused or attempt == TRIES:
                raise
    raise AssertionError("the last try returns or raises")


def request_for(url: str) -> Request:
    """Name and password of an index belong into a header, and only for its own host."""
    request = Request(without_secrets(url), headers={"Accept": ACCEPT})
    parts = urlsplit(url)
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        token = base64.b64encode(pair.encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def opener() -> OpenerDirector:
    bundle = setting("cert") or os.environ.get("REQUESTS_CA_BUNDLE")
    context = ssl.create_default_context(cafile=bundle)  # with neither, SSL_CERT_FILE's
    proxy = setting("proxy")
    proxies = ProxyHandler({"http": proxy, "https": proxy} if proxy else None)
    return build_opener(HTTPSHandler(context=context), proxies)


def setting(name: str) -> str:
    """A setting of pip: from the environment, else from pip.conf, else empty."""
    if value := os.environ.get(f"PIP_{name.upper().replace('-', '_')}"):
        return value
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(configurations())
    return parser.get("install", name, fallback="") or parser.get("global", name, fallback="")


def configurations() -> list[Path]:
    """Least important first, as pip reads them."""
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path.home()
    own = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        Path("/Library/Application Support/pip/pip.conf"),
        home / ".pip/pip.conf",
        home / "Library/Application Support/pip/pip.conf",
        own / "pip/pip.conf",
        *([Path(named)] if named else []),
    ]
