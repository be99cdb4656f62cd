"""A machine in memory: containers, images and networks that outlive the emulator.

The drivers' fakes act on it; a crash of the emulator leaves it as it was at that moment.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from emulator.decisions.image_names import short_name
from emulator.model.identifiers import Epoch, InstanceId, RevisionId, ServiceId
from emulator.model.instance import ContainerState, Endpoint, Exit, ObservedInstance
from emulator.model.revision import Revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What an application does once it is started; seconds. It accepts connections only
    `accepts_after` it listens, which is after `boot`.
    """

    boot: float = 0.2
    accepts_after: float = 0.0
    crashes_after: float | None = None
    exit_code: int = 1
    listens_on: Endpoint | None = None


@dataclass(slots=True, kw_only=True)
class Container:
    """One instance."""

    seen: ObservedInstance
    revision: Revision | None = None
    ready_at: float = float("inf")
    dies_at: float = float("inf")


@dataclass(slots=True)
class World:
    """Everything the engine holds; `behaviour` decides by revision. `lives` has when each
    instance was asked to start and when its process ended, by `now`, for ever.
    """

    containers: dict[InstanceId, Container] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    helpers: set[str] = field(default_factory=set)
    networks: set[ServiceId] = field(default_factory=set)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    changed: list[Callable[[ServiceId], None]] = field(default_factory=list)
    tagged: list[Callable[[str | None], None]] = field(default_factory=list)
    most_at_once: int = 0
    lives: dict[InstanceId, list[float]] = field(default_factory=dict)
    now: Callable[[], float] = field(default=lambda: 0.0)

    def end(self, instance: InstanceId) -> None:
        """The truth that metering is held against."""
        if instance in self.lives:
            self.lives[instance][1] = min(self.lives[instance][1], self.now())

    def behaviour(self, revision: Revision) -> Behaviour:
        tree = revision.source.tree if revision.source and not revision.commit else ""
        return self.behaviours.get(revision.commit or tree or revision.image, Behaviour())

    def advance(self, now: float) -> None:
        """Applications that were to die by now have died."""
        for container in self.containers.values():
            if container.seen.state is ContainerState.RUNNING and now >= container.dies_at:
                self.exit(container, code=self._code(container), at=container.dies_at)

    def _code(self, container: Container) -> int:
        return self.behaviour(container.revision).exit_code if container.revision else 1

    def exit(self, container: Container, *, code: int, at: float) -> None:
        container.seen = replace(
            container.seen, state=ContainerState.EXITED, exit=Exit(code=code, at=Epoch(at))
        )
        self.end(container.seen.id)
        self.tell(container.seen.service)

    def tell(self, service: ServiceId) -> None:
        for callback in self.changed:
            callback(service)

    def image(self, reference: str) -> str | None:
        """The id of a local image."""
        return self.images.get(short_name(reference))

    def tag(self, name: str, image: str) -> None:
        """Give an image a name, as `docker tag` and builds do."""
        self.images[short_name(name)] = image
        for callback in self.tagged:
            callback(short_name(name))

    def remove_by_hand(self, instance: InstanceId) -> None:
        container = self.containers.pop(instance)
        self.tell(container.seen.service)

    def restart_engine(self, now: float) -> None:
        """The daemon comes back without its containers: none of them runs any more."""
        for callback in self.tagged:
            callback(None)
        for container in self.containers.values():
            if container.seen.state is not ContainerState.EXITED:
                self.exit(container, code=137, at=now)

    def of(self, service: ServiceId) -> list[ObservedInstance]:
        return [c.seen for c in self.containers.values() if c.seen.service == service]

    def running(self, service: ServiceId) -> dict[RevisionId | None, int]:
        counts: dict[RevisionId | None, int] = {}
        for seen in self.of(service):
            if seen.state in {ContainerState.RUNNING, ContainerState.FROZEN}:
                counts[seen.revision] = counts.get(seen.revision, 0) + 1
        return counts
