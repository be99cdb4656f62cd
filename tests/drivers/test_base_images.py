"""Which image stands in for which, and how one is made from Debian's packages."""

import asyncio
import uuid
from contextlib import suppress
from dataclasses import replace

import pytest

from emulator.decisions.image_names import split_reference
from emulator.drivers.docker.base_images import (
    BaseImages,
    host_suite,
    is_debian,
    made_tag,
    match_base,
    recipe,
)
from emulator.drivers.docker.connect import Connection
from emulator.drivers.docker.engine import Engine, NotFoundError
from emulator.drivers.docker.pull import FIRST_ANSWER, SILENCE, Images, registry_of
from emulator.model.build import Base, BaseImage, Tools
from emulator.model.errors import BuildError, EngineError
from emulator.model.identifiers import Epoch
from tests.fakes.clock import LoopClock

PYTHON = BaseImage(
    image="python:3.11-slim",
    packages=("python3", "python3-venv", "python3-pip"),
    setup=(
        "ln -sf /usr/bin/python3 /usr/local/bin/python",
        "rm -f /usr/lib/python3*/EXTERNALLY-MANAGED",
    ),
)
NODE18 = BaseImage(image="public.ecr.aws/docker/library/node:18")
NODE22 = BaseImage(image="node:22-bookworm")
BASES = (PYTHON, NODE18, NODE22)


@pytest.mark.parametrize(
    ("image", "base"),
    [
        ("python:3.11-slim", PYTHON),
        ("python:3.11", PYTHON),
        ("python:3.11.9-alpine", PYTHON),
        ("python:3", PYTHON),
        ("python", PYTHON),
        ("python:slim", PYTHON),
        ("docker.io/library/python:3.11", PYTHON),
        ("public.ecr.aws/docker/library/python:3.11", PYTHON),
        ("python:3.11@sha256:abc", PYTHON),
        ("python:3.1", None),
        ("python:3.12", None),
        ("python@sha256:abc", None),
        ("me/python:3.11", None),
        ("registry.example/python:3.11", None),
        ("node:22-alpine", NODE22),
        ("node:18.20", NODE18),
        ("node:lts", NODE22),
        ("node:20", None),
        ("postgres:16", None),
    ],
)
def test_a_base_stands_in_for_images_of_its_kind_and_version(image, base):
    assert match_base(image, BASES) is base


@pytest.mark.parametrize(
    ("image", "stands_in"),
    [
        ("debian", True),
        ("debian:bookworm-slim", True),
        ("debian:12.5", True),
        ("debian:stable-slim", True),
        ("docker.io/library/debian:bookworm-20240101", True),
        ("debian:bullseye", False),
        ("debian:11", False),
        ("me/debian:12", False),
        ("ubuntu:22.04", False),
    ],
)
def test_our_debian_stands_in_for_its_own_release(image, stands_in):
    assert is_debian(image, "bookworm") is stands_in


@pytest.mark.parametrize(
    ("text", "suite"),
    [
        ('ID=debian\nVERSION_CODENAME="trixie"\n', "trixie"),
        ("ID=ubuntu\nVERSION_CODENAME=noble\n", "bookworm"),
        ("ID=debian\n", "bookworm"),
        (None, "bookworm"),
    ],
)
def test_the_suite_is_the_host_s_if_it_is_a_debian(tmp_path, text, suite):
    release = tmp_path / "os-release"
    if text is not None:
        release.write_text(text)
    assert host_suite(release) == suite


def test_a_made_image_is_named_after_all_it_is_made_of():
    tag = made_tag(PYTHON, "sha256:1")
    assert tag.startswith("apprunner-emulator/python:3.11-slim-")
    assert made_tag(PYTHON, "sha256:2") != tag
    assert made_tag(BaseImage(image=PYTHON.image), "sha256:1") != tag
    assert made_tag(NODE18, "x").startswith("apprunner-emulator/node:18-")


def test_a_recipe_installs_then_sets_up():
    lines = recipe(PYTHON, "debian:1").splitlines()
    assert lines[0] == "FROM debian:1"
    assert "--no-install-recommends python3 python3-venv python3-pip >" in lines[1]
    assert lines[1].endswith(" && ".join(("", *PYTHON.setup)))  # what it removes is in no layer
    assert recipe(NODE18, "debian:1") == "FROM debian:1\n"


def test_the_common_tools_come_first_so_that_all_bases_share_their_layer():
    tools = Tools(packages=("gcc", "make"), setup=("touch /tools",))
    first, *others = (
        recipe(replace(base, tools=tools), "debian:1").splitlines() for base in (PYTHON, NODE18)
    )
    assert "gcc make >" in first[1]
    assert first[2] == "RUN touch /tools"
    assert "python3-venv" in first[3]
    assert others == [first[:3]]
    assert made_tag(replace(PYTHON, tools=tools), "x") != made_tag(PYTHON, "x")


@pytest.mark.parametrize(
    ("reference", "parts", "registry"),
    [
        ("python", ("python", "latest"), "docker.io"),
        ("me/python:3", ("me/python", "3"), "docker.io"),
        ("localhost:5000/a/b", ("localhost:5000/a/b", "latest"), "localhost:5000"),
        ("ghcr.io/a/b:1", ("ghcr.io/a/b", "1"), "ghcr.io"),
        ("a@sha256:1", ("a", "sha256:1"), "docker.io"),
        ("a:1@sha256:1", ("a", "sha256:1"), "docker.io"),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(reference, parts, registry):
    assert split_reference(reference) == parts
    assert registry_of(reference) == registry


class FakeEngine(Engine):
    """No images; a registry that gives one answer, or none for ever."""

    def __init__(self, answer=None):
        super().__init__(Connection(address="unix:///nowhere", local=True))
        self.answer = answer
        self.asked = []

    async def get(self, path, *_, **__):
        raise NotFoundError(path)

    async def stream(self, _method, _path, params=None, *, data=None, **_):
        self.asked.append(params)
        if data is not None:
            async for _ in data:
                pass
        if self.answer is None:
            await asyncio.Event().wait()
        yield self.answer


class SettableClock(LoopClock):
    """Moved by hand."""

    at = 1000.0

    def now(self):
        return Epoch(self.at)


NO_HOST = {"error": "Get https://registry/v2/: dial tcp: lookup registry: no such host"}


async def test_a_silent_registry_is_left_alone_for_a_while():
    engine, clock = FakeEngine(NO_HOST), SettableClock()
    images = Images(engine, clock)
    for _ in range(3):
        with pytest.raises(EngineError, match="python:3 cannot be pulled"):
            await images.pull("python:3", print)
    assert len(engine.asked) == 1
    with pytest.raises(EngineError, match="ghcr"):
        await images.pull("ghcr.io/a/b", print)
    assert len(engine.asked) == 2
    clock.at += SILENCE + 1
    with pytest.raises(EngineError, match="no such host"):
        await images.pull("python:3", print)
    assert len(engine.asked) == 3


async def test_a_registry_that_has_no_such_image_is_asked_again():
    engine = FakeEngine({"error": "manifest for python:99 not found: manifest unknown"})
    images = Images(engine, SettableClock())
    for _ in range(2):
        with pytest.raises(EngineError, match="manifest unknown"):
            await images.pull("python:99", print)
    assert len(engine.asked) == 2


@pytest.mark.looptime
async def test_a_registry_that_never_answers_is_not_waited_for():
    images = Images(FakeEngine(), SettableClock())
    began = asyncio.get_running_loop().time()
    with pytest.raises(EngineError, match="no answer within 15 s"):
        await images.pull("python:3", print)
    assert asyncio.get_running_loop().time() - began == pytest.approx(FIRST_ANSWER)
    with pytest.raises(EngineError, match="did not answer within the last 5 minutes"):
        await images.pull("python:3", print)


async def never(*_):
    raise AssertionError("nothing is to be made")


async def test_what_debian_has_no_packages_for_is_named_with_the_way_to_bring_it():
    engine = FakeEngine(NO_HOST)
    bases = BaseImages(engine, Images(engine, SettableClock()), never, {})
    with pytest.raises(EngineError, match="bring the image dotnet:6 here by `docker load`"):
        await bases.reference(BaseImage(image="dotnet:6"), print)
    assert await bases.match("dotnet:6", [BaseImage(image="dotnet:6")]) is None


async def test_without_mmdebstrap_it_says_how_to_get_it(tmp_path):
    engine = FakeEngine(NO_HOST)
    bases = BaseImages(engine, Images(engine, SettableClock()), never, {"PATH": str(tmp_path)})
    lines = []
    with pytest.raises(EngineError, match="`apprunner doctor --fix` installs it"):
        await bases.reference(PYTHON, lines.append)
    assert "made from Debian's packages instead" in lines[0]


async def test_an_error_of_mmdebstrap_is_told_in_its_last_words(tmp_path):
    program = tmp_path / "mmdebstrap"
    await asyncio.to_thread(program.write_text, "#!/bin/sh\necho 'E: no mirror' >&2\nexit 1\n")
    await asyncio.to_thread(program.chmod, 0o755)
    engine = FakeEngine({"status": "sha256:1"})
    images = Images(engine, SettableClock())
    bases = BaseImages(engine, images, never, {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    with pytest.raises(EngineError, match=r"could not make Debian .*: E: no mirror"):
        await bases.made(PYTHON, print)


@pytest.mark.docker
async def test_a_base_is_made_once_however_many_ask(bench):
    setup = (f": {uuid.uuid4().hex}",)
    base = BaseImage(image="python:3.11-slim", packages_version="3.11", setup=setup)
    builder = bench.builder()
    made = await asyncio.gather(*(builder.base(base, bench.on_line) for _ in range(3)))
    tag = made[0].reference
    try:
        assert made == [Base(tag, "3.11")] * 3
        assert len([line for line in bench.lines if line.startswith("Making")]) == 1
        assert await builder.base(base, bench.on_line) == made[0]
        labels = (await bench.inspect(tag))["Config"]["Labels"]
        assert labels == {"dev.apprunner-emulator.role": "base"}
    finally:
        await bench.engine.delete(f"/images/{tag}")


@pytest.mark.docker
async def test_a_public_image_that_is_here_is_taken_as_it_is(bench):
    tag = f"apprunner-emulator-test:{bench.owner}"
    await bench.build("FROM debian:bookworm\n")
    base = BaseImage(image=tag, image_version="1")
    assert await bench.builder().base(base, bench.on_line) == Base(tag, "1")


@pytest.mark.docker
async def test_a_public_image_is_completed_with_what_it_lacks(bench):
    tag = f"apprunner-emulator-test:{bench.owner}"
    await bench.build("FROM debian:bookworm\n")
    base = BaseImage(image=tag, image_version="1", completion=("RUN touch /more", "ENV A=b"))
    found = await bench.builder().base(base, bench.on_line)
    try:
        assert found.version == "1"
        assert "A=b" in (await bench.inspect(found.reference))["Config"]["Env"]
        assert await bench.builder().base(base, bench.on_line) == found
        assert len([line for line in bench.lines if line.startswith("Making")]) == 1
    finally:
        await bench.engine.delete(f"/images/{found.reference}")


@pytest.mark.docker
async def test_the_public_image_of_the_very_version_is_taken_where_it_is(bench):
    tag = f"apprunner-emulator-test:{bench.owner}"
    await bench.build("FROM debian:bookworm\n")
    base = BaseImage(image="debian:bookworm", exact=tag, exact_version="1.2")
    assert await bench.builder().base(base, bench.on_line) == Base(tag, "1.2")


@pytest.mark.docker
async def test_a_public_image_that_cannot_be_completed_is_taken_as_it_is(bench):
    tag = f"apprunner-emulator-test:{bench.owner}"
    await bench.build("FROM debian:bookworm\n")
    base = BaseImage(image=tag, image_version="1", completion=("RUN exit 9",))
    assert await bench.builder().base(base, bench.on_line) == Base(tag, "1")
    [told] = [line for line in bench.lines if "is used as it is" in line]
    assert "`exit 9` failed with exit code 9" in told


@pytest.mark.docker
async def test_a_setup_that_fails_names_the_base_and_the_command(bench):
    base = BaseImage(image="python:3.11-slim", setup=(f": {bench.owner}", "exit 9"))
    with pytest.raises(BuildError) as caught:
        await bench.builder().base(base, bench.on_line)
    assert "apprunner-emulator/python:3.11-slim-" in str(caught.value)
    assert f"`: {bench.owner} && exit 9` failed with exit code 9" in str(caught.value)


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_pip_works_in_a_build_on_a_base_made_from_debian(bench):
    builder = bench.builder({"requirements.txt": "flask\n"})
    base = BaseImage(
        image=PYTHON.image, packages=PYTHON.packages, setup=(*PYTHON.setup, f": {bench.owner}")
    )
    tag = (await builder.base(base, bench.on_line)).reference
    try:
        await bench.build(
            f"FROM {tag}\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\n"
            "RUN python -c 'import flask; print(flask.__name__)'\n",
            builder,
            paths=("requirements.txt",),
        )
    finally:
        await bench.clean()
        with suppress(NotFoundError):
            await bench.engine.delete(f"/images/{tag}")
    assert "flask" in bench.lines
