"""A build plan as a Dockerfile that a person can read, and the keys its images are found by.

The commands of one phase share one shell, as on App Runner: `cd` in one carries over to the next,
and the first that fails ends the build. Where there are several, each is printed before it runs.
Variables of the build are exported inside the command, so that they do not reach the running
application. Everything is understood by the classic builder as well, which also builds the stage
that nothing copies from.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from emulator.decisions.caches import programs
from emulator.model.build import BuildKind, BuildPlan, BuildProcess

# Joined by && a command means the same, unless it has any of these.
_NEEDS_EVAL = re.compile(r"\|\||;|#|\\$|<<|(?<![&>])&(?![&>\d])|^(?:!|--)")
_KEY_LENGTH = 24
# What `_phase` puts around commands; a word is one of `_shell_quote`'s.
_WORD = r"""(?:(?:'[^']*'|\\')+|"\$\(printf '%b' '[^']*'\)")"""
_EXPORT = re.compile(rf"export(?:\s+\w+={_WORD})+\s+&& ")
_ECHO = re.compile(rf"""echo (?='\$ |"\$\(printf '%b' '\\0044 ){_WORD}\s+&& """)
_EVAL = re.compile(r"(?<!\S)eval (?:'[^']*'|\\')+")


def render(plan: BuildPlan, base: str) -> str:
    """The text of the Dockerfile; `base` is what the plan's base image is called here."""
    if plan.kind is BuildKind.DOCKERFILE:
        return plan.dockerfile
    if plan.kind is BuildKind.LAYERED:
        lines = _layered(plan, base)
    elif plan.process is BuildProcess.ORIGINAL:
        lines = _original(plan, base)
    else:
        lines = _revised(plan, base)
    return "\n".join(lines) + "\n"


def dependency_key(plan: BuildPlan, base_id: str, contents: Mapping[str, bytes]) -> str:
    """Of a layered image: the same for the same base, commands and inputs, whatever the source.

    `contents` are those of the source directory.
    """
    digest = hashlib.sha256(_quoted((base_id, render(plan, base_id), *_programs(plan))))
    for path in sorted(plan.inputs):
        digest.update(_quoted((path, hashlib.sha256(contents.get(path, b"")).hexdigest())))
    return digest.hexdigest()[:_KEY_LENGTH]


def complete_key(plan: BuildPlan, base_id: str, tree: str) -> str:
    """Of an image that holds the source: the same for the same base, commands and tree."""
    parts = [base_id, render(plan, base_id), plan.directory, tree, *_programs(plan)]
    if plan.kind is BuildKind.DOCKERFILE:  # else they are in the text
        parts += (f"{name}={value}" for name, value in plan.build_env.items())
    return hashlib.sha256(_quoted(parts)).hexdigest()[:_KEY_LENGTH]


def _programs(plan: BuildPlan) -> Iterator[str]:
    for name, text in programs(plan.caches).items():
        yield from (name, text)


def _quoted(parts: Iterable[str]) -> bytes:
    return json.dumps(list(parts)).encode()


# -- the three shapes ----------------------------------------------------------------------------


def _layered(plan: BuildPlan, base: str) -> Iterator[str]:
    yield "# Dependencies only: the source is laid over /app when an instance starts."
    yield f"FROM {base}"
    yield _workdir(plan)
    if plan.inputs:
        yield _copy((_join(plan.directory, path) for path in plan.inputs), "./")
    if plan.links:
        yield "# The source would hide what is made in /app: it is moved, and gets a link instead."
    yield from _phase("Install what these files name.", plan.build, plan.build_env)
    for path, target in plan.links:
        place = _shell_quote(f"/app/{path}")
        yield f"RUN mkdir -p {place} && mv {place} {_shell_quote(target)}"


def _original(plan: BuildPlan, base: str) -> Iterator[str]:
    yield "# App Runner's original build: `build` runs again in the run image, without build.env."
    yield f"FROM {base} AS build-stage"
    yield "COPY . /app"
    yield _workdir(plan)
    yield from _phase("pre-build", plan.pre_build, plan.build_env)
    yield from _phase("build", plan.build, plan.build_env)
    yield from _post_build(plan)
    yield ""
    yield f"FROM {base} AS run-stage"
    yield "COPY --from=build-stage /app /app"
    yield _workdir(plan)
    yield from _phase("build", plan.build, {})


def _revised(plan: BuildPlan, base: str) -> Iterator[str]:
    yield "# App Runner's revised build: only /app is carried from the build into the run image."
    yield f"FROM {base} AS build-stage"
    yield "COPY . /app"
    yield _workdir(plan)
    yield from _phase("pre-build", plan.pre_build, plan.build_env)
    yield from _phase("build", plan.build, plan.build_env)
    yield from _post_build(plan)
    yield ""
    yield f"FROM {base} AS packaging-stage"
    yield "COPY --from=build-stage /app /app"
    yield _workdir(plan)
    yield from _phase("pre-run", plan.pre_run, plan.build_env)


def _post_build(plan: BuildPlan) -> Iterator[str]:
    if plan.post_build:
        yield ""
        yield "# Its result is never deployed, but it must succeed."
        yield "FROM build-stage AS post-build-stage"
        yield from _phase("post-build", plan.post_build, plan.build_env)


# -- instructions --------------------------------------------------------------------------------


def _workdir(plan: BuildPlan) -> str:
    path = _join("/app", plan.directory)
    return "WORKDIR " + re.sub(r"([\\$])", r"\\\1", path)


def _join(directory: str, path: str) -> str:
    return "/".join(part for part in (directory, path) if part)


def _copy(paths: Iterable[str], target: str) -> str:
    """In JSON, as paths may hold blanks; the builder takes them for patterns, and expands $."""
    literal = (re.sub(r"([*?\[])", r"[\1]", path).replace("$", "\\$") for path in paths)
    return "COPY " + json.dumps([*literal, target], ensure_ascii=False)


def _phase(title: str, commands: tuple[str, ...], env: Mapping[str, str]) -> Iterator[str]:
    """One RUN for all commands of a phase."""
    if not commands:
        return
    steps = [_step(command, alone=len(commands) == 1) for command in commands]
    if env:
        exports = (f"{name}={_shell_quote(value)}" for name, value in env.items())
        steps.insert(0, " \\\n      ".join(("export", *exports)))
    yield f"# {title}"
    yield "RUN " + " \\\n && ".join(steps)


def _step(command: str, *, alone: bool) -> str:
    """The command as it stands where && does not change its meaning; printed if there are more."""
    text = f"eval {_shell_quote(command)}" if _NEEDS_EVAL.search(command) else command
    return text if alone else f"echo {_shell_quote('$ ' + command)} && {text}"


def authored(command: str, printed: Sequence[str] = ()) -> str:
    """Of a phase's RUN what its author wrote: the command that is the last in `printed`, lines that
    the RUN has printed; all of them where none is. Other commands come back as they are.
    """
    for line in reversed(printed):
        if line.startswith("$ ") and _prints(command, line):
            return line.removeprefix("$ ")
    bare = _ECHO.sub("", _EXPORT.sub("", command, count=1))
    return _EVAL.sub(lambda found: shlex.split(found[0])[1], bare)


def _prints(command: str, line: str) -> bool:
    """As a command, or as the first line of one."""
    first_of_several = _shell_quote(line + "\n").removesuffix("')\"")
    return any(
        f"echo {text}" in command for text in (_shell_quote(line) + " && ", first_of_several)
    )


def _shell_quote(text: str) -> str:
    """For sh, on one line: a RUN cannot hold a line break, nor `<<`, which begins a here-document.

    Line breaks at the very end get lost.
    """
    if "\n" in text or "\r" in text:
        octal = re.sub(r"[^\w ./:=,-]", lambda match: _octal(match[0]), text, flags=re.ASCII)
        return f"\"$(printf '%b' '{octal}')\""
    return "'" + text.replace("'", "'\\''").replace("<<", "<''<") + "'"


def _octal(character: str) -> str:
    return "".join(f"\\0{byte:03o}" for byte in character.encode())
