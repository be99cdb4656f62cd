"""How long App Runner takes, and that nobody waits for it unasked."""

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.pace import not_before, wait
from emulator.model.operation import TRANSITIONS, OperationStatus, OperationType
from emulator.model.settings import Pace, PaceMode
from tests.decisions.situations import NOW, operation

OUTCOMES = [s for s in OperationStatus if not TRANSITIONS[s]]
SPEEDS = st.floats(0.01, 1000)
TYPES = st.sampled_from(OperationType)
REALISTIC = Pace(mode=PaceMode.REALISTIC)


@given(TYPES, st.sampled_from(OUTCOMES), SPEEDS)
def test_the_fast_pace_never_delays(type_, outcome, speed):
    assert not_before(Pace(speed=speed), operation(type_), outcome) == NOW


@given(TYPES, st.sampled_from(OUTCOMES), SPEEDS)
def test_speed_divides_the_realistic_waits(type_, outcome, speed):
    faster = Pace(mode=PaceMode.REALISTIC, speed=speed)
    assert wait(faster, type_, outcome) == pytest.approx(wait(REALISTIC, type_, outcome) / speed)


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
