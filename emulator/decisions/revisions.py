"""Numbers of revisions, and how many there may be."""

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar


class Revised(Protocol):
    """A resource that is made in revisions of one name."""

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> int: ...


_Revised = TypeVar("_Revised", bound=Revised)


def next_revision(live: Collection[Revised], name: str) -> int:
    """One more than the highest that is active: deleting the newest and making another gives the
    same number again (the Terraform provider's tests assert it).
    """
    return max((r.revision for r in live if r.name == name), default=0) + 1


def latest_of(live: Sequence[_Revised]) -> tuple[_Revised, ...]:
    """One for each name, in the order given."""
    highest: dict[str, int] = {}
    for each in live:
        highest[each.name] = max(each.revision, highest.get(each.name, 0))
    return tuple(each for each in live if each.revision == highest[each.name])


def quota_exceeded(live: Collection[Revised], name: str, *, names: int, revisions: int) -> str:
    """Why there may not be another revision of `name`; empty if there may.

    What is built into every account does not count: the caller leaves it out.
    """
    known = {r.name for r in live}
    if name not in known and len(known) >= names:
        return f"{names} names in use"
    if len([r for r in live if r.name == name]) >= revisions:
        return f"{revisions} revisions of {name} in use"
    return ""
