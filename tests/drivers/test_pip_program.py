"""The `pip3` that stands before pip while a build runs: what it gives to uv, and what it leaves."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from emulator.drivers import buildpacks

PROGRAM = buildpacks.folder() / "python" / buildpacks.PROGRAMS / "pip3"
PIP = f"#!{sys.executable}\nimport sys\nprint('pip', *sys.argv[1:])\n"
UV = '#!/bin/sh\necho "uv $*"\necho "index $UV_DEFAULT_INDEX $UV_INDEX"\nexit %d\n'


class World:
    """A machine with a pip, a warm cache that has uv, and a folder with requirements."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.variables: dict[str, str] = {}
        for folder in ("programs", "bin", "cache/uv/bin", "app", "home"):
            (path / folder).mkdir(parents=True)
        shutil.copy(PROGRAM, path / "programs" / "pip3")
        self.executable("programs/pip3", PROGRAM.read_text())
        # The program takes a path that ends in python or python3.11 for one; a virtual one does.
        python = path / "bin" / "python3"
        python.symlink_to(sys.executable)
        self.executable("bin/pip3", PIP.replace(sys.executable, str(python)))
        self.uv(ends_with=0)
        self.write("flask==3.1.*\n")

    def executable(self, name: str, text: str) -> None:
        file = self.path / name
        file.write_text(text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def uv(self, *, ends_with: int) -> None:
        self.executable("cache/uv/bin/uv", UV % ends_with)

    def write(self, requirements: str) -> None:
        (self.path / "app" / "requirements.txt").write_bytes(requirements.encode())

    def run(self, *arguments: str) -> str:
        programs, binaries = self.path / "programs", self.path / "bin"
        done = subprocess.run(
            ["pip3", *arguments],
            executable=programs / "pip3",
            cwd=self.path / "app",
            env={
                "PATH": f"{programs}:{binaries}:/usr/bin:/bin",
                "HOME": str(self.path / "home"),
                "PIP_CONFIG_FILE": "/dev/null",  # pip's way to have none
                "PIP_CACHE_DIR": str(self.path / "cache"),
                **self.variables,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr


@pytest.fixture
def machine(tmp_path):
    return World(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("install", "-r", "requirements.txt"),
        ("install", "--no-cache-dir", "-q", "-r", "./requirements.txt"),
        ("install", "--requirement", "requirements.txt", "--break-system-packages"),
    ],
)
def test_a_plain_list_goes_through_uv(machine, arguments):
    said = machine.run(*arguments)
    assert "uv pip install --python" in said
    assert "-r" in said
    assert "\npip " not in said


@pytest.mark.parametrize(
    "line",
    [
        "Flask",
        "uvicorn[standard]>=0.30,<1  # why",
        "jinja2~=3.1 ; python_version < '3.12'",
        "",
        "   # nothing",
        "a==1\r",
    ],
)
def test_names_versions_markers_and_comments_are_plain(machine, line):
    machine.write(f"flask\n{line}\n")
    assert "uv pip install" in machine.run("install", "-r", "requirements.txt")


@pytest.mark.parametrize(
    "line",
    [
        "-r other.txt",
        "--index-url https://example.com/simple",
        "./local",
        "/abs/path.whl",
        "wheels/a.whl",
        "pkg @ https://example.com/pkg.whl",
        "git+https://example.com/a",
        "-e .",
        "a==1 --hash=sha256:00",
    ],
)
def test_anything_else_in_the_list_is_pips(machine, line):
    machine.write(f"flask\n{line}\n")
    assert machine.run("install", "-r", "requirements.txt") == "pip install -r requirements.txt\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("install", "flask"),
        ("install", "-U", "-r", "requirements.txt"),
        ("install", "-r", "requirements.txt", "-r", "requirements.txt"),
        ("install", "--target", "x", "-r", "requirements.txt"),
        ("install", "-r", "missing.txt"),
        ("install", "-r"),
        ("--version",),
        (),
    ],
)
def test_so_is_every_other_command(machine, arguments):
    assert machine.run(*arguments) == " ".join(("pip", *arguments)) + "\n"


@pytest.mark.parametrize(
    "variables",
    [
        {"PIP_NO_BINARY": ":all:"},
        {"PIP_TARGET": "/x"},
        {"PYTHONPATH": "/x"},
        {"VIRTUAL_ENV": "/x"},
        {"UV_NO_BINARY": "1"},
    ],
)
def test_settings_that_uv_would_not_see_are_pips(machine, variables):
    machine.variables = variables
    assert machine.run("install", "-r", "requirements.txt").startswith("pip install")


def test_so_are_those_of_a_configuration_file(machine):
    (machine.path / "home" / ".pip").mkdir()
    (machine.path / "home" / ".pip" / "pip.conf").write_text("[global]\n")
    machine.variables = {"PIP_CONFIG_FILE": ""}
    assert machine.run("install", "-r", "requirements.txt").startswith("pip install")


def test_uv_asks_the_indexes_that_pip_would(machine):
    machine.variables = {"PIP_INDEX_URL": "http://a/simple", "PIP_EXTRA_INDEX_URL": "http://b"}
    assert "index http://a/simple http://b" in machine.run("install", "-r", "requirements.txt")


def test_what_uv_cannot_do_pip_does(machine):
    machine.uv(ends_with=1)
    lines = machine.run("install", "-r", "requirements.txt").splitlines()
    assert lines[-2:] == [
        "pip3: uv could not, pip tries itself",
        "pip install -r requirements.txt",
    ]


def test_where_uv_cannot_be_brought_pip_does(machine):
    shutil.rmtree(machine.path / "cache" / "uv")
    assert machine.run("install", "-r", "requirements.txt").endswith(
        "pip install -r requirements.txt\n"
    )
