"""Images without a name are everybody's cache: no test on the engine may take others' away."""

import pytest

from emulator.drivers.docker.labels import ROLE, Role
from emulator.drivers.docker.leftovers import CACHE, Leftovers
from emulator.drivers.docker.prune import prune_images
from emulator.model.identifiers import Epoch
from emulator.model.settings import Limits

NOW = Epoch(1_000_000.0)


class Clock:
    def now(self):
        return NOW

    async def sleep(self, seconds):
        raise NotImplementedError


class Engine:
    """Of an engine's answers those that a sweep asks for; the images are nobody's own."""

    def __init__(self, images, containers=()):
        self.images = images
        self.containers = containers

    async def get(self, path, params):
        labels = params["filters"]["label"]
        if labels not in ([f"{ROLE}={Role.BUILD.value}"], [ROLE]):  # this owner has nothing
            return {"Volumes": None} if path == "/volumes" else []
        return {"/containers/json": list(self.containers), "/images/json": self.found()}[path]

    def found(self):
        return [{"Id": name, "Created": made, "Size": 1} for name, made in self.images.items()]

    async def delete(self, path):
        del self.images[path.removeprefix("/images/")]


@pytest.mark.parametrize(
    ("containers", "left"), [((), {"new"}), (({"Id": "step"},), {"new", "old"})]
)
async def test_steps_of_builds_are_kept_for_a_day_and_while_a_build_may_need_them(containers, left):
    engine = Engine({"new": NOW - CACHE + 60, "old": NOW - CACHE - 60}, containers)
    removed = await Leftovers(engine, "owner", Clock(), Limits()).sweep(["service"], [])
    assert engine.images.keys() == left
    assert removed == (() if "old" in left else ("build step old",))


@pytest.mark.parametrize(("containers", "left"), [((), set()), (({"Id": "step"},), {"new"})])
async def test_who_prunes_takes_all_of_them_but_nothing_from_a_build_under_way(containers, left):
    engine = Engine({"new": NOW}, containers)
    assert len(await prune_images(engine, dry_run=False)) == 1 - len(left)
    assert engine.images.keys() == left
