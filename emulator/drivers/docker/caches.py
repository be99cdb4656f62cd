"""The volumes that builds' caches live in: made on demand, kept until somebody removes them.

Most are shared by all builds on the engine, like base images; some are one service's.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from emulator.decisions.caches import folder
from emulator.drivers.docker.engine import ConflictError, Engine, Json, NotFoundError
from emulator.drivers.docker.labels import CACHE, OWNER, ROLE, SERVICE, Role
from emulator.model.build import Cache


def volume_name(cache: Cache, service: str) -> str:
    return f"apprunner-cache-{cache.name}" + (f"-{service}" if cache.exclusive else "")


def mounts(caches: Iterable[Cache], owner: str, service: str) -> list[Json]:
    """For a container; the engine makes the volumes that there are not yet."""
    return [
        {
            "Type": "volume",
            "Source": volume_name(cache, service),
            "Target": folder(cache),
            "VolumeOptions": {"NoCopy": True, "Labels": _labels(cache, owner, service)},
        }
        for cache in caches
    ]


def _labels(cache: Cache, owner: str, service: str) -> Mapping[str, str]:
    belongs = {OWNER: owner, SERVICE: service} if cache.exclusive else {}
    return {ROLE: Role.CACHE.value, CACHE: cache.name, **belongs}


async def cache_sizes(engine: Engine) -> Mapping[str, int]:
    """Bytes by volume, of every state directory; the engine counts them file by file."""
    used = await engine.get("/system/df", {"type": "volume"}, timeout=None)
    return {
        volume["Name"]: max(0, (volume.get("UsageData") or {}).get("Size", 0))
        for volume in used.get("Volumes") or ()
        if (volume.get("Labels") or {}).get(ROLE) == Role.CACHE
    }


async def remove_volume(engine: Engine, name: str) -> bool:
    """False where a build is using it."""
    with suppress(ConflictError):
        with suppress(NotFoundError):
            await engine.delete(f"/volumes/{name}")
        return True
    return False
