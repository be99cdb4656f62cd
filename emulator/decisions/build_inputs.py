"""The files that a build's commands read, brought into their image by commands of ours.

A COPY by the engine's builder takes longer than all else about a small build but its own commands:
a container, a layer and a context. Only what is plain goes this way; all else stays a COPY.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from posixpath import basename
from typing import Final

from emulator.decisions.build_stages import BuildStage

_COPY: Final = re.compile(r"COPY (\[.*\])")
_LARGEST: Final = 1_000_000  # bytes of all; the kernel takes two million as arguments
_PIECE: Final = 60_000  # characters
_LONGEST: Final = 120_000  # bytes of a command; the kernel takes 131,071 as one argument


@dataclass(frozen=True, slots=True)
class Input:
    """A plain file of the context, with its permissions."""

    mode: int
    content: bytes


def shorten(
    stage: BuildStage, inputs: Mapping[str, Input]
) -> tuple[BuildStage, tuple[str, ...], str]:
    """The stage without the COPY that it ends with, the commands that do the same in its working
    directory, and the line that it was; no commands where that cannot be.

    `inputs` are files by their path in the context.
    """
    head, _, last = stage.head.rstrip("\n").rpartition("\n")
    shorter = replace(stage, head=f"{head}\n")
    paths = _copied(last)
    if not paths or shorter.copies_context or not inputs.keys() >= set(paths):
        return stage, (), ""
    commands = _commands({basename(path): inputs[path] for path in paths})
    return (shorter, commands, last) if commands else (stage, (), "")


def _copied(line: str) -> Sequence[str]:
    """What a COPY of ours has into the working directory."""
    found = _COPY.fullmatch(line)
    *paths, target = json.loads(found[1]) if found else [""]
    if target != "./":
        return ()
    return [re.sub(r"\[([*?\[])\]", r"\1", path).replace("\\$", "$") for path in paths]


def _commands(files: Mapping[str, Input]) -> tuple[str, ...]:
    if sum(len(file.content) for file in files.values()) > _LARGEST:
        return ()
    try:
        commands = tuple(line for name, file in files.items() for line in _lines(name, file))
    except UnicodeDecodeError:
        return ()
    sizes = (len(command.encode()) for command in commands)
    fit = max(sizes, default=0) <= _LONGEST and not any("\0" in line for line in commands)
    return commands if fit else ()


def _lines(name: str, file: Input) -> Iterator[str]:
    place = shlex.quote(f"./{name}")
    text = file.content.decode()
    yield f": > {place} && chmod {file.mode:o} {place}"
    for start in range(0, len(text), _PIECE):
        yield f"printf %s {shlex.quote(text[start : start + _PIECE])} >> {place}"
