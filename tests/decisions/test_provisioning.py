"""The states of resources as functions of time."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis.strategies import floats, sampled_from

from emulator.decisions.provisioning import (
    STEPS,
    ConnectionStatus,
    DomainStatus,
    IngressStatus,
    connection_status,
    domain_status,
    ingress_status,
)
from emulator.model.identifiers import Epoch, ServiceId
from emulator.model.resources import (
    Connection,
    CustomDomain,
    ProviderType,
    VpcIngressConnection,
)
from emulator.model.settings import Pace, PaceMode

FAST, REALISTIC = Pace(), Pace(mode=PaceMode.REALISTIC)
MADE = Epoch(1_000_000.0)
NAMED = {
    "region": "us-east-1",
    "account": "000000000000",
    "name": "mine",
    "id": "1" * 32,
    "created_at": MADE,
}
CONNECTION = Connection(**NAMED, provider=ProviderType.GITHUB)
INGRESS = VpcIngressConnection(**NAMED, service="arn", label="abc")
DOMAIN = CustomDomain(
    service=ServiceId("2" * 32),
    region="us-east-1",
    domain="example.com",
    www=True,
    token="3" * 32,
    created_at=MADE,
)
LIFE = [
    DomainStatus.CREATING,
    DomainStatus.PENDING_CERTIFICATE_DNS_VALIDATION,
    DomainStatus.BINDING_CERTIFICATE,
    DomainStatus.ACTIVE,
]
PACES = sampled_from([FAST, REALISTIC, Pace(speed=10.0)])
# The pauses of the Terraform provider between two looks (clients.md, 2.3): 0, 0.25, 0.65 …
LOOKS = (0.0, 0.25, 0.65, 1.5, 3.1, 6.3, 12.7, 22.7, 32.7)


def at(seconds: float) -> Epoch:
    return Epoch(MADE + seconds)


class TestConnection:
    def test_is_available_by_itself_in_the_fast_pace(self):
        assert connection_status(CONNECTION, FAST) is ConnectionStatus.AVAILABLE

    def test_waits_for_somebody_s_handshake_in_the_realistic_pace(self):
        assert connection_status(CONNECTION, REALISTIC) is ConnectionStatus.PENDING_HANDSHAKE
        done = replace(CONNECTION, authorized_at=at(5))
        assert connection_status(done, REALISTIC) is ConnectionStatus.AVAILABLE

    @given(PACES)
    def test_a_deleted_one_is_deleted_in_every_pace(self, pace):
        deleted = replace(CONNECTION, deleted_at=at(5), authorized_at=at(1))
        assert connection_status(deleted, pace) is ConnectionStatus.DELETED


class TestDomain:
    @given(PACES, floats(0, 10_000), floats(0, 10_000))
    def test_time_only_leads_forward(self, pace, one, other):
        earlier, later = sorted((one, other))
        before = LIFE.index(domain_status(DOMAIN, at(earlier), pace))
        assert before <= LIFE.index(domain_status(DOMAIN, at(later), pace))

    @given(PACES)
    def test_it_begins_creating_and_ends_active(self, pace):
        assert domain_status(DOMAIN, at(0), pace) is DomainStatus.CREATING
        assert domain_status(DOMAIN, at(100_000), pace) is DomainStatus.ACTIVE

    @pytest.mark.observed(source="terraform provider: creating -> pending_… or binding_…")
    @given(floats(0, 5))
    def test_terraform_sees_it_pending_before_it_is_active(self, late):
        """However late its first look comes after the call."""
        seen = [domain_status(DOMAIN, at(late + look), FAST) for look in LOOKS]
        first = next(status for status in seen if status is not DomainStatus.CREATING)
        assert first is DomainStatus.PENDING_CERTIFICATE_DNS_VALIDATION

    @given(PACES)
    def test_a_deleted_one_is_seen_leaving_and_then_gone(self, pace):
        deleted = replace(DOMAIN, deleted_at=at(50))
        assert domain_status(deleted, at(50), pace) is DomainStatus.DELETING
        assert domain_status(deleted, at(1000), pace) is None

    def test_the_fast_steps_are_real_seconds_however_fast_policy_time_passes(self):
        creating = STEPS[PaceMode.FAST].domain_creating
        just_over = at(creating + 0.01)
        assert domain_status(DOMAIN, just_over, FAST) is not DomainStatus.CREATING
        assert domain_status(DOMAIN, just_over, Pace(speed=10.0)) is DomainStatus.CREATING


class TestIngress:
    @given(PACES)
    def test_it_is_pending_at_first_and_available_at_last(self, pace):
        assert ingress_status(INGRESS, at(0), pace) is IngressStatus.PENDING_CREATION
        assert ingress_status(INGRESS, at(1000), pace) is IngressStatus.AVAILABLE

    @given(PACES)
    def test_an_update_is_pending_for_a_while(self, pace):
        updated = replace(INGRESS, updated_at=at(500))
        assert ingress_status(updated, at(500), pace) is IngressStatus.PENDING_UPDATE
        assert ingress_status(updated, at(1000), pace) is IngressStatus.AVAILABLE

    @given(PACES)
    def test_so_is_a_deletion(self, pace):
        deleted = replace(INGRESS, deleted_at=at(500))
        assert ingress_status(deleted, at(500), pace) is IngressStatus.PENDING_DELETION
        assert ingress_status(deleted, at(1000), pace) is IngressStatus.DELETED
