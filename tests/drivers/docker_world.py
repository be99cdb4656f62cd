"""What tests of the Docker drivers stand on: an engine, a repository, and a tiny application.

The application is Perl, because every Debian image has it and nothing needs to be installed.
"""

import asyncio
import contextlib
import secrets
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from emulator.drivers.clock import SystemClock
from emulator.drivers.docker.connect import connection_to
from emulator.drivers.docker.engine import Engine, NotFoundError
from emulator.drivers.docker.instances import DockerInstances
from emulator.drivers.docker.labels import labelled
from emulator.model.configuration import ImageSource, InstanceSize, ServiceConfiguration
from emulator.model.errors import EngineError
from emulator.model.identifiers import Epoch, InstanceId, RevisionId, ServiceId
from emulator.model.instance import Endpoint, ObservedInstance
from emulator.model.revision import Revision, SourceTree
from emulator.model.service import Service, ServiceStatus
from emulator.model.settings import Limits
from emulator.model.source import TreeFile
from tests.fakes.logs import FakeLogs

IMAGES = ("apprunner-emulator/debian:bookworm", "debian:bookworm-slim")
SMALL = InstanceSize(cpu=256, memory=512)
COMMAND = ("perl", "/app/server.pl")

# HOST: where to listen; EXIT: a code to end with at once; EAT: take all memory; LINES: how many to
# print first. Answers every request with the file `text`, appended to what /app/written holds.
APPLICATION = r"""
use IO::Socket::INET;
$| = 1;
$SIG{TERM} = sub { print "terminated\n"; exit 0 };
print "line $_\n" for 1 .. ($ENV{LINES_WANTED} || 0);
print STDERR "complaint\n";
if (defined $ENV{EXIT}) { print "leaving\n"; exit $ENV{EXIT} }
if ($ENV{EAT}) { my @kept; push @kept, "x" x 1_000_000 while 1 }
my $host = $ENV{HOST} || "0.0.0.0";
my $socket = IO::Socket::INET->new(
    LocalAddr => $host, LocalPort => $ENV{PORT}, Listen => 5, ReuseAddr => 1) or die "cannot listen: $!";
print "listening\n";
while (my $client = $socket->accept) {
    my $line = <$client>;
    if ($line && $line =~ m{/write}) { open my $out, ">>", "/app/written"; print $out "w"; close $out }
    my $text = join "", map { my $f; open($f, "<", $_) ? do { local $/; <$f> } : "" } "/app/text", "/app/written";
    print $client "HTTP/1.0 200 OK\r\nContent-Length: " . length($text) . "\r\n\r\n$text";
    close $client;
}
"""


async def find_image(engine: Engine) -> str:
    """One that has Perl; pulled only where none is here."""
    for image in IMAGES:
        try:
            await engine.get(f"/images/{image}/json")
        except NotFoundError:
            continue
        return image
    try:
        async with aclosing(
            engine.stream("POST", "/images/create", {"fromImage": IMAGES[-1]})
        ) as lines:
            async for line in lines:
                if "error" in line:
                    pytest.fail(f"none of {IMAGES} is here, and none can be pulled: {line}")
    except EngineError as error:
        pytest.fail(f"none of {IMAGES} is here, and none can be pulled: {error}")
    return IMAGES[-1]


class Trees:
    """The part of a repository that instances need, by git's own command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._git("init", "--quiet")

    def make(self, files: Mapping[str, str], links: Mapping[str, str] | None = None) -> str:
        """The id of a tree of these files (and symbolic links) alone."""
        self._git("read-tree", "--empty")
        for name, content in files.items():
            self._add(name, "100755" if name.endswith(".sh") else "100644", content)
        for name, target in (links or {}).items():
            self._add(name, "120000", target)
        return self._git("write-tree")

    async def archive(
        self, repository: str, tree: str, paths: Sequence[str] = ()
    ) -> AsyncIterator[bytes]:
        process = await asyncio.create_subprocess_exec(
            *("git", "archive", "--format=tar", tree, *paths),
            cwd=repository,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        while chunk := await process.stdout.read(65536):
            yield chunk
        await process.wait()

    async def files(self, _: str, tree: str) -> tuple[TreeFile, ...]:
        listed = await asyncio.to_thread(self._git, "ls-tree", "-rl", tree)
        rows = [line.split(maxsplit=4) for line in listed.splitlines()]
        return tuple(
            TreeFile(path=path, mode=mode, blob=blob, size=int(size))
            for mode, _, blob, size, path in rows
        )

    def _add(self, name: str, mode: str, content: str) -> None:
        blob = self._git("hash-object", "-w", "--stdin", given=content)
        self._git("update-index", "--add", "--cacheinfo", f"{mode},{blob},{name}")

    def _git(self, *words: str, given: str = "") -> str:
        done = subprocess.run(
            ("git", *words),
            cwd=self.directory,
            check=True,
            capture_output=True,
            text=True,
            input=given,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/"},
        )
        return done.stdout.strip()


class ShiftedClock(SystemClock):
    """Ahead of the wall clock by `shift` seconds."""

    shift = 0.0

    def now(self) -> Epoch:
        return Epoch(super().now() + self.shift)


def new_service(name: str = "hello") -> Service:
    return Service(
        id=ServiceId(secrets.token_hex(16)),
        name=name,
        region="us-east-1",
        account="000000000000",
        label="abcdefghij",
        port=0,
        status=ServiceStatus.RUNNING,
        configuration=ServiceConfiguration(source=ImageSource(identifier="hello")),
        created_at=Epoch(0),
        updated_at=Epoch(0),
    )


def new_instance() -> InstanceId:
    return InstanceId(secrets.token_hex(16))


class DockerRig:
    """One emulator's share of an engine; `restart` is what a kill -9 leaves of the driver."""

    kind = "docker"

    def __init__(self, engine: Engine, image: str, directory: Path) -> None:
        self.engine = engine
        self.image = image
        self.state_dir = directory / "state"
        self.trees = Trees(directory / "repository")
        self.owner = f"test-{secrets.token_hex(6)}"
        self.logs = FakeLogs()
        self.clock = ShiftedClock()
        self.service = new_service()
        self.instances = self.restart()

    def restart(self) -> DockerInstances:
        self.instances = DockerInstances(
            self.engine,
            owner=self.owner,
            state_dir=self.state_dir,
            repository=self.trees,
            logs=self.logs,
            clock=self.clock,
            limits=Limits(),
        )
        return self.instances

    def revision(self, text: str = "one", number: int = 1, **env: str) -> Revision:
        tree = self.trees.make({"server.pl": APPLICATION, "text": text, "run.sh": "echo hi"})
        return self.revision_of(tree, number, **env)

    def revision_of(self, tree: str, number: int = 1, *, links: tuple = (), **env: str) -> Revision:
        return Revision(
            id=RevisionId(f"r{number}"),
            service=self.service.id,
            image=self.image,
            source=SourceTree(repository=str(self.trees.directory), tree=tree, links=links),
            command=COMMAND,
            directory="/app",
            env=env,
            size=SMALL,
            created_at=Epoch(0),
        )

    def crashing(self, code: int) -> Revision:
        return self.revision(EXIT=str(code))

    def local(self) -> Revision:
        """Listens where nobody outside can reach it."""
        return self.revision(HOST="127.0.0.1")

    async def answer(self, endpoint: Endpoint, path: str = "/") -> str:
        """Of the application, once it answers."""
        while True:
            try:
                found = await ask(endpoint, path)
            except OSError:
                found = ""
            if found:
                return found
            await self.clock.sleep(0.01)

    async def launch(self, revision: Revision) -> tuple[InstanceId, Endpoint]:
        instance = new_instance()
        await self.instances.prepare(instance, self.service, revision)
        return instance, await self.instances.start(instance, revision)

    async def seen(self, instance: InstanceId) -> ObservedInstance | None:
        found = [o for o in await self.instances.observe() if o.id == instance]
        assert len(found) <= 1
        return found[0] if found else None

    async def until(self, instance: InstanceId, state: str) -> ObservedInstance:
        while True:
            found = await self.seen(instance)
            if found is not None and found.state == state:
                return found
            await self.clock.sleep(0.02)

    async def remove_by_hand(self, instance: InstanceId) -> None:
        await self.engine.delete(await self.path(instance, "instance"), {"force": True})

    async def path(self, instance: InstanceId, role: str) -> str:
        """Where the engine's API has a container of an instance."""
        filters = labelled(self.owner, role, instance=instance)
        (found,) = await self.engine.get("/containers/json", {"all": True, "filters": filters})
        return f"/containers/{found['Id']}"

    async def containers(self) -> list:
        filters = {"all": True, "filters": labelled(self.owner)}
        return await self.engine.get("/containers/json", filters)

    async def networks(self) -> list:
        return await self.engine.get("/networks", {"filters": labelled(self.owner)})

    def directories(self) -> list[str]:
        return [path.name for path in (self.state_dir / "instances").glob("*")]

    async def apart(self) -> None:
        """From now on treat the engine as one that shares nothing with this machine."""
        hosts = self.instances._hosts
        hosts._host = replace(await hosts.here(), shared=False, dials=False)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """With application logs being copied."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.instances.run())
            try:
                yield
            finally:
                task.cancel()

    async def tail(self, instance: InstanceId) -> tuple[str, ...]:
        return await self.logs.tail(self.service.id, f"instance/{instance}", 1_000_000)

    async def close(self) -> None:
        self.restart()
        await self.instances.sweep([], [])


async def ask(endpoint: Endpoint, path: str = "/") -> str:
    """One request; empty if it was hung up on."""
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    return answer.decode().partition("\r\n\r\n")[2]


class Relay:
    """A socket in front of the engine's that can be cut and mended."""

    def __init__(self, path: Path, target: str) -> None:
        self.path = path
        self.target = target
        self.engine = Engine(connection_to(f"unix://{path}", origin="test"))
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.cut()

    async def mend(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def cut(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_unix_connection(self.target)
        self._writers |= {writer, their_writer}
        await asyncio.gather(_pump(reader, their_writer), _pump(their_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
