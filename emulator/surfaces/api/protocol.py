"""AWS JSON: from the bytes of a request to the bytes of its answer, without any HTTP type.

Whatever a client sends is answered with an error that its SDK knows; a 500 is a mistake of ours
(Terraform would try it again for minutes).
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from emulator.controllers.platform import Platform
from emulator.model.errors import (
    AppRunnerError,
    EngineError,
    InternalServiceErrorException,
    InvalidParameterException,
    InvalidRequestException,
    ServiceQuotaExceededException,
    StoreError,
)
from emulator.surfaces.api.codec import (
    MESSAGE_LIMIT,
    OperationModel,
    SerializationError,
    ValidationError,
)
from emulator.surfaces.api.operations.call import Call, Operation
from emulator.surfaces.api.operations.table import ECR_OPERATIONS, OPERATIONS

BAD_REQUEST = 400
SERVERS_FAULT = 500
# The API reference's; everything else is a 400.
_STATUSES: Mapping[type[AppRunnerError], int] = {
    InternalServiceErrorException: SERVERS_FAULT,
    ServiceQuotaExceededException: 402,
}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes on the wire; `code` is the error's, empty for success."""

    status: int
    body: bytes
    code: str = ""


def refusal(status: int, code: str, message: str) -> Reply:
    """The code is in the body's `__type`: botocore looks nowhere else."""
    if len(message) > MESSAGE_LIMIT:
        message = f"{message[: MESSAGE_LIMIT - 1]}…"
    body = json.dumps({"__type": code, "Message": message}).encode()
    return Reply(status=status, body=body, code=code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one service speaks: `prefix` begins X-Amz-Target; `invalid` and `internal` are the errors
    that every operation declares for what is not to be had and for a mistake of ours.
    """

    prefix: str
    content_type: str
    operations: Mapping[str, Operation]
    invalid: str
    internal: str


APP_RUNNER = Dialect(
    prefix="AppRunner.",
    content_type="application/x-amz-json-1.0",
    operations=OPERATIONS,
    invalid=InvalidRequestException.__name__,
    internal=InternalServiceErrorException.__name__,
)
ECR = Dialect(
    prefix="AmazonEC2ContainerRegistry_V20150921.",
    content_type="application/x-amz-json-1.1",
    operations=ECR_OPERATIONS,
    invalid=InvalidParameterException.__name__,
    internal="ServerException",
)


class Protocol:
    """Answers requests; `models` by operation name."""

    def __init__(
        self,
        platform: Platform,
        models: Mapping[str, OperationModel],
        dialect: Dialect = APP_RUNNER,
    ) -> None:
        self._platform = platform
        self._models = models
        self._dialect = dialect

    async def answer(self, target: str, body: bytes, *, region: str) -> Reply:
        """`target` is the X-Amz-Target header, `region` from the credential scope."""
        prefix = self._dialect.prefix
        name = target.removeprefix(prefix)
        model = self._models.get(name) if target.startswith(prefix) else None
        if model is None:
            shown = target[:100] or "no X-Amz-Target"
            return refusal(BAD_REQUEST, "UnknownOperationException", f"Unknown operation: {shown}")
        try:
            members = model.decode(body)
        except SerializationError as error:
            return refusal(BAD_REQUEST, "SerializationException", str(error))
        except ValidationError as error:
            # Declared by every operation, so that each SDK has a type for it; whether AWS sends
            # it or the undeclared ValidationException is not known.
            return refusal(BAD_REQUEST, self._dialect.invalid, str(error))
        call = Call(platform=self._platform, operation=name, region=region, members=members)
        return await self._carried_out(call, model)

    async def _carried_out(self, call: Call, model: OperationModel) -> Reply:
        try:
            answer = await self._dialect.operations[call.operation](call)
            return Reply(status=200, body=model.encode(answer))
        except AppRunnerError as error:
            return self._refused(error, model)
        except (EngineError, StoreError) as error:
            return self._mistaken(str(error))
        except Exception:
            _logger.exception("%s failed", call.operation)
            text = "A mistake in the emulator: its log, emulator.log in the state directory, says more."
            return self._mistaken(text)

    def _mistaken(self, text: str) -> Reply:
        return refusal(SERVERS_FAULT, self._dialect.internal, text)

    def _refused(self, error: AppRunnerError, model: OperationModel) -> Reply:
        """An error that the operation does not declare would be unknown to SDKs."""
        code = error.code if error.code in model.errors else self._dialect.invalid
        status = _STATUSES.get(type(error), BAD_REQUEST) if code == error.code else BAD_REQUEST
        return refusal(status, code, str(error))
