"""What was pushed, in memory: images by repository, tags by repository and name."""

from dataclasses import replace

from emulator.model.errors import EngineError
from emulator.model.identifiers import Epoch
from emulator.model.pushed_image import PushedImage
from tests.fakes.builder import FakeBuilder
from tests.helpers import turn

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def digest_of(image: str) -> str:
    """A digest that shows which image it is of (hexadecimal letters only)."""
    return f"sha256:{image.encode().hex():0<64}"


class FakeRegistry:
    """A pull by digest finds what was pushed, as long as it is there."""

    address = "localhost:5000"

    def __init__(self, builder: FakeBuilder) -> None:
        self.builder = builder
        self.pushed: dict[str, dict[str, PushedImage]] = {}
        self.problem = ""

    async def push(self, repository: str, tag: str, image: str, *, size: int = 1) -> str:
        """`image` is the engine's id of it; returns the digest."""
        digest = digest_of(image)
        await self.untag(repository, tag)
        images = self.pushed.setdefault(repository, {})
        old = images.get(digest)
        images[digest] = PushedImage(
            digest=digest,
            tags=tuple(sorted({tag, *(old.tags if old else ())})),
            pushed_at=Epoch(self.builder.clock.now()),
            media_type=DOCKER,
            size=size,
            manifest='{"schemaVersion": 2}',
        )
        self.builder.registry[f"{self.address}/{repository}@{digest}"] = image
        return digest

    async def digest(self, repository: str, reference: str) -> str | None:
        await turn()
        if self.problem:
            raise EngineError(self.problem)
        images = self.pushed.get(repository, {}).values()
        return next((i.digest for i in images if reference in {i.digest, *i.tags}), None)

    async def repositories(self) -> tuple[str, ...]:
        return tuple(sorted(self.pushed))

    async def images(self, repository: str) -> tuple[PushedImage, ...]:
        found = self.pushed.get(repository, {}).values()
        return tuple(sorted(found, key=lambda image: (image.pushed_at, image.digest)))

    async def untag(self, repository: str, tag: str) -> None:
        images = self.pushed.get(repository, {})
        for digest, image in images.items():
            images[digest] = replace(image, tags=tuple(t for t in image.tags if t != tag))

    async def delete(self, repository: str, digest: str) -> None:
        self.pushed.get(repository, {}).pop(digest, None)

    async def remove(self, repository: str) -> None:
        self.pushed.pop(repository, None)
