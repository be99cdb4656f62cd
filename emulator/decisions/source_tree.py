"""What of a repository may be deployed, and what in it will not be what its author expects.

Decided from the listing alone, before anything is laid out or built: nobody follows a link that
leads out of the tree, and nothing comes that git itself would not check out.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from emulator.model.source import Submodule, TreeFile

LINK = "120000"
SUBMODULE = "160000"
LONGEST_TARGET = 4095  # bytes: no system follows a longer one
_HOPS = 40  # as Linux: more is a loop, which leads nowhere
_SHOWN = 3
_IMPOSSIBLE = re.compile(r"(?:^|[\0/])(?:\.{0,2}|\.git)(?:[\0/]|\Z)", re.IGNORECASE)
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_POINTER_SIZES = range(120, 161)  # bytes; only with extensions, which nobody has, it is longer
_POINTER_SIZE = re.compile(rb"^size (\d+)$", re.MULTILINE)


# -- links ---------------------------------------------------------------------------------------


def links(files: Iterable[TreeFile]) -> tuple[TreeFile, ...]:
    """The symbolic links; the content of one is its target."""
    return tuple(f for f in files if f.mode == LINK)


def trail(path: str, targets: Mapping[str, str]) -> tuple[str, ...] | None:
    """The links on the way from a path, and last where it ends, whether there is anything or not;
    None if it leads out of the tree. `targets` are those of all links, by path.
    """
    pending, here, passed = path.split("/")[::-1], list[str](), list[str]()
    while pending:
        part = pending.pop()
        if part == ".." and not here:
            return None
        if part == "..":
            here.pop()
        elif part not in {"", "."}:
            here.append(part)
            at = "/".join(here)
            if at in targets and len(passed) < _HOPS:
                target = targets[at]
                if target.startswith("/"):
                    return None
                passed.append(at)
                here.pop()
                pending += target.split("/")[::-1]
    return (*passed, "/".join(here))


def refusal(files: Sequence[TreeFile], targets: Mapping[str, str]) -> str:
    """Why a tree is not deployed; "" if it is. `targets` lacks those of links that are too long."""
    paths = sorted(f.path for f in files)
    if _IMPOSSIBLE.search("\0".join(paths)) and paths:
        named = [shown(p) for p in paths if _IMPOSSIBLE.search(p)]
        return f"{_some(named)}: no path that git would check out, so it is not deployed"
    bad = [
        f"{shown(f.path)} -> {shown(targets.get(f.path, '(a target that is too long)'))}"
        for f in links(files)
        if f.path not in targets or trail(f.path, targets) is None
    ]
    if bad:
        return (
            f"{_some(bad)}: a symbolic link that leads out of the repository is not followed;"
            " commit what it points to, or have the build make the link"
        )
    under = [p for f in links(files) for p in _below(f.path, paths)]
    if under:
        return (
            f"{_some(map(shown, under))}: lies under a symbolic link, as no checkout could have it"
        )
    return ""


def _below(directory: str, paths: Sequence[str]) -> Sequence[str]:
    """Of sorted paths, those in a directory."""
    start = f"{directory}/"
    return paths[bisect_left(paths, start) : bisect_left(paths, f"{directory}0")]


# -- what is not what it seems -------------------------------------------------------------------


def may_be_pointers(files: Iterable[TreeFile]) -> Iterator[TreeFile]:
    """Whose content is worth a look."""
    return (f for f in files if f.size in _POINTER_SIZES and f.mode != LINK)


def pointers_warning(contents: Mapping[str, bytes]) -> str:
    """Of those files that are Git LFS pointers, by path; "" if there is none."""
    found = {path: data for path, data in contents.items() if data.startswith(_POINTER)}
    if not found:
        return ""
    named = [f"{shown(p)}{_size(data)}" for p, data in sorted(found.items())]
    one = len(named) == 1
    return (
        f"{_some(named)} {'is a Git LFS pointer' if one else 'are Git LFS pointers'}:"
        f" {'it is' if one else 'they are'} deployed as committed, without the content. Commit the"
        " content itself, or have the build download it"
    )


def _size(pointer: bytes) -> str:
    size = _POINTER_SIZE.search(pointer)
    return f" ({int(size[1]):,} bytes)" if size else ""


def submodule_warnings(
    missing: Sequence[Submodule], files: Iterable[TreeFile], repository: str
) -> tuple[str, ...]:
    """For each submodule that is not to be had, and each that nobody knows the origin of."""
    known = {m.path for m in missing}
    strange = [
        Submodule(path=f.path, commit=f.blob)
        for f in files
        if f.mode == SUBMODULE and not any(p == f.path or p.endswith(f"/{f.path}") for p in known)
    ]
    return tuple(_submodule(each, repository) for each in (*missing, *strange))


def _submodule(each: Submodule, repository: str) -> str:
    path, commit = shown(each.path), each.commit[:7]
    if not each.url:
        return (
            f"{path} is a submodule (commit {commit}) that .gitmodules does not name: it is empty"
        )
    return (
        f"the submodule {path} ({each.url}, commit {commit}) is not on this machine: its directory"
        f" is empty. `git submodule update --init --recursive` in {repository} brings it, or name a"
        f' clone of it in emulator.toml, [repositories] "{each.url}" = "/path/to/the/clone"; then'
        " redeploy"
    )


# -- names ---------------------------------------------------------------------------------------


def shown(path: str) -> str:
    """A path as one line of text, whatever bytes are in it."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _some(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return f"{', '.join(every[:_SHOWN])}{more}"
