"""The address that AWS tools are pointed at: what is App Runner's is answered, the rest passed on."""

import asyncio
import re
from collections.abc import Mapping
from typing import Final
from uuid import uuid4

from aiohttp import web

from emulator.controllers.platform import Platform
from emulator.surfaces.api import codec, neighbours
from emulator.surfaces.api.protocol import BAD_REQUEST, TARGET_PREFIX, Protocol, Reply, refusal
from emulator.surfaces.api.signatures import Refusal, Signatures, scope
from emulator.surfaces.api.turns import Turns

JSON: Final = "application/x-amz-json-1.0"
SIGNED_FOR: Final = "apprunner"
# A page in a browser cannot send these without asking first (CORS); older tools send 1.1.
_CONTENT_TYPES = frozenset({JSON, "application/x-amz-json-1.1", "application/json"})
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}", re.ASCII)
_LONGEST_REGION = 32


class AwsEndpoint:
    """Everything on the API's port that is not the emulator's own."""

    def __init__(self, platform: Platform) -> None:
        settings = platform.settings
        self._platform = platform
        self._signatures = Signatures(settings.auth, platform.ports.clock)
        self._neighbours = neighbours.Neighbours(settings.upstream, settings.account)
        self._protocol: Protocol | None = None
        self._turns = Turns()

    async def warm_up(self) -> None:
        """The service model is read beside the event loop: a start need not wait for it."""
        await self._loaded()

    async def close(self) -> None:
        await self._neighbours.close()

    async def _loaded(self) -> Protocol:
        if self._protocol is None:
            models = await asyncio.to_thread(self._load)
            self._protocol = Protocol(self._platform, models)
        return self._protocol

    def _load(self) -> Mapping[str, codec.OperationModel]:
        self._signatures.load()
        return codec.operations(strict=self._platform.settings.strict)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        target = request.headers.get("X-Amz-Target", "")
        if not _is_ours(request, target):
            return await self._of_neighbours(request)
        try:
            return _response(await self._answer(request, target))
        except web.RequestPayloadError as error:  # compressed badly; where it would end is unknown
            broken = f"The body cannot be read: {error}"
            response = _response(refusal(BAD_REQUEST, "SerializationException", broken))
            response.force_close()
            return response

    async def _of_neighbours(self, request: web.Request) -> web.StreamResponse:
        """What is passed on is its receiver's to check; STS is answered here."""
        signed = scope(request.headers)
        if signed is not None and signed.service == "sts":
            await self._loaded()
            refused = await self._unsigned(request)
            if refused is not None:
                return neighbours.refusal(request, refused.code, refused.message)
        return await self._neighbours.answer(request)

    async def _unsigned(self, request: web.Request) -> Refusal | None:
        """Why the request is not let in, None if it is. The body is kept for who reads it next."""
        body = await request.read()
        return self._signatures.check(request.method, request.raw_path, request.headers, body)

    async def _answer(self, request: web.Request, target: str) -> Reply:
        if request.method != "POST" or request.path != "/":
            shown = f"{request.method} {request.path[:100]}"
            return refusal(
                BAD_REQUEST, "UnknownOperationException", f"{shown}: App Runner takes POST / only."
            )
        if request.content_type not in _CONTENT_TYPES:
            return refusal(
                BAD_REQUEST,
                "SerializationException",
                f"The Content-Type must be {JSON}, not {request.content_type[:100]}.",
            )
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            return refusal(413, "RequestEntityTooLargeException", error.text or "")
        protocol = await self._loaded()
        await self._turns.mine()
        refused = await self._unsigned(request)
        if refused is not None:
            return refusal(refused.status, refused.code, refused.message)
        return await protocol.answer(target, body, region=self._region(request))

    def _region(self, request: web.Request) -> str:
        """The one that the request was signed for; a missing signature is no error."""
        signed = scope(request.headers)
        named = signed.region[:_LONGEST_REGION] if signed else ""
        return named if _REGION.fullmatch(named) else self._platform.settings.region


def _is_ours(request: web.Request, target: str) -> bool:
    """By its target, by what it was signed for, or because nothing says anything else."""
    if target:
        return target.startswith(TARGET_PREFIX)
    signed = scope(request.headers)
    if signed is not None:
        return signed.service == SIGNED_FOR
    return request.method == "POST" and request.path == "/" and "json" in request.content_type


def _response(reply: Reply) -> web.Response:
    headers = {"x-amzn-requestid": str(uuid4()), "Content-Type": JSON}
    if reply.code:
        headers["x-amzn-errortype"] = reply.code
    return web.Response(status=reply.status, body=reply.body, headers=headers)
