"""What the controllers of all kinds of resources share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from emulator.controllers.account.registry import Registry, words
from emulator.model.configuration import ServiceConfiguration
from emulator.model.errors import (
    InvalidRequestException,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
)
from emulator.model.resources import (
    AutoScalingConfiguration,
    Connection,
    CustomDomain,
    Named,
    ObservabilityConfiguration,
    VpcConnector,
    VpcIngressConnection,
)
from emulator.model.service import Service
from emulator.model.settings import Pace, Quotas
from emulator.ports import Identifiers, PolicyClock

Tags = Mapping[str, str]
_Kind = TypeVar("_Kind", bound=Named)
_Stored = TypeVar(
    "_Stored",
    AutoScalingConfiguration,
    Connection,
    ObservabilityConfiguration,
    VpcConnector,
    VpcIngressConnection,
    CustomDomain,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """`services` are the live ones, of all Regions."""

    registry: Registry
    clock: PolicyClock
    identifiers: Identifiers
    pace: Pace
    quotas: Quotas
    services: Callable[[], Sequence[Service]]

    def users(
        self, region: str, uses: Callable[[ServiceConfiguration], bool]
    ) -> tuple[Service, ...]:
        """The live services of a Region that use something: as asked for, or as deployed."""
        return tuple(
            s
            for s in self.services()
            if s.region == region
            and (uses(s.configuration) or (s.serving is not None and uses(s.serving)))
        )

    def still(self, service: Service) -> Service:
        """As it is now: between a request and its turn a service may have changed or gone."""
        for each in self.services():
            if each.id == service.id:
                return each
        raise ResourceNotFoundException(f"Service {service.arn} is deleted.")

    def identity(self, region: str, name: str, tags: Tags) -> dict[str, Any]:
        """The members that every new resource has."""
        return {
            "region": region,
            "account": self.registry.account,
            "name": name,
            "id": self.identifiers.hexadecimal(),
            "created_at": self.clock.now(),
            "tags": tags,
        }

    async def delete(self, *resources: _Stored) -> tuple[_Stored, ...]:
        """As they are once they are deleted."""
        now = self.clock.now()
        deleted = tuple(replace(each, deleted_at=now) for each in resources)
        await self.registry.save(*deleted)
        return deleted

    def check_name(self, kind: type[Named], region: str, name: str) -> None:
        """Of a kind whose live names are unique."""
        if any(each.name == name for each in self.registry.live(kind, region)):
            what = words(kind)
            raise InvalidRequestException(
                f"{what[:1].upper()}{what[1:]} with the provided name already exists: {name}"
            )

    def existing(self, kind: type[_Kind], region: str, arn: str) -> _Kind:
        """One that is not deleted. Raises ResourceNotFoundException."""
        found = self.registry.find(kind, region, arn)
        if not found.live:
            raise ResourceNotFoundException(f"{arn} has been deleted.")
        return found


def within_quota(over: str, what: str) -> None:
    """`over` says how the quota is used up; empty if it is not. The text is ours: App Runner's
    is not known.
    """
    if over:
        raise ServiceQuotaExceededException(
            f"You've reached your account quota for {what} ({over}). Here, [quotas] in "
            "emulator.toml raises it."
        )
