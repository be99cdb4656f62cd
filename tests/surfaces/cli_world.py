"""A fake emulator for the command line: the same endpoints, answers written by the test."""

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from click.testing import CliRunner, Result

from emulator.cli.main import main

HEALTHY = {"status": "running", "version": "0.1.0"}


@dataclass
class FakeEmulator:
    """`answers` by method and path: a document, a list of NDJSON rows, or (status, document)."""

    state_dir: str
    api: str = ""
    answers: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)  # (method, path, query, body)

    def answer(self, method, path, body):
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        key = f"{method} {parts.path.removeprefix('/_emulator/')}"
        self.asked.append((key, query, body))
        missing = (404, {"__type": "ResourceNotFoundException", "Message": f"nothing at {key}"})
        return self.answers.get(key, missing)

    def bodies(self, key):
        return [body for asked, _, body in self.asked if asked == key]

    def queries(self, key):
        return [query for asked, query, _ in self.asked if asked == key]


class Rows(list):
    """To be sent as NDJSON."""


@contextmanager
def fake_emulator(state_dir, **answers):
    fake = FakeEmulator(str(state_dir), answers={"GET health": HEALTHY, **answers})
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        fake.api = f"http://127.0.0.1:{server.server_port}"
        announce(state_dir, api=fake.api, pid=os.getpid())
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()


def announce(state_dir, *, api, pid):
    addresses = {"Api": api, "Https": "https://localhost:1", "Http": "http://localhost:2"}
    document = {"Pid": pid, "StateDir": str(state_dir), "Version": "0", "Addresses": addresses}
    (state_dir / "emulator.json").write_text(json.dumps(document))


def _handler(fake):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply("GET", None)

        def do_POST(self):
            length = int(self.headers.get("Content-Length") or 0)
            self.reply("POST", json.loads(self.rfile.read(length)) if length else None)

        def reply(self, method, body):
            answer = fake.answer(method, self.path, body)
            status, document = answer if isinstance(answer, tuple) else (200, answer)
            rows = isinstance(document, Rows)
            self.send_response(status)
            self.end_headers()
            for each in document if rows else [document]:
                self.wfile.write(json.dumps(each).encode() + b"\n")

        def log_message(self, *_):
            pass

    return Handler


def apprunner(state_dir, *arguments: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, ["--state-dir", str(state_dir), *arguments])
