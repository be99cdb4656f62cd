"""The local certificate authority: a certificate for every name under localhost, on demand.

The authority's key never leaves the state directory, and its certificate is constrained to
localhost: whoever trusts it on their machine cannot be deceived about any other name.
"""

import asyncio
import datetime as dt
import ipaddress
import os
import re
import ssl
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from emulator.model.errors import StoreError
from emulator.ports import Clock

AUTHORITY_DAYS = 3650
LEAF_DAYS = 397  # what browsers accept at most
MEMO = 256  # names whose contexts are kept in memory

_BACKDATED = dt.timedelta(days=1)  # a clock that is a little behind shall not refuse us
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"({_LABEL}\.)*localhost")
_LONGEST_NAME = 253
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_REMEDY = "remove both files to have a new authority made; clients must be told of it again"


class CertificateError(StoreError):
    """The authority's files are missing a half, damaged, do not fit each other, or have expired."""


@dataclass(frozen=True, slots=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


class Certificates:
    """Server contexts by name; the authority is made at the first use and kept in `ca/`.

    `clock` must be the machine's: what it says goes into certificates that others check.
    `protocols` are offered by ALPN, the preferred first. Safe to use from several threads.
    """

    def __init__(
        self, state_dir: str | Path, clock: Clock, *, protocols: Sequence[str] = ("http/1.1",)
    ) -> None:
        self._directory = Path(state_dir) / "ca"
        self._clock = clock
        self._authority: _Authority | None = None
        self._protocols = list(protocols)
        self._lock = threading.Lock()
        self._contexts: OrderedDict[str, tuple[dt.datetime, ssl.SSLContext]] = OrderedDict()

    @property
    def ca_file(self) -> Path:
        """The authority's certificate in PEM, for clients and for `trust`."""
        return self._directory / "ca.pem"

    @property
    def key_file(self) -> Path:
        return self._directory / "ca.key"

    async def load(self) -> None:
        """Read the authority or make it. Raises CertificateError."""
        await asyncio.to_thread(self.context, None)

    def context(self, server_name: str | None) -> ssl.SSLContext:
        """For a TLS handshake: fast enough (a millisecond for a new name) to be synchronous, once
        the authority is loaded.

        Names that are not under localhost get the default certificate, which does not fit them.
        """
        name = (server_name or "").lower().rstrip(".")
        if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
            name = "localhost"
        with self._lock:
            return self._kept(name)

    def _kept(self, name: str) -> ssl.SSLContext:
        known = self._contexts.get(name)
        now = self._now()
        if known is not None and known[0] > now:
            self._contexts.move_to_end(name)
            return known[1]
        context = self._new_context(name, now)
        self._contexts[name] = (now + dt.timedelta(days=LEAF_DAYS / 2), context)
        while len(self._contexts) > MEMO:
            self._contexts.popitem(last=False)
        return context

    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._clock.now(), dt.UTC)

    def _new_context(self, name: str, now: dt.datetime) -> ssl.SSLContext:
        if self._authority is None:
            self._authority = self._read_or_make(now)
        key, leaf = _leaf(self._authority, name, now)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(self._protocols)
        # Python's ssl reads from paths only: pipes are paths that never touch the disk.
        with _piped(_pem(leaf)) as certificate_path, _piped(_key_pem(key)) as key_path:
            context.load_cert_chain(certificate_path, key_path)
        return context

    def _read_or_make(self, now: dt.datetime) -> _Authority:
        if not self.ca_file.exists():  # a lone key was never finished, and nobody trusts it
            authority = _new_authority(now)
            self._write(authority)
            return authority
        if not self.key_file.exists():
            raise CertificateError(f"{self.key_file} is missing beside {self.ca_file}: {_REMEDY}")
        return self._read(now)

    def _read(self, now: dt.datetime) -> _Authority:
        try:
            certificate = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        except (ValueError, OSError) as error:
            raise CertificateError(f"{self.ca_file} cannot be read ({error}): {_REMEDY}") from error
        try:
            key = serialization.load_pem_private_key(self.key_file.read_bytes(), None)
        except (ValueError, TypeError, OSError) as error:
            raise CertificateError(
                f"{self.key_file} cannot be read ({error}): {_REMEDY}"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not _signed_by(certificate, key):
            raise CertificateError(f"{self.key_file} is not the key of {self.ca_file}: {_REMEDY}")
        if certificate.not_valid_after_utc <= now:
            raise CertificateError(f"{self.ca_file} has expired: {_REMEDY}")
        return _Authority(key, certificate)

    def _write(self, authority: _Authority) -> None:
        """The key first: only a whole pair has a certificate."""
        self._directory.mkdir(parents=True, exist_ok=True)
        _write_atomically(self.key_file, _key_pem(authority.key), mode=0o600)
        _write_atomically(self.ca_file, _pem(authority.certificate), mode=0o644)


@contextmanager
def _piped(data: bytes) -> Iterator[str]:
    """A path from which `data` (less than a pipe holds) can be read once, without waiting."""
    read_end, write_end = os.pipe()
    try:
        os.set_blocking(write_end, False)
        try:
            os.write(write_end, data)
        finally:
            os.close(write_end)
        yield f"/dev/fd/{read_end}"
    finally:
        os.close(read_end)


def _write_atomically(path: Path, data: bytes, *, mode: int) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # 0600 from the start
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary = Path(name)
    temporary.chmod(mode)
    temporary.replace(path)


def _new_authority(now: dt.datetime) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "apprunner-emulator"),
            # Unlike any other authority's: a store may hold those of two state directories.
            x509.NameAttribute(
                NameOID.COMMON_NAME, f"apprunner-emulator {x509.random_serial_number():x}"[:40]
            ),
        ]
    )
    permitted = [x509.DNSName("localhost"), *(x509.IPAddress(network) for network in _LOOPBACK)]
    builder = (
        _builder(name, name, key, now, now + dt.timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
    )
    return _Authority(key, builder.sign(key, hashes.SHA256()))


def _leaf(
    authority: _Authority, name: str, now: dt.datetime
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    # 397 days from the first second that counts, which is yesterday's.
    until = min(now - _BACKDATED + dt.timedelta(days=LEAF_DAYS), issuer.not_valid_after_utc)
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "apprunner-emulator leaf")])
    builder = (
        _builder(subject, issuer.subject, key, now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(name)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    return key, builder.sign(authority.key, hashes.SHA256())


def _names(name: str) -> list[x509.GeneralName]:
    """The exact name; whoever sends none came by address."""
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name == "localhost":
        names += [
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    return names


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
    until: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _signed_by(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    try:
        key.public_key().verify(
            certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256())
        )
    except InvalidSignature:
        return False
    return True


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
