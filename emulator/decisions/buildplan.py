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

from emulator.decisions import instructions
from emulator.decisions.app_configuration import FILE, Node, misspelt, read, render, split_command
from emulator.decisions.caches import choose
from emulator.decisions.configuration_schema import RELEASES, agree, shell_hint
from emulator.decisions.detection import DOCKERFILE, Detection, detect, runtime_named
from emulator.decisions.layering import Files, Judge, Step, layer
from emulator.decisions.version_ranges import check_version
from emulator.model.build import (
    AppConfiguration,
    Base,
    BaseImage,
    BuildKind,
    Buildpack,
    BuildPlan,
    BuildProcess,
    Runtime,
)
from emulator.model.configuration import (
    DEFAULT_PORT,
    NOTHING,
    CodeSource,
    CodeValues,
    ConfigurationSource,
)
from emulator.model.errors import ConfigurationError, Place

VALUES = "CodeConfigurationValues"
NEEDS_FILE = f"there is no {FILE}, and App Runner needs one or ConfigurationSource API"
START_SCRIPT = ".start.sh"  # for what App Runner's start command, which has no shell, cannot say
VERSION = "{version}"  # in the name of a buildpack's exact image
_LAST_PORT = 65535
_EXPANDED = frozenset("*?~[")  # by a shell
# Build variables that lead pip into the source directory, or to a virtual environment in it.
_LEADS_ELSEWHERE = re.compile(r"PATH|VIRTUAL_ENV|PYTHONUSERBASE|PIP_\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A plan with what it was made from; a Dockerfile has neither buildpack nor runtime."""

    plan: BuildPlan
    buildpack: str = ""
    runtime: str = ""
    configuration: AppConfiguration | None = None

    @property
    def app_runner_yaml(self) -> str:
        """An apprunner.yaml that says the same; "" where none can: App Runner has no like."""
        return render(self.configuration) if self.configuration else ""


def decide(
    *,
    paths: Collection[str],
    contents: Mapping[str, bytes],
    node: Node | None,
    source: CodeSource,
    env: Mapping[str, str],
    buildpacks: Sequence[Buildpack],
) -> Decision:
    """`paths` are all files of the source directory, `contents` those that `detection.wanted`
    names; `node` is the parsed apprunner.yaml where that is read, `env` is added at run time.
    Values without a runtime leave that to the Dockerfile or to detection. Raises
    ConfigurationError.
    """
    files = Files(frozenset(paths), contents)
    chosen = _choose(files, node, source, buildpacks)
    if isinstance(chosen, BuildPlan):
        return Decision(plan=_with_arguments(_with_env(chosen, env)))
    made = _managed(chosen, files, source.source_directory.strip("/"))
    return Decision(
        plan=_with_env(made, env),
        buildpack=chosen.buildpack.name,
        runtime=chosen.runtime.name,
        configuration=chosen.file or chosen.configuration,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """A managed runtime with its configuration; `argv` where the command is not to be split.

    `file` is what apprunner.yaml would have to say, where that is not the configuration.
    """

    buildpack: Buildpack
    runtime: Runtime
    configuration: AppConfiguration
    argv: tuple[str, ...] | None = None
    file: AppConfiguration | None = None
    by_values: bool = False  # which have no pre-run
    reasons: tuple[str, ...] = ()


# -- what to go by -------------------------------------------------------------------------------


def _choose(
    files: Files, node: Node | None, source: CodeSource, buildpacks: Sequence[Buildpack]
) -> _Chosen | BuildPlan:
    values = source.values
    reasons: tuple[str, ...] = ()
    if source.configuration_source is ConfigurationSource.API:
        if FILE in files.paths:
            reasons = (f"{FILE} is not read: ConfigurationSource is API.",)
    elif node is not None:
        return _from_file(node, buildpacks)
    if values is not None and values.runtime:
        chosen: _Chosen | BuildPlan = _from_values(values, files, buildpacks)
    elif DOCKERFILE in files.paths:
        chosen = _from_dockerfile(files, source, values)
    else:
        chosen = _from_detection(files, values, buildpacks)
    return replace(chosen, reasons=reasons + chosen.reasons)


def _from_file(node: Node, buildpacks: Sequence[Buildpack]) -> _Chosen:
    owners = {runtime.name: b for b in buildpacks for runtime in b.runtimes}
    configuration = read(node, file=FILE, runtimes=owners)
    buildpack = owners[configuration.runtime]
    return _Chosen(
        buildpack=buildpack,
        runtime=runtime_named(buildpack, configuration.runtime),
        configuration=configuration,
        reasons=(f"{FILE} asks for {configuration.runtime}.",),
    )


def _from_values(values: CodeValues, files: Files, buildpacks: Sequence[Buildpack]) -> _Chosen:
    known = {runtime.api: (b, runtime) for b in buildpacks for runtime in b.runtimes}
    if values.runtime not in known:
        message = f"no buildpack brings {values.runtime}; there are {', '.join(sorted(known))}"
        raise ConfigurationError(Place(file=VALUES, key="Runtime"), message)
    buildpack, runtime = known[values.runtime]
    chosen = _Chosen(
        buildpack=buildpack,
        runtime=runtime,
        configuration=AppConfiguration(
            runtime=runtime.name,
            build=(values.build_command.strip(),) if values.build_command else (),
            command=values.start_command or "",
            port=values.port,
            env=values.env,
            secrets=values.secrets,
        ),
        by_values=True,
        reasons=(f"The service's settings ask for {runtime.name}.",),
    )
    return _with_hint(chosen) if values.start_command else _started_as_detected(chosen, files)


def _with_hint(chosen: _Chosen) -> _Chosen:
    """The API's start command: nobody has looked at it yet."""
    warnings = _start_command_warnings(chosen.configuration.command)
    return replace(chosen, configuration=replace(chosen.configuration, warnings=warnings))


def _start_command_warnings(command: str) -> tuple[str, ...]:
    place = Place(file=VALUES, key="StartCommand")
    hint = shell_hint(command)
    return (f"{place}: {hint}",) if hint else ()


def _started_as_detected(chosen: _Chosen, files: Files) -> _Chosen:
    try:
        found = detect(paths=files.paths, contents=files.contents, buildpacks=(chosen.buildpack,))
    except ConfigurationError as error:
        message = f"not set, and the source does not tell how to start: {error.message}"
        raise ConfigurationError(Place(file=VALUES, key="StartCommand"), message) from error
    return replace(
        chosen,
        configuration=replace(chosen.configuration, command=found.command),
        argv=_argv(found),
        reasons=(*chosen.reasons, f"StartCommand is not set: started by `{found.command}`."),
    )


def _from_detection(
    files: Files, values: CodeValues | None, buildpacks: Sequence[Buildpack]
) -> _Chosen:
    found = detect(paths=files.paths, contents=files.contents, buildpacks=buildpacks)
    chosen = _Chosen(
        buildpack=found.buildpack,
        runtime=found.runtime,
        configuration=replace(
            found.configuration, warnings=_misspelt(files), extensions=(NEEDS_FILE,)
        ),
        argv=_argv(found),
        file=_as_file(found, files),
        reasons=found.because,
    )
    return chosen if values is None else _overridden(chosen, values)


def _argv(found: Detection) -> tuple[str, ...] | None:
    return ("sh", "-c", found.command) if found.shell else None


def _misspelt(files: Files) -> tuple[str, ...]:
    hint = misspelt(files.paths)
    return (hint,) if hint else ()


def _as_file(found: Detection, files: Files) -> AppConfiguration:
    """App Runner wants build commands, and in the run image what does not lie in the source."""
    judge = Judge(found.buildpack.dependencies, files)
    steps = judge.steps(found.build)
    stays = not isinstance(steps, str) and all(step.outputs for step in steps)
    revised = found.runtime.process is BuildProcess.REVISED
    command = re.sub(r"\$(?:PORT\b|\{PORT(?::-\d+)?\})", str(found.port), found.command)
    script: tuple[str, ...] = ()
    if found.shell and (shell_hint(command) or set(command) & _EXPANDED):
        script = (f"echo {_quoted(found.command)} > {START_SCRIPT}",)
        command = f"sh {START_SCRIPT}"
    return AppConfiguration(
        runtime=found.runtime.name,
        build=(*found.build, *script) or ("echo Nothing to build",),
        pre_run=found.build if revised and not stays else (),
        command=command,
        port=found.port,
    )


def _quoted(text: str) -> str:
    """For a shell, as one word that `echo` leaves alone."""
    return "'" + text.replace("'", "'\\''") + "'"


def _overridden(chosen: _Chosen, values: CodeValues) -> _Chosen:
    """What was recognised, with what the values say otherwise."""
    configuration = chosen.configuration
    if values.build_command:
        build = (values.build_command.strip(),)
        revised = chosen.runtime.process is BuildProcess.REVISED
        configuration = (
            replace(configuration, pre_run=build)
            if revised
            else replace(configuration, build=build)
        )
    configuration = replace(
        configuration,
        command=values.start_command or configuration.command,
        port=configuration.port if values.port == DEFAULT_PORT else values.port,
        env=values.env,
        secrets=values.secrets,
        warnings=configuration.warnings + _start_command_warnings(values.start_command or ""),
    )
    argv = None if values.start_command else chosen.argv
    return replace(chosen, configuration=configuration, argv=argv)


def _from_dockerfile(files: Files, source: CodeSource, values: CodeValues | None) -> BuildPlan:
    text = _dockerfile(files)
    given = values or CodeValues(runtime="")
    command = given.start_command or ""
    exposed = exposed_port(text)
    port = given.port if given.port != DEFAULT_PORT else exposed or DEFAULT_PORT
    reason = f"There is no {FILE}: the repository's own {DOCKERFILE} is built (an extension)"
    return BuildPlan(
        kind=BuildKind.DOCKERFILE,
        base=None,
        directory=source.source_directory.strip("/"),
        dockerfile=text,
        command=split_command(command) or None,
        port=port,
        env=_frozen({**given.env, "PORT": str(port)}),
        secrets=given.secrets,
        reasons=(
            f"{reason}; the port is {port}{', which it exposes' if port == exposed else ''}.",
        ),
        warnings=(
            *_misspelt(files),
            *_start_command_warnings(command),
            *map(_without_secret, instructions.secrets(text)),
        ),
        extensions=(NEEDS_FILE,),
        suspicions=suspicions(command),
    )


def _dockerfile(files: Files) -> str:
    if DOCKERFILE not in files.contents:
        message = "the file is too large to be one, or a link that leads to no file"
        raise ConfigurationError(Place(file=DOCKERFILE), message)
    text = files.contents[DOCKERFILE].decode("utf-8", "replace").removeprefix("\ufeff")
    if wrong := instructions.mistake(text):
        raise ConfigurationError(Place(file=DOCKERFILE, line=wrong[0]), wrong[1])
    return text


def _without_secret(asked: tuple[int, str]) -> str:
    line, name = asked
    return (
        f"{Place(file=DOCKERFILE, line=line)} asks for the secret {name}, and a build here has none."
        f" If it cannot do without: build the image yourself (`docker build --secret id={name},"
        f"src=FILE -t NAME .`) and deploy that (`apprunner deploy --image NAME`)"
    )


def _with_arguments(planned: BuildPlan) -> BuildPlan:
    """Variables of the service that the Dockerfile declares as its arguments; never secrets, which
    would be in the image's history.
    """
    declared = sorted(instructions.arguments(planned.dockerfile) & planned.env.keys())
    if not declared:
        return planned
    reason = f"Build arguments come from the service's variables: {', '.join(declared)}."
    return replace(
        planned,
        build_env=_frozen({name: planned.env[name] for name in declared}),
        reasons=(*planned.reasons, reason),
    )


def suspicions(command: str) -> tuple[str, ...]:
    """Why a process with this start command, split as App Runner does, may not come up."""
    hint = shell_hint(command)
    return (hint,) if hint else ()


def exposed_port(dockerfile: str) -> int | None:
    """The first TCP port that the last stage exposes."""
    last_stage = re.split(r"(?im)^\s*FROM\s", dockerfile)[-1]
    for words in re.findall(r"(?im)^\s*EXPOSE\s+(.+)$", last_stage):
        for word in words.split():
            match = re.fullmatch(r"(\d{1,5})(?:/tcp)?", word.lower())
            if match and 1 <= int(match[1]) <= _LAST_PORT:
                return int(match[1])
    return None


# -- how to build --------------------------------------------------------------------------------


def _managed(chosen: _Chosen, files: Files, directory: str) -> BuildPlan:
    configuration, runtime = chosen.configuration, chosen.runtime
    for demand in chosen.buildpack.demands if configuration.runtime_version else ():
        check_version(demand, files.contents, configuration.runtime_version or "")
    judge = Judge(chosen.buildpack.dependencies, files)
    steps = layer(configuration, runtime.process, judge)
    lost = _lost(chosen, judge)
    base = BuildPlan(
        kind=BuildKind.COMPLETE,
        base=_exact(runtime.base, configuration.runtime_version),
        versions=_versions(configuration),
        asked_by=_asked_by(configuration),
        process=runtime.process,
        directory=directory,
        build_env=configuration.build_env,
        command=chosen.argv or split_command(configuration.command),
        port=configuration.port,
        env=_variables(configuration),
        secrets=configuration.secrets,
        reasons=chosen.reasons,
        warnings=(*configuration.warnings, *_pre_run_warning(chosen), *lost),
        extensions=configuration.extensions,
        suspicions=(*(() if chosen.argv else suspicions(configuration.command)), *lost),
    )
    if not isinstance(steps, str):
        return _with_caches(_layered(base, steps, files), chosen.buildpack, files)
    revised = runtime.process is BuildProcess.REVISED
    complete = replace(
        base,
        pre_build=configuration.pre_build,
        build=configuration.build,
        post_build=configuration.post_build,
        pre_run=configuration.pre_run if revised else (),
        reasons=(*base.reasons, f"The image is built from the whole source: {steps}."),
    )
    return _with_caches(complete, chosen.buildpack, files)


def _with_caches(plan: BuildPlan, buildpack: Buildpack, files: Files) -> BuildPlan:
    commands = (*plan.pre_build, *plan.build, *plan.post_build, *plan.pre_run)
    return replace(plan, caches=choose(buildpack.caches, commands, plan.command or (), files))


def _exact(base: BaseImage, version: str | None) -> BaseImage:
    """Of the version that was asked for, where the public images go by it."""
    exact = base.exact.replace(VERSION, version) if version else ""
    return replace(base, exact=exact, exact_version=version or "" if exact else "")


def _layered(base: BuildPlan, steps: tuple[Step, ...], files: Files) -> BuildPlan:
    used = {path for step in steps for part in step.parts for path in part.inputs}
    inputs = tuple(sorted(used.intersection(files.paths)))
    outputs = dict.fromkeys(output for step in steps for output in step.outputs)
    prefix = f"{base.directory}/" if base.directory else ""
    reason = "Nothing is to be installed: the source runs on the base image, without a build."
    if steps:
        same = " and ".join((*inputs, "the commands"))
        reason = f"Only dependencies are built: a commit that leaves {same} alone needs no build."
    return replace(
        base,
        kind=BuildKind.LAYERED,
        build=tuple(step.command for step in steps),
        build_env=base.build_env if steps else NOTHING,
        inputs=inputs,
        links=tuple((prefix + output, f"/{output}") for output in outputs),
        reasons=(*base.reasons, reason),
    )


def _variables(configuration: AppConfiguration) -> Mapping[str, str]:
    port = str(configuration.port)
    carried = {configuration.port_env: port} if configuration.port_env else {}
    return _frozen({**configuration.env, **carried, "PORT": port})


def _with_env(planned: BuildPlan, env: Mapping[str, str]) -> BuildPlan:
    """Further variables; the port's own belongs to the platform."""
    port = str(planned.port)
    warnings = planned.warnings
    if env.get("PORT", port) != port:
        warnings += (f"PORT={env['PORT']} is not passed on: the service's port is {port}",)
    merged = _frozen({**planned.env, **env, "PORT": port})
    return replace(planned, env=merged, warnings=warnings)


def _frozen(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(mapping))


# -- what is worth a word ------------------------------------------------------------------------


def other_version(plan: BuildPlan, base: Base) -> str:
    """What to say of a base whose language has another version than was asked for, else "".

    Only whoever has the base at hand can tell: the public image and its like may differ.
    """
    wanted = any(agree(base.version, version) for version in plan.versions)
    if wanted or not plan.versions or not base.version or plan.base is None:
        return ""
    asked = f"{plan.asked_by} asks for {' or '.join(plan.versions)}"
    if base.version == plan.base.image_version:
        return f"{asked}, and {plan.base.image} has {base.version}"
    return (
        f"{asked}, but {plan.base.exact or plan.base.image} cannot be had here, and the base made "
        f"from Debian's packages has {base.version}"
    )


def _versions(configuration: AppConfiguration) -> tuple[str, ...]:
    version = configuration.runtime_version
    return (version,) if version else RELEASES.get(configuration.runtime, ())


def _asked_by(configuration: AppConfiguration) -> str:
    return "runtime-version" if configuration.runtime_version else configuration.runtime


def _pre_run_warning(chosen: _Chosen) -> tuple[str, ...]:
    configuration = chosen.configuration
    if chosen.runtime.process is BuildProcess.REVISED or not configuration.pre_run:
        return ()
    place = Place(file=FILE, key="run.pre-run")
    return (f"{place}: not run, as {configuration.runtime} has the original build",)


def _lost(chosen: _Chosen, judge: Judge) -> tuple[str, ...]:
    configuration = chosen.configuration
    revised = chosen.runtime.process is BuildProcess.REVISED
    if not revised or configuration.pre_run:
        return ()
    if any(map(_LEADS_ELSEWHERE.fullmatch, configuration.build_env)):
        return ()
    lost = judge.leaves_the_source((*configuration.pre_build, *configuration.build))
    if not lost:
        return ()
    instead = "repeat it in run.pre-run"
    if chosen.by_values:
        instead = f"install into /app, or write an {FILE}, which can repeat it in run.pre-run"
    told = (
        f"`{lost}` installs outside /app, and App Runner's revised build carries nothing else "
        f"into the run image: {instead}"
    )
    return (told,)
