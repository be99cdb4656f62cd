"""apprunner.yaml: from parsed nodes to a validated configuration, with every problem explained.

Most files that people wrote before theirs worked break the schema, so what this module says
matters more than what it lets pass: it names the line, what was meant, and where that belongs.
The schema is the Developer Guide's configuration file reference; every scalar is read as text,
because `3.10`, `yes` and `0777` mean what they say.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from emulator.decisions.configuration_schema import (
    ABSENT,
    NO_DOCKERFILES,
    RELEASES,
    SCHEMA,
    agree,
    hint,
    nearest_runtimes,
    shell_hint,
)
from emulator.model.build import AppConfiguration
from emulator.model.configuration import DEFAULT_PORT
from emulator.model.errors import ConfigurationError, Place

FILE = "apprunner.yaml"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A word or a text; `plain` when it stands without quotes. Lines count from 1."""

    text: str
    line: int = 0
    plain: bool = True

    @property
    def null(self) -> bool:
        return self.plain and self.text in {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True, slots=True)
class Listing:
    """A sequence."""

    items: tuple["Node", ...]
    line: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; keys are scalars and none occurs twice."""

    entries: tuple[tuple[Scalar, "Node"], ...]
    line: int = 0

    def get(self, key: str) -> "Node | None":
        """What stands there; None where nothing stands, or null."""
        value = next((v for k, v in self.entries if k.text == key), None)
        return None if isinstance(value, Scalar) and value.null else value


Node = Scalar | Listing | Table

_NAME = re.compile(r"[^=\0\s]+")
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[0-9]{1,9}")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){0,4}")
_CONTROL = re.compile(r"[\0-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
_INTERPOLATION = re.compile(r"\$\{\w+\}|\{\{resolve:")
_PLAIN = re.compile(r"[A-Za-z/](?:[\w ./=@+-]*[\w/])?", re.ASCII)
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_MISSPELT = re.compile(r"\.?app[-_]?runner\.ya?ml(\.txt)?")
_LAST_PORT = 65535
_LONG = 80  # of a text that a message repeats
_FURTHER = 6  # problems told besides the first
_MOST_WARNINGS = 20
LARGEST = 1_000_000  # bytes of the file
_LONGEST_COMMAND = 65_536  # characters; Linux takes no argument of more than twice that
_LONGEST_VALUE = 51_200  # characters of a variable, as in App Runner's API
# What comes after one of these finds the programs of a virtual environment.
_OWN_PROGRAMS = re.compile(r"\bactivate\b|\bPATH=|\balias ")
_BRINGS_PIP = re.compile(r"\bensurepip\b|\binstall\b.*\spip\b")


def split_command(text: str) -> tuple[str, ...]:
    """A start command as App Runner takes it apart: on blanks, quotes mean nothing."""
    return tuple(re.findall(r"[^ \t\r\n]+", text))


def misspelt(paths: Iterable[str]) -> str | None:
    """Where a file looks like a misnamed or misplaced apprunner.yaml: what to do about it."""
    for path in sorted(paths):
        folder, _, name = path.rpartition("/")
        if name == FILE and folder:
            return f"{path} is read only if the source directory is /{folder}"
        if not folder and name != FILE and _MISSPELT.fullmatch(name.lower()):
            return f"{path} is not read, the name must be exactly {FILE}: rename it"
    return None


def read(node: Node, *, file: str, runtimes: Collection[str]) -> AppConfiguration:
    """Raises ConfigurationError that tells of every problem, the first one's place foremost."""
    reader = _Reader(file, runtimes)
    configuration = reader.configuration(node)
    reader.finish()
    return configuration


class _Reader:
    """Reads on after a problem, so that one attempt shows them all."""

    def __init__(self, file: str, runtimes: Collection[str]) -> None:
        self._file = file
        self._runtimes = runtimes
        self._problems: list[tuple[Place, str]] = []
        self._warnings: list[str] = []
        self._absent: dict[str, str] = {}
        self._extensions: list[str] = []

    def finish(self) -> None:
        if not self._problems:
            return
        (place, first), *others = self._problems
        told = [first, *(f"Also {p}: {message}" for p, message in others[:_FURTHER])]
        if len(others) > _FURTHER:
            told.append(f"And {len(others) - _FURTHER} more")
        ended = (text if text.endswith("?") else f"{text}." for text in told[:-1])
        raise ConfigurationError(place, " ".join([*ended, told[-1]]))

    def _problem(self, line: int, key: str, message: str) -> None:
        self._problems.append((Place(file=self._file, line=line, key=_brief(key)), message))

    def _warn(self, line: int, key: str, message: str) -> None:
        self._warnings.append(f"{Place(file=self._file, line=line, key=key)}: {message}")

    # -- the sections --------------------------------------------------------------------------

    def configuration(self, node: Node) -> AppConfiguration:
        top = self._table(node, "")
        runtime = self._runtime(top)
        self._absent = dict(ABSENT.get(runtime, {}))
        self._version(top)
        build = self._section(top, "build")
        commands = self._commands_of(build)
        build_env = self._env(build.get("env"), "build.env") if build else {}
        self._check_build_env(build, build_env)
        given = self._section(top, "run")
        run = given or Table((), top.line)
        network = self._table(run.get("network") or Table((), run.line), "run.network")
        port = self._port(network)
        env = self._env(run.get("env"), "run.env")
        port_env = self._port_env(network)
        self._check_port_variables(run, env, port, port_env)
        pre_run = self._commands(run.get("pre-run"), "run.pre-run")
        command = self._command(given)
        return AppConfiguration(
            runtime=runtime,
            build=commands["build"],
            command=command,
            pre_build=commands["pre-build"],
            post_build=commands["post-build"],
            pre_run=pre_run,
            build_env=MappingProxyType(build_env),
            runtime_version=self._runtime_version(run, runtime),
            port=port,
            port_env=port_env,
            env=MappingProxyType(env),
            secrets=MappingProxyType(self._secrets(run, env)),
            warnings=self._told_warnings(),
            extensions=tuple(self._extensions),
        )

    def _told_warnings(self) -> tuple[str, ...]:
        """Each is an event: a strange file must not fill the log."""
        told, more = self._warnings[:_MOST_WARNINGS], self._warnings[_MOST_WARNINGS:]
        return (*told, f"{self._file}: {len(more)} more warnings") if more else tuple(told)

    def _section(self, top: Table, key: str) -> Table | None:
        node = top.get(key)
        if node is None:
            if "runtime" in _names(top):  # otherwise it is no apprunner.yaml at all
                self._problem(_line(top, key), key, _missing(key))
            return None
        return self._table(node, key)

    def _table(self, node: Node, key: str) -> Table:
        """The node, if it is a mapping with known keys; else an empty one and a problem."""
        if not isinstance(node, Table):
            if key != "build.commands":
                wanted = ", ".join(SCHEMA[key])
                self._problem(node.line, key, f"expected a mapping with the keys {wanted}")
            return Table((), node.line)
        for name, _ in node.entries:
            if name.text not in SCHEMA[key]:
                self._unknown(name, key)
        return node

    def _unknown(self, name: Scalar, parent: str) -> None:
        full = f"{parent}.{name.text}" if parent else name.text
        told = len(self._problems) <= _FURTHER  # there may be thousands
        said = hint(name.text, parent) if told else ""
        self._problem(name.line, full, f"unknown key; {said}")

    # -- scalars -------------------------------------------------------------------------------

    def _version(self, top: Table) -> None:
        node = top.get("version")
        if node is None:
            self._problem(_line(top, "version"), "version", "`version: 1.0` is required")
        elif not isinstance(node, Scalar) or node.text not in {"1", "1.0"}:
            self._problem(node.line, "version", f"expected 1.0, not {_show(node)}")

    def _runtime(self, top: Table) -> str:
        node = top.get("runtime")
        if isinstance(node, Scalar):
            if node.text not in self._runtimes:
                self._problem(node.line, "runtime", self._no_runtime(node.text))
            return node.text
        valid = ", ".join(sorted(self._runtimes))
        if node is None:
            message = f"`runtime:` is required, one of {valid}"
        else:
            message = f"expected the name of a runtime, one of {valid}"
        self._problem(_line(top, "runtime"), "runtime", message)
        return ""

    def _no_runtime(self, name: str) -> str:
        if "docker" in name.lower():
            return f"there is no runtime {_brief(name)}. {NO_DOCKERFILES}"
        valid = ", ".join(sorted(self._runtimes))
        if name in RELEASES:
            return (
                f"{name} is a runtime of App Runner, but no buildpack brings it here; "
                f"there are {valid}"
            )
        nearest = nearest_runtimes(name, self._runtimes)
        hint = f"did you mean {' or '.join(nearest)}? " if nearest else ""
        return f"there is no runtime {_brief(name)!r}; {hint}there are {valid}"

    def _runtime_version(self, run: Table, runtime: str) -> str | None:
        node = run.get("runtime-version")
        if node is None:
            return None
        key, known = "run.runtime-version", RELEASES.get(runtime, ())
        example = f", for example {known[-1]}" if known else ""
        if not isinstance(node, Scalar) or not _VERSION.fullmatch(node.text):
            expected = f"expected major[.minor[.patch]]{example}"
            self._problem(node.line, key, f"{expected}, not {_show(node)}")
            return None
        if known and not any(agree(node.text, release) for release in known):
            releases = " and ".join(known)
            self._problem(
                node.line, key, f"runtime version not supported: {runtime} has {releases}"
            )
        return node.text

    def _port(self, network: Table) -> int:
        node = network.get("port")
        if node is None:
            return DEFAULT_PORT
        text = node.text if isinstance(node, Scalar) else ""
        if _NUMBER.fullmatch(text) and 1 <= int(text) <= _LAST_PORT:
            return int(text)
        message = f"expected a number from 1 to {_LAST_PORT}, not {_show(node)}"
        if "$" in text:
            message += "; variables are not expanded here"
        self._problem(node.line, "run.network.port", message)
        return DEFAULT_PORT

    def _port_env(self, network: Table) -> str | None:
        node = network.get("env")
        if node is None:
            return None
        if isinstance(node, Scalar) and _NAME.fullmatch(node.text):
            return node.text
        self._problem(node.line, "run.network.env", "expected the name of one variable")
        return None

    # -- commands ------------------------------------------------------------------------------

    def _commands_of(self, build: Table | None) -> dict[str, tuple[str, ...]]:
        empty: dict[str, tuple[str, ...]] = dict.fromkeys(SCHEMA["build.commands"], ())
        if build is None:
            return empty
        node, key = build.get("commands"), "build.commands"
        if node is None:
            self._problem(build.line, key, "build commands are required (build.commands.build)")
            return empty
        if not isinstance(node, Table):
            self._problem(
                node.line,
                key,
                f"{key} must be a mapping with the key build: indent the commands under `build:`",
            )
            return empty
        table = self._table(node, key)
        if table.get("build") is None:
            self._problem(table.line, f"{key}.build", "a list of build commands is required")
        return {k: self._commands(table.get(k), f"{key}.{k}") for k in empty}

    def _commands(self, node: Node | None, key: str) -> tuple[str, ...]:
        if node is None:
            return ()
        if not isinstance(node, Listing):
            self._problem(
                node.line, key, "expected a list of commands: each on its own line after `- `"
            )
            return ()
        if not node.items:
            self._warn(node.line, key, "an empty list; App Runner's documentation wants commands")
        lines = [(item.line, c) for item in node.items if (c := self._line(item, key))]
        self._check_programs(lines, key)
        return tuple(command for _, command in lines)

    def _command(self, run: Table | None) -> str:
        if run is None:
            return ""  # which is a problem already
        node, key = run.get("command"), "run.command"
        if node is None:
            self._problem(run.line, key, "a start command is required")
            return ""
        command = self._line(node, key)
        if said := shell_hint(command):
            self._warn(node.line, key, said)
        self._check_programs([(node.line, command)], key)
        return command

    def _line(self, node: Node, key: str) -> str:
        """One command line; "" and a problem where there is none."""
        if isinstance(node, Table):
            quoted = "this is a mapping, because of the colon: quote this command"
            if node.entries and isinstance(value := node.entries[0][1], Scalar):
                text = f"{node.entries[0][0].text}: {value.text}".replace("'", "''")
                quoted += f", as '{text}'" if len(text) < _LONG else " in single quotes"
            self._problem(node.line, key, quoted)
            return ""
        text = node.text.strip() if isinstance(node, Scalar) else ""
        if not text:
            self._problem(node.line, key, "expected one command line, as text")
        elif len(text) > _LONGEST_COMMAND:
            self._problem(
                node.line,
                key,
                f"a command of {len(text)} characters; at most {_LONGEST_COMMAND} are taken: put "
                "it into a script",
            )
        elif _CONTROL.search(text):
            self._problem(
                node.line, key, "a command is one line: use one per entry, a script, or `>-`"
            )
        else:
            return text
        return ""

    def _check_programs(self, lines: Iterable[tuple[int, str]], key: str) -> None:
        """Warn of programs that this runtime has here only; each once in the file."""
        for line, command in lines:
            for part in re.split(r"&&|\|\|?|;", command) if self._absent else ():
                if _OWN_PROGRAMS.search(part):
                    return
                name = next(iter(split_command(part)[:1]), "")
                if instead := self._absent.pop(name, ""):
                    self._warn(
                        line,
                        key,
                        f"this runtime has no `{name}` on App Runner, where that fails: write "
                        f"`{instead}`",
                    )
                    self._extensions.append(self._warnings[-1])
                if _BRINGS_PIP.search(part):
                    self._absent.pop("pip", None)

    # -- variables -----------------------------------------------------------------------------

    def _env(self, node: Node | None, key: str) -> dict[str, str]:
        env: dict[str, str] = {}
        literal: list[tuple[int, str]] = []
        for name, value in self._pairs(node, key, "value"):
            if len(value.text) > _LONGEST_VALUE:
                long = f"{_brief(name.text)} has {len(value.text)} characters; at most"
                self._problem(value.line, key, f"{long} {_LONGEST_VALUE} are allowed")
            if _INTERPOLATION.search(value.text):
                literal.append((value.line, name.text))
            if name.text in env:
                twice = f"{_brief(name.text)} is set twice; the last one counts"
                self._warn(name.line, key, twice)
            env[name.text] = value.text
        if literal:
            self._warn(literal[0][0], key, _taken_literally([name for _, name in literal]))
        return env

    def _secrets(self, run: Table, env: Mapping[str, str]) -> dict[str, str]:
        key, secrets = "run.secrets", dict[str, str]()
        for name, value in self._pairs(run.get("secrets"), key, "value-from"):
            if not value.text:
                self._problem(value.line, key, f"{_brief(name.text)}: value-from is empty")
            if name.text in env:
                self._problem(name.line, key, f"{_brief(name.text)} is set in run.env as well")
            if name.text == "PORT":
                self._problem(name.line, key, "PORT is reserved: it carries run.network.port")
            secrets[name.text] = value.text
        return secrets

    def _pairs(self, node: Node | None, key: str, value: str) -> Iterator[tuple[Scalar, Scalar]]:
        shape = f"`- name: NAME` with `{value}: …` below it"
        if node is None:
            return
        if not isinstance(node, Listing):
            self._problem(node.line, key, f"expected a list, each entry {shape}")
            return
        for item in node.items:
            pair = self._pair(item, value)
            if pair is None:
                self._problem(item.line, key, f"expected {shape}, with scalar values and no more")
            elif self._name_allowed(pair[0], key):
                yield pair

    @staticmethod
    def _pair(item: Node, value: str) -> tuple[Scalar, Scalar] | None:
        if not isinstance(item, Table) or _names(item) != {"name", value}:
            return None
        pair = {k.text: v for k, v in item.entries}
        name, content = pair["name"], pair[value]
        if not isinstance(name, Scalar) or not isinstance(content, Scalar):
            return None
        return None if name.null else (name, content)

    def _name_allowed(self, name: Scalar, key: str) -> bool:
        if name.text.startswith("AWSAPPRUNNER"):
            reserved = f"{_brief(name.text)}: names with AWSAPPRUNNER are reserved"
            self._problem(name.line, key, reserved)
            return False
        if not _NAME.fullmatch(name.text):
            self._problem(name.line, key, f"{_brief(name.text)!r} cannot be the name of a variable")
            return False
        return True

    def _check_build_env(self, build: Table | None, env: Mapping[str, str]) -> None:
        for name in env:
            if build and not _SHELL_NAME.fullmatch(name):
                self._problem(
                    _line(build, "env"),
                    "build.env",
                    f"{_brief(name)!r}: a shell cannot hold that name",
                )

    def _check_port_variables(
        self, run: Table, env: Mapping[str, str], port: int, port_env: str | None
    ) -> None:
        for name in dict.fromkeys(("PORT", port_env or "PORT")):
            value = env.get(name, str(port))
            if value != str(port):
                shown = f"{name} is {_brief(value)} here but run.network.port is {port}"
                self._warn(_line(run, "env"), "run.env", f"{shown}: the app gets {port}")


def _missing(section: str) -> str:
    needs = {"build": "commands.build, a list of commands", "run": "command, the start command"}
    return f"the section `{section}:` is required; it needs {needs[section]}"


def _names(table: Table) -> set[str]:
    return {key.text for key, _ in table.entries}


def _line(table: Table, key: str) -> int:
    return next((k.line for k, _ in table.entries if k.text == key), table.line)


def _brief(text: str) -> str:
    return text if len(text) < _LONG else text[:_LONG] + "…"


def _taken_literally(names: list[str]) -> str:
    """Names alone: a value may hold a secret beside what it wants put in."""
    told = ", ".join(dict.fromkeys(_brief(name) for name in names[:_FURTHER]))
    more = f" and {len(names) - _FURTHER} more" if len(names) > _FURTHER else ""
    return (
        f"{told}{more}: `${{…}}` and `{{{{resolve:…}}}}` are passed as they stand, nothing is put "
        "in; write the value, or use run.secrets"
    )


def _show(node: Node) -> str:
    match node:
        case Scalar(text=text):
            return repr(_brief(text))
        case Listing():
            return "a list"
        case Table():
            return "a mapping"


def render(configuration: AppConfiguration) -> str:
    """The file that reads as this configuration, for people who want to start from one."""
    lines = ["version: 1.0", f"runtime: {_quote(configuration.runtime)}", "build:", "  commands:"]
    phases = {
        "pre-build": configuration.pre_build,
        "build": configuration.build,
        "post-build": configuration.post_build,
    }
    for phase, commands in phases.items():
        if commands or phase == "build":
            lines += _listing(f"    {phase}:", commands)
    lines += _pairs_text("  env:", "value", configuration.build_env)
    lines += ["run:"]
    if configuration.runtime_version:
        lines += [f"  runtime-version: {configuration.runtime_version}"]
    if configuration.pre_run:
        lines += _listing("  pre-run:", configuration.pre_run)
    lines += [f"  command: {_quote(configuration.command)}", "  network:"]
    lines += [f"    port: {configuration.port}"]
    if configuration.port_env:
        lines += [f"    env: {_quote(configuration.port_env)}"]
    lines += _pairs_text("  env:", "value", configuration.env)
    lines += _pairs_text("  secrets:", "value-from", configuration.secrets)
    return "\n".join(lines) + "\n"


def _listing(head: str, commands: Iterable[str]) -> list[str]:
    indent = " " * (len(head) - len(head.lstrip()) + 2)
    items = [f"{indent}- {_quote(command)}" for command in commands]
    return [head, *items] if items else [f"{head} []"]


def _pairs_text(head: str, value: str, pairs: Mapping[str, str]) -> list[str]:
    entries = [
        line
        for name, text in pairs.items()
        for line in (f"    - name: {_quote(name)}", f"      {value}: {_quote(text)}")
    ]
    return [head, *entries] if entries else []


def _quote(text: str) -> str:
    """Plain where that is plainly the same, else in double quotes, which YAML shares with JSON."""
    if _PLAIN.fullmatch(text) and not Scalar(text).null:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)
