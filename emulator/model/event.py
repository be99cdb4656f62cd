"""What the service did and why, in App Runner's words where they are known."""

from dataclasses import dataclass

from emulator.model.identifiers import Epoch, ServiceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a service's event log; `id` grows with time, 0 before it is stored."""

    service: ServiceId
    at: Epoch
    text: str
    id: int = 0
