"""How a repository without apprunner.yaml is recognised: by the buildpacks' rules, in order.

App Runner has nothing like it. It only decides on what lies in the source directory, and says
what it saw.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from emulator.decisions.app_configuration import FILE, misspelt
from emulator.decisions.contents import head
from emulator.model.build import (
    AppConfiguration,
    Buildpack,
    BuildProcess,
    DetectionRule,
    Install,
    Runtime,
)
from emulator.model.errors import ConfigurationError, Place

DOCKERFILE = "Dockerfile"
PROCFILE = "Procfile"
DEPTH = 2  # of folders that are named as applications of their own
LISTED = 6
MARKS = 4  # files of a language that are named
MANIFEST = "{manifest}"
NAME = "{name}"  # in a rule's file: whatever it is called here


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What was recognised; with `shell` the command is for `sh -c` (a Procfile's line)."""

    buildpack: Buildpack
    runtime: Runtime
    rule: DetectionRule
    build: tuple[str, ...]
    command: str
    shell: bool = False
    port: int
    because: tuple[str, ...]

    @property
    def configuration(self) -> AppConfiguration:
        """The same as apprunner.yaml would say it.

        For a revised build the commands belong in the run image: they may install outside /app.
        """
        revised = self.runtime.process is BuildProcess.REVISED
        return AppConfiguration(
            runtime=self.runtime.name,
            build=() if revised else self.build,
            pre_run=self.build if revised else (),
            command=self.command,
            port=self.port,
        )


def wanted(paths: Collection[str], buildpacks: Iterable[Buildpack]) -> tuple[str, ...]:
    """The files of the source directory whose contents planning looks into."""
    names = {FILE, DOCKERFILE, PROCFILE}
    for buildpack in buildpacks:
        for rule in buildpack.rules:
            for named in _concrete(buildpack, rule, paths):
                names.update(named.files, named.contains)
        for dependency in buildpack.dependencies:
            names.update(dependency.inputs, dependency.refuse)
        for cache in buildpack.caches:
            names.update(cache.contains)
        names.update(demand.file for demand in buildpack.demands)
    return tuple(sorted(names.intersection(paths)))


def detect(
    *, paths: Collection[str], contents: Mapping[str, bytes], buildpacks: Sequence[Buildpack]
) -> Detection:
    """Raises ConfigurationError that lists what was looked for."""
    web = procfile_command(contents)
    found = [
        (buildpack, named)
        for buildpack in buildpacks
        for rule in buildpack.rules
        for named in _concrete(buildpack, rule, paths)
        if _matches(named, paths, contents)
    ]
    if not found:
        raise _nothing(paths, buildpacks)
    # A rule that knows how to start comes first, of whichever language; before it, for a line of
    # a Procfile, the language whose program that is.
    buildpack, rule = max(found, key=lambda pair: (_runs(pair[0], web), bool(pair[1].command)))
    if not rule.command and not web:
        raise _no_command(rule, _elsewhere(paths, buildpacks))
    others = {b.runtime: r.because for b, r in reversed(found) if b is not buildpack}
    return _detection(buildpack, rule, web, others)


def _runs(buildpack: Buildpack, command: str | None) -> bool:
    return command is not None and command.split()[0].rpartition("/")[2] in buildpack.programs


def procfile_command(contents: Mapping[str, bytes]) -> str | None:
    """The `web:` line; it is meant for a shell, with $PORT."""
    text = head(contents.get(PROCFILE, b""))
    match = re.search(r"^web[ \t]*:[ \t]*(\S.*?)\s*$", text, re.MULTILINE)
    return match[1] if match else None


def runtime_named(buildpack: Buildpack, name: str) -> Runtime:
    """The buildpack's runtime of that name; the loader made sure that it exists."""
    return next(runtime for runtime in buildpack.runtimes if runtime.name == name)


def _concrete(
    buildpack: Buildpack, rule: DetectionRule, paths: Collection[str]
) -> Iterator[DetectionRule]:
    """What a rule comes to here; nothing where no list of packages is that it could be in."""
    if not rule.needs:
        yield from _named(rule, paths)
        return
    for install in buildpack.installs:
        if all(path in paths for path in install.files):
            yield from _named(_with_install(rule, install), paths)
            return


def _with_install(rule: DetectionRule, install: Install) -> DetectionRule:
    return replace(
        rule,
        files=(*rule.files, *install.files),
        contains=MappingProxyType({**rule.contains, install.manifest: rule.needs}),
        build=(*install.build, *rule.build),
        because=rule.because.replace(MANIFEST, install.manifest),
    )


def _named(rule: DetectionRule, paths: Collection[str]) -> Iterator[DetectionRule]:
    """The rule, once for each thing here that its {name} may stand for."""
    pattern = next((file for file in rule.files if NAME in file), None)
    if pattern is None:
        yield rule
        return
    matcher = re.compile(re.escape(pattern).replace(re.escape(NAME), r"([\w.+-]+)"))
    tail = pattern.split(NAME)[1]
    likely = sorted([p for p in paths if tail in p])  # of 100,000 files, few
    for match in filter(None, map(matcher.fullmatch, likely)):
        yield _with_name(rule, match[1])


def _with_name(rule: DetectionRule, name: str) -> DetectionRule:
    def put(text: str) -> str:
        return text.replace(NAME, name)

    return replace(
        rule,
        files=tuple(map(put, rule.files)),
        contains=MappingProxyType({put(file): text for file, text in rule.contains.items()}),
        build=tuple(map(put, rule.build)),
        command=put(rule.command),
        because=put(rule.because),
    )


def _matches(rule: DetectionRule, paths: Collection[str], contents: Mapping[str, bytes]) -> bool:
    if not all(path in paths for path in rule.files) or any(path in paths for path in rule.absent):
        return False
    return all(
        path in contents and re.search(pattern, head(contents[path]))
        for path, pattern in rule.contains.items()
    )


def _detection(
    buildpack: Buildpack, rule: DetectionRule, web: str | None, others: Mapping[str, str]
) -> Detection:
    runtime = runtime_named(buildpack, buildpack.runtime)
    because = [f"There is no {FILE}: {rule.because}, so the runtime is {runtime.name}."]
    if web is not None:
        because.append(f"{PROCFILE} says how to start: {web}")
    because += [
        f"It could be {other} as well, as {why}: {FILE} would decide."
        for other, why in others.items()
    ]
    return Detection(
        buildpack=buildpack,
        runtime=runtime,
        rule=rule,
        build=rule.build,
        command=web or rule.command,
        shell=web is not None,
        port=rule.port,
        because=tuple(because),
    )


def _elsewhere(paths: Collection[str], buildpacks: Sequence[Buildpack]) -> str:
    """Folders that may be applications by themselves: with a list of packages, or what is built."""
    rules = [r for b in buildpacks for r in b.rules if r.build or r.needs or not r.command]
    marks = {r.files[0] for r in rules if len(r.files) == 1} | {DOCKERFILE}
    parts = (path.rpartition("/") for path in paths)
    found = sorted({f for f, _, name in parts if f and name in marks and f.count("/") < DEPTH})
    if not found:
        return ""
    shown = ", ".join(found[:LISTED]) + (", …" if len(found) > LISTED else "")
    return f"There may be applications in {shown}: name one of these folders instead"


def _no_command(rule: DetectionRule, elsewhere: str) -> ConfigurationError:
    message = (
        f"missing, and although {rule.because}, nothing says how to start: add {FILE} with "
        f"run.command, or a {PROCFILE} with a line `web: <command>`"
    )
    return ConfigurationError(Place(file=FILE), f"{message}. {elsewhere}" if elsewhere else message)


def _misspelt_dockerfile(paths: Collection[str]) -> str:
    found = sorted(path for path in paths if path.lower() == DOCKERFILE.lower())
    return f"{found[0]} is not read, the name must be {DOCKERFILE}" if found else ""


def _marks(buildpack: Buildpack) -> str:
    """The files that are most telling of a language: those that tell nothing else come first."""
    rules = sorted(buildpack.rules, key=lambda rule: bool(rule.command))
    files = [path for rule in rules for path in rule.files if "/" not in path]
    shown = [path.replace("{name}", "*") for path in dict.fromkeys(files)]
    return f"{', '.join(shown[:MARKS])} … ({buildpack.name})"


def _nothing(paths: Collection[str], buildpacks: Sequence[Buildpack]) -> ConfigurationError:
    looked_for = ", ".join((DOCKERFILE, PROCFILE, *map(_marks, buildpacks)))
    hint = misspelt(paths) or _misspelt_dockerfile(paths)
    missing = f"missing: {hint}. Nothing" if hint else "missing, and nothing"
    message = (
        f"{missing} else was recognised (looked for {looked_for}): add one that says how to start"
    )
    if not paths:
        message = "missing, as is everything else: the source directory holds no files"
    elsewhere = _elsewhere(paths, buildpacks)
    return ConfigurationError(Place(file=FILE), f"{message}. {elsewhere}" if elsewhere else message)
