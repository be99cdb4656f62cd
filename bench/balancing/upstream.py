"""What stands behind every proxy: an HTTP/1.1 server that costs next to nothing itself.

    python -m bench.balancing.upstream      prints its port

`GET /` answers 1 KiB, `GET /bytes/N` N bytes; whatever has a body is read to its end first. It
understands what the proxies of this benchmark send and no more.
"""

import asyncio
import sys

import uvloop

SMALL = b"x" * 1024
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n"
PIECE = b"x" * 2**18


class Server(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0  # bytes of a counted body
        self._chunked = False
        self._tail = b""
        self._target = b""
        self._room = asyncio.Event()
        self._room.set()
        self._writing: asyncio.Task | None = None

    def connection_made(self, transport) -> None:
        self.transport = transport

    def connection_lost(self, exc) -> None:  # noqa: ARG002
        if self._writing is not None:
            self._writing.cancel()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
            if not self._left:
                self._answer()
        elif self._chunked:
            self._tail = (self._tail + data)[-5:]
            if self._tail == b"0\r\n\r\n":
                self._chunked = False
                self._answer()
        else:
            self._head(self._buffer + data)

    def _head(self, data: bytes) -> None:
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            self._buffer = data
            return
        self._buffer = b""
        self._target = head.split(b" ", 2)[1]
        lower = head.lower()
        if b"\r\ntransfer-encoding: chunked" in lower:
            self._chunked, self._tail = True, b""
        elif b"\r\ncontent-length: " in lower:
            self._left = int(lower.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
        if not (self._left or self._chunked):
            self._answer()
        elif rest:
            self.data_received(rest)

    def _answer(self) -> None:
        if self._target.startswith(b"/bytes/"):
            size = int(self._target[len(b"/bytes/") :])
            self._writing = asyncio.get_running_loop().create_task(self._write(size))
            return
        self.transport.write(ANSWER % len(SMALL) + SMALL)

    async def _write(self, size: int) -> None:
        self.transport.write(ANSWER % size)
        while size:
            await self._room.wait()
            piece = PIECE[:size]
            self.transport.write(piece)
            size -= len(piece)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
