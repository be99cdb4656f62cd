"""What the demo stands on: its repository, its visitors and its trust in the local authority."""

import socket
import subprocess
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from emulator.cli import demo
from emulator.cli.failure import Failure
from emulator.cli.load import Load
from emulator.drivers.certificates import Certificates
from emulator.drivers.clock import SystemClock


@contextmanager
def website(answers, context=None):
    """Serves the items of `answers` (status, text) in turn, the last one for ever."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            status, text = answers.pop(0) if len(answers) > 1 else answers[0]
            if status is None:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def visited(answers) -> Load:
    with website(answers) as port:
        load = Load(f"http://127.0.0.1:{port}", "/", expected="version 2", pause=0.001)
        with load.from_visitors(1):
            assert load.arrived.wait(10)
    return load


def test_visitors_notice_the_new_version():
    load = visited([(200, "version 1"), (200, "version 1"), (200, "version 2")])
    assert load.failures == []
    assert load.answers >= 3
    assert load.arrived_at > 0


def test_visitors_notice_errors_and_dropped_connections():
    load = visited([(200, "version 1"), (503, ""), (None, ""), (200, "version 2")])
    assert load.failures[0] == "HTTP 503"
    assert "RemoteDisconnected" in load.failures[1]
    assert len(load.failures) == 2


def test_nobody_there_is_a_failure_too():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    load = Load(f"http://127.0.0.1:{port}", "/", pause=10)
    with load.from_visitors(2):
        pass
    assert len(load.failures) == 2


def test_the_sample_app_becomes_a_repository_with_one_commit():
    with demo.repository() as root:
        log = ["git", "-C", str(root), "log", "--format=%s"]
        done = subprocess.run(log, capture_output=True, text=True, check=True)
        assert done.stdout == "First version\n"
        assert (root / demo.VERSION_FILE).read_text() == "1\n"
    assert not root.exists()


def test_without_the_sample_app_the_demo_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "APP", tmp_path / "none")
    with pytest.raises(Failure, match="the demo needs the source checkout"), demo.repository():
        pass


def test_it_trusts_the_local_authority_for_a_name_no_resolver_needs_to_know(tmp_path):
    name = "abcdefghij.us-east-1.awsapprunner.localhost"
    context = Certificates(tmp_path, SystemClock()).context(name)
    with website([(200, "version 1")], context) as port:
        url = f"https://{name}:{port}"
        assert demo.secure_get(url, str(tmp_path / demo.AUTHORITY)) == (200, "version 1")
