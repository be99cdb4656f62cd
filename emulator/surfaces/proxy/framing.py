"""Heads and chunks as bytes: what changes between the client's message and the instance's.

Raw header bytes are copied, not taken apart; names become lower case, as Envoy makes them.
"""

from collections.abc import Iterable, Sequence

from aiohttp.http_parser import RawRequestMessage, RawResponseMessage

from emulator.surfaces.proxy.errors import SERVER

RawHeaders = Sequence[tuple[bytes, bytes]]

LAST_CHUNK = b"0\r\n\r\n"

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
_OURS = frozenset(
    {
        b"expect",
        b"x-envoy-expected-rq-timeout-ms",
        b"x-envoy-external-address",
        b"x-forwarded-for",
        b"x-forwarded-proto",
    }
)
_NOT_TO_INSTANCES = _HOP_BY_HOP | _OURS
_NOT_TO_CLIENTS = _HOP_BY_HOP | {b"server", b"x-envoy-upstream-service-time"}
_NEVER_BY_NAME = frozenset({b"host", b"content-length", b"x-request-id"})


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def named_by_connection(headers: RawHeaders) -> frozenset[bytes]:
    """Headers that `Connection` declares hop-by-hop, except those that a request stands on."""
    values = [value for name, value in headers if name.lower() == b"connection"]
    tokens = {token.strip().lower() for value in values for token in value.split(b",")}
    return frozenset(tokens - _NEVER_BY_NAME)


def _copied(headers: RawHeaders, leave_out: frozenset[bytes]) -> Iterable[bytes]:
    for name, value in headers:
        lower = name.lower()
        if lower not in leave_out:
            yield b"%b: %b\r\n" % (lower, value)


def request_headers(message: RawRequestMessage, *, peer: str, scheme: str, timeout: float) -> bytes:
    """All headers for an instance but the request id, without the empty line."""
    headers: RawHeaders = message.raw_headers
    leave_out = _NOT_TO_INSTANCES | named_by_connection(headers)
    parts = list(_copied(headers, leave_out))
    if "Host" not in message.headers:
        parts.append(b"host: localhost\r\n")  # HTTP/1.0 may leave it out, HTTP/1.1 may not
    earlier = [value for name, value in headers if name.lower() == b"x-forwarded-for"]
    parts.append(b"x-forwarded-for: %b\r\n" % b", ".join([*earlier, peer.encode()]))
    parts.append(
        f"x-forwarded-proto: {scheme}\r\nx-envoy-external-address: {peer}\r\n"
        f"x-envoy-expected-rq-timeout-ms: {round(timeout * 1000)}\r\n".encode()
    )
    if message.chunked:
        parts.append(b"transfer-encoding: chunked\r\n")
    return b"".join(parts)


def request_line(message: RawRequestMessage) -> bytes:
    """The target in origin form, also where the client sent an absolute one."""
    target = message.path
    if not target.startswith("/") and target != "*":
        target = message.url.raw_path_qs
    return f"{message.method} {target} HTTP/1.1\r\n".encode("utf-8", "surrogateescape")


def response_headers(message: RawResponseMessage, *, counted: bool, date: bytes) -> bytes:
    """All headers for a client but those of this one exchange, without the empty line.

    `counted`: keep Content-Length.
    """
    headers: RawHeaders = message.raw_headers
    leave_out = _NOT_TO_CLIENTS | named_by_connection(headers)
    if not counted:
        leave_out |= {b"content-length"}
    parts = list(_copied(headers, leave_out))
    if "Date" not in message.headers:
        parts.append(b"date: %b\r\n" % date)
    parts.append(b"server: %b\r\n" % SERVER)
    return b"".join(parts)


def status_line(message: RawResponseMessage) -> bytes:
    return f"HTTP/1.1 {message.code} {message.reason}\r\n".encode("utf-8", "surrogateescape")
