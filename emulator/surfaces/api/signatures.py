"""Who signed a request: Signature Version 4, checked with the very code that boto3 signs with.

Not a line of the algorithm is written again here: botocore makes the signature that the request
should have, from what was received, and the two are compared. Like AWS, it counts only what is
among the signed headers, so the host and all `X-Amz-…` headers must be.
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final

from multidict import MultiMapping

from emulator.model.settings import Auth
from emulator.ports import Clock

WINDOW: Final = 300  # seconds that a request's clock may be off
ALGORITHM: Final = "AWS4-HMAC-SHA256"
TERMINATOR: Final = "aws4_request"
TIMESTAMP: Final = "%Y%m%dT%H%M%SZ"
_PARAMETERS = ("Credential", "Signature", "SignedHeaders")
_CREDENTIAL_PARTS = 5  # key/date/region/service/aws4_request
_TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_SCOPE = re.compile(
    r"Credential=[^,/\s]+/[^,/\s]*/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/aws4_request"
)
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)
Headers = MultiMapping[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request is not let in: HTTP status, AWS's error code and its words."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a caller signed for."""

    region: str
    service: str


def scope(headers: Headers) -> Scope | None:
    """Of the Authorization header, whoever signed it; None where there is none to be read."""
    found = _SCOPE.search(headers.get("Authorization", ""))
    return Scope(region=found["region"], service=found["service"]) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Received:
    """A request, as far as a signature covers it."""

    method: str
    path_qs: str
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What the caller says: who signed, when, for what, and with which result."""

    access_key: str
    time: str
    scope: Scope
    signed_headers: str
    signature: str


class Signatures:
    """Lets signed requests in; all of them, where `[auth] verify_sigv4` is off."""

    def __init__(self, auth: Auth, clock: Clock) -> None:
        self._auth = auth
        self._clock = clock

    def load(self) -> None:
        """What the first check would wait for. It reads files: not in the event loop's thread."""
        if self._auth.verify_sigv4:
            _signer()

    def check(self, method: str, path_qs: str, headers: Headers, body: bytes) -> Refusal | None:
        """None for a good signature. `path_qs` is as received, escapes and all."""
        if not self._auth.verify_sigv4:
            return None
        claim = _claim(headers)
        if isinstance(claim, Refusal):
            return claim
        secret = self._auth.keys.get(claim.access_key)
        if secret is None:
            return _refused(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            )
        received = _Received(method=method, path_qs=path_qs, headers=headers, body=body)
        return self._untimely(claim) or _mismatch(received, claim, secret)

    def _untimely(self, claim: _Claim) -> Refusal | None:
        now = self._clock.now()
        try:
            signed = datetime.fromisoformat(claim.time).timestamp()
        except ValueError:  # digits in the right places, but no such day
            return _incomplete("X-Amz-Date must be a time like 20260131T235959Z.")
        minutes = f"{WINDOW // 60} min."
        if signed < now - WINDOW:
            return _invalid(
                f"Signature expired: {claim.time} is now earlier than {_stamp(now - WINDOW)} "
                f"({_stamp(now)} - {minutes})"
            )
        if signed > now + WINDOW:
            return _invalid(
                f"Signature not yet current: {claim.time} is still later than "
                f"{_stamp(now + WINDOW)} ({_stamp(now)} + {minutes})"
            )
        return None


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(TIMESTAMP)


def _claim(headers: Headers) -> _Claim | Refusal:
    authorization = headers.get("Authorization", "")
    if not authorization:
        return _refused("MissingAuthenticationTokenException", "Missing Authentication Token")
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        return _incomplete(f"The Authorization header must begin with {ALGORITHM}.")
    stated = {name: value for name, value in map(_pair, rest.split(",")) if value}
    time = headers.get("X-Amz-Date", "")
    problems = [
        f"Authorization header requires '{name}' parameter."
        for name in _PARAMETERS
        if name not in stated
    ] or _unsigned(headers, stated["SignedHeaders"].split(";"))
    if not _TIME.fullmatch(time):
        problems.append("Authorization header requires existence of an 'X-Amz-Date' header.")
    if problems:
        return _incomplete(" ".join(problems))
    return _credential(stated, time)


def _pair(parameter: str) -> tuple[str, str]:
    name, _, value = parameter.strip(" ").partition("=")
    return name, value


def _unsigned(headers: Headers, signed: list[str]) -> list[str]:
    """What the signature must cover, but does not."""
    must = {"host", "x-amz-date", *(n.lower() for n in headers if n.lower().startswith("x-amz-"))}
    return [
        f"'{name}' must be a 'SignedHeader' in the AWS Authorization."
        for name in sorted(must.difference(signed))
    ]


def _credential(stated: dict[str, str], time: str) -> _Claim | Refusal:
    parts = stated["Credential"].rsplit("/", _CREDENTIAL_PARTS - 1)
    if len(parts) != _CREDENTIAL_PARTS or parts[-1] != TERMINATOR:
        return _incomplete(
            "Credential must be an access key id and a scope, "
            f"<key>/<date>/<region>/<service>/{TERMINATOR}."
        )
    access_key, date, region, service, _ = parts
    if date != time[: len("YYYYMMDD")]:
        return _invalid(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date "
            f"from HTTP: '{date}' != '{time[: len('YYYYMMDD')]}', from '{time}'."
        )
    return _Claim(
        access_key=access_key,
        time=time,
        scope=Scope(region=region, service=service),
        signed_headers=stated["SignedHeaders"],
        signature=stated["Signature"],
    )


def _mismatch(received: _Received, claim: _Claim, secret: str) -> Refusal | None:
    try:
        signed_headers, signature = _signer()(received, claim, secret)
    except ValueError:  # bytes that are not UTF-8: nobody can have signed them
        return _invalid(_MISMATCH)
    claimed = claim.signature.encode(errors="replace")
    same = hmac.compare_digest(signature.encode(), claimed)
    return None if same and signed_headers == claim.signed_headers else _invalid(_MISMATCH)


@cache
def _signer() -> Callable[[_Received, _Claim, str], tuple[str, str]]:
    """From a request to the signed headers and the signature that it should have."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - 80 ms that a start need not wait for
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.compat import HTTPHeaders  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    def sign(received: _Received, claim: _Claim, secret: str) -> tuple[str, str]:
        signed = HTTPHeaders()
        for name in claim.signed_headers.split(";"):
            for value in received.headers.getall(name, ()):
                value.encode()  # an e-mail header, which this is, takes more than UTF-8 can hold
                signed[name] = value
        scope_ = claim.scope
        auth = SigV4Auth(Credentials(claim.access_key, secret), scope_.service, scope_.region)
        # Its own choice leaves out User-Agent and others, which some SDKs do sign.
        auth.headers_to_sign = lambda _: signed
        # No headers here: it would believe X-Amz-Content-SHA256 instead of reading the body.
        path_qs = received.path_qs.replace("#", "%23")
        url = f"http://localhost{path_qs}"
        request = AWSRequest(method=received.method, url=url, data=received.body)
        request.context["timestamp"] = claim.time
        string = auth.string_to_sign(request, auth.canonical_request(request))
        return auth.signed_headers(signed), auth.signature(string, request)

    return sign


def _incomplete(message: str) -> Refusal:
    return _refused("IncompleteSignatureException", message)


def _invalid(message: str) -> Refusal:
    return _refused("InvalidSignatureException", message)


def _refused(code: str, message: str) -> Refusal:
    return Refusal(status=403, code=code, message=message)
