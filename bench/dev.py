"""`apprunner dev` in the background, to be measured."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


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
