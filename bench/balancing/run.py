"""Every proxy under the same load, in turns: a noisy machine is noisy to all of them.

    python -m bench balancer [--seconds S] [--rounds N] [peer ...]

Requests per second and latency are wrk's (one thread), CPU time is the proxy's own processes'.
Ours writes its access log, as it does for users; the peers write none.
"""

import argparse
import contextlib
import os
import re
import resource
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.balancing import peers
from bench.balancing.peers import Peer

MIB = 2**20
LUA = """
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    summary.errors.status))
end
"""
VARYING = """
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", "/?page=" .. n, {
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ["Accept-Language"] = "en-US,en;q=0.5",
    ["Accept-Encoding"] = "gzip, deflate, br",
    ["Cookie"] = "session=0123456789abcdef0123456789abcdef",
    ["Sec-Fetch-Mode"] = "navigate",
  })
end
"""
IDLE = 2000
PARTS = ["load", "tls", "big", "memory", "idle"]
Figures = dict[str, dict[str, list[float]]]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench balancer",
        description="The load balancer (its access log on) and other proxies (theirs off, with one "
        "worker each) under the same load, in turns. Medians of the rounds, and of each round's ratio ours / peer.",
        epilog="All parts with all peers take a quarter of an hour; --only load nginx takes two minutes.",
    )
    parser.add_argument(
        "--seconds", type=int, default=3, help="of load for each measurement (default: 3)"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often each is measured (default: 5)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="of each peer; ours has one always (default: 1)",
    )
    parser.add_argument(
        "--only",
        type=_parts,
        default=PARTS,
        metavar="PART,…",
        help=f"of {', '.join(PARTS)} (default: all): requests at 64, 16 and 1 connections; the same "
        "over TLS; 100 MiB each way; memory while idle and streaming; load beside idle connections",
    )
    parser.add_argument(
        "peers",
        nargs="*",
        metavar="PEER",
        help=f"of {', '.join(peers.NAMES)}, from PATH (default: all that are there)",
    )
    options = parser.parse_args(arguments)
    if missing := [name for name in options.peers if name not in peers.at_hand()]:
        parser.error(f"not installed: {', '.join(missing)}; at hand: {', '.join(peers.at_hand())}")
    for name in peers.NAMES:
        if not options.peers and name not in peers.at_hand():
            print(f"{name} is not on PATH and left out: {peers.INSTALL[name]}", file=sys.stderr)
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed (Debian: apt-get install wrk)")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    names = ["ours", *(options.peers or peers.at_hand())]
    with started(names, options.workers) as (running, directory):
        bench = Bench(running, directory, options.seconds, options.rounds)
        for part in options.only:
            getattr(bench, part)()
        bench.print()


def _parts(text: str) -> list[str]:
    parts = [part for part in text.split(",") if part]
    if unknown := [part for part in parts if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not of {', '.join(PARTS)}")
    return parts


@contextlib.contextmanager
def started(names: list[str], workers: int) -> Iterator[tuple[list[Peer], Path]]:
    directory = Path(tempfile.mkdtemp(prefix="apprunner-bench-"))
    behind, port = peers.upstream()
    processes = [behind]
    try:
        running = []
        for name in names:
            running.append(peers.start(name, directory, port, workers))
            processes.append(running[-1].process)
        yield running, directory
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            process.kill()
        shutil.rmtree(directory, ignore_errors=True)


class Bench:
    def __init__(self, running: list[Peer], directory: Path, seconds: int, rounds: int) -> None:
        self.running = running
        self.seconds = seconds
        self.rounds = rounds
        self.script = directory / "report.lua"
        self.script.write_text(LUA)
        self.varying = directory / "varying.lua"
        self.varying.write_text(LUA + VARYING)
        self.figures: Figures = defaultdict(lambda: defaultdict(list))

    def note(self, peer: Peer, what: str, value: float) -> None:
        self.figures[what][peer.name].append(value)

    # -- parts --------------------------------------------------------------------------------

    def load(self) -> None:
        for _ in range(self.rounds):
            for peer in self.running:
                self._measure(peer, 64, "plain, 64 connections")
            for peer in self.running:
                self._measure(peer, 64, "no two requests alike, 64", script=self.varying)
            for peer in self.running:
                self._measure(peer, 16, "plain, 16 connections")
            for peer in self.running:
                self._measure(peer, 1, "plain, 1 connection")

    def tls(self) -> None:
        for _ in range(self.rounds):
            for peer in self.running:
                self._measure(peer, 64, "TLS, 64 connections", tls=True)

    def _measure(
        self,
        peer: Peer,
        connections: int,
        what: str,
        *,
        tls: bool = False,
        script: Path | None = None,
    ) -> None:
        before = cpu(peer)
        result = self._wrk(peer, connections, tls=tls, script=script)
        used = cpu(peer) - before
        requests, microseconds, p50, p99, p999, errors, statuses = result
        if errors or statuses:
            self.note(peer, f"{what}: failed requests", errors + statuses)
        self.note(peer, f"{what}: requests/s", requests / (microseconds / 1e6))
        self.note(peer, f"{what}: CPU µs/request", used / requests * 1e6)
        self.note(peer, f"{what}: p50 µs", p50)
        self.note(peer, f"{what}: p99 µs", p99)
        self.note(peer, f"{what}: p99.9 µs", p999)

    def _wrk(
        self, peer: Peer, connections: int, *, tls: bool = False, script: Path | None = None
    ) -> tuple[int, ...]:
        url = f"https://localhost:{peer.tls}/" if tls else f"http://127.0.0.1:{peer.plain}/"
        done = subprocess.run(
            [
                *("wrk", "-t1", f"-c{connections}", f"-d{self.seconds}s", "--timeout", "10s"),
                *("-s", str(script or self.script), url),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
        if not found:
            raise SystemExit(done.stdout + done.stderr)
        return tuple(map(int, found[1].split()))

    def big(self) -> None:
        """100 MiB each way over one connection; the client is a plain socket."""
        size = 100 * MIB
        for _ in range(self.rounds):
            for peer in self.running:
                self.note(peer, "download: MiB/s", 100 / timed(lambda p=peer: download(p, size)))
            for peer in self.running:
                self.note(peer, "upload: MiB/s", 100 / timed(lambda p=peer: upload(p, size)))

    def memory(self) -> None:
        """Idle connections first: what streaming leaves in the heap would hide them."""
        for peer in self.running:
            for what, tls in (("plain", False), ("TLS", True)):
                close_all(connect_many(peer, 50, tls=tls))
                before = memory(peer)
                held = connect_many(peer, 500, tls=tls)
                time.sleep(0.5)
                self.note(peer, f"an idle connection, {what}: KiB", (memory(peer) - before) / 500)
                close_all(held)
                time.sleep(1.0)
            download(peer, 8 * MIB)
            upload(peer, 8 * MIB)
            with watching(peer) as most:
                download(peer, 1024 * MIB)
                upload(peer, 1024 * MIB)
            self.note(peer, "streaming 1 GiB each way: MiB more", most.more)

    def idle(self) -> None:
        """The p99 of the load with 2,000 idle connections beside it, against without."""
        for _ in range(self.rounds):
            for peer in self.running:
                without = self._wrk(peer, 16)[3]
                held = connect_many(peer, IDLE, tls=False)
                beside = self._wrk(peer, 16)[3]
                close_all(held)
                self.note(peer, f"p99 beside {IDLE} idle connections, x without", beside / without)
                time.sleep(0.5)

    # -- what came of it ----------------------------------------------------------------------

    def print(self) -> None:
        names = [peer.name for peer in self.running]
        print(f"{'':58}" + "".join(f"{name:>11}" for name in names))
        for what, by_peer in self.figures.items():
            cells = []
            for name in names:
                values = by_peer.get(name)
                cells.append(f"{statistics.median(values):11,.2f}" if values else f"{'':11}")
            print(f"{what:58}" + "".join(cells))
            if "ours" in by_peer and len(names) > 1:
                print(f"{'    ours / …':58}" + "".join(self._ratio(by_peer, n) for n in names))

    @staticmethod
    def _ratio(by_peer: dict[str, list[float]], name: str) -> str:
        """The median of the rounds' own ratios."""
        values = by_peer.get(name)
        if name == "ours" or not values or not all(values):
            return f"{'':11}"
        ratios = [mine / theirs for mine, theirs in zip(by_peer["ours"], values, strict=False)]
        return f"{statistics.median(ratios):10.2f}x"


# -- what is measured ----------------------------------------------------------------------------


def cpu(peer: Peer) -> float:
    """Seconds of CPU time of all its processes."""
    ticks = 0
    for pid in peers.tree(peer.process.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(peer: Peer) -> float:
    """KiB resident, of all its processes."""
    total = 0
    for pid in peers.tree(peer.process.pid):
        text = Path(f"/proc/{pid}/status").read_text()
        total += int(re.search(r"^VmRSS:\s+(\d+)", text, re.MULTILINE)[1])
    return total


class Most:
    more = 0.0  # MiB above the start


@contextlib.contextmanager
def watching(peer: Peer) -> Iterator[Most]:
    before, most, done = memory(peer), Most(), threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most.more = max(most.more, (memory(peer) - before) / 1024)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def timed(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def connect(peer: Peer, *, tls: bool = False) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", peer.tls if tls else peer.plain), timeout=60)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        one = context.wrap_socket(one, server_hostname="localhost")
    return one


def connect_many(peer: Peer, count: int, *, tls: bool) -> list[socket.socket]:
    """Each has had one answer: a connection as browsers keep it."""
    held = []
    for _ in range(count):
        one = connect(peer, tls=tls)
        one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        read_head(one)
        held.append(one)
    return held


def close_all(held: list[socket.socket]) -> None:
    for one in held:
        one.close()


def read_head(one: socket.socket) -> bytes:
    """The head; for a small answer all of it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = one.recv(65536)
        if not more:
            raise SystemExit(f"hung up: {data!r}")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise SystemExit(head.decode())
    return rest


def download(peer: Peer, size: int) -> None:
    buffer = bytearray(2**20)
    with connect(peer) as one:
        one.sendall(b"GET /bytes/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % size)
        got = len(read_head(one))
        while got < size:
            more = one.recv_into(buffer)
            if not more:
                raise SystemExit(f"{peer.name}: the download ended early")
            got += more


def upload(peer: Peer, size: int) -> None:
    piece = bytes(2**20)
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
    with connect(peer) as one:
        one.sendall(head)
        for _ in range(size // len(piece)):
            one.sendall(piece)
        read_head(one)


if __name__ == "__main__":
    main(sys.argv[1:])
