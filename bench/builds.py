"""Builds measured: a changed list of dependencies beside `docker build` of the same on the same base.

Each round's list differs in what has no consequence, so that nobody has its layer yet; the caches of
the package managers are warm after the first. The peer has none, as a plain Dockerfile has none, but
the same base, certificates and indexes.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emulator.decisions.build_environment import command_variables
from emulator.drivers.docker.build_environment import read_host

SAMPLES = Path(__file__).resolve().parent.parent / "sample_apps"
FLASK = (SAMPLES / "flask" / "requirements.txt").read_text()
PACKAGE = '{"name": "bench", "version": "0.0.%d", "dependencies": {"express": "4.21.2"}}'


@dataclass(frozen=True, slots=True)
class Case:
    """A sample with other dependencies: `lists` are the files of the nth round."""

    name: str
    sample: str
    command: str
    lists: Callable[[int], Mapping[str, str]]


CASES = (
    Case(
        "pip, Flask's wheels",
        "flask",
        "pip3 install -r requirements.txt",
        lambda n: {"requirements.txt": f"{FLASK}# {n}\n"},
    ),
    Case(
        "pip, and psycopg2 from its source",
        "flask",
        "pip3 install -r requirements.txt",
        lambda n: {"requirements.txt": f"{FLASK}psycopg2==2.9.10\n# {n}\n"},
    ),
    Case(
        "npm, Express",
        "nodejs",
        "npm install --omit=dev",
        lambda n: {"package.json": PACKAGE % n},
    ),
)


def write(directory: Path, case: Case, number: int) -> None:
    """The nth round's lists; the number is made unique by the process, as layers outlive a run."""
    for name, text in case.lists(os.getpid() * 1000 + number).items():
        (directory / name).write_text(text)


def base_in(log: str) -> str:
    """What the last build in a log starts from; the first may have made that."""
    found = re.findall(r"Step 1/\d+ : FROM (\S+)", log)
    if not found:
        raise SystemExit(f"no build log:\n{log}")
    return str(found[-1])


class Peer:
    """`docker build` of a plain Dockerfile, on a base that has the host's certificates already."""

    def __init__(self, directory: Path, base: str) -> None:
        self._directory = directory
        self._base = f"apprunner-bench-base:{os.getpid()}"
        host = read_host(os.environ)
        self._variables = command_variables(host.environment)
        directory.mkdir()
        lines = [f"FROM {base}"]
        for name, content in host.files:
            (directory / name).write_bytes(content)
            folder = "/usr/local/share/apprunner-emulator"
            lines.append(f"COPY {name} {folder}/{name}")
        self._build(lines, self._base)

    def seconds(self, case: Case, number: int) -> float:
        write(self._directory, case, number)
        names = " ".join(case.lists(0))
        arguments = [f"ARG {' '.join(self._variables)}"] if self._variables else []
        lines = [f"FROM {self._base}", "WORKDIR /app", f"COPY {names} ./", *arguments]
        began = time.perf_counter()
        self._build([*lines, f"RUN {case.command}"], f"{self._base}-built")
        return time.perf_counter() - began

    def _build(self, lines: list[str], tag: str) -> None:
        (self._directory / "Dockerfile").write_text("\n".join(lines) + "\n")
        given = [f"--build-arg={name}" for name in self._variables]
        subprocess.run(
            ["docker", "build", "--no-cache", "-q", "-t", tag, *given, str(self._directory)],
            env=os.environ | dict(self._variables),
            check=True,
            capture_output=True,
        )

    def close(self) -> None:
        for tag in (f"{self._base}-built", self._base):
            subprocess.run(["docker", "rmi", "-f", tag], check=False, capture_output=True)


@contextmanager
def peer(directory: Path, base: str) -> Iterator[Peer]:
    made = Peer(directory, base)
    try:
        yield made
    finally:
        made.close()
