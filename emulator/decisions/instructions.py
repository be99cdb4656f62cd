"""Just enough of the Dockerfile language to change its FROM lines and to see what needs BuildKit.

Line numbers count from 1 and never move: what is rewritten takes as many lines as it took before.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(\S+)")
_HEREDOC = re.compile(r"<<-?([\"']?)([A-Za-z_]\w*)\1")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^}]*))?\})")
_ARGUMENT = re.compile(r"(\w+)(?:=(\"[^\"]*\"|'[^']*'|\S*))?")
_WITH_HEREDOCS = frozenset({"RUN", "COPY", "ADD"})
_NATIVE = ("BUILDPLATFORM", "TARGETPLATFORM")  # variables that only BuildKit sets
_FLAGS_OF_BUILDKIT = frozenset(
    {
        *("--mount", "--network", "--security"),
        *("--link", "--chmod", "--parents", "--exclude", "--checksum", "--keep-git-dir"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """Lines `line` to `end`, continuations and here-documents included; `rest` follows the flags."""

    line: int
    end: int
    keyword: str
    flags: tuple[str, ...]
    rest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A FROM; `image` with its variables replaced, `external` unless scratch or another stage."""

    instruction: Instruction
    image: str
    name: str
    external: bool


def parse(dockerfile: str) -> tuple[Instruction, ...]:
    """The instructions in order. It never fails: what is wrong is for the engine to say."""
    lines = [line.rstrip("\r") for line in dockerfile.split("\n")]
    escape = _escape(lines)
    found: list[Instruction] = []
    at = 0
    while at < len(lines):
        if not _says_something(lines[at]):
            at += 1
            continue
        text, end = _logical_line(lines, at, escape)
        instruction = _instruction(text, at + 1, end)
        if instruction.keyword in _WITH_HEREDOCS:
            end = _after_heredocs(lines, end, text)
            instruction = _instruction(text, at + 1, end)
        found.append(instruction)
        at = end
    return tuple(found)


def _escape(lines: Sequence[str]) -> str:
    """Directives come first, before any other line."""
    for line in lines:
        directive = _DIRECTIVE.fullmatch(line.strip())
        if directive is None:
            break
        if directive[1].lower() == "escape":
            return directive[2]
    return "\\"


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _logical_line(lines: Sequence[str], at: int, escape: str) -> tuple[str, int]:
    """The instruction that starts at an index, and the index after it."""
    text = lines[at].strip()
    at += 1
    while text.endswith(escape):
        text = text[:-1]
        while at < len(lines) and not _says_something(lines[at]):
            at += 1
        if at == len(lines):
            break
        text += lines[at].rstrip()
        at += 1
    return text, at


def _after_heredocs(lines: Sequence[str], at: int, text: str) -> int:
    for _, terminator in _HEREDOC.findall(text):
        ends = (i for i in range(at, len(lines)) if lines[i].lstrip("\t") == terminator)
        at = next(ends, len(lines) - 1) + 1
    return at


def _instruction(text: str, line: int, end: int) -> Instruction:
    keyword, _, rest = text.partition(" ")
    words = rest.split()
    count = next((i for i, word in enumerate(words) if not word.startswith("--")), len(words))
    body = rest.split(maxsplit=count)[count:]
    return Instruction(
        line=line,
        end=end,
        keyword=keyword.upper(),
        flags=tuple(words[:count]),
        rest=body[0].strip() if body else "",
    )


def stages(instructions: Sequence[Instruction]) -> tuple[Stage, ...]:
    """Every FROM, in order."""
    defaults: dict[str, str] = {}
    names: set[str] = set()
    found: list[Stage] = []
    for instruction in instructions:
        if instruction.keyword == "ARG" and not found:
            defaults |= _defaults(instruction.rest, defaults)
        if instruction.keyword == "FROM":
            stage = _stage(instruction, defaults, names)
            found.append(stage)
            names.add(stage.name)
    return tuple(found)


def _defaults(text: str, known: Mapping[str, str]) -> dict[str, str]:
    pairs = _ARGUMENT.findall(text)
    return {name: _substitute(value.strip("\"'"), known) for name, value in pairs if value}


def _substitute(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: values.get(found[1] or found[2]) or found[3] or "", text)


def _stage(instruction: Instruction, defaults: Mapping[str, str], names: set[str]) -> Stage:
    words = instruction.rest.split()
    named = len(words) > 2 and words[1].upper() == "AS"  # noqa: PLR2004 - image AS name
    image = _substitute(words[0], defaults) if words else ""
    return Stage(
        instruction=instruction,
        image=image,
        name=words[2].lower() if named else "",
        external=bool(image) and image != "scratch" and image.lower() not in names,
    )


def external_images(dockerfile: str) -> tuple[str, ...]:
    """What its stages start from, each once."""
    found = stages(parse(dockerfile))
    return tuple(dict.fromkeys(stage.image for stage in found if stage.external))


def replace_images(dockerfile: str, ours: Mapping[str, str]) -> str:
    """The same Dockerfile that starts from our images where it named theirs.

    `--platform=$BUILDPLATFORM` and the like are left out: it is the platform of the engine, and
    only BuildKit knows the variable.
    """
    lines = dockerfile.split("\n")
    for stage in stages(parse(dockerfile)):
        where = stage.instruction
        flags = tuple(flag for flag in where.flags if not any(name in flag for name in _NATIVE))
        if stage.external and (stage.image in ours or flags != where.flags):
            image = ours.get(stage.image, stage.image)
            kept = () if stage.image in ours else flags
            named = ("AS", stage.name) if stage.name else ()
            line = " ".join(("FROM", *kept, image, *named))
            lines[where.line - 1 : where.end] = [line] + [""] * (where.end - where.line)
    return "\n".join(lines)


def needs_buildkit(dockerfile: str) -> str | None:
    """What the classic builder cannot do, with its line; None if it can do it all."""
    for instruction in parse(dockerfile):
        if instruction.keyword not in _WITH_HEREDOCS:
            continue
        for flag in instruction.flags:
            name = flag.partition("=")[0]
            if name in _FLAGS_OF_BUILDKIT:
                return f"line {instruction.line}: {instruction.keyword} {name}"
        if _HEREDOC.search(instruction.rest):
            return f"line {instruction.line}: {instruction.keyword} with a here-document"
    return None
