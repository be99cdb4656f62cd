"""A service that misbehaves as it is told: what tests, and people, try an emulator with.

Variables say how it lives, parameters of a request what that request does; README.md lists both.
"""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

VERSION = Path(__file__).with_name("version.txt").read_text().strip()
MEGABYTE = 1_000_000
LONGEST = 600  # seconds


def number(name, usual=0.0):
    """A variable, unset or empty for the usual."""
    return float(os.environ.get(f"MIMIC_{name}") or usual)


class Life:
    """What the process remembers, across requests."""

    def __init__(self):
        self.began = time.monotonic()
        self.requests = 0
        self.leaked = []
        self.lock = threading.Lock()

    def count(self):
        """One request more; dies of the one that is too many, in the middle of it."""
        with self.lock:
            self.requests += 1
            if 0 < number("CRASH_AFTER") < self.requests:
                die(int(number("EXIT_CODE", 1)))

    def leak(self, megabytes):
        """Memory that is written to, or the kernel would not count it."""
        with self.lock:
            self.leaked.append(b"x" * int(megabytes * MEGABYTE))
            return sum(map(len, self.leaked)) // MEGABYTE

    @property
    def healthy(self):
        return time.monotonic() - self.began >= number("HEALTH_DELAY")


LIFE = Life()


def die(code):
    """At once, without a word to the clients."""
    print(f"ends with {code}", flush=True)
    os._exit(code)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second must not wait

    def do_GET(self):
        url = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        action = ACTIONS.get(url.path, Handler.nothing)
        if action is not Handler.health:
            LIFE.count()
            LIFE.leak(number("LEAK_MB"))
            time.sleep(min(number("DELAY"), LONGEST))
        action(self)

    do_POST = do_GET

    def asked(self, name, usual):
        return min(float(self.query.get(name, usual)), LONGEST)

    # -- what a request does -------------------------------------------------------------------

    def index(self):
        self.answer(f"Hello from the mimic, version {VERSION}!\n")

    def version(self):
        self.answer(f"{VERSION}\n")

    def health(self):
        if LIFE.healthy:
            self.answer("ok\n")
        else:
            self.answer("not yet\n", 503)

    def slow(self):
        time.sleep(self.asked("seconds", 1))
        self.answer(f"slow, from version {VERSION}\n")

    def cpu(self):
        end = time.perf_counter() + self.asked("seconds", 0.5)
        while time.perf_counter() < end:
            pass
        self.answer("done\n")

    def body(self):
        """A body that comes bit by bit, the whole taking so many seconds."""
        parts, seconds = max(1, int(self.asked("parts", 10))), self.asked("seconds", 1)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in range(parts):
            text = f"part {part}\n"
            self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
            time.sleep(seconds / parts)
        self.wfile.write(b"0\r\n\r\n")

    def cut(self):
        """More is promised than comes."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"cut")
        self.close_connection = True

    def drop(self):
        """The connection, without an answer."""
        self.close_connection = True

    def crash(self):
        die(int(self.asked("code", 1)))

    def leak(self):
        self.answer(f"{LIFE.leak(self.asked('mb', 10))} MB\n")

    def status(self):
        self.answer("as told\n", int(self.asked("code", 500)))

    def echo(self):
        size = int(self.headers.get("Content-Length", "0"))
        self.answer(f"{len(self.rfile.read(size))} bytes\n")

    def life(self):
        leaked = sum(map(len, LIFE.leaked)) // MEGABYTE
        self.answer(f"pid {os.getpid()}, request {LIFE.requests}, leaked {leaked} MB\n")

    def nothing(self):
        self.answer("There is nothing here.\n", 404)

    def answer(self, text, status=200):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *values):
        print(self.command, self.path, *values[1:], flush=True)


ACTIONS = {
    "/": Handler.index,
    "/version": Handler.version,
    "/healthz": Handler.health,
    "/slow": Handler.slow,
    "/cpu": Handler.cpu,
    "/body": Handler.body,
    "/cut": Handler.cut,
    "/drop": Handler.drop,
    "/crash": Handler.crash,
    "/leak": Handler.leak,
    "/status": Handler.status,
    "/echo": Handler.echo,
    "/life": Handler.life,
}


class Server(ThreadingHTTPServer):
    daemon_threads = False  # requests in flight are finished before the process ends
    request_queue_size = 128


def on_terminate(*_):
    if os.environ.get("MIMIC_REFUSE_SIGTERM", "") in {"", "0"}:
        sys.exit(0)
    print("SIGTERM is refused", flush=True)


def main():
    signal.signal(signal.SIGTERM, on_terminate)
    time.sleep(number("START_DELAY"))
    if number("START_EXIT"):
        die(int(number("START_EXIT")))
    server = Server(("0.0.0.0", int(os.environ.get("PORT", "8080"))), Handler)
    print(f"version {VERSION} listens on port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
