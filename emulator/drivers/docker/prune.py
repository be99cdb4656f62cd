"""Images that our builds left without a name: replaced by newer ones, needed by nobody."""

from contextlib import suppress

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
