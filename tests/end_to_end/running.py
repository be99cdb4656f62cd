"""An emulator in the background, driven as a user drives it: by its command line."""

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLES = ROOT / "sample_apps"
ENVIRONMENT = dict(os.environ)  # noqa: TID251 - a test run passes its environment on
OWNER_LABEL = "dev.apprunner-emulator.owner"


class Failed(AssertionError):  # noqa: N818 - short, and read often
    """A command that was to succeed did not."""


class Running:
    """`directory` holds the state directory and the test's repositories."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.environment = ENVIRONMENT | {
            "APPRUNNER_STATE_DIR": str(self.state),
            "APPRUNNER_API_PORT": "0",
            "APPRUNNER_HTTPS_PORT": "0",
            "APPRUNNER_HTTP_PORT": "0",
        }

    def command(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "emulator", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            cwd=self.directory,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that is not waited for."""
        return subprocess.Popen(
            [sys.executable, "-m", "emulator", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.directory,
        )

    def run(self, *arguments: str) -> str:
        done = self.command(*arguments)
        if done.returncode:
            raise Failed(f"apprunner {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def json(self, *arguments: str):
        return json.loads(self.run(*arguments, "--json"))

    def start(self) -> None:
        self.run("start", "-d")

    def pid(self) -> int:
        return json.loads((self.state / "emulator.json").read_text())["Pid"]

    def kill(self) -> None:
        """As nobody can prepare for."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid))

    def describe(self, name: str = "hello"):
        return self.json("describe", name)

    def port(self, name: str = "hello") -> int:
        return int(self.describe(name)["Emulator"]["LocalUrl"].rsplit(":", 1)[1])

    def events(self, name: str = "hello") -> str:
        return self.run("events", name)

    def states(self, name: str = "hello") -> list[str]:
        return [i["State"] for i in self.describe(name)["Emulator"]["Instances"]]

    def owned(self) -> list[str]:
        """Names of every container of this state directory."""
        owner = self.owner()
        listing = docker(
            "ps", "-a", "--filter", f"label={OWNER_LABEL}={owner}", "--format", "{{.Names}}"
        )
        return listing.split()

    def networks(self) -> list[str]:
        """Of services; builds share one that outlives them."""
        mine = f"label={OWNER_LABEL}={self.owner()}"
        of_services = "label=dev.apprunner-emulator.service"
        return docker("network", "ls", "-q", "--filter", mine, "--filter", of_services).split()

    def owner(self) -> str:
        import sqlite3  # noqa: PLC0415 - only here

        database = sqlite3.connect(f"file:{self.state / 'state.db'}?mode=ro", uri=True)
        try:
            rows = database.execute("SELECT value FROM meta WHERE key = 'owner'").fetchall()
        finally:
            database.close()
        return rows[0][0]

    def end(self) -> None:
        self.command("stop", "--all")
        shutil.rmtree(self.state, ignore_errors=True)


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def until(condition: Callable[[], object], *, within: float = 60.0) -> None:
    end = time.perf_counter() + within
    while not condition():
        assert time.perf_counter() < end, "the condition did not come true in time"
        time.sleep(0.05)  # noqa: TID251 - real time: the end of another process


def get(port: int, path: str = "/", timeout: float = 60.0) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def get_https(url: str, port: int, ca: Path, path: str = "/") -> tuple[int, str]:
    """By the service's own name, trusting nothing but the local CA."""
    host = url.rsplit("//", maxsplit=1)[-1].split(":", maxsplit=1)[0]
    context = ssl.create_default_context(cafile=str(ca))
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
    connection._tunnel_host = None
    raw = __import__("socket").create_connection(("127.0.0.1", port), timeout=60)
    connection.sock = context.wrap_socket(raw, server_hostname=host)
    try:
        connection.request("GET", path, headers={"Host": f"{host}:{port}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Repository:
    """A git repository made from a sample application."""

    def __init__(self, path: Path, sample: str | None = "python") -> None:
        self.path = path
        if sample is None:
            path.mkdir(parents=True)
        else:
            shutil.copytree(SAMPLES / sample, path)
        self.git("init", "-q", "-b", "main")
        if sample is not None:
            self.commit({})

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        done = subprocess.run(
            ["git", "-C", str(self.path), *identity, "-c", "commit.gpgsign=false", *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, files: dict[str, str], message: str = "change") -> str:
        for name, text in files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def version(self, version: str) -> str:
        return self.commit({"version.txt": f"{version}\n"}, f"version {version}")
