"""Starting, stopping and wrapping an emulator: real processes around a stand-in for the core."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import emulator

# Listens, says that it is ready, obeys `stop`; its state directory tells it what else to do.
STAND_IN = """
import json, os, pathlib, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from emulator.model.errors import StoreError

def run(settings, ready):
    state = pathlib.Path(settings.state_dir)
    state.mkdir(exist_ok=True)
    if settings.region == "us-west-1":
        raise StoreError(f"{state} is damaged")
    if settings.region == "us-west-2":
        raise RuntimeError("a bug")
    try:
        lock = (state / "lock").open("x")
    except FileExistsError:
        raise StoreError(f"{state} is in use by another emulator") from None
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply({"status": "running", "Total": 0.02})

        def do_POST(self):
            with open(state.parent / "asked", "a") as file:
                file.write(self.path + "\\n")
            self.reply({})
            over.set()

        def reply(self, document):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api = f"http://127.0.0.1:{server.server_port}"
    document = {"Pid": os.getpid(), "StateDir": str(state), "Version": "0",
                "Addresses": {"Api": api, "Https": "h", "Http": "p"}}
    new = state / "new"
    new.write_text(json.dumps(document))
    new.replace(state / "emulator.json")
    ready(document)
    over.wait()
    (state / "emulator.json").unlink()
    (state / "lock").unlink()
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The real command line over a core that starts at once."""
    root = tmp_path_factory.mktemp("package")
    source = Path(emulator.__file__).parent
    target = root / "emulator"
    for part in ("cli", "model", "decisions"):
        shutil.copytree(source / part, target / part, ignore=shutil.ignore_patterns("*.pyc"))
    for part in ("__init__.py", "__main__.py", "prices.toml"):
        shutil.copy(source / part, target / part)
    (target / "bootstrap.py").write_text(STAND_IN)
    return root


@pytest.fixture
def command(package, tmp_path):
    """The command line in a process of its own; its temporary directory is `tmp_path`."""
    environment = {
        "PYTHONPATH": str(package),
        "PATH": os.defpath,
        "TMPDIR": str(tmp_path),
        "APPRUNNER_STATE_DIR": str(tmp_path / "state"),
    }

    with ExitStack() as children:

        def start(*arguments, **more):
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "emulator", *arguments],
                env=environment,
                cwd=tmp_path,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **more,
            )
            children.enter_context(child)
            children.callback(child.kill)
            return child

        yield start
        start("stop").communicate()


def finished(child):
    out, err = child.communicate()
    return child.returncode, out, err


def exists(pid):
    return Path(f"/proc/{pid}/exe").exists()


def test_start_in_the_background_and_stop(command, tmp_path):
    code, out, err = finished(command("start", "-d", "--json"))
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert exists(document["Pid"])
    assert os.getsid(document["Pid"]) == document["Pid"]
    assert "The emulator runs already." in finished(command("start"))[1]
    assert finished(command("stop"))[:2] == (0, "Stopped.\n")
    assert not exists(document["Pid"])
    assert (tmp_path / "asked").read_text() == "/_emulator/stop\n"


def test_of_two_that_start_at_once_one_runs_and_both_are_content(command):
    children = [command("start", "-d", "--json") for _ in range(2)]
    (first, out, _), (second, other, _) = [finished(child) for child in children]
    assert first == second == 0
    assert json.loads(out) == json.loads(other)


def test_an_expected_failure_comes_back_in_its_own_words(command, tmp_path):
    code, out, err = finished(command("start", "-d", "--region", "us-west-1"))
    assert (code, out, err) == (1, "", f"Error: {tmp_path / 'state'} is damaged\n")


def test_a_bug_comes_back_with_its_last_words(command):
    code, _, err = finished(command("start", "-d", "--region", "us-west-2"))
    assert code == 1
    assert err.startswith("Error: The emulator did not start; its last words")
    assert err.endswith("RuntimeError: a bug\n")


def test_in_the_foreground_ctrl_c_is_130(command):
    child = command("start")
    assert child.stdout.readline() == "Ready.\n"
    child.send_signal(signal.SIGINT)
    code, _, err = finished(child)
    assert (code, "Traceback" in err) == (130, False)


def test_exec_gives_the_commands_exit_code_and_leaves_nothing(command, tmp_path):
    script = 'echo "$AWS_ENDPOINT_URL_APPRUNNER $AWS_REGION $APPRUNNER_STATE_DIR"; exit 7'
    code, out, err = finished(command("exec", "--", "sh", "-c", script))
    assert (code, err) == (7, "")
    api, region, state = out.split()
    assert api.startswith("http://127.0.0.1:")
    assert (region, Path(state).parent, Path(state).exists()) == ("us-east-1", tmp_path, False)
    assert (tmp_path / "asked").read_text() == "/_emulator/stop?all=1\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["sh", "-c", "kill -TERM $$"], 143), (["no-such-program"], 127), (["/etc/passwd"], 126)],
)
def test_exec_has_a_shells_exit_codes(command, tmp_path, arguments, code):
    assert finished(command("exec", *arguments))[0] == code
    assert list(tmp_path.glob("apprunner-*")) == []


@pytest.mark.parametrize(
    ("most", "exits", "code"), [("0.01", 0, 1), ("0.01", 7, 7), ("0.05", 0, 0)]
)
def test_exec_fails_when_the_run_would_have_cost_more(command, most, exits, code):
    child = command("exec", "--max-cost", most, "--", "sh", "-c", f"exit {exits}")
    found, _, err = finished(child)
    assert found == code
    assert ("Error: The run would have cost 0.020000 USD" in err) == (most == "0.01")


def test_exec_tears_down_when_it_is_terminated(command, tmp_path):
    child = command("exec", "--", "sh", "-c", "echo $$; exec sleep 60")
    inner = int(child.stdout.readline())
    child.send_signal(signal.SIGTERM)
    assert finished(child)[0] == 143
    assert not exists(inner)
    assert list(tmp_path.glob("apprunner-*")) == []
    assert (tmp_path / "asked").read_text() == "/_emulator/stop?all=1\n"


def test_ctrl_c_reaches_the_command_and_all_is_torn_down(command, tmp_path):
    script = "trap 'exit 9' INT; echo ready; while :; do sleep 0.01; done"
    child = command("exec", "--", "sh", "-c", script, start_new_session=True)
    child.stdout.readline()
    os.killpg(child.pid, signal.SIGINT)
    assert finished(child)[0] == 9
    assert list(tmp_path.glob("apprunner-*")) == []


def test_deploy_of_no_repository_starts_nothing(command, tmp_path):
    (tmp_path / "plain").mkdir()
    code, _, err = finished(command("deploy", "plain"))
    assert (code, "is not a git repository" in err) == (1, True)
    assert not (tmp_path / "state").exists()


def test_reset_stops_the_emulator_and_removes_what_it_owns(command, tmp_path):
    document = json.loads(finished(command("start", "-d", "--json"))[1])
    assert finished(command("reset", "--yes"))[:2] == (0, "Everything is deleted.\n")
    assert not exists(document["Pid"])
    assert not (tmp_path / "state").exists()
    assert (tmp_path / "asked").read_text() == "/_emulator/stop?all=1\n"
