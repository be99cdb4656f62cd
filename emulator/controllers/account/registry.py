"""App Runner's resources beside services: stored, and mirrored in memory.

Written first, mirrored after. Whoever decides about resources and then writes holds `lock`
meanwhile, so that what was decided upon is still true when it is written; reading needs no lock.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from emulator.model.arn import Arn, parse
from emulator.model.configuration import AutoScaling
from emulator.model.errors import InvalidRequestException, ResourceNotFoundException
from emulator.model.identifiers import Epoch, ServiceId
from emulator.model.resources import (
    DEFAULT_ID,
    DEFAULT_NAME,
    AutoScalingConfiguration,
    CustomDomain,
    ImageRepository,
    Named,
    ObservabilityConfiguration,
    Resource,
)
from emulator.model.service import DESCRIBABLE
from emulator.ports import PolicyClock, Store

BEGINNING = Epoch(1621310400.0)  # App Runner's first day: the built-in configuration is as old
# The kinds whose ARN may leave out the end (service model); the others want theirs whole.
_PARTIAL = frozenset({AutoScalingConfiguration, ObservabilityConfiguration})
_Kind = TypeVar("_Kind", bound=Named)


class Registry:
    """All Regions' resources; a Region has nothing of another one's."""

    def __init__(self, store: Store, clock: PolicyClock, account: str) -> None:
        self.lock = asyncio.Lock()
        self.account = account
        self._store = store
        self._clock = clock
        self._resources: dict[str, Resource] = {}

    async def load(self) -> None:
        """What the last emulator left."""
        self._resources = {r.key: r for r in await self._store.resources()}

    async def save(self, *resources: Resource) -> None:
        """All or nothing."""
        await self._store.save(*resources)
        for resource in resources:
            self._resources[resource.key] = resource

    async def forget(self) -> None:
        """What was deleted so long ago that nobody may ask for it any more. What is built in
        stays deleted only as long as that is written down.
        """
        oldest = self._clock.now() - DESCRIBABLE
        gone = [r for r in self._resources.values() if (r.deleted_at or oldest) < oldest]
        over = [r.key for r in gone if not getattr(r, "built_in", False)]
        for key in over:
            await self._store.drop(key)
            self._resources.pop(key, None)

    # -- named resources -----------------------------------------------------------------------

    def all(self, kind: type[_Kind], region: str) -> tuple[_Kind, ...]:
        """Also deleted ones that can still be described; newest first."""
        stored: list[Named] = [r for r in self._resources.values() if isinstance(r, Named)]
        built_in = self._built_in(region)
        if built_in.key not in self._resources:
            stored.insert(0, built_in)
        oldest = self._clock.now() - DESCRIBABLE
        mine = [
            r
            for r in stored
            if isinstance(r, kind)
            and r.region == region
            and (r.deleted_at is None or r.deleted_at >= oldest)
        ]
        return tuple(sorted(mine, key=lambda r: r.created_at)[::-1])

    def live(self, kind: type[_Kind], region: str) -> tuple[_Kind, ...]:
        """Newest first."""
        return tuple(r for r in self.all(kind, region) if r.live)

    def find(self, kind: type[_Kind], region: str, text: str) -> _Kind:
        """By full ARN, or by a partial one: the live one of that name (and revision) with the
        highest revision; without a live one the one deleted last.
        """
        arn = self._checked(kind, text)
        found = [r for r in self.all(kind, region) if _meant(r, arn, self.account)]
        if not found:
            raise ResourceNotFoundException(f"There is no {words(kind)} {text} in {region}.")
        return max(found, key=lambda r: (r.live, getattr(r, "revision", 0), r.created_at))

    def _checked(self, kind: type[Named], text: str) -> Arn:
        arn = parse(text)
        if arn is None or arn.kind is not kind.kind or (arn.id is None and kind not in _PARTIAL):
            raise InvalidRequestException(
                f"The {words(kind)} ARN you specified isn't valid. ARN: '{text}'"
            )
        return arn

    # -- the default auto scaling configuration ------------------------------------------------

    def _built_in(self, region: str) -> AutoScalingConfiguration:
        """Exists in every account and Region; stored only once something about it has changed."""
        return AutoScalingConfiguration(
            region=region,
            account=self.account,
            name=DEFAULT_NAME,
            id=DEFAULT_ID,
            revision=1,
            scaling=AutoScaling(),
            is_default=True,
            created_at=BEGINNING,
        )

    def default_auto_scaling(self, region: str) -> AutoScalingConfiguration:
        """What a service gets that names none."""
        return next(c for c in self.live(AutoScalingConfiguration, region) if c.is_default)

    async def set_default(self, chosen: AutoScalingConfiguration) -> AutoScalingConfiguration:
        """Exactly one of a Region is."""
        old = self.default_auto_scaling(chosen.region)
        if old.key == chosen.key:
            return old
        new = replace(chosen, is_default=True)
        await self.save(replace(old, is_default=False), new)
        return new

    # -- custom domains ------------------------------------------------------------------------

    def domains(self, service: ServiceId | None = None) -> tuple[CustomDomain, ...]:
        """Of one service or of all, oldest first; also those that are being taken away."""
        found = (r for r in self._resources.values() if isinstance(r, CustomDomain))
        return tuple(d for d in found if service in {None, d.service})

    async def drop(self, resources: Iterable[CustomDomain | ImageRepository]) -> None:
        for resource in tuple(resources):
            await self._store.drop(resource.key)
            self._resources.pop(resource.key, None)

    # -- image repositories --------------------------------------------------------------------

    def image_repositories(self) -> tuple[ImageRepository, ...]:
        """Of all Regions, by name."""
        found = (r for r in self._resources.values() if isinstance(r, ImageRepository))
        return tuple(sorted(found, key=lambda repository: repository.name))

    def __repr__(self) -> str:
        return f"<Registry {len(self._resources)} resources>"


def _meant(resource: Named, arn: Arn, account: str) -> bool:
    if (arn.partition, arn.region, arn.account) != ("aws", resource.region, account):
        return False
    if arn.name != resource.name:
        return False
    if arn.revision is not None and arn.revision != getattr(resource, "revision", None):
        return False
    return arn.id in {None, resource.id}


def words(kind: type[Named]) -> str:
    """`auto scaling configuration`, `VPC connector`: the kind's name in a sentence."""
    text = "".join(f" {c.lower()}" if c.isupper() else c for c in kind.__name__).strip()
    return text.replace("vpc", "VPC")
