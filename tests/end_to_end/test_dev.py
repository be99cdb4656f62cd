"""`apprunner dev` on real Docker: a save is an answer, and its end is the commit again."""

import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.end_to_end.running import get, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


class Dev:
    """The command in the background; `printed` is what it has said so far."""

    def __init__(self, emulator, path, output):
        self._output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "emulator", "dev", str(path), "--name", "hello"],
                env=emulator.environment,
                stdout=file,
                stderr=file,
                cwd=emulator.directory,
            )

    def printed(self):
        return self._output.read_text()

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


@contextmanager
def developing(emulator, sample, tmp_path):
    dev = Dev(emulator, sample.path, tmp_path / "dev.out")
    try:
        until(lambda: "serves what you save" in dev.printed() or dev.process.poll() is not None)
        yield dev
    finally:
        dev.process.kill()
        dev.process.wait()


def save(sample, **files):
    for name, text in files.items():
        (sample.path / name.replace("_", ".")).write_text(text)


def version(port):
    return get(port, "/version")[1].strip()


def test_a_save_is_served_and_ctrl_c_brings_the_commit_back(emulator, sample, tmp_path):
    with developing(emulator, sample, tmp_path) as dev:
        port = emulator.port()
        for text in ("saved", "again", "and again"):
            save(sample, version_txt=f"{text}\n")
            until(lambda text=text: version(port) == text)
        until(lambda: dev.printed().count("✓ version.txt: serves after") == 3)
        until(lambda: "version and again listens" in dev.printed())
        assert emulator.describe()["Emulator"]["Dev"]["Serving"] is True
        assert "not what is committed" in emulator.run("describe", "hello")

        code = (sample.path / "app.py").read_text()
        save(sample, app_py="raise SystemExit('it will not do')\n")
        until(lambda: "✗ app.py" in dev.printed())
        assert "it will not do" in dev.printed()
        assert version(port) == "and again"
        save(sample, app_py=code)

        commit = sample.git("rev-parse", "HEAD")
        assert dev.end(signal.SIGINT) == 0
        assert f"hello serves commit {commit[:8]} again." in dev.printed()
        assert version(port) == "1"
        assert "Dev" not in emulator.describe()["Emulator"]


def test_a_killed_command_leaves_the_service_on_the_newest_commit(emulator, sample, tmp_path):
    with developing(emulator, sample, tmp_path) as dev:
        port = emulator.port()
        save(sample, version_txt="saved\n")
        until(lambda: version(port) == "saved")
        sample.git("stash")
        sample.version("2")
        dev.end(signal.SIGKILL)
        until(lambda: version(port) == "2")
        until(lambda: "Dev" not in emulator.describe()["Emulator"])


def test_a_killed_emulator_leaves_the_service_on_its_commit(emulator, sample, tmp_path):
    with developing(emulator, sample, tmp_path) as dev:
        port = emulator.port()
        save(sample, version_txt="saved\n")
        until(lambda: version(port) == "saved")
        emulator.kill()
        assert dev.process.wait(timeout=60) == 1
        assert "will serve what is committed" in dev.printed() or "went away" in dev.printed()
        emulator.start()
        until(lambda: version(port) == "1")
        until(lambda: len(emulator.states()) == 1)


def test_a_dependency_that_is_saved_is_built(emulator, sample, tmp_path):
    with developing(emulator, sample, tmp_path) as dev:
        port = emulator.port()
        save(sample, requirements_txt="# another\n", version_txt="built\n")
        until(lambda: version(port) == "built")
        assert "Starting source code build" in dev.printed()
