"""The one door to PyYAML: apprunner.yaml's bytes to nodes with lines, every scalar as text.

It reads the parser's events, not the library's objects: so no tag can construct anything, no
depth can overflow a stack, and no chain of aliases can grow beyond a bound.
"""

import re
from collections.abc import Iterator

import yaml

from emulator.decisions.app_configuration import Listing, Node, Scalar, Table
from emulator.model.errors import ConfigurationError, Place

LARGEST = 1_000_000  # bytes
DEEPEST = 32
MOST_NODES = 20_000  # after aliases are expanded

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
    ("unknown escape character", "an unknown escape in double quotes: use single quotes"),
    ("undefined alias", "an alias (*name) without its anchor (&name)"),
    ("cannot start any token", "a text cannot begin with this character: quote it"),
    ("special characters are not allowed", "the file holds a control character"),
    ("control characters are not allowed", "the file holds a control character"),
)


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
    """Without byte order mark, and with one kind of line end: a \\r must not reach a shell."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _error(file, line, "the file is not UTF-8: save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _error(file: str, line: int, message: str, key: str = "") -> ConfigurationError:
    return ConfigurationError(Place(file=file, line=line, key=key), message)


def _syntax_error(error: yaml.YAMLError, text: str, file: str) -> ConfigurationError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    position = getattr(error, "position", None)
    if mark is not None:
        line = min(mark.line, text.count("\n")) + 1
    else:
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 1
    raw = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed"
    if _TAB_INDENT.match(text.split("\n")[line - 1]):
        return _error(file, line, "not YAML: a tab indents this line, YAML wants blanks")
    meaning = next((words for said, words in _PLAIN_WORDS if said in str(raw)), str(raw))
    return _error(file, line, f"not YAML: {meaning}")


class _Open:
    """A collection whose end has not been seen."""

    def __init__(self, event: yaml.CollectionStartEvent) -> None:
        self.mapping = isinstance(event, yaml.MappingStartEvent)
        self.anchor: str | None = event.anchor
        self.line = event.start_mark.line + 1
        self.nodes: list[tuple[Node, int]] = []  # with their sizes

    def close(self) -> tuple[Node, int]:
        nodes = [node for node, _ in self.nodes]
        size = 1 + sum(size for _, size in self.nodes)
        if not self.mapping:
            return Listing(tuple(nodes), self.line), size
        keys = [key for key in nodes[::2] if isinstance(key, Scalar)]
        return Table(tuple(zip(keys, nodes[1::2], strict=True)), self.line), size


class _Composer:
    """Builds one document's nodes from the parser's events."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int] | None] = {}
        self._root: Node | None = None
        self._documents = 0

    def compose(self, events: Iterator[yaml.Event]) -> Node | None:
        for event in events:
            self._take(event)
        if isinstance(self._root, Scalar) and self._root.null:
            return None
        return self._root

    def _take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _error(self._file, line, "a second document begins here: one is read")
            case yaml.CollectionStartEvent():
                self._begin(event, line)
            case yaml.CollectionEndEvent():
                opened = self._open.pop()
                self._add(opened.close(), opened.anchor, opened.line)
            case yaml.ScalarEvent():
                # The C parser gives the style as text or None, the Python one "" or None.
                scalar = Scalar(event.value, line, plain=event.style in {None, ""})
                self._add((scalar, 1), event.anchor, line)
            case yaml.AliasEvent():
                self._add(self._aliased(event.anchor, line), None, line)

    def _begin(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if len(self._open) >= DEEPEST:
            raise _error(self._file, line, f"nested deeper than {DEEPEST} levels")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._open.append(_Open(event))

    def _aliased(self, name: str, line: int) -> tuple[Node, int]:
        if name not in self._anchors:
            raise _error(self._file, line, f"the alias *{name} has no anchor &{name} above it")
        found = self._anchors[name]
        if found is None:
            raise _error(self._file, line, f"the alias *{name} stands inside its own anchor")
        return found

    def _add(self, node: tuple[Node, int], anchor: str | None, line: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self._root = node[0]
            return
        parent = self._open[-1]
        if parent.mapping and len(parent.nodes) % 2 == 0:
            self._check_key(parent, node[0], line)
        parent.nodes.append(node)
        if sum(size for opened in self._open for _, size in opened.nodes[-1:]) > MOST_NODES:
            raise _error(self._file, line, "its aliases expand to too much")

    def _check_key(self, parent: _Open, key: Node, line: int) -> None:
        if not isinstance(key, Scalar):
            raise _error(self._file, line, "a key must be a word, not a list or a mapping")
        for earlier, _ in parent.nodes[::2]:
            if isinstance(earlier, Scalar) and earlier.text == key.text:
                raise _error(
                    self._file,
                    line,
                    f"this key stands already on line {earlier.line}: keep one",
                    key.text,
                )
