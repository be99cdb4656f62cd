"""How policy time follows the machine's: a service's idle hour can pass in a second.

*Policy time* is what rules and bills are made of: idle windows, metering, App Runner's pace, and
the moments that users are shown. It is a function of the machine's time, piece by piece: it may
run faster and leap ahead, and it never goes back. What waits for a process, a network or a disk
is timed by the machine's clock instead.
"""

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Final

from emulator.model.identifiers import Epoch

KEPT: Final = 256  # stretches; what was longer ago is converted by the oldest of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """From the machine's moment `machine` on: it was `policy`, and `speed` seconds pass per second."""

    machine: Epoch
    policy: Epoch
    speed: float = 1.0

    def at(self, machine: float) -> Epoch:
        return Epoch(self.policy + (machine - self.machine) * self.speed)


REAL: Final = Stretch(machine=Epoch(0.0), policy=Epoch(0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Stretches, oldest first; without any, policy time is the machine's. `slept` is the policy
    time that the machine slept through: nothing is charged for it.
    """

    stretches: tuple[Stretch, ...] = (REAL,)
    slept: tuple[tuple[Epoch, Epoch], ...] = ()

    @property
    def last(self) -> Stretch:
        return self.stretches[-1]

    def at(self, machine: float) -> Epoch:
        """Policy time at a moment of the machine's, also of the past."""
        index = bisect_right(self.stretches, machine, key=lambda each: each.machine)
        stretch = self.stretches[max(0, index - 1)]
        later = self.stretches[index : index + 1]
        moment = stretch.at(machine)
        return min(moment, later[0].policy) if later else moment

    def machine(self, policy: float) -> Epoch:
        """The machine's time at a moment of policy time; a leap's inside is the leap's moment."""
        index = bisect_right(self.stretches, policy, key=lambda each: each.policy)
        stretch = self.stretches[max(0, index - 1)]
        later = self.stretches[index : index + 1]
        moment = Epoch(stretch.machine + (policy - stretch.policy) / stretch.speed)
        return min(moment, later[0].machine) if later else moment

    def turned(self, machine: float, policy: float, speed: float | None = None) -> "Timeline":
        """From `machine` on it is `policy`; at the same speed as before unless told otherwise."""
        stretch = Stretch(
            machine=Epoch(machine),
            policy=Epoch(policy),
            speed=self.last.speed if speed is None else speed,
        )
        # A clock that was set back makes later stretches of what now is earlier: they are over.
        older = [each for each in self.stretches if each.machine < machine]
        return replace(self, stretches=(*(older or [REAL])[-KEPT + 1 :], stretch))

    def awoken(self, fell_asleep: Epoch, woke: Epoch) -> "Timeline":
        """It was asleep from then to then."""
        return replace(self, slept=(*self.slept, (fell_asleep, woke)))

    def begun(self, machine: float, *, speed: float, not_before: float) -> "Timeline":
        """For an emulator that starts: at its speed, and not before what was written last."""
        moment = max(self.at(machine), not_before)
        if moment == self.at(machine) and speed == self.last.speed:
            return self
        return self.turned(machine, moment, speed)
