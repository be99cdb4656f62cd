"""Every oddity of public files comes to what docs/apprunner-yaml.md says of it."""

import pytest

from emulator.model.errors import ConfigurationError
from tests.decisions.oddities import ODDITIES, PAGE, Oddity, outcome, page


def by_kind(name: str):
    rows = [each for each in ODDITIES if getattr(each, name)]
    return pytest.mark.parametrize("oddity", rows, ids=lambda each: each.written)


@by_kind("refused")
def test_what_cannot_work_is_refused_with_its_place_and_what_to_write(oddity: Oddity):
    with pytest.raises(ConfigurationError) as caught:
        outcome(oddity)
    assert str(caught.value) == oddity.refused


@by_kind("warned")
def test_what_will_surprise_goes_on_and_is_warned_of(oddity: Oddity):
    assert outcome(oddity).warnings == (oddity.warned,)


@by_kind("read")
def test_what_works_is_taken_without_a_word(oddity: Oddity):
    plan = outcome(oddity)
    assert plan.warnings == ()
    assert {name: getattr(plan, name) for name in oddity.read} == oddity.read


def test_the_page_is_not_stale():
    assert PAGE.read_text() == page(), "make docs"
