"""Which build commands only install dependencies, so that an image of them alone will do.

A command is trusted when a buildpack describes it and the files that it reads name nothing else
in the repository. In doubt the whole source is built.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from emulator.decisions.contents import folded
from emulator.model.build import AppConfiguration, BuildProcess, DependencyCommand

_PRINTS = re.compile(r"(?:echo(?: [^$`\\|&;<>()*?~#]*)?|true|:)")
_JOINED = re.compile(r"[^\"'`|;<>()$\\#]*")  # && means what it says
_ELSEWHERE = re.compile(r"\bactivate\b|\b(?:PATH|PYTHONUSERBASE|PIP_\w+)=")
_LONGEST = 60  # characters of a file that a reason repeats


@dataclass(frozen=True, slots=True)
class Files:
    """Of the source directory: every path, and the contents that planning looks into."""

    paths: Collection[str]
    contents: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Step:
    """A command that may be in a layer, with the dependency commands it consists of."""

    command: str
    parts: tuple[DependencyCommand, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(output for part in self.parts for output in part.outputs)


def layer(
    configuration: AppConfiguration, process: BuildProcess, judge: "Judge"
) -> tuple[Step, ...] | str:
    """The steps of a dependency layer, or why there cannot be one."""
    for phase, commands in (
        ("pre-build", configuration.pre_build),
        ("post-build", configuration.post_build),
    ):
        if commands:
            return f"there are {phase} commands"
    build = judge.steps(configuration.build)
    if isinstance(build, str):
        return build
    if process is BuildProcess.REVISED:
        return _revised(build, judge.steps(configuration.pre_run))
    if build and configuration.build_env:
        return "the original build runs the build commands again without build.env"
    return build


def _revised(build: tuple[Step, ...], pre_run: tuple[Step, ...] | str) -> tuple[Step, ...] | str:
    """Of the build phase, only what it makes in the source directory comes into the run image."""
    if isinstance(pre_run, str):
        return pre_run
    again = {step.command for step in pre_run}
    kept = [step for step in build if step.command not in again]
    lost = [step for step in kept if not step.outputs]
    if lost:
        return f"what `{lost[0].command}` installs in the build is lost in the run image"
    return (*kept, *pre_run)


class Judge:
    """Tells commands that only install from those that may do anything."""

    def __init__(self, dependencies: Sequence[DependencyCommand], files: Files) -> None:
        self._dependencies = dependencies
        self._files = files

    def steps(self, commands: Sequence[str]) -> tuple[Step, ...] | str:
        """The commands as steps, without those that only print, or why one cannot be a step."""
        steps = []
        for command in commands:
            parts = self._parts(command)
            if isinstance(parts, str):
                return parts
            if parts:
                steps.append(Step(command, parts))
        return tuple(steps)

    def leaves_the_source(self, commands: Sequence[str]) -> str:
        """The first that installs by a list of files, and not into the source directory; or "".

        Whatever else the commands do; in a virtual environment nobody knows where that lies.
        """
        for command in commands:
            for text in _split(command):
                if _ELSEWHERE.search(text):
                    return ""
                if any(re.fullmatch(d.pattern, text) for d in self._dependencies if _outside(d)):
                    return text
        return ""

    def _parts(self, command: str) -> tuple[DependencyCommand, ...] | str:
        found = []
        for text in _split(command):
            if _PRINTS.fullmatch(text):
                continue
            dependency = self._dependency(text)
            if isinstance(dependency, str):
                return dependency
            found.append(dependency)
        return tuple(found)

    def _dependency(self, text: str) -> DependencyCommand | str:
        problem = f"`{text}` does more than install dependencies"
        for dependency in self._dependencies:
            if re.fullmatch(dependency.pattern, text):
                refused = self._refused(dependency)
                if not refused:
                    return dependency
                problem = refused
        return problem

    def _refused(self, dependency: DependencyCommand) -> str:
        """Why the repository's files do not allow it; "" if they do."""
        paths = self._files.paths
        missing = [path for path in dependency.required if path not in paths]
        if missing:
            return f"{missing[0]} is not in the source directory"
        for output in dependency.outputs:
            if any(path == output or path.startswith(f"{output}/") for path in paths):
                return f"{output} is in the repository"
        for path in dict.fromkeys((*dependency.inputs, *dependency.refuse)):
            if path in paths and (reason := self._content_refused(path, dependency)):
                return f"{path} {reason}"
        return ""

    def _content_refused(self, path: str, dependency: DependencyCommand) -> str:
        content = self._files.contents.get(path)
        if content is None:
            return "is too large to look into"
        if path not in dependency.refuse:
            return ""
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return "is not UTF-8"
        found = re.search(dependency.refuse[path], folded(text))
        if found is None:
            return ""
        words = " ".join(found[0].split())[:_LONGEST]
        return f"needs more of the repository{f' ({words})' if words else ''}"


def _outside(dependency: DependencyCommand) -> bool:
    return bool(dependency.inputs) and not dependency.outputs


def _split(command: str) -> tuple[str, ...]:
    """The commands joined by && in one line, blanks folded; one where only a shell can tell."""
    folded = " ".join(command.split())
    if "&&" not in folded or not _JOINED.fullmatch(folded):
        return (folded,)
    return tuple(part.strip() for part in folded.split("&&"))
