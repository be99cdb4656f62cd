"""A repository as git tells it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """`id` is the full hash, `subject` the first line of its message."""

    id: str
    subject: str = ""

    @property
    def short(self) -> str:
        return self.id[:7]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFile:
    """A file of a git tree: `mode` as git prints it, `blob` its id, `size` in bytes."""

    path: str
    mode: str
    blob: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Submodule:
    """One at a commit: `url` as .gitmodules has it, resolved; "" where it names none."""

    path: str
    commit: str
    url: str = ""
