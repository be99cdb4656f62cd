"""When an instance counts as healthy, when as dead, and how long a crash loop is held back.

App Runner's thresholds count consecutive results. While an instance starts, failures do not
count: it has the whole start limit (App Runner: five minutes) to become healthy.
"""

from dataclasses import dataclass

from emulator.model.configuration import HealthCheck
from emulator.model.instance import Health

FIRST_PAUSE = 0.005  # seconds between the first probes of a starting instance
GROWTH = 1.1  # a pause is a tenth of the time since the start: so late is it noticed at most
LONGEST_PAUSE = 0.25
LONGEST_BACK_OFF = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """Consecutive results, and the verdict they led to."""

    health: Health = Health.UNKNOWN
    good: int = 0
    bad: int = 0
    detail: str = ""

    def after(self, *, healthy: bool, detail: str, check: HealthCheck) -> "Streak":
        """The streak with one more result."""
        if healthy:
            good = self.good + 1
            risen = good >= check.healthy_threshold or self.health is Health.HEALTHY
            return Streak(health=Health.HEALTHY if risen else self.health, good=good)
        bad = self.bad + 1
        fallen = self.health is Health.HEALTHY and bad >= check.unhealthy_threshold
        health = Health.UNHEALTHY if fallen else self.health
        return Streak(health=health, bad=bad, detail=detail)


def pause(streak: Streak, check: HealthCheck, probes: int) -> float:
    """Seconds until the next probe: eager while starting, the check's interval afterwards."""
    if streak.health is not Health.UNKNOWN:
        return float(check.interval)
    return min(LONGEST_PAUSE, FIRST_PAUSE * GROWTH ** min(probes, 100))


def back_off(crashes: int) -> float:
    """Seconds to wait before the next start after so many crashes in a row: 0, 1, 2, 4 … 60."""
    if crashes <= 1:
        return 0.0
    return min(LONGEST_BACK_OFF, 2.0 ** (min(crashes, 10) - 2))
