"""A soak: mixed load through the load balancer while versions change, instances are killed and a
service falls asleep and is woken. Nothing may be lost, and at the end the emulator must have as many
descriptors, and about as much memory, as at the start.

    python -m bench.soak [SECONDS]      300 by default; `make soak ARGS=20` is a short one

`busy` is under constant load and gets a commit again and again. `sleepy` falls to zero after a
second; it is asked, and its instances are killed, one after the other. What is killed has no
requests, so that a lost one is our loss.
"""

import contextlib
import http.client
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench.__main__ import (
    Emulator,
    commit,
    deployed,
    docker,
    emulator,
    poll,
    report,
    resident,
    until,
)

SECONDS = 300.0
UPLOAD = b"x" * 300_000
SPARE_DESCRIPTORS = 8  # a pool that is not swept yet, a follower of the engine's events
SPARE_MEMORY = 40.0  # MiB that an allocator may keep


class Work(threading.Thread):
    """Does one thing again and again until told to stop; counts how it went."""

    def __init__(self, name: str, once: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self.once = once
        self.done = 0
        self.lost: Counter[str] = Counter()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                self.once()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                self.lost[f"{type(error).__name__}: {error}"] += 1
                self.ended.wait(0.05)
            else:
                self.done += 1

    def finish(self) -> None:
        self.ended.set()
        self.join(90)
        if isinstance(self.once, Kept):
            self.once.connection.close()


class Kept:
    """Requests on one connection, opened again where the other side has closed it in between."""

    def __init__(self, port: int, ask: Callable[[http.client.HTTPConnection], None]) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
        self.ask = ask

    def __call__(self) -> None:
        try:
            self.ask(self.connection)
        except BaseException:
            self.connection.close()
            raise


def expect(wanted: object, found: object) -> None:
    if wanted != found:
        raise AssertionError(f"expected {wanted!r}, found {found!r}")


def ask(connection: http.client.HTTPConnection, path: str = "/version") -> None:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    expect((200, True), (answer.status, bool(body)))


def upload(connection: http.client.HTTPConnection) -> None:
    connection.request("POST", "/upload", body=UPLOAD)
    answer = connection.getresponse()
    expect((200, f"{len(UPLOAD)} bytes\n".encode()), (answer.status, answer.read()))


def pause(connection: http.client.HTTPConnection) -> None:
    """A client that keeps its connection and rarely asks."""
    time.sleep(0.7)
    ask(connection, "/slow?seconds=0.3")


def over_tls(e: Emulator, described: dict) -> Callable[[], None]:
    trusting = ssl.create_default_context(cafile=e.state / "ca" / "ca.pem")
    host, port = described["ServiceUrl"].split(":")

    def once() -> None:
        connection = http.client.HTTPConnection(host, int(port), timeout=90)
        plain = socket.create_connection(("127.0.0.1", int(port)), timeout=90)
        connection.sock = trusting.wrap_socket(plain, server_hostname=host)
        try:
            ask(connection)
        finally:
            connection.close()

    return once


def with_curl(e: Emulator, described: dict) -> Callable[[], None]:
    """Several requests at once on a connection of HTTP/2."""
    url = f"https://{described['ServiceUrl']}"
    command = ["curl", "-sS", "--http2", "--parallel", "--cacert", str(e.state / "ca" / "ca.pem")]
    command += ["-w", "%{http_code}\n", *(f"{url}/version" for _ in range(8))]

    def once() -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
        expect(8, done.stdout.count("200\n"))

    return once


def leave(port: int) -> Callable[[], None]:
    """A client that asks and does not wait for the answer."""

    def once() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
        connection.request("GET", "/slow?seconds=2")
        time.sleep(0.1)
        connection.close()

    return once


class Versions:
    """Commits; each must be what answers before the next one is made."""

    def __init__(self, path: Path, port: int) -> None:
        self.path, self.port = path, port
        self.number = 0

    def __call__(self) -> None:
        self.number += 1
        commit(self.path, str(self.number))
        poll(self.port, str(self.number), within=90)
        time.sleep(3)


class Naps:
    """A service at zero is asked; one that is awake loses its instance, and is asked again."""

    def __init__(self, e: Emulator, port: int) -> None:
        self.e, self.port = e, port
        self.kept = Kept(port, ask)
        self.woken = self.killed = 0

    def __call__(self) -> None:
        self.kept()
        for instance in self.instances():
            with contextlib.suppress(subprocess.CalledProcessError):  # it has just gone by itself
                docker("kill", instance)
                self.killed += 1
        self.kept()
        until(lambda: not self.instances(), within=60)
        self.kept()
        self.woken += 1

    def instances(self) -> list[str]:
        described = self.e.json("describe", "sleepy")["Emulator"]["Instances"]
        ids = [instance["Id"] for instance in described if instance["State"] != "starting"]
        return [line for id_ in ids for line in containers(id_)]


def containers(instance: str) -> list[str]:
    label = f"label=dev.apprunner-emulator.instance={instance}"
    role = "label=dev.apprunner-emulator.role=instance"
    return docker("ps", "-q", "--filter", label, "--filter", role).split()


def descriptors(pid: int) -> Counter[str]:
    """What the process has open, by kind."""
    found: Counter[str] = Counter()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found[str(link.readlink()).partition(":[")[0]] += 1
    return found


def at_rest(pid: int) -> tuple[Counter[str], float]:
    """Descriptors and MiB, once the former have stopped falling."""
    best = descriptors(pid)
    quiet = time.perf_counter()
    while time.perf_counter() - quiet < 5:
        time.sleep(0.5)
        if (now := descriptors(pid)).total() < best.total():
            best, quiet = now, time.perf_counter()
    return best, resident(pid)


def main(arguments: list[str]) -> None:
    seconds = float(arguments[0]) if arguments else SECONDS
    with emulator() as e:
        path, port = deployed(e, "--max-concurrency", "20", name="busy")
        described = e.json("describe", "busy")
        _, other = deployed(
            e,
            *("--tag", "emulator:scale-to-zero-after=1", "--tag", "emulator:freeze-after=0.5"),
            name="sleepy",
        )
        versions, naps = Versions(path, port), Naps(e, other)
        works = [Work(f"keep-alive {n}", Kept(port, ask)) for n in range(3)]
        works += [Work("upload", Kept(port, upload)), Work("rare", Kept(port, pause))]
        works += [Work("TLS", over_tls(e, described)), Work("leaving", leave(port))]
        if shutil.which("curl"):
            works.append(Work("HTTP/2", with_curl(e, described)))
        works += [Work("commits", versions), Work("naps", naps)]
        pid = e.pid
        poll(port, "0")
        before = at_rest(pid)
        for work in works:
            work.start()
        time.sleep(seconds)
        for work in works:
            work.finish()
        naps.kept.connection.close()
        after = at_rest(pid)
    lost = sum((work.lost for work in works), Counter())
    report("soak", ", ".join(f"{work.done} {work.name}" for work in works))
    report("soak", f"{versions.number} deployments, {naps.killed} kills, {naps.woken} wakes")
    report(
        "soak",
        f"descriptors {before[0].total()} -> {after[0].total()}, memory {before[1]:.1f} -> {after[1]:.1f} MiB",
    )
    for what, count in lost.items():
        report("soak", f"LOST {count} x {what}")
    more = after[0] - before[0]
    if more:
        report("soak", f"more descriptors: {dict(more)}")
    if lost or more.total() > SPARE_DESCRIPTORS or after[1] > before[1] + SPARE_MEMORY:
        raise SystemExit("the soak found something")


if __name__ == "__main__":
    main(sys.argv[1:])
