"""Answers that no instance gave, worded as Envoy (App Runner's front end) words them."""

from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus

from emulator.ports import Clock

SERVER = b"envoy"
CONNECTION_FAILURE = "connection failure"
CONNECTION_TERMINATION = "connection termination"
PROTOCOL_ERROR = "protocol error"
REASON_HEADER = "x-apprunner-emulator-reason"  # for people; App Runner says nothing

_RESET = "upstream connect error or disconnect/reset before headers. reset reason: "
_BODIES = {
    HTTPStatus.BAD_REQUEST: "Bad Request",
    HTTPStatus.TOO_MANY_REQUESTS: "Too Many Requests",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "Request Header Fields Too Large",
    HTTPStatus.SERVICE_UNAVAILABLE: "no healthy upstream",
    HTTPStatus.GATEWAY_TIMEOUT: "upstream request timeout",
}


class UpstreamError(Exception):
    """An instance did not answer; `reason` is Envoy's reset reason.

    `safe`: the instance cannot have begun with the request, so that it may be sent again.
    """

    def __init__(self, reason: str, *, safe: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.safe = safe


class RequestBodyError(Exception):
    """The client's body is not what its head promised."""


class Answers:
    """Builds whole answers; the Date header is made once per second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._date = b""

    def date(self) -> bytes:
        second = int(self._clock.now())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date

    def local(
        self,
        status: int,
        *,
        body: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        head_only: bool = False,
        close: bool = False,
    ) -> bytes:
        """An answer of the load balancer's own; a body that is not given is the status's."""
        text = (_BODIES.get(HTTPStatus(status), "") if body is None else body).encode()
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"content-length: {len(text)}"]
        if text:
            lines.append("content-type: text/plain")
        lines += [f"{name}: {_one_line(value)}" for name, value in headers]
        if close:
            lines.append("connection: close")
        head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
        tail = b"\r\ndate: %b\r\nserver: %b\r\n\r\n" % (self.date(), SERVER)
        return head + tail + (b"" if head_only else text)


def reset_body(reason: str) -> str:
    """What Envoy says when an instance hangs up before it has answered."""
    return _RESET + reason


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")
