"""Which runtimes can be had on this machine, and in which version: known by the buildpacks and the
engine, written nowhere else.
"""

import subprocess

from emulator.decisions.configuration_schema import RELEASES, agree
from emulator.drivers import buildpacks
from emulator.model.build import BaseImage

PACKS = buildpacks.load(buildpacks.folder())
RUNTIMES = {runtime.name: runtime for pack in PACKS for runtime in pack.runtimes}
PACK_OF = {runtime.name: pack.name for pack in PACKS for runtime in pack.runtimes}


def is_here(image: str) -> bool:
    inspect = ["docker", "image", "inspect", image]
    return subprocess.run(inspect, capture_output=True, check=False).returncode == 0


def out_of_reach(base: BaseImage) -> bool:
    """Neither here nor to be made: where no registry answers, somebody has to bring it."""
    return not base.can_be_made and not is_here(base.image)


def version_of(base: BaseImage) -> str:
    """Of the language, in the base that builds start from here."""
    return base.image_version if is_here(base.image) else base.packages_version


def stands_in(runtime: str) -> bool:
    """Another version of the language than App Runner had for this runtime."""
    version = version_of(RUNTIMES[runtime].base)
    return not any(agree(version, release) for release in RELEASES[runtime])
