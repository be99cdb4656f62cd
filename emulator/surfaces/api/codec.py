"""Service models as checks and encoders: the one door to botocore's, App Runner's and ECR's.

No operation and no member is typed by hand a second time: what a request may hold and how an
answer looks on the wire is compiled, shape by shape, from the model that the AWS CLI and boto3
ship. Requests are checked whole, so that a caller learns of all that is wrong at once.

Source of the words: AWS's front ends ("1 validation error detected: Value '…' at 'serviceName'
failed to satisfy constraint: …"), as quoted in public issues.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final

LARGEST_INTEGER: Final = 2**31 - 1
MESSAGE_LIMIT: Final = 600  # characters of an ErrorMessage (model)
_SHOWN: Final = 100  # characters of a value in a message
_REDACTED: Final = "***Sensitive Data Redacted***"
# What the model allows to be looser here than on AWS, unless `strict`: local image names.
LOOSE: Final = frozenset({"ImageIdentifier"})
# In lower case on the wire, whatever the model's enum says: the Terraform provider waits for
# `active`, and recorded answers of the real service show `creating` (clients.md, 1.5).
LOWER_CASE: Final = frozenset({"AutoScalingConfigurationStatus", "CustomDomainAssociationStatus"})

Members = dict[str, Any]
Violations = list[str]
Check = Callable[[Any, str, Violations], Any]
Encoder = Callable[[Any], Any]


class SerializationError(Exception):
    """The body is no JSON, or a value has another JSON type than the model says."""


class ValidationError(Exception):
    """The model's constraints are violated; the message lists every violation."""

    def __init__(self, violations: Violations) -> None:
        count = len(violations)
        plural = "" if count == 1 else "s"
        text = f"{count} validation error{plural} detected: {'; '.join(violations)}"
        super().__init__(text if len(text) <= MESSAGE_LIMIT else f"{text[: MESSAGE_LIMIT - 1]}…")
        self.violations = tuple(violations)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationModel:
    """One operation: its checks and encoder, and the errors it declares."""

    name: str
    errors: frozenset[str]
    check: Check
    encoder: Encoder

    def decode(self, body: bytes) -> Members:
        """The request's members. Raises SerializationError, ValidationError."""
        return self.members(parse(body))

    def members(self, document: object) -> Members:
        """The same, of a body that was read already."""
        violations: Violations = []
        if not isinstance(document, dict):
            raise SerializationError(f"The body must be a JSON object, not {_kind(document)}.")
        checked: Members = self.check(document, "", violations)
        if violations:
            raise ValidationError(violations)
        return checked

    def encode(self, members: Members) -> bytes:
        return json.dumps(self.encoder(members), separators=(",", ":"), allow_nan=False).encode()


@cache
def operations(
    *, strict: bool = False, service: str = "apprunner", names: tuple[str, ...] = ()
) -> Mapping[str, OperationModel]:
    """By name, all of a service's or those in `names`. Reads files the first time: not in the event
    loop's thread.
    """
    model = service_model(service)
    return MappingProxyType(
        {
            name: _operation(model.operation_model(name), strict)
            for name in names or model.operation_names
        }
    )


@cache
def service_model(service: str = "apprunner") -> Any:  # noqa: ANN401 - botocore has no types
    """Botocore's own; for the coverage page and the tests."""
    from botocore.loaders import Loader  # noqa: PLC0415 - 80 ms that a start need not wait for
    from botocore.model import ServiceModel  # noqa: PLC0415

    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def _operation(model: Any, strict: bool) -> OperationModel:  # noqa: ANN401, FBT001 - botocore's
    return OperationModel(
        name=model.name,
        errors=frozenset(shape.name for shape in model.error_shapes),
        check=_check_of(model.input_shape, strict),
        encoder=_encoder_of(model.output_shape),
    )


# -- requests ------------------------------------------------------------------------------------


def parse(body: bytes) -> object:
    """JSON as its standard has it: no NaN, no endless nesting. Raises SerializationError."""
    try:
        return json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise SerializationError("The body is nested too deeply.") from None
    except ValueError as error:
        raise SerializationError(f"The body is not JSON: {error}") from None


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not a number")


_KINDS: Final = (
    (type(None), "null"),
    (bool, "a boolean"),  # before int, which it is as well
    (str, "a string"),
    (int | float, "a number"),
    (list, "a list"),
    (dict, "an object"),
)


def _kind(value: object) -> str:
    return next(words for kind, words in _KINDS if isinstance(value, kind))


def _mistyped(value: object, path: str, expected: str) -> SerializationError:
    return SerializationError(f"The value at '{path}' must be {expected}, not {_kind(value)}.")


def _violated(value: object, path: str, constraint: str) -> str:
    """`value` as text, None for null."""
    if value is None:
        shown = "null"
    else:
        text = str(value)
        shown = f"'{text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _check_of(shape: Any, strict: bool) -> Check:  # noqa: ANN401, FBT001
    return _CHECKS[shape.type_name](shape, strict)


def _shows(shape: Any) -> Encoder:  # noqa: ANN401
    """What a message may show of a value: secrets and commands are nobody's business."""
    if shape.metadata.get("sensitive"):
        return lambda _: _REDACTED
    return lambda value: value


def _member_path(path: str, name: str) -> str:
    """In AWS's form: lower camel case, joined by dots."""
    camel = name[:1].lower() + name[1:]
    return f"{path}.{camel}" if path else camel


def _structure(shape: Any, strict: bool) -> Check:  # noqa: ANN401, FBT001
    checks = {name: _check_of(member, strict) for name, member in shape.members.items()}
    required = tuple(shape.required_members)
    known = ", ".join(checks)

    def check(value: Any, path: str, violations: Violations) -> Members:  # noqa: ANN401
        if not isinstance(value, dict):
            raise _mistyped(value, path, "an object")
        for name in required:
            if value.get(name) is None:
                constraint = "Member must not be null"
                violations.append(_violated(None, _member_path(path, name), constraint))
        found: Members = {}
        for name, member in value.items():
            if name not in checks:
                constraint = f"Member is not known; known are: {known or 'none'}"
                violations.append(_violated(name, _member_path(path, name), constraint))
            elif member is not None:
                found[name] = checks[name](member, _member_path(path, name), violations)
        return found

    return check


def _list(shape: Any, strict: bool) -> Check:  # noqa: ANN401, FBT001
    check_item = _check_of(shape.member, strict)

    def check(value: Any, path: str, violations: Violations) -> list[Any]:  # noqa: ANN401
        if not isinstance(value, list):
            raise _mistyped(value, path, "a list")
        found = []
        for number, item in enumerate(value, start=1):
            where = f"{path}.{number}.member"
            if item is None:
                violations.append(_violated(None, where, "Member must not be null"))
            else:
                found.append(check_item(item, where, violations))
        return found

    return check


def _map(shape: Any, strict: bool) -> Check:  # noqa: ANN401, FBT001
    check_key = _check_of(shape.key, strict)
    check_value = _check_of(shape.value, strict)
    secretive = bool(shape.key.metadata.get("sensitive"))

    def check(value: Any, path: str, violations: Violations) -> Members:  # noqa: ANN401
        if not isinstance(value, dict):
            raise _mistyped(value, path, "an object")
        found: Members = {}
        for number, (key, member) in enumerate(value.items(), start=1):
            check_key(key, f"{path}.{number}.key", violations)
            where = f"{path}.{number if secretive else key}.value"
            if member is None:
                violations.append(_violated(None, where, "Member must not be null"))
            else:
                found[key] = check_value(member, where, violations)
        return found

    return check


def _string(shape: Any, strict: bool) -> Check:  # noqa: ANN401, FBT001
    constraints = _constraints(shape, strict)
    show = _shows(shape)

    def check(value: Any, path: str, violations: Violations) -> str:  # noqa: ANN401
        if not isinstance(value, str):
            raise _mistyped(value, path, "a string")
        if "\x00" in value or not _is_text(value):
            raise SerializationError(f"The string at '{path}' holds what is not text.")
        violations += [
            _violated(show(value), path, f"Member must {words}")
            for words, kept in constraints
            if not kept(value)
        ]
        return value

    return check


def _constraints(shape: Any, strict: bool) -> list[tuple[str, Callable[[str], bool]]]:  # noqa: ANN401, FBT001
    """What a string must be, in words and as a question."""
    limits, allowed = shape.metadata, frozenset(shape.enum)
    least, most = limits.get("min", 0), limits.get("max", math.inf)
    pattern = _pattern(limits.get("pattern", ".*"))
    found: list[tuple[str, Callable[[str], bool]]] = [
        (f"have length greater than or equal to {least}", lambda value: len(value) >= least),
        (f"have length less than or equal to {most}", lambda value: len(value) <= most),
    ]
    if allowed:
        found.append((f"satisfy enum value set: [{', '.join(shape.enum)}]", allowed.__contains__))
    if shape.name not in LOOSE or strict:
        words = f"satisfy regular expression pattern: {limits.get('pattern')}"
        found.append((words, lambda value: pattern.fullmatch(value) is not None))
    return found


def _pattern(text: str) -> re.Pattern[str]:
    """The model's patterns are Java's, but mean the same here; a line feed may be in a value.

    Whether AWS refuses it in a `.*` is not known; environment variables do hold keys of many
    lines, and where a line feed is forbidden the model says so.
    """
    return re.compile(text, re.ASCII | re.DOTALL)


def _is_text(value: str) -> bool:
    """False for lone surrogates, which JSON can write and UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer(shape: Any, _: bool) -> Check:  # noqa: ANN401, FBT001
    least, most = shape.metadata.get("min", -math.inf), shape.metadata.get("max", math.inf)

    def check(value: Any, path: str, violations: Violations) -> int:  # noqa: ANN401
        if not isinstance(value, int) or isinstance(value, bool):
            raise _mistyped(value, path, "a whole number")
        if not -LARGEST_INTEGER - 1 <= value <= LARGEST_INTEGER:
            raise SerializationError(f"The number at '{path}' does not fit into 32 bits.")
        if value < least:
            words = f"Member must have value greater than or equal to {least}"
            violations.append(_violated(value, path, words))
        if value > most:
            words = f"Member must have value less than or equal to {most}"
            violations.append(_violated(value, path, words))
        return value

    return check


def _boolean(_shape: Any, _strict: bool) -> Check:  # noqa: ANN401, FBT001
    def check(value: Any, path: str, _: Violations) -> bool:  # noqa: ANN401
        if not isinstance(value, bool):
            raise _mistyped(value, path, "true or false")
        return value

    return check


_CHECKS: Final[Mapping[str, Callable[[Any, bool], Check]]] = MappingProxyType(
    {
        "structure": _structure,
        "list": _list,
        "map": _map,
        "string": _string,
        "integer": _integer,
        "boolean": _boolean,
    }
)


# -- answers -------------------------------------------------------------------------------------


def _encoder_of(shape: Any) -> Encoder:  # noqa: ANN401
    return _ENCODERS[shape.type_name](shape)


def _list_encoder(shape: Any) -> Encoder:  # noqa: ANN401
    encode = _encoder_of(shape.member)
    return lambda value: [encode(item) for item in value]


def _timestamp_encoder(_: Any) -> Encoder:  # noqa: ANN401
    """Epoch seconds: the Go SDK takes nothing else."""
    return lambda value: round(float(value), 3)


def _structure_encoder(shape: Any) -> Encoder:  # noqa: ANN401
    """What is None is left out; what the model does not know is a mistake of ours."""
    encoders = {name: _encoder_of(member) for name, member in shape.members.items()}
    required = frozenset(shape.required_members)

    def encode(value: Mapping[str, Any]) -> Members:
        found = {
            name: encoders[name](member) for name, member in value.items() if member is not None
        }
        if missing := required - found.keys():
            raise KeyError(f"{shape.name} without {', '.join(sorted(missing))}")
        return found

    return encode


def _text(shape: Any) -> Encoder:  # noqa: ANN401
    if shape.name in LOWER_CASE:
        return lambda value: str(value).lower()
    return str


_ENCODERS: Final[Mapping[str, Callable[[Any], Encoder]]] = MappingProxyType(
    {
        "structure": _structure_encoder,
        "list": _list_encoder,
        "map": lambda _: dict,
        "timestamp": _timestamp_encoder,
        "string": _text,
        "integer": lambda _: int,
        "long": lambda _: int,
        "boolean": lambda _: bool,
    }
)
