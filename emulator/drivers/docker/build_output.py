"""What a build says: lines as people want to read them, and an error that names the command."""

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from emulator.decisions import missing_programs, network_trouble
from emulator.decisions.build_environment import Prepared
from emulator.decisions.dockerfile import authored
from emulator.decisions.instructions import parse
from emulator.decisions.last_words import last_words
from emulator.drivers.docker.engine import Json
from emulator.model.configuration import NOTHING
from emulator.model.errors import BuildError

OnLine = Callable[[str], None]

_LONGEST = 65_536  # characters of one line
_LONGEST_COMMAND = 200
_LONGEST_ESCAPE = 64
_REMEMBERED = 60  # lines in which a failure may have said why
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
_STARTED = re.compile(r" ---> Running in ([0-9a-f]{12,64})$")
_MADE = re.compile(r" ---> ([0-9a-f]{12,64})$")
_CACHED = " ---> Using cache"
_REMOVED = re.compile(r"Removing intermediate container ([0-9a-f]{12,64})$")
_FAILED = (
    re.compile(r"The command '(?P<command>.*)' returned a non-zero code: (?P<code>\d+)", re.DOTALL),
    re.compile(
        r'process "(?P<command>.*)" did not complete successfully: exit code: (?P<code>\d+)',
        re.DOTALL,
    ),
)
_SHELL = re.compile(r"^(?:\S*/)?\w*sh(?: -(?!\w*c )\w+(?: pipefail)?)* -\w*c ")
_PARSE_ERROR = re.compile(r"(?i)(?:docker ?file )?parse error (?:on )?line (\d+): ")
_FULL = "no space left on device"
_KILLED = 137


class Lines:
    """Text in pieces, out as lines: without colours, progress that overwrites itself folded."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[str]:
        *whole, rest = (self._rest + text).split("\n")
        self._rest = _last_state(rest) + ("\r" if rest.endswith("\r") else "")
        if len(self._rest) > _LONGEST:
            whole.append(self._cut())
        return [line for line in map(_readable, whole) if line is not None]

    def _cut(self) -> str:
        """A line that is too long, but never through the middle of a colour."""
        at = self._rest.rfind("\x1b", -_LONGEST_ESCAPE)
        at = len(self._rest) if at < 0 else at
        head, self._rest = self._rest[:at], self._rest[at:]
        return head

    def end(self) -> list[str]:
        """What came without an end of line."""
        return self.feed("\n") if self._rest else []


def _last_state(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]


def _readable(line: str) -> str | None:
    """None for a line of nothing but colours."""
    text = _CONTROLS.sub("", _ESCAPES.sub("", _last_state(line)))
    return text if text.strip() or not line.strip() else None


class Bound:
    """Passes lines on until they are too many bytes, says so once, and goes on silently."""

    def __init__(self, on_line: OnLine, limit: int) -> None:
        self._on_line = on_line
        self._limit = limit
        self._left = limit

    def __call__(self, line: str) -> None:
        if self._left <= 0:
            return
        self._left -= len(line.encode(errors="replace")) + 1
        if self._left > 0:
            self._on_line(line)
        else:
            text = f"The build log is cut here, at {self._limit} bytes; the build goes on."
            self._on_line(text)


@dataclass(frozen=True, slots=True)
class Part:
    """Of a larger build: the number of its first step, and how many steps there are in all.

    `texts` are those of its steps, by what the engine is told for them.
    """

    first: int
    of: int
    texts: Mapping[str, str] = field(default_factory=lambda: NOTHING)


class Steps:
    """Hides the steps that we put into a Dockerfile, and counts the others anew."""

    def __init__(self, on_line: OnLine, prepared: Prepared, part: Part | None = None) -> None:
        lines = prepared.text.split("\n")
        self._ours = {lines[number - 1] for number in prepared.inserted}
        self._count = len(prepared.inserted)
        self._part = part
        self._on_line = on_line
        self._hidden = 0
        self._hides = False

    def __call__(self, line: str) -> None:
        step = _STEP.fullmatch(line)
        if step is not None:
            self._hides = step[3] in self._ours
            self._hidden += self._hides
            text = self._part.texts.get(step[3], step[3]) if self._part else step[3]
            line = f"Step {self._number(step)} : {text}"
        if line.startswith("Successfully ") and self._part:
            return  # the whole is not built yet
        if not self._hides or line.startswith("Successfully "):
            self._on_line(line)

    def _number(self, step: re.Match[str]) -> str:
        number, of = int(step[1]) - self._hidden, int(step[2]) - self._count
        if self._part is None:
            return f"{number}/{of}"
        return f"{self._part.first + number - 1}/{self._part.of}"


@dataclass(slots=True)
class Outcome:
    """What is known of a build so far; `containers` are those of steps that have not ended, `made`
    the images of those that have, but for what the engine had already. `command` is the last step's.
    """

    began: bool = False
    command: str = ""
    image: str = ""
    error: str = ""
    containers: tuple[str, ...] = ()
    made: tuple[str, ...] = ()


class BuildOutput:
    """The messages of a build, one after the other; `on_line` is bounded."""

    def __init__(self, on_line: OnLine, prepared: Prepared, part: Part | None = None) -> None:
        self.outcome = Outcome()
        self._prepared = prepared
        self._show = Steps(on_line, prepared, part)
        self._lines = Lines()
        self._last: deque[str] = deque(maxlen=_REMEMBERED)
        self._printed: deque[str] = deque(maxlen=_REMEMBERED)
        self._step = 0
        self._is_part = part is not None
        self._makes = False

    def feed(self, message: Json) -> None:
        """A message of the classic builder's stream."""
        self.outcome.began = True
        self.outcome.image = (message.get("aux") or {}).get("ID") or self.outcome.image
        self.outcome.error = message.get("error") or self.outcome.error
        text = message.get("stream") or ""
        if status := message.get("status"):
            text = f"{message['id']}: {status}\n" if message.get("id") else f"{status}\n"
        if message.get("progressDetail"):
            return
        self._tell(self._lines.feed(text))

    def end(self) -> None:
        self._tell(self._lines.end())

    def failure(self, message: str) -> BuildError:
        """The error for a message of the engine."""
        error = self._command_failure(message)
        if any(_FULL in line.lower() for line in (message, *self._last)):
            return BuildError(
                f"The disk is full: {f'`{error.command}`' if error else 'the build'} failed"
                " with 'no space left on device'; `apprunner prune` makes room."
            )
        error = error or BuildError(self._mistake(message.strip()))
        missing = missing_programs.advice(last_words(self._last), error.command)
        if hint := missing or network_trouble.hint((*self._last, *message.splitlines())):
            text = f"{str(error).rstrip('.')}. {hint}"
            return BuildError(text, command=error.command, exit_code=error.exit_code)
        return error

    def _command_failure(self, message: str) -> BuildError | None:
        found = _failed_command(message)
        if found is None:
            return None
        command, code = shown_command(found["command"], self._printed), int(found["code"])
        why = " (killed, most likely for want of memory)" if code == _KILLED else ""
        text = f"`{command}` failed with exit code {code}{why}."
        if said := last_words(self._last):
            text += f" It said: {said}"
        return BuildError(text, command=command, exit_code=code)

    def _mistake(self, message: str) -> str:
        """With the place in the Dockerfile, unless that is but a part of what its author knows."""
        text = _PARSE_ERROR.sub(self._in_original, message)
        instructions = parse(self._prepared.text)
        if text != message or self._is_part or not 0 < self._step <= len(instructions):
            return text
        line = self._prepared.original_line(instructions[self._step - 1].line)
        return f"Dockerfile:{line}: {text}"

    def _in_original(self, found: re.Match[str]) -> str:
        line = self._prepared.original_line(int(found[1]))
        return f"Dockerfile:{line}: "

    def _tell(self, lines: list[str]) -> None:
        for line in lines:
            if _STARTED.match(line):
                self._last.clear()  # what comes is of another command
                self._printed.clear()
            if line.startswith("$ "):
                self._printed.append(line)
            self._note_containers(line)
            self._note_images(line)
            self._last.append(line)
            self._show(line)

    def _note_containers(self, line: str) -> None:
        if started := _STARTED.match(line):
            self.outcome.containers = (*self.outcome.containers, started[1])
        if removed := _REMOVED.match(line):
            kept = (each for each in self.outcome.containers if each != removed[1])
            self.outcome.containers = tuple(kept)

    def _note_images(self, line: str) -> None:
        """A FROM names an image that was there, and so does a step that the engine remembers."""
        if step := _STEP.fullmatch(line):
            self._step = int(step[1])
            self.outcome.command = shown_command(step[3].removeprefix("RUN "))
            self._makes = not step[3].upper().startswith("FROM ")
        elif line == _CACHED:
            self._makes = False
        elif self._makes and (made := _MADE.match(line)):
            self.outcome.made = (*self.outcome.made, made[1])


def _failed_command(message: str) -> re.Match[str] | None:
    return next((found for pattern in _FAILED if (found := pattern.search(message))), None)


def shown_command(command: str, printed: Sequence[str] = ()) -> str:
    """As its author wrote it: without the shell that runs it, on one line, not too long. Of several
    the one that `printed`, what the command has printed, names last.
    """
    text = " ".join(authored(_SHELL.sub("", command.strip()), printed).split())
    return text if len(text) <= _LONGEST_COMMAND else text[: _LONGEST_COMMAND - 1] + "…"
