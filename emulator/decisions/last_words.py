"""Which of the lines that a failed command wrote tells its author why it failed.

Tools end with what is the same for every failure (where the log is, which page helps, that a script
failed), so the last line of all is seldom the one; a further habit of a tool is a further row.
"""

import re
from collections.abc import Sequence
from typing import Final

LONGEST: Final = 300  # characters
_NEAR: Final = 15  # lines before the last in which a reason is looked for
_BUILDKIT: Final = re.compile(r"^(?:#\d+ )?(?:\d+\.\d+ )?")  # its step, and the time
_SYNTAX: Final = re.compile(r"(?:SyntaxError|IndentationError|TabError): (?!.* line \d+\)$)")
_FILE: Final = re.compile(r'File "(.+)", line (\d+)')
_NPM: Final = re.compile(r"npm (?:ERR!|error)")
_ALWAYS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\W*$",
        r"Step \d+/\d+ : |---> |Removing intermediate container ",
        r"> \[|\d+ \| |Dockerfile(?:\.\S+)?:\d+$|ERROR(?:$|: failed to |: process )",  # BuildKit
        r"\[notice\]|WARNING: (?:You are using pip|Running pip as)|note: ",  # pip
        r"(?:error: subprocess-exited-with-error|error: metadata-generation-failed)$",
        (
            r"npm (?:ERR!|error)?\s*(?:code|errno|syscall|path|dest|command|signal|cwd|workspace"
            r"|location|A complete log of this run|Exit status|Failed at the|This is probably not)\b"
        ),
        r"npm (?:ERR!|error)\s+(?:in workspace:|at location:|Lifecycle script |Error: command failed|/|Log files|\S+: `)",
        r"npm (?:notice|WARN)\b|npm (?:ERR!|error)?\s*$",
        r"error Command failed with exit code|error Command failed\.$|info Visit ",  # Yarn
        r"ELIFECYCLE|Exit code: \d+$",  # pnpm, Yarn
        r"make(?:\[\d+\])?: (?:\*\*\*|Leaving directory)",
        (
            r"\[ERROR\]\s*(?:$|-> \[Help|\[Help|To see the full|Re-run Maven|For more information"
            r"|After correcting)"
        ),
        r"\[INFO\]",
        (
            r"> (?:Run with|Get more help)|Run with --|BUILD FAILED in|Deprecated Gradle"
            r"|\* (?:Try|Get more help)"
        ),
        r"\d+ actionable tasks?",
        r"(?:install|update|require|create-project) \[-",  # Composer's usage
    )
)
_TELLING: Final = re.compile(
    r"^(?!\W*warn).*(?:error|fatal|fail|cannot|can't|could not|couldn't|unable|not found|no such|no matching|missing"
    r"|denied|invalid|unknown|undefined|unexpected|exception|refused|not allowed|required)",
    re.IGNORECASE,
)


def last_words(lines: Sequence[str]) -> str:
    """Of what one command wrote, its last line last; "" where none of it says anything."""
    bare = (_BUILDKIT.sub("", line).strip() for line in lines)
    said = [line for line in bare if _says(line)]
    if not said:
        return ""
    last = len(said) - 1
    near = range(last, max(-1, last - _NEAR), -1)
    at = next((at for at in near if _TELLING.search(said[at])), last)
    while at and _NPM.match(said[at]) and _NPM.match(said[at - 1]):
        at -= 1  # npm tells why first, and then what one might do
    place = _place(said[:at]) if _SYNTAX.match(said[at]) else ""
    text = " ".join(f"{said[at]}{place}".split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _place(before: Sequence[str]) -> str:
    """Python names it some lines earlier."""
    found = next((found for line in reversed(before) if (found := _FILE.match(line))), None)
    return f" ({found[1]}, line {found[2]})" if found else ""


def _says(line: str) -> bool:
    return not any(pattern.match(line) for pattern in _ALWAYS)
