"""What was pushed, read from the files of distribution's registry.

Its own API does not tell when an image was pushed, nor of one without a tag, and cannot remove a
repository; and a look at a file costs an idle emulator less than a request. The layout is that of
registry/storage/paths.go, the same since version 2.0; the registry is run without a cache.
"""

import asyncio
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from emulator.model.errors import EngineError
from emulator.model.identifiers import Epoch
from emulator.model.pushed_image import PushedImage

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PARTS = ("_manifests", "_layers", "_uploads")
_UNTYPED = "application/vnd.oci.image.manifest.v1+json"


class RegistryStorage:
    """ports.ImageRegistry but for its address; `root` need not exist."""

    def __init__(self, root: Path) -> None:
        self._root = root / "docker" / "registry" / "v2"

    async def digest(self, repository: str, reference: str) -> str | None:
        return await asyncio.to_thread(self._digest, repository, reference)

    async def repositories(self) -> tuple[str, ...]:
        return await asyncio.to_thread(self._repositories)

    async def images(self, repository: str) -> tuple[PushedImage, ...]:
        return await asyncio.to_thread(self._images, repository)

    async def untag(self, repository: str, tag: str) -> None:
        await asyncio.to_thread(_remove, self._manifests(repository) / "tags" / tag)

    async def delete(self, repository: str, digest: str) -> None:
        await asyncio.to_thread(self._delete, repository, digest)

    async def remove(self, repository: str) -> None:
        await asyncio.to_thread(self._remove_repository, repository)

    # -- in a thread ---------------------------------------------------------------------------

    def _manifests(self, repository: str) -> Path:
        return self._root / "repositories" / repository / "_manifests"

    def _revisions(self, repository: str) -> Path:
        return self._manifests(repository) / "revisions" / "sha256"

    def _digest(self, repository: str, reference: str) -> str | None:
        if _DIGEST.fullmatch(reference):
            revision = self._revisions(repository) / reference.removeprefix("sha256:")
            return reference if (revision / "link").is_file() else None
        return _link(self._manifests(repository) / "tags" / reference / "current" / "link")

    def _repositories(self) -> tuple[str, ...]:
        top = self._root / "repositories"
        return tuple(sorted(str(path.relative_to(top)) for path in _below(top)))

    def _images(self, repository: str) -> tuple[PushedImage, ...]:
        tags: dict[str, list[str]] = {}
        for name in _names(self._manifests(repository) / "tags"):
            if digest := self._digest(repository, name):
                tags.setdefault(digest, []).append(name)
        found = (
            self._image(f"sha256:{name}", link, tags)
            for name in _names(self._revisions(repository))
            if (link := self._revisions(repository) / name / "link").is_file()
        )
        images = [image for image in found if image is not None]
        return tuple(sorted(images, key=lambda image: (image.pushed_at, image.digest)))

    def _image(
        self, digest: str, link: Path, tags: Mapping[str, Sequence[str]]
    ) -> PushedImage | None:
        """None where it is just being deleted."""
        name = digest.removeprefix("sha256:")
        try:
            text = (self._root / "blobs" / "sha256" / name[:2] / name / "data").read_text()
            pushed_at = Epoch(link.stat().st_mtime)
        except FileNotFoundError:
            return None
        manifest = json.loads(text)
        return PushedImage(
            digest=digest,
            tags=tuple(sorted(tags.get(digest, ()))),
            pushed_at=pushed_at,
            media_type=manifest.get("mediaType", _UNTYPED),
            size=sum(_sizes(manifest)),
            manifest=text,
        )

    def _delete(self, repository: str, digest: str) -> None:
        """Its tags first: a tag of an image that is gone would be in a push's way."""
        for name in _names(self._manifests(repository) / "tags"):
            if self._digest(repository, name) == digest:
                _remove(self._manifests(repository) / "tags" / name)
        _remove(self._revisions(repository) / digest.removeprefix("sha256:"))

    def _remove_repository(self, repository: str) -> None:
        for part in _PARTS:
            _remove(self._root / "repositories" / repository / part)


def _link(path: Path) -> str | None:
    """The digest in it; None where there is none, or it is just being written."""
    try:
        text = path.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise EngineError(f"the registry's {path} cannot be read: {error.strerror}") from error
    return text if _DIGEST.fullmatch(text) else None


def _names(directory: Path) -> tuple[str, ...]:
    with suppress(FileNotFoundError):
        return tuple(path.name for path in directory.iterdir())
    return ()


def _below(directory: Path) -> Iterator[Path]:
    """The repositories: a name may be the beginning of another's."""
    names = _names(directory)
    if "_manifests" in names:
        yield directory
    for name in names:
        if not name.startswith("_"):
            yield from _below(directory / name)


def _sizes(manifest: Mapping[str, Any]) -> Iterator[int]:
    """Of the blobs that it names; of an index, of its manifests."""
    for each in (*manifest.get("layers", ()), *manifest.get("manifests", ())):
        yield int(each.get("size", 0))


def _remove(directory: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(directory)
