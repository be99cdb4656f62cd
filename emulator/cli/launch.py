"""Starting an emulator in the background and stopping one, for the verbs that need it.

The child tells that it is ready, and where it listens, through a pipe: no polling, and the end
of the pipe without a word is the end of the child.
"""

import json
import os
import select
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from emulator.cli import clock, context, programs
from emulator.cli.client import LOG, Client, find
from emulator.cli.failure import Failure

START_PATIENCE = 60.0
STOP_PATIENCE = 180.0
OTHER_PATIENCE = 10.0
LOG_LIMIT = 10_000_000
IN_USE = "in use by another emulator"
LAST_LINES = 10


def running(state_dir: str, flags: Mapping[str, Any]) -> tuple[Client, bool]:
    """The emulator of a state directory, started if none runs; and whether it was started."""
    client = find(state_dir)
    return (client, False) if client else _started(state_dir, flags)


def _started(state_dir: str, flags: Mapping[str, Any]) -> tuple[Client, bool]:
    arguments = context.arguments({**flags, "state_dir": state_dir})
    reader, writer = os.pipe()
    with _log(Path(state_dir)) as log, os.fdopen(reader, "rb", buffering=0) as pipe:
        begin = log.tell()
        try:
            argv = [*arguments, "start", "--ready-fd", str(writer)]
            child = programs.emulator(argv, log=log, ready=writer)
        finally:
            os.close(writer)
        told = _told_by(child, pipe)
        if told:
            child.returncode = 0  # it lives on; this process is not to wait for it
            return Client(json.loads(told)), True
        child.wait()
    return _other_or_failure(state_dir, begin)


def _told_by(child: programs.Child, pipe: BinaryIO) -> bytes:
    """What it says; whoever gives up waiting, by Ctrl-C too, ends it."""
    try:
        return _told(pipe)
    except BaseException:
        child.terminate()
        child.wait()
        raise


def _log(directory: Path) -> BinaryIO:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / LOG
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_suffix(".log.1"))
    return open(path, "ab", opener=lambda name, how: os.open(name, how, 0o600))


def _told(pipe: BinaryIO) -> bytes:
    """What the child says; nothing if it died."""
    content = b""
    end = clock.elapsed() + START_PATIENCE
    while select.select([pipe], [], [], max(0.0, end - clock.elapsed()))[0]:
        if not (part := pipe.read(65536)):
            return content
        content += part
    raise Failure(
        f"The emulator was not ready after {START_PATIENCE:g} s and was stopped; see its log."
    )


def _other_or_failure(state_dir: str, begin: int) -> tuple[Client, bool]:
    """Another may have started it at the same moment: then that one it is."""
    path = Path(state_dir) / LOG
    said = path.read_bytes()[begin:].decode(errors="replace").strip()
    end = clock.elapsed() + (OTHER_PATIENCE if IN_USE in said else 0.0)
    while clock.elapsed() < end:
        if client := find(state_dir):
            return client, False
        clock.sleep(programs.PAUSE)
    raise _failure(said, path)


def _failure(said: str, log: Path) -> Failure:
    """The child's own words where it found some."""
    _, marker, words = f"\n{said}".rpartition("\nError: ")
    if marker:
        return Failure(words)
    last = "\n".join(said.splitlines()[-LAST_LINES:])
    return Failure(f"The emulator did not start; its last words (more in {log}):\n{last}")


def stop(client: Client, *, everything: bool) -> None:
    """Ask it to stop and wait until it is gone."""
    client.post("stop?all=1" if everything else "stop")
    if not programs.gone(client.pid, STOP_PATIENCE):
        raise Failure(
            f"The emulator (process {client.pid}) still stops after {STOP_PATIENCE:g} s.",
            f"kill -9 {client.pid} ends it; the next start cleans up.",
        )


def remove_everything(state_dir: str, flags: Mapping[str, Any]) -> bool:
    """Every container, network and volume that the state directory owns; False: it is new.

    Only an emulator knows what it owns, so one is started for it where none runs.
    """
    if not find(state_dir) and not any(Path(state_dir).glob("*.db")):
        return False
    client, _ = running(state_dir, flags)
    stop(client, everything=True)
    return True
