"""Which submodules `.gitmodules` names, and where on this machine each may be found."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

QUESTION = r"^submodule\..*\.(path|url)$"  # for `git config --get-regexp`
_KEY = re.compile(r"submodule\.(?P<name>.*)\.(?P<what>path|url)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Declared:
    """As `.gitmodules` says; the URL may be relative."""

    name: str
    path: str
    url: str


def declared(answer: bytes) -> Mapping[str, Declared]:
    """By path, from the answer of `git config -z`."""
    names: dict[str, dict[str, str]] = {}
    for entry in answer.decode("utf-8", "surrogateescape").split("\0"):
        key, _, value = entry.partition("\n")
        if found := _KEY.fullmatch(key):
            names.setdefault(found["name"], {})[found["what"]] = value
    return {
        said["path"].rstrip("/"): Declared(name, said["path"].rstrip("/"), said.get("url", ""))
        for name, said in names.items()
        if _stays_inside(said.get("path", ""))
    }


def _stays_inside(path: str) -> bool:
    return bool(path) and not path.startswith("/") and ".." not in path.split("/")


def resolved(url: str, base: str) -> str:
    """A URL that may be relative to that of the superproject, as git takes it."""
    if not re.match(r"\.\.?/", url):
        return url
    base, joint = base.rstrip("/"), "/"
    while found := re.match(r"(\.\.?)/+", url):
        url = url[found.end() :]
        if found[1] == ".." and (last := re.search(r"([/:])[^/:]*$", base)):
            base, joint = base[: last.start()], last[1]
    return f"{base}{joint}{url}"


def places(each: Declared, url: str, directory: Path, mapped: str | None) -> Iterator[str]:
    """Paths, the likeliest first: where the user says, git's own, where the URL says.

    `directory` is git's of the superproject.
    """
    if mapped:
        yield mapped
    if _stays_inside(each.name):
        yield str(directory / "modules" / each.name)
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        url = unquote(parts.path)
    if url.startswith("/"):
        yield url
