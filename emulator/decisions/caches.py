"""Which tools' caches a build gets, and how the tools find them.

A cache is a folder that outlives the build and is no part of the image. Whatever an application
may want when it runs must be in its image, so the start command decides as well.
"""

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence

from emulator.decisions.layering import Files
from emulator.model.build import Cache

# Below /dev, which a container gets fresh in memory: no mount point is left in the image.
FOLDER = "/dev/apprunner-caches"
PROGRAMS = "/dev/apprunner-programs"


def choose(
    caches: Iterable[Cache], commands: Sequence[str], start: Sequence[str], files: Files
) -> tuple[Cache, ...]:
    """`commands` are all of the build, `start` the words of the start command."""
    if not commands:
        return ()
    return tuple(
        cache
        for cache in caches
        if not _is_kept(cache, commands)
        and not _is_needed(cache, start, files)
        and _fits(cache, files)
    )


def _is_kept(cache: Cache, commands: Sequence[str]) -> bool:
    """A command names the tool's usual place, or another one."""
    return bool(cache.unless) and any(re.search(cache.unless, line) for line in commands)


def _is_needed(cache: Cache, start: Sequence[str], files: Files) -> bool:
    """A script of the repository may call anything."""
    if not cache.needed or not start:
        return bool(cache.needed)
    is_script = posixpath.normpath(start[0]) in files.paths
    return is_script or re.search(cache.needed, " ".join(start)) is not None


def _fits(cache: Cache, files: Files) -> bool:
    return all(
        re.search(pattern, files.contents.get(path, b"").decode("utf-8", "replace"))
        for path, pattern in cache.contains.items()
    )


def folder(cache: Cache) -> str:
    """Where it is while a command runs."""
    return f"{FOLDER}/{cache.name}"


def programs(caches: Iterable[Cache]) -> Mapping[str, str]:
    """Scripts by name, which lie in `PROGRAMS` and come first in PATH."""
    return {name: text for cache in caches for name, text in cache.programs.items()}


def variables(caches: Iterable[Cache]) -> Mapping[str, str]:
    """What leads the tools there."""
    return {
        name: value.replace("{cache}", folder(cache))
        for cache in caches
        for name, value in cache.variables.items()
    }
