"""All that the emulator does to the outside world, on one screen.

Every method is safe to repeat: what is already so is not an error. Implementations live in
`drivers`, fakes that pass the same contract tests in `tests/fakes`.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from emulator.model.build import Base, BaseImage, Cache
from emulator.model.configuration import NOTHING, HealthCheck
from emulator.model.event import Event
from emulator.model.identifiers import Epoch, InstanceId, OperationId, ServiceId
from emulator.model.instance import Endpoint, ObservedInstance
from emulator.model.operation import Operation
from emulator.model.pushed_image import PushedImage
from emulator.model.resources import Resource
from emulator.model.revision import Revision
from emulator.model.service import Service
from emulator.model.source import Commit, Submodule, TreeFile
from emulator.model.timeline import Timeline
from emulator.model.usage import Consumption, UsageInterval


class Clock(Protocol):
    """The machine's time, in seconds: what waits for a process, a network or a disk goes by it."""

    def now(self) -> Epoch:
        """Since the epoch; it never goes back."""
        ...

    def wall(self) -> Epoch:
        """Since the epoch, as the machine's clock is set just now."""
        ...

    def steady(self) -> float:
        """Since some moment, only while the machine is awake, however its clock is set."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class PolicyClock(Protocol):
    """Policy time: what rules and bills are made of (`model.timeline`), in seconds."""

    @property
    def speed(self) -> float:
        """Seconds that pass per second of the machine."""
        ...

    @property
    def timeline(self) -> Timeline: ...

    @property
    def lost(self) -> Sequence[tuple[Epoch, Epoch]]:
        """Stretches that the machine slept through, oldest first; `now` notices them."""
        ...

    def now(self) -> Epoch:
        """Since the epoch; it never goes back."""
        ...

    def at(self, machine: Epoch) -> Epoch:
        """Policy time at a moment of the machine's, past or to come."""
        ...

    def leapt(self, seconds: float) -> Timeline:
        """The timeline that is `seconds` ahead from now on; `adopt` it once it is stored."""
        ...

    def slowed(self) -> Timeline:
        """The timeline on which a second is a second from now on."""
        ...

    def adopt(self, timeline: Timeline) -> None: ...


class Identifiers(Protocol):
    """Fresh, unguessable names."""

    def hexadecimal(self) -> str:
        """32 hex digits, for services and instances."""
        ...

    def uuid(self) -> str:
        """A dashed UUID, for operations."""
        ...

    def label(self) -> str:
        """Ten of [a-z0-9], the first a letter, for a service's URL."""
        ...


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life: open usage intervals of a dead emulator end here."""

    at: Epoch


Change = Service | Revision | Operation | Event | UsageInterval | Heartbeat | Resource | Timeline


class Store(Protocol):
    """Desired state and journal, durable. Raises StoreError."""

    async def save(self, *changes: Change) -> None:
        """All or nothing, durable on return. Each replaces its older self (by its key: a usage
        interval by service, instance, meter and start); an event with id 0 is appended.
        """
        ...

    async def services(self) -> tuple[Service, ...]:
        """All, also deleted ones, oldest first."""
        ...

    async def revisions(self, service: ServiceId) -> tuple[Revision, ...]:
        """Oldest first."""
        ...

    async def operations(self, service: ServiceId) -> tuple[Operation, ...]:
        """Newest first."""
        ...

    async def events(self, service: ServiceId, *, after: int = 0) -> tuple[Event, ...]:
        """Those with an id above `after`, oldest first."""
        ...

    async def usage(self, service: ServiceId | None = None) -> tuple[UsageInterval, ...]:
        """Oldest first; of all services where none is named."""
        ...

    async def heartbeat(self) -> Epoch | None:
        """The last sign of life."""
        ...

    async def timeline(self) -> Timeline:
        """How policy time follows the machine's."""
        ...

    async def resources(self) -> tuple[Resource, ...]:
        """All, also deleted ones, oldest first."""
        ...

    async def forget(self, service: ServiceId) -> None:
        """Every row of it."""
        ...

    async def drop(self, key: str) -> None:
        """The resource of this key."""
        ...


class Instances(Protocol):
    """Containers, one per instance. Raises EngineError."""

    async def observe(self) -> tuple[ObservedInstance, ...]:
        """Every instance this state directory owns, of all services."""
        ...

    async def prepare(
        self, instance: InstanceId, service: Service, revision: Revision, *, warm: bool = False
    ) -> None:
        """Create everything for an instance short of starting it (a standby).

        It fits every revision with the same fingerprint. A `warm` one has all started but the
        application, where that can be had: it takes memory, and starts at once.
        """
        ...

    async def start(self, instance: InstanceId, revision: Revision) -> Endpoint:
        """Lay the revision's source tree into a prepared instance and start its process."""
        ...

    async def freeze(self, instance: InstanceId) -> None:
        """Take its CPU away, keep its memory; connections stay open."""
        ...

    async def thaw(self, instance: InstanceId) -> None:
        """Give the CPU back."""
        ...

    async def stop(self, instance: InstanceId, *, grace: float) -> None:
        """SIGTERM, after `grace` seconds SIGKILL; also wakes a frozen one for it."""
        ...

    async def remove(self, instance: InstanceId) -> None:
        """The container and what belongs to it alone; its log is safe before."""
        ...

    async def clear(self, service: ServiceId) -> None:
        """Whatever is left of a deleted service: instances, sandboxes, network, files."""
        ...

    async def sweep(self, services: Sequence[ServiceId], images: Sequence[str]) -> tuple[str, ...]:
        """Remove what this owner's unknown services left behind, and build leftovers; built
        images not in `images`. Returns what was removed, in words.
        """
        ...

    async def listening(self, instance: InstanceId) -> tuple[Endpoint, ...]:
        """The TCP sockets its process listens on, inside; empty where that cannot be known."""
        ...

    async def consumption(self, instance: InstanceId) -> Consumption | None:
        """What it really uses; None for one that does not run."""
        ...

    async def takes(self, instance: InstanceId, port: int) -> bool:
        """False while connections to that port, inside, wait for its process to accept them, or
        nothing listens there; True where that cannot be known.
        """
        ...

    def changes(self) -> AsyncIterator[ServiceId | None]:
        """A service's id each time one of its containers changed by itself; None after the
        connection to the engine was lost and is back: observe everything.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """A build: the tree `tree` of `repository` (only `paths`, if any) is the context.

    `files` (name, content) are added to the context. `tag` is how it is found again. `own` says
    that the Dockerfile is the repository's; `arguments` are for its ARG instructions. `caches` are
    what the commands of a Dockerfile of ours may use.
    """

    service: ServiceId
    operation: OperationId
    dockerfile: str
    tag: str
    repository: str
    tree: str
    paths: tuple[str, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()
    own: bool = False
    arguments: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    caches: tuple[Cache, ...] = ()


class Builder(Protocol):
    """Images. Raises BuildError where a command failed, EngineError otherwise."""

    async def find(self, reference: str) -> str | None:
        """The id of a local image, None if there is none."""
        ...

    async def pull(self, reference: str, on_line: Callable[[str], None]) -> str:
        """The id of the image, pulled unless it is here."""
        ...

    async def base(self, base: BaseImage, on_line: Callable[[str], None]) -> Base:
        """What to build on: the public image, or one made from Debian's packages."""
        ...

    def changes(self) -> AsyncIterator[str | None]:
        """A reference (`name:tag`) each time a local image gets that name, whoever gave it; None
        after the connection to the engine was lost and is back: look at all of them.
        """
        ...

    async def build(self, request: BuildRequest, on_line: Callable[[str], None]) -> str:
        """Build and return the image's id; cancelling ends the build and leaves nothing."""
        ...


class ImageRegistry(Protocol):
    """What was pushed to the emulator's own registry; it is there whether the registry runs or not.
    Names are those that `in_registry` lets through. Raises EngineError.
    """

    @property
    def address(self) -> str:
        """As `docker push` has it: `localhost:5000`."""
        ...

    async def digest(self, repository: str, reference: str) -> str | None:
        """Of the image that a tag means now, or of that digest; None where there is none."""
        ...

    async def repositories(self) -> tuple[str, ...]:
        """Those that something was pushed to, in order of their names."""
        ...

    async def images(self, repository: str) -> tuple[PushedImage, ...]:
        """Also those without a tag, oldest first."""
        ...

    async def untag(self, repository: str, tag: str) -> None:
        """The image stays."""
        ...

    async def delete(self, repository: str, digest: str) -> None:
        """The image, with its tags."""
        ...

    async def remove(self, repository: str) -> None:
        """With all of its images; repositories below its name stay."""
        ...


class Repository(Protocol):
    """A local git repository, by path. Raises RepositoryError with what to do about it."""

    async def resolve(self, repository: str, branch: str) -> Commit:
        """The newest commit of a branch."""
        ...

    async def commit(self, repository: str, commit: str) -> Commit: ...

    async def tree(self, repository: str, commit: str, directory: str) -> str:
        """The id of a directory's tree ("" for the root) at a commit, or in another tree.

        It holds the trees of submodules that are on this machine.
        """
        ...

    async def submodules(self, repository: str, tree: str) -> tuple[Submodule, ...]:
        """Those that a tree lacks, as they are not on this machine."""
        ...

    async def files(self, repository: str, tree: str) -> tuple[TreeFile, ...]:
        """Every file of a tree, recursively, paths relative to it."""
        ...

    async def read(self, repository: str, blob: str) -> bytes: ...

    async def read_all(self, repository: str, blobs: Sequence[str]) -> Mapping[str, bytes]:
        """By id; for many small ones."""
        ...

    def archive(
        self, repository: str, tree: str, paths: Sequence[str] = ()
    ) -> AsyncIterator[bytes]:
        """A tar stream of a tree, or of some of its files."""
        ...

    def watch(self, repository: str) -> AsyncIterator[None]:
        """Yields once at first, then whenever a reference may have moved; ends when cancelled.

        A repository that goes away does not end it: it is found again when it returns.
        """
        ...

    async def snapshot(self, repository: str) -> str:
        """The id of the tree of its files as they are now, committed or not, without those that
        git ignores. Known to this process alone, and nothing is written into the repository.
        """
        ...

    def saves(self, repository: str) -> AsyncIterator[Epoch]:
        """Yields once at first, then whenever such a file may have changed: the moment of it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRequest:
    """A request of git's smart HTTP: `service` is git-receive-pack (a push) or git-upload-pack (a
    fetch), `advertise` asks which references there are. `encoding` is that of the body as it is
    sent, `protocol` git's own header.
    """

    service: str
    advertise: bool = False
    content_type: str = ""
    encoding: str = ""
    protocol: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAnswer:
    """As HTTP has it; the body ends early where git failed in the middle of it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: AsyncIterator[bytes]


class PushedRepositories(Protocol):
    """Bare repositories that are pushed to, one for each service name; they outlive the service.
    Raises RepositoryError.
    """

    def path(self, name: str) -> str:
        """Where it is, or would be."""
        ...

    async def make(self, name: str, form: str = "") -> str:
        """Have it there, for `form` (sha1, sha256) if one is named; returns what it is for."""
        ...

    async def point(self, name: str, branch: str) -> None:
        """Make a branch the one that a clone checks out."""
        ...

    def serve(
        self, name: str, request: GitRequest, body: AsyncIterator[bytes] | None
    ) -> AbstractAsyncContextManager[GitAnswer]:
        """Let git answer; a push makes the repository. Leaving it early ends git."""
        ...


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """`detail` says what went wrong, in words; `connected` whether anybody took the connection."""

    healthy: bool
    detail: str = ""
    connected: bool = True


class Probe(Protocol):
    """Health checks."""

    async def check(self, endpoint: Endpoint, check: HealthCheck) -> ProbeResult:
        """One probe, within the check's timeout; never raises."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """`stream` is `instance/<id>` or `deployment/<id>`; `source` stdout or stderr or Build."""

    at: Epoch
    stream: str
    text: str


class Logs(Protocol):
    """Log streams on disk, bounded, kept when an instance is gone."""

    async def write(self, service: ServiceId, lines: Sequence[LogLine]) -> None: ...

    def read(
        self,
        service: ServiceId,
        *,
        prefix: str = "",
        since: Epoch | None = None,
        follow: bool = False,
    ) -> AsyncIterator[LogLine]:
        """Lines of the streams whose name starts with `prefix`, in order of time; with `follow`
        it goes on with what is written later.
        """
        ...

    async def tail(self, service: ServiceId, stream: str, count: int) -> tuple[str, ...]:
        """The last lines of one stream."""
        ...

    async def forget(self, service: ServiceId) -> None: ...


class Doors(Protocol):
    """The loopback port of each service."""

    async def open(self, service: ServiceId, port: int) -> int:
        """Listen for a service (0: any free port); returns the port, another one if it is taken."""
        ...

    async def close(self, service: ServiceId) -> None: ...


class Secrets(Protocol):
    """Values by Secrets Manager ARN, SSM parameter ARN or name."""

    async def value(self, reference: str, *, region: str) -> str:
        """`region` is the service's, for a reference that names none.

        Raises ConfigurationError naming the reference and the setting that would provide it.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The outside world in one hand, for the composition root and the controllers.

    Moments that cross any other port are the machine's; all that is stored or shown is policy
    time.
    """

    clock: PolicyClock
    machine: Clock
    identifiers: Identifiers
    store: Store
    instances: Instances
    builder: Builder
    repository: Repository
    probe: Probe
    logs: Logs
    secrets: Secrets
    registry: ImageRegistry | None = None
