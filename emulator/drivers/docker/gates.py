"""Warm standbys: a container that runs already, and waits at a gate before its application.

Most of a start is the engine's: what waits in a shell needs a few milliseconds more. The gate is a
named pipe beside the instance's tree, which the shell reads from before it becomes the application;
what is written stays in it as long as somebody holds it open, whoever comes first.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from emulator.drivers.docker.records import Records
from emulator.model.errors import EngineError
from emulator.model.identifiers import InstanceId

INSIDE: Final = "/.apprunner-gate"
_WAIT: Final = 'read -r _ <"$0" && exec "$@"'
_MODE: Final = 0o644


class Gates:
    """By instance; `make` and `open` block, for a moment."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._held: dict[InstanceId, int] = {}

    def make(self, instance: InstanceId) -> None:
        """A shut one."""
        path = self.path(instance)
        with suppress(FileExistsError):
            os.mkfifo(path)
        path.chmod(_MODE)  # whatever user the image runs as

    def open(self, instance: InstanceId) -> None:
        """Whoever waits goes on, now or when it gets there; held open until the instance is gone."""
        if instance in self._held:
            return
        try:
            self._held[instance] = os.open(self.path(instance), os.O_RDWR | os.O_NONBLOCK)
            os.write(self._held[instance], b"\n")
        except OSError as error:
            raise EngineError(f"instance {instance} cannot be let go: {error}") from error

    def forget(self, instance: InstanceId) -> None:
        held = self._held.pop(instance, None)
        if held is not None:
            os.close(held)

    def path(self, instance: InstanceId) -> Path:
        return self._records.directory(instance) / "gate"


def waiting(command: Sequence[str]) -> list[str]:
    """The command that waits at the gate and then becomes `command`."""
    return ["/bin/sh", "-c", _WAIT, INSIDE, *command]
