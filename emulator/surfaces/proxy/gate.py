"""What is let in: whatever two HTTP parsers could read differently is refused.

llhttp, through aiohttp's parser, refuses most of it: bare line feeds, folded headers, spaces before
colons, repeated or odd Content-Length, Content-Length beside Transfer-Encoding, bad chunk sizes.
What it leaves to its user is here. A request smuggled past a load balancer always begins with one
that two sides understand differently; what is refused here never reaches an instance.
"""

import re
from urllib.parse import urlsplit

from aiohttp.http_parser import RawRequestMessage, RawResponseMessage

from emulator.model.settings import LoadBalancer

END_OF_HEAD = b"\r\n\r\n"

_BAD_REQUEST = 400
_TOO_LARGE = 431
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(_TOKEN + rb" [\x21-\x7e]+ HTTP/1\.[01]")
_BEGUN_LINE = re.compile(rb"\r|" + _TOKEN + rb"(?: [\x21-\x7e]*(?: [HTP/.01]*\r?)?)?")
_NAME = re.compile(_TOKEN)
_NO_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]*)(?::\d{0,5})?")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_DEFAULT_PORT = {"http": ":80", "https": ":443"}
_LONGEST_LENGTH = 18  # digits: more than anybody can send, less than 64 bits hold
_CHUNKED = b"chunked"


class Flaw(Exception):  # noqa: N818 - the client's fault, an outcome for us
    """Why a request is not let in: the status of the answer, and the reason in words."""

    def __init__(self, reason: str, *, status: int = _BAD_REQUEST) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


def too_large(limits: LoadBalancer) -> Flaw:
    reason = f"the head is longer than {limits.header_bytes} bytes (load_balancer.header_bytes)"
    return Flaw(reason, status=_TOO_LARGE)


def check_beginning(head: bytearray, limits: LoadBalancer) -> None:
    """A head that is not complete yet: too long already, or never going to be one? Raises Flaw."""
    if len(head) > limits.header_bytes:
        raise too_large(limits)
    line, ended, _ = bytes(head[: limits.header_bytes]).partition(b"\r\n")
    if not (_REQUEST_LINE if ended else _BEGUN_LINE).fullmatch(line):
        raise Flaw("the request line is not METHOD TARGET HTTP/1.1")
    if _BARE_LINE_FEED.search(head):
        raise Flaw("a line ends without a carriage return")


def check_head(head: bytes, limits: LoadBalancer) -> None:
    """A whole head, as it came, before it is parsed. Raises Flaw."""
    if len(head) > limits.header_bytes:
        raise too_large(limits)
    if not _REQUEST_LINE.fullmatch(head, 0, head.index(b"\r\n")):
        raise Flaw("the request line is not METHOD TARGET HTTP/1.1")
    if head.count(b"\r\n") > limits.headers + 2:
        reason = f"there are more than {limits.headers} headers (load_balancer.headers)"
        raise Flaw(reason, status=_TOO_LARGE)


def check_request(message: RawRequestMessage) -> None:
    """A parsed head. Raises Flaw."""
    hosts, codings, lengths = [], [], []
    for name, value in message.raw_headers:
        match name.lower():
            case b"host":
                hosts.append(value)
            case b"transfer-encoding":
                codings.append(value.lower())
            case b"content-length":
                lengths.append(value)
            case _:
                pass
    _check_framing(message, codings, lengths)
    if len(hosts) > 1 or not all(map(_HOST.fullmatch, hosts)):
        raise Flaw("the Host header is not one host name")
    _check_target(message, hosts[0] if hosts else None)


def _check_framing(message: RawRequestMessage, codings: list[bytes], lengths: list[bytes]) -> None:
    # Where a protocol is to be switched, the parser does not say that it took no chunks from it.
    if codings and (codings != [_CHUNKED] or message.version != (1, 1) or not message.chunked):
        raise Flaw("the only Transfer-Encoding is chunked, and only in HTTP/1.1")
    if codings and lengths:
        raise Flaw("there are Content-Length and Transfer-Encoding")
    if len(lengths) > 1 or not all(map(_is_length, lengths)):
        raise Flaw("the Content-Length is not one number")


def _is_length(value: bytes) -> bool:
    return value.isdigit() and len(value) <= _LONGEST_LENGTH


def _check_target(message: RawRequestMessage, host: bytes | None) -> None:
    target: str = message.path
    if "#" in target:
        raise Flaw("the target has a fragment")
    if target.startswith("/") or message.method == "CONNECT":
        return
    if target == "*" and message.method == "OPTIONS":
        return
    scheme, _, rest = target.partition("://")
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORT or not rest:
        raise Flaw("the target is not a path and not an http(s) URL")
    authority = urlsplit(target).netloc
    if "@" in authority or not _HOST.fullmatch(authority.encode()) or not authority:
        raise Flaw("the target's host is not a host name")
    if host is not None and not _same(authority, host.decode("latin-1"), _DEFAULT_PORT[scheme]):
        raise Flaw("the target and the Host header name different hosts")


def _same(one: str, other: str, port: str) -> bool:
    return one.lower().removesuffix(port) == other.lower().removesuffix(port)


def is_token(name: bytes) -> bool:
    return _NAME.fullmatch(name) is not None


def is_value(value: bytes) -> bool:
    """Whether a header's value is free of what could end its line."""
    return _NO_VALUE.search(value) is None


def response_is_sound(message: RawResponseMessage) -> bool:
    """Whether an instance's head can be passed on: the parser is lenient with responses."""
    lengths, codings = set(), []
    for name, value in message.raw_headers:
        if not is_token(name) or not is_value(value):
            return False
        match name.lower():
            case b"content-length":
                lengths.add(value)
            case b"transfer-encoding":
                codings.append(value.lower())
            case _:
                pass
    reason = message.reason.encode("utf-8", "surrogateescape")
    # A body in another coding would reach the client without the header that says so.
    sound = is_value(reason) and codings in ([], [_CHUNKED])
    return sound and len(lengths) <= 1 and all(map(_is_length, lengths))
