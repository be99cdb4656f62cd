"""What emulator.toml may say; whatever else it says is an error with its line.

The reading itself is in `settings`; this file knows the keys, their types and where they stand.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from emulator.model.errors import ConfigurationError, Place
from emulator.model.settings import Limits, LoadBalancer, PaceMode, Quotas

Key = tuple[str, ...]
KEEP = "keep"
SECRET_KINDS = ("value", "env", "file")
HIGHEST_PORT = 65535
FASTEST = 86400.0  # seconds of policy time per second
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_ACCOUNT = re.compile(r"\d{12}")
_ADDRESS = re.compile(r"https?://(?:[^\s/@?#]+@)?[\w.\[\]:-]+(?:/[^\s?#]*)?", re.IGNORECASE)
_HEADER = re.compile(r"\s*\[\[?(?P<key>[^\]]*)\]")
_ENTRY = re.compile(r"""\s*(?P<key>(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_.\s-])+?)\s*=""")
_PART = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*(?:\.|$)""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed file with its text; an absent one is empty."""

    path: Path = Path("emulator.toml")
    text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def error(self, key: Key, message: str) -> ConfigurationError:
        name = ".".join(part if _PART.fullmatch(part) else f'"{part}"' for part in key)
        place = Place(file=str(self.path), line=line_of(self.text, key), key=name)
        return ConfigurationError(place, message)

    def absolute(self, path: str) -> str:
        """Paths in the file are relative to it."""
        return str((self.path.absolute().parent / Path(path).expanduser()).resolve())


def line_of(text: str, key: Key) -> int:
    """The line, from 1, that says most of `key`; 0 if none does."""
    best, found = 0, 0
    for number, stated in _stated(text):
        shared = min(len(stated), len(key))  # `[a.b]` says a as well
        if shared > best and key[:shared] == stated[:shared]:
            best, found = shared, number
    return found


def _stated(text: str) -> Iterator[tuple[int, Key]]:
    table: Key = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _parts(header["key"])
            yield number, table
        elif entry := _ENTRY.match(line):
            yield number, (*table, *_parts(entry["key"]))


def _parts(key: str) -> Key:
    return tuple(
        quoted.replace('\\"', '"') or literal or bare for quoted, literal, bare in _split(key)
    )


def _split(key: str) -> list[tuple[str, str, str]]:
    return _PART.findall(key)


# -- checks: each takes the document, the key and the value, and returns what is kept ------------

Check = Callable[[Document, Key, Any], Any]


def text(document: Document, key: Key, value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise document.error(key, f"expected text in quotes, not {shown(value)}")


def region(document: Document, key: Key, value: object) -> str:
    if isinstance(value, str) and _REGION.fullmatch(value):
        return value
    raise document.error(key, f'expected an AWS region such as "us-east-1", not {shown(value)}')


def account(document: Document, key: Key, value: object) -> str:
    if isinstance(value, str) and _ACCOUNT.fullmatch(value):
        return value
    raise document.error(
        key, f'expected 12 digits in quotes such as "000000000000", not {shown(value)}'
    )


def boolean(document: Document, key: Key, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise document.error(key, f"expected true or false, not {shown(value)}")


def port(document: Document, key: Key, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= HIGHEST_PORT:
        return value
    raise document.error(
        key, f"expected a port from 0 (any free one) to {HIGHEST_PORT}, not {shown(value)}"
    )


def positive(document: Document, key: Key, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    raise document.error(key, f"expected a number above 0, not {shown(value)}")


def speed(document: Document, key: Key, value: object) -> float:
    found = positive(document, key, value)
    if found <= FASTEST:
        return found
    raise document.error(
        key, f"expected {FASTEST:g} (a day per second) at most, not {shown(value)}"
    )


def count(document: Document, key: Key, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise document.error(key, f"expected a whole number above 0, not {shown(value)}")


def one_of(choices: type[StrEnum]) -> Check:
    def check(document: Document, key: Key, value: object) -> StrEnum:
        try:
            return choices(str(value))
        except ValueError:
            expected = " or ".join(f'"{choice}"' for choice in choices)
            raise document.error(key, f"expected {expected}, not {shown(value)}") from None

    return check


def address(document: Document, key: Key, value: object) -> str:
    if isinstance(value, str) and _ADDRESS.fullmatch(value):
        return value
    raise document.error(
        key, f'expected an address such as "http://127.0.0.1:4566", not {shown(value)}'
    )


def readable(document: Document, key: Key, value: object) -> str:
    """A path, absolute."""
    return document.absolute(text(document, key, value))


def secret(document: Document, key: Key, value: object) -> dict[str, str]:
    """`{ value | env | file = "…" }`, or the value itself."""
    if isinstance(value, str):
        return {"value": value}
    if not isinstance(value, dict) or len(value) != 1 or not set(value) <= set(SECRET_KINDS):
        # Never shown: it may hold the secret.
        raise document.error(key, 'expected { value = "…" }, { env = "NAME" } or { file = "path" }')
    (kind, content) = next(iter(value.items()))
    if not isinstance(content, str):
        raise document.error((*key, kind), "expected text in quotes")
    return {kind: document.absolute(content) if kind == "file" else content}


def each(check: Check) -> Check:
    """A table whose keys are the user's."""

    def checked(document: Document, key: Key, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            # Never shown: what was meant for a table of secrets may be one.
            raise document.error(key, "expected a table")
        return {name: check(document, (*key, name), entry) for name, entry in value.items()}

    return checked


def table(known: Mapping[str, Check]) -> Check:
    """A table whose keys are ours."""

    def checked(document: Document, key: Key, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise document.error(key, f"expected a table, not {shown(value)}")
        for name in value:
            if name not in known:
                raise document.error(
                    (*key, name), f"unknown key; expected one of {', '.join(known)}"
                )
        return {name: known[name](document, (*key, name), entry) for name, entry in value.items()}

    return checked


def shown(value: object) -> str:
    """A value as TOML would write it, near enough for a message."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return str(value)


_BY_TYPE: Mapping[object, Check] = {int: count, float: positive, bool: boolean}


def _fields_of(kind: type[Limits | LoadBalancer]) -> dict[str, Check]:
    return {f.name: _BY_TYPE[f.type] for f in fields(kind)}


def images(document: Document, key: Key, value: object) -> dict[str, Any]:
    """What stands in for which name, and how many of a service's own are kept: no image of AWS's
    is called `keep`.
    """
    if not isinstance(value, dict) or KEEP not in value:
        names: dict[str, Any] = each(text)(document, key, value)
        return names
    kept = count(document, (*key, KEEP), value[KEEP])
    others = {name: entry for name, entry in value.items() if name != KEEP}
    return {**each(text)(document, key, others), KEEP: kept}


_AUTH = table({"verify_sigv4": boolean, "keys": each(secret)})


def auth(document: Document, key: Key, value: object) -> dict[str, Any]:
    """Signatures can only be verified with the secrets they were made with."""
    found: dict[str, Any] = _AUTH(document, key, value)
    if found.get("verify_sigv4") and not found.get("keys"):
        raise document.error(
            (*key, "verify_sigv4"),
            "expected a key to verify with; under [auth.keys] add "
            '"access key id" = { env = "NAME" }, where NAME holds the secret access key',
        )
    return found


EVERYTHING = table(
    {
        "region": region,
        "account": account,
        "host": text,
        "strict": boolean,
        "prices": readable,
        "ports": table({"api": port, "https": port, "http": port, "registry": port}),
        "limits": table(_fields_of(Limits)),
        "load_balancer": table(_fields_of(LoadBalancer)),
        "images": images,
        "repositories": each(readable),
        "secrets": each(secret),
        "pace": table({"mode": one_of(PaceMode), "speed": speed}),
        "upstream": table({"url": address}),
        "quotas": table({f.name: count for f in fields(Quotas)}),
        "auth": auth,
    }
)
