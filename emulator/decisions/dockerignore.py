"""Which files of a tree `.dockerignore` leaves out, by Docker's rules.

The last pattern that matches a file or one of its parents decides; `!` takes files back in.
"""

import re
from dataclasses import dataclass

_WILDCARD = re.compile(r"\*\*/?|\*|\?|\\.|\[[^\]]*\]|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    keeps: bool


@dataclass(frozen=True, slots=True)
class DockerIgnore:
    """The patterns of one file."""

    rules: tuple[_Rule, ...]

    def ignores(self, path: str) -> bool:
        """A path with slashes, relative to the root of the context."""
        parts = path.strip("/").split("/")
        paths = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        ignored = False
        for rule in self.rules:
            if any(rule.pattern.fullmatch(each) for each in paths):
                ignored = not rule.keeps
        return ignored


def read_dockerignore(text: str) -> DockerIgnore:
    """One pattern a line; blank lines, comments and patterns that are none are passed over."""
    rules = (_rule(line) for line in text.removeprefix("\ufeff").splitlines())
    return DockerIgnore(tuple(rule for rule in rules if rule is not None))


def _rule(line: str) -> _Rule | None:
    text = line.strip()
    if not text or line.startswith("#"):
        return None
    keeps = text.startswith("!")
    pattern = _clean(text.removeprefix("!").strip())
    if not pattern:
        return None
    try:
        return _Rule(re.compile(_expression(pattern), re.DOTALL), keeps)
    except re.error:
        return None


def _clean(pattern: str) -> str:
    """`/a/./b/../c/` is `a/c`; the root itself is no pattern."""
    parts: list[str] = []
    for part in pattern.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in {"", ".", ".."}:
            parts.append(part)
    return "/".join(parts)


def _expression(pattern: str) -> str:
    return "".join(_translate(token) for token in _WILDCARD.findall(pattern))


def _translate(token: str) -> str:
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if token in wildcards:
        return wildcards[token]
    if token.startswith("[") and len(token) > 1:
        return token
    return re.escape(token[1:] if token.startswith("\\") and len(token) > 1 else token)
