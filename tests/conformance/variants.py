"""Requests made from the service model: right ones, and each way in which one can be wrong.

The model says of every variant what must come of it: accepted by the model (then the operation
may still refuse it), refused for a constraint, or not readable. A seed makes the random ones the
same in every run.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from random import Random  # noqa: TID251 - seeded: the same requests in every run
from typing import Any

INTEGERS = 2**31
RESOURCE = "AppRunnerResourceArn"
Members = dict[str, Any]
Path = tuple[str | int, ...]


class Expected(Enum):
    """What the model alone says of a request."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    ANY = "any"


@dataclass(frozen=True)
class Variant:
    """One request and what must come of it."""

    about: str
    members: Any
    expected: Expected

    @property
    def body(self) -> bytes:
        return json.dumps(self.members).encode()


# -- values ----------------------------------------------------------------------------------------


def text(shape: Any, length: int) -> str | None:
    """A string of this length that fits the shape; None where there is none."""
    for beginning, rest in (
        ("arn:aws:apprunner:us-east-1:000000000000:service/", "a"),
        ("arn:aws:iam::000000000000:role/", "r"),
        ("000000000000.dkr.ecr.us-east-1.amazonaws.com/", "i"),
        ("x", "x"),
        ("", "/"),
    ):
        made = beginning + rest * (length - len(beginning))
        if len(made) == length and fits(shape, made):
            return made
    return None


def fits(shape: Any, value: str) -> bool:
    limits = shape.metadata
    if not limits.get("min", 0) <= len(value) <= limits.get("max", len(value)):
        return False
    if shape.enum:
        return value in shape.enum
    return re.fullmatch(limits.get("pattern", ".*"), value, re.ASCII | re.DOTALL) is not None


WORDS = {
    "Cpu": ["256", "512", "1024", "2048", "4096", "0.25 vCPU", "1 vCPU", "4 vCPU"],
    "Memory": ["512", "1024", "2048", "4096", "12288", "0.5 GB", "2 GB", "12 GB"],
    "KmsKeyArn": ["arn:aws:kms:us-east-1:000000000000:key/01234567-89ab-cdef-0123-456789abcdef"],
    "DomainName": ["example.com", "*.example.com", "a.b.example.com", "-", "x", "..", "localhost"],
    "NextToken": ["x", "e30=", "eyJxIjoxfQ==", "-", "\u00e9", "bnVsbA=="],
    "TagKey": ["team", "emulator:freeze-after", "\u00e9\u4e2d", "AWS:x", " "],
    "TagValue": ["", "blue", "off", "10", "\u00e9", "nan", "inf", "1e400", "-1"],
    "ImageIdentifier": [
        "000000000000.dkr.ecr.us-east-1.amazonaws.com/app:1",
        "000000000000.dkr.ecr.us-east-1.amazonaws.com/missing:1",
        "public.ecr.aws/alias/app:2",
        "public.ecr.aws/alias/app@sha256:0123",
    ],
    "String": ["", "8080", "1", "0", "65536", "/repo", "main", "\u0662", "a\nb", "x" * 500],
    "SourceDirectory": ["/", "/app", "app", "..", "//", "\u00e9"],
    "HealthCheckPath": ["/", "/health", "health", " "],
    "RuntimeEnvironmentVariablesKey": ["A", "PORT", "AWSAPPRUNNER_X", "A=B", "\u00e9", "a b"],
    "RuntimeEnvironmentVariablesValue": ["", "1", "a\nb", "\u2603"],
}


@dataclass
class Chance:
    """Random values that fit; `arns` and `names` are the account's."""

    random: Random
    arns: Sequence[str]
    names: Sequence[str] = ()
    tokens: Sequence[str] = field(default_factory=list)

    def value(self, shape: Any) -> Any:
        return getattr(self, f"_{shape.type_name}")(shape)

    def _structure(self, shape: Any) -> Members:
        wanted = [
            name
            for name in shape.members
            if name in shape.required_members or self.random.random() < 0.4
        ]
        return {name: self.value(shape.members[name]) for name in wanted}

    def _list(self, shape: Any) -> list[Any]:
        return [self.value(shape.member) for _ in range(self.random.choice([0, 1, 1, 2, 3]))]

    def _map(self, shape: Any) -> Members:
        count = self.random.choice([0, 1, 2])
        return {self.value(shape.key): self.value(shape.value) for _ in range(count)}

    def _integer(self, shape: Any) -> int:
        limits = shape.metadata
        most = limits.get("max", INTEGERS - 1)
        return self.random.choice(
            [limits["min"], most, self.random.randint(limits["min"], min(most, 20))]
        )

    def _boolean(self, _: Any) -> bool:
        return self.random.random() < 0.5

    def _string(self, shape: Any) -> str:
        if shape.enum:
            return self.random.choice(shape.enum)
        if shape.name == RESOURCE:
            return self.random.choice([a for a in self.arns if fits(shape, a)])
        pool = [*WORDS.get(shape.name, ()), *self.names, *self.tokens]
        found = [word for word in pool if fits(shape, word)]
        length = self.random.randint(shape.metadata.get("min", 0), 60)
        return (
            self.random.choice([*found, text(shape, length) or found[0]])
            if found
            else (text(shape, length) or text(shape, 32) or text(shape, 60) or "")
        )


# -- places ----------------------------------------------------------------------------------------


def places(shape: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every member at every depth; of lists the first item, of maps a value (by the key K)."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield (*path, name), member
            yield from places(member, (*path, name))
    elif shape.type_name == "list":
        yield (*path, 0), shape.member
        yield from places(shape.member, (*path, 0))
    elif shape.type_name == "map":
        yield (*path, "K"), shape.value
        yield from places(shape.value, (*path, "K"))


class Form:
    """Requests of one operation: `base` with something else at one place."""

    def __init__(self, shape: Any, base: Members, chance: Chance) -> None:
        self.shape = shape
        self.base = base
        self.chance = chance

    def at(self, path: Path, value: Any) -> Members:
        """What must be above the place is made with its required members."""
        made = copy.deepcopy(self.base)
        place: Any = made
        shape = self.shape
        for step, after in pairwise(path):
            shape = _below(shape, step)
            place = _enter(place, step, lambda shape=shape: self._least(shape))
            if isinstance(after, int) and not place:
                place.append(self._least(_below(shape, after)))
        if isinstance(path[-1], int):
            place[:] = [value]
        else:
            place[path[-1]] = value
        return made

    def without(self, path: Path) -> Members | None:
        """None where the base has nothing there."""
        made = copy.deepcopy(self.base)
        place: Any = made
        for step in path[:-1]:
            if isinstance(place, list):
                return None
            place = place.get(step)
            if not isinstance(place, dict):
                return None
        if path[-1] not in place:
            return None
        del place[path[-1]]
        return made

    def _least(self, shape: Any) -> Any:
        if shape.type_name == "structure":
            return {n: self._least(shape.members[n]) for n in shape.required_members}
        if shape.type_name == "list":
            return []
        if shape.type_name == "map":
            return {}
        return self.chance.value(shape)


def _below(shape: Any, step: str | int) -> Any:
    if shape.type_name == "structure":
        return shape.members[step]
    return shape.member if shape.type_name == "list" else shape.value


def _enter(place: Any, step: str | int, make: Callable[[], Any]) -> Any:
    if isinstance(step, int):
        return place[step]
    return place.setdefault(step, make())


# -- variants --------------------------------------------------------------------------------------

_WRONG: dict[str, list[Any]] = {
    "structure": [[], "x", 1, True, 1.5],
    "list": [{}, "x", 1, False, 1.5],
    "map": [[], "x", 1, True, 1.5],
    "string": [[], {}, 1, True, 1.5, "nul \x00", "\ud800"],
    "integer": [[], {}, "5", True, 5.0, 1e300, INTEGERS, -INTEGERS - 1, 10**400],
    "boolean": [[], {}, "true", 1, 0, 1.5],
}


def variants(form: Form, count: int) -> Iterator[Variant]:
    """Systematic ones, each at every place, and `count` random ones."""
    yield Variant("the base", form.base, Expected.ACCEPTED)
    yield from _members(form)
    for path, shape in places(form.shape):
        yield from _typed(form, path, shape)
        yield from _of_kind(form, path, shape)
    yield from _by_chance(form, count)


def _members(form: Form) -> Iterator[Variant]:
    """Present, absent, null, unknown."""
    for path, shape in places(form.shape):
        about = _name(path)
        parent = _shape_at(form.shape, path[:-1])
        required = parent.type_name != "structure" or path[-1] in parent.required_members
        yield Variant(f"{about} given", form.at(path, form.chance.value(shape)), Expected.ACCEPTED)
        null = Expected.REFUSED if required else Expected.ACCEPTED
        yield Variant(f"{about} null", form.at(path, None), null)
        left_out = form.without(path)
        if left_out is not None:
            yield Variant(f"{about} left out", left_out, null)
        if shape.type_name == "structure":
            strange = form.chance.value(shape) | {"Strange": 1}
            yield Variant(f"{about} strange", form.at(path, strange), Expected.REFUSED)
            bare = Expected.REFUSED if shape.required_members else Expected.ACCEPTED
            yield Variant(f"{about} empty", form.at(path, {}), bare)
            for name in shape.required_members:
                lacking = {k: v for k, v in form.chance.value(shape).items() if k != name}
                yield Variant(f"{about} lacks {name}", form.at(path, lacking), Expected.REFUSED)
    for name in ("Strange", "", "serviceName", "\u00e9", "__type"):
        yield Variant(f"unknown {name!r}", form.base | {name: "x"}, Expected.REFUSED)
        yield Variant(f"unknown {name!r} null", form.base | {name: None}, Expected.REFUSED)
    for document in (None, [], "x", 1, True, [{}]):
        yield Variant(f"the body {document!r}", document, Expected.UNREADABLE)


def _typed(form: Form, path: Path, shape: Any) -> Iterator[Variant]:
    for value in _WRONG[shape.type_name]:
        about = f"{_name(path)} = {str(value)[:20]!r} ({type(value).__name__})"
        yield Variant(about, form.at(path, value), Expected.UNREADABLE)


def _of_kind(form: Form, path: Path, shape: Any) -> Iterator[Variant]:
    makers = {"string": _strings, "integer": _integers, "list": _lists, "map": _maps}
    if shape.type_name in makers:
        for value, expected in makers[shape.type_name](form, shape):
            about = f"{_name(path)} = {str(value)[:40]!r} ({shape.name})"
            yield Variant(about, form.at(path, value), expected)


Values = Iterator[tuple[Any, Expected]]


def _strings(form: Form, shape: Any) -> Values:
    yield from _lengths(shape)
    for value in shape.enum or ():
        yield value, Expected.ACCEPTED
        yield value.lower(), Expected.REFUSED
        yield f"{value} ", Expected.REFUSED
        yield "NO_SUCH_VALUE", Expected.REFUSED
    for value in (*WORDS.get(shape.name, ()), "a\nb", "\u00e9", " ", "a/b", "'", "%00", "${x}"):
        lenient = shape.name == "ImageIdentifier" and value
        yield value, Expected.ACCEPTED if lenient or fits(shape, value) else Expected.REFUSED
    if shape.name == RESOURCE:
        for arn in form.chance.arns:
            yield arn, Expected.ACCEPTED if fits(shape, arn) else Expected.REFUSED


def _lengths(shape: Any) -> Values:
    limits = shape.metadata
    for length in {limits.get("min"), limits.get("max")} - {None}:
        made = text(shape, length)
        if made is not None:
            yield made, Expected.ACCEPTED
    if limits.get("min"):
        yield "", Expected.REFUSED
        yield "x" * (limits["min"] - 1), Expected.REFUSED
    if "max" in limits:
        longest = text(shape, limits["max"]) or ""
        yield longest + "x" * (limits["max"] + 1 - len(longest)), Expected.REFUSED


def _integers(_: Form, shape: Any) -> Values:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    yield least, Expected.ACCEPTED
    yield least - 1, Expected.REFUSED
    yield -INTEGERS, Expected.REFUSED
    if most is None:
        yield INTEGERS - 1, Expected.ACCEPTED
    else:
        yield most, Expected.ACCEPTED
        yield most + 1, Expected.REFUSED
        yield INTEGERS - 1, Expected.REFUSED


def _lists(form: Form, shape: Any) -> Values:
    def items(count: int) -> list[Any]:
        return [form.chance.value(shape.member) for _ in range(count)]

    yield [], Expected.ACCEPTED
    yield items(2) * 2, Expected.ACCEPTED
    yield items(60), Expected.ACCEPTED
    yield [*items(1), None], Expected.REFUSED
    yield [*items(1), []], Expected.UNREADABLE


def _maps(form: Form, shape: Any) -> Values:
    value = form.chance.value(shape.value)
    yield {}, Expected.ACCEPTED
    yield {f"K{n}": value for n in range(300)}, Expected.ACCEPTED
    yield {"": value}, Expected.REFUSED
    yield {"K" * shape.key.metadata["max"]: value}, Expected.ACCEPTED
    yield {"K" * (shape.key.metadata["max"] + 1): value}, Expected.REFUSED
    yield {"K": value, "L": None}, Expected.REFUSED
    yield {"K\x00": value}, Expected.UNREADABLE


def _by_chance(form: Form, count: int) -> Iterator[Variant]:
    """Right ones, and right ones with one or two things put wrong."""
    random = form.chance.random
    everywhere = list(places(form.shape))
    for number in range(count):
        members = form.chance.value(form.shape)
        yield Variant(f"random {number}", members, Expected.ACCEPTED)
        if not everywhere:
            continue
        spoilt = Form(form.shape, members, form.chance)
        for _ in range(random.choice([1, 2])):
            path, shape = random.choice(everywhere)
            wrong = random.choice([None, *_WRONG[shape.type_name], "x" * 60_000, -1, {"x": {}}])
            spoilt = _spoilt(spoilt, path, wrong)
        yield Variant(f"random {number} spoilt", spoilt.base, Expected.ANY)


def _spoilt(form: Form, path: Path, value: Any) -> Form:
    """A place that an earlier fault has taken away stays away."""
    try:
        return Form(form.shape, form.at(path, value), form.chance)
    except (AttributeError, IndexError, KeyError, TypeError):
        return form


def _shape_at(shape: Any, path: Path) -> Any:
    for step in path:
        shape = _below(shape, step)
    return shape


def _name(path: Path) -> str:
    return ".".join(map(str, path))
