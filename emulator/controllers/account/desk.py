"""What the controllers of all kinds of resources share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from emulator.controllers.account.registry import Registry
from emulator.model.configuration import ServiceConfiguration
from emulator.model.errors import ResourceNotFoundException, ServiceQuotaExceededException
from emulator.model.resources import Named
from emulator.model.service import Service
from emulator.model.settings import Pace, Quotas
from emulator.ports import Clock, Identifiers

Tags = Mapping[str, str]
_Kind = TypeVar("_Kind", bound=Named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """`services` are the live ones, of all Regions."""

    registry: Registry
    clock: Clock
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
