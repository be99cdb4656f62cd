"""Base images: the public ones where they can be had, else their like from Debian's packages.

Why Debian: docs/adr/0003-base-images-from-debian.md.
"""

import asyncio
import hashlib
import re
from collections import defaultdict
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import replace
from pathlib import Path

from emulator.decisions.image_names import split_reference
from emulator.drivers import process
from emulator.drivers.docker.build_output import OnLine
from emulator.drivers.docker.buildkit import PATH
from emulator.drivers.docker.engine import Engine
from emulator.drivers.docker.labels import ROLE, Role
from emulator.drivers.docker.pull import Images
from emulator.model.build import Base, BaseImage
from emulator.model.errors import BuildError, EngineError, EngineUnavailableError

REPOSITORY = "apprunner-emulator"
DEBIAN = f"{REPOSITORY}/debian"
DEFAULT_SUITE = "bookworm"
BASE_LABELS: Mapping[str, str] = {ROLE: Role.BASE.value}  # no owner: all state directories share it
_RELEASES = {"bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14"}
_OFFICIAL = re.compile(
    r"^(?:(?:index\.|registry-1\.)?docker\.io/|public\.ecr\.aws/docker/|mirror\.gcr\.io/)?"
    r"(?:library/)?"
)
_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)")
_UNTAGGABLE = re.compile(r"[^\w.-]")

# Builds a Dockerfile (text, tag, where its lines go) that needs no context; returns the image's id.
MakeImage = Callable[[str, str, OnLine], Awaitable[str]]


class BaseImages:
    """References for FROM. What was made once is used again by every service and emulator."""

    def __init__(
        self, engine: Engine, images: Images, make: MakeImage, variables: Mapping[str, str]
    ) -> None:
        self._engine = engine
        self._images = images
        self._make = make
        self._variables = variables
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._known: dict[tuple[BaseImage, str | None], Base] = {}

    async def reference(self, base: BaseImage, on_line: OnLine) -> Base:
        """The public image if it is here or can be pulled, else one made from packages.

        One that was made before comes before a pull: nobody waits for a registry again.
        """
        async with self._locks[base.image]:
            public = await self._images.find(base.image)
            known = self._known.get((base, public))
            if known is None or await self._images.find(known.reference) is None:
                known = await self._found(base, public, on_line)
                if not base.completion or known.reference != base.image:  # else it is tried again
                    self._known[base, public] = known
            return known

    async def _found(self, base: BaseImage, public: str | None, on_line: OnLine) -> Base:
        if base.exact and (exact := await self._exact(base, on_line)):
            return exact
        if public or await self._pulled(base, on_line):
            return Base(await self._completed(base, on_line), base.image_version)
        return Base(await self.made(base, on_line), base.packages_version)

    async def _exact(self, base: BaseImage, on_line: OnLine) -> Base | None:
        """The public image of the version that was asked for; no other is made in its place."""
        exact = replace(base, image=base.exact, exact="")
        if await self._images.find(exact.image) is None:
            if await self._was_made(base):
                return None
            try:
                await self._images.pull(exact.image, on_line)
            except EngineUnavailableError:
                raise
            except EngineError as error:
                on_line(f"{error}; {base.image} is looked for instead.")
                return None
        return Base(await self._completed(exact, on_line), base.exact_version)

    async def _was_made(self, base: BaseImage) -> bool:
        suite = await asyncio.to_thread(host_suite)
        debian = await self._images.find(f"{DEBIAN}:{suite}")
        return bool(debian and await self._images.find(made_tag(base, debian)))

    async def _completed(self, base: BaseImage, on_line: OnLine) -> str:
        """The public image, with what the runtime promises and it lacks."""
        public = await self._images.find(base.image)
        if not base.completion or public is None:
            return base.image
        tag = completed_tag(base, public)
        if await self._images.find(tag) is None:
            on_line(f"Making {tag} from {base.image}, once for all services.")
            try:
                dockerfile = "\n".join((f"FROM {base.image}", *base.completion, ""))
                await self._make(dockerfile, tag, on_line)
            except BuildError as error:  # many applications need nothing of it
                on_line(f"{str(error).rstrip('.')}: {base.image} is used as it is.")
                return base.image
        return tag

    async def _pulled(self, base: BaseImage, on_line: OnLine) -> bool:
        if await self._was_made(base):
            return False
        try:
            await self._images.pull(base.image, on_line)
        except EngineUnavailableError:
            raise
        except EngineError as error:
            if not base.can_be_made:
                raise EngineError(
                    f"{error}. Debian has no packages for its like either: bring the image {base.image}"
                    " here by `docker load` from a file that `docker save` made elsewhere"
                ) from error
            on_line(f"{error}; it is made from Debian's packages instead.")
            return False
        return True

    async def made(self, base: BaseImage, on_line: OnLine) -> str:
        """A tag of ours."""
        suite = await asyncio.to_thread(host_suite)
        debian = await self._debian(suite, on_line)
        if is_debian(base.image, suite):
            return f"{DEBIAN}:{suite}"
        tag = made_tag(base, debian)
        async with self._locks[tag]:
            if await self._images.find(tag) is None:
                on_line(f"Making {tag} from Debian's packages, once for all services.")
                await self._make(recipe(base, f"{DEBIAN}:{suite}"), tag, on_line)
        return tag

    async def match(self, image: str, bases: Sequence[BaseImage]) -> BaseImage | None:
        """The base that can stand in for an image; Debian itself can always be made."""
        suite = await asyncio.to_thread(host_suite)
        if is_debian(image, suite):
            return BaseImage(image=f"debian:{suite}")
        return match_base(image, (base for base in bases if base.can_be_made))

    async def _debian(self, suite: str, on_line: OnLine) -> str:
        tag = f"{DEBIAN}:{suite}"
        async with self._locks[tag]:
            here = await self._images.find(tag)
            if here is not None:
                return here
            on_line(f"Making {tag}, a minimal Debian, once for all services.")
            await self._import_debian(suite)
        made = await self._images.find(tag)
        if made is None:
            raise EngineError(f"the engine imported {tag}, but does not have it")
        return made

    async def _import_debian(self, suite: str) -> None:
        command = ("mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates")
        environment = {"PATH": self._variables.get("PATH") or PATH} | _lower_proxies(
            self._variables
        )
        tar = process.stream(*command, suite, "-", environment=environment)
        try:
            await import_image(self._engine, f"{DEBIAN}:{suite}", tar, ('CMD ["bash"]', _label()))
        except process.MissingProgramError as error:
            raise EngineError(
                "Base images are made with mmdebstrap where no registry can be reached, and it"
                " is not installed: `apprunner doctor --fix` installs it."
            ) from error
        except process.ProcessError as error:
            why = error.complaint.splitlines()[-1:] or [str(error)]
            raise EngineError(f"mmdebstrap could not make Debian {suite}: {why[0]}") from error
        finally:
            await tar.aclose()


async def import_image(
    engine: Engine, tag: str, tar: AsyncIterator[bytes] | bytes, changes: Sequence[str]
) -> None:
    """An image of one layer from a tar stream."""
    name, version = split_reference(tag)
    parameters = {"fromSrc": "-", "repo": name, "tag": version, "changes": list(changes)}
    async for message in engine.stream("POST", "/images/create", parameters, data=tar):
        if message.get("error"):
            raise EngineError(f"{tag} cannot be imported: {message['error']}")


def _label() -> str:
    return f"LABEL {ROLE}={Role.BASE.value}"


def _lower_proxies(variables: Mapping[str, str]) -> dict[str, str]:
    names = ("http_proxy", "https_proxy", "no_proxy")
    found = {name: variables.get(name) or variables.get(name.upper(), "") for name in names}
    return {name: value for name, value in found.items() if value}


def host_suite(release: Path = Path("/etc/os-release")) -> str:
    """The host's own Debian release, as its mirrors can be reached; reads a file."""
    try:
        lines = release.read_text().splitlines()
    except OSError:
        return DEFAULT_SUITE
    values = dict(line.partition("=")[::2] for line in lines)
    suite = values.get("VERSION_CODENAME", "").strip('"')
    return suite if values.get("ID", "").strip('"') == "debian" and suite else DEFAULT_SUITE


def made_tag(base: BaseImage, debian: str) -> str:
    """Named after the public image, with a hash of all that it is made of."""
    return _tag(base, (base.tools, base.packages, base.setup, debian))


def completed_tag(base: BaseImage, public: str) -> str:
    """Likewise, of a public image that something was added to."""
    return _tag(base, (base.completion, public))


def _tag(base: BaseImage, ingredients: tuple[object, ...]) -> str:
    name, version = split_reference(base.image)
    made_of = repr(ingredients).encode()
    short = _UNTAGGABLE.sub("-", name.rpartition("/")[2].lower())
    number = _UNTAGGABLE.sub("-", version)
    return f"{REPOSITORY}/{short}:{number}-{hashlib.sha256(made_of).hexdigest()[:12]}"


def recipe(base: BaseImage, debian: str) -> str:
    """The Dockerfile of a made image; the tools come first, as every base has the same."""
    tools = base.tools
    steps = _steps(tools.packages, tools.setup)
    own = " && ".join(_steps(base.packages, base.setup))  # one layer: it may take something away
    runs = (f"RUN {step}" for step in (*steps, own) if step)
    return "\n".join((f"FROM {debian}", *runs)) + "\n"


def _steps(packages: Sequence[str], setup: Sequence[str]) -> Iterator[str]:
    if packages:
        # Some hundred lines about single packages would bury what matters; errors still show.
        install = "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends"
        yield (
            f"apt-get update -qq && {install} {' '.join(packages)} > /dev/null"
            " && apt-get clean && rm -rf /var/lib/apt/lists/*"
        )
    yield from setup


def is_debian(image: str, suite: str) -> bool:
    """Whether our Debian can stand in for an image: the same release, or just any."""
    name, tag = _named(image)
    if name != "debian":
        return False
    words = set(tag.split("-"))
    release = _RELEASES.get(suite, suite)
    number = _VERSION.match(tag)
    same = number is not None and number[1].partition(".")[0] == release
    return suite in words or same or bool(words & {"latest", "stable"})


def match_base(image: str, bases: Iterable[BaseImage]) -> BaseImage | None:
    """The newest base of the same repository whose version agrees as far as both name one."""
    name, tag = _named(image)
    candidates = [
        base
        for base in bases
        if _named(base.image)[0] == name and _agree(_numbers(tag), _numbers(_named(base.image)[1]))
    ]
    return max(candidates, key=lambda base: _numbers(_named(base.image)[1]), default=None)


def _named(image: str) -> tuple[str, str]:
    """`docker.io/library/python:3.11@sha256:…` is python, 3.11; a digest alone matches nothing."""
    tagged, at, _ = image.partition("@")
    name, tag = split_reference(tagged)
    nameless = at and name == tagged
    return "" if nameless else _OFFICIAL.sub("", name), tag


def _numbers(tag: str) -> tuple[int, ...]:
    found = _VERSION.match(tag)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def _agree(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    common = min(len(one), len(other))
    return one[:common] == other[:common]
