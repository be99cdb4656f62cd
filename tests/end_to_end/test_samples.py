"""Every sample application is deployed as it stands and answers what its expect.toml says.

Which can be is not written here: a buildpack says whether its base can be made from packages, and
the engine whether it has the public image.
"""

import http.client

import pytest
import tomli

from emulator.drivers import yaml
from tests.end_to_end.bases import RUNTIMES, is_here, out_of_reach, stands_in
from tests.end_to_end.running import SAMPLES, Failed, Repository, until

# Once for a machine a base is made, of some hundred packages.
pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]

NAMES = sorted(path.parent.name for path in SAMPLES.glob("*/expect.toml"))
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def runtime_of(name):
    """None for a sample that brings a Dockerfile."""
    path = SAMPLES / name / "apprunner.yaml"
    if not path.exists():
        return None
    return yaml.load(path.read_bytes(), path.name).get("runtime").text


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
    runtime = runtime_of(name)
    if runtime and out_of_reach(base := RUNTIMES[runtime].base):
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
    told = "Debian's packages has" in emulator.events("sample")
    assert told is bool(runtime and stands_in(runtime))
    repository.version("2")
    until(lambda: "version 2" in ask(port)[1], within=300)


@pytest.mark.parametrize("command", ["yum install -y gcc", "amazon-linux-extras install x"])
def test_amazon_linux_s_package_manager_is_answered_with_what_to_write(emulator, sample, command):
    if is_here(RUNTIMES["python311"].base.image):
        pytest.skip("the public image is here: it is what gets used")
    text = (sample.path / "apprunner.yaml").read_text()
    old = "- pip3 install -r requirements.txt\nrun"
    assert old in text
    sample.commit({"apprunner.yaml": text.replace(old, f"- {command}\nrun")})
    with pytest.raises(Failed) as caught:
        emulator.run("deploy", str(sample.path))
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
