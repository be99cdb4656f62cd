"""From a source to a revision: read, plan, build; every step told in the event log."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from emulator.controllers.build_log import BuildLog
from emulator.controllers.images import LocalImage, LocalImages
from emulator.controllers.ledger import Ledger
from emulator.controllers.meter import Meter
from emulator.decisions import buildplan, detection, dockerfile, source_tree
from emulator.decisions.app_configuration import FILE, LARGEST, Node, split_command
from emulator.decisions.image_names import in_registry, short_name
from emulator.decisions.source_tree import LINK
from emulator.model.build import Base, BaseImage, BuildKind, Buildpack, BuildPlan
from emulator.model.configuration import NOTHING, CodeSource, ConfigurationSource, ImageSource
from emulator.model.errors import (
    BuildError,
    ConfigurationError,
    EngineError,
    EngineUnavailableError,
    Place,
    RepositoryError,
)
from emulator.model.identifiers import Epoch, RevisionId
from emulator.model.operation import Operation
from emulator.model.revision import Revision, SourceTree
from emulator.model.service import Service
from emulator.model.source import Commit, TreeFile
from emulator.ports import BuildRequest, Ports, Repository

LARGEST_READ = 2_000_000  # bytes of a file that planning looks into
MOST_READ = 20_000_000  # of all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A commit's or a working tree's source directory, as far as planning reads it.

    `root` is the repository's tree, `tree` the source directory's. `trails` are, for each file
    that is a symbolic link, the paths in `root` that it leads over. `warnings` are for people.
    """

    commit: str | None
    message: str
    root: str
    tree: str
    files: Mapping[str, TreeFile]
    contents: Mapping[str, bytes]
    trails: Mapping[str, tuple[str, ...]]
    warnings: tuple[str, ...] = ()


class Planner:
    """Reads a commit and decides how it is built; the command line uses it as well."""

    def __init__(
        self,
        repository: Repository,
        *,
        buildpacks: Sequence[Buildpack],
        parse: Callable[[bytes, str], Node],
    ) -> None:
        self._repository = repository
        self._buildpacks = tuple(buildpacks)
        self._parse = parse

    async def snapshot(self, source: CodeSource, commit: str | None) -> Snapshot:
        """Of the branch's newest commit where none is named."""
        repository = self._repository
        path = source.repository
        if commit is None:
            found = await repository.resolve(path, source.branch)
        else:
            found = await repository.commit(path, commit)
        root = await repository.tree(path, found.id, "")
        return await self.working_tree(source, root, found)

    async def working_tree(
        self, source: CodeSource, root: str, commit: Commit | None = None
    ) -> Snapshot:
        """Of a repository's tree, whether a commit has it or not. Raises RepositoryError also for
        what no tree may hold.
        """
        repository, path = self._repository, source.repository
        directory = source.source_directory.strip("/")
        every = await repository.files(path, root)
        targets = await self._targets(path, every)
        if refused := source_tree.refusal(every, targets):
            raise RepositoryError(f"{path}: {refused}")
        tree = await repository.tree(path, root, directory) if directory else root
        inside = await repository.files(path, tree) if directory else every
        files = {f.path: f for f in inside}
        at = {f.path: f for f in every}
        named = detection.wanted(files, self._buildpacks)
        trails = {p: _trail(directory, p, targets) for p in named if files[p].mode == LINK}
        read: dict[str, TreeFile] = {}
        room = MOST_READ
        for name in named:
            file = at.get(trails[name][-1]) if name in trails else files[name]
            if file is not None and file.size <= min(LARGEST_READ, room):
                read[name] = file
                room -= file.size
        contents = await self._contents(path, read)
        return Snapshot(
            commit=commit.id if commit else None,
            message=commit.subject if commit else "uncommitted",
            root=root,
            tree=tree,
            files=files,
            contents=contents,
            trails={p: tuple(q for q in passed if q in at) for p, passed in trails.items()},
            warnings=await self._warnings(path, root, inside),
        )

    async def _targets(self, path: str, files: Sequence[TreeFile]) -> Mapping[str, str]:
        links = source_tree.links(files)
        found = await self._contents(
            path, {f.path: f for f in links if f.size <= source_tree.LONGEST_TARGET}
        )
        return {p: content.decode("utf-8", "surrogateescape") for p, content in found.items()}

    async def _contents(self, path: str, files: Mapping[str, TreeFile]) -> dict[str, bytes]:
        read = await self._repository.read_all(path, [f.blob for f in files.values()])
        return {p: read[f.blob] for p, f in files.items()}

    async def _warnings(self, path: str, root: str, files: Sequence[TreeFile]) -> tuple[str, ...]:
        missing = await self._repository.submodules(path, root)
        likely = {f.path: f for f in source_tree.may_be_pointers(files)}
        pointers = source_tree.pointers_warning(await self._contents(path, likely))
        submodules = source_tree.submodule_warnings(missing, files, path)
        return (*submodules, pointers) if pointers else submodules

    def decide(
        self, snapshot: Snapshot, source: CodeSource, env: Mapping[str, str]
    ) -> buildplan.Decision:
        """Raises ConfigurationError."""
        read = _reads_file(snapshot, source)
        decision = buildplan.decide(
            paths=snapshot.files.keys(),
            contents=snapshot.contents,
            node=self._file(snapshot) if read else None,
            source=source,
            env=env,
            buildpacks=self._buildpacks,
        )
        warnings = (*decision.plan.warnings, *snapshot.warnings)
        return replace(decision, plan=replace(decision.plan, warnings=warnings))

    def _file(self, snapshot: Snapshot) -> Node:
        data = snapshot.contents.get(FILE)
        if data is None and snapshot.files[FILE].mode == LINK:
            message = "a symbolic link that leads to no file: put the file itself here"
            raise ConfigurationError(Place(file=FILE), message)
        if data is None:
            message = f"the file has {snapshot.files[FILE].size} bytes; at most {LARGEST} are read"
            raise ConfigurationError(Place(file=FILE), message)
        return self._parse(data, FILE)


class Deployer:
    """Makes the revision that an operation deploys."""

    def __init__(
        self,
        ports: Ports,
        planner: Planner,
        *,
        meter: Meter,
        images: Mapping[str, str],
        build_log: int,
        strict: bool = False,
    ) -> None:
        self._ports = ports
        self._planner = planner
        self._meter = meter
        self._images = LocalImages(ports.builder, images, ports.registry)
        self._build_log = build_log
        self._strict = strict

    async def revision(self, ledger: Ledger, operation: Operation) -> Revision:
        """Raises BuildError, ConfigurationError, RepositoryError, EngineError."""
        source = ledger.service.configuration.source
        async with BuildLog(
            self._ports, ledger.service.id, operation, limit=self._build_log
        ) as log:
            if isinstance(source, ImageSource):
                return await self._from_image(ledger, operation, source, log)
            return await self._from_code(ledger, operation, source, log)

    async def draft(
        self, ledger: Ledger, operation: Operation, source: CodeSource, tree: str
    ) -> Revision:
        """The same of a tree that no commit need have; for working-tree mode."""
        snapshot = await self._planner.working_tree(source, tree)
        async with BuildLog(
            self._ports, ledger.service.id, operation, limit=self._build_log
        ) as log:
            return await self._from_snapshot(ledger, operation, source, snapshot, log)

    def _new(self, ledger: Ledger, operation: Operation, image: str) -> Revision:
        configuration = ledger.service.configuration
        return Revision(
            id=RevisionId(f"r{ledger.service.revisions + 1}"),
            service=ledger.service.id,
            image=image,
            size=configuration.size,
            health_check=configuration.health_check,
            deployment=operation.deployment_id,
            created_at=self._ports.clock.now(),
        )

    # -- images --------------------------------------------------------------------------------

    async def _from_image(
        self, ledger: Ledger, operation: Operation, source: ImageSource, log: BuildLog
    ) -> Revision:
        await ledger.say(f"Pulling image {source.identifier} from ECR repository.")
        found = await self._images.take(ledger, source) or await self._pulled(ledger, source, log)
        image = await self._brought(found, source, log)
        if found.pushed:
            await ledger.say(f"The emulator's registry has it: {found.name}@{found.version}.")
        elif found.name != short_name(source.identifier):
            await ledger.say(f"The local image {found.name} stands in for it.")
        await ledger.say("Successfully pulled image from ECR.")
        env = {**source.env, **ledger.service.configuration.env, "PORT": str(source.port)}
        suspicions = buildplan.suspicions(source.start_command or "")
        await ledger.say(*(f"Warning: StartCommand: {text}" for text in suspicions))
        return replace(
            self._new(ledger, operation, image),
            version=found.version,
            command=split_command(source.start_command) if source.start_command else None,
            suspicions=suspicions,
            env=MappingProxyType(env | await self._secrets(ledger, source.secrets)),
            port=source.port,
        )

    async def _brought(self, found: LocalImage, source: ImageSource, log: BuildLog) -> str:
        try:
            return await self._images.bring(found, log.line)
        except EngineUnavailableError:
            raise
        except EngineError as error:
            raise BuildError(
                f"Failed to pull your application image {source.identifier}. Reason: {error}"
            ) from error

    async def _pulled(self, ledger: Ledger, source: ImageSource, log: BuildLog) -> LocalImage:
        """From where its name says that it is."""
        registry = self._images.registry
        names = self._images.names(source)
        elsewhere = [name for name in names if in_registry(name, registry) is None]
        pushed = names[0] if len(elsewhere) < len(names) else ""
        if not elsewhere:
            nothing = EngineError(f"nothing was pushed to {pushed}")
            raise BuildError(_not_to_be_had(source.identifier, (), nothing, pushed))
        try:
            await self._ports.builder.pull(elsewhere[0], log.line)
        except EngineUnavailableError:
            raise
        except EngineError as error:
            told = _not_to_be_had(source.identifier, elsewhere, error, pushed)
            raise BuildError(told) from error
        image = await self._images.take(ledger, source)
        if image is None:
            raise BuildError(f"The image {names[0]} was removed while it was being deployed.")
        return image

    async def _secrets(self, ledger: Ledger, references: Mapping[str, str]) -> dict[str, str]:
        """Resolved once, at deployment, as App Runner does."""
        secrets, region = self._ports.secrets, ledger.service.region
        return {key: await secrets.value(ref, region=region) for key, ref in references.items()}

    # -- code ----------------------------------------------------------------------------------

    async def _from_code(
        self, ledger: Ledger, operation: Operation, source: CodeSource, log: BuildLog
    ) -> Revision:
        await ledger.say(f"Pulling source code from Repository ( {source.repository} ).")
        snapshot = await self._planner.snapshot(source, operation.commit)
        return await self._from_snapshot(ledger, operation, source, snapshot, log)

    async def _from_snapshot(
        self,
        ledger: Ledger,
        operation: Operation,
        source: CodeSource,
        snapshot: Snapshot,
        log: BuildLog,
    ) -> Revision:
        plan = await self._plan(ledger, source, snapshot)
        image = await self._image(ledger, operation, source, (plan, snapshot), log)
        tree = None
        if plan.kind is BuildKind.LAYERED:
            tree = SourceTree(repository=source.repository, tree=snapshot.root, links=plan.links)
        return replace(
            self._new(ledger, operation, image),
            source=tree,
            command=plan.command,
            directory=_directory(plan),
            env=MappingProxyType({**plan.env, **await self._secrets(ledger, plan.secrets)}),
            port=plan.port,
            commit=snapshot.commit,
            message=snapshot.message,
            suspicions=plan.suspicions,
        )

    async def _plan(self, ledger: Ledger, source: CodeSource, snapshot: Snapshot) -> BuildPlan:
        """Told in one go: each time that something is stored takes milliseconds."""
        told = ["Successfully pulled your application source code."]
        reads = _reads_file(snapshot, source)
        if reads:
            told.append(f"Reading {FILE} config file.")
        try:
            env = ledger.service.configuration.env
            plan = self._planner.decide(snapshot, source, env).plan
        except ConfigurationError as error:
            await ledger.say(*told)
            raise BuildError(f"Failed to read the configuration: {error}") from error
        if self._strict and plan.extensions:
            await ledger.say(*told)
            raise BuildError(
                f"Failed to build your application source code. {'; '.join(plan.extensions)}. "
                "`strict = true` refuses that."
            )
        if reads:
            told.append("Successfully Validate configuration file.")
        await ledger.say(*told, *plan.reasons, *(f"Warning: {w}" for w in plan.warnings))
        return plan

    async def _base(self, ledger: Ledger, plan: BuildPlan, log: BuildLog) -> str:
        """What the image starts from; "" for a repository's own Dockerfile, which says so itself."""
        if plan.base is None:
            return ""
        if self._strict:
            return await self._strict_base(plan, plan.base, log)
        base: Base = await self._ports.builder.base(plan.base, log.line)
        if other := buildplan.other_version(plan, base):
            await ledger.say(f"Warning: {other}, which is used.")
        return base.reference

    async def _strict_base(self, plan: BuildPlan, wanted: BaseImage, log: BuildLog) -> str:
        """Refused before minutes are spent on a base of another version."""
        other = buildplan.other_version(plan, Base("", wanted.packages_version))
        if not other:
            return (await self._ports.builder.base(wanted, log.line)).reference
        try:
            base = await self._ports.builder.base(replace(wanted, packages=(), setup=()), log.line)
        except EngineUnavailableError:
            raise
        except EngineError:
            base = None
        other = buildplan.other_version(plan, base) if base else other
        if base is None or other:
            raise BuildError(
                f"Failed to build your application source code. {other}. "
                f"`strict = true` refuses that: bring {wanted.exact or wanted.image} here by "
                "`docker load`, or set it to false."
            )
        return base.reference

    async def _image(
        self,
        ledger: Ledger,
        operation: Operation,
        source: CodeSource,
        planned: tuple[BuildPlan, Snapshot],
        log: BuildLog,
    ) -> str:
        plan, snapshot = planned
        builder = self._ports.builder
        base = await self._base(ledger, plan, log)
        base_id = (await builder.find(base) or base) if base else ""
        if (
            plan.kind is BuildKind.LAYERED
            and not plan.inputs
            and not plan.build
            and not plan.pre_run
        ):
            return base_id
        tag = _tag(ledger.service, plan, base_id, snapshot)
        found = await builder.find(tag)
        if found is not None:
            what = "dependencies" if plan.kind is BuildKind.LAYERED else "source code"
            await ledger.say(f"The {what} did not change: the image is used again, no build.")
            return found
        await ledger.say("Starting source code build.")
        request = BuildRequest(
            service=ledger.service.id,
            operation=operation.id,
            dockerfile=dockerfile.render(plan, base),
            tag=tag,
            repository=source.repository,
            tree=_context(plan, snapshot),
            paths=_paths(plan, snapshot),
            own=plan.kind is BuildKind.DOCKERFILE,
            arguments=plan.build_env if plan.kind is BuildKind.DOCKERFILE else NOTHING,
            caches=plan.caches,
        )
        began, watch = self._ports.clock.now(), self._ports.machine.steady()
        try:
            image = await builder.build(request, log.line)
        except BuildError as error:
            raise BuildError(f"Failed to build your application source code. {error}") from error
        seconds = self._ports.machine.steady() - watch
        # As long as it worked: not what the clock was advanced by, or slept, meanwhile.
        ended = Epoch(began + seconds * self._ports.clock.speed)
        self._meter.build(ledger.service.id, began, ended)
        await ledger.say(f"Successfully built your application source code. ({seconds:.1f} s)")
        return image


def _reads_file(snapshot: Snapshot, source: CodeSource) -> bool:
    """With the API as the source of the configuration, the file may say what it likes."""
    by_api = source.configuration_source is ConfigurationSource.API
    return FILE in snapshot.files and not by_api


def _not_to_be_had(identifier: str, names: Sequence[str], error: EngineError, pushed: str) -> str:
    """`names` are those of this machine; `pushed` the one to push to, empty without a registry."""
    failed = f"Failed to pull your application image. Reason: {str(error).rstrip('.')}."
    if pushed:
        failed += f" Push one: `docker tag IMAGE {pushed}`, then `docker push {pushed}`."
    if not names:
        return failed
    name = names[-1]
    return (
        f"{failed} This machine has no image {' or '.join(names)} either: build one "
        f"(`docker build -t {name} .`), name one (`docker tag IMAGE {name}`), or say in "
        f'emulator.toml under [images] which one is meant ("{identifier}" = "NAME:TAG").'
    )


def _directory(plan: BuildPlan) -> str | None:
    """The repository's own Dockerfile names its own working directory."""
    if plan.kind is BuildKind.DOCKERFILE:
        return None
    return f"/app/{plan.directory}".rstrip("/")


def _context(plan: BuildPlan, snapshot: Snapshot) -> str:
    """A repository's own Dockerfile sees its directory, as `docker build DIR` would show it."""
    return snapshot.tree if plan.kind is BuildKind.DOCKERFILE else snapshot.root


def _paths(plan: BuildPlan, snapshot: Snapshot) -> tuple[str, ...]:
    """Of the context: a layered build sees only what its commands read."""
    if plan.kind is not BuildKind.LAYERED:
        return ()
    prefix = f"{plan.directory}/" if plan.directory else ""
    found = ((prefix + path, *snapshot.trails.get(path, ())) for path in plan.inputs)
    return tuple(dict.fromkeys(path for paths in found for path in paths))


def _trail(directory: str, path: str, targets: Mapping[str, str]) -> tuple[str, ...]:
    """Of a link in a tree that was not refused."""
    whole = "/".join(part for part in directory.split("/") if part not in {"", "."})
    return source_tree.trail(f"{whole}/{path}" if whole else path, targets) or (path,)


def _tag(service: Service, plan: BuildPlan, base_id: str, snapshot: Snapshot) -> str:
    """The service's own, also beside one of the same name (its predecessor, another state
    directory's): each removes its own images only. Their layers they share.
    """
    if plan.kind is BuildKind.LAYERED:
        key = dockerfile.dependency_key(plan, base_id, snapshot.contents)
    else:
        key = dockerfile.complete_key(plan, base_id, _context(plan, snapshot))
    repository = re.sub(r"[^a-z0-9]+", "-", service.name.lower()).strip("-") or "service"
    return f"apprunner-emulator/{repository}:{service.id[:8]}-{key}"
