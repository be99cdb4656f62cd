"""Certificates: checked by what will check them in real life, OpenSSL on both ways."""

import asyncio
import contextlib
import ssl
import stat
import subprocess  # openssl is the judge here
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from emulator.drivers.certificates import CertificateError, Certificates, _leaf
from emulator.drivers.clock import SystemClock
from emulator.model.identifiers import Epoch

NAME = "abc.us-east-1.awsapprunner.localhost"
DAY = 86_400


class ShiftedClock(SystemClock):
    days = 0

    def now(self) -> Epoch:
        return Epoch(super().now() + self.days * DAY)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path, SystemClock())


def handshake(
    certificates: Certificates, name: str, *, by: str | None = None
) -> tuple[ssl.SSLObject, x509.Certificate]:
    """A TLS handshake in memory; the client wants `name` and says `by` (or the same) as SNI."""
    client_in, client_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusting = ssl.create_default_context(cafile=certificates.ca_file)
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    client = trusting.wrap_bio(client_in, client_out, server_hostname=name)
    context = certificates.context(by if by is not None else name)
    server = context.wrap_bio(client_out, client_in, server_side=True)
    for _ in range(4):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    der = client.getpeercert(binary_form=True)
    assert der is not None
    return client, x509.load_der_x509_certificate(der)


def openssl_verify(certificates: Certificates, leaf: x509.Certificate, at: Path) -> str:
    pem = at / "leaf.pem"
    pem.write_bytes(leaf.public_bytes(Encoding.PEM))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver"]
    done = subprocess.run(
        [*command, "-CAfile", str(certificates.ca_file), str(pem)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", [NAME, "hello.localhost", "localhost", "127.0.0.1", "::1"])
async def test_a_client_that_trusts_the_authority_accepts_every_local_name(certificates, name):
    await certificates.load()
    client, leaf = handshake(certificates, name)
    assert client.version() in {"TLSv1.2", "TLSv1.3"}
    assert client.selected_alpn_protocol() == "http/1.1"
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if name.endswith("localhost"):
        assert names.get_values_for_type(x509.DNSName) == [name]


async def test_openssl_verifies_chain_purpose_and_constraints(certificates, tmp_path):
    await certificates.load()
    _, leaf = handshake(certificates, NAME)
    assert openssl_verify(certificates, leaf, tmp_path).endswith("OK\n")


async def test_nobody_is_deceived_about_a_name_outside_localhost(certificates, tmp_path):
    await certificates.load()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(certificates, "bank.example")
    authority = certificates._authority  # what a thief of the key could do
    assert authority is not None
    _, forged = _leaf(authority, "bank.example", certificates._now())
    assert "permitted subtree violation" in openssl_verify(certificates, forged, tmp_path)


async def test_a_certificate_is_for_one_name_only(certificates):
    await certificates.load()
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(certificates, "other.localhost", by=NAME)


async def test_a_certificate_lives_as_long_as_browsers_allow_and_not_longer(certificates):
    await certificates.load()
    _, leaf = handshake(certificates, NAME)
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert 300 < lifetime.days <= 397
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [purpose.dotted_string for purpose in usage] == ["1.3.6.1.5.5.7.3.1"]


async def test_the_authority_survives_a_restart_and_its_key_is_ours_alone(tmp_path):
    first = Certificates(tmp_path, SystemClock())
    await first.load()
    before = first.ca_file.read_bytes()
    second = Certificates(tmp_path, SystemClock())
    await second.load()
    assert second.ca_file.read_bytes() == before
    handshake(second, NAME)
    assert stat.S_IMODE(second.key_file.stat().st_mode) == 0o600
    assert sorted(file.name for file in second.ca_file.parent.iterdir()) == ["ca.key", "ca.pem"]


async def test_two_state_directories_have_different_authorities(tmp_path):
    ours, theirs = (Certificates(tmp_path / name, SystemClock()) for name in "ab")
    await asyncio.gather(ours.load(), theirs.load())
    _, leaf = handshake(ours, NAME)
    assert not openssl_verify(theirs, leaf, tmp_path).endswith("OK\n")


async def test_a_name_is_minted_once_and_again_before_it_expires(tmp_path):
    clock = ShiftedClock()
    certificates = Certificates(tmp_path, clock)
    await certificates.load()
    first = certificates.context(NAME)
    assert certificates.context(NAME.upper() + ".") is first
    clock.days = 300
    assert certificates.context(NAME) is not first


async def test_forgets_the_names_it_has_not_seen_for_long(certificates):
    await certificates.load()
    first = certificates.context("a.localhost")
    for number in range(300):
        certificates.context(f"n{number}.localhost")
    assert len(certificates._contexts) == 256
    assert certificates.context("a.localhost") is not first


@pytest.mark.parametrize("name", ["", "-.localhost", "a..localhost", "x" * 64 + ".localhost", "*"])
async def test_a_name_that_cannot_be_gets_the_default_certificate(certificates, name):
    await certificates.load()
    assert certificates.context(name) is certificates.context(None)


@pytest.mark.parametrize("file", ["ca.pem", "ca.key"])
async def test_a_damaged_authority_is_named_with_what_to_do(certificates, tmp_path, file):
    await certificates.load()
    (tmp_path / "ca" / file).write_text("rubbish")
    with pytest.raises(CertificateError, match=rf"{file} cannot be read.*must be told"):
        await Certificates(tmp_path, SystemClock()).load()


async def test_an_authority_without_its_key_is_named(certificates):
    await certificates.load()
    certificates.key_file.unlink()
    with pytest.raises(CertificateError, match=r"ca\.key is missing"):
        await Certificates(certificates.ca_file.parent.parent, SystemClock()).load()


async def test_a_key_of_another_authority_is_noticed(tmp_path):
    ours, theirs = (Certificates(tmp_path / name, SystemClock()) for name in "ab")
    await ours.load()
    await theirs.load()
    ours.key_file.write_bytes(theirs.key_file.read_bytes())
    with pytest.raises(CertificateError, match="is not the key of"):
        await Certificates(tmp_path / "a", SystemClock()).load()


async def test_a_lone_key_is_an_unfinished_authority_and_replaced(certificates):
    await certificates.load()
    certificates.ca_file.unlink()
    await Certificates(certificates.ca_file.parent.parent, SystemClock()).load()
    assert certificates.ca_file.exists()


async def test_an_expired_authority_is_named(tmp_path):
    await Certificates(tmp_path, SystemClock()).load()
    clock = ShiftedClock()
    clock.days = 3651
    with pytest.raises(CertificateError, match="has expired"):
        await Certificates(tmp_path, clock).load()
