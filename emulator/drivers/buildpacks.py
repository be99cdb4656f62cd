"""Buildpacks from their folders: a new language is a new folder with a buildpack.toml.

Beside the folders stands tools.toml: what the bases made from packages have in common.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import tomli

from emulator.model.build import (
    BaseImage,
    Buildpack,
    BuildProcess,
    Cache,
    Demand,
    DependencyCommand,
    DetectionRule,
    Install,
    Runtime,
    Tools,
)
from emulator.model.configuration import DEFAULT_PORT, NOTHING
from emulator.model.errors import ConfigurationError, Place

FILE = "buildpack.toml"
TOOLS = "tools.toml"
PROGRAMS = "programs"
DEFAULT_SUITE = "bookworm"
_LAST_PORT = 65535
_CACHE_NAME = re.compile(r"[a-z][a-z0-9-]*")
T = TypeVar("T")


def folder() -> Path:
    """Where the buildpacks are: inside the package, in a checkout by a link."""
    return Path(str(files("emulator"))) / "buildpacks"


def load(folder: Path, *, suite: str = DEFAULT_SUITE) -> tuple[Buildpack, ...]:
    """All of them, by name. `suite` is Debian's release that bases are made from.

    Raises ConfigurationError with the file and the key.
    """
    try:
        found = sorted(folder.glob(f"*/{FILE}"))
    except OSError as error:
        raise _error(str(folder), "", f"cannot be read: {error.strerror}") from error
    if not found:
        raise _error(str(folder), "", f"no buildpacks: expected folders with a {FILE}")
    common = _Common(suite, _tools(folder / TOOLS))
    buildpacks = tuple(
        _buildpack(_Section(str(path), "", _read(path)), path.parent.name, common) for path in found
    )
    owners: dict[str, Path] = {}
    for path, buildpack in zip(found, buildpacks, strict=True):
        for runtime in buildpack.runtimes:
            first = owners.setdefault(runtime.name, path)
            if first != path:
                message = f"the runtime {runtime.name} is in {first} already"
                raise _error(str(path), "runtimes", message)
    return buildpacks


def without_programs(buildpacks: Iterable[Buildpack]) -> tuple[Buildpack, ...]:
    """The same, but commands find the image's own programs only: strictly what App Runner does."""
    return tuple(
        replace(pack, caches=tuple(replace(cache, programs=NOTHING) for cache in pack.caches))
        for pack in buildpacks
    )


@dataclass(frozen=True, slots=True)
class _Common:
    """What every base is made of."""

    suite: str
    tools: Tools


def _tools(path: Path) -> Tools:
    if not path.exists():
        return Tools()
    section = _Section(str(path), "", _read(path))
    tools = Tools(packages=section.texts("packages"), setup=section.texts("setup"))
    section.finish()
    return tools


def _read(path: Path) -> dict[str, object]:
    try:
        return tomli.loads(path.read_text("utf-8"))
    except tomli.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        place = Place(file=str(path), line=int(line[1]) if line else 0)
        raise ConfigurationError(place, f"not TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise _error(str(path), "", f"cannot be read: {error}") from error


def _error(file: str, key: str, message: str) -> ConfigurationError:
    return ConfigurationError(Place(file=file, key=key), message)


class _Section:
    """A TOML table whose keys are taken out one by one; what is left is unknown."""

    def __init__(self, file: str, key: str, table: Mapping[str, object]) -> None:
        self._file = file
        self._key = key
        self._table = dict(table)

    def error(self, key: str, message: str) -> ConfigurationError:
        return _error(self._file, f"{self._key}.{key}".strip("."), message)

    def finish(self) -> None:
        for key in self._table:
            raise self.error(key, "unknown key")

    def text(self, key: str, default: str | None = None) -> str:
        value = self._table.pop(key, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self.error(key, "expected a text")
        return value

    def text_by(self, key: str, case: str) -> str:
        """A text, or a table of texts of which one is for this case; "" where none is."""
        value = self._table.get(key, "")
        if not isinstance(value, dict):
            return self.text(key, "")
        cases = self.table(key, lambda table: {name: table.text(name) for name in value})
        return cases.get(case, "")

    def texts_by_name(self, key: str) -> Mapping[str, str]:
        """At least one."""
        value = self._table.pop(key, None)
        if isinstance(value, dict) and value:
            named = {name: text for name, text in value.items() if isinstance(text, str)}
            if len(named) == len(value):
                return MappingProxyType(named)
        raise self.error(key, "expected a table of texts")

    def files_by_name(self, key: str, folder: str) -> Mapping[str, str]:
        """What the files say that are named, which lie in a folder beside this file; none where
        it is not said.
        """
        if key not in self._table:
            return NOTHING
        names = self.texts_by_name(key)
        beside = Path(self._file).parent / folder
        try:
            texts = {name: (beside / file).read_text("utf-8") for name, file in names.items()}
        except (OSError, UnicodeDecodeError) as error:
            raise self.error(key, f"cannot be read: {error}") from error
        return MappingProxyType(texts)

    def flag(self, key: str) -> bool:
        """False where it is not said."""
        value = self._table.pop(key, False)
        if not isinstance(value, bool):
            raise self.error(key, "expected true or false")
        return value

    def port(self, key: str) -> int:
        value = self._table.pop(key, DEFAULT_PORT)
        if not isinstance(value, int) or not 1 <= value <= _LAST_PORT:
            raise self.error(key, f"expected a number from 1 to {_LAST_PORT}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._table.pop(key, [])
        if isinstance(value, list):
            texts = tuple(item for item in value if isinstance(item, str) and item)
            if len(texts) == len(value):
                return texts
        raise self.error(key, "expected a list of texts")

    def pattern(self, key: str, default: str | None = None) -> str:
        return self._checked(key, self.text(key, default))

    def optional_pattern(self, key: str) -> str:
        return self._checked(key, self.text(key, ""))

    def patterns(self, key: str) -> Mapping[str, str]:
        """File names with a regular expression each."""
        value = self._table.pop(key, {})
        if not isinstance(value, dict):
            raise self.error(key, "expected a table of file names and patterns")
        patterns: dict[str, str] = {}
        for name, text in value.items():
            if not isinstance(text, str):
                raise self.error(f"{key}.{name}", "expected a text")
            patterns[name] = self._checked(f"{key}.{name}", text)
        return MappingProxyType(patterns)

    def _checked(self, key: str, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise self.error(key, f"not a regular expression: {error}") from error
        return pattern

    def table(self, key: str, read: "Callable[[_Section], T]") -> T:
        value = self._table.pop(key, None)
        if not isinstance(value, dict):
            raise self.error(key, "expected a table")
        return self._read(key, value, read)

    def tables(self, key: str, read: "Callable[[_Section], T]") -> tuple[T, ...]:
        value = self._table.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.error(key, f"expected tables, each as [[{key}]]")
        return tuple(self._read(f"{key}[{n}]", item, read) for n, item in enumerate(value))

    def _read(self, key: str, value: Mapping[str, object], read: "Callable[[_Section], T]") -> T:
        section = _Section(self._file, f"{self._key}.{key}".strip("."), value)
        result = read(section)
        section.finish()
        return result

    def one_of(self, key: str, valid: Collection[str]) -> str:
        value = self.text(key)
        if value not in valid:
            raise self.error(key, f"expected one of {', '.join(valid)}, not {value!r}")
        return value


def _buildpack(section: _Section, name: str, common: _Common) -> Buildpack:
    runtimes = section.tables("runtimes", lambda table: _runtime(table, common))
    names = [runtime.name for runtime in runtimes]
    if not names or len(set(names)) < len(names):
        raise section.error("runtimes", "expected at least one, each with a name of its own")
    buildpack = Buildpack(
        name=name,
        runtimes=runtimes,
        runtime=section.one_of("runtime", names),
        programs=section.texts("programs"),
        installs=section.tables("installs", _install),
        rules=section.tables("rules", _rule),
        dependencies=section.tables("dependencies", _dependency),
        caches=section.tables("caches", _cache),
        demands=section.tables("demands", _demand),
    )
    section.finish()
    return buildpack


def _runtime(section: _Section, common: _Common) -> Runtime:
    return Runtime(
        name=section.text("name"),
        api=section.text("api"),
        process=BuildProcess(section.one_of("process", tuple(BuildProcess))),
        base=section.table("base", lambda table: _base(table, common)),
    )


def _base(section: _Section, common: _Common) -> BaseImage:
    return BaseImage(
        image=section.text("image"),
        image_version=section.text("image_version", ""),
        exact=section.text("exact", ""),
        completion=section.texts("completion"),
        packages=section.texts("packages"),
        packages_version=section.text_by("packages_version", common.suite),
        setup=section.texts("setup"),
        tools=common.tools,
    )


def _install(section: _Section) -> Install:
    return Install(
        files=section.texts("files"),
        manifest=section.text("manifest"),
        build=section.texts("build"),
    )


def _rule(section: _Section) -> DetectionRule:
    return DetectionRule(
        files=section.texts("files"),
        absent=section.texts("absent"),
        contains=section.patterns("contains"),
        needs=section.optional_pattern("needs"),
        build=section.texts("build"),
        command=section.text("command", ""),
        port=section.port("port"),
        because=section.text("because"),
    )


def _dependency(section: _Section) -> DependencyCommand:
    return DependencyCommand(
        pattern=section.pattern("pattern"),
        inputs=section.texts("inputs"),
        required=section.texts("required"),
        refuse=section.patterns("refuse"),
        outputs=section.texts("outputs"),
    )


def _demand(section: _Section) -> Demand:
    return Demand(file=section.text("file"), key=section.text("key"))


def _cache(section: _Section) -> Cache:
    name = section.text("name")
    if not _CACHE_NAME.fullmatch(name):
        raise section.error("name", f"expected small letters, digits and dashes, not {name!r}")
    return Cache(
        name=name,
        variables=section.texts_by_name("variables"),
        exclusive=section.flag("exclusive"),
        unless=section.pattern("unless", ""),
        needed=section.pattern("needed", ""),
        contains=section.patterns("contains"),
        programs=section.files_by_name("programs", PROGRAMS),
    )
