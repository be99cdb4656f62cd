"""Connections to the places where repositories live: nothing is connected, the rules are kept."""

from dataclasses import replace

from emulator.controllers.account.desk import Desk, Tags, within_quota
from emulator.decisions.provisioning import ConnectionStatus, connection_status
from emulator.model.errors import InvalidRequestException, ResourceNotFoundException
from emulator.model.resources import Connection, ProviderType


class Connections:
    """Every request about them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._registry = desk.registry

    def status(self, connection: Connection) -> ConnectionStatus:
        return connection_status(connection, self._desk.pace)

    async def create(
        self, region: str, name: str, provider: ProviderType, tags: Tags
    ) -> Connection:
        """Waits for its handshake, which in the fast pace completes by itself."""
        async with self._registry.lock:
            self._desk.check_name(Connection, region, name)
            live = self._registry.live(Connection, region)
            over = len(live) >= self._desk.quotas.connections
            within_quota(f"{len(live)} in use" if over else "", "connections")
            made = Connection(**self._desk.identity(region, name, tags), provider=provider)
            await self._registry.save(made)
        return made

    async def authorize(self, region: str, name: str) -> Connection:
        """The console's handshake; a second one changes nothing."""
        async with self._registry.lock:
            named = [c for c in self._registry.live(Connection, region) if c.name == name]
            if not named:
                raise ResourceNotFoundException(f"There is no connection {name!r} in {region}.")
            if named[0].authorized_at is not None:
                return named[0]
            done = replace(named[0], authorized_at=self._desk.clock.now())
            await self._registry.save(done)
        return done

    async def delete(self, region: str, arn: str) -> Connection:
        async with self._registry.lock:
            found = self._desk.existing(Connection, region, arn)
            users = self._desk.users(region, lambda c: c.connection == found.arn)
            if users:
                raise InvalidRequestException(
                    "You can't delete the connection. It's used by one or more services, such as "
                    f"{users[0].arn}"
                )
            (deleted,) = await self._desk.delete(found)
        return deleted

    def usable(self, region: str, arn: str) -> Connection:
        """One that a service may be created with."""
        found = self._desk.existing(Connection, region, arn)
        status = self.status(found)
        if status is not ConnectionStatus.AVAILABLE:
            raise InvalidRequestException(
                f"The connection must be AVAILABLE, it is {status}: complete its handshake (here: "
                f"apprunner connection authorize {found.name}). ARN: '{arn}'"
            )
        return found
