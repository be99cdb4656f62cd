"""Images that our builds left without a name: replaced by newer ones, needed by nobody. And the
builds' caches, which somebody may want to keep.
"""

from collections.abc import Mapping
from contextlib import suppress

from emulator.drivers.docker.caches import remove_volume
from emulator.drivers.docker.engine import ConflictError, Engine, NotFoundError
from emulator.drivers.docker.labels import ROLE


async def prune_images(engine: Engine, *, dry_run: bool) -> tuple[str, ...]:
    """Of every state directory; what a container still uses stays. Returns words."""
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
