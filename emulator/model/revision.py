"""A revision: one image (and, for layered builds, one source tree) with one configuration."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from emulator.model.configuration import NOTHING, HealthCheck, InstanceSize
from emulator.model.identifiers import Epoch, RevisionId, ServiceId


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTree:
    """A git tree that is laid over `/app` of an image that holds only its dependencies.

    `tree` is git's id of the tree, `repository` where it can be exported from.
    `links` are (path in the tree, absolute target in the image): what a dependency step made in
    /app, which the laid-over tree would hide (`node_modules`).
    """

    repository: str
    tree: str
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """Immutable: what an instance needs to run.

    `command` is the argument vector, None for the image's own. `directory` is the working
    directory, None for the image's own. `deployment` is the id of the one that made it.
    `version` is what its image was known by where it came from: a digest of a registry, or the
    image's id. `suspicions` were had before it was ever started; they explain a start that fails.
    """

    id: RevisionId
    service: ServiceId
    image: str
    source: SourceTree | None = None
    command: tuple[str, ...] | None = None
    directory: str | None = None
    env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    port: int = 8080
    size: InstanceSize = field(default_factory=InstanceSize)
    health_check: HealthCheck = field(default_factory=HealthCheck)
    commit: str | None = None
    version: str | None = None
    message: str = ""
    deployment: str = ""
    suspicions: tuple[str, ...] = ()
    created_at: Epoch

    @property
    def fingerprint(self) -> str:
        """Of all that a container fixes when it is created: a standby fits iff it matches.

        The source tree is not in it: it is laid into a standby just before the start.
        """
        fixed = (
            self.image,
            self.source is not None,
            self.source.links if self.source else (),
            self.command,
            self.directory,
            sorted(self.env.items()),
            self.port,
            self.size,
        )
        return hashlib.sha256(repr(fixed).encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        commit = f" {self.commit[:7]}" if self.commit else ""
        return f"<Revision {self.id}{commit}>"
