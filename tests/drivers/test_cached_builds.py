"""Builds whose commands have caches, on a real engine: what they share, and what they leave."""

import asyncio
import re
import subprocess
import tarfile
from dataclasses import replace

import pytest

from emulator.drivers.clock import SystemClock
from emulator.drivers.docker import prune
from emulator.drivers.docker.build_network import network_name
from emulator.drivers.docker.build_watch import BuildWatch
from emulator.drivers.docker.caches import cache_sizes, volume_name
from emulator.drivers.docker.leftovers import Leftovers
from emulator.model.build import Cache
from emulator.model.errors import BuildError
from emulator.model.settings import Limits
from tests.conftest import ENVIRONMENT
from tests.drivers.build_world import DEBIAN, PREFIX, Bench, at_work

pytestmark = pytest.mark.docker


class CachedBench(Bench):
    """A bench whose builds have a cache of their own; commands find it in $STORE."""

    exclusive = False

    @property
    def cache(self):
        name = f"test-{self.owner[:8]}"
        return Cache(name=name, variables={"STORE": "{cache}"}, exclusive=self.exclusive)

    async def build(self, dockerfile, builder=None, **more):
        more = {"mark": 0, "caches": (self.cache,)} | more
        request = self.request(dockerfile, **more)
        return await (builder or self.builder()).build(request, self.on_line)

    async def run(self, *commands, **more):
        """Each in a layer of its own, on a Debian."""
        text = "".join(f"# {n}\nRUN {command}\n" for n, command in enumerate(commands))
        return await self.build(f"FROM {DEBIAN}\nLABEL {self.mark}\n{text}", **more)


@pytest.fixture
async def bench():
    async with at_work(CachedBench) as bench:
        yield bench


async def test_a_cache_outlives_its_build_and_leaves_no_trace_in_the_image(bench):
    await bench.run("echo found $(ls $STORE) && echo x > $STORE/one")
    image = await bench.run("echo again $(ls $STORE) && touch /made")
    assert "found" in bench.lines
    assert "again one" in bench.lines
    config = (await bench.inspect(image))["Config"]
    assert {entry.partition("=")[0] for entry in config["Env"]} == {"PATH"}
    assert config["Cmd"] == ["bash"]
    assert config["Labels"][f"{PREFIX}owner"] == bench.owner
    assert (await bench.inspect(image))["RepoTags"] == [f"apprunner-emulator-test:{bench.owner}"]
    base = await asyncio.to_thread(listing, DEBIAN)
    built = await asyncio.to_thread(listing, image)
    ours = {"etc/ssl/certs/ca-certificates.crt", "usr/local/share/apprunner-emulator"}
    changed = {path for path in built.keys() | base.keys() if built.get(path) != base.get(path)}
    assert {path for path in changed if not path.startswith(tuple(ours))} == {"made"}


def listing(image):
    """What is in an image: all that can be told of each file but its times."""
    container = docker("create", image, "true")
    try:
        with (
            subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as tar,
        ):
            return {
                m.name: (m.type, m.mode, m.uid, m.gid, m.size, m.linkname, m.pax_headers)
                for m in tar
            }
    finally:
        docker("rm", "-f", container)


def docker(*words):
    return subprocess.run(
        ["docker", *words], check=True, capture_output=True, text=True
    ).stdout.strip()


# Everything that a plan renders to; owners, modes, links and capabilities come into the image.
SHAPES = f"""\
FROM {DEBIAN} AS build-stage
COPY . /app
WORKDIR /app/web
# pre-build
RUN chown -R 7:8 /app && chmod 4750 run && ln -s run link && ln run hard && mkdir -m 700 deep
# build
RUN umask 077 && echo built > /app/out && echo lost > /outside && export LOST=1
#
FROM build-stage AS post-build-stage
# post-build
RUN test "$(cat /app/out)" = built && test -e /outside && echo no > /app/out

FROM {DEBIAN} AS run-stage
COPY --from=build-stage /app /app
WORKDIR /app/web
# pre-run
RUN pwd && test ! -e /outside && chown 9 run && rm hard && echo two > more
RUN mkdir -p /moved && mv more /moved/more
"""


# Files come into it by commands of ours.
LAYERED = f"""\
FROM {DEBIAN}
WORKDIR /app/web
COPY ["web/x y", "web/run", "./"]
# install
RUN sha256sum * && stat -c %A:%U:%G * && echo built > /app/out && chmod 600 /app/out
"""


@pytest.mark.parametrize(("dockerfile", "paths"), [(SHAPES, ()), (LAYERED, ("web/x y", "web/run"))])
async def test_it_makes_what_the_engine_s_own_builder_makes(bench, dockerfile, paths):
    files = {"web/run": "#!/bin/sh\n", "web/x y": "it's $x\\n\n\n%s\t'é", "top": "2"}
    images = [
        await bench.build(dockerfile, bench.builder(files), caches=caches, paths=paths)
        for caches in ((), (bench.cache,))
    ]
    listings = [await asyncio.to_thread(listing, image) for image in images]
    assert listings[1] == listings[0]
    assert listings[1]["app/out"][1] & 0o777 == 0o600
    assert (await config_of(bench, images[1])) == (await config_of(bench, images[0]))
    steps = [line for line in bench.lines if line.startswith("Step ")]
    assert steps[: len(steps) // 2] == steps[len(steps) // 2 :]
    said = [line for line in bench.lines if re.match(r"[0-9a-f]{64} |[-r]w", line)]
    assert said[: len(said) // 2] == said[len(said) // 2 :]
    assert bool(said) == bool(paths)


async def config_of(bench, image):
    config = (await bench.inspect(image))["Config"]
    names = ("Env", "Cmd", "WorkingDir", "User", "Volumes", "ExposedPorts")
    labels = {k: v for k, v in config["Labels"].items() if not k.endswith(".layer")}
    return [config[name] or None for name in names if name in config], labels


async def test_commands_that_did_not_change_are_not_run_again(bench):
    one = f"echo first {bench.owner} && touch /one"
    await bench.run(one, "touch /two")
    image = await bench.run(one, "ls /one && touch /three")
    assert bench.lines.count(f"first {bench.owner}") == 1
    assert " ---> Using cache" in bench.lines
    assert (await bench.inspect(image))["RootFS"] == (
        await bench.inspect(await bench.run(one, "ls /one && touch /three"))
    )["RootFS"]
    assert bench.lines.count("/one") == 1


async def test_a_command_that_fails_is_named_with_its_exit_code_and_leaves_no_container(bench):
    with pytest.raises(BuildError) as caught:
        await bench.run("echo one && \\\n    exit 3")
    assert str(caught.value) == "`echo one && exit 3` failed with exit code 3. It said: one"
    assert (caught.value.command, caught.value.exit_code) == ("echo one && exit 3", 3)
    assert "one" in bench.lines
    assert "prune --caches" in bench.lines[-1]
    assert not await bench.containers()


async def test_what_a_command_leaves_in_the_background_ends_with_it(bench):
    await bench.run("sleep 300 & echo gone on", "test ! -d /proc/$(pgrep sleep || echo none)")
    assert "gone on" in bench.lines


async def test_the_host_reaches_commands_and_nothing_of_it_is_in_the_image(bench):
    variables = ENVIRONMENT | {
        "PIP_INDEX_URL": "http://u:secret@localhost:3141/x",
        "HTTPS_PROXY": "http://u:secret@proxy.invalid",
    }
    image = await bench.run(
        "env && test -s $SSL_CERT_FILE", builder=bench.builder(variables=variables)
    )
    network = await bench.engine.get(f"/networks/{network_name(bench.owner)}")
    gateway = network["IPAM"]["Config"][0]["Gateway"]
    assert f"PIP_INDEX_URL=http://u:secret@{gateway}:3141/x" in bench.lines
    assert "https_proxy=http://u:secret@proxy.invalid" in bench.lines
    assert "secret" not in str(await bench.inspect(image))
    assert "secret" not in str(await bench.engine.get(f"/images/{image}/history"))


@pytest.mark.parametrize("line", ["Step 1/", "Step 3/", " ---> Running in", "second"])
async def test_whenever_it_is_cancelled_nothing_is_left(bench, line):
    bench.await_line = line
    async with asyncio.TaskGroup() as group:
        building = group.create_task(
            bench.run(f": {bench.owner} && touch /one", "echo second && sleep 300")
        )
        await bench.seen.wait()
        building.cancel()
    assert building.cancelled()
    assert not await bench.containers()
    assert await bench.images() == []


@pytest.mark.parametrize("cached", [True, False])
async def test_a_build_that_writes_too_much_is_ended_and_names_command_and_setting(bench, cached):
    builder = bench.builder(limits=Limits(build_size=20_000_000))
    command = "head -c 100000000 /dev/zero > /big && sleep 300"
    with pytest.raises(BuildError) as caught:
        await bench.run(command, builder=builder, caches=(bench.cache,) if cached else ())
    said = str(caught.value)
    wrote = r"was ended: the build has written \d+ MB, and 20 MB are allowed\. Raise `build_size`"
    assert re.match(f"`{re.escape(command)}` {wrote}", said)
    assert not await bench.containers()
    assert await bench.images() == []


async def test_no_build_begins_on_a_disk_that_is_nearly_full(bench, tmp_path):
    watch = BuildWatch(bench.engine, SystemClock(), limit=1, root=tmp_path, least_free=10**18)
    with pytest.raises(BuildError, match=r"cannot begin: only .* are free .*prune --caches"):
        await watch.check_disk()


async def test_an_exclusive_cache_is_its_service_s_and_goes_with_it(bench):
    bench.exclusive = True
    builder, alone = bench.builder(), "mkdir $STORE/busy && sleep 0.{} && rmdir $STORE/busy"
    await asyncio.gather(*(bench.run(alone.format(n), builder=builder) for n in (1, 2)))
    (volume,) = await bench.volumes()
    assert volume["Name"] == volume_name(bench.cache, "s" * 32)
    leftovers = Leftovers(bench.engine, bench.owner, SystemClock(), Limits())
    await leftovers.sweep(["s" * 32], [])
    assert await bench.volumes()
    await leftovers.clear("s" * 32)
    assert not await bench.volumes()


async def test_a_cache_that_is_shared_is_kept_until_somebody_prunes_it(bench):
    await bench.run("head -c 3000000 /dev/zero > $STORE/x")
    leftovers = Leftovers(bench.engine, bench.owner, SystemClock(), Limits())
    await leftovers.clear("s" * 32)
    await leftovers.sweep([], [])
    await bench.rest()
    (volume,) = await bench.volumes()
    sizes = {k: v for k, v in (await cache_sizes(bench.engine)).items() if k == volume["Name"]}
    assert sizes[volume["Name"]] >= 3_000_000
    (word,) = await prune.prune_caches(bench.engine, sizes, dry_run=True)
    assert word == f"cache {volume['Name']} (3 MB)"
    assert await prune.prune_caches(bench.engine, sizes, dry_run=False) == (word,)
    assert not await bench.volumes()


async def test_programs_come_before_the_image_s_own_and_are_no_part_of_it(bench):
    program = "#!/bin/sh\necho \"ours says '$1'\" | tee /said\n"
    cache = replace(bench.cache, programs={"ls": program})
    image = await bench.run("ls it", caches=(cache,))
    assert "ours says 'it'" in bench.lines
    files = await asyncio.to_thread(listing, image)
    assert "said" in files
    assert not [path for path in files if path.startswith("dev/apprunner")]
    bench.lines.clear()
    with pytest.raises(BuildError, match="it"):  # another layer, without them
        await bench.run("ls it")


async def test_a_build_takes_over_the_network_of_one_that_is_over_and_shares_none(bench):
    leftovers = Leftovers(bench.engine, bench.owner, SystemClock(), Limits(build=0.0))
    builder, meets = bench.builder(), "touch $STORE/{} && until [ -e $STORE/{} ]; do :; done && "

    async def network(name, first=""):
        await bench.run(f"{first}echo {name} in $(readlink /proc/self/ns/net)", builder=builder)
        (said,) = (line for line in bench.lines if line.startswith(f"{name} in net:"))
        return said.removeprefix(f"{name} in ")

    one, two = await asyncio.gather(
        network("one", meets.format(1, 2)), network("two", meets.format(2, 1))
    )
    assert one != two
    assert await network("three") in {one, two}
    await leftovers.sweep(["s" * 32], [])
    assert len(await bench.sandboxes()) == 2
    await leftovers.sweep([], [])
    assert not await bench.sandboxes()
    await network("four")
    assert len(await bench.sandboxes()) == 1
    await bench.rest()
    assert not await bench.sandboxes()
    assert not await bench.containers()
