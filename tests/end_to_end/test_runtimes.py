"""Every managed runtime that an apprunner.yaml can name, on its own base and by its own build.

The sample of the runtime's language is built, and every phase notes itself in the file that the
sample serves: so the answer tells which phases the deployed image has been through.
"""

import re

import pytest

from emulator.model.build import BuildProcess
from tests.end_to_end.bases import PACK_OF, RUNTIMES, out_of_reach, stands_in, version_of
from tests.end_to_end.running import SAMPLES, Failed, Repository, Running, get

# Once for a machine a base is made, of some hundred packages.
pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]

VERSION = {
    "go": "go version",
    "java": "java -version",
    "nodejs": "node --version",
    "php": "php --version",
    "python": "python3 --version",
    "ruby": "ruby --version",
}
PHASES = {
    BuildProcess.ORIGINAL: ["pre-build", "build", "build"],
    BuildProcess.REVISED: ["pre-build", "build", "pre-run"],
}


def running(directory, **settings):
    emulator = Running(directory)
    emulator.environment |= {f"APPRUNNER_{name.upper()}": value for name, value in settings.items()}
    emulator.start()
    return emulator


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    made = running(tmp_path_factory.mktemp("emulator"))
    yield made
    made.end()


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    made = running(tmp_path_factory.mktemp("strict"), strict="true")
    yield made
    made.end()


def written_for(runtime):
    """The sample's own apprunner.yaml for another runtime, with phases that note themselves."""
    language = PACK_OF[runtime]
    text = (SAMPLES / language / "apprunner.yaml").read_text()
    text = re.sub(r"runtime: \w+", f"runtime: {runtime}", text)
    text = re.sub(r" *runtime-version: .*\n", "", text)
    if "  pre-run:\n" not in text:
        text = text.replace("run:\n", "run:\n  pre-run:\n")
    first = f"{VERSION.get(language)} 2>&1 | grep -oE '[0-9]+\\.[0-9.]+' | head -n 1"
    for phase, more in {"pre-run": "", "build": f" $({first})"}.items():
        text = re.sub(f"( +){phase}:\n", f"\\g<0>\\1  - {note(phase + more)}\n", text)
    others = "".join(f"    {each}:\n      - {note(each)}\n" for each in ("pre-build", "post-build"))
    return text.replace("commands:\n", f"commands:\n{others}")


def note(words):
    return f'echo "{words}" >> version.txt'


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_builds_as_app_runner_builds_it_and_answers(emulator, strict, tmp_path, name):
    runtime = RUNTIMES[name]
    repository = Repository(tmp_path / name, sample=PACK_OF[name])
    repository.commit({"apprunner.yaml": written_for(name)})
    deploy = ("deploy", str(repository.path), "--name", f"on-{name}")
    if out_of_reach(runtime.base):
        with pytest.raises(Failed) as caught:
            emulator.run(*deploy)
        assert f"{runtime.base.image} cannot be pulled" in str(caught.value)
        assert f"bring the image {runtime.base.image} here by `docker load`" in str(caught.value)
        return
    done = emulator.command(*deploy, timeout=850)
    assert done.returncode == 0, done.stdout + done.stderr
    status, text = get(emulator.port(f"on-{name}"), "/version")
    noted = [line.split() for line in text.splitlines()[1:]]
    assert (status, [phase for phase, *_ in noted]) == (200, PHASES[runtime.process])
    versions = [version for _, *more in noted for version in more]
    assert len(versions) == PHASES[runtime.process].count("build")
    assert all(f".{version_of(runtime.base)}." in f".{v}." for v in versions), text  # Java's 1.8
    told = f"{name} asks for " in emulator.events(f"on-{name}")
    assert told is stands_in(name)
    if told:
        with pytest.raises(Failed, match=r"`strict = true` refuses that: bring .* `docker load`"):
            strict.run(*deploy)
