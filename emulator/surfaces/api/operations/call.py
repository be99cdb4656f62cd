"""What every operation is given, and what all of them need."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from emulator.controllers.account.account import Account
from emulator.controllers.platform import Platform
from emulator.model.arn import Kind, parse
from emulator.model.errors import InvalidRequestException, ResourceNotFoundException
from emulator.model.service import Service
from emulator.surfaces.api.requests import Rules

Members = Mapping[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: its members as the service model has them, and the Region it was sent to."""

    platform: Platform
    operation: str
    region: str
    members: Members

    @property
    def account(self) -> Account:
        return self.platform.account

    @property
    def rules(self) -> Rules:
        return Rules(aws=True, strict=self.platform.settings.strict)

    @property
    def question(self) -> str:
        """What a page's token is bound to, beside the members."""
        return f"{self.operation} {self.region}"

    def service(self, member: str = "ServiceArn") -> Service:
        """The service of an ARN, also one that was deleted not long ago."""
        return self.service_of(self.members[member])

    def service_of(self, text: str) -> Service:
        arn = parse(text)
        if arn is None or arn.kind is not Kind.SERVICE:
            raise InvalidRequestException(
                f"The service ARN you specified isn't valid. ARN: '{text}'"
            )
        now = self.platform.ports.clock.now()
        for ledger in self.platform.ledgers():
            service = ledger.service
            if service.arn == text and service.region == self.region and service.describable(now):
                return service
        raise ResourceNotFoundException(f"There is no service {text} in {self.region}.")

    def live_service(self, member: str = "ServiceArn") -> Service:
        service = self.service(member)
        if not service.live:
            raise ResourceNotFoundException(f"Service {service.arn} is deleted.")
        return service


Operation = Callable[[Call], Awaitable[Answer]]
