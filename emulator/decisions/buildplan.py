"""How a commit becomes an image, decided before anything is built.

Rules: apprunner.yaml comes first, then values of the API, then a Dockerfile, then what the
buildpacks recognise (the last two are extensions: App Runner would refuse). An image holds only
the dependencies if every command that shapes it merely installs what listed files name; the
source is then laid over at the start, and a commit that leaves those files alone needs no build.
Whenever that could differ from what App Runner would deploy, the image is complete.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from emulator.decisions.app_configuration import (
    FILE,
    Node,
    misspelt,
    read,
    split_command,
)
from emulator.decisions.configuration_schema import agree
from emulator.decisions.detection import DOCKERFILE, detect, runtime_named
from emulator.model.build import (
    AppConfiguration,
    BuildKind,
    Buildpack,
    BuildPlan,
    BuildProcess,
    DependencyCommand,
    Runtime,
)
from emulator.model.configuration import (
    DEFAULT_PORT,
    CodeSource,
    CodeValues,
    ConfigurationSource,
)
from emulator.model.errors import ConfigurationError, Place

_API = "CodeConfigurationValues"
_PRINTS = re.compile(r"(?:echo(?: [^$`\\|&;<>()*?~#]*)?|true|:)")
_UNQUOTED_JOIN = re.compile(r"[^\"'`|;<>()$\\#]*")


def plan(
    *,
    paths: Collection[str],
    contents: Mapping[str, bytes],
    node: Node | None,
    source: CodeSource,
    env: Mapping[str, str],
    buildpacks: Sequence[Buildpack],
) -> BuildPlan:
    """`paths` are all files of the source directory, `contents` those that `detection.wanted`
    names; `node` is the parsed apprunner.yaml, `env` is added at run time. Values without a
    runtime leave that to the Dockerfile or to detection. Raises ConfigurationError.
    """
    files = _Files(frozenset(paths), contents)
    chosen = _choose(files, node, source, buildpacks)
    if isinstance(chosen, BuildPlan):
        return _with_env(chosen, env)
    return _with_env(_managed(chosen, files, source.source_directory.strip("/")), env)


@dataclass(frozen=True, slots=True)
class _Files:
    paths: frozenset[str]
    contents: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """A managed runtime with its configuration; `argv` where the command is not to be split."""

    buildpack: Buildpack
    runtime: Runtime
    configuration: AppConfiguration
    argv: tuple[str, ...] | None = None
    reasons: tuple[str, ...] = ()


# -- what to go by -------------------------------------------------------------------------------


def _choose(
    files: _Files, node: Node | None, source: CodeSource, buildpacks: Sequence[Buildpack]
) -> _Chosen | BuildPlan:
    by_api = source.configuration_source is ConfigurationSource.API
    values = source.values
    if node is not None and not by_api:
        return _from_file(node, buildpacks)
    ignored = f"{FILE} is not read: ConfigurationSource is API." if node is not None else ""
    reasons = (ignored,) if ignored else ()
    if values is not None and values.runtime:
        return _from_values(values, files, buildpacks, reasons)
    if DOCKERFILE in files.paths:
        return _from_dockerfile(files, source, values, reasons)
    return _from_detection(files, values, buildpacks, reasons)


def _from_file(node: Node, buildpacks: Sequence[Buildpack]) -> _Chosen:
    names = {r.name: b for b in buildpacks for r in b.runtimes}
    configuration = read(node, file=FILE, runtimes=names)
    buildpack = names[configuration.runtime]
    return _Chosen(
        buildpack=buildpack,
        runtime=runtime_named(buildpack, configuration.runtime),
        configuration=configuration,
        reasons=(f"{FILE} asks for {configuration.runtime}.",),
    )


def _from_values(
    values: CodeValues,
    files: _Files,
    buildpacks: Sequence[Buildpack],
    reasons: tuple[str, ...],
) -> _Chosen:
    known = {r.api: (b, r) for b in buildpacks for r in b.runtimes}
    if values.runtime not in known:
        valid = ", ".join(sorted(known))
        raise ConfigurationError(
            Place(file=_API, key="Runtime"),
            f"no buildpack brings {values.runtime}; there are {valid}",
        )
    buildpack, runtime = known[values.runtime]
    command = values.start_command
    because: tuple[str, ...] = (f"The service's settings ask for {runtime.name}.",)
    argv = None
    if command is None:
        found = _from_detection(files, None, (buildpack,), ())
        command, argv = found.configuration.command, found.argv
        because += (f"StartCommand is not set; started with: {command}",)
    configuration = AppConfiguration(
        runtime=runtime.name,
        build=(values.build_command.strip(),) if values.build_command else (),
        command=command,
        port=values.port,
        env=values.env,
        secrets=values.secrets,
    )
    return _Chosen(
        buildpack=buildpack,
        runtime=runtime,
        configuration=configuration,
        argv=argv,
        reasons=reasons + because,
    )


def _from_detection(
    files: _Files,
    values: CodeValues | None,
    buildpacks: Sequence[Buildpack],
    reasons: tuple[str, ...],
) -> _Chosen:
    found = detect(paths=files.paths, contents=files.contents, buildpacks=buildpacks)
    configuration = found.configuration
    argv = ("sh", "-c", found.command) if found.shell else None
    if values is not None:
        configuration = _overridden(configuration, values, found.runtime)
        argv = None if values.start_command else argv
    hint = misspelt(files.paths)
    return _Chosen(
        buildpack=found.buildpack,
        runtime=found.runtime,
        configuration=replace(configuration, warnings=(f"{hint}.",) if hint else ()),
        argv=argv,
        reasons=reasons + found.because,
    )


def _overridden(
    configuration: AppConfiguration, values: CodeValues, runtime: Runtime
) -> AppConfiguration:
    """What was recognised, with what the values say otherwise."""
    if values.build_command:
        phase = "pre_run" if runtime.process is BuildProcess.REVISED else "build"
        configuration = replace(configuration, **{phase: (values.build_command.strip(),)})
    return replace(
        configuration,
        command=values.start_command or configuration.command,
        port=configuration.port if values.port == DEFAULT_PORT else values.port,
        env=values.env,
        secrets=values.secrets,
    )


def _from_dockerfile(
    files: _Files, source: CodeSource, values: CodeValues | None, reasons: tuple[str, ...]
) -> BuildPlan:
    text = files.contents.get(DOCKERFILE, b"").decode("utf-8", "replace")
    given = values or CodeValues(runtime="")
    exposed = exposed_port(text)
    port = given.port if given.port != DEFAULT_PORT else exposed or DEFAULT_PORT
    why = "it exposes it" if port == exposed else "the default" if port == DEFAULT_PORT else "set"
    hint = misspelt(files.paths)
    return BuildPlan(
        kind=BuildKind.DOCKERFILE,
        base=None,
        directory=source.source_directory.strip("/"),
        dockerfile=text,
        command=split_command(given.start_command) if given.start_command else None,
        port=port,
        env=_frozen({**given.env, "PORT": str(port)}),
        secrets=given.secrets,
        reasons=(
            *reasons,
            f"There is no {FILE}: the repository's own {DOCKERFILE} is built (App Runner would "
            f"not), port {port} ({why}).",
        ),
        warnings=(f"{hint}.",) if hint else (),
    )


def exposed_port(dockerfile: str) -> int | None:
    """The first TCP port that the last stage exposes."""
    last_stage = re.split(r"(?im)^\s*FROM\s", dockerfile)[-1]
    for words in re.findall(r"(?im)^\s*EXPOSE\s+(.+)$", last_stage):
        for word in words.split():
            match = re.fullmatch(r"(\d{1,5})(?:/tcp)?", word.lower())
            if match and 1 <= int(match[1]) <= 65535:
                return int(match[1])
    return None


# -- how to build --------------------------------------------------------------------------------


def _managed(chosen: _Chosen, files: _Files, directory: str) -> BuildPlan:
    configuration = chosen.configuration
    start = chosen.argv or split_command(configuration.command)
    variables = {**configuration.env, "PORT": str(configuration.port)}
    if configuration.port_env:
        variables[configuration.port_env] = str(configuration.port)
    base = BuildPlan(
        kind=BuildKind.COMPLETE,
        base=chosen.runtime.base,
        process=chosen.runtime.process,
        directory=directory,
        build_env=configuration.build_env,
        command=start,
        port=configuration.port,
        env=_frozen(variables),
        secrets=configuration.secrets,
        reasons=chosen.reasons,
        warnings=(*configuration.warnings, *_warnings(chosen, files)),
    )
    layer = _layer(chosen, files)
    if isinstance(layer, str):
        return replace(
            base,
            pre_build=configuration.pre_build,
            build=configuration.build,
            post_build=configuration.post_build,
            pre_run=_pre_run(chosen),
            reasons=(*base.reasons, f"The image is built from the whole source: {layer}."),
        )
    return _layered(base, layer, files)


def _pre_run(chosen: _Chosen) -> tuple[str, ...]:
    revised = chosen.runtime.process is BuildProcess.REVISED
    return chosen.configuration.pre_run if revised else ()


@dataclass(frozen=True, slots=True)
class _Step:
    """A command that may be in a layer, with the dependency commands it consists of."""

    command: str
    parts: tuple[DependencyCommand, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(output for part in self.parts for output in part.outputs)


def _layered(base: BuildPlan, steps: tuple[_Step, ...], files: _Files) -> BuildPlan:
    used = {path for step in steps for part in step.parts for path in part.inputs}
    inputs = tuple(sorted(used & files.paths))
    outputs = dict.fromkeys(output for step in steps for output in step.outputs)
    prefix = f"{base.directory}/" if base.directory else ""
    if not steps:
        reason = "Nothing is installed: the runtime runs the source as it is, without a build."
    elif inputs:
        reason = (
            f"Only dependencies are built; while {', '.join(inputs)} and the commands stay the "
            "same, a commit needs no build."
        )
    else:
        reason = "Only dependencies are built; while the commands stay, a commit needs no build."
    return replace(
        base,
        kind=BuildKind.LAYERED,
        build=tuple(step.command for step in steps),
        build_env=base.build_env if steps else _frozen({}),
        inputs=inputs,
        links=tuple((prefix + output, f"/{output}") for output in outputs),
        reasons=(*base.reasons, reason),
    )


def _layer(chosen: _Chosen, files: _Files) -> tuple[_Step, ...] | str:
    """The steps of a dependency layer, or why there cannot be one."""
    configuration = chosen.configuration
    for phase, commands in (
        ("pre-build", configuration.pre_build),
        ("post-build", configuration.post_build),
    ):
        if commands:
            return f"there are {phase} commands"
    judge = _Judge(chosen.buildpack.dependencies, files)
    build = judge.steps(configuration.build)
    if isinstance(build, str):
        return build
    if chosen.runtime.process is BuildProcess.ORIGINAL:
        if build and configuration.build_env:
            return "the original build runs the build commands again without build.env"
        return build
    pre_run = judge.steps(configuration.pre_run)
    if isinstance(pre_run, str):
        return pre_run
    return _revised(build, pre_run)


def _revised(build: tuple[_Step, ...], pre_run: tuple[_Step, ...]) -> tuple[_Step, ...] | str:
    """Of the build phase, only what it makes in the source directory comes into the run image."""
    again = {step.command for step in pre_run}
    kept = []
    for step in build:
        if step.outputs:
            kept.append(step)
        elif step.parts and step.command not in again:
            return f"what `{step.command}` installs in the build is lost in the run image"
    return (*(step for step in kept if step.command not in again), *pre_run)


class _Judge:
    """Tells commands that only install from those that may do anything."""

    def __init__(self, dependencies: Sequence[DependencyCommand], files: _Files) -> None:
        self._dependencies = dependencies
        self._files = files

    def steps(self, commands: Sequence[str]) -> tuple[_Step, ...] | str:
        """The commands as steps, without those that only print, or why one is no step."""
        steps = []
        for command in commands:
            parts: list[DependencyCommand] = []
            for text in _parts(command):
                if _PRINTS.fullmatch(text):
                    continue
                found = self._dependency(text)
                if isinstance(found, str):
                    return found
                parts.append(found)
            if parts:
                steps.append(_Step(command, tuple(parts)))
        return tuple(steps)

    def _dependency(self, text: str) -> DependencyCommand | str:
        problem = f"`{text}` does more than install dependencies"
        for dependency in self._dependencies:
            if re.fullmatch(dependency.pattern.strip(), text):
                refused = self._refused(dependency)
                if not refused:
                    return dependency
                problem = refused
        return problem

    def _refused(self, dependency: DependencyCommand) -> str:
        """Why the repository's files do not allow it; "" if they do."""
        files = self._files
        missing = [path for path in dependency.required if path not in files.paths]
        if missing:
            return f"{missing[0]} is not in the source directory"
        for output in dependency.outputs:
            if any(path == output or path.startswith(f"{output}/") for path in files.paths):
                return f"{output} is in the repository"
        read = dict.fromkeys((*dependency.inputs, *dependency.refuse))
        for path in (path for path in read if path in files.paths):
            reason = _content_refused(files.contents.get(path), dependency.refuse.get(path))
            if reason:
                return f"{path} {reason}"
        return ""


def _content_refused(content: bytes | None, pattern: str | None) -> str:
    if content is None:
        return "is too large to look into"
    if pattern is None:
        return ""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "is not UTF-8"
    found = re.search(pattern, text)
    if found is None:
        return ""
    words = " ".join(found[0].split())[:60]
    return f"needs more of the repository ({words})" if words else "needs more of the repository"


def _parts(command: str) -> tuple[str, ...]:
    """The commands joined by && in one line, blanks folded; one where a shell must decide."""
    folded = " ".join(command.split())
    if "&&" not in folded or not _UNQUOTED_JOIN.fullmatch(folded):
        return (folded,)
    return tuple(part.strip() for part in folded.split("&&"))


# -- what is worth a word ------------------------------------------------------------------------


def _warnings(chosen: _Chosen, files: _Files) -> tuple[str, ...]:
    return (*_version_warning(chosen), *_phase_warnings(chosen, files))


def _version_warning(chosen: _Chosen) -> tuple[str, ...]:
    version, runtime = chosen.configuration.runtime_version, chosen.runtime
    if not version or not runtime.versions or any(agree(version, v) for v in runtime.versions):
        return ()
    has = " and ".join(runtime.versions)
    return (
        f"{FILE}: runtime-version {version} is not kept to: {runtime.base.image} is used where it "
        f"can be had, else a base made from packages with {has}",
    )


def _phase_warnings(chosen: _Chosen, files: _Files) -> tuple[str, ...]:
    configuration, runtime = chosen.configuration, chosen.runtime
    if runtime.process is BuildProcess.ORIGINAL:
        if not configuration.pre_run:
            return ()
        return (f"{FILE}: run.pre-run is not run: {runtime.name} has App Runner's original build",)
    build = _Judge(chosen.buildpack.dependencies, files).steps(configuration.build)
    lost = [
        step.command
        for step in (build if isinstance(build, tuple) else ())
        if any(part.inputs and not part.outputs for part in step.parts)
    ]
    if not lost or configuration.pre_run:
        return ()
    return (
        f"`{lost[0]}` installs outside /app, which App Runner's revised build does not carry into "
        "the run image: repeat it in run.pre-run",
    )


# -- the environment -----------------------------------------------------------------------------


def _with_env(planned: BuildPlan, env: Mapping[str, str]) -> BuildPlan:
    """Further variables; the port's own belong to the platform."""
    port = str(planned.port)
    warnings = planned.warnings
    if env.get("PORT", port) != port:
        warnings += (f"PORT={env['PORT']} is not passed on: the service's port is {port}",)
    merged = _frozen({**planned.env, **env, "PORT": port})
    return replace(planned, env=merged, warnings=warnings)


def _frozen(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(mapping))
