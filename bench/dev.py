"""Working-tree mode measured: `apprunner dev` beside the application's own boot.

The boot is measured inside the same image, by a program that starts the application again and again
and asks until it answers: what is over it is ours.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def developing(
    command: Sequence[str], environment: Mapping[str, str], path: Path
) -> Iterator[subprocess.Popen[str]]:
    """`apprunner dev` in the background, once it watches; its output is read by nobody else."""
    output = path.parent / "dev.log"
    with (
        output.open("w") as log,
        subprocess.Popen(
            [*command, "dev", str(path), "--name", "bench"],
            env=environment,
            stdout=log,
            stderr=log,
            text=True,
        ) as running,
    ):
        try:
            while "serves what you save" not in output.read_text():
                if running.poll() is not None:
                    raise SystemExit(output.read_text())
                os.sched_yield()
            yield running
        finally:
            running.send_signal(signal.SIGINT)


def boots(image: str, source: Path, rounds: int) -> list[float]:
    """Seconds from the start of the process until it answers, in a container of that image."""
    mount = ["-v", f"{source}:/app", "-w", "/app", "-e", "PORT=8080", "-i"]
    command = ["python3", "-", str(rounds), "python3", "app.py"]
    done = subprocess.run(
        ["docker", "run", "--rm", *mount, image, *command],
        input=BOOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(line) for line in done.stdout.split()]
