"""The registry's program and its process on this computer, for the doctor and for who starts it."""

from pathlib import Path
from typing import Final

from emulator.drivers.machine.computer import Computer

HOST: Final = "127.0.0.1"
PROGRAMS: Final = ("docker-registry", "registry")  # Debian's name, and its own (Fedora's)
PID: Final = "pid"
CONFIGURATION: Final = "config.yml"


def directory_of(state_dir: Path) -> Path:
    """Where all of the registry's is."""
    return state_dir / "registry"


def find_program(computer: Computer) -> str | None:
    """For a thread."""
    found = (computer.find(name) for name in PROGRAMS)
    return next((path for path in found if path), None)


def find_process(computer: Computer, state_dir: Path) -> int | None:
    """The process that serves a state directory, whoever started it. For a thread."""
    directory = directory_of(state_dir)
    try:
        pid = int((directory / PID).read_text())
    except (OSError, ValueError):
        return None
    command = computer.read(f"proc/{pid}/cmdline") or ""
    return pid if str(directory / CONFIGURATION) in command.split("\0") else None
