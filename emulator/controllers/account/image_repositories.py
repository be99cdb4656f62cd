"""ECR's repositories over the emulator's own registry.

The registry knows of those that something was pushed to; this, of those that were created too. A
push makes one as well, as ECR does where "create on push" is set up.
"""

from dataclasses import replace

from emulator.controllers.account.desk import Desk, Tags
from emulator.model.errors import (
    ImageNotFoundException,
    RepositoryAlreadyExistsException,
    RepositoryNotEmptyException,
    RepositoryNotFoundException,
)
from emulator.model.pushed_image import PushedImage
from emulator.model.resources import ImageRepository
from emulator.ports import ImageRegistry


class ImageRepositories:
    """Every request about them and their images."""

    def __init__(self, desk: Desk, images: ImageRegistry) -> None:
        self._desk = desk
        self._registry = desk.registry
        self._images = images

    def uri(self, repository: ImageRepository) -> str:
        """What `docker push` takes."""
        return f"{self._images.address}/{repository.name}"

    @property
    def address(self) -> str:
        return self._images.address

    async def all(self, region: str) -> tuple[ImageRepository, ...]:
        """By name. What was pushed to without being created belongs to the Region that asks."""
        pushed = await self._images.repositories()
        async with self._registry.lock:
            known = {each.name for each in self._registry.image_repositories()}
            new = [self._new(region, name) for name in pushed if name not in known]
            if new:
                await self._registry.save(*new)
        return tuple(each for each in self._registry.image_repositories() if each.region == region)

    def _new(self, region: str, name: str) -> ImageRepository:
        return ImageRepository(
            region=region,
            account=self._registry.account,
            name=name,
            created_at=self._desk.clock.now(),
        )

    async def find(self, region: str, name: str) -> ImageRepository:
        for each in await self.all(region):
            if each.name == name:
                return each
        raise RepositoryNotFoundException(
            f"The repository with name '{name}' does not exist in {self._where}"
        )

    @property
    def _where(self) -> str:
        return f"the registry with id '{self._registry.account}'"

    async def create(self, wanted: ImageRepository) -> ImageRepository:
        """`wanted` is of this account."""
        await self.all(wanted.region)
        async with self._registry.lock:
            if any(each.name == wanted.name for each in self._registry.image_repositories()):
                raise RepositoryAlreadyExistsException(
                    f"The repository with name '{wanted.name}' already exists in {self._where}"
                )
            made = replace(
                wanted, account=self._registry.account, created_at=self._desk.clock.now()
            )
            await self._registry.save(made)
        return made

    async def change(self, repository: ImageRepository) -> None:
        await self._registry.save(repository)

    async def tag(self, repository: ImageRepository, tags: Tags) -> None:
        """Replace its tags by these."""
        await self.change(replace(repository, tags=tags))

    async def delete(self, region: str, name: str, *, force: bool) -> ImageRepository:
        found = await self.find(region, name)
        if not force and await self._images.images(name):
            raise RepositoryNotEmptyException(
                f"The repository with name '{name}' in {self._where} cannot be deleted because it "
                "still contains images"
            )
        await self._images.remove(name)
        async with self._registry.lock:
            await self._registry.drop([found])
        return found

    # -- their images --------------------------------------------------------------------------

    async def images(self, region: str, name: str) -> tuple[PushedImage, ...]:
        """Oldest first."""
        await self.find(region, name)
        return await self._images.images(name)

    def chosen(
        self, images: tuple[PushedImage, ...], name: str, tag: str | None, digest: str | None
    ) -> PushedImage:
        """The one of that tag, digest, or both."""
        for image in images:
            if digest in {None, image.digest} and (tag is None or tag in image.tags):
                return image
        shown = f"{{imageDigest:'{digest or 'null'}', imageTag:'{tag or 'null'}'}}"
        raise ImageNotFoundException(
            f"The image with imageId {shown} does not exist within the repository with name "
            f"'{name}' in {self._where}"
        )

    async def remove_image(self, name: str, image: PushedImage, tag: str | None) -> None:
        """Only its tag, unless that is the last one or none is named."""
        if tag is None or image.tags == (tag,):
            await self._images.delete(name, image.digest)
        else:
            await self._images.untag(name, tag)
