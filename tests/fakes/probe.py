"""Health checks against the machine in memory."""

from emulator.model.configuration import HealthCheck
from emulator.model.instance import ContainerState, Endpoint
from emulator.ports import Clock, ProbeResult
from tests.fakes.world import World
from tests.helpers import turn


class FakeProbe:
    def __init__(self, world: World, clock: Clock) -> None:
        self.world = world
        self.clock = clock

    async def check(self, endpoint: Endpoint, check: HealthCheck) -> ProbeResult:
        await turn()
        now = self.clock.now()
        self.world.advance(now)
        for container in self.world.containers.values():
            if container.seen.endpoint == endpoint:
                up = container.seen.state is ContainerState.RUNNING and now >= container.ready_at
                elsewhere = (
                    container.revision is not None
                    and self.world.behaviour(container.revision).listens_on is not None
                )
                if up and not elsewhere:
                    return ProbeResult(True)
        return ProbeResult(False, "connection refused", connected=False)
