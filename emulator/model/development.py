"""Working-tree mode: what a service serves while somebody works on it (`apprunner dev`)."""

from dataclasses import dataclass

from emulator.model.identifiers import Epoch
from emulator.model.revision import Revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Development:
    """Held by one session, and never stored: whatever ends the session or the emulator, the service
    is on its committed revision again.

    `serving` is the last good state of the working tree (None: what is committed serves still),
    `candidate` one that is being tried, `failure` why the newest one does not serve. `ending`: it
    serves on only until what is committed does.
    """

    holder: object
    since: Epoch
    serving: Revision | None = None
    candidate: Revision | None = None
    failure: str = ""
    ending: bool = False
