"""Which service a host name belongs to."""

from collections.abc import Mapping, Sequence

from emulator.controllers.balancer import Balancer
from emulator.model.identifiers import ServiceId


class Router:
    """Host names to services; exact names win over wildcards (`*.example.com`: one label)."""

    def __init__(self) -> None:
        self._services: dict[ServiceId, Balancer] = {}
        self._hosts: dict[str, ServiceId] = {}

    def add(self, service: ServiceId, hosts: Sequence[str], balancer: Balancer) -> tuple[str, ...]:
        """Route these hosts, and no others, to a service.

        Returns those that another service has already: who came first keeps a name.
        """
        self.remove(service)
        self._services[service] = balancer
        names = [normalise(host) for host in hosts]
        return tuple(name for name in names if self._hosts.setdefault(name, service) != service)

    def remove(self, service: ServiceId) -> None:
        self._services.pop(service, None)
        self._hosts = {host: owner for host, owner in self._hosts.items() if owner != service}

    def service_of(self, host: str) -> ServiceId | None:
        """By the value of a Host header, in any case, with or without a port."""
        return self.service_named(normalise(host))

    def service_named(self, name: str) -> ServiceId | None:
        """By what `normalise` makes of it."""
        service = self._hosts.get(name)
        if service is None:
            service = self._hosts.get("*." + name.partition(".")[2])
        return service

    @property
    def hosts(self) -> frozenset[str]:
        """All names that lead somewhere."""
        return frozenset(self._hosts)

    @property
    def services(self) -> Mapping[ServiceId, Balancer]:
        return self._services

    def by_host(self, host: str) -> Balancer | None:
        service = self.service_of(host)
        return None if service is None else self._services.get(service)

    def by_service(self, service: ServiceId) -> Balancer | None:
        return self._services.get(service)

    def __repr__(self) -> str:
        return f"<Router {len(self._services)} services, {len(self._hosts)} hosts>"


def normalise(host: str) -> str:
    """Lower case, without port and final dot; an IPv6 address keeps its brackets."""
    name = host.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0].rstrip(".")
