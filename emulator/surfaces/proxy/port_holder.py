"""Who holds a TCP port, so that "address in use" can say what to do about it (Linux)."""

from pathlib import Path

_LISTEN = "0A"


def holder_of(port: int, *, proc: Path = Path("/proc")) -> str:
    """`nginx (pid 123)`, or "" where that cannot be known. Reads /proc: call it in a thread."""
    inodes = {
        inode for table in ("tcp", "tcp6") for inode in _listeners(proc / "net" / table, port)
    }
    if not inodes:
        return ""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in proc.glob("[0-9]*"):
        if _holds(process, wanted):
            return f"{_name(process)} (pid {process.name})"
    return ""


def _listeners(table: Path, port: int) -> list[str]:
    """The inodes of the sockets that listen on a port, from one of the kernel's tables."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    suffix = f":{port:04X}"
    return [row[9] for row in rows if row[1].endswith(suffix) and row[3] == _LISTEN]


def _holds(process: Path, wanted: set[str]) -> bool:
    try:
        return any(str(link.readlink()) in wanted for link in (process / "fd").iterdir())
    except OSError:  # it has ended, or belongs to somebody else
        return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
