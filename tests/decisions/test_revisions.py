"""Numbers and quotas of revisions."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis.strategies import builds, integers, lists, sampled_from

from emulator.decisions.revisions import latest_of, next_revision, quota_exceeded

NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class One:
    name: str
    revision: int


SOME = lists(builds(One, sampled_from(NAMES), integers(1, 9)), unique=True)


@given(SOME, sampled_from(NAMES))
def test_the_next_revision_is_new_and_above_all_others_of_its_name(live, name):
    number = next_revision(live, name)
    assert all(number > each.revision for each in live if each.name == name)
    assert number == 1 or One(name, number - 1) in live


@pytest.mark.observed(source="the Terraform provider's acceptance tests")
def test_deleting_the_newest_gives_its_number_again():
    live = [One("a", 1), One("a", 2)]
    assert next_revision(live, "a") == 3
    assert next_revision(live[:1], "a") == 2


@given(SOME)
def test_each_name_has_one_latest_revision(live):
    latest = latest_of(live)
    assert {each.name for each in latest} == {each.name for each in live}
    assert len(latest) == len({each.name for each in live})
    for each in latest:
        assert each.revision == max(one.revision for one in live if one.name == each.name)


@given(SOME)
def test_the_order_stays(live):
    latest = list(latest_of(live))
    assert latest == [each for each in live if each in latest]


def test_quotas_count_names_and_revisions_of_a_name():
    live = [One("a", 1), One("a", 2), One("b", 1)]
    assert quota_exceeded(live, "c", names=2, revisions=9) == "2 names in use"
    assert quota_exceeded(live, "a", names=2, revisions=2) == "2 revisions of a in use"
    assert quota_exceeded(live, "b", names=2, revisions=2) == ""
    assert quota_exceeded([], "a", names=1, revisions=1) == ""
