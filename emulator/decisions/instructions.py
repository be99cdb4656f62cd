"""Just enough of the Dockerfile language to change its FROM lines and to see what needs BuildKit.

Line numbers count from 1 and never move: what is rewritten takes as many lines as it took before.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from emulator.model.configuration import NOTHING

_DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(\S+)")
_HEREDOC = re.compile(r"<<-?([\"']?)([A-Za-z_]\w*)\1")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^}]*))?\})")
_ARGUMENT = re.compile(r"(\w+)(?:=(\"[^\"]*\"|'[^']*'|\S*))?")
_WITH_HEREDOCS = frozenset({"RUN", "COPY", "ADD"})
_SECRETS = ("type=secret", "type=ssh")  # kinds of RUN --mount
_ID = re.compile(r"(?:^|,)id=([^,]+)")
_NATIVE = ("BUILDPLATFORM", "TARGETPLATFORM")  # variables that only BuildKit sets
_FROM = "--from="  # of COPY
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


def stages(
    instructions: Sequence[Instruction], given: Mapping[str, str] = NOTHING
) -> tuple[Stage, ...]:
    """Every FROM, in order; `given` are build arguments, which go before defaults."""
    defaults: dict[str, str] = {}
    names: set[str] = set()
    found: list[Stage] = []
    for instruction in instructions:
        if instruction.keyword == "ARG" and not found:
            defaults |= _defaults(instruction.rest, defaults)
            defaults |= {name: given[name] for name in _declared(instruction) if name in given}
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


def arguments(dockerfile: str) -> frozenset[str]:
    """What its ARG instructions name, wherever they stand."""
    found = (i for i in parse(dockerfile) if i.keyword == "ARG")
    return frozenset(name for instruction in found for name in _declared(instruction))


def _declared(argument: Instruction) -> tuple[str, ...]:
    return tuple(name for name, _ in _ARGUMENT.findall(argument.rest))


def mistake(dockerfile: str) -> tuple[int, str] | None:
    """A line (0 for none) and what is wrong with it, where the engine would not say it as well."""
    if "\0" in dockerfile:
        return 0, "is not text"
    instructions = parse(dockerfile)
    first = next((i for i in instructions if i.keyword != "ARG"), None)
    if first is None:
        return 0, "says nothing; it has to begin with FROM and an image"
    if first.keyword != "FROM" and first.keyword.isalpha():
        return first.line, f"{first.keyword} comes before FROM; the first stage begins with FROM"
    for stage in (i for i in instructions if i.keyword == "FROM"):
        words = stage.rest.split()
        if len(words) not in {1, 3} or (len(words) > 1 and words[1].upper() != "AS"):
            return stage.line, f"expected FROM image or FROM image AS name, not FROM {stage.rest}"
    return None


def secrets(dockerfile: str) -> tuple[tuple[int, str], ...]:
    """Lines that ask for what only `docker build --secret` or `--ssh` would give, and its name."""
    mounts = (
        (i.line, flag.partition("=")[2])
        for i in parse(dockerfile)
        if i.keyword == "RUN"
        for flag in i.flags
        if flag.startswith("--mount=")
    )
    return tuple(
        (line, found[1] if (found := _ID.search(mount)) else mount)
        for line, mount in mounts
        if any(kind in mount.split(",") for kind in _SECRETS)
    )


def external_images(dockerfile: str, given: Mapping[str, str] = NOTHING) -> tuple[str, ...]:
    """What its stages start from, and then what they copy from, each once."""
    instructions = parse(dockerfile)
    found = [stage.image for stage in stages(instructions, given) if stage.external]
    copied = (image for _, image in _copied_images(instructions))
    return tuple(dict.fromkeys((*found, *copied)))


def _copied_images(instructions: Sequence[Instruction]) -> Iterator[tuple[Instruction, str]]:
    """Each COPY whose --from names neither a stage nor its number; no variable is replaced there."""
    names = {stage.name for stage in stages(instructions)}
    for copy in (i for i in instructions if i.keyword == "COPY"):
        named = (flag.removeprefix(_FROM) for flag in copy.flags if flag.startswith(_FROM))
        image = next(named, "")
        if image and not image.isdecimal() and image.lower() not in names and "$" not in image:
            yield copy, image


def replace_images(
    dockerfile: str, ours: Mapping[str, str], given: Mapping[str, str] = NOTHING
) -> str:
    """The same Dockerfile that starts from our images where it named theirs, and names itself those
    that `given` build arguments choose.

    `--platform=$BUILDPLATFORM` and the like are left out: it is the platform of the engine, and
    only BuildKit knows the variable.
    """
    lines = dockerfile.split("\n")
    instructions = parse(dockerfile)
    for stage, plain in zip(stages(instructions, given), stages(instructions), strict=True):
        where = stage.instruction
        flags = tuple(flag for flag in where.flags if not any(name in flag for name in _NATIVE))
        other = stage.image in ours or stage.image != plain.image
        if stage.external and (other or flags != where.flags):
            image = ours.get(stage.image, stage.image)
            kept = () if stage.image in ours else flags
            named = ("AS", stage.name) if stage.name else ()
            line = " ".join(("FROM", *kept, image, *named))
            lines[where.line - 1 : where.end] = [line] + [""] * (where.end - where.line)
    for copy, image in _copied_images(instructions):
        if image in ours:
            lines[copy.line - 1] = lines[copy.line - 1].replace(
                _FROM + image, _FROM + ours[image], 1
            )
    return "\n".join(lines)


def needs_buildkit(dockerfile: str) -> str | None:
    """What the classic builder cannot do, with its line; None if it can do it all."""
    for instruction in parse(dockerfile):
        if instruction.keyword not in _WITH_HEREDOCS:
            continue
        for flag in instruction.flags:
            name = flag.partition("=")[0]
            if name in _FLAGS_OF_BUILDKIT:
                return f"Dockerfile:{instruction.line}: {instruction.keyword} {flag}"
        if _HEREDOC.search(instruction.rest):
            return f"Dockerfile:{instruction.line}: {instruction.keyword} with a here-document"
    return None
