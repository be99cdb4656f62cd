"""What the emulator costs and how fast it is, against a peer measured in the same run.

    python -m bench [name ...]     names: start, commit, dev, builds, frozen, thaw, zero, scaleout,
                                   idle, deployments, api, replay, decisions, metering
    python -m bench balancer       the load balancer beside nginx, haproxy, Envoy, Caddy, Traefik

Medians; ratios hold better than absolutes. Everything runs on this machine's loopback, bounded in
count and time, in a state directory of its own that is removed at the end.
"""

import asyncio
import contextlib
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from bench import api, builds, dev, replay, scaling
from bench.apps import EXPRESS, FLASK, PYTHON, App, boots
from bench.balancing import run as balancing

COMMAND = [sys.executable, "-m", "emulator"]
ROUNDS = 10


class Emulator:
    """A background emulator on free ports."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.environment = os.environ | {
            "APPRUNNER_STATE_DIR": str(self.state),
            "APPRUNNER_API_PORT": "0",
            "APPRUNNER_HTTPS_PORT": "0",
            "APPRUNNER_HTTP_PORT": "0",
        }

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode:
            raise SystemExit(f"apprunner {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def json(self, *arguments: str) -> dict:
        return json.loads(self.run(*arguments, "--json"))

    @property
    def pid(self) -> int:
        return self.json("status")["Pid"]


@contextlib.contextmanager
def emulator() -> Iterator[Emulator]:
    directory = Path(tempfile.mkdtemp(prefix="apprunner-bench-"))
    running = Emulator(directory)
    try:
        running.run("start", "-d")
        yield running
    finally:
        subprocess.run([*COMMAND, "stop", "--all"], env=running.environment, check=False)
        shutil.rmtree(directory, ignore_errors=True)


def repository(directory: Path, app: App = PYTHON) -> Path:
    """An application in a git repository of its own."""
    shutil.copytree(app.source, directory)
    git(directory, "init", "-q", "-b", "main")
    commit(directory, "0")
    return directory


def git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    subprocess.run(
        ["git", "-C", str(directory), *identity, "-c", "commit.gpgsign=false", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def commit(directory: Path, version: str) -> None:
    (directory / "version.txt").write_text(version + "\n")
    git(directory, "add", "-A")
    git(directory, "commit", "-q", "-m", f"version {version}")


def get(port: int, path: str = "/version", timeout: float = 60.0, host: str = "127.0.0.1") -> str:
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read().decode() if answer.status == 200 else ""
    finally:
        connection.close()


def poll(
    port: int,
    wanted: str,
    *,
    within: float = 60.0,
    host: str = "127.0.0.1",
    pause: float = 0.001,
) -> float:
    """The moment at which the wanted version answers, to `pause` seconds; asking costs CPU time."""
    end = time.perf_counter() + within
    while time.perf_counter() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if get(port, host=host, timeout=5).strip() == wanted:
                return time.perf_counter()
        time.sleep(pause)
    raise SystemExit(f"version {wanted} did not answer within {within} s")


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1].strip("/"))


def until(condition: Callable[[], bool], within: float = 60.0) -> None:
    end = time.perf_counter() + within
    while not condition():
        if time.perf_counter() > end:
            raise SystemExit("it did not come to rest")
        time.sleep(0.05)


def ms(seconds: list[float]) -> str:
    ordered = sorted(x * 1000 for x in seconds)
    middle = statistics.median(ordered)
    return f"{middle:8.1f} ms median ({ordered[0]:.1f}-{ordered[-1]:.1f}, n={len(ordered)})"


def report(name: str, text: str) -> None:
    print(f"{name:12} {text}", flush=True)


# -- the benchmarks ----------------------------------------------------------------------------


def bench_start() -> None:
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        with emulator():
            took.append(time.perf_counter() - began)
    report("start", f"start -d -> Ready.       {ms(took)}")


def deployed(
    e: Emulator, *options: str, name: str = "bench", app: App = PYTHON
) -> tuple[Path, int]:
    path = repository(e.directory / name, app)
    described = e.json("deploy", str(path), "--name", name, *options)
    return path, port_of(described["Emulator"]["LocalUrl"])


def over_boot(took: list[float], boot: list[float]) -> str:
    """What is not the application's own doing; the first two rounds are for the caches."""
    over = statistics.median(took[2:]) - statistics.median(boot[2:])
    return f"{ms(took[2:])}; its own boot {ms(boot[2:])}; over it {over * 1000:.0f} ms"


def bench_commit() -> None:
    for app in (FLASK, EXPRESS):
        with emulator() as e:
            path, port = deployed(e, app=app)
            image, _ = image_of(e)
            took, after, boot = [], [], []
            for n in range(1, ROUNDS + 3):
                until(lambda: e.json("describe", "bench")["Status"] == "RUNNING")
                time.sleep(2.0)  # the standby is made in peace, as between two real commits
                began = time.perf_counter()
                commit(path, str(n))
                committed = time.perf_counter()
                answered = poll(port, str(n))
                took.append(answered - began)
                after.append(answered - committed)
                boot += boots(image, path, app, 1)
        report("commit", f"{app.name}: git commit -> it answers {over_boot(took, boot)}")
        report("commit", f"{app.name}: git commit returned -> it answers {over_boot(after, boot)}")


def bench_dev() -> None:
    for app in (PYTHON, FLASK, EXPRESS):
        with emulator() as e:
            path = repository(e.directory / "bench", app)
            with dev.developing(COMMAND, e.environment, path):
                port = port_of(e.json("describe", "bench")["Emulator"]["LocalUrl"])
                image, _ = image_of(e)
                took, boot = [], []
                for n in range(1, ROUNDS + 3):
                    time.sleep(2.0)  # the standby is made in peace, as between two real saves
                    began = time.perf_counter()
                    (path / "version.txt").write_text(f"{n}\n")
                    took.append(poll(port, str(n)) - began)
                    boot += boots(image, path, app, 1)
        report("dev", f"{app.name}: save -> it answers {over_boot(took, boot)}")


def bench_builds() -> None:
    """What it takes from `apprunner deploy` to the first answer, and in builds alone."""
    with emulator() as e:
        first = []
        for n in range(4):
            path = e.directory / f"first{n}"
            shutil.copytree(builds.SAMPLES / "flask", path)
            builds.write(path, builds.CASES[0], 900 + n)
            git(path, "init", "-q", "-b", "main")
            commit(path, "0")
            began = time.perf_counter()
            e.run("deploy", str(path), "--name", path.name)
            first.append(time.perf_counter() - began)
            e.run("delete", path.name)
        report("builds", f"Flask, first deployment, pip's cache warm  {ms(first[1:])}")
        for case in builds.CASES:
            _changed_dependencies(e, case)


def _changed_dependencies(e: Emulator, case: builds.Case, rounds: int = 5) -> None:
    """In turns, since the machine is never the same twice."""
    path = e.directory / f"{case.sample}-{len(case.name)}"
    shutil.copytree(builds.SAMPLES / case.sample, path)
    builds.write(path, case, 0)
    git(path, "init", "-q", "-b", "main")
    commit(path, "0")
    port = port_of(e.json("deploy", str(path), "--name", path.name)["Emulator"]["LocalUrl"])
    mine, plain = [], []
    base = builds.base_in(e.run("logs", path.name, "--build"))
    with builds.peer(e.directory / f"peer-{path.name}", base) as peer:
        for n in range(1, rounds + 1):
            builds.write(path, case, n)
            commit(path, str(n))
            poll(port, str(n), within=300, pause=0.2)
            mine.append(_build_seconds(e, path.name))
            plain.append(peer.seconds(case, n))
    e.run("delete", path.name)
    ratio = statistics.median(mine) / statistics.median(plain)
    report("builds", f"{case.name}: changed, the build      {ms(mine)}")
    report("builds", f"{case.name}: docker build            {ms(plain)}; ratio {ratio:.2f}")


def _build_seconds(e: Emulator, name: str) -> float:
    """Of the last build, as the event log says."""
    said = re.findall(r"application source code\. \(([\d.]+) s\)", e.run("events", name))
    return float(said[-1])


def states(e: Emulator, name: str = "bench") -> list[str]:
    return [i["State"] for i in e.json("describe", name)["Emulator"]["Instances"]]


def rests(e: Emulator, wanted: list[str], name: str = "bench") -> None:
    """Wait for these states, by the emulator's own endpoint: a command each time takes a core."""
    url = f"{e.json('status')['Addresses']['Api']}/_emulator/services/{name}/instances"

    def seen() -> list[str]:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return [i["State"] for i in json.load(answer)]

    until(lambda: seen() == wanted)


def first_byte(port: int) -> float:
    began = time.perf_counter()
    answer = get(port)
    took = time.perf_counter() - began
    if not answer:
        raise SystemExit("no answer")
    return took


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


class DockerApi:
    """The Engine API with the least there is between: the fairest peer."""

    def __init__(self) -> None:
        import socket  # noqa: PLC0415

        class Connection(http.client.HTTPConnection):
            def connect(self) -> None:
                self.sock = socket.socket(socket.AF_UNIX)
                self.sock.connect("/var/run/docker.sock")

        self._connection = Connection("localhost", timeout=60)

    def post(self, path: str, body: object = None) -> dict:
        text = json.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", path, body=text, headers=headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{path}: {data!r}")
        return json.loads(data) if data else {}


def bench_frozen() -> None:
    with emulator() as e:
        _, port = deployed(e, "--tag", "emulator:freeze-after=0.5")
        mine, peer = [], []
        image, source = image_of(e)
        with peer_container(image, source) as (container, address):
            poll(8080, "0", host=address)
            api = DockerApi()
            for _ in range(ROUNDS):
                until(lambda: states(e) == ["frozen"])
                mine.append(first_byte(port))
                docker("pause", container)
                began = time.perf_counter()
                api.post(f"/containers/{container}/unpause")
                get(8080, host=address)
                peer.append(time.perf_counter() - began)
    ratio = statistics.median(mine) / statistics.median(peer)
    report("frozen", f"frozen -> first byte          {ms(mine)}")
    report("frozen", f"docker unpause, then request  {ms(peer)}; ratio {ratio:.2f}")


def image_of(e: Emulator, name: str = "bench") -> tuple[str, Path]:
    """The dependency image of a service, and a copy of its source tree."""
    image = e.json("describe", name)["Emulator"]["Deployments"][0]["Image"]
    return image, e.directory / name


@contextlib.contextmanager
def peer_container(image: str, source: Path) -> Iterator[tuple[str, str]]:
    container = docker(*run_arguments(image, source))
    try:
        address = docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", container)
        yield container, address
    finally:
        subprocess.run(["docker", "rm", "-f", container], check=False, stdout=subprocess.DEVNULL)


def run_arguments(image: str, source: Path) -> list[str]:
    mount = f"{source}:/app"
    return ["run", "-d", "-v", mount, "-w", "/app", "-e", "PORT=8080", image, "python3", "app.py"]


def bench_zero() -> None:
    with emulator() as e:
        _, port = deployed(
            e, "--tag", "emulator:scale-to-zero-after=0.5", "--tag", "emulator:freeze-after=off"
        )
        image, source = image_of(e)
        mine, peer = [], []
        for _ in range(ROUNDS):
            until(lambda: states(e) == [])
            time.sleep(1.0)  # the standby is made in peace
            mine.append(first_byte(port))
            began = time.perf_counter()
            with peer_container(image, source) as (_, address):
                peer.append(poll(8080, "0", host=address) - began)
    ratio = statistics.median(mine) / statistics.median(peer)
    report("zero", f"zero -> first byte               {ms(mine)}")
    report("zero", f"docker run -> first answer       {ms(peer)}; ratio {ratio:.2f}")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def bench_thaw() -> None:
    """What a frozen instance costs the request that finds it, over one that finds it warm."""
    with emulator() as e:
        _, port = deployed(e, "--tag", "emulator:freeze-after=0.5")
        frozen, warm = [], []
        for _ in range(2 * ROUNDS):
            rests(e, ["frozen"])
            frozen.append(first_byte(port))
            warm.append(first_byte(port))
    more = (statistics.median(frozen) - statistics.median(warm)) * 1000
    report("thaw", f"frozen -> first byte          {ms(frozen)}")
    report("thaw", f"warm -> first byte            {ms(warm)}; thawing costs {more:.1f} ms")


STEP = 5  # instances


def bench_scaleout() -> None:
    """One instance, then five requests at once, each of which takes an instance for itself."""
    with emulator() as e:
        options = ("--max-concurrency", "1", "--max-size", str(STEP))
        _, port = deployed(e, *options, "--tag", "emulator:scale-to-zero-after=3")
        image, source = image_of(e)
        mine, peer = [], []
        for _ in range(ROUNDS // 2):
            rests(e, [])
            first_byte(port)
            time.sleep(2.0)  # the standby is made in peace
            mine.append(max(together(lambda: slow_answer(port))) - SLOW)
            peer.append(max(together(lambda: run_and_poll(image, source))))
    ratio = statistics.median(mine) / statistics.median(peer)
    report("scaleout", f"1 -> {STEP}, last instance answers  {ms(mine)}")
    report("scaleout", f"{STEP} x docker run at once         {ms(peer)}; ratio {ratio:.2f}")


SLOW = 3.0  # seconds: no instance is free again before the last one has come


def slow_answer(port: int) -> None:
    if not get(port, f"/slow?seconds={SLOW:g}"):
        raise SystemExit("no answer")


def run_and_poll(image: str, source: Path) -> None:
    with peer_container(image, source) as (_, address):
        poll(8080, "0", host=address)


def together(work: Callable[[], None]) -> list[float]:
    """How long each of five took that began at once."""
    took: list[float] = []
    began = time.perf_counter()

    def timed() -> None:
        work()
        took.append(time.perf_counter() - began)

    threads = [threading.Thread(target=timed) for _ in range(STEP)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(took) < STEP:
        raise SystemExit("not all answered")
    return took


def bench_decisions() -> None:
    found = [scaling.decisions() for _ in range(ROUNDS)]
    what = f"{scaling.SERVICES} services x {scaling.INSTANCES} instances"
    report("decisions", f"sizes of {what}  {ms([sizes for sizes, _ in found])}")
    report("decisions", f"plans of {what}  {ms([plans for _, plans in found])}")


def bench_metering() -> None:
    for changing in (0, 50, scaling.METERED):
        share = asyncio.run(scaling.metering(changing=changing))
        text = f"{scaling.METERED} services, {changing} turns a second: {share:.2%} of a core"
        report("metering", text)


def bench_idle() -> None:
    seconds = 40.0
    with emulator() as e:
        for n in range(10):
            deployed(e, "--tag", "emulator:freeze-after=1", name=f"bench{n}")
        until(lambda: all(states(e, f"bench{n}") == ["frozen"] for n in range(10)))
        pid = e.pid
        before, began = cpu_seconds(pid), time.perf_counter()
        time.sleep(seconds)
        used = (cpu_seconds(pid) - before) / (time.perf_counter() - began)
        report("idle", f"10 idle services: {resident(pid):.1f} MiB resident, {used:.2%} of a core")


class Load:
    """Keep-alive clients, one in four of them slow, until stopped; counts what failed."""

    def __init__(self, port: int, clients: int = 8) -> None:
        self.port = port
        self.done = threading.Event()
        self.requests = 0
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._client, args=(n,), daemon=True) for n in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _client(self, number: int) -> None:
        path = "/slow?seconds=0.7" if number % 4 == 0 else "/version"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.done.is_set():
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                body = answer.read()
                ok = answer.status == 200
                problem = "" if ok else f"{answer.status} {body[:100]!r}"
            except (OSError, http.client.HTTPException) as error:
                ok, problem = False, repr(error)
                connection.close()
            with self._lock:
                self.requests += 1
                if not ok:
                    self.failures.append(problem)
            time.sleep(0.005)
        connection.close()


def bench_deployments() -> None:
    with emulator() as e:
        path, port = deployed(e)
        with Load(port) as load:
            for n in range(1, 21):
                commit(path, str(n))
                poll(port, str(n))
                until(lambda: e.json("describe", "bench")["Status"] == "RUNNING")
            time.sleep(2.0)
    report(
        "deployments",
        f"20 under load: {len(load.failures)} of {load.requests} requests failed "
        f"{sorted(set(load.failures))[:3] or ''}",
    )


def bench_api() -> None:
    with emulator() as e:
        _, port = deployed(e)
        address = e.json("status")["Addresses"]["Api"]
        ask = api.Api(address)
        base, _ = image_of(e)
        with api.image(base, PYTHON.source):
            began_to_run = [_created(e, ask, f"made{n}") for n in range(5)]
            report("api", f"CreateService -> RUNNING and answering {ms(began_to_run)}")
            arn = e.json("describe", "bench")["ServiceArn"]
            ask.timed("DescribeService", 50, ServiceArn=arn)
            describe = ask.timed("DescribeService", 500, ServiceArn=arn)
            report("api", f"DescribeService                        {ms(describe)}")
            for n in range(5, api.SERVICES - 2):
                _created(e, ask, f"made{n}")
            _describes_beside_a_build(e, arn, port, address)
            listed = ask.timed("ListServices", 300)
            count = len(ask("ListServices")["ServiceSummaryList"])
            report("api", f"ListServices, {count} services             {ms(listed)}")


def _created(e: Emulator, ask: api.Api, name: str) -> float:
    began = time.perf_counter()
    made = ask("CreateService", ServiceName=name, **api.image_source())["Service"]
    api.running(ask, made["ServiceArn"])
    port = port_of(e.json("describe", name)["Emulator"]["LocalUrl"])
    answered = poll(port, "0")
    return answered - began


def _describes_beside_a_build(e: Emulator, arn: str, port: int, address: str) -> None:
    """Taken in turns, since the machine is never the same twice: a build alone, and a build with
    two hundred describes at once every second.
    """
    alone, beside = [], []
    for turn in range(3):
        with _building(e, f"{turn}-alone"):
            alone += api.while_doing(port, lambda: time.sleep(5))
        with _building(e, f"{turn}-beside"):
            beside += api.while_doing(port, lambda: api.ask_from_elsewhere(address, arn, 5))
    report(
        "api",
        f"proxied beside a build: p50 {statistics.median(alone) * 1000:.1f} ms, p99 "
        f"{api.p99(alone):.1f} ms; with 200 describes at once too: p50 "
        f"{statistics.median(beside) * 1000:.1f} ms, p99 {api.p99(beside):.1f} ms "
        f"(n={len(alone)}, {len(beside)})",
    )


@contextlib.contextmanager
def _building(e: Emulator, name: str) -> Iterator[None]:
    """A build of another service, that installs something."""
    path = repository(e.directory / f"built-{name}")
    (path / "requirements.txt").write_text(f"flask  # {name}\n")
    git(path, "commit", "-q", "-a", "-m", "Needs Flask")
    e.run("deploy", str(path), "--name", "built", "--no-wait")
    yield
    until(lambda: e.json("describe", "built")["Status"] == "RUNNING")


def bench_replay() -> None:
    report("replay of 10 million requests", replay.bench())


BENCHES = {
    "start": bench_start,
    "commit": bench_commit,
    "dev": bench_dev,
    "builds": bench_builds,
    "frozen": bench_frozen,
    "thaw": bench_thaw,
    "zero": bench_zero,
    "scaleout": bench_scaleout,
    "idle": bench_idle,
    "deployments": bench_deployments,
    "api": bench_api,
    "replay": bench_replay,
    "decisions": bench_decisions,
    "metering": bench_metering,
    "balancer": lambda: balancing.main([]),
}


def main() -> None:
    if sys.argv[1:2] == ["balancer"]:
        balancing.main(sys.argv[2:])
        return
    for name in sys.argv[1:] or BENCHES:
        BENCHES[name]()


if __name__ == "__main__":
    main()
