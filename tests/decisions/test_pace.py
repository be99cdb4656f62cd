"""How long App Runner takes, and that nobody waits for it unasked."""

import re

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.pace import LONGEST_ADVANCE, check_advance, not_before, wait
from emulator.model.errors import InvalidRequestException
from emulator.model.operation import TRANSITIONS, OperationStatus, OperationType
from emulator.model.settings import Pace, PaceMode
from tests.decisions.situations import NOW, operation

OUTCOMES = [s for s in OperationStatus if not TRANSITIONS[s]]
TYPES = st.sampled_from(OperationType)
REALISTIC = Pace(mode=PaceMode.REALISTIC)


@given(TYPES, st.sampled_from(OUTCOMES))
def test_the_fast_pace_never_delays(type_, outcome):
    assert not_before(Pace(), operation(type_), outcome) == NOW


@pytest.mark.parametrize("seconds", [0.001, 1, 3600, LONGEST_ADVANCE])
def test_the_clock_can_be_advanced_by_up_to_a_year(seconds):
    assert check_advance(seconds) == seconds


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (-5, "The clock only goes forward: it cannot be advanced by -5 seconds."),
        (-0.5, "it cannot be advanced by -0.5 seconds."),
        (0, "not 0."),
        (LONGEST_ADVANCE + 1, "a year at most"),
        (float("nan"), "not nan."),
        (float("inf"), "not inf."),
        (True, "not True."),
        ("1h", "not '1h'."),
        (None, "not None."),
    ],
)
def test_the_clock_goes_neither_back_nor_nowhere(asked, said):
    with pytest.raises(InvalidRequestException, match=re.escape(said)):
        check_advance(asked)


@pytest.mark.parametrize("type_", OperationType)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_realistically_every_operation_takes_its_time_but_not_for_ever(type_, outcome):
    assert 60 <= wait(REALISTIC, type_, outcome) <= 900


def test_a_create_takes_as_long_as_in_the_example_of_aws():
    creating = operation(OperationType.CREATE_SERVICE)
    assert not_before(REALISTIC, creating, OperationStatus.SUCCEEDED) == NOW + 203


def test_a_rollback_takes_longer_than_a_failed_create_and_that_longer_than_a_success():
    create, update = OperationType.CREATE_SERVICE, OperationType.UPDATE_SERVICE
    success = wait(REALISTIC, create, OperationStatus.SUCCEEDED)
    failure = wait(REALISTIC, create, OperationStatus.FAILED)
    assert success < failure < wait(REALISTIC, update, OperationStatus.ROLLBACK_SUCCEEDED)
