"""docs/coverage.md says what the code does."""

from pathlib import Path

import pytest

from emulator.surfaces.api import coverage
from emulator.surfaces.api.codec import service_model
from emulator.surfaces.api.coverage import STATEMENTS, Effect
from emulator.surfaces.api.operations.table import OPERATIONS

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "coverage.md"


def test_the_page_is_not_stale():
    assert PAGE.read_text() == coverage.render(), "make docs"


def test_every_operation_of_the_model_is_answered_and_no_other():
    assert set(OPERATIONS) == set(service_model().operation_names)
    assert len(OPERATIONS) == 37


def test_every_statement_is_about_a_member():
    model = service_model()
    about = {
        f"{shape}.{member}"
        for name in model.operation_names
        for _, shape, member, _ in coverage._leaves(model.operation_model(name).input_shape)
    }
    members = {each.partition(".")[2] for each in about}
    unused = [
        key
        for key in STATEMENTS
        if key not in about and not (key.startswith("*.") and key[2:] in members)
    ]
    assert unused == []


def test_a_member_that_nothing_is_said_about_is_an_error():
    with pytest.raises(LookupError, match="nothing is said about Nothing"):
        coverage.statement_of("Nothing", "AtAll")


def test_what_is_stored_only_is_not_said_to_be_enacted():
    stored = {row.member.rsplit(".", 1)[-1] for row in coverage.rows() if _is_stored(row)}
    assert stored == {
        "AccessRoleArn",
        "ConnectionArn",
        "EgressType",
        "InstanceRoleArn",
        "IpAddressType",
        "KmsKey",
        "ObservabilityConfigurationArn",
        "ObservabilityEnabled",
        "ProviderType",
        "SecurityGroups[]",
        "Subnets[]",
        "Vendor",
        "VpcConnectorArn",
        "VpcEndpointId",
        "VpcId",
    }


def _is_stored(row) -> bool:
    return row.statement.effect is Effect.STORED
