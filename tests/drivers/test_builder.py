"""Builds on a real engine; the source tree is in memory."""

import asyncio
import hashlib
import shutil
import tarfile
from pathlib import Path

import pytest

from emulator.drivers.docker.build_environment import read_host
from emulator.drivers.docker.build_network import network_name
from emulator.drivers.docker.host import find_host
from emulator.model.build import BaseImage
from emulator.model.errors import BuildError, EngineError, RepositoryError
from emulator.model.settings import Limits
from tests.conftest import ENVIRONMENT
from tests.drivers.build_world import DEBIAN, PREFIX

pytestmark = pytest.mark.docker


async def test_builds_an_image_that_carries_its_tag_and_its_labels(bench):
    image = await bench.build(f"FROM {DEBIAN}\nCOPY . /app\n")
    found = await bench.inspect(image)
    assert found["RepoTags"] == [f"apprunner-emulator-test:{bench.owner}"]
    labels = found["Config"]["Labels"]
    assert labels[f"{PREFIX}owner"] == bench.owner
    assert labels[f"{PREFIX}service"] == "s" * 32
    assert labels[f"{PREFIX}deployment"] == "operation-1"
    assert labels[f"{PREFIX}role"] == "build"
    assert await bench.builder().find(f"apprunner-emulator-test:{bench.owner}") == image


async def test_an_image_that_is_not_here_is_not_found(bench):
    assert await bench.builder().find("apprunner-emulator-test:nowhere") is None


async def test_the_context_holds_the_tree_and_nothing_of_ours(bench):
    builder = bench.builder({"app.py": "1", "web/index.html": "2", "requirements.txt": "3"})
    await bench.build(
        f"FROM {DEBIAN}\nCOPY . /app\nRUN cd /app && echo $(find . -mindepth 1 | sort)\n",
        builder,
        files=(("extra.txt", b"4"), ("requirements.txt", b"5")),
    )
    assert "./app.py ./extra.txt ./requirements.txt ./web ./web/index.html" in bench.lines


async def test_files_that_the_build_adds_come_before_those_of_the_tree(bench):
    builder = bench.builder({"a": "of the tree", "b": "of the tree"})
    await bench.build(
        f"FROM {DEBIAN}\nCOPY a b /\nRUN cat /a\n",
        builder,
        files=(("a", b"of the build\n"),),
        paths=("a", "b"),
    )
    assert "of the build" in bench.lines


async def test_only_the_paths_asked_for_are_in_the_context(bench):
    builder = bench.builder({"app.py": "1", "requirements.txt": "2"})
    text = f"FROM {DEBIAN}\nCOPY . /app\nRUN ls -A /app\n"
    await bench.build(text, builder, paths=("requirements.txt",))
    assert "requirements.txt" in bench.lines
    assert "app.py" not in bench.lines


DOCKERFILE = f"FROM {DEBIAN}\nCOPY . /app\nRUN cd /app && echo $(find . -type f | sort)\n"


IGNORES = {".dockerignore": "docs\n!docs/keep\nDockerfile\n"}
ITS_OWN = {"Dockerfile.dockerignore": "web\nDockerfile*\n"}


@pytest.mark.parametrize(
    ("own", "ignores", "seen"),
    [
        (True, IGNORES, "./docs/keep ./web/x"),
        (False, IGNORES, "./Dockerfile ./docs/a ./docs/keep ./web/x"),
        (True, IGNORES | ITS_OWN, "./docs/a ./docs/keep"),
    ],
)
async def test_dockerignore_counts_for_a_dockerfile_of_the_repository_s_own(
    bench, own, ignores, seen
):
    files = {"Dockerfile": DOCKERFILE, **ignores}
    builder = bench.builder(files | {"docs/a": "1", "docs/keep": "2", "web/x": "3"})
    await bench.build(DOCKERFILE, builder, mark=0, own=own)
    assert seen in bench.lines


async def test_a_dockerfile_of_another_world_gets_its_arguments(bench):
    text = "ARG BASE\r\nfrom $BASE as one\r\narg WORD=none\r\nrun echo said \\\r\n  $WORD\r\n"
    await bench.build(text, mark=0, arguments={"BASE": DEBIAN, "WORD": "it's $x"})
    assert "said it's $x" in bench.lines


async def test_a_failing_command_is_named_with_its_exit_code(bench):
    with pytest.raises(BuildError) as caught:
        await bench.build(f"FROM {DEBIAN}\nRUN echo one && \\\n    exit 3\n")
    assert str(caught.value) == "`echo one && exit 3` failed with exit code 3. It said: one"
    assert (caught.value.command, caught.value.exit_code) == ("echo one && exit 3", 3)
    assert "one" in bench.lines
    assert bench.steps()
    assert not [step for step in bench.steps() if await bench.has_container(step)]


async def test_a_missing_file_is_said_in_the_engine_s_words(bench):
    with pytest.raises(BuildError, match=r"COPY failed: .*nothere"):
        await bench.build(f"FROM {DEBIAN}\nCOPY nothere /x\n")


async def test_a_mistake_in_the_dockerfile_is_told_with_its_author_s_line(bench):
    with pytest.raises(BuildError, match="Dockerfile:3: unknown instruction: RUNN"):
        await bench.build(f"FROM {DEBIAN}\n\nRUNN x\n", mark=0)


async def test_lines_come_while_the_command_runs_and_cancelling_leaves_nothing(bench):
    bench.await_line = "first"
    text = f"FROM {DEBIAN}\nRUN echo first && sleep 300 && echo last\n"
    async with asyncio.TaskGroup() as group:
        building = group.create_task(bench.build(text))
        await bench.seen.wait()
        [step] = [step for step in bench.steps() if await bench.has_container(step)]
        building.cancel()
    assert building.cancelled()
    assert not await bench.has_container(step)
    assert await bench.builder().find(f"apprunner-emulator-test:{bench.owner}") is None


async def test_cancelling_leaves_no_image_of_the_steps_that_were_done(bench):
    bench.await_line = "second"
    steps = f"RUN : {bench.owner} && touch /one\nRUN echo second && sleep 300\n"
    async with asyncio.TaskGroup() as group:
        building = group.create_task(bench.build(f"FROM {DEBIAN}\n{steps}"))
        await bench.seen.wait()
        assert await bench.images()
        building.cancel()
    assert await bench.images() == []
    assert not await bench.containers()


async def test_cancelling_leaves_what_others_have_made(bench):
    text = f"FROM {DEBIAN}\nRUN : {bench.owner} && touch /one\n"
    built = await bench.build(text)
    before = await bench.images()
    bench.await_line = "second"
    lie = f"RUN echo ' ---> {built.removeprefix('sha256:')}' && echo second && sleep 300\n"
    async with asyncio.TaskGroup() as group:
        building = group.create_task(bench.build(text + lie))
        await bench.seen.wait()
        building.cancel()
    assert await bench.images() == before
    assert (await bench.inspect(built))["RepoTags"]


@pytest.mark.parametrize("line", ["Step 1/", "Step 2/", "Step 3/", " ---> Running in"])
async def test_whenever_it_is_cancelled_nothing_is_left(bench, line):
    bench.await_line = line
    text = f"FROM {DEBIAN}\nRUN : {bench.owner} && sleep 300\n"
    async with asyncio.TaskGroup() as group:
        building = group.create_task(bench.build(text))
        await bench.seen.wait()
        building.cancel()
    assert building.cancelled()
    assert not await bench.containers()


async def test_a_build_that_takes_too_long_ends_and_names_the_limit(bench):
    builder = bench.builder(limits=Limits(build=3))
    with pytest.raises(BuildError, match=r"longer than 3 s \(the limit `build`\)"):
        await bench.build(f"FROM {DEBIAN}\nRUN sleep 300\n", builder)
    assert not [step for step in bench.steps() if await bench.has_container(step)]


async def test_a_log_that_is_too_long_is_cut_and_the_build_goes_on(bench):
    builder = bench.builder(limits=Limits(build_log=5_000))
    assert await bench.build(f"FROM {DEBIAN}\nRUN seq 100000\n", builder)
    assert sum(len(line) + 1 for line in bench.lines) < 5_100
    assert "cut here, at 5000 bytes" in bench.lines[-1]


async def test_an_error_of_the_repository_is_its_own(bench):
    builder = bench.builder()
    bench.repository.problem = RepositoryError("gone")
    with pytest.raises(RepositoryError, match="gone"):
        await bench.build(f"FROM {DEBIAN}\nCOPY . /app\n", builder)


async def test_the_host_reaches_the_build_but_not_the_image_s_environment(bench):
    variables = ENVIRONMENT | {"PIP_INDEX_URL": "http://localhost:3141/x", "NO_PROXY": "a.b"}
    text = f"FROM {DEBIAN}\nRUN env && sha256sum $SSL_CERT_FILE $PIP_CERT | cut -c1-64\n"
    image = await bench.build(text, bench.builder(variables=variables))
    network = await bench.engine.get(f"/networks/{network_name(bench.owner)}")
    gateway = network["IPAM"]["Config"][0]["Gateway"]
    assert f"PIP_INDEX_URL=http://{gateway}:3141/x" in bench.lines
    assert "no_proxy=a.b" in bench.lines
    files = dict((await asyncio.to_thread(read_host, variables)).files)
    assert bench.lines.count(hashlib.sha256(files["ca.crt"]).hexdigest()) == 2
    names = {entry.partition("=")[0] for entry in (await bench.inspect(image))["Config"]["Env"]}
    assert names <= {"PATH"}


async def test_our_lines_are_not_in_the_log(bench):
    await bench.build(f"FROM {DEBIAN}\nRUN true\n", mark=0)
    steps = [line for line in bench.lines if line.startswith("Step")]
    assert steps == [f"Step 1/2 : FROM {DEBIAN}", "Step 2/2 : RUN true"]


async def test_builds_run_in_a_network_that_fits_the_host_s_way_out(bench):
    interfaces = "/sys/class/net/[!l]*/mtu"
    await bench.build(f"FROM {DEBIAN}\nRUN echo mtu $(cat {interfaces})\n")
    network = await bench.engine.get(f"/networks/{network_name(bench.owner)}")
    assert network["Labels"][f"{PREFIX}owner"] == bench.owner
    mtu = (await find_host(bench.engine)).mtu or 1500
    assert f"mtu {mtu}" in bench.lines


async def test_two_builds_of_one_owner_may_run_at_once(bench):
    builder = bench.builder()
    texts = [f"FROM {DEBIAN}\nRUN echo {number}\n" for number in (1, 2)]
    images = await asyncio.gather(*(bench.build(text, builder) for text in texts))
    assert len(set(images)) == 2


async def test_an_image_that_cannot_be_had_is_replaced_by_our_own(bench):
    base = BaseImage(image="python:3.11-slim", setup=(f": {bench.owner} && touch /made",))
    builder = bench.builder(bases=[base])
    await bench.build("FROM python:3.11.4-slim-bookworm AS one\nRUN ls /made\n", builder)
    assert "/made" in bench.lines
    [told] = [line for line in bench.lines if "stands in for it" in line]
    assert told.startswith("FROM python:3.11.4-slim-bookworm is not to be had: ")
    made = told.partition(": ")[2].partition(",")[0]
    await bench.engine.delete(f"/images/apprunner-emulator-test:{bench.owner}")
    await bench.engine.delete(f"/images/{made}")


async def test_debian_itself_is_always_at_hand(bench):
    assert await bench.build("FROM debian:bookworm-slim\nRUN true\n")


async def test_an_image_that_nothing_can_replace_is_named(bench):
    with pytest.raises(BuildError, match=r"The image postgres:16 is not .* `docker load`"):
        await bench.build("FROM postgres:16\n", mark=0)


async def test_a_pull_that_fails_names_the_image(bench):
    with pytest.raises(EngineError, match=r"registry\.invalid/x:1 cannot be pulled"):
        await bench.builder().pull("registry.invalid/x:1", bench.on_line)


async def test_pulling_what_is_here_is_finding_it(bench):
    builder = bench.builder()
    assert await builder.pull(DEBIAN, bench.on_line) == await builder.find(DEBIAN)


MOUNT = f"FROM {DEBIAN}\nRUN --mount=type=cache,target=/x true\n"


async def test_what_needs_buildkit_is_named_where_there_is_none(bench, tmp_path):
    builder = bench.builder(variables={"PATH": str(tmp_path)})
    with pytest.raises(BuildError, match=r"needs BuildKit \(Dockerfile:2: RUN --mount="):
        await bench.build(MOUNT, builder, mark=0)


def pretend_buildx(tmp_path, script):
    """A `docker` that has buildx: it keeps the context it is given, then runs the script."""
    docker = tmp_path / "docker"
    docker.write_text(
        f'#!/bin/sh\n[ "$1" = buildx ] && exit 0\ncat > {tmp_path}/context.tar\n'
        f"env > {tmp_path}/environment\n{script}\n"
    )
    docker.chmod(0o755)
    return {"PATH": f"{tmp_path}:/usr/bin:/bin", "PIP_INDEX_URL": "http://index"}


async def test_buildkit_builds_what_needs_it(bench, tmp_path):
    real = await asyncio.to_thread(shutil.which, "docker")
    mark = 'for last; do [ "$tag" = next ] && tag=$last; [ "$last" = --tag ] && tag=next; done;'
    label = f"--label {PREFIX}owner={bench.owner}"
    body = f'echo FROM {DEBIAN} | DOCKER_BUILDKIT=0 {real} build -q {label} -t "$tag" - >&2'
    variables = await asyncio.to_thread(pretend_buildx, tmp_path, f"{mark} {body}")
    image = await bench.build(MOUNT, bench.builder(variables=variables), mark=0)
    assert (await bench.inspect(image))["RepoTags"]
    names = await asyncio.to_thread(members, tmp_path / "context.tar")
    assert names == [".apprunner.Dockerfile", ".dockerignore", "app.py"]
    environment = await asyncio.to_thread((tmp_path / "environment").read_text)
    assert "PIP_INDEX_URL=http://index" in environment
    assert "DOCKER_BUILDKIT=1" in environment


def members(path: Path):
    with tarfile.open(path) as tar:
        return tar.getnames()


async def test_a_command_that_fails_in_buildkit_is_named_too(bench, tmp_path):
    error = 'ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2'
    script = f"echo '#5 building'; echo '{error}' >&2; exit 1"
    variables = await asyncio.to_thread(pretend_buildx, tmp_path, script)
    with pytest.raises(BuildError, match="`make` failed with exit code 2"):
        await bench.build(MOUNT, bench.builder(variables=variables), mark=0)
    assert "#5 building" in bench.lines
