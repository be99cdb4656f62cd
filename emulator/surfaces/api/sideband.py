"""git's packet lines, as far as a push's answer is concerned.

Receive-pack's answer is a sequence of packets (four hex digits of length, then content) that a
flush packet (`0000`) ends. With a side band each packet's first byte is its band: 1 carries the
report of what became of each reference, 2 what the pusher sees as `remote: …`, 3 a last word.
"""

import re
from collections.abc import Iterator

FLUSH = b"0000"
REPORT, PROGRESS, FATAL = b"\x01", b"\x02", b"\x03"
LENGTH = 4  # digits
MOST = 60_000  # bytes of text in a packet; git allows 65,515
_HEX = re.compile(rb"[0-9a-fA-F]{4}")


class Answer:
    """Receive-pack's answer on its way to the pusher, but for its end: there is more to say."""

    def __init__(self) -> None:
        self.end = b""  # what is held back
        self.banded = False  # whether the pusher shows what is said on a band of its own
        self._left = b""
        self._report = bytearray()

    def passed(self, data: bytes) -> bytes:
        """What of it may go on at once: whole packets up to the flush that ends it."""
        packets, self._left = _split(self._left + data)
        passed = b""
        for packet in packets:
            passed += self.end
            self.end = b""
            if packet == FLUSH:
                self.end = packet
                continue
            self._look(packet[LENGTH:])
            passed += packet
        return passed

    def rest(self) -> bytes:
        """The end, for when there is no more."""
        return self.end + self._left

    def updated(self) -> tuple[str, ...]:
        """The references that the push has made, moved or removed."""
        packets, _ = _split(bytes(self._report))
        lines = [packet[LENGTH:].decode(errors="surrogateescape").strip() for packet in packets]
        return tuple(line.removeprefix("ok ") for line in lines if line.startswith("ok "))

    def _look(self, content: bytes) -> None:
        band = content[:1]
        if band in {REPORT, PROGRESS, FATAL}:
            self.banded = True
        if band == REPORT:
            self._report += content[1:]
        elif not self.banded:  # a pusher without side band gets the bare report
            self._report += packet(content)


def packet(content: bytes) -> bytes:
    return f"{len(content) + LENGTH:04x}".encode() + content


def said(text: str) -> bytes:
    """Packets that the pusher's git prints, each line after its `remote: `."""
    return b"".join(
        packet(PROGRESS + piece)
        for line in text.splitlines()
        for piece in _pieces(f"{line}\n".encode(errors="replace"))
    )


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), MOST):
        yield data[start : start + MOST]


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole packets, and what is left of `data`; what is no packet is left for ever."""
    packets, at = [], 0
    while _HEX.fullmatch(data[at : at + LENGTH]):
        size = max(int(data[at : at + LENGTH], 16), LENGTH)
        if at + size > len(data):
            break
        packets.append(data[at : at + size])
        at += size
    return packets, data[at:]
