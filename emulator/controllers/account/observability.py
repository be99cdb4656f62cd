"""Observability configurations: immutable revisions; what they trace comes later."""

from emulator.controllers.account.desk import Desk, Tags, within_quota
from emulator.decisions.revisions import next_revision, quota_exceeded
from emulator.model.configuration import ServiceConfiguration
from emulator.model.errors import InvalidRequestException
from emulator.model.resources import DEFAULT_NAME, ObservabilityConfiguration


class ObservabilityConfigurations:
    """Every request about them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._registry = desk.registry

    async def create(
        self, region: str, name: str, vendor: str | None, tags: Tags
    ) -> ObservabilityConfiguration:
        """The next revision of that name."""
        if name == DEFAULT_NAME:
            raise InvalidRequestException(f"The name {DEFAULT_NAME} is reserved.")
        async with self._registry.lock:
            live = self._registry.live(ObservabilityConfiguration, region)
            quotas = self._desk.quotas
            over = quota_exceeded(
                live,
                name,
                names=quotas.observability_configurations,
                revisions=quotas.observability_revisions,
            )
            within_quota(over, "observability configurations")
            made = ObservabilityConfiguration(
                **self._desk.identity(region, name, tags),
                revision=next_revision(live, name),
                vendor=vendor,
            )
            await self._registry.save(made)
        return made

    async def delete(self, region: str, arn: str) -> ObservabilityConfiguration:
        async with self._registry.lock:
            found = self._registry.find(ObservabilityConfiguration, region, arn)
            self._check_deletable(found)
            (deleted,) = await self._desk.delete(found)
        return deleted

    def usable(self, region: str, arn: str) -> ObservabilityConfiguration:
        """One that is not deleted."""
        return self._desk.existing(ObservabilityConfiguration, region, arn)

    def _check_deletable(self, configuration: ObservabilityConfiguration) -> None:
        def uses(wanted: ServiceConfiguration) -> bool:
            observed = wanted.observability
            return observed is not None and observed.configuration == configuration.arn

        if not configuration.live:
            raise InvalidRequestException(
                "The observability configuration you specified has been deleted. "
                f"ARN: '{configuration.arn}'"
            )
        if self._desk.users(configuration.region, uses):
            raise InvalidRequestException(
                "You can't delete the observability configuration. It's used by one or more "
                "services. To delete it, update the services to use other observability "
                "configurations."
            )
