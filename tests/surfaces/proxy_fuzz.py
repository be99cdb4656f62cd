"""Generated and mutated byte streams through the load balancer to a strict, recording instance.

Whatever arrives must be what the client's bytes unambiguously meant (`http_oracle`), in order and
byte for byte; what is beyond doubt must arrive. The answers must be well formed and in order, no
connection may hang, nothing may be left over at the end.

A stream comes in pieces cut anywhere, or in turns: requests with the same headers, each sent when
the one before has its answer, which is how requests come to take the short way (`quick.py`).

`make fuzz` runs it for as long as one likes.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from random import Random  # noqa: TID251 - a seed makes it repeatable
from typing import NamedTuple

from emulator.controllers.balancer import Balancer, Target
from emulator.controllers.router import Router
from emulator.drivers.certificates import Certificates
from emulator.model.identifiers import InstanceId, ServiceId
from emulator.model.instance import Endpoint
from emulator.model.settings import Addresses, LoadBalancer
from emulator.surfaces.proxy.listener import Proxy
from tests.helpers import turn
from tests.surfaces import http_oracle
from tests.surfaces.proxy_world import CLOCK, until

LANES = 16
QUIET = 0.05  # seconds without a byte: nothing more will come
HANG = 10.0

_ADDED = {
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-request-id",
    b"x-envoy-external-address",
    b"x-envoy-expected-rq-timeout-ms",
}
_LOOK_ALIKE = _ADDED | {b"transfer-encoding", b"content-length", b"host", b"expect", b"connection"}
_LOOK_ALIKE |= {b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}
_NO_HOST = (b"host", b"localhost")  # what HTTP/1.0 left out
_REFUSALS = 400


class FoundError(AssertionError):
    """The fuzzer found something; says how to see it again."""


# What is sent.


METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH"]
TARGETS = [b"/", b"/a?b=c", b"/%00%0d%0a", b"//x/../y", b"/a;b=c?d#", b"/" + b"l" * 300, b"*"]
TARGETS += [b"http://h/p?q", b"http://h", b"http://other/p", b"https://h:443/?", b"ftp://h/"]
TARGETS += [b"h/p", b"/a b", b"/\xff", b"/\x00", b"http://u@h/"]
VERSIONS = [b"HTTP/1.1"] * 12 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 "]
VERSIONS += [b"RTSP/1.0", b"HTTP/01.1", b""]
BLANKS = [b" "] * 20 + [b"  ", b"\t", b"\x0b", b"\r", b"\n"]
ENDS = [b"\r\n"] * 40 + [b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r\n"]
COLONS = [b": "] * 20 + [b":", b":\t", b" :", b"\t:", b"\r\n :", b"", b"::", b":\x0b", b"\x00:"]
LENGTHS = [b"+%d", b"-%d", b"0%d", b"%d ", b" %d", b"%d,%d", b"0x%d", b"%d_0", b"%d\x00", b""]
LENGTHS += [b"18446744073709551616", b"9223372036854775808", b"%d.0", b"%d;", b"\x0b%d"]
CODINGS = [
    b"xchunked",
    b"chunked;q=1",
    b"gzip, chunked",
    b"chunked, gzip",
    b"identity",
    b"ch unked",
]
CODINGS += [b"\x0bchunked", b"chunked\x00", b'"chunked"', b"CHUNKED", b"chunked,", b", chunked"]
CODINGS += [b"", b"chunked, chunked", b"chunked\t", b"\xc3\xa7hunked"]
NAMES = [b"Transfer-Encoding", b"transfer-encoding", b"Transfer_Encoding", b"Transfer-Encoding\x00"]
NAMES += [b"Content-Length", b"content-length", b"Content_Length", b"Content-Length\xa0", b"\xefA"]
HEADERS = [b"A: 1\r\n", b"Cookie: a=b; c=d\r\n", b"X-Forwarded-For: 6.6.6.6\r\n", b"Empty:\r\n"]
HEADERS += [b"Connection: keep-alive\r\n", b"Connection: close\r\n", b"Connection: a, x-secret\r\n"]
HEADERS += [b"X-Secret: 1\r\n", b"Expect: 100-continue\r\n", b"TE: trailers\r\n", b"B: \xe9\t2\r\n"]
HEADERS += [b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"X-Request-Id: mine\r\n", b"A: 2 \t\r\n"]
HEADERS += [b"X_Forwarded_For: 6.6.6.6\r\n", b"Host: other\r\n", b"A: 1\r\n 2\r\n", b"A: \x01\r\n"]
HEADERS += [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Trailer: A\r\n"]
HEADERS += [b"Connection: content-length\r\n", b"Connection: host, transfer-encoding\r\n"]
SIZES = [b"%x ", b" %x", b"0x%x", b"+%x", b"-%x", b"%x;a=b", b"%x;a", b"%x;", b"%x\t", b"%x\x00"]
SIZES += [b"000%x", b'%x;a="b\\"c"', b"1000000000000000%x", b"%x;\xff", b"%x ;a"]
TRAILERS = [b"A: 1\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"A 1\r\n"]
TRAILERS += [b"Host: x\r\n", b" A: 1\r\n"]
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
SPLICES = [b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b";", b"0\r\n\r\n", b"0", SMUGGLED]
SPLICES += [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 4\r\n", b"\r\n\r\n", b"\xff", b","]


class Grammar:
    """Streams of requests; `plain`: nothing that is not beyond doubt."""

    def __init__(self, random: Random, *, plain: bool) -> None:
        self.random = random
        self.plain = plain

    def odd(self, chance: float = 0.04) -> bool:
        return not self.plain and self.random.random() < chance

    def turns(self) -> list[bytes]:
        """Requests that differ in their first lines, and what differs otherwise where it is odd."""
        pick = self.random.choice
        fields = [b"Host: h\r\n", *self.random.sample(HEADERS[:4], pick((0, 1, 3)))]
        if self.odd(0.3):
            fields.append(pick(HEADERS))
        known = b"\r\n" + b"".join(fields) + b"\r\n"
        parts = [self.turn(known) for _ in range(pick((3, 6, 10)))]
        for n in range(len(parts) - 1):
            if self.odd(0.1):  # the next one's beginning comes with this one, or this one is late
                joined = parts[n] + parts[n + 1]
                at = self.random.randrange(len(joined) + 1)
                parts[n : n + 2] = [joined[:at], joined[at:]]
        return parts

    def turn(self, known: bytes) -> bytes:
        pick = self.random.choice
        if self.odd(0.1):
            return self.request()
        target = pick(TARGETS) if self.odd(0.1) else pick(TARGETS[:4])
        version = pick(VERSIONS) if self.odd(0.05) else b"HTTP/1.1"
        blank = pick(BLANKS) if self.odd(0.05) else b" "
        data = pick(METHODS) + blank + target + b" " + version + known
        return self.mutated(data) if self.odd(0.05) else data

    def stream(self) -> bytes:
        parts = [self.request() for _ in range(self.random.choice([1, 1, 1, 2, 3, 5]))]
        data = b"".join(parts)
        if not self.plain:
            for _ in range(self.random.choice([0, 0, 1, 1, 2, 4])):
                data = self.mutated(data)
        return data

    def request(self) -> bytes:
        pick = self.random.choice
        method = pick(METHODS)
        target = pick(TARGETS) if self.odd(0.3) else pick(TARGETS[:4])
        version = pick(VERSIONS) if self.odd(0.2) else b"HTTP/1.1"
        blank, other = (pick(BLANKS), pick(BLANKS)) if self.odd(0.2) else (b" ", b" ")
        fields, body = self.body(method)
        head = method + blank + target + other + version + self.end()
        lines = [self.field(b"Host", b"h"), *fields]
        lines += [
            pick(HEADERS) if self.odd(0.5) else pick(HEADERS[:4]) for _ in range(pick((0, 1, 3)))
        ]
        if self.odd(0.2):
            lines.append(self.field(pick(NAMES), pick([b"chunked", b"5", b"0"])))
        self.random.shuffle(lines)
        return head + b"".join(lines) + self.end() + body

    def end(self) -> bytes:
        return self.random.choice(ENDS) if self.odd() else b"\r\n"

    def field(self, name: bytes, value: bytes) -> bytes:
        colon = self.random.choice(COLONS) if self.odd() else b": "
        return name + colon + value + self.end()

    def body(self, method: bytes) -> tuple[list[bytes], bytes]:
        if method in {b"GET", b"HEAD", b"DELETE", b"OPTIONS"} and not self.odd(0.2):
            return [], b""
        content = self.content()
        if self.random.random() < 0.5:
            return [self.field(b"Content-Length", self.length(len(content)))], content
        coding = self.random.choice(CODINGS) if self.odd(0.2) else b"chunked"
        fields = [self.field(b"Transfer-Encoding", coding)]
        if self.odd(0.2):
            fields.append(self.field(b"Content-Length", self.length(len(content))))
        return fields, self.chunks(content)

    def content(self) -> bytes:
        kind = self.random.randrange(5)
        if kind == 0:
            return SMUGGLED
        if kind == 1:
            return b"0\r\n\r\n" + SMUGGLED
        if kind == 2:
            return self.random.randbytes(self.random.choice([1, 2, 1000, 20_000]))
        return b"x" * self.random.choice([0, 1, 3, 10])

    def length(self, right: int) -> bytes:
        if not self.odd(0.3):
            return b"%d" % right
        form = self.random.choice([*LENGTHS, b"%d"])
        wrong = max(right + self.random.choice([-1, 0, 1, 5]), 0)
        return form.replace(b"%d", b"%d" % wrong)

    def chunks(self, content: bytes) -> bytes:
        out = b""
        while content:
            cut = self.random.randint(1, len(content))
            form = self.random.choice(SIZES) if self.odd(0.1) else b"%x"
            size = max(cut + self.random.choice([-1, 1]), 0) if self.odd() else cut
            out += form % size + self.end() + content[:cut] + self.end()
            content = content[cut:]
        trailers = [t for t in TRAILERS[: 1 if self.plain else None] if self.random.random() < 0.1]
        last = self.random.choice([b"00", b"0;a=b", b"0 ", b"", b"-0"]) if self.odd() else b"0"
        return out + last + self.end() + b"".join(trailers) + self.end()

    def mutated(self, data: bytes) -> bytes:
        at = self.random.randrange(len(data) + 1)
        to = min(at + self.random.choice([1, 1, 2, 8, 40]), len(data))
        match self.random.randrange(5):
            case 0:
                return data[:at] + self.random.choice(SPLICES) + data[at:]
            case 1:
                return data[:at] + data[to:]
            case 2:
                return data[:at] + bytes([self.random.randrange(256)]) + data[at + 1 :]
            case 3:
                return data[:to] + data[at:]
            case _:
                return data[:at]


# Who receives it.


@dataclass
class Recorder:
    """An instance that reads as strictly as can be, and numbers what it answers."""

    random: Random
    begun: list[http_oracle.Meant] = field(default_factory=list)
    wrong: list[bytes] = field(default_factory=list)
    port: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            while await self.exchange(reader, writer):
                pass
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False: the connection ends."""
        data = await reader.read(2**16)
        place = len(self.begun)
        more = data
        while more:
            reading = http_oracle.read(data)
            if len(reading.requests) > 1 or (b"\r\n\r\n" in data and not reading.requests):
                self.wrong.append(data)
            self.begun[place:] = reading.requests[:1]
            if reading.whole:
                if reading.rest:
                    self.wrong.append(data)
                answer = self.answer(reading.requests[0], place)
                closing = self.random.random() < 0.05
                if closing and self.random.random() < 0.5:
                    answer = answer.replace(b"X-N", b"Connection: close\r\nX-N")
                writer.write(answer)
                return not closing
            more = await reader.read(2**16)
            data += more
        return False

    def answer(self, request: http_oracle.Meant, number: int) -> bytes:
        body = b"" if request.method == b"HEAD" else b"n%d" % number
        mark = b"X-N: %d\r\n" % number
        match self.random.randrange(6):
            case 0:
                return b"HTTP/1.1 204 No Content\r\n" + mark + b"\r\n"
            case 1:
                chunked = b"%x;e=1\r\n%b\r\n0\r\nT: 1\r\n\r\n" % (len(body), body) if body else b""
                return (
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + mark + b"\r\n" + chunked
                )
            case 2:
                early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
                return (
                    early
                    + b"HTTP/1.1 404 N\r\nContent-Length: %d\r\n" % len(body)
                    + mark
                    + b"\r\n"
                    + body
                )
            case _:
                return (
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(body) + mark + b"\r\n" + body
                )


@dataclass
class Lane:
    """A service of its own, so that many streams are under way at once."""

    port: int
    recorder: Recorder
    balancer: Balancer


@asynccontextmanager
async def lanes(directory: Path, random: Random) -> AsyncIterator[tuple[Proxy, list[Lane]]]:
    router = Router()
    certificates = Certificates(directory, CLOCK)
    await certificates.load()
    addresses = Addresses(https_port=0, http_port=0)
    built: list[Lane] = []
    async with AsyncExitStack() as stack:
        proxy = Proxy(router, certificates, addresses, CLOCK, limits=LoadBalancer(), grace=0.1)
        await stack.enter_async_context(proxy)
        for number in range(LANES):
            recorder = Recorder(Random(random.random()))
            server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0)
            stack.callback(server.close)
            recorder.port = server.sockets[0].getsockname()[1]
            balancer = Balancer(
                CLOCK,
                max_concurrency=10,
                queue_limit=10,
                queue_wait=5.0,
                wake=lambda: None,
                thaw=_nothing,
                activity=lambda _instance, _active: None,
            )
            endpoint = Endpoint(host="127.0.0.1", port=recorder.port)
            balancer.route([Target(instance=InstanceId(f"{number:032x}"), endpoint=endpoint)])
            service = ServiceId(f"{number:032x}")
            router.add(service, [f"lane{number}.localhost"], balancer)
            port = await proxy.doors.open(service, 0)
            built.append(Lane(port, recorder, balancer))
        yield proxy, built
    await until(lambda: not any(lane.recorder.writers for lane in built))


async def _nothing(_instance: InstanceId) -> None:
    return None


# One stream.


async def take_turns(lane: Lane, parts: list[bytes]) -> bytes:
    """Send each when what was asked before has its answer; all that came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lane.port)
    received = b""
    try:
        for part, sent in zip(parts, accumulate(parts), strict=True):
            if reader.at_eof():
                break
            writer.write(part)
            received += await listen(reader, http_oracle.read(sent).whole - _answers(received))
        return received
    finally:
        writer.close()


async def talk(lane: Lane, data: bytes, random: Random, meant: http_oracle.Reading) -> bytes:
    """Send it in pieces; all that came back until nothing more will."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lane.port)
    try:
        at = 0
        while at < len(data):
            step = random.choice([1, 3, 20, 200, len(data)])
            writer.write(data[at : at + step])
            at += step
            if at < 2000:
                await turn()
        return await listen(reader, meant.whole, longer=True)
    finally:
        writer.close()


def _answers(received: bytes) -> int:
    return received.count(b"x-n: ")


async def listen(reader: asyncio.StreamReader, expected: int, *, longer: bool = False) -> bytes:
    """Until the end; or until all that were expected have answered, and it is quiet (`longer`)."""
    received = b""
    began = time_now()
    while time_now() - began < HANG:
        try:
            async with asyncio.timeout(QUIET):
                more = await reader.read(2**16)
        except TimeoutError:
            if _answers(received) >= expected:
                return received
            continue
        except ConnectionError:
            return received
        if not more:
            return received
        received += more
        if expected and not longer and _answers(received) >= expected:
            return received
    raise FoundError(f"it hangs: {received!r} came back")


def time_now() -> float:
    return asyncio.get_running_loop().time()


async def one(lane: Lane, seed: int) -> None:
    random = Random(seed)
    plain = random.random() < 0.3
    grammar = Grammar(random, plain=plain)
    parts = grammar.turns() if random.random() < 0.4 else []
    data = b"".join(parts) or grammar.stream()
    meant = http_oracle.read(data)
    lane.recorder.begun.clear()
    received = await (take_turns(lane, parts) if parts else talk(lane, data, random, meant))
    try:
        async with asyncio.timeout(HANG):
            await until(lambda: lane.balancer.total_in_flight == 0, seconds=HANG)
        _compare(meant, lane.recorder, plain=plain)
        _check_answers(meant, received)
    except AssertionError as error:
        raise FoundError(
            f"seed {seed}: {error}\nsent: {data!r}\nmeant: {meant}\n"
            f"arrived: {lane.recorder.begun}\ncame back: {received!r}"
        ) from error


def _compare(meant: http_oracle.Reading, recorder: Recorder, *, plain: bool) -> None:
    assert not recorder.wrong, f"an instance got what is not HTTP: {recorder.wrong}"
    assert len(recorder.begun) <= len(meant.requests), "more arrived than was meant"
    for arrived, request in zip(recorder.begun, meant.requests, strict=False):
        assert arrived.method == request.method
        assert arrived.target == request.target
        assert arrived.body in {None, request.body}, "another body"
        assert _own(arrived) == _own(request) or _own(arrived) == [*_own(request), _NO_HOST], (
            "other headers"
        )
    if plain:
        assert meant.whole == len(recorder.begun), "something that was meant did not arrive"


def _own(request: http_oracle.Meant) -> list[tuple[bytes, bytes]]:
    """What an application sees of the client's headers."""
    return [
        (name, value)
        for name, value in request.end_to_end()
        if name not in _ADDED
        and not ("_" in name.decode() and name.replace(b"_", b"-") in _LOOK_ALIKE)
    ]


def _check_answers(meant: http_oracle.Reading, received: bytes) -> None:
    """Those of the instance in order, then perhaps one of the load balancer's own."""
    number = 0
    while received:
        head, found, received = received.partition(b"\r\n\r\n")
        assert found, "half a head came back"
        first, *lines = head.split(b"\r\n")
        version, status, _ = first.split(b" ", 2)
        assert version == b"HTTP/1.1"
        if status == b"100":
            continue
        fields = dict(line.split(b": ", 1) for line in lines)
        request = meant.requests[number] if number < len(meant.requests) else None
        if fields.get(b"connection") == b"close" and b"x-n" not in fields:
            assert int(status) >= _REFUSALS, first
            assert len(received) in {0, int(fields[b"content-length"])}, "more after a refusal"
            return
        to_head = request is not None and request.method == b"HEAD"
        received = _skip_body(int(status), fields, received, to_head=to_head)
        assert int(fields[b"x-n"]) == number, "answers out of order"
        number += 1


def _skip_body(status: int, fields: dict[bytes, bytes], data: bytes, *, to_head: bool) -> bytes:
    if to_head or status == 204:
        return data
    if fields.get(b"transfer-encoding") == b"chunked":
        _, rest = http_oracle._chunks(data)
        return rest
    if b"content-length" in fields:
        length = int(fields[b"content-length"])
        assert len(data) >= length, "half a body came back"
        return data[length:]
    return b""


class Ran(NamedTuple):
    """Streams that were sent; requests that were answered, and those of them by the short way."""

    streams: int
    answered: int
    quick: int


async def run(*, seed: int, cases: int | None = None, seconds: float | None = None) -> Ran:
    """Raises FoundError."""
    with tempfile.TemporaryDirectory() as directory:
        async with lanes(Path(directory), Random(seed)) as (proxy, built):
            began = time_now()
            numbers = iter(range(seed, seed + (cases or sys.maxsize)))
            done = 0

            async def drive(lane: Lane) -> None:
                nonlocal done
                for number in numbers:
                    await one(lane, number)
                    done += 1
                    if seconds is not None and time_now() - began > seconds:
                        return

            async with asyncio.TaskGroup() as group:
                for lane in built:
                    group.create_task(drive(lane))
            await until(lambda: proxy.connections == 0)
            answered = sum(counters.requests for counters in proxy.log.all_counters.values())
            return Ran(done, answered, proxy._floor.quick)
