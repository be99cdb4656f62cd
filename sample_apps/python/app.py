"""A small web application without dependencies: what a service of App Runner looks like."""

import html
import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

VERSION = Path(__file__).with_name("version.txt").read_text().strip()
FORM = """<!doctype html>
<title>Python on App Runner</title>
<form method="post"><label>Your name <input name="name"></label> <button>Greet</button></form>
"""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive
    disable_nagle_algorithm = True  # head and body are two writes: the second must not wait

    def do_GET(self):
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        if url.path == "/":
            self.answer(200, f"Hello from version {VERSION}!\n")
        elif url.path == "/version":
            self.answer(200, VERSION + "\n")
        elif url.path == "/healthz":
            self.answer(200, "ok\n")
        elif url.path == "/form":
            self.answer(200, FORM, "text/html; charset=utf-8")
        elif url.path == "/slow":
            time.sleep(min(float(query.get("seconds", "1")), 30))
            self.answer(200, f"slow, from version {VERSION}\n")
        elif url.path == "/cpu":
            end = time.perf_counter() + min(float(query.get("seconds", "0.5")), 10)
            while time.perf_counter() < end:
                pass
            self.answer(200, "done\n")
        elif url.path == "/json":
            facts = {"version": VERSION, "port": os.environ["PORT"], "host": self.headers["Host"]}
            self.answer(200, json.dumps(facts) + "\n", "application/json")
        else:
            self.answer(404, "There is nothing here.\n")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/form":
            name = parse_qs(body.decode()).get("name", [""])[-1]
            self.answer(200, f"<p>Hello, {html.escape(name)}!\n", "text/html; charset=utf-8")
        else:
            self.answer(200, f"{len(body)} bytes\n")

    def answer(self, status, text, kind="text/plain; charset=utf-8"):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *values):
        print(self.command, self.path, *values[1:], flush=True)


class Server(ThreadingHTTPServer):
    daemon_threads = False  # requests in flight are finished before the process ends
    request_queue_size = 128


def main():
    server = Server(("0.0.0.0", int(os.environ.get("PORT", "8080"))), Handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"version {VERSION} listens on port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
