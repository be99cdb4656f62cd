"""Buildpacks, `apprunner.yaml` and the build plan, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from emulator.model.configuration import DEFAULT_PORT, NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every base made from packages has besides its language, in a layer that all share."""

    packages: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """A public image and how to make its like from Debian's packages where none can be pulled.

    `image_version` and `packages_version` are the language's in the one and the other.
    `exact` is the public image of the very version that was asked for, preferred where it is to be
    had (in a buildpack: with {version} for that). `completion` are lines of a Dockerfile that add to the public image what the runtime promises
    and it lacks; `setup` are shell lines run after the packages are installed.
    """

    image: str
    image_version: str = ""
    exact: str = ""
    exact_version: str = ""
    completion: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    packages_version: str = ""
    setup: tuple[str, ...] = ()
    tools: Tools = field(default_factory=Tools)

    @property
    def can_be_made(self) -> bool:
        """Debian does not have everything."""
        return bool(self.packages or self.setup)


@dataclass(frozen=True, slots=True)
class Base:
    """A reference for FROM, and the version of the language in it ("" where nobody says)."""

    reference: str
    version: str = ""


class BuildProcess(StrEnum):
    """App Runner's two: the original runs `build` again in the run image, the revised one
    carries /app over and runs `pre-run` there.
    """

    ORIGINAL = "original"
    REVISED = "revised"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A managed runtime: `name` as in apprunner.yaml (python311), `api` as in the API."""

    name: str
    api: str
    process: BuildProcess
    base: BaseImage


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyCommand:
    """A build command that only installs what the listed files name.

    `pattern` is a regular expression that must match the whole command (blanks folded);
    `inputs` the files it reads (those that exist are the cache key), of which every one in
    `required` must exist; `refuse` maps an input to a regular expression that must not occur in
    it (local paths, nested files, life-cycle scripts): then the step is not eligible for a layer
    of its own. `outputs` are paths it makes in the source directory.
    """

    pattern: str
    inputs: tuple[str, ...]
    required: tuple[str, ...] = ()
    refuse: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A folder that a tool fills with what it downloads, kept beside the images for later builds.

    `variables` lead the tool there; `{cache}` in a value stands for the folder. `exclusive`: two
    builds must not use it at once, or what one service puts there must not reach another; then
    each service has its own. `unless` (build commands) and `needed` (the start command) are
    regular expressions: where one is found the tool keeps to its own place in the image.
    `contains` maps files, which must exist, to regular expressions in them. `programs` are texts of
    scripts by name: they come before the image's own while a command runs.
    """

    name: str
    variables: Mapping[str, str]
    exclusive: bool = False
    unless: str = ""
    needed: str = ""
    contains: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    programs: Mapping[str, str] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """A way to install what a repository needs; the first whose `files` all exist is taken.

    `manifest` is the file that names the packages.
    """

    files: tuple[str, ...]
    manifest: str
    build: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionRule:
    """A way to recognise a repository without apprunner.yaml; the first that matches wins.

    All of `files` must exist and none of `absent`; `contains` maps a file to a regular expression
    in it. `build` and `command` are the defaults that follow. `{name}` in a file stands for what
    a repository calls it, and for the same in the commands. `needs` is a regular expression in
    whichever manifest there is ({manifest} in `because`); its way to install comes before `build`.
    """

    files: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    contains: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    needs: str = ""
    build: tuple[str, ...] = ()
    command: str = ""
    port: int = DEFAULT_PORT
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A JSON file that may say which versions of the language will do: `key` has dots, its value is
    a range in npm's notation.
    """

    file: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Buildpack:
    """One folder under buildpacks/; `runtime` is the name of the one detection chooses.

    `programs` are first words of commands that only this language has.
    """

    name: str
    runtimes: tuple[Runtime, ...]
    runtime: str
    programs: tuple[str, ...] = ()
    installs: tuple[Install, ...] = ()
    rules: tuple[DetectionRule, ...] = ()
    dependencies: tuple[DependencyCommand, ...] = ()
    caches: tuple[Cache, ...] = ()
    demands: tuple[Demand, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AppConfiguration:
    """apprunner.yaml, validated; commands are shell lines, `command` is split on blanks.

    `extensions` say what works here and fails on App Runner; they are among the warnings.
    """

    runtime: str
    build: tuple[str, ...]
    command: str
    pre_build: tuple[str, ...] = ()
    post_build: tuple[str, ...] = ()
    pre_run: tuple[str, ...] = ()
    build_env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    runtime_version: str | None = None
    port: int = DEFAULT_PORT
    port_env: str | None = None
    env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    secrets: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    warnings: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()


class BuildKind(StrEnum):
    """How the image is made."""

    LAYERED = "layered"  # dependencies only; the source tree is laid over at the start
    COMPLETE = "complete"  # everything in the image
    DOCKERFILE = "dockerfile"  # the repository's own


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """All that a build needs, decided; `reasons` say why, for people.

    `inputs` are the files (relative to the source directory) that a layered build reads; `links`
    (path, target) what its commands make there. `directory` is the source directory inside the
    repository, without slashes at its ends ("" for the root). `dockerfile` is the text of the
    repository's own for that kind, whose arguments are in `build_env`. `versions` are those of the
    language that will do, `asked_by` says whose wish that is. `caches` are those that its commands
    may use, `suspicions` why the start may fail, `extensions` why App Runner would not build it.
    """

    kind: BuildKind
    base: BaseImage | None
    versions: tuple[str, ...] = ()
    asked_by: str = ""
    process: BuildProcess = BuildProcess.ORIGINAL
    directory: str = ""
    pre_build: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    post_build: tuple[str, ...] = ()
    pre_run: tuple[str, ...] = ()
    build_env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    inputs: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    caches: tuple[Cache, ...] = ()
    dockerfile: str = ""
    command: tuple[str, ...] | None = None
    port: int = DEFAULT_PORT
    env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    secrets: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    suspicions: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
