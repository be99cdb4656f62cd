"""Which revisions a service can return to: what served, as long as its image is kept."""

from collections.abc import Collection, Sequence

from emulator.model.identifiers import RevisionId
from emulator.model.revision import Revision


def kept(
    revisions: Sequence[Revision], served: Collection[RevisionId], keep: int
) -> tuple[Revision, ...]:
    """Of the newest `keep` images that served, every revision that served; oldest first.

    Revisions of one image (of source-only commits, say) share its place.
    """
    able = [r for r in revisions if r.id in served]
    images = list(dict.fromkeys(r.image for r in reversed(able)))[:keep]
    return tuple(r for r in able if r.image in images)
