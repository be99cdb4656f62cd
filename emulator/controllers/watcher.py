"""The health checks of one instance, from its start to its end."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from emulator.decisions.cold_start import Birth
from emulator.decisions.health import FIRST_PAUSE, Streak, pause
from emulator.decisions.narration import (
    check_failed,
    listening_hint,
    still_waiting,
    unreachable,
)
from emulator.model.configuration import HealthCheck, HealthProtocol
from emulator.model.errors import EngineError
from emulator.model.identifiers import Epoch, InstanceId
from emulator.model.instance import Check, Endpoint, Health
from emulator.ports import Clock, Instances, PolicyClock, Probe, ProbeResult

KEPT_CHECKS = 20
NEWS_AFTER = 10.0  # seconds after which somebody who waits wants to know what for


@dataclass(slots=True, kw_only=True)
class Vitals:
    """What the worker remembers of an instance; lost on purpose when the emulator ends."""

    streak: Streak = field(default_factory=Streak)
    failure: str = ""
    draining: bool = False
    drain_deadline: Epoch | None = None  # the machine's
    reported: bool = False
    waited_for: bool = False
    connected_at: float | None = None  # by the loop's clock: since when somebody listens
    birth: Birth | None = None
    because: str = ""
    checks: deque[Check] = field(default_factory=lambda: deque(maxlen=KEPT_CHECKS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """An instance under watch; `resting` tells whether it is frozen just now."""

    id: InstanceId
    endpoint: Endpoint
    check: HealthCheck
    port: int
    vitals: Vitals
    resting: Callable[[], bool]
    gone: Callable[[], bool]


class HealthWatcher:
    """Probes instances and calls `verdict` whenever one's health changes.

    `tell` gets a line for the event log.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        policy: PolicyClock,
        probe: Probe,
        instances: Instances,
        start_limit: float,
        tell: Callable[[str], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._policy = policy
        self._probe = probe
        self._instances = instances
        self._start_limit = start_limit
        self._tell = tell

    async def watch(self, patient: Patient, verdict: Callable[[], None]) -> None:
        """Until the instance is gone, drained or dead; unhealthy is the last verdict."""
        began = self._clock.steady()
        probes = 0
        while not self._done(patient):
            if not patient.resting():
                await self._probe_once(patient, verdict)
                probes += 1
                if patient.vitals.streak.health is Health.UNKNOWN:
                    await self._judge_start(patient, self._clock.steady() - began)
                if patient.vitals.streak.health is Health.UNHEALTHY:
                    verdict()
                    return
            await self._clock.sleep(pause(patient.vitals.streak, patient.check, probes))

    def _done(self, patient: Patient) -> bool:
        return patient.gone() or patient.vitals.draining

    async def _probe_once(self, patient: Patient, verdict: Callable[[], None]) -> None:
        result = await self._probe.check(patient.endpoint, patient.check)
        vitals = patient.vitals
        if vitals.connected_at is None and result.connected and not patient.resting():
            vitals.connected_at = asyncio.get_running_loop().time()
        result = await self._settled(patient, result)
        if patient.resting():
            return  # frozen meanwhile: its silence means nothing
        check = Check(at=self._policy.now(), healthy=result.healthy, detail=result.detail)
        vitals.checks.append(check)
        before = vitals.streak.health
        streak = vitals.streak.after(
            healthy=result.healthy, detail=result.detail, check=patient.check
        )
        if streak.health is Health.UNHEALTHY:
            hint = listening_hint(await self._listening(patient), patient.port)
            vitals.failure = check_failed(patient.check, patient.port, f"({result.detail}) {hint}")
        vitals.streak = streak
        if streak.health is not before and streak.health is not Health.UNHEALTHY:
            verdict()

    async def _settled(self, patient: Patient, result: ProbeResult) -> ProbeResult:
        """So early, a connection tells of the kernel only: the application may be about to accept
        it, or to fail as gunicorn does whose workers cannot import it. App Runner looks seconds
        later; so long, at most, is waited for somebody to accept.
        """
        tcp = patient.check.protocol is HealthProtocol.TCP
        if not (result.healthy and tcp and patient.vitals.streak.health is Health.UNKNOWN):
            return result
        end = self._clock.steady() + patient.check.interval
        while not self._done(patient) and self._clock.steady() < end:
            if await self._takes(patient):
                return result
            await self._clock.sleep(FIRST_PAUSE)
        return await self._probe.check(patient.endpoint, patient.check)

    async def _judge_start(self, patient: Patient, seconds: float) -> None:
        """Give up on an instance that will never become healthy, and say why.

        It has the whole start limit, unless it already listens where no check can reach it, or
        answers that there is nothing at the path.
        """
        check, vitals = patient.check, patient.vitals
        if seconds >= NEWS_AFTER and not vitals.waited_for:
            vitals.waited_for = True
            detail = vitals.streak.detail
            await self._tell(still_waiting(patient.id, seconds, detail, self._start_limit))
        patience = check.interval * check.unhealthy_threshold
        if seconds < min(patience, self._start_limit):
            return
        listening = await self._listening(patient)
        hopeless = unreachable(listening, patient.port) or vitals.streak.detail.startswith("HTTP 4")
        if seconds < self._start_limit and not hopeless:
            return
        hint = listening_hint(listening, patient.port, vitals.streak.detail)
        vitals.failure = check_failed(check, patient.port, hint)
        vitals.streak = Streak(
            health=Health.UNHEALTHY, bad=vitals.streak.bad, detail=vitals.streak.detail
        )

    async def _takes(self, patient: Patient) -> bool:
        try:
            return await self._instances.takes(patient.id, patient.port)
        except EngineError:
            return True

    async def _listening(self, patient: Patient) -> tuple[Endpoint, ...]:
        try:
            return await self._instances.listening(patient.id)
        except EngineError:
            return ()
