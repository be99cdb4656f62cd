"""What the emulator writes on all it creates in the engine, and finds it by again."""

from collections.abc import Mapping
from enum import StrEnum

_PREFIX = "dev.apprunner-emulator."
OWNER = f"{_PREFIX}owner"  # the state directory's id
ROLE = f"{_PREFIX}role"
SERVICE = f"{_PREFIX}service"
INSTANCE = f"{_PREFIX}instance"
DEPLOYMENT = f"{_PREFIX}deployment"
FINGERPRINT = f"{_PREFIX}fingerprint"
PORT = f"{_PREFIX}port"
LAYER = f"{_PREFIX}layer"  # of what the image was made
CACHE = f"{_PREFIX}cache"  # the tool


class Role(StrEnum):
    """What a container, an image, a network or a volume is for."""

    INSTANCE = "instance"
    SANDBOX = "sandbox"  # holds an instance's network
    NETWORK = "network"
    HELPER = "helper"  # a moment's work on files that only the container's root may touch
    BUILD = "build"
    BUILD_SANDBOX = "build-sandbox"  # holds the network of a service's builds, one after the other
    BASE = "base"
    REGISTRY = "registry"
    CACHE = "cache"


def labels(owner: str, role: Role, **more: object) -> dict[str, str]:
    """For a new object; `more` are names without the prefix."""
    return {OWNER: owner, ROLE: role.value} | {
        f"{_PREFIX}{name}": str(value) for name, value in more.items()
    }


def labelled(
    owner: str,
    role: Role | None = None,
    *,
    service: str | None = None,
    instance: str | None = None,
) -> Mapping[str, list[str]]:
    """The engine's filter for objects that carry all of these labels."""
    wanted = {OWNER: owner, ROLE: role, SERVICE: service, INSTANCE: instance}
    return {"label": [f"{name}={value}" for name, value in wanted.items() if value is not None]}
