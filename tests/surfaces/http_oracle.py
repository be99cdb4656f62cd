"""What a client's bytes unambiguously mean, by RFC 9110 and 9112 read strictly.

Written apart from the load balancer's own reading, to be compared with it: where this reader is in
doubt it stops, and nothing from there on may reach an instance.
"""

import re
from dataclasses import dataclass

CRLF = b"\r\n"
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])")
_HEADER = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:;[\t\x20-\x7e\x80-\xff]*)?)")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+;=%]*)(:\d*)?")
_URL = re.compile(rb"(https?)://([^/?#@]+)([/?][^#]*)?", re.IGNORECASE)
_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}
_HOP |= {b"transfer-encoding", b"expect"}

Headers = tuple[tuple[bytes, bytes], ...]


class DoubtError(Exception):
    """From here on the bytes can be read in two ways, or not at all."""


class MoreError(Exception):
    """Up to here all is well, and it is not the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """One request; `body` None: it never became whole. `target` in origin form."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytes | None
    version: int
    last: bool

    def end_to_end(self) -> Headers:
        """What is meant for the application, in order."""
        named = b",".join(value for name, value in self.headers if name == b"connection")
        hop = _HOP | {token.strip().lower() for token in named.split(b",")}
        hop -= {b"host", b"content-length"}
        return tuple((name, value) for name, value in self.headers if name not in hop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`rest`: what follows, in doubt or incomplete."""

    requests: tuple[Meant, ...]
    rest: bytes

    @property
    def whole(self) -> int:
        return sum(request.body is not None for request in self.requests)


def read(data: bytes) -> Reading:
    """As many requests as there are without a doubt."""
    requests: list[Meant] = []
    while data and not (requests and requests[-1].last):
        try:
            request, data = _request(data.removeprefix(CRLF))
        except (DoubtError, MoreError):
            break
        requests.append(request)
        if request.body is None:
            break
    return Reading(requests=tuple(requests), rest=data)


def _request(data: bytes) -> tuple[Meant, bytes]:
    head, found, rest = data.partition(CRLF + CRLF)
    if not found:
        raise MoreError
    first, *lines = head.split(CRLF)
    line = _LINE.fullmatch(first)
    if line is None:
        raise DoubtError("request line")
    method, target, minor = line.groups()
    headers = tuple(map(_header, lines))
    version = int(minor)
    host = _host(headers, version)
    target = _target(method, target, host)
    try:
        body, rest = _body(headers, version, rest)
    except (DoubtError, MoreError) as error:
        if error.args == ("framing",):
            raise
        body = None
    last = _is_last(headers, version)
    meant = Meant(
        method=method, target=target, headers=headers, body=body, version=version, last=last
    )
    return meant, rest


def _header(line: bytes) -> tuple[bytes, bytes]:
    header = _HEADER.fullmatch(line)
    if header is None:
        raise DoubtError("header")
    return header[1].lower(), header[2].rstrip(b" \t")


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for found, value in headers if found == name]


def _host(headers: Headers, version: int) -> bytes | None:
    hosts = _values(headers, b"host")
    if len(hosts) > 1 or (version and not hosts):
        raise DoubtError("host")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise DoubtError("host")
    return hosts[0] if hosts else None


def _target(method: bytes, target: bytes, host: bytes | None) -> bytes:
    if b"#" in target or method == b"CONNECT":
        raise DoubtError("target")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    url = _URL.fullmatch(target)
    if url is None or not _HOST.fullmatch(url[2]):
        raise DoubtError("target")
    port = b":80" if url[1].lower() == b"http" else b":443"
    if host is not None and _plain(url[2], port) != _plain(host, port):
        raise DoubtError("target")
    path = url[3] or b"/"
    return path if path.startswith(b"/") else b"/" + path


def _plain(authority: bytes, port: bytes) -> bytes:
    return authority.lower().removesuffix(port)


def _body(headers: Headers, version: int, data: bytes) -> tuple[bytes, bytes]:
    lengths = _values(headers, b"content-length")
    codings = _values(headers, b"transfer-encoding")
    if codings:
        if lengths or not version or [coding.lower() for coding in codings] != [b"chunked"]:
            raise DoubtError("framing")
        return _chunks(data)
    if not lengths:
        return b"", data
    if len(lengths) > 1 or not re.fullmatch(rb"\d{1,18}", lengths[0]):
        raise DoubtError("framing")
    length = int(lengths[0])
    if len(data) < length:
        raise MoreError
    return data[:length], data[length:]


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, data = _line(data)
        size = _SIZE.fullmatch(line)
        if size is None:
            raise DoubtError("chunk size")
        length = int(size[1], 16)
        if not length:
            break
        if len(data) < length + 2:
            raise MoreError
        if data[length : length + 2] != CRLF:
            raise DoubtError("chunk")
        body += data[:length]
        data = data[length + 2 :]
    return body, _after_trailers(data)


def _after_trailers(data: bytes) -> bytes:
    while True:
        line, data = _line(data)
        if not line:
            return data
        name, _ = _header(line)
        if name in {b"content-length", b"transfer-encoding"}:
            raise DoubtError("trailer")


def _line(data: bytes) -> tuple[bytes, bytes]:
    line, found, rest = data.partition(CRLF)
    if not found:
        raise MoreError
    return line, rest


def _is_last(headers: Headers, version: int) -> bool:
    """Whether the connection ends with it, or goes on in another protocol."""
    tokens = b",".join(_values(headers, b"connection")).lower().split(b",")
    named = {token.strip() for token in tokens}
    if b"upgrade" in named and _values(headers, b"upgrade"):
        return True
    return b"close" in named or (not version and b"keep-alive" not in named)
