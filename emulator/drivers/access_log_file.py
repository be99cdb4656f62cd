"""The load balancer's access log on disk: lines appended to a file that is kept small."""

from pathlib import Path


class AccessLogFile:
    """`limit` in bytes, for the file and the older half beside it (`.1`) together."""

    def __init__(self, path: Path, *, limit: int) -> None:
        self._path = path
        self._half = limit // 2

    def write(self, lines: bytes) -> None:
        """Whole lines. Raises OSError."""
        size = self._size()
        if size and size + len(lines) > self._half:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        with self._path.open("ab") as file:
            file.write(lines)

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0
