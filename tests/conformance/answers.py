"""Whether an answer is what the service model promises: stricter than any SDK.

SDKs look away: botocore takes ISO timestamps and "5" for a number, Go takes null and members it
does not know. Only the departures that clients rely on are let through: statuses in lower case,
a ServiceId of 32 digits (the model's pattern and length contradict each other), and the names of
local images.
"""

import json
import math
import re
from typing import Any

LOWER_CASE = {"AutoScalingConfigurationStatus", "CustomDomainAssociationStatus"}
CONTRADICTORY = {"ServiceId": re.compile(r"[0-9a-f]{32}")}
ANY_NAME = {"ImageIdentifier"}
FIRST_SECOND, LAST_SECOND = 1e9, 1e10  # 2001 and 2286: milliseconds would be neither


def document(body: bytes) -> Any:
    """JSON as its standard has it: no NaN, no name twice."""
    return json.loads(body, parse_constant=_refuse, object_pairs_hook=_object)


def _refuse(text: str) -> Any:
    raise AssertionError(f"{text} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a name twice: {names}"
    return dict(pairs)


def problems(shape: Any, value: Any, path: str = "$") -> list[str]:
    """What is wrong with an answer, each with its place; none for a good one."""
    if value is None:
        return [f"{path} is null"]
    return _CHECKS[shape.type_name](shape, value, path)


def _structure(shape: Any, value: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path} is no object"]
    found = [f"{path}.{name} is missing" for name in shape.required_members if name not in value]
    for name, member in value.items():
        if name in shape.members:
            found += problems(shape.members[name], member, f"{path}.{name}")
        else:
            found.append(f"{path}.{name} is not in the model")
    return found


def _list(shape: Any, value: Any, path: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{path} is no list"]
    items = enumerate(value)
    return [each for n, item in items for each in problems(shape.member, item, f"{path}[{n}]")]


def _map(shape: Any, value: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path} is no object"]
    found = []
    for key, member in value.items():
        found += problems(shape.key, key, f"{path} key")
        found += problems(shape.value, member, f"{path}[{key[:20]!r}]")
    return found


def _string(shape: Any, value: Any, path: str) -> list[str]:
    if not isinstance(value, str):
        return [f"{path} is no string"]
    if shape.name in CONTRADICTORY:
        fits = CONTRADICTORY[shape.name].fullmatch(value)
        return [] if fits else [f"{path} is {value!r}"]
    limits = shape.metadata
    if not limits.get("min", 0) <= len(value) <= limits.get("max", math.inf):
        return [f"{path} has {len(value)} characters"]
    return _word(shape, value, path)


def _word(shape: Any, value: str, path: str) -> list[str]:
    if shape.enum:
        allowed = [e.lower() if shape.name in LOWER_CASE else e for e in shape.enum]
        return [] if value in allowed else [f"{path} is {value!r}, none of {allowed}"]
    pattern = ".*" if shape.name in ANY_NAME else shape.metadata.get("pattern", ".*")
    if not re.fullmatch(pattern, value, re.ASCII | re.DOTALL):
        return [f"{path} is {value[:80]!r}, against its pattern"]
    return []


def _integer(shape: Any, value: Any, path: str) -> list[str]:
    if type(value) is not int:
        return [f"{path} is {value!r}, no integer"]
    limits = shape.metadata
    fits = limits.get("min", -math.inf) <= value <= limits.get("max", math.inf)
    return [] if fits else [f"{path} is {value}, out of its range"]


def _boolean(_: Any, value: Any, path: str) -> list[str]:
    return [] if isinstance(value, bool) else [f"{path} is {value!r}, no boolean"]


def _timestamp(_: Any, value: Any, path: str) -> list[str]:
    if type(value) not in {int, float} or not FIRST_SECOND < value < LAST_SECOND:
        return [f"{path} is {value!r}, no number of seconds"]
    return []


_CHECKS = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _integer,
    "boolean": _boolean,
    "timestamp": _timestamp,
}
