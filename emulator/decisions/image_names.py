"""Which images an ImageIdentifier may mean here: nobody pushes to ECR to try something out.

They are images of this machine, or of the emulator's own registry where there is one.

Names are in Docker's own short spelling (`nginx:latest`, not `docker.io/library/nginx`): so its
events tell them, and so a user types them.
"""

import re
from collections.abc import Mapping

from emulator.model.configuration import ImageSource

_PRIVATE = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/(.+)")
_PUBLIC = re.compile(r"public\.ecr\.aws/([^/]+)/(.+)")
_LOOPBACK = re.compile(r"^(?:127\.0\.0\.1|\[::1\])(?=:\d+/)")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+|/)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DOCKER_HUB = re.compile(r"^(?:(?:index\.)?docker\.io/)?(?:library/(?=[^/]+$))?")
PUBLIC = "ECR_PUBLIC"


def local_names(identifier: str, images: Mapping[str, str], registry: str = "") -> tuple[str, ...]:
    """The names to look for here, in order. `images` is `[images]` of emulator.toml, `registry` the
    address of the emulator's own (`localhost:5000`), whose names begin with it.

    A name that is mapped there means that one only, as it is written there. One of the registry
    means what was pushed, not what was built; one of a private ECR means that first.
    """
    wanted = short_name(identifier)
    for name, meant in images.items():
        if short_name(name) == wanted:
            return (_LOOPBACK.sub("localhost", meant),)
    if registry and in_registry(wanted, registry) is not None:
        return (_LOOPBACK.sub("localhost", wanted),)
    pushed = _PRIVATE.fullmatch(identifier) if registry else None
    first = [f"{registry}/{short_name(pushed[1])}"] if pushed else []
    return tuple(dict.fromkeys([*first, wanted, *_without_registry(identifier)]))


def concerns(
    reference: str, identifier: str, images: Mapping[str, str], registry: str = ""
) -> bool:
    """Whether an image that just got the name `reference` may be what `identifier` means."""
    names = local_names(identifier, images, registry)
    return short_name(reference) in {short_name(name) for name in names}


def in_registry(name: str, registry: str) -> tuple[str, str] | None:
    """Repository and tag (or digest) of a name that is one of the registry's; None for others."""
    host, _, own = _LOOPBACK.sub("localhost", name).partition("/")
    if not registry or host != registry:
        return None
    repository, reference = split_reference(own)
    known = _TAG.fullmatch(reference) or _DIGEST.fullmatch(reference)
    return (repository, reference) if known and _REPOSITORY.fullmatch(repository) else None


def is_digest(identifier: str) -> bool:
    """Whether it names one image for ever, whatever is pushed."""
    return bool(_parts(identifier)[2])


def may_deploy_automatically(source: ImageSource) -> bool:
    """App Runner does not watch public repositories: they are somebody else's."""
    return source.repository_type != PUBLIC


def short_name(reference: str) -> str:
    """As Docker shows it: without Docker Hub's own name, with the tag that none means."""
    name, tag, digest = _parts(reference)
    name = _DOCKER_HUB.sub("", name, count=1)
    if not tag and not digest:
        tag = ":latest"
    return name + tag + digest


def split_reference(reference: str) -> tuple[str, str]:
    """Name and tag (or digest), as the engine takes them; without a tag it would pull them all."""
    name, tag, digest = _parts(reference)
    return name, (digest or tag or ":latest")[1:]


def _without_registry(identifier: str) -> tuple[str, ...]:
    if private := _PRIVATE.fullmatch(identifier):
        return (short_name(private[1]),)
    if public := _PUBLIC.fullmatch(identifier):
        return (short_name(f"{public[1]}/{public[2]}"), short_name(public[2]))
    return ()


def _parts(reference: str) -> tuple[str, str, str]:
    """Name, `:tag` and `@digest`, the latter two may be empty; a port is no tag."""
    name, at, digest = reference.partition("@")
    head, colon, tag = name.rpartition(":")
    if colon and "/" not in tag:
        return head, colon + tag, at + digest
    return name, "", at + digest
