"""All kinds of resources in one hand, for the surfaces and the platform."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from emulator.controllers.account.auto_scaling import AutoScalingConfigurations
from emulator.controllers.account.connections import Connections
from emulator.controllers.account.desk import Desk, Tags
from emulator.controllers.account.domains import CustomDomains
from emulator.controllers.account.image_repositories import ImageRepositories
from emulator.controllers.account.observability import ObservabilityConfigurations
from emulator.controllers.account.registry import Registry
from emulator.controllers.account.vpc import VpcConnectors, VpcIngressConnections
from emulator.model.configuration import ServiceConfiguration
from emulator.model.errors import InvalidRequestException, ResourceNotFoundException
from emulator.model.identifiers import ServiceId
from emulator.model.resources import Named, Resource
from emulator.ports import ImageRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One AWS account; every kind keeps its Regions apart."""

    registry: Registry
    auto_scaling: AutoScalingConfigurations
    connections: Connections
    observability: ObservabilityConfigurations
    vpc_connectors: VpcConnectors
    ingress: VpcIngressConnections
    domains: CustomDomains
    repositories: ImageRepositories | None

    def resolved(
        self, region: str, wanted: ServiceConfiguration, current: ServiceConfiguration | None
    ) -> ServiceConfiguration:
        """With its references to other resources checked and made whole.

        What did not change is not looked at again: an update must not fail on something else.
        """
        try:
            return self._resolved(region, wanted, current)
        except ResourceNotFoundException as error:
            # No error of CreateService says "not found" (service model).
            raise InvalidRequestException(str(error)) from error

    def _resolved(
        self, region: str, wanted: ServiceConfiguration, current: ServiceConfiguration | None
    ) -> ServiceConfiguration:
        if current is None or wanted.auto_scaling != current.auto_scaling:
            chosen = self.auto_scaling.usable(region, wanted.auto_scaling)
            wanted = replace(wanted, auto_scaling=chosen.arn, scaling=chosen.scaling)
        if wanted.connection and (current is None or wanted.connection != current.connection):
            wanted = replace(
                wanted, connection=self.connections.usable(region, wanted.connection).arn
            )
        if current is None or wanted.network != current.network:
            wanted = self._connected(region, wanted)
        if current is None or wanted.observability != current.observability:
            wanted = self._observed(region, wanted)
        return wanted

    def _connected(self, region: str, wanted: ServiceConfiguration) -> ServiceConfiguration:
        connector = wanted.network.vpc_connector
        if connector is None:
            return wanted
        arn = self.vpc_connectors.usable(region, connector).arn
        return replace(wanted, network=replace(wanted.network, vpc_connector=arn))

    def _observed(self, region: str, wanted: ServiceConfiguration) -> ServiceConfiguration:
        observed = wanted.observability
        if observed is None or observed.configuration is None:
            return wanted
        arn = self.observability.usable(region, observed.configuration).arn
        return replace(wanted, observability=replace(observed, configuration=arn))

    async def tag(self, resource: Named, tags: Tags) -> None:
        """Replace a resource's tags by these."""
        changed = replace(resource, tags=tags)
        if not isinstance(changed, Resource):
            raise TypeError(f"{type(resource).__name__} is not stored")
        await self.registry.save(changed)


def open_account(
    desk: Desk, rerouted: Callable[[ServiceId], None], images: ImageRegistry | None
) -> Account:
    """`rerouted` is called when a service has got or lost a domain; without `images` there is no
    ECR.
    """
    return Account(
        registry=desk.registry,
        auto_scaling=AutoScalingConfigurations(desk),
        connections=Connections(desk),
        observability=ObservabilityConfigurations(desk),
        vpc_connectors=VpcConnectors(desk),
        ingress=VpcIngressConnections(desk),
        domains=CustomDomains(desk, rerouted),
        repositories=ImageRepositories(desk, images) if images else None,
    )
