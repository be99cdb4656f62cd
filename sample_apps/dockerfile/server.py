"""A web server in an image that the repository describes itself."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

VERSION = Path(__file__).with_name("version.txt").read_text().strip()
ANSWERS = {"/": f"Hello from a Dockerfile, version {VERSION}!\n", "/healthz": "ok\n"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        known = self.path in ANSWERS
        body = ANSWERS.get(self.path, "There is nothing here.\n").encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *values):
        print(self.command, self.path, *values[1:], flush=True)


class Server(ThreadingHTTPServer):
    request_queue_size = 128


server = Server(("0.0.0.0", int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(f"version {VERSION} listens on port {server.server_port}", flush=True)
server.serve_forever()
