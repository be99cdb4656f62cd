"""Which of a runtime's versions package.json lets be."""

import json

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.version_ranges import check_version, meets
from emulator.model.build import Demand
from emulator.model.errors import ConfigurationError

ENGINES = Demand(file="package.json", key="engines.node")


@pytest.mark.parametrize(
    ("wanted", "version", "lets"),
    [
        ("18", "18", True),
        ("18.x", "18.17.1", True),
        ("12.x", "18", False),
        (">=16", "18", True),
        (">= 20.0.0", "18", False),
        (">=18.18", "18", True),
        (">=18.18", "18.17", False),
        (">=14 <18", "18", False),
        (">=14 <=18", "18.20.8", True),
        (">18", "18", False),
        ("<18.5", "18", True),
        ("^18.12.0", "18", True),
        ("^16.3", "18", False),
        ("^0.3", "0.4.0", False),
        ("~18.2", "18.3", False),
        ("~18", "18.3", True),
        ("14 - 16", "16.20", True),
        ("14 - 16", "18", False),
        ("16 || 18 || 20", "18", True),
        ("16 || 20", "18", False),
        ("v18.17.0", "18.17", True),
        ("18.17.0", "18.18.0", False),
        ("*", "18", True),
        ("", "18", True),
        ("lts/hydrogen", "12", True),
        ("16 || lts/*", "12", True),
    ],
)
def test_a_range_lets_versions_be_as_npm_does(wanted, version, lets):
    assert meets(wanted, version) is lets


@given(st.text(), st.text())
def test_whatever_stands_there_is_judged_without_an_error(wanted, version):
    assert meets(wanted, version) in {True, False}


@pytest.mark.documented
def test_a_contradiction_names_both_places():
    contents = {"package.json": json.dumps({"engines": {"node": "12.x"}}).encode()}
    with pytest.raises(ConfigurationError) as caught:
        check_version(ENGINES, contents, "18")
    assert str(caught.value).startswith("package.json (engines.node): '12.x' excludes 18, which ")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"engines": "12"}', '{"engines": {"node": 12}}', "[" * 100_000]
)
def test_a_file_without_a_range_wants_nothing(text):
    check_version(ENGINES, {"package.json": text.encode()}, "18")
    check_version(ENGINES, {}, "18")
