"""Names, of the real source and the fake: the shapes that the port promises, and no repetition."""

import re

import pytest

from emulator.drivers.identifiers import RandomIdentifiers
from tests.fakes.identifiers import CountingIdentifiers

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@pytest.mark.parametrize("identifiers", [RandomIdentifiers(), CountingIdentifiers()])
@pytest.mark.parametrize(
    ("kind", "shape"),
    [("hexadecimal", r"[0-9a-f]{32}"), ("uuid", UUID), ("label", r"[a-z][a-z0-9]{9}")],
)
def test_every_name_has_its_shape_and_is_new(identifiers, kind, shape):
    names = [getattr(identifiers, kind)() for _ in range(200)]
    assert all(re.fullmatch(shape, name) for name in names)
    assert len({*names}) == 200
