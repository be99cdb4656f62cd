"""Auto scaling configurations: immutable revisions, one of which is the Region's default."""

from emulator.controllers.account.desk import Desk, Tags, within_quota
from emulator.decisions.revisions import next_revision, quota_exceeded
from emulator.model.configuration import AutoScaling, ServiceConfiguration
from emulator.model.errors import InvalidRequestException, ResourceNotFoundException
from emulator.model.resources import AutoScalingConfiguration
from emulator.model.service import Service

_KIND = AutoScalingConfiguration


class AutoScalingConfigurations:
    """Every request about them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._registry = desk.registry

    def users(self, configuration: AutoScalingConfiguration) -> tuple[Service, ...]:
        """The services that use it; one that names none uses the built-in one."""
        names = {configuration.arn, ""} if configuration.built_in else {configuration.arn}

        def uses(wanted: ServiceConfiguration) -> bool:
            return wanted.auto_scaling in names

        return self._desk.users(configuration.region, uses)

    async def create(
        self, region: str, name: str, scaling: AutoScaling, tags: Tags
    ) -> AutoScalingConfiguration:
        """The next revision of that name."""
        if scaling.min_size > scaling.max_size:
            raise InvalidRequestException(
                f"MinSize ({scaling.min_size}) must not be greater than MaxSize "
                f"({scaling.max_size})."
            )
        async with self._registry.lock:
            live = self._registry.live(_KIND, region)
            self._check_quota(live, name)
            made = AutoScalingConfiguration(
                **self._desk.identity(region, name, tags),
                revision=next_revision(live, name),
                scaling=scaling,
            )
            await self._registry.save(made)
        return made

    def _check_quota(self, live: tuple[AutoScalingConfiguration, ...], name: str) -> None:
        """What is built in does not count."""
        quotas = self._desk.quotas
        over = quota_exceeded(
            [c for c in live if not c.built_in],
            name,
            names=quotas.auto_scaling_configurations,
            revisions=quotas.auto_scaling_revisions,
        )
        within_quota(over, "auto scaling configurations")

    async def matching(
        self, region: str, name: str, scaling: AutoScaling
    ) -> AutoScalingConfiguration:
        """The one of that name with these values: found, or made; for `apprunner deploy`, where
        nobody thinks of revisions. Older ones that nobody uses make room.
        """
        live = [c for c in self._registry.live(_KIND, region) if c.name == name]
        found = [c for c in live if c.scaling == scaling]
        if found:
            return found[0]
        if len(live) >= self._desk.quotas.auto_scaling_revisions:
            spare = [c for c in live if not c.is_default and not self.users(c)]
            if spare:
                await self.delete(region, spare[-1].arn)
        return await self.create(region, name, scaling, {})

    async def delete(
        self, region: str, arn: str, *, all_revisions: bool = False
    ) -> AutoScalingConfiguration:
        """One revision, or all of a name. Neither the default one nor one in use goes away."""
        async with self._registry.lock:
            doomed = self._doomed(region, arn, all_revisions=all_revisions)
            for each in doomed:
                self._check_deletable(each)
            deleted = await self._desk.delete(*doomed)
        return max(deleted, key=lambda each: each.revision)

    def _doomed(
        self, region: str, arn: str, *, all_revisions: bool
    ) -> tuple[AutoScalingConfiguration, ...]:
        found = self._registry.find(_KIND, region, arn)
        if not all_revisions:
            return (found,)
        if not arn.endswith(f"/{found.name}"):
            raise InvalidRequestException(
                f"When DeleteAllRevisions is true, the ARN must end with the name: …/{found.name}"
            )
        live = self._registry.live(_KIND, region)
        return tuple(c for c in live if c.name == found.name) or (found,)

    def _check_deletable(self, configuration: AutoScalingConfiguration) -> None:
        """The sentences are the real service's (clients.md, 5; the Terraform provider's code)."""
        if not configuration.live:
            raise InvalidRequestException(
                "The auto scaling configuration you specified has been deleted. "
                f"ARN: '{configuration.arn}'"
            )
        if configuration.is_default:
            raise InvalidRequestException(
                f"You can't delete a reserved auto scaling configuration: '{configuration.arn}'."
            )
        if self.users(configuration):
            raise InvalidRequestException(
                "You can't delete the auto scaling configuration. It's used by one or more "
                "services. To delete it, update the services to use other auto scaling "
                "configurations."
            )

    async def set_default(self, region: str, arn: str) -> AutoScalingConfiguration:
        """For services created from now on; those that are there keep theirs."""
        async with self._registry.lock:
            return await self._registry.set_default(self.usable(region, arn))

    def usable(self, region: str, arn: str) -> AutoScalingConfiguration:
        """One that is not deleted; the default one for an empty ARN."""
        if not arn:
            return self._registry.default_auto_scaling(region)
        found = self._registry.find(_KIND, region, arn)
        if not found.live:
            raise ResourceNotFoundException(
                f"The auto scaling configuration you specified has been deleted. ARN: '{arn}'"
            )
        return found
