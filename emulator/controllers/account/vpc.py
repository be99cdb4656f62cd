"""VPC connectors and VPC ingress connections: their states; their traffic comes later."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from emulator.controllers.account.desk import Desk, Tags, within_quota
from emulator.decisions.provisioning import IngressStatus, ingress_status
from emulator.model.errors import InvalidRequestException, InvalidStateException
from emulator.model.resources import VpcConnector, VpcIngressConnection
from emulator.model.service import Service, ServiceStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Vpc:
    """What a connector leads into."""

    subnets: Sequence[str]
    security_groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressVpc:
    """What an ingress connection comes from; None: as it was."""

    vpc: str | None = None
    endpoint: str | None = None


class VpcConnectors:
    """Every request about them; a connector has one revision."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._registry = desk.registry

    async def create(self, region: str, name: str, vpc: Vpc, tags: Tags) -> VpcConnector:
        if not vpc.subnets:
            raise InvalidRequestException("Subnets must name at least one subnet.")
        async with self._registry.lock:
            self._desk.check_name(VpcConnector, region, name)
            live = self._registry.live(VpcConnector, region)
            over = len(live) >= self._desk.quotas.vpc_connectors
            within_quota(f"{len(live)} in use" if over else "", "VPC connectors")
            made = VpcConnector(
                **self._desk.identity(region, name, tags),
                subnets=tuple(vpc.subnets),
                security_groups=tuple(vpc.security_groups),
            )
            await self._registry.save(made)
        return made

    async def delete(self, region: str, arn: str) -> VpcConnector:
        async with self._registry.lock:
            found = self.usable(region, arn)
            if self._desk.users(region, lambda c: c.network.vpc_connector == found.arn):
                raise InvalidRequestException(
                    f"Provided VPC connector arn is being used by other services. ARN: {found.arn}"
                )
            (deleted,) = await self._desk.delete(found)
        return deleted

    def usable(self, region: str, arn: str) -> VpcConnector:
        """One that is not deleted."""
        return self._desk.existing(VpcConnector, region, arn)


class VpcIngressConnections:
    """Every request about them; a service has one at most."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._registry = desk.registry

    def status(self, connection: VpcIngressConnection) -> IngressStatus:
        return ingress_status(connection, self._desk.clock.now(), self._desk.pace)

    def of(self, service: Service) -> tuple[VpcIngressConnection, ...]:
        """The live ones that lead to a service."""
        live = self._registry.live(VpcIngressConnection, service.region)
        return tuple(c for c in live if c.service == service.arn)

    async def create(
        self, service: Service, name: str, vpc: IngressVpc, tags: Tags
    ) -> VpcIngressConnection:
        async with self._registry.lock:
            if self._desk.still(service).status is ServiceStatus.OPERATION_IN_PROGRESS:
                # What else the InvalidStateException could be for that the operation declares?
                raise InvalidStateException(
                    "A VPC ingress connection cannot be created in the service's current state: "
                    f"{ServiceStatus.OPERATION_IN_PROGRESS}."
                )
            self._desk.check_name(VpcIngressConnection, service.region, name)
            there = len(self.of(service))
            within_quota(f"{there} of this service" if there else "", "VPC ingress connections")
            made = VpcIngressConnection(
                **self._desk.identity(service.region, name, tags),
                service=service.arn,
                label=self._desk.identifiers.label(),
                vpc=vpc.vpc,
                endpoint=vpc.endpoint,
            )
            await self._registry.save(made)
        return made

    async def update(self, region: str, arn: str, vpc: IngressVpc) -> VpcIngressConnection:
        async with self._registry.lock:
            found = self._registry.find(VpcIngressConnection, region, arn)
            self._check_available(found, "updated")
            updated = replace(
                found,
                vpc=found.vpc if vpc.vpc is None else vpc.vpc,
                endpoint=found.endpoint if vpc.endpoint is None else vpc.endpoint,
                updated_at=self._desk.clock.now(),
            )
            await self._registry.save(updated)
        return updated

    async def delete(self, region: str, arn: str) -> VpcIngressConnection:
        async with self._registry.lock:
            found = self._registry.find(VpcIngressConnection, region, arn)
            self._check_available(found, "deleted")
            (deleted,) = await self._desk.delete(found)
        return deleted

    def _check_available(self, connection: VpcIngressConnection, verb: str) -> None:
        status = self.status(connection)
        if status is not IngressStatus.AVAILABLE:
            raise InvalidStateException(
                f"VPC ingress connection cannot be {verb} in the current state: {status}."
            )
