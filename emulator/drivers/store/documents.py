"""Model values to JSON and back, by their type hints, so that the model need not know.

A document may be older or newer than the code: members that the model does not know are
ignored, missing ones take the model's default. A union of values is told apart by a member
with the class's name.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

TAG = "is"
Value = TypeVar("Value")
_SCALARS: Mapping[object, tuple[type, ...]] = MappingProxyType(
    {str: (str,), bool: (bool,), int: (int,), float: (float, int)}
)


class DocumentError(ValueError):
    """A document that does not hold what the model asks for."""


@dataclass(frozen=True, slots=True)
class _Codec:
    encode: Callable[[Any], object]
    decode: Callable[[Any], object]


def write(value: object) -> str:
    """The JSON text of a model value."""
    kind: Any = type(value)
    return json.dumps(_codec(kind).encode(value), separators=(",", ":"))


def read(kind: type[Value], text: str) -> Value:
    """The value that `write` made the text of. Raises DocumentError."""
    hint: Any = kind
    try:
        value = _codec(hint).decode(json.loads(text))
    except json.JSONDecodeError as error:
        raise DocumentError(f"not JSON: {error}") from error
    assert isinstance(value, kind)  # noqa: S101 - tells mypy what the codec is for
    return value


@cache
def _codec(hint: Any) -> _Codec:  # noqa: ANN401 - a type hint may be anything
    if isinstance(hint, NewType):
        return _codec(hint.__supertype__)
    if hint in _SCALARS:
        return _scalar(hint)
    if is_dataclass(hint):
        return _record(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    return _generic(hint)


def _generic(hint: Any) -> _Codec:  # noqa: ANN401
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        return _union(arguments)
    if origin is tuple:
        return _sequence(arguments)
    if origin is Mapping:
        return _mapping(arguments[1])
    raise TypeError(f"no way to store {hint}")


def _scalar(kind: type) -> _Codec:
    accepted = _SCALARS[kind]

    def decode(found: object) -> object:
        if type(found) not in accepted:
            raise DocumentError(f"{found!r} instead of {kind.__name__}")
        return kind(found)

    return _Codec(kind, decode)


def _enum(kind: type[Enum]) -> _Codec:
    def decode(found: object) -> Enum:
        try:
            return kind(found)
        except ValueError as error:
            raise DocumentError(str(error)) from error

    return _Codec(lambda member: member.value, decode)


def _mapping(of: object) -> _Codec:
    codec = _codec(of)

    def decode(found: object) -> Mapping[str, object]:
        members = _expect(dict, found).items()
        return MappingProxyType({key: codec.decode(value) for key, value in members})

    return _Codec(lambda value: {k: codec.encode(v) for k, v in value.items()}, decode)


def _sequence(arguments: tuple[object, ...]) -> _Codec:
    """`tuple[X, ...]` or `tuple[X, Y]`."""
    endless = len(arguments) == 2 and arguments[1] is ...  # noqa: PLR2004 - as it is written
    codecs = [_codec(hint) for hint in arguments if hint is not ...]

    def matched(items: Sequence[object]) -> list[_Codec]:
        expected = codecs * len(items) if endless else codecs
        if len(items) != len(expected):
            raise DocumentError(f"{len(items)} items instead of {len(expected)}")
        return expected

    def encode(items: Sequence[object]) -> object:
        return [codec.encode(item) for codec, item in zip(matched(items), items, strict=True)]

    def decode(found: object) -> object:
        items = _expect(list, found)
        return tuple(codec.decode(item) for codec, item in zip(matched(items), items, strict=True))

    return _Codec(encode, decode)


def _union(arguments: tuple[object, ...]) -> _Codec:
    """`X | None`, or several dataclasses."""
    kinds = [hint for hint in arguments if hint is not NoneType]
    codec = _codec(kinds[0]) if len(kinds) == 1 else _tagged(kinds)
    if NoneType not in arguments:
        return codec
    return _Codec(
        lambda value: None if value is None else codec.encode(value),
        lambda found: None if found is None else codec.decode(found),
    )


def _tagged(kinds: Sequence[Any]) -> _Codec:
    codecs = {kind.__name__: _record(kind) for kind in kinds}

    def encode(value: object) -> object:
        name = type(value).__name__
        return {TAG: name, **_expect(dict, codecs[name].encode(value))}

    def decode(found: object) -> object:
        name = _expect(dict, found).get(TAG)
        if name not in codecs:
            raise DocumentError(f"{TAG} {name!r} instead of one of {', '.join(codecs)}")
        return codecs[name].decode(found)

    return _Codec(encode, decode)


def _record(kind: Any) -> _Codec:  # noqa: ANN401
    hints = get_type_hints(kind)
    codecs = {field.name: _codec(hints[field.name]) for field in fields(kind)}
    required = {field.name for field in fields(kind) if _has_no_default(field)}

    def encode(value: object) -> object:
        return {name: codec.encode(getattr(value, name)) for name, codec in codecs.items()}

    def decode(found: object) -> object:
        members = _expect(dict, found)
        if missing := required - members.keys():
            raise DocumentError(f"{kind.__name__} without {', '.join(sorted(missing))}")
        known = {name: codecs[name].decode(members[name]) for name in codecs.keys() & members}
        return kind(**known)

    return _Codec(encode, decode)


def _has_no_default(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _expect(kind: type[Value], found: object) -> Value:
    if not isinstance(found, kind):
        raise DocumentError(f"{found!r} instead of {kind.__name__}")
    return found
