"""Which TCP sockets are listened on in a network namespace, as the kernel lists them."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from emulator.model.instance import Endpoint

FILES: Final = ("net/tcp", "net/tcp6")
_LISTENING = "0A"
_ADDRESS, _STATE, _QUEUES = 1, 3, 4
_ENGINE_NAMES: Final = "127.0.0.11"  # the engine's own name server, in every user network
_IPV4_DIGITS: Final = 8


def read_tables(pid: int) -> str:
    """Of the namespace that a process of this machine is in; empty when it is gone."""
    return "\n".join(_read(Path(f"/proc/{pid}/{name}")) for name in FILES)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def parse_tables(tables: str) -> tuple[Endpoint, ...]:
    """Sorted, each once."""
    found = {e for line in tables.splitlines() for e in _listening(line.split())}
    return tuple(sorted(found, key=lambda endpoint: (endpoint.port, endpoint.host)))


def accepts(tables: str, port: int) -> bool:
    """Whether a port is listened on, and no connection waits there to be accepted."""
    waiting = {w for line in tables.splitlines() for w in _waiting(line.split(), port)}
    return waiting == {0}


def _waiting(columns: list[str], port: int) -> Iterator[int]:
    """Of a socket that listens, the kernel shows in place of received bytes how many wait."""
    if any(endpoint.port == port for endpoint in _listening(columns)):
        yield int(columns[_QUEUES].partition(":")[2], 16)


def _listening(columns: list[str]) -> Iterator[Endpoint]:
    if len(columns) > _STATE and columns[_STATE] == _LISTENING:
        address, _, port = columns[_ADDRESS].partition(":")
        host = _host(address)
        if host != _ENGINE_NAMES:
            yield Endpoint(host=host, port=int(port, 16))


def _host(digits: str) -> str:
    """Words of 32 bits in the machine's order: little endian wherever instances run."""
    packed = b"".join(
        bytes.fromhex(digits[start : start + _IPV4_DIGITS])[::-1]
        for start in range(0, len(digits), _IPV4_DIGITS)
    )
    if len(digits) == _IPV4_DIGITS:
        return str(IPv4Address(packed))
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)
