"""Pages of a list: opaque tokens, good for the same question only.

A token remembers the last items shown and the one after them, so that what is added or deleted
between two pages neither repeats nor hides another item.
"""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from emulator.model.errors import InvalidRequestException

_REMEMBERED = 16  # items; a token may have 1,024 characters
Item = TypeVar("Item")


def page(
    items: Sequence[Item],
    key: Callable[[Item], str],
    members: Mapping[str, Any],
    *,
    question: str,
) -> tuple[list[Item], str | None]:
    """The items asked for, and the token for those after them.

    `question` names operation and Region; with `members` it is what a token is bound to. Without
    MaxResults everything comes at once.
    """
    bound = _fingerprint(question, members)
    token = members.get("NextToken")
    start = _start(items, key, token, bound) if token else 0
    end = start + members.get("MaxResults", len(items))
    shown = list(items[start:end])
    if end >= len(items) or not shown:
        return shown, None
    last = [_mark(key(item)) for item in items[max(0, end - _REMEMBERED) : end]]
    return shown, _token({"q": bound, "k": last, "x": _mark(key(items[end])), "n": end})


def _fingerprint(question: str, members: Mapping[str, Any]) -> str:
    others = {name: value for name, value in members.items() if name != "NextToken"}
    return _mark(json.dumps([question, others], sort_keys=True))


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _token(content: Mapping[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode()


def _start(items: Sequence[Item], key: Callable[[Item], str], token: str, bound: str) -> int:
    try:
        content = json.loads(urlsafe_b64decode(token.encode()))
        question, last, following = content["q"], frozenset(content["k"]), content["x"]
        count = int(content["n"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise InvalidRequestException("The NextToken isn't valid.") from None
    if question != bound:
        raise InvalidRequestException(
            "The NextToken isn't valid: the other parameters must be those of the first request."
        )
    marks = [_mark(key(item)) for item in items]
    shown = [number for number, mark in enumerate(marks, start=1) if mark in last]
    if shown:
        return shown[-1]
    return marks.index(following) if following in marks else max(0, min(count, len(items)))
