"""Every sample application is deployed as it stands and answers what its expect.toml says.

Which can be is not written here: a buildpack says whether its base can be made from packages, and
the engine whether it has the public image.
"""

import http.client
import subprocess

import pytest
import tomli

from emulator.drivers import buildpacks, yaml
from tests.end_to_end.running import SAMPLES, Failed, Repository, until

# Once for a machine a base is made, of some hundred packages.
pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]

NAMES = sorted(path.parent.name for path in SAMPLES.glob("*/expect.toml"))
BASES = {
    runtime.name: runtime.base
    for pack in buildpacks.load(buildpacks.folder())
    for runtime in pack.runtimes
}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def base_of(name):
    """None for a sample that brings a Dockerfile."""
    path = SAMPLES / name / "apprunner.yaml"
    if not path.exists():
        return None
    return BASES[yaml.load(path.read_bytes(), path.name).get("runtime").text]


def is_here(image):
    inspect = ["docker", "image", "inspect", image]
    return subprocess.run(inspect, capture_output=True, check=False).returncode == 0


def out_of_reach(base):
    return base is not None and not base.can_be_made and not is_here(base.image)


def stands_in(base):
    """Another version of the language than the public image would have had."""
    if base is None or is_here(base.image):
        return False
    return not base.packages_version.startswith(base.image_version)


def ask(port, method="GET", path="/", body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body=body, headers=FORM if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_answers_as_it_promises(emulator, tmp_path, name):
    repository = Repository(tmp_path / name, sample=name)
    deploy = ("deploy", str(repository.path), "--name", "sample")
    base = base_of(name)
    if out_of_reach(base):
        with pytest.raises(Failed) as caught:
            emulator.run(*deploy)
        assert f"{base.image} cannot be pulled" in str(caught.value)
        assert f"bring the image {base.image} here by `docker load`" in str(caught.value)
        return
    done = emulator.command(*deploy, timeout=850)
    assert done.returncode == 0, done.stdout + done.stderr
    port = emulator.port("sample")
    for expected in tomli.loads((SAMPLES / name / "expect.toml").read_text())["answers"]:
        status, contains = expected.pop("status"), expected.pop("contains")
        answered, text = ask(port, **expected)
        assert answered == status, f"{expected}: {text}"
        assert contains in text, f"{expected}: {text}"
    assert ("Debian's packages has" in emulator.events("sample")) is stands_in(base)
    repository.version("2")
    until(lambda: "version 2" in ask(port)[1], within=300)


class TestToolsOfABaseFromPackages:
    @pytest.fixture
    def build(self, emulator, sample):
        """Deploys the Python sample with a build command of its own."""
        if is_here(BASES["python311"].image):
            pytest.skip("the public image is here: it is what gets used")

        def deploy(command):
            text = (sample.path / "apprunner.yaml").read_text()
            old = "- pip3 install -r requirements.txt\nrun"
            assert old in text
            sample.commit({"apprunner.yaml": text.replace(old, f"- {command}\nrun")})
            emulator.run("deploy", str(sample.path))
            return emulator.events()

        return deploy

    def test_what_build_commands_usually_need_is_there(self, build):
        tools = "bzip2 curl g++ gcc git make patch pkg-config ps ssh tar unzip wget xz zip"
        build(f"for tool in {tools} pip3 virtualenv; do command -v $tool || exit 1; done")

    def test_a_native_extension_can_be_compiled(self, build):
        includes = "$(python3 -c 'import sysconfig; print(sysconfig.get_path(\"include\"))')"
        build(f"echo '#include <Python.h>' | gcc -x c -c -I{includes} -o /tmp/x.o -")

    @pytest.mark.parametrize("command", ["yum install -y gcc", "amazon-linux-extras install x"])
    def test_amazon_linux_s_package_manager_is_answered_with_what_to_write(self, build, command):
        with pytest.raises(Failed) as caught:
            build(command)
        assert f"`{command}` failed with exit code 1" in str(caught.value)
        assert "apt-get update && apt-get install -y PACKAGE" in str(caught.value)


class TestWithoutAnApprunnerYaml:
    def test_a_dockerfile_cannot_be_written_down_for_app_runner(self, emulator, tmp_path):
        repository = Repository(tmp_path / "own", sample="dockerfile")
        done = emulator.command("detect", str(repository.path), "--write")
        assert done.returncode
        assert "App Runner builds no Dockerfile from a repository" in done.stderr
        assert not (repository.path / "apprunner.yaml").exists()

    def test_a_static_site(self, emulator, tmp_path):
        site = Repository(tmp_path / "site", sample=None)
        site.commit({"index.html": "<h1>Plain</h1>\n", "style/a.css": "h1 { color: red }\n"})
        emulator.run("deploy", str(site.path))
        assert ask(emulator.port("site")) == (200, "<h1>Plain</h1>\n")
        assert ask(emulator.port("site"), path="/style/a.css")[0] == 200

    def test_what_is_recognised_and_written_down_is_deployed_alike(self, emulator, tmp_path):
        """With a start command that only a shell understands."""
        found = Repository(tmp_path / "found", sample=None)
        web = "web: cd pub* && exec python3 -m http.server ${PORT:-5000}\n"
        found.commit({"Procfile": web, "main.py": "", "public/index.html": "It's here\n"})
        emulator.run("deploy", str(found.path))
        assert ask(emulator.port("found")) == (200, "It's here\n")

        assert "Procfile says how to start" in emulator.run("detect", str(found.path), "--write")
        found.commit({}, "Write it down")
        until(lambda: "apprunner.yaml asks for python311" in emulator.events("found"))
        until(lambda: emulator.describe("found")["Status"] == "RUNNING")
        assert "failed" not in emulator.events("found")
        assert ask(emulator.port("found")) == (200, "It's here\n")
