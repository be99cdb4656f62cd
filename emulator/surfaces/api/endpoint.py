"""The address that AWS tools are pointed at: what is App Runner's is answered, the rest passed on."""

import asyncio
import re
from typing import Final
from uuid import uuid4

from aiohttp import web

from emulator.controllers.platform import Platform
from emulator.surfaces.api import codec, neighbours
from emulator.surfaces.api.protocol import (
    APP_RUNNER,
    BAD_REQUEST,
    ECR,
    Dialect,
    Protocol,
    Reply,
    refusal,
)
from emulator.surfaces.api.signatures import Refusal, Signatures, scope
from emulator.surfaces.api.turns import Turns

JSON: Final = APP_RUNNER.content_type
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
        self._signatures = Signatures(settings.auth, platform.ports.machine)
        self._neighbours = neighbours.Neighbours(settings.upstream, settings.account)
        self._dialects = (APP_RUNNER, ECR) if platform.ports.registry else (APP_RUNNER,)
        self._protocols: dict[str, Protocol] = {}
        self._turns = Turns()

    async def warm_up(self) -> None:
        """The service model is read beside the event loop: a start need not wait for it."""
        await self._loaded()

    async def close(self) -> None:
        await self._neighbours.close()

    async def _loaded(self, dialect: Dialect = APP_RUNNER) -> Protocol:
        if not self._protocols:
            self._protocols = await asyncio.to_thread(self._load)
        return self._protocols[dialect.prefix]

    def _load(self) -> dict[str, Protocol]:
        self._signatures.load()
        strict = self._platform.settings.strict
        models = {APP_RUNNER.prefix: codec.operations(strict=strict)}
        if ECR in self._dialects:
            names = tuple(ECR.operations)
            models[ECR.prefix] = codec.operations(strict=strict, service="ecr", names=names)
        return {
            each.prefix: Protocol(self._platform, models[each.prefix], each)
            for each in self._dialects
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        target = request.headers.get("X-Amz-Target", "")
        dialect = self._dialect(request, target)
        if dialect is None:
            return await self._of_neighbours(request)
        try:
            return _response(await self._answer(request, target, dialect), dialect)
        except web.RequestPayloadError as error:  # compressed badly; where it would end is unknown
            broken = f"The body cannot be read: {error}"
            response = _response(refusal(BAD_REQUEST, "SerializationException", broken), dialect)
            response.force_close()
            return response

    def _dialect(self, request: web.Request, target: str) -> Dialect | None:
        """None for what is not ours; of ECR that is what a registry of one machine does not have."""
        known = ECR in self._dialects and target.startswith(ECR.prefix)
        if known and target.removeprefix(ECR.prefix) in ECR.operations:
            return ECR
        return APP_RUNNER if _is_ours(request, target) else None

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

    async def _answer(self, request: web.Request, target: str, dialect: Dialect) -> Reply:
        if request.method != "POST" or request.path != "/":
            shown = f"{request.method} {request.path[:100]}"
            return refusal(
                BAD_REQUEST, "UnknownOperationException", f"{shown}: App Runner takes POST / only."
            )
        if request.content_type not in _CONTENT_TYPES:
            return refusal(
                BAD_REQUEST,
                "SerializationException",
                f"The Content-Type must be {dialect.content_type}, not {request.content_type[:100]}.",
            )
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            return refusal(413, "RequestEntityTooLargeException", error.text or "")
        protocol = await self._loaded(dialect)
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
        return target.startswith(APP_RUNNER.prefix)
    signed = scope(request.headers)
    if signed is not None:
        return signed.service == SIGNED_FOR
    return request.method == "POST" and request.path == "/" and "json" in request.content_type


def _response(reply: Reply, dialect: Dialect) -> web.Response:
    headers = {"x-amzn-requestid": str(uuid4()), "Content-Type": dialect.content_type}
    if reply.code:
        headers["x-amzn-errortype"] = reply.code
    return web.Response(status=reply.status, body=reply.body, headers=headers)
