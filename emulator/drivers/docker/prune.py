"""Images that our builds left without a name: replaced by newer ones, needed by nobody. And the
builds' caches, which somebody may want to keep.
"""

from collections.abc import Mapping
from contextlib import suppress

from emulator.drivers.docker.caches import remove_volume
from emulator.drivers.docker.engine import ConflictError, Engine, NotFoundError
from emulator.drivers.docker.labels import ROLE, Role


async def build_is_under_way(engine: Engine) -> bool:
    """Whosever it is. It may stand on an image of a step or a stage that nothing else shows to be
    in use.
    """
    filters = {"label": [f"{ROLE}={Role.BUILD.value}"]}
    return bool(await engine.get("/containers/json", {"filters": filters}))


async def prune_images(engine: Engine, *, dry_run: bool) -> tuple[str, ...]:
    """Of every state directory, unless a build is under way; what a container still uses stays.
    Returns words.
    """
    if await build_is_under_way(engine):
        return ()
    filters = {"dangling": ["true"], "label": [ROLE]}
    removed = []
    for image in await engine.get("/images/json", {"filters": filters}):
        name = image["Id"].removeprefix("sha256:")[:12]
        word = f"image {name} ({image['Size'] / 1e6:.0f} MB)"
        if dry_run:
            removed.append(word)
            continue
        with suppress(ConflictError, NotFoundError):
            await engine.delete(f"/images/{image['Id']}")
            removed.append(word)
    return tuple(removed)


async def prune_caches(
    engine: Engine, sizes: Mapping[str, int], *, dry_run: bool
) -> tuple[str, ...]:
    """Of every state directory; what a build is using stays. Returns words."""
    return tuple(
        [
            f"cache {name} ({size / 1e6:.0f} MB)"
            for name, size in sorted(sizes.items())
            if dry_run or await remove_volume(engine, name)
        ]
    )
