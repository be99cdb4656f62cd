"""Which function answers which operation."""

import re
from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from emulator.surfaces.api.operations import (
    auto_scaling,
    connections,
    custom_domains,
    ecr,
    networking,
    observability,
    services,
    tags,
)
from emulator.surfaces.api.operations.call import Operation

_MODULES = (
    services,
    auto_scaling,
    connections,
    observability,
    networking,
    custom_domains,
    tags,
)
_WORD = re.compile(r"_([a-z])")


def _operations(*modules: ModuleType) -> Mapping[str, Operation]:
    """Each public coroutine of those modules, by its name in AWS's spelling."""
    found: dict[str, Operation] = {}
    for module in modules:
        for name, value in vars(module).items():
            own = getattr(value, "__module__", "") == module.__name__
            if own and callable(value) and not name.startswith("_"):
                camel = _WORD.sub(lambda match: match[1].upper(), f"_{name}")
                found[camel] = value
    return MappingProxyType(found)


OPERATIONS = _operations(*_MODULES)
ECR_OPERATIONS = _operations(ecr)
