"""The one door to PyYAML: apprunner.yaml's bytes to nodes with lines, every scalar as text.

It reads the parser's events, not the library's objects: so no tag can construct anything, no
depth can overflow a stack, and no chain of aliases can grow beyond a bound.
"""

import re
from collections.abc import Iterator

import yaml

from emulator.decisions.app_configuration import LARGEST, Listing, Node, Scalar, Table
from emulator.model.errors import ConfigurationError, Place

DEEPEST = 32
MOST_NODES = 20_000  # after aliases are expanded
LONGEST_KEY = 200  # characters; App Runner's own have 15 at most

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_CONFLICT = re.compile(r"^(<{7}|>{7}|\|{7})( |$)", re.MULTILINE)
_TAB_INDENT = re.compile(r"^ *\t")
# What the parser says, and what that means to whoever wrote the file.
_PLAIN_WORDS = (
    ("mapping values are not allowed", "a colon where none can be: quote the text, or indent it"),
    ("could not find expected ':'", "a key without a colon, or a text that should be quoted"),
    ("did not find expected key", "the indentation does not fit, or a quote is missing"),
    ("expected <block end>", "the indentation does not fit, or a quote is missing"),
    ("block sequence entries are not allowed", "a `- ` entry cannot stand here"),
    ("did not find expected '-' indicator", "the indentation does not fit the list above"),
    ("sequence entries are not allowed", "a `- ` entry cannot stand here"),
    ("unexpected end of stream", "a quote or bracket is opened and never closed"),
    ("expected ',' or", "a bracket is opened and not closed"),
    ("unknown escape character", "an unknown escape in double quotes: use single quotes"),
    ("undefined alias", "an alias (*name) without its anchor (&name)"),
    ("cannot start any token", "a text cannot begin with this character: quote it"),
    ("special characters are not allowed", "the file holds a control character"),
    ("control characters are not allowed", "the file holds a control character"),
)

_OPENED = ("unexpected end of stream", "could not find expected ':'", "expected ',' or")


def load(data: bytes, file: str) -> Node:
    """Raises ConfigurationError, with the line wherever there is one."""
    if len(data) > LARGEST:
        raise _error(file, 0, f"the file has {len(data)} bytes; at most {LARGEST} are read")
    text = _decode(data, file)
    conflict = _CONFLICT.search(text)
    if conflict is not None:
        line = text.count("\n", 0, conflict.start()) + 1
        raise _error(file, line, "a merge conflict is left in the file: resolve it")
    try:
        node = _Composer(file).compose(yaml.parse(text, Loader=_LOADER))
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, file) from error
    if node is None:
        raise _error(file, 1, "the file is empty")
    return node


def _decode(data: bytes, file: str) -> str:
    """Without byte order mark, and with one kind of line end: no CR may reach a shell."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _error(file, line, "the file is not UTF-8: save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _error(file: str, line: int, message: str, key: str = "") -> ConfigurationError:
    return ConfigurationError(Place(file=file, line=line, key=key), message)


def _syntax_error(error: yaml.YAMLError, text: str, file: str) -> ConfigurationError:
    raw = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "not readable")
    lines = text.split("\n")
    line = min(_line_of(error, raw, text), len(lines))
    if _TAB_INDENT.match(lines[line - 1]):
        return _error(file, line, "not YAML: a tab indents this line, YAML wants blanks")
    meaning = next((words for said, words in _PLAIN_WORDS if said in raw), raw)
    return _error(file, line, f"not YAML: {meaning}")


def _line_of(error: yaml.YAMLError, raw: str, text: str) -> int:
    """Where the mistake is: for what is never closed, where it was opened."""
    began, noticed = (getattr(error, f"{what}_mark", None) for what in ("context", "problem"))
    mark = began if any(said in raw for said in _OPENED) else noticed
    mark = mark or noticed or began
    if mark is not None:
        return int(mark.line) + 1
    position = getattr(error, "position", 0)
    return text.count("\n", 0, position) + 1


class _Open:
    """A collection whose end has not been seen."""

    def __init__(self, anchor: str | None, line: int, *, mapping: bool) -> None:
        self.anchor = anchor
        self.line = line
        self.mapping = mapping
        self.nodes: list[Node] = []
        self.keys: list[Scalar] = []
        self.size = 1
        self._lines: dict[str, int] = {}

    @property
    def wants_key(self) -> bool:
        return self.mapping and len(self.keys) == len(self.nodes)

    def name(self, key: Scalar) -> int | None:
        """The next key; returns the line where it stood before."""
        self.keys.append(key)
        earlier = self._lines.get(key.text)
        self._lines[key.text] = key.line
        return earlier

    def close(self) -> Node:
        if self.mapping:
            return Table(tuple(zip(self.keys, self.nodes, strict=True)), self.line)
        return Listing(tuple(self.nodes), self.line)


class _Composer:
    """Builds one document's nodes from the parser's events."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int] | None] = {}  # with their expanded sizes
        self._root: Node | None = None
        self._documents = 0
        self._total = 0

    def compose(self, events: Iterator[yaml.Event]) -> Node | None:
        for event in events:
            mark = event.start_mark
            self._take(event, mark.line + 1 if mark is not None else 1)
        if isinstance(self._root, Scalar) and self._root.null:
            return None
        return self._root

    def _take(self, event: yaml.Event, line: int) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _error(self._file, line, "a second document begins here: one is read")
            case yaml.CollectionStartEvent():
                mapping = isinstance(event, yaml.MappingStartEvent)
                self._begin(_Open(event.anchor, line, mapping=mapping))
            case yaml.CollectionEndEvent():
                opened = self._open.pop()
                self._add(opened.close(), opened.size, opened.anchor, line=opened.line)
            case yaml.ScalarEvent():
                # Without quotes: the C parser says "", the Python one None.
                scalar = Scalar(event.value, line, plain=not event.style)
                self._count(1, line)
                self._add(scalar, 1, event.anchor, line=line)
            case yaml.AliasEvent():
                node, size = self._aliased(event.anchor or "", line)
                self._count(size, line)
                self._add(node, size, None, line=line)
            case _:
                pass  # the stream's and the document's ends

    def _begin(self, opened: _Open) -> None:
        if len(self._open) >= DEEPEST:
            raise _error(self._file, opened.line, f"nested deeper than {DEEPEST} levels")
        if opened.anchor is not None:
            self._anchors[opened.anchor] = None
        self._count(1, opened.line)
        self._open.append(opened)

    def _count(self, size: int, line: int) -> None:
        self._total += size
        if self._total > MOST_NODES:
            raise _error(
                self._file, line, f"more than {MOST_NODES} values, what aliases stand for included"
            )

    def _aliased(self, name: str, line: int) -> tuple[Node, int]:
        if name not in self._anchors:
            raise _error(self._file, line, f"the alias *{name} has no anchor &{name} above it")
        found = self._anchors[name]
        if found is None:
            raise _error(self._file, line, f"the alias *{name} stands inside its own anchor")
        return found

    def _add(self, node: Node, size: int, anchor: str | None, *, line: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size)
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        parent.size += size
        if parent.wants_key:
            self._add_key(parent, node, line)
        else:
            parent.nodes.append(node)

    def _add_key(self, parent: _Open, key: Node, line: int) -> None:
        if not isinstance(key, Scalar):
            raise _error(self._file, line, "a key must be a word, not a list or a mapping")
        if len(key.text) > LONGEST_KEY:
            raise _error(self._file, line, f"a key of {len(key.text)} characters")
        earlier = parent.name(key)
        if earlier is not None:
            message = f"this key stands already on line {earlier}: keep one"
            raise _error(self._file, line, message, key.text)
