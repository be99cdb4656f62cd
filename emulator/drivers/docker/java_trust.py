"""The host's certificates as a JDK reads them: Java knows neither PEM files nor SSL_CERT_FILE.

The format is the old one (JKS), which every JDK reads without a password, as it holds no secret.
"""

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterator
from typing import Final

_MAGIC: Final = 0xFEEDFEED
_VERSION: Final = 2
_TRUSTED: Final = 2
_PASSWORD: Final = "changeit"  # noqa: S105 - Java's own default, for whoever wants to check
_SALT: Final = b"Mighty Aphrodite"  # of the format
_PEM: Final = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----(.+?)-----END (?:TRUSTED )?CERTIFICATE-----",
    re.DOTALL,
)


def trust_store(bundle: bytes) -> bytes:
    """Of a PEM bundle."""
    certificates = list(_certificates(bundle))
    entries = (_entry(n, certificate) for n, certificate in enumerate(certificates))
    store = struct.pack(">III", _MAGIC, _VERSION, len(certificates)) + b"".join(entries)
    digest = hashlib.sha1(_PASSWORD.encode("utf-16-be") + _SALT + store)  # noqa: S324 - the format's
    return store + digest.digest()


def _certificates(bundle: bytes) -> Iterator[bytes]:
    for text in _PEM.findall(bundle):
        try:
            yield base64.b64decode(b"".join(text.split()), validate=True)
        except binascii.Error:
            continue


def _entry(number: int, certificate: bytes) -> bytes:
    head = struct.pack(">I", _TRUSTED) + _utf(f"host-{number}") + struct.pack(">Q", 0)
    return head + _utf("X.509") + struct.pack(">I", len(certificate)) + certificate


def _utf(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


EMPTY: Final = trust_store(b"")
