"""Custom domains: routed by Host from the moment of their association.

Nothing has to be validated for a domain to work; the states that clients wait for are shown all
the same. One under localhost gets a certificate on first use; the local authority cannot vouch
for any other name, so that clients see the certificate for localhost there.
"""

from collections.abc import Callable

from emulator.controllers.account.desk import Desk
from emulator.decisions.provisioning import DomainStatus, domain_status
from emulator.model.errors import (
    InvalidRequestException,
    InvalidStateException,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
)
from emulator.model.identifiers import ServiceId
from emulator.model.resources import CustomDomain
from emulator.model.service import Service, ServiceStatus


class CustomDomains:
    """Every request about them; `changed` is called when a service has got or lost one."""

    def __init__(self, desk: Desk, changed: Callable[[ServiceId], None]) -> None:
        self._desk = desk
        self._registry = desk.registry
        self._changed = changed

    def status(self, domain: CustomDomain) -> DomainStatus | None:
        """None once it is gone."""
        return domain_status(domain, self._desk.clock.now(), self._desk.pace)

    def of(self, service: ServiceId) -> tuple[CustomDomain, ...]:
        """Those that are shown, oldest first."""
        return tuple(d for d in self._registry.domains(service) if self.status(d) is not None)

    async def associate(self, service: Service, domain: str, *, www: bool) -> CustomDomain:
        """One name belongs to one service; www is asked for unless somebody says no."""
        name = domain.lower().rstrip(".")
        async with self._registry.lock:
            self._check_running(service, "associated")
            self._check_free(service, name)
            there = len([d for d in self._registry.domains(service.id) if d.live])
            if there >= self._desk.quotas.custom_domains:
                raise ServiceQuotaExceededException(
                    f"A service can have {there} custom domains at most. Here, [quotas] in "
                    "emulator.toml raises it."
                )
            made = CustomDomain(
                service=service.id,
                region=service.region,
                domain=name,
                www=www,
                token=self._desk.identifiers.hexadecimal(),
                created_at=self._desk.clock.now(),
            )
            await self._registry.save(made)
        self._changed(service.id)
        return made

    def _check_running(self, service: Service, verb: str) -> None:
        """Neither a paused service nor a busy one gets or loses a domain (developer guide)."""
        status = self._desk.still(service).status
        if status is not ServiceStatus.RUNNING:
            raise InvalidStateException(
                f"A custom domain cannot be {verb} in the service's current state: {status}."
            )

    def _check_free(self, service: Service, name: str) -> None:
        labels = name.removeprefix("*.").split(".")
        if len(labels) < 2 or not all(_is_label(each) for each in labels):  # noqa: PLR2004
            raise InvalidRequestException(f"{name!r} is not a domain name.")
        for other in self._registry.domains():
            if other.live and other.domain == name:
                whose = "this" if other.service == service.id else "another"
                raise InvalidRequestException(
                    f"The domain {name} is already associated with {whose} service."
                )

    async def disassociate(self, service: Service, domain: str) -> CustomDomain:
        name = domain.lower().rstrip(".")
        async with self._registry.lock:
            self._check_running(service, "disassociated")
            mine = [d for d in self.of(service.id) if d.domain == name]
            if not mine:
                raise ResourceNotFoundException(
                    f"The domain {name} is not associated with service {service.arn}."
                )
            gone = mine[0]
            if gone.live:
                (gone,) = await self._desk.delete(gone)
        self._changed(service.id)
        return gone


def _is_label(text: str) -> bool:
    """Of a host name (RFC 1123)."""
    longest = 63
    fits = 0 < len(text) <= longest and text[0] != "-" and text[-1] != "-"
    return fits and text.replace("-", "").isalnum()
