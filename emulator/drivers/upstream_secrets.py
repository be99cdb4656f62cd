"""Secrets Manager and Parameter Store of another AWS emulator: one question each, over HTTP.

No SDK for two calls: they are a JSON document each way. Nothing that the other side says is
repeated in a message but the code of its error, because what it says may hold the secret.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import aiohttp

TIMEOUT: Final = 10.0  # seconds for one question; a deployment waits for it
_NOT_FOUND = frozenset({"ResourceNotFoundException", "ParameterNotFound"})
_CODE = re.compile(r"(?:[^#]*#)?([A-Za-z]\w{0,80})(?::.*)?")
_ACCOUNT = re.compile(r"[0-9]{12}")
Document = Mapping[str, Any]


class UpstreamError(Exception):
    """Why the other emulator gave no value, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """Region and, where an ARN names it, account of what is asked for."""

    region: str
    account: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Which version of a secret; of what is empty, Secrets Manager takes the current one."""

    stage: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One operation of one service, as it is spelled in credentials and in `X-Amz-Target`."""

    service: str
    target: str
    body: Document = field(repr=False)

    @property
    def operation(self) -> str:
        return self.target.partition(".")[2]


class UpstreamSecrets:
    """Asks the emulator at `address`. A new connection for each question: they are rare."""

    def __init__(self, address: str) -> None:
        # No user and password: they would stand where the credentials do.
        self._address = re.sub(r"//[^/]*@", "//", address).rstrip("/")

    def __str__(self) -> str:
        return self._address

    async def secret(self, id_: str, whose: Whose, version: Version) -> str | None:
        """By name or ARN; None where there is none. Raises UpstreamError."""
        wanted = {"SecretId": id_, "VersionStage": version.stage, "VersionId": version.id}
        body = {name: value for name, value in wanted.items() if value}
        target = "secretsmanager.GetSecretValue"
        answer = await self._ask(_Call(service="secretsmanager", target=target, body=body), whose)
        if answer is None:
            return None
        return _text(answer)

    async def parameter(self, name: str, whose: Whose) -> str | None:
        """By name; None where there is none. Raises UpstreamError."""
        body = {"Name": name, "WithDecryption": True}
        answer = await self._ask(
            _Call(service="ssm", target="AmazonSSM.GetParameter", body=body), whose
        )
        if answer is None:
            return None
        match answer:
            case {"Parameter": {"Value": str(value)}}:
                return value
            case _:
                raise UpstreamError(f"{self} answered GetParameter without a value")

    async def _ask(self, call: _Call, whose: Whose) -> Document | None:
        try:
            status, headers, content = await self._exchange(call, whose)
        except TimeoutError:
            raise UpstreamError(f"{self} did not answer within {TIMEOUT:.0f} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise UpstreamError(f"{self} does not answer: {reason}") from None
        document = _document(content)
        if status == HTTPStatus.OK and document is not None:
            return document
        code = _code(document or {}, headers)
        if code in _NOT_FOUND:
            return None
        said = code if status != HTTPStatus.OK and code else f"HTTP {status}, and no JSON"
        raise UpstreamError(f"{self} answered {call.operation} with {said}")

    async def _exchange(self, call: _Call, whose: Whose) -> tuple[int, Mapping[str, str], bytes]:
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": call.target,
            "Authorization": _authorization(call.service, whose),
        }
        data = json.dumps(call.body).encode()
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session,
            session.post(
                f"{self._address}/", data=data, headers=headers, allow_redirects=False
            ) as answer,
        ):
            return answer.status, answer.headers, await answer.read()


def _authorization(service: str, whose: Whose) -> str:
    """No signature, but all that other emulators look at: they find region and service by the
    scope, and some of them the account by an access key id of twelve digits.
    """
    key = whose.account if _ACCOUNT.fullmatch(whose.account) else "test"
    return (
        f"AWS4-HMAC-SHA256 Credential={key}/20260101/{whose.region}/{service}/aws4_request, "
        "SignedHeaders=host, Signature=0"
    )


def _document(content: bytes) -> Document | None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _code(document: Document, headers: Mapping[str, str]) -> str:
    """Of an error: `ResourceNotFoundException` of `com.amazonaws.x#ResourceNotFoundException`."""
    stated = document.get("__type") or headers.get("x-amzn-errortype", "")
    found = _CODE.fullmatch(str(stated))
    return found[1] if found else ""


def _text(answer: Document) -> str:
    """An environment variable is text, so a binary secret must be."""
    match answer:
        case {"SecretString": str(value)}:
            return value
        case {"SecretBinary": str(encoded)}:
            try:
                return base64.b64decode(encoded, validate=True).decode()
            except ValueError:
                raise UpstreamError("its value is binary and not UTF-8 text") from None
        case _:
            raise UpstreamError("its value is neither text nor binary")
