"""Heads and chunks as bytes: what changes between the client's message and the instance's.

Raw header bytes are copied, not taken apart; names become lower case, as Envoy makes them.
"""

import re
import secrets
from collections.abc import Iterable, Sequence

from aiohttp.http_parser import RawRequestMessage, RawResponseMessage

from emulator.surfaces.proxy.errors import SERVER

RawHeaders = Sequence[tuple[bytes, bytes]]

LAST_CHUNK = b"0\r\n\r\n"

WITHOUT_BODY = frozenset({204, 304})

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Set by the load balancer; what a client says about itself there is not believed.
_OURS = frozenset({b"expect", b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id"})
_OURS_BEGIN = b"x-envoy-"
_NOT_TO_INSTANCES = _HOP_BY_HOP | _OURS
# What applications behind WSGI or CGI cannot tell from the name with hyphens.
_LOOK_ALIKES = _NOT_TO_INSTANCES | {b"content-length", b"host"}
_NOT_TO_CLIENTS = _HOP_BY_HOP | {b"server", b"x-envoy-upstream-service-time"}
_NEVER_BY_NAME = frozenset({b"host", b"content-length"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=~-]{1,128}", re.ASCII)
_X_REQUEST_ID = "X-Request-Id"
_AUTHORITY = re.compile(r"(?:[^/?]*://)?[^/?]*")
_NO_CONTENT = 204


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def named_by_connection(headers: RawHeaders) -> frozenset[bytes]:
    """Headers that `Connection` declares hop-by-hop, except those that a message stands on."""
    values = [value for name, value in headers if name.lower() == b"connection"]
    if not values:
        return frozenset()
    tokens = {token.strip().lower() for value in values for token in value.split(b",")}
    return frozenset(tokens - _NEVER_BY_NAME)


def _copied(headers: RawHeaders, leave_out: frozenset[bytes]) -> Iterable[bytes]:
    for name, value in headers:
        lower = name.lower()
        if lower not in leave_out:
            yield b"%b: %b\r\n" % (lower, value)


def _is_forged(name: bytes) -> bool:
    """A client's header that an application could take for one of the load balancer's."""
    if b"_" not in name:
        return name.startswith(_OURS_BEGIN)
    plain = name.replace(b"_", b"-")
    return plain in _LOOK_ALIKES or plain.startswith(_OURS_BEGIN)


def request_headers(message: RawRequestMessage, *, peer: str, scheme: str, timeout: float) -> bytes:
    """All headers for an instance but the request id, without the empty line."""
    headers: RawHeaders = message.raw_headers
    forged = {lower for name, _ in headers if _is_forged(lower := name.lower())}
    leave_out = _NOT_TO_INSTANCES | named_by_connection(headers) | forged
    parts = list(_copied(headers, leave_out))
    if "Host" not in message.headers:
        parts.append(b"host: localhost\r\n")  # HTTP/1.0 may leave it out, HTTP/1.1 may not
    earlier = [value for name, value in headers if name.lower() == b"x-forwarded-for" and value]
    parts.append(b"x-forwarded-for: %b\r\n" % b", ".join([*earlier, peer.encode()]))
    parts.append(
        f"x-forwarded-proto: {scheme}\r\nx-envoy-external-address: {peer}\r\n"
        f"x-envoy-expected-rq-timeout-ms: {round(timeout * 1000)}\r\n".encode()
    )
    if message.chunked:
        parts.append(b"transfer-encoding: chunked\r\n")
    return b"".join(parts)


def request_id(message: RawRequestMessage) -> str:
    """The client's own, if it has one that can be written anywhere; else a new UUID."""
    if _X_REQUEST_ID in message.headers:
        given = message.headers.getall(_X_REQUEST_ID)
        if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
            return str(given[0])
    digits = secrets.token_hex(16)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def request_line(message: RawRequestMessage) -> bytes:
    return f"{message.method} {origin_form(message.path)} HTTP/1.1\r\n".encode(
        "utf-8", "surrogateescape"
    )


def origin_form(target: str) -> str:
    """Path and query as the client wrote them, also where it sent an absolute URL."""
    if target.startswith("/") or target == "*":
        return target
    path = _AUTHORITY.sub("", target, count=1)
    return path if path.startswith("/") else "/" + path


def response_headers(message: RawResponseMessage, *, date: bytes) -> bytes:
    """All headers for a client but those of this one exchange, without the empty line."""
    parts = list(_copied(message.raw_headers, left_out(message)))
    if "Date" not in message.headers:
        parts.append(b"date: %b\r\n" % date)
    parts.append(b"server: %b\r\n" % SERVER)
    return b"".join(parts)


def left_out(message: RawResponseMessage) -> frozenset[bytes]:
    """Headers of an instance's answer that are not a client's business."""
    leave_out = _NOT_TO_CLIENTS | named_by_connection(message.raw_headers)
    if message.chunked or message.code == _NO_CONTENT:
        leave_out |= {b"content-length"}
    return leave_out


def status_line(message: RawResponseMessage) -> bytes:
    return f"HTTP/1.1 {message.code} {message.reason}\r\n".encode("utf-8", "surrogateescape")
