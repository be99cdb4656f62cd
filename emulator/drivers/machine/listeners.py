"""Who listens on a port: "address in use" alone does not help anybody."""

import asyncio
import errno
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emulator.drivers.machine.computer import Computer
from emulator.drivers.process import ProcessError

LISTENING = "0A"
STATE, INODE = 3, 9  # columns of /proc/net/tcp
LSOF_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A process that has a port; pid 0 where only root could tell."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})" if self.pid else "another program"


UNKNOWN = Listener(pid=0, name="")


def problem_with(host: str, port: int) -> OSError | None:
    """What the kernel says to somebody who would listen there. For a thread."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
    except OSError as error:
        return error
    return None


def is_taken(problem: OSError) -> bool:
    return problem.errno == errno.EADDRINUSE


async def find_listener(computer: Computer, port: int) -> Listener:
    """By /proc, elsewhere by lsof."""
    if computer.system == "linux":
        return await asyncio.to_thread(_by_proc, computer, port)
    try:
        found = await computer.call(
            "lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc", timeout=LSOF_SECONDS
        )
    except ProcessError:
        return UNKNOWN
    match = re.search(rb"^p(\d+)\nc(.*)$", found.out, re.MULTILINE)
    return Listener(pid=int(match[1]), name=match[2].decode(errors="replace")) if match else UNKNOWN


def _by_proc(computer: Computer, port: int) -> Listener:
    links = {f"socket:[{inode}]" for inode in _sockets(computer, port)}
    if not links:
        return UNKNOWN
    for process in (computer.root / "proc").glob("[0-9]*"):
        if not links.isdisjoint(_open_files(process)):
            name = computer.read(f"proc/{process.name}/comm") or "a program"
            return Listener(pid=int(process.name), name=name.strip())
    return UNKNOWN


def _sockets(computer: Computer, port: int) -> Iterator[str]:
    """The inodes of sockets that listen on a port."""
    for table in ("proc/net/tcp", "proc/net/tcp6"):
        for line in (computer.read(table) or "").splitlines()[1:]:
            columns = line.split()
            if columns[STATE] == LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[INODE]


def _open_files(process: Path) -> Iterator[str]:
    try:
        for descriptor in (process / "fd").iterdir():
            yield str(descriptor.readlink())
    except OSError:  # it ended, or belongs to somebody else
        return
