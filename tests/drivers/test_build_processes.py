"""App Runner's two build processes on a real engine: every phase writes down what it saw."""

import pytest

from emulator.decisions import dockerfile
from emulator.decisions.buildplan import decide
from emulator.drivers import buildpacks, yaml
from emulator.model.configuration import CodeSource
from tests.drivers.test_builder import DEBIAN

pytestmark = [pytest.mark.docker, pytest.mark.documented]
PACKS = buildpacks.load(buildpacks.folder())
FILE = "apprunner.yaml"
# Every phase notes itself in the source and outside of it, its directory, its variables, and what
# it finds; `cd` in the first command of the build holds for the second.
TRACE = (
    'echo "saw PHASE PWD=$PWD build=$IN_BUILD run=$IN_RUN port=$PORT '
    'app=$(cat /app/trace 2>/dev/null) outside=$(cat /outside 2>/dev/null)" '
    "&& printf PHASE, >> /app/trace && printf PHASE, >> /outside"
)
CONFIGURATION = """\
version: 1.0
runtime: {runtime}
build:
  commands:
    pre-build:
      - {pre_build}
    build:
      - cd client && echo "saw client has $(ls)"
      - cd ../server
      - {build}
    post-build:
      - {post_build}
  env:
    - name: IN_BUILD
      value: it's $set
run:
{pre_run}  command: sh start.sh
  network:
    port: 3000
  env:
    - name: IN_RUN
      value: set
"""


def quoted(phase: str) -> str:
    return "'" + TRACE.replace("PHASE", phase).replace("'", "''") + "'"


def planned(runtime: str, *, pre_run: bool = False):
    after = f"  pre-run:\n    - {quoted('pre-run')}\n" if pre_run else ""
    text = CONFIGURATION.format(
        runtime=runtime,
        pre_build=quoted("pre-build"),
        build=quoted("build"),
        post_build=quoted("post-build"),
        pre_run=after,
    )
    return decide(
        paths=(FILE,),
        contents={FILE: text.encode()},
        node=yaml.load(text.encode(), FILE),
        source=CodeSource(repository="r", branch="main", source_directory="/web"),
        env={},
        buildpacks=PACKS,
    ).plan


async def seen(bench, plan):
    """The lines that the phases wrote, and the files of the image that is deployed."""
    builder = bench.builder(
        {"web/client/a.js": "", "web/server/b.py": "", "shared/c": "", ".dockerignore": "shared\n"}
    )
    text = dockerfile.render(plan, DEBIAN)
    marked = text.replace(" AS build-stage\n", f" AS build-stage\nLABEL {bench.mark}\n")
    image = await bench.build(marked, builder, mark=0)
    lines = [line.removeprefix("saw ") for line in bench.lines if line.startswith("saw ")]
    environment = (await bench.inspect(image))["Config"]["Env"]
    bench.lines.clear()
    look = "find /app /outside -type f | sort && cat /app/trace && echo && cat /outside && echo"
    await bench.build(f"FROM {image}\nRUN {look}\n", mark=0)
    files = [line for line in bench.lines if line.startswith("/")]
    traces = [line for line in bench.lines if line.endswith(",")]
    return lines, files, traces, environment


SOURCE = ["/app/shared/c", "/app/trace", "/app/web/client/a.js", "/app/web/server/b.py", "/outside"]
BUILD = "PWD=/app/web/server"
SET = "build=it's $set run= port="


async def test_the_original_build_runs_build_twice_and_deploys_the_second(bench):
    lines, files, traces, environment = await seen(bench, planned("python3"))
    assert lines == [
        f"pre-build PWD=/app/web {SET} app= outside=",
        "client has a.js",
        f"build {BUILD} {SET} app=pre-build, outside=pre-build,",
        f"post-build PWD=/app/web {SET} app=pre-build,build, outside=pre-build,build,",
        "client has a.js",
        f"build {BUILD} build= run= port= app=pre-build,build, outside=",
    ]
    assert traces == ["pre-build,build,build,", "build,"]  # nothing of post-build
    assert files == SOURCE
    assert not [entry for entry in environment if entry.startswith("IN_")]


async def test_the_revised_build_carries_over_app_and_runs_pre_run_there(bench):
    lines, files, traces, environment = await seen(bench, planned("python311", pre_run=True))
    assert lines == [
        f"pre-build PWD=/app/web {SET} app= outside=",
        "client has a.js",
        f"build {BUILD} {SET} app=pre-build, outside=pre-build,",
        f"post-build PWD=/app/web {SET} app=pre-build,build, outside=pre-build,build,",
        f"pre-run PWD=/app/web {SET} app=pre-build,build, outside=",
    ]
    assert traces == ["pre-build,build,pre-run,", "pre-run,"]
    assert files == SOURCE
    assert not [entry for entry in environment if entry.startswith("IN_")]
