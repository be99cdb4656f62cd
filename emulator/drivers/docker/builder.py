"""ports.Builder on an engine: its classic builder, with what of the host must reach a build."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emulator.decisions.build_environment import (
    BuildEnvironment,
    Prepared,
    insert_prelude,
    reach_host,
)
from emulator.decisions.build_inputs import Input
from emulator.decisions.dockerignore import read_dockerignore
from emulator.decisions.instructions import external_images, needs_buildkit, replace_images
from emulator.drivers.docker.base_images import BASE_LABELS, BaseImages, import_image
from emulator.drivers.docker.build_context import (
    IGNORE,
    Keep,
    context,
    end_of_archive,
    member,
    plain_files,
)
from emulator.drivers.docker.build_environment import HostEnvironment, read_host
from emulator.drivers.docker.build_network import ensure_network, gateway_of
from emulator.drivers.docker.build_output import Bound, BuildOutput, OnLine
from emulator.drivers.docker.build_run import Build, run_build, shown
from emulator.drivers.docker.build_sandboxes import BuildSandboxes
from emulator.drivers.docker.build_watch import BuildWatch, Running
from emulator.drivers.docker.buildkit import has_buildkit, refusal, run_buildkit
from emulator.drivers.docker.cached_build import BuildUnderWay, CachedBuild, CachedBuilds
from emulator.drivers.docker.engine import Engine
from emulator.drivers.docker.host import Hosts
from emulator.drivers.docker.image_events import ImageEvents
from emulator.drivers.docker.labels import ROLE, Role, labels
from emulator.drivers.docker.pull import Images
from emulator.model.build import Base, BaseImage
from emulator.model.errors import BuildError, EngineError, EngineUnavailableError
from emulator.model.settings import Limits
from emulator.ports import BuildRequest, Clock, Repository

# On the intermediate images too, so that `prune` finds what failed builds leave; the same for
# every service and state directory, so that they share the engine's cache.
_BUILD_LABELS: Mapping[str, str] = {ROLE: Role.BUILD.value}
IGNORED_BY = ("Dockerfile.dockerignore", IGNORE)  # the first that is there, as BuildKit has it
_TOKEN_NOTE = "npm's token for the configured registry is readable in the built image."  # noqa: S105 - a note about one


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """The host as a build in `network`, an id, reaches it."""

    environment: BuildEnvironment
    network: str


class DockerBuilder:
    """`environment` are the host's variables, `bases` what can be made where no registry is."""

    def __init__(  # noqa: PLR0913 - by keyword, once, in the composition root
        self,
        engine: Engine,
        *,
        owner: str,
        repository: Repository,
        clock: Clock,
        environment: Mapping[str, str],
        limits: Limits,
        bases: Sequence[BaseImage] = (),
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._repository = repository
        self._variables = environment
        self._limits = limits
        self._clock = clock
        self._hosts = Hosts(engine)
        self._sandboxes = BuildSandboxes(engine, owner, self._hosts, clock)
        self._cached_builds = CachedBuilds(engine, self._sandboxes)
        self._bases = tuple(bases)
        self._images = Images(engine, clock, environment)
        self._image_events = ImageEvents(engine, clock)
        self._base_images = BaseImages(engine, self._images, self._make, environment)
        self._preparing = asyncio.Lock()

    async def run(self) -> None:
        """Remove what builds are done with, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sandboxes.run())
            group.create_task(self._cached_builds.run())

    async def find(self, reference: str) -> str | None:
        return await self._images.find(reference)

    async def pull(self, reference: str, on_line: OnLine) -> str:
        return await self._images.pull(reference, on_line)

    def changes(self) -> AsyncIterator[str | None]:
        return self._image_events.follow()

    async def base(self, base: BaseImage, on_line: OnLine) -> Base:
        return await self._base_images.reference(base, on_line)

    async def environment(self) -> BuildEnvironment:
        """What of the host reaches builds, read anew."""
        return (await asyncio.to_thread(read_host, self._variables)).environment

    async def build(self, request: BuildRequest, on_line: OnLine) -> str:
        limit = asyncio.timeout(self._limits.build)
        watch = await self._watch()
        await watch.check_disk()
        try:
            async with limit:
                return await _watched(self._build(request, on_line, watch), watch, limit)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise watch.error or BuildError(
                f"The build took longer than {self._limits.build:g} s (the limit `build`)."
            ) from error

    async def _watch(self) -> BuildWatch:
        host = await self._hosts.here()
        root = Path(host.root) if host.shared else None
        limit = self._limits.build_size
        return BuildWatch(self._engine, self._clock, limit=limit, root=root)

    async def _build(self, request: BuildRequest, on_line: OnLine, watch: BuildWatch) -> str:
        on_line = Bound(on_line, self._limits.build_log)
        given = request.arguments
        dockerfile = await self._with_images_at_hand(request.dockerfile, on_line, given)
        around = await self._surroundings(on_line)
        if request.caches:
            cached = await self._cached(request, dockerfile, around)
            under_way = BuildUnderWay(self._cached_builds, cached, on_line)
            watch.running = lambda: under_way.running
            return await under_way.run()
        return await self._build_at_once(request, dockerfile, around, watch, on_line)

    async def _cached(
        self, request: BuildRequest, dockerfile: str, around: _Surroundings
    ) -> CachedBuild:
        keep = await self._chosen(request)

        def context_for(prepared: Prepared, with_source: bool) -> AsyncGenerator[bytes, None]:  # noqa: FBT001 - a callback
            return (
                self._archived(request, prepared, keep) if with_source else context(prepared.text)
            )

        return CachedBuild(
            dockerfile=dockerfile,
            tag=request.tag,
            environment=around.environment,
            network=around.network,
            part_labels=_BUILD_LABELS,
            labels=self._labels(request),
            caches=request.caches,
            context=context_for,
            inputs=await self._inputs(request, keep),
        )

    async def _inputs(self, request: BuildRequest, keep: Keep | None) -> Mapping[str, Input]:
        """Where a build sees single files only."""
        if not request.paths or request.files or keep:
            return {}
        tree = self._repository.archive(request.repository, request.tree, request.paths)
        return await plain_files(tree)

    async def _build_at_once(
        self,
        request: BuildRequest,
        dockerfile: str,
        around: _Surroundings,
        watch: BuildWatch,
        on_line: OnLine,
    ) -> str:
        build = Build(
            dockerfile=insert_prelude(
                dockerfile, around.environment, _BUILD_LABELS, self._labels(request)
            ),
            tag=request.tag,
            arguments={**around.environment.arguments, **request.arguments},
            network=around.network,
        )
        output = BuildOutput(on_line, build.dockerfile)
        watch.running = lambda: Running(output.outcome.containers, output.outcome.command)
        sent = self._archived(request, build.dockerfile, await self._chosen(request))
        if what := needs_buildkit(dockerfile):
            return await self._build_with_buildkit(build, sent, output, what)
        return await run_build(self._engine, build, sent, output)

    async def _build_with_buildkit(
        self, build: Build, sent: AsyncGenerator[bytes, None], output: BuildOutput, what: str
    ) -> str:
        if not await has_buildkit(self._variables):
            raise refusal(what)
        await run_buildkit(self._engine, build, sent, output, self._variables)
        image = await self._images.find(build.tag)
        if image is None:
            raise EngineError(f"docker build ended well, but there is no image {build.tag}")
        return image

    def _labels(self, request: BuildRequest) -> Mapping[str, str]:
        return labels(
            self._owner, Role.BUILD, service=request.service, deployment=request.operation
        )

    async def _make(self, dockerfile: str, tag: str, on_line: OnLine) -> str:
        """A base image: no context, and no key of the host's in it."""
        around = await self._surroundings(on_line)
        environment = replace(around.environment, npmrc=False)
        prepared = insert_prelude(dockerfile, environment, BASE_LABELS)
        build = Build(
            dockerfile=prepared,
            tag=tag,
            arguments=environment.arguments,
            network=around.network,
        )
        output = BuildOutput(Bound(on_line, self._limits.build_log), prepared)
        try:
            return await run_build(self._engine, build, context(prepared.text), output)
        except BuildError as error:
            raise shown(error, f"The base image {tag} could not be made") from error

    async def _surroundings(self, on_line: OnLine) -> _Surroundings:
        host = await asyncio.to_thread(read_host, self._variables)
        async with self._preparing:
            network = await ensure_network(self._engine, self._owner)
            await self._provide(host)
        arguments = host.environment.arguments
        if gateway := gateway_of(network):
            arguments, notes = reach_host(arguments, gateway)
            for note in notes:
                on_line(note)
        if host.environment.npmrc:
            on_line(_TOKEN_NOTE)
        environment = replace(host.environment, arguments=arguments)
        return _Surroundings(environment, network["Id"])

    async def _provide(self, host: HostEnvironment) -> None:
        """The image that the host's certificates and keys are copied from."""
        tag = host.environment.files
        if tag and await self._images.find(tag) is None:
            tar = b"".join(member(name, content) for name, content in host.files)
            label = f"LABEL {ROLE}={Role.BASE.value}"
            await import_image(self._engine, tag, tar + end_of_archive(), (label,))

    async def _with_images_at_hand(
        self, dockerfile: str, on_line: OnLine, given: Mapping[str, str]
    ) -> str:
        """Starts from images that are here now; where a public one cannot be had, from ours."""
        ours: dict[str, str] = {}
        for image in external_images(dockerfile, given):
            if await self._images.find(image) is None:
                found = await self._at_hand(image, on_line)
                if found != image:
                    ours[image] = found
                    on_line(f"FROM {image} is not to be had: {found}, a Debian, stands in for it.")
        return replace_images(dockerfile, ours, given)

    async def _at_hand(self, image: str, on_line: OnLine) -> str:
        try:
            await self._images.pull(image, on_line)
        except EngineUnavailableError:
            raise
        except EngineError as error:
            base = await self._base_images.match(image, self._bases)
            if base is None:
                raise BuildError(
                    f"The image {image} is not on this machine, and {error};"
                    f" `docker load` brings it here from a file that `docker save` made elsewhere."
                ) from error
            if base.packages_version != base.image_version:
                on_line(f"The like of {base.image} has {base.packages_version} of the language.")
            return await self._base_images.made(base, on_line)
        return image

    def _archived(
        self, request: BuildRequest, prepared: Prepared, keep: Keep | None
    ) -> AsyncGenerator[bytes, None]:
        tree = self._repository.archive(request.repository, request.tree, request.paths)
        return context(prepared.text, request.files, tree, keep)

    async def _chosen(self, request: BuildRequest) -> Keep | None:
        """Which files of the tree go into the context; None for all.

        `.dockerignore` counts for a repository's own Dockerfile only: App Runner copies all of
        the source into its own builds. The file itself would undo ours.
        """
        dropped = {IGNORE} | {name for name, _ in request.files}
        if request.paths:
            hidden = dropped & set(request.paths)
            return (lambda path: path not in dropped) if hidden else None
        files = await self._repository.files(request.repository, request.tree)
        blobs = {file.path: file.blob for file in files}
        named = next((name for name in IGNORED_BY if name in blobs), "") if request.own else ""
        if not named:
            hidden = dropped & set(blobs)
            return (lambda path: path not in dropped) if hidden else None
        text = await self._repository.read(request.repository, blobs[named])
        ignore = read_dockerignore(text.decode(errors="replace"))
        return lambda path: path not in dropped and not ignore.ignores(path)


async def _watched(
    build: Coroutine[Any, Any, str], watch: BuildWatch, limit: asyncio.Timeout
) -> str:
    """The build's result, or its error without a group around it."""
    failure: Exception | None = None
    image = ""
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch.follow(limit))
        try:
            image = await build
        except Exception as error:  # noqa: BLE001 - raised below
            failure = error
        watching.cancel()
    if failure is not None:
        raise failure
    return image
