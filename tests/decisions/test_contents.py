"""What planning sees of a file is bounded, whatever is in it."""

import re

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.contents import HEAD, folded, head
from emulator.drivers import buildpacks

PACKS = buildpacks.load(buildpacks.folder())
RULES = {p for pack in PACKS for rule in pack.rules for p in (*rule.contains.values(), rule.needs)}
REFUSALS = {p for pack in PACKS for d in pack.dependencies for p in d.refuse.values()}
PIECES = [
    "\n",
    " ",
    "\t\n",
    "a",
    "/ ",
    "- ",
    '"',
    "{",
    '"scripts": {',
    '"dependencies":{"a":"',
    "\\",
]


@given(st.lists(st.sampled_from(["\n", " ", "\t", "x", " " * 70, "\n" * 70])).map("".join))
def test_folding_keeps_the_words_and_the_lines_they_stand_on(text):
    found = folded(text)
    assert found.split() == text.split()
    assert [line.split() for line in found.split("\n") if line.strip()] == [
        line.split() for line in text.split("\n") if line.strip()
    ]
    assert not re.search(r"\s{64}", found)


def test_only_the_beginning_is_looked_at():
    assert head(b"a" * (HEAD + 1)) == "a" * HEAD


@pytest.mark.parametrize("piece", PIECES)
def test_no_pattern_of_a_buildpack_takes_the_square_of_a_file_s_length(piece):
    text = piece * (400_000 // len(piece))  # by its square, that is twenty minutes
    for pattern in RULES:
        re.search(pattern, head(text.encode()))
    for pattern in REFUSALS:
        re.search(pattern, folded(text))
