"""Commands of a build in a container of ours, since the engine's builder mounts no caches; what they
leave is committed, just as the builder does it.

Their variables come with an exec and not with the container: whatever is the container's own ends in
the image. The container's first process waits for the command's end and takes all others with it.
"""

import asyncio
import codecs
import shlex
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from emulator.decisions.build_environment import layer_key
from emulator.decisions.build_stages import Run
from emulator.decisions.caches import (
    PROGRAMS,
    programs as cache_programs,
    variables as cache_variables,
)
from emulator.decisions.image_names import split_reference
from emulator.drivers.docker.build_output import BuildOutput, shown_command
from emulator.drivers.docker.build_run import remove_images
from emulator.drivers.docker.build_sandboxes import BuildSandboxes
from emulator.drivers.docker.build_watch import Running
from emulator.drivers.docker.caches import mounts
from emulator.drivers.docker.concurrency import to_the_end
from emulator.drivers.docker.containers import create_container, remove_container
from emulator.drivers.docker.engine import ConflictError, Engine, Json, NotFoundError
from emulator.drivers.docker.labels import DEPLOYMENT, LAYER, OWNER, SERVICE
from emulator.model.build import Cache

_DOOR: Final = "/dev/shm/.apprunner"  # noqa: S108 - in memory, the container's own
_WAIT: Final = f'mkfifo {_DOOR} && read -r code < {_DOOR} && exit "$code"'
_COMMANDS: Final = """until [ -p %(door)s ]; do :; done
for each in "$@"; do %(shell)s "$each"; code=$?; [ "$code" = 0 ] || break; done
echo "$code" > %(door)s"""
_SHELL: Final = ("/bin/sh", "-c")
_ROOT: Final = frozenset({"", "0", "root", "0:0", "root:root"})
_KILLED: Final = 137
_ENDING: Final = 10.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Where commands run: `variables` are theirs, `labels` the containers'."""

    variables: Mapping[str, str]
    labels: Mapping[str, str]
    caches: tuple[Cache, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """The image that a layer is made of, and the commands that bring files into it first."""

    image: str
    files: tuple[str, ...] = ()

    def commands_of(self, runs: Sequence[Run]) -> tuple[str, ...]:
        return (*self.files, *(run.command for run in runs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What the last image of a build gets."""

    tag: str
    labels: Mapping[str, str]


class Layers:
    """Of one build. `made` are the images that it has made, `running` the container at work."""

    def __init__(
        self,
        engine: Engine,
        workshop: Workshop,
        sandboxes: BuildSandboxes,
        remove_later: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._workshop = workshop
        self._sandboxes = sandboxes
        self._remove_later = remove_later
        self.made: list[str] = []
        self._named = ""
        self.running = Running()

    async def find(self, start: Start, runs: Sequence[Run]) -> str | None:
        """What the same commands have made of this image before."""
        label = f"{LAYER}={self._key(start, runs)}"
        filters = {"all": True, "filters": {"label": [label]}}
        found = await self._engine.get("/images/json", filters)
        return str(found[0]["Id"]) if found else None

    def _key(self, start: Start, runs: Sequence[Run]) -> str:
        work = self._workshop
        commands = start.commands_of(runs)
        return layer_key(start.image, commands, work.variables, cache_programs(work.caches))

    async def make(
        self, start: Start, runs: Sequence[Run], output: BuildOutput, name: Named | None = None
    ) -> str:
        """Runs the commands one after the other and commits what they leave; the image's id.

        Raises BuildError for the first that fails; those after it are no author's.
        """
        found = await self._engine.get(f"/images/{start.image}/json")
        async with (
            self._sandboxes.taken(self._workshop.labels[SERVICE]) as network,
            self._container(self._body(found, runs, network), last=name is not None) as container,
        ):
            output.feed({"stream": f" ---> Running in {container[:12]}\n"})
            self.running = Running((container,), shown_command(runs[0].command))
            try:
                code = await self._run(container, found, start.commands_of(runs), output)
            finally:
                self.running = Running()
            if code:
                shown = f"The command '/bin/sh -c {runs[0].command}'"
                raise output.failure(f"{shown} returned a non-zero code: {code}")
            key = {LAYER: self._key(start, runs)}
            return await self._commit(container, found["Config"], key, name)

    async def name(self, image: str, name: Named) -> str:
        """The same image by a name and with its labels."""
        found = await self._engine.get(f"/images/{image}/json")
        body = self._plain_body(found, f"LABEL {' '.join(name.labels)}")
        async with self._container(body, last=True) as container:
            return await self._commit(container, found["Config"], {}, name)

    async def undo(self) -> None:
        """Leaves nothing of what was made."""
        if self._named:
            with suppress(NotFoundError, ConflictError):
                await self._engine.delete(f"/images/{self._named}", {"noprune": True})
        await remove_images(self._engine, self.made)

    # -- containers --------------------------------------------------------------------------------

    def _plain_body(self, image: Json, shown: str) -> dict[str, Json]:
        """Its Cmd is what `docker history` shows; where the image has none it would stay in it."""
        config = image["Config"]
        says = bool(config.get("Cmd") or config.get("Entrypoint"))
        return {
            "Image": image["Id"],
            "Entrypoint": [*_SHELL, _WAIT, "RUN"],
            "Cmd": [shown] if says else [],
            "Labels": self._workshop.labels,
        }

    def _body(self, image: Json, runs: Sequence[Run], network: str) -> Json:
        work = self._workshop
        return {
            **self._plain_body(image, " && ".join(run.command for run in runs)),
            "HostConfig": {
                "NetworkMode": network,
                "Mounts": mounts(self._caches(image), work.labels[OWNER], work.labels[SERVICE]),
            },
        }

    def _caches(self, image: Json) -> tuple[Cache, ...]:
        """None for another user than root, who could not write there."""
        return self._workshop.caches if (image["Config"].get("User") or "") in _ROOT else ()

    @asynccontextmanager
    async def _container(self, body: Json, *, last: bool) -> AsyncIterator[str]:
        """Whenever this is cancelled, no container is left. The last one of a build that went well
        is removed when nobody waits for it.
        """
        made: list[str] = []

        async def create() -> None:
            made.append(await create_container(self._engine, None, body))

        try:
            await to_the_end(create())
            yield made[0]
            if last:
                self._remove_later(made.pop())
        finally:
            for container in made:
                await to_the_end(remove_container(self._engine, container))

    # -- commands ----------------------------------------------------------------------------------

    async def _run(
        self, container: str, image: Json, commands: Sequence[str], output: BuildOutput
    ) -> int:
        """The exit code of the first that fails, or 0."""
        await self._engine.post(f"/containers/{container}/start")
        made = await self._engine.post(
            f"/containers/{container}/exec",
            json={
                "Cmd": [*_SHELL, self._script(image), "sh", *commands],
                "Env": [f"{name}={value}" for name, value in self._variables(image).items()],
                "AttachStdout": True,
                "AttachStderr": True,
            },
        )
        await self._read(made["Id"], output)
        try:
            async with asyncio.timeout(_ENDING):
                ended = await self._engine.post(f"/containers/{container}/wait", timeout=None)
        except TimeoutError:  # what was to tell the container is gone: killed, like all else
            return _KILLED
        return int(ended["StatusCode"])

    def _script(self, image: Json) -> str:
        shell = image["Config"].get("Shell") or _SHELL
        commands = _COMMANDS % {"door": _DOOR, "shell": shlex.join(shell)}
        return "".join((*_lay_out(cache_programs(self._caches(image))), commands))

    def _variables(self, image: Json) -> Mapping[str, str]:
        """ENV of the image wins over them, as it does over ARG."""
        own = {entry.partition("=")[0] for entry in image["Config"].get("Env") or ()}
        given = {**self._workshop.variables, **cache_variables(self._caches(image))}
        return {name: value for name, value in given.items() if name not in own}

    async def _read(self, execution: str, output: BuildOutput) -> None:
        decoders = {kind: codecs.getincrementaldecoder("utf-8")("replace") for kind in (1, 2)}
        start = {"Detach": False, "Tty": False}
        frames = self._engine.frames("POST", f"/exec/{execution}/start", json=start)
        async with aclosing(frames):
            async for several in frames:
                for kind, data in several:
                    output.feed({"stream": decoders[kind].decode(data)})
        output.end()

    # -- images ------------------------------------------------------------------------------------

    async def _commit(
        self, container: str, config: Json, key: Mapping[str, str], name: Named | None
    ) -> str:
        """With the configuration of the image that it started from. What the container has more
        than that the engine would add: so there are labels without a value.
        """
        labels = name.labels if name else dict.fromkeys((OWNER, SERVICE, DEPLOYMENT), "")
        body = {
            **config,
            "Entrypoint": config.get("Entrypoint") or [],
            "Cmd": config.get("Cmd") or [],
            "Labels": {**(config.get("Labels") or {}), **labels, **key},
        }
        made: list[str] = []

        async def commit() -> None:
            repository, tag = split_reference(name.tag) if name else (None, None)
            parameters = {"container": container, "pause": False, "repo": repository, "tag": tag}
            answer = await self._engine.post("/commit", parameters, json=body, timeout=None)
            made.append(str(answer["Id"]))
            self.made += made
            self._named = name.tag if name else ""

        await to_the_end(commit())
        return made[0]


def is_plain(config: Json) -> bool:
    """Whether commands run as root and by the usual shell: those of ours as well."""
    return (config.get("User") or "") in _ROOT and not config.get("Shell")


def _lay_out(programs: Mapping[str, str]) -> Iterator[str]:
    """In memory, the container's own, like the door: nothing of it comes into the image."""
    if programs:
        yield f"mkdir -p {PROGRAMS} && export PATH={PROGRAMS}:$PATH\n"
    for name, text in programs.items():
        place = shlex.quote(f"{PROGRAMS}/{name}")
        yield f"printf %s {shlex.quote(text)} > {place} && chmod 755 {place}\n"
