"""`apprunner demo`: the whole story on a sample app, told by what really happens.

It has an emulator and a repository of its own, so it neither needs nor touches the user's.
"""

import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import click

from emulator.cli import bill, clock, context, follow, programs, temporary
from emulator.cli.client import Client, service
from emulator.cli.failure import Failure
from emulator.cli.load import Load
from emulator.cli.stage import Stage

NAME = "demo"
APP = Path(__file__).resolve().parents[2] / "sample_apps" / "python"
VERSION_FILE = "version.txt"
OLD_ANSWER, NEW_ANSWER = "version 1", "version 2"
SLOW = "/slow?seconds=1"
AUTHORITY = "ca/ca.pem"
VISITORS = 20
CONCURRENCY, MOST = 5, 4
FREEZE_AFTER, ZERO_AFTER = 2, 6
PATIENCE = 60.0
LOOK = 0.1
IDENTITY = (
    *("-c", "user.name=Demo", "-c", "user.email=demo@localhost"),
    *("-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null"),
)


@click.command(help="The whole story on a sample app: deploy, commit, load, zero, wake, bill.")
@click.option("--exit", "leave", is_flag=True, help="Tear all down at the end.")
def command(*, leave: bool) -> None:
    stage = Stage()
    with repository() as source:
        stage.chapter("An emulator of its own")
        with temporary.emulator(context.flags()) as (client, state_dir):
            stage.fact(f"ready after {stage.seconds():.1f} s, console at {client.api}")
            Story(stage, client, state_dir, source).tell()
            stage.say(f"\n  The whole story took {stage.seconds():.0f} s.", "bold")
            if not leave:
                _stay(stage, client)


def _stay(stage: Stage, client: Client) -> None:
    stage.say(f"It stays up until Ctrl-C; the console is at {client.api}")
    try:
        Event().wait()
    except KeyboardInterrupt:
        stage.say("Tearing it down.")


@contextmanager
def repository() -> Iterator[Path]:
    """The sample app as somebody's repository, with a first commit."""
    if not APP.is_dir():
        raise Failure(f"The sample app {APP} is missing; the demo needs the source checkout.")
    with tempfile.TemporaryDirectory(prefix="apprunner-demo-") as directory:
        root = Path(directory) / NAME
        shutil.copytree(APP, root, ignore=shutil.ignore_patterns("__pycache__", ".git"))
        _git(root, "init", "--quiet", "--initial-branch=main")
        _git(root, "add", "--all")
        _git(root, "commit", "--quiet", "--message=First version")
        yield root


def _git(root: Path, *arguments: str) -> None:
    result = programs.git(root, *IDENTITY, *arguments)
    if result.code:
        raise Failure(f"git {arguments[0]} failed: {result.err}")


class Story:
    """One chapter per method."""

    def __init__(self, stage: Stage, client: Client, state_dir: str, source: Path) -> None:
        self._stage = stage
        self._client = client
        self._authority = Path(state_dir) / AUTHORITY
        self._source = source
        self._service: Mapping[str, Any] = {}

    @property
    def _address(self) -> str:
        return str(self._service["Emulator"]["LocalUrl"])

    def tell(self) -> None:
        self._deploy()
        self._visit()
        self._commit()
        self._scale_out()
        self._rest()
        self._wake()
        self._bill()

    def _deploy(self) -> None:
        self._stage.chapter("Deploy a repository")
        began = clock.elapsed()
        accepted = self._client.post(service(NAME), _members(self._source))
        outcome = follow.checked(follow.operation(self._client, accepted, quiet=False))
        self._service = outcome.service
        self._stage.fact(f"serving {clock.elapsed() - began:.1f} s later")

    def _visit(self) -> None:
        url = self._service["Emulator"]["Url"]
        self._stage.chapter(f"Visit {url}")
        status, text = secure_get(url, str(self._authority))
        self._stage.say(text.strip()[:200])
        if status != 200 or OLD_ANSWER not in text:  # noqa: PLR2004 - HTTP's OK
            raise Failure(f"{url} answered {status} without {OLD_ANSWER!r}: {text[:200]}")
        self._stage.fact("over TLS, with a certificate of the local authority")

    def _commit(self) -> None:
        self._stage.chapter(f"Commit a change while {VISITORS} visitors are there")
        load = Load(self._address, "/", expected=NEW_ANSWER)
        with load.from_visitors(VISITORS):
            (self._source / VERSION_FILE).write_text("2\n", encoding="utf-8")
            _git(self._source, "add", "--all")
            began = clock.elapsed()
            _git(self._source, "commit", "--quiet", "--message=Second version")
            if not load.arrived.wait(PATIENCE):
                raise Failure(f"No answer of the new version within {PATIENCE:g} s of the commit.")
            self._settled()
        took = load.arrived_at - began
        self._stage.fact(f"the new version answered {took * 1000:.0f} ms after `git commit` began")
        self._check(load)

    def _settled(self) -> None:
        """The visitors stay until the old instances are gone: that is when requests get lost."""
        self._until(self._only_the_newest_serves, "the new version alone")

    def _only_the_newest_serves(self) -> bool:
        described = self._client.get(service(NAME))
        own = described["Emulator"]
        versions = {instance.get("Revision") for instance in own["Instances"]}
        return described["Status"] == "RUNNING" and versions == {own["Revision"]}

    def _check(self, load: Load) -> None:
        if load.failures:
            raise Failure(
                f"{len(load.failures)} of {load.answers} requests failed; first {load.failures[0]}."
            )
        self._stage.fact(f"{load.answers} requests, none failed")

    def _scale_out(self) -> None:
        self._stage.chapter(f"{VISITORS} slow requests at once, {CONCURRENCY} per instance")
        scaling = {"MaxConcurrency": CONCURRENCY, "MinSize": 1, "MaxSize": MOST}
        accepted = self._client.post(service(NAME), {"Emulator": {"AutoScaling": scaling}})
        follow.checked(follow.operation(self._client, accepted, quiet=True))
        load = Load(self._address, SLOW, pause=0.0)
        with load.from_visitors(VISITORS):
            self._until(lambda: len(self._serving()) == MOST, f"{MOST} instances that serve")
            for instance in self._instances():
                text = (
                    f"{instance['Id'][:8]}  {instance['State']}, {instance['InFlight']} in flight"
                )
                self._stage.say(text)
        self._stage.fact(f"scaled out to {MOST} instances")
        self._check(load)

    def _rest(self) -> None:
        self._stage.chapter("Everybody leaves")
        began, seen = clock.elapsed(), ""

        def rested() -> bool:
            nonlocal seen
            now = _states(self._instances())
            if now != seen:
                seen = now
                self._stage.say(f"{clock.elapsed() - began:4.1f} s  {now}")
            return now == "none"

        self._until(rested, "scaled to zero")
        self._stage.fact("nothing runs, nothing uses memory")

    def _wake(self) -> None:
        self._stage.chapter("Somebody comes back")
        moment, began = self._client.get("clock")["Now"], clock.elapsed()
        load = Load(self._address, "/", expected=NEW_ANSWER, pause=PATIENCE)
        with load.from_visitors(1):
            load.arrived.wait(PATIENCE)
        if not load.arrived.is_set():
            raise Failure(f"The first request failed: {', '.join(load.failures)}")
        events = self._client.stream(service(NAME, "events"))
        for event in (each for each in events if each["At"] >= moment):
            self._stage.say(f"+{event['At'] - moment:5.2f} s  {event['Text']}")
        took = load.arrived_at - began
        self._stage.fact(f"from zero to the answer in {took * 1000:.0f} ms, without an error")

    def _bill(self) -> None:
        self._stage.chapter("The bill")
        bill.show(self._client.get("cost", service=NAME))

    def _instances(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self._client.get(service(NAME, "instances"))
        return found

    def _serving(self) -> list[Mapping[str, Any]]:
        return [i for i in self._instances() if i["State"] in {"active", "idle"}]

    def _until(self, reached: Any, what: str) -> None:  # noqa: ANN401 - a question
        end = clock.elapsed() + PATIENCE
        while not reached():
            if clock.elapsed() > end:
                raise Failure(
                    f"Not {what} within {PATIENCE:g} s, but {_states(self._instances())}."
                )
            clock.sleep(LOOK)


def _members(source: Path) -> Mapping[str, Any]:
    code = {
        "RepositoryUrl": str(source.resolve()),
        "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"},
    }
    return {
        "SourceConfiguration": {"CodeRepository": code, "AutoDeploymentsEnabled": True},
        "InstanceConfiguration": {"Cpu": "256", "Memory": "512"},
        "Tags": {
            "emulator:freeze-after": str(FREEZE_AFTER),
            "emulator:scale-to-zero-after": str(ZERO_AFTER),
        },
    }


def _states(instances: Sequence[Mapping[str, Any]]) -> str:
    """`2 active, 1 draining`."""
    names = [str(i["State"]) for i in instances]
    return ", ".join(f"{names.count(n)} {n}" for n in dict.fromkeys(names)) or "none"


def secure_get(url: str, authority: str) -> tuple[int, str]:
    """Status and text, trusting only `authority`; connects to loopback whatever the name, as not
    every resolver knows *.localhost.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    trust = ssl.create_default_context(cafile=authority)
    plain = socket.create_connection(("127.0.0.1", parts.port), timeout=PATIENCE)
    with closing(HTTPConnection(host, parts.port)) as connection:
        connection.sock = trust.wrap_socket(plain, server_hostname=host)
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
