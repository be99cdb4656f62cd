"""The applications that are measured, and how long they take to boot by themselves.

The boot is measured inside the same image, by a program that starts the application again and again
and asks until it answers: what is over it is ours.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

BOOT = """
import os, signal, socket, subprocess, sys, time
for n in range(int(sys.argv[1])):
    began = time.perf_counter()
    app = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        try:
            with socket.create_connection(("127.0.0.1", 8080)) as s:
                s.sendall(b"GET /version HTTP/1.0\\r\\n\\r\\n")
                if s.recv(10):
                    break
        except OSError:
            time.sleep(0.001)
    print(time.perf_counter() - began, flush=True)
    app.kill()
    app.wait()
"""


@dataclass(frozen=True, slots=True)
class App:
    """`command` is its apprunner.yaml's; /version answers what is in version.txt."""

    name: str
    source: Path
    command: str


PYTHON = App("Python", ROOT / "sample_apps" / "python", "python3 app.py")
FLASK = App(
    "Flask", ROOT / "sample_apps" / "flask", "gunicorn --bind 0.0.0.0:8080 --threads 8 app:app"
)
EXPRESS = App("Express", ROOT / "bench" / "express", "node server.js")


def boots(image: str, source: Path, app: App, rounds: int) -> list[float]:
    """Seconds from the start of the process until it answers, in a container of that image."""
    mount = ["-v", f"{source}:/app", "-w", "/app", "-e", "PORT=8080", "-i"]
    done = subprocess.run(
        ["docker", "run", "--rm", *mount, image, "python3", "-", str(rounds), *app.command.split()],
        input=BOOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(line) for line in done.stdout.split()]
