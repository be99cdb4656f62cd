"""Who may cancel what, and when a deployment gives way to a newer commit."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from emulator.decisions import narration
from emulator.decisions.cancelling import BY_USER, IN_A_ROW, PATIENCE, refusal, superseded
from emulator.model.configuration import Extensions
from emulator.model.identifiers import Epoch
from emulator.model.operation import DEPLOYING, TRANSITIONS, OperationStatus, OperationType
from emulator.model.service import ServiceStatus
from tests.decisions.situations import NOW, operation, revision, service

R1, R2 = revision(1), revision(2)
OLD, NEW = "a" * 40, "b" * 40
SERVICE = service(ServiceStatus.OPERATION_IN_PROGRESS, revision=R1, queued=NEW)
AUTOMATIC = replace(operation(), commit=OLD, automatic=True)
UNQUEUED = replace(SERVICE.configuration, extensions=Extensions(queue_commits=False))


@pytest.mark.parametrize("type_", OperationType)
@pytest.mark.parametrize("status", [OperationStatus.PENDING, OperationStatus.IN_PROGRESS])
def test_only_deployments_can_be_cancelled(type_, status):
    refused = refusal(SERVICE, operation(type_, status))
    assert bool(refused) is (type_ not in DEPLOYING)
    assert not refused or refused == f"{type_} of hello cannot be cancelled: only a deployment can."


def test_nothing_is_cancelled_where_nothing_is_under_way():
    nothing = "There is nothing to cancel: no operation of hello is in progress."
    assert refusal(SERVICE, None) == nothing
    for status in (s for s in OperationStatus if not TRANSITIONS[s]):
        assert refusal(SERVICE, operation(status=status)) == nothing


def test_what_is_being_rolled_back_cannot_be_cancelled():
    rolling = operation(status=OperationStatus.ROLLBACK_IN_PROGRESS)
    assert "is being rolled back" in refusal(SERVICE, rolling)


def test_an_automatic_deployment_gives_way_to_a_newer_commit_which_it_names():
    assert superseded(SERVICE, AUTOMATIC, NOW) == "superseded by commit bbbbbbb"


@pytest.mark.parametrize(
    ("value", "under_way"),
    [
        pytest.param(replace(SERVICE, queued=None), AUTOMATIC, id="no newer commit"),
        pytest.param(replace(SERVICE, queued=OLD), AUTOMATIC, id="the same commit"),
        pytest.param(SERVICE, replace(AUTOMATIC, automatic=False), id="asked for"),
        pytest.param(SERVICE, replace(AUTOMATIC, pushed=True), id="pushed"),
        pytest.param(SERVICE, replace(AUTOMATIC, target=R2.id), id="built already"),
        pytest.param(SERVICE, replace(AUTOMATIC, commit=None), id="an image"),
        pytest.param(replace(SERVICE, revision=None), AUTOMATIC, id="nothing serves"),
        pytest.param(replace(SERVICE, superseded=IN_A_ROW), AUTOMATIC, id="the third in a row"),
        pytest.param(replace(SERVICE, configuration=UNQUEUED), AUTOMATIC, id="none is queued"),
    ],
)
def test_others_are_let_finish(value, under_way):
    assert superseded(value, under_way, NOW) == ""


@given(st.floats(0, 10 * PATIENCE), st.integers(0, 5))
def test_what_has_been_built_for_long_is_not_thrown_away(age, row):
    gives_way = superseded(replace(SERVICE, superseded=row), AUTOMATIC, Epoch(NOW + age))
    assert bool(gives_way) is (age <= PATIENCE and row < IN_A_ROW)


def test_a_cancellation_is_told_with_its_reason():
    text = narration.cancelling(AUTOMATIC, BY_USER)
    id_ = AUTOMATIC.deployment_id
    assert text == f"Ending deployment with ID : {id_}. Reason : cancelled by the user"
