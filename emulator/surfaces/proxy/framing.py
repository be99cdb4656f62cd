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
_MADE_AT_ONCE = 64
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


def request_headers(message: RawRequestMessage) -> bytes:
    """What of a request's own headers an instance gets; `forwarded` goes on where this ends."""
    headers: RawHeaders = message.raw_headers
    forged = {lower for name, _ in headers if _is_forged(lower := name.lower())}
    leave_out = _NOT_TO_INSTANCES | named_by_connection(headers) | forged
    parts = list(_copied(headers, leave_out))
    if "Host" not in message.headers:
        parts.append(b"host: localhost\r\n")  # HTTP/1.0 may leave it out, HTTP/1.1 may not
    earlier = [value for name, value in headers if name.lower() == b"x-forwarded-for" and value]
    if message.chunked:
        parts.append(b"transfer-encoding: chunked\r\n")
    parts.append(b"x-forwarded-for: ")
    parts.extend(b"%b, " % value for value in earlier)
    return b"".join(parts)


def forwarded(*, peer: str, scheme: str, timeout: float) -> bytes:
    """What every request on a connection says of its client, without the empty line."""
    return (
        f"{peer}\r\nx-forwarded-proto: {scheme}\r\nx-envoy-external-address: {peer}\r\n"
        f"x-envoy-expected-rq-timeout-ms: {round(timeout * 1000)}\r\n"
    ).encode()


class RequestIds:
    """New ones are UUIDs of version 4, made many at a time: a system call for all of them, which
    have their first half in common.
    """

    def __init__(self) -> None:
        self._made: list[str] = []

    def of(self, message: RawRequestMessage) -> str:
        return own_request_id(message) or self.new()

    def new(self) -> str:
        if not self._made:
            digits = secrets.token_hex(16 + 6 * _MADE_AT_ONCE)
            d = digits[:32]
            first = f"{d[:8]}-{d[8:12]}-4{d[13:16]}-a{d[17:20]}-"
            self._made = [first + digits[at : at + 12] for at in range(32, len(digits), 12)]
        return self._made.pop()


def own_request_id(message: RawRequestMessage) -> str:
    """The client's own, if it has one that can be written anywhere; else ""."""
    if _X_REQUEST_ID in message.headers:
        given = message.headers.getall(_X_REQUEST_ID)
        if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
            return str(given[0])
    return ""


def request_line(message: RawRequestMessage) -> bytes:
    """Without its end."""
    line = f"{message.method} {origin_form(message.path)} HTTP/1.1"
    return line.encode("utf-8", "surrogateescape")


def host_of(message: RawRequestMessage) -> str:
    """The host that a request is for: an absolute target's, else the Host header's."""
    if message.path.startswith("/"):
        return str(message.headers.get("Host", ""))
    return message.url.raw_authority or str(message.headers.get("Host", ""))


def origin_form(target: str) -> str:
    """Path and query as the client wrote them, also where it sent an absolute URL."""
    if target.startswith("/") or target == "*":
        return target
    path = _AUTHORITY.sub("", target, count=1)
    return path if path.startswith("/") else "/" + path


def response_headers(message: RawResponseMessage) -> bytes:
    """What of an instance's headers a client gets, without the empty line."""
    parts = list(_copied(message.raw_headers, left_out(message)))
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
