"""Whether a repository's own file lets a runtime's version be, in npm's notation of ranges.

App Runner fails a build whose package.json and runtime-version contradict each other. A version may
be a part of one (18, 18.17): then any of it will do. What is no range is left to the tool to judge.
"""

import json
import re
from collections.abc import Mapping
from typing import Final

from emulator.model.build import Demand
from emulator.model.errors import ConfigurationError, Place

Version = tuple[int, int, int]
Span = tuple[Version, Version]  # from the first on, up to but not the second

_FIRST: Final[Version] = (0, 0, 0)
_END: Final[Version] = (10**9, 0, 0)
_COMPARATOR: Final = re.compile(
    r"(?P<sign>[<>]=?|=|\^|~>?|)v?(?P<parts>(?:\d{1,6}|[xX*])(?:\.(?:\d{1,6}|[xX*])){0,2})"
    r"(?:[-+][\w.+-]*)?"
)
_HYPHEN: Final = re.compile(r"(\S+)\s+-\s+(\S+)")
_AFTER_SIGN: Final = re.compile(r"(?<=[<>=^~])\s+")


def check_version(demand: Demand, contents: Mapping[str, bytes], version: str) -> None:
    """Raises ConfigurationError where the file that `demand` names wants another version."""
    wanted = _wanted(demand, contents)
    if wanted and not meets(wanted, version):
        place = Place(file=demand.file, key=demand.key)
        message = (
            f"{wanted!r} excludes {version}, which run.runtime-version in apprunner.yaml asks for:"
            " let both name the same version, or leave one out"
        )
        raise ConfigurationError(place, message)


def _wanted(demand: Demand, contents: Mapping[str, bytes]) -> str:
    try:
        found = json.loads(contents.get(demand.file, b"{}"))
    except (ValueError, RecursionError):
        return ""
    for name in demand.key.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def meets(range_: str, version: str) -> bool:
    """False where nothing of `version` is in the range."""
    asked = _span(version)
    if asked is None:
        return True
    spans = [_intersection(alternative) for alternative in range_.split("||")]
    return any(span is None or _overlap(span, asked) for span in spans)


def _intersection(alternative: str) -> Span | None:
    """Of all comparators; None where one of them is none."""
    text = _AFTER_SIGN.sub("", _HYPHEN.sub(r">=\1 <=\2", alternative.strip()))
    low, high = _FIRST, _END
    for comparator in text.split():
        span = _span(comparator)
        if span is None:
            return None
        low, high = max(low, span[0]), min(high, span[1])
    return low, high


def _overlap(one: Span, other: Span) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def _span(comparator: str) -> Span | None:
    found = _COMPARATOR.fullmatch(comparator)
    if found is None:
        return None
    given = _numbers(found["parts"])
    first, next_ = _padded(given), _bumped(given, len(given))
    significant = next((n for n, part in enumerate(given, 1) if part), len(given))
    minor = _bumped(given, 2)
    return {
        ">=": (first, _END),
        ">": (next_, _END),
        "<": (_FIRST, first),
        "<=": (_FIRST, next_),
        "^": (first, _bumped(given, significant)),
        "~": (first, minor),
        "~>": (first, minor),
    }.get(found["sign"], (first, next_))


def _numbers(parts: str) -> tuple[int, ...]:
    """Up to the first that is left open."""
    numbers: list[int] = []
    for part in parts.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _padded(given: tuple[int, ...]) -> Version:
    major, minor, patch = (*given, 0, 0, 0)[:3]
    return major, minor, patch


def _bumped(given: tuple[int, ...], length: int) -> Version:
    """The first version that differs from `given` in its first `length` parts."""
    kept = given[:length]
    return _padded((*kept[:-1], kept[-1] + 1)) if kept else _END
