"""What is not App Runner: STS's one question answered here, all else passed on or refused.

`AWS_ENDPOINT_URL` points every SDK here, for every service. With `[upstream] url` the requests
of the others go to that emulator, byte for byte; without it they get an error at once, in the
shape that their SDK can read, that names the setting. Never a 5xx: SDKs repeat those for minutes.
"""

import json
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs
from uuid import uuid4
from xml.sax.saxutils import escape

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from emulator.surfaces.api.signatures import scope

# Told to the upstream emulator, so that a request that comes back is known for ours.
PASSED: Final = "X-AppRunner-Emulator-Passed"
CONNECT: Final = 5.0  # seconds; an answer may take as long as it likes (a queue's long poll)
ECR_HINT: Final = (
    " The way from `docker push` to a service is here with a registry: apprunner start"
    " --registry-port 5000."
)
FORM: Final = "application/x-www-form-urlencoded"
_SMALL = 65_536  # bytes of a form that is looked into
_LONGEST_HEADER = 65_536
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NEVER_BY_NAME = frozenset({"host", "content-length"})
# What aiohttp would add: only what the caller sent is sent on.
_NOT_ADDED = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
_CBOR = "rpc-v2-cbor"
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_IDENTITY = "GetCallerIdentity"


class Neighbours:
    """Answers for the services that are not emulated here. `upstream` is an address, or empty."""

    def __init__(self, upstream: str, account: str) -> None:
        # No user and password: they would stand where the caller's credentials do.
        self._upstream = re.sub(r"//[^/]*@", "//", upstream).rstrip("/")
        self._account = account
        self._mark = uuid4().hex
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        form = await _small_form(request)
        if _asks_who_it_is(request, form):
            return self._identity(request)
        if not self._upstream:
            return refusal(request, "UpstreamNotConfigured", _nobody(request))
        if self._mark in request.headers.getall(PASSED, ()):
            return refusal(
                request,
                "UpstreamLoop",
                f"[upstream] url ({self._upstream}) leads back to this emulator: it must be the "
                "address of another one.",
            )
        return await self._forward(request, form)

    # -- STS -----------------------------------------------------------------------------------

    def _identity(self, request: web.Request) -> web.Response:
        """The account's root user, of the account that our ARNs have: so never the upstream's."""
        arn = f"arn:aws:iam::{self._account}:root"
        members = {"Arn": arn, "UserId": self._account, "Account": self._account}
        if "X-Amz-Target" in request.headers:
            return web.json_response(members, headers=_identified(str(uuid4())))
        id_ = str(uuid4())
        result = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in members.items())
        text = (
            f'<{_IDENTITY}Response xmlns="{_NAMESPACE}"><{_IDENTITY}Result>{result}'
            f"</{_IDENTITY}Result><ResponseMetadata><RequestId>{id_}</RequestId>"
            f"</ResponseMetadata></{_IDENTITY}Response>"
        )
        return web.Response(text=text, content_type="text/xml", headers=_identified(id_))

    # -- forwarding ----------------------------------------------------------------------------

    async def _forward(self, request: web.Request, form: bytes | None) -> web.StreamResponse:
        headers = _end_to_end(request.headers)
        headers.popall(hdrs.EXPECT, None)  # aiohttp has let the caller go on already
        headers.add(PASSED, self._mark)
        target = request.raw_path if request.raw_path.startswith("/") else request.path_qs
        try:
            answer = await self._sessions().request(
                request.method,
                URL(self._upstream + target, encoded=True),
                headers=headers,
                data=(request.content if request.body_exists else None) if form is None else form,
                skip_auto_headers=_NOT_ADDED,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            reason = str(error) or type(error).__name__
            return refusal(
                request,
                "UpstreamUnreachable",
                f"[upstream] url ({self._upstream}) does not answer: {reason}. Is that emulator "
                "running? What is not App Runner goes there.",
            )
        async with answer:
            return await _relay(request, answer)

    def _sessions(self) -> aiohttp.ClientSession:
        """One connection per request: one that was kept could be closed just as it is used, and
        what was streamed into it cannot be sent again.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                max_line_size=_LONGEST_HEADER,
                max_field_size=_LONGEST_HEADER,
            )
        return self._session


async def _relay(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(
        status=answer.status, reason=answer.reason, headers=_end_to_end(answer.headers)
    )
    try:
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
    except (aiohttp.ClientError, OSError, TimeoutError):
        # One of the two is gone. If it is the upstream, half an answer must not look like one.
        if request.transport is not None:
            request.transport.abort()
    return response


def _end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """All but those of the one connection."""
    named = ",".join(headers.getall(hdrs.CONNECTION, ())).split(",")
    leave_out = _HOP_BY_HOP | ({name.strip().lower() for name in named} - _NEVER_BY_NAME)
    return CIMultiDict((n, value) for n, value in headers.items() if n.lower() not in leave_out)


# -- who asks, for what --------------------------------------------------------------------------


async def _small_form(request: web.Request) -> bytes | None:
    """The body where it may be a call of the query protocol; None leaves it to be streamed."""
    if request.content_type != FORM or not 0 < (request.content_length or 0) <= _SMALL:
        return None
    return await request.read()


def _asks_who_it_is(request: web.Request, form: bytes | None) -> bool:
    if request.headers.get("X-Amz-Target", "").endswith(f".{_IDENTITY}"):
        return True
    if request.path != "/":
        return False
    body = parse_qs((form or b"").decode(errors="replace"))
    return _IDENTITY in (*body.get("Action", ()), request.query.get("Action"))


def _service(request: web.Request) -> str:
    """As the caller signs for it; empty where nothing says."""
    signed = scope(request.headers)
    return signed.service if signed else ""


def _nobody(request: web.Request) -> str:
    target = request.headers.get("X-Amz-Target", "").partition(".")[0]
    what = _service(request) or target or f"{request.method} {request.path}"
    what = re.sub(r"[^\w./ -]", "?", what, flags=re.ASCII)[:100]
    hint = ECR_HINT if "ecr" in {_service(request), what} else ""
    return (
        f"This emulator is App Runner only, and was asked for '{what}'. To have that answered by "
        'another AWS emulator, set in emulator.toml: [upstream] url = "http://127.0.0.1:4566". '
        "To keep it from being asked, set AWS_ENDPOINT_URL_APPRUNNER in place of "
        f"AWS_ENDPOINT_URL.{hint}"
    )


# -- errors, in the caller's own protocol ----------------------------------------------------------


def refusal(request: web.Request, code: str, message: str) -> web.Response:
    """An error that the caller's SDK reads as one of its service's: HTTP 400, not repeated."""
    id_ = str(uuid4())
    body, content_type = _shape(request)(code, message, id_)
    headers = _identified(id_) | {"x-amzn-errortype": code, "Content-Type": content_type}
    if content_type == "application/cbor":
        headers["smithy-protocol"] = _CBOR
    return web.Response(body=body, status=400, headers=headers)


def _identified(id_: str) -> dict[str, str]:
    return {"x-amzn-RequestId": id_}


def _json(code: str, message: str, _: str) -> tuple[bytes, str]:
    body = json.dumps({"__type": code, "message": message, "Message": message})
    return body.encode(), "application/json"


def _query(code: str, message: str, id_: str) -> tuple[bytes, str]:
    error = f"<Error><Type>Sender</Type>{_named(code, message)}</Error>"
    return _xml(f"<ErrorResponse>{error}<RequestId>{id_}</RequestId></ErrorResponse>")


def _ec2(code: str, message: str, id_: str) -> tuple[bytes, str]:
    errors = f"<Errors><Error>{_named(code, message)}</Error></Errors>"
    return _xml(f"<Response>{errors}<RequestID>{id_}</RequestID></Response>")


def _rest_xml(code: str, message: str, id_: str) -> tuple[bytes, str]:
    return _xml(f"<Error>{_named(code, message)}<RequestId>{id_}</RequestId></Error>")


def _named(code: str, message: str) -> str:
    return f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"


def _xml(text: str) -> tuple[bytes, str]:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode(), "text/xml"


def _cbor(code: str, message: str, _: str) -> tuple[bytes, str]:
    """A map of two texts (RFC 8949); the newest SDKs speak so to some services."""
    texts = [text.encode() for text in ("__type", code, "message", message)]
    body = b"".join(b"\x79" + len(text).to_bytes(2, "big") + text for text in texts)
    return b"\xa2" + body, "application/cbor"


# By the name that a request without a body to go by is signed for; all others speak JSON.
_REST = {
    "": _rest_xml,
    "s3": _rest_xml,
    "s3express": _rest_xml,
    "s3-outposts": _rest_xml,
    "s3-object-lambda": _rest_xml,
    "route53": _query,
    "cloudfront": _query,
}


def _shape(request: web.Request) -> Callable[[str, str, str], tuple[bytes, str]]:
    if request.headers.get("smithy-protocol") == _CBOR:
        return _cbor
    if "X-Amz-Target" in request.headers or "json" in request.content_type:
        return _json
    if request.content_type == FORM or "Action" in request.query:
        return _ec2 if _service(request) == "ec2" else _query
    return _REST.get(_service(request), _json)
