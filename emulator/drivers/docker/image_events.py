"""Local images that get a name, as the engine tells it: what automatic deployment waits for.

An engine keeps some of it to itself: BuildKit's builds before Docker 24 (28.1 with containerd's
image store) tell of no tag. Whoever waits for one must look for himself now and then.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from emulator.drivers.docker.base_images import REPOSITORY
from emulator.drivers.docker.engine import Engine, Json, NotFoundError
from emulator.drivers.docker.events import follow
from emulator.model.identifiers import Epoch
from emulator.ports import Clock

KINDS: Final = ("tag", "pull", "load")
_OURS: Final = f"{REPOSITORY}/"


@dataclass(frozen=True, slots=True)
class ImageEvents:
    """One stream for all images of an engine; those that we make are no news."""

    engine: Engine
    clock: Clock

    def follow(self) -> AsyncGenerator[str | None, None]:
        """References; never ends by itself. None after a loss of the connection."""
        return follow(self.engine, self.clock, self._events)

    async def _events(self, since: Epoch) -> AsyncGenerator[str, None]:
        filters = {"type": ["image"], "event": list(KINDS)}
        params = {"filters": filters, "since": f"{since:.6f}"}
        stream = self.engine.stream("GET", "/events", params)
        async with aclosing(stream):
            async for event in stream:
                for name in await self._names(event):
                    if name and not name.startswith(_OURS):
                        yield name

    async def _names(self, event: Json) -> Sequence[str]:
        """A pull has its reference as the id; a load may tell no more than the image's id."""
        actor = event.get("Actor", {})
        name = str(actor.get("Attributes", {}).get("name", ""))
        if event.get("Action") == "pull":
            return (str(actor.get("ID", "")),)
        if not name.startswith("sha256:"):
            return (name,)
        try:
            image = await self.engine.get(f"/images/{name}/json")
        except NotFoundError:
            return ()  # gone again
        return tuple(image.get("RepoTags") or ())
