"""Which local images an ImageIdentifier may mean: nobody pushes to ECR to try something out.

Names are in Docker's own short spelling (`nginx:latest`, not `docker.io/library/nginx`): so its
events tell them, and so a user types them.
"""

import re
from collections.abc import Mapping

from emulator.model.configuration import ImageSource

_PRIVATE = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/(.+)")
_PUBLIC = re.compile(r"public\.ecr\.aws/([^/]+)/(.+)")
_DOCKER_HUB = re.compile(r"^(?:(?:index\.)?docker\.io/)?(?:library/(?=[^/]+$))?")
PUBLIC = "ECR_PUBLIC"


def local_names(identifier: str, images: Mapping[str, str]) -> tuple[str, ...]:
    """The names to look for on this machine, in order; `images` is `[images]` of emulator.toml.

    A name that is mapped there means that one only, as it is written there.
    """
    wanted = short_name(identifier)
    for name, meant in images.items():
        if short_name(name) == wanted:
            return (meant,)
    return tuple(dict.fromkeys([wanted, *_without_registry(identifier)]))


def concerns(reference: str, identifier: str, images: Mapping[str, str]) -> bool:
    """Whether a local image that just got the name `reference` may be what `identifier` means."""
    return short_name(reference) in {short_name(name) for name in local_names(identifier, images)}


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
