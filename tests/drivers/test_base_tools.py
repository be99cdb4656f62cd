"""The tools that build commands use are in every base that is made from Debian's packages, and run."""

from dataclasses import replace

import pytest

from emulator.drivers import buildpacks
from emulator.model.errors import BuildError

# Once for a machine a base is made, of some hundred packages.
pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]

PACKS = buildpacks.load(buildpacks.folder())
# By what they are made of: corretto8 and corretto11 have the same Java here.
BASES = {
    (runtime.base.packages, runtime.base.setup): (pack.name, replace(runtime.base, exact=""))
    for pack in PACKS
    for runtime in pack.runtimes
    if runtime.base.can_be_made
}
COMMON = "bzip2 curl g++ gcc git make patch pkg-config ps ssh tar unzip wget xz zip"
TOOLS = {
    "go": "go gofmt",
    "java": "java javac mvn gradle",
    "nodejs": "node npm npx yarn",
    "php": "php composer",
    "python": "python python3 pip pip3 virtualenv",
    "ruby": "ruby gem bundle rake",
}
RUN_EACH = """\
for tool in {tools}; do \
  {{ $tool --version || $tool version || $tool -v || $tool -V || echo | $tool; }} \
  < /dev/null > /tmp/said 2>&1 || {{ echo "broken: $tool: $(tail -n 3 /tmp/said)"; failed=1; }}; \
done; test -z "$failed"\
"""
# What compilers of native extensions look for, and where a Dockerfile's later stage would.
PLACE = "python3 -c 'import sysconfig; print(sysconfig.get_path(\"{place}\"))'"
MORE = {
    "python": (
        f"gcc -fsyntax-only -x c -include Python.h -I$({PLACE.format(place='include')}) /dev/null",
        f"{PLACE.format(place='purelib')} | grep -x '/usr/local/lib/python3[.0-9]*/site-packages'",
    ),
    "ruby": ('test -e "$(ruby -e \'print RbConfig::CONFIG["rubyhdrdir"]\')/ruby.h"',),
}
HINT = "apt-get update && apt-get install -y PACKAGE"


@pytest.fixture(params=BASES.values(), ids=lambda param: param[1].image)
async def made(request, bench):
    """The language, and the base of one of its runtimes."""
    language, base = request.param
    builder = bench.builder()
    if await builder.find(base.image):
        pytest.skip("the public image is here: it is what gets used")
    return language, (await builder.base(base, bench.on_line)).reference


async def test_a_base_has_what_its_build_commands_need(bench, made):
    language, reference = made
    checks = [RUN_EACH.format(tools=f"{COMMON} {TOOLS[language]}").strip()]
    checks += MORE.get(language, ())
    for asked in ("yum install -y gcc", "dnf install -y gcc", "amazon-linux-extras install x"):
        checks += [f"! {asked} 2> /tmp/said", f"grep -F '{HINT}' /tmp/said"]
    try:
        await bench.build(f"FROM {reference}\nRUN {' && '.join(checks)}\n")
    except BuildError as error:
        broken = [line for line in bench.lines if line.startswith("broken")]
        pytest.fail("\n".join((*broken, str(error))))
