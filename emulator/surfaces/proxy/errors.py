"""Answers that no instance gave, worded as Envoy (App Runner's front end) words them."""

from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from emulator.model.identifiers import Epoch
from emulator.ports import Clock

SERVER = b"envoy"
CONNECTION_FAILURE = "connection failure"
CONNECTION_TERMINATION = "connection termination"
PROTOCOL_ERROR = "protocol error"
REASON_HEADER = "x-apprunner-emulator-reason"  # for people; App Runner says nothing
# For people in front of a browser, where `waiting_page` is on.
WAITING_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="1">
<title>Waking up</title></head>
<body><p>The service is being woken. This page asks again every second.</p></body></html>
"""

_RESET = "upstream connect error or disconnect/reset before headers. reset reason: "
_BODIES = {
    HTTPStatus.BAD_REQUEST: "Bad Request",
    HTTPStatus.REQUEST_TIMEOUT: "Request Timeout",
    HTTPStatus.TOO_MANY_REQUESTS: "Too Many Requests",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "Request Header Fields Too Large",
    HTTPStatus.SERVICE_UNAVAILABLE: "no healthy upstream",
    HTTPStatus.GATEWAY_TIMEOUT: "upstream request timeout",
}


class UpstreamError(Exception):
    """An instance did not answer; `reason` is Envoy's reset reason.

    `safe`: the instance cannot have begun with the request, so that it may be sent again.
    `silent`: not a byte of an answer came.
    """

    def __init__(self, reason: str, *, safe: bool = False, silent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.safe = safe
        self.silent = safe or silent


class RequestBodyError(Exception):
    """The client's body is not what its head promised; `status` is the answer's."""

    def __init__(self, reason: str, *, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Local:
    """An answer of the load balancer's own; a body that is not given is the status's."""

    status: int
    body: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    reason: str = ""

    @property
    def content(self) -> bytes:
        return (
            _BODIES.get(HTTPStatus(self.status), "") if self.body is None else self.body
        ).encode()

    def fields(self) -> list[tuple[str, str]]:
        """All headers but those of every answer."""
        content = self.content
        fields = [("content-length", str(len(content)))]
        if content:
            fields.append(("content-type", _type_of(content)))
        fields += self.headers
        if self.reason:
            fields.append((REASON_HEADER, self.reason))
        return [(name, _one_line(value)) for name, value in fields]


class Answers:
    """Builds whole answers; the Date header is made once per second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._date = b""
        self._line = b""

    def date(self) -> bytes:
        self.date_line(self._clock.now())
        return self._date

    def date_line(self, now: Epoch) -> bytes:
        """The whole header, as HTTP/1 has it."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
            self._line = b"date: %b\r\n" % self._date
        return self._line

    def whole(self, answer: Local, *, head_only: bool = False, close: bool = False) -> bytes:
        """In HTTP/1."""
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in answer.fields()]
        if close:
            lines.append("connection: close")
        head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
        tail = b"\r\ndate: %b\r\nserver: %b\r\n\r\n" % (self.date(), SERVER)
        return head + tail + (b"" if head_only else answer.content)


def reset_body(reason: str) -> str:
    """What Envoy says when an instance hangs up before it has answered."""
    return _RESET + reason


def _type_of(content: bytes) -> str:
    return "text/html; charset=utf-8" if content.startswith(b"<!doctype html>") else "text/plain"


def _one_line(value: str) -> str:
    return " ".join(value.split())
