"""A Dockerfile of ours taken apart: what the engine's builder does, and the commands that run beside
a cache, which it cannot mount.

Ours have one shape: in each stage all RUN come last. RUN on adjacent lines make one layer.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from emulator.decisions.instructions import Instruction, parse

_FROM = re.compile(r"(?P<image>\S+)(?:\s+AS\s+(?P<name>\S+))?", re.IGNORECASE)
_COPY_FROM = re.compile(r"(?m)^(COPY --from=)(\S+)")


@dataclass(frozen=True, slots=True)
class Run:
    """An instruction's number, from 1, and its command."""

    number: int
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStage:
    """`number` is its FROM's; `head` the lines before its first RUN, `length` its instructions."""

    number: int
    image: str
    name: str
    head: str
    length: int
    layers: tuple[tuple[Run, ...], ...]

    @property
    def copies_context(self) -> bool:
        return re.search(r"(?m)^COPY (?!--from=)", self.head) is not None

    def head_on(self, images: Mapping[str, str]) -> str:
        """The head with the images of earlier stages where it copies from them."""
        return _COPY_FROM.sub(lambda found: found[1] + images.get(found[2], found[2]), self.head)


def take_apart(dockerfile: str) -> tuple[BuildStage, ...]:
    """Raises ValueError for a Dockerfile of another shape."""
    lines = dockerfile.split("\n")
    stages = tuple(_stage(lines, first, part) for first, part in _parts(parse(dockerfile)))
    names = {stage.name for stage in stages}
    if any(stage.image in names and stage.length > 1 for stage in stages):
        raise ValueError("a stage of ours that stands on another one has commands only")
    return stages


def count(stages: Sequence[BuildStage]) -> int:
    """Of all instructions."""
    return sum(stage.length + sum(map(len, stage.layers)) for stage in stages)


def _parts(
    instructions: Sequence[Instruction],
) -> Iterator[tuple[int, tuple[Instruction, ...]]]:
    """The stages, with their first instruction's number."""
    starts = [n for n, each in enumerate(instructions) if each.keyword == "FROM"]
    if not starts or starts[0]:
        raise ValueError("a Dockerfile of ours begins with FROM")
    for start, end in zip(starts, [*starts[1:], len(instructions)], strict=True):
        yield start + 1, tuple(instructions[start:end])


def _stage(lines: Sequence[str], first: int, part: Sequence[Instruction]) -> BuildStage:
    runs = [n for n, each in enumerate(part) if each.keyword == "RUN"]
    length = runs[0] if runs else len(part)
    if runs != list(range(length, len(part))):
        raise ValueError("in a stage of ours all RUN come last")
    base = _FROM.fullmatch(part[0].rest)
    if base is None:
        raise ValueError(f"not a FROM of ours: {part[0].rest}")
    return BuildStage(
        number=first,
        image=base["image"],
        name=base["name"] or "",
        head="\n".join((*lines[part[0].line - 1 : part[length - 1].end], "")),
        length=length,
        layers=tuple(_layers(part[length:], first + length)),
    )


def _layers(runs: Sequence[Instruction], number: int) -> Iterator[tuple[Run, ...]]:
    layer: list[Run] = []
    for offset, run in enumerate(runs):
        if layer and runs[offset - 1].end + 1 != run.line:
            yield tuple(layer)
            layer = []
        layer.append(Run(number + offset, run.rest))
    if layer:
        yield tuple(layer)
