"""The engine's client and the parts of the drivers that need no container."""

import asyncio
import hashlib
import io
import json
import tarfile
from contextlib import aclosing

import pytest

from emulator.drivers.docker import connect, consumption, freezer, sandbox
from emulator.drivers.docker.application_logs import Cursor, Line, Order, parse_frame
from emulator.drivers.docker.connect import Tls, connection_to, find_connection
from emulator.drivers.docker.engine import Engine, NotFoundError, _negotiated, _take_frames
from emulator.drivers.docker.freezer import KernelFreezer, find_switch
from emulator.drivers.docker.observation import parse_time
from emulator.drivers.docker.sockets import accepts, parse_tables
from emulator.drivers.docker.trees import lay_tree, pack_tree
from emulator.model.errors import EngineError, EngineUnavailableError
from emulator.model.instance import Endpoint
from emulator.model.usage import Consumption
from tests.conftest import ENVIRONMENT
from tests.fakes.clock import LoopClock


class TestFindingTheEngine:
    def test_docker_host_comes_first(self, tmp_path):
        found = find_connection({"DOCKER_HOST": "unix:///x.sock", "HOME": str(tmp_path)})
        assert (found.address, found.local, found.origin) == ("unix:///x.sock", True, "DOCKER_HOST")

    @pytest.mark.parametrize(
        ("host", "address"),
        [
            ("tcp://10.0.0.1", "tcp://10.0.0.1:2375"),
            ("10.0.0.1:99", "tcp://10.0.0.1:99"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
            ("https://build", "tcp://build:2376"),
        ],
    )
    def test_an_address_gets_its_usual_port(self, host, address):
        found = connection_to(host, origin="test")
        assert (found.address, found.local) == (address, False)

    def test_certificates_are_found_where_docker_looks_for_them(self, tmp_path):
        (tmp_path / "ca.pem").touch()
        environment = {
            "DOCKER_HOST": "tcp://far",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(tmp_path),
        }
        found = find_connection(environment)
        assert found.tls == Tls(authority=str(tmp_path / "ca.pem"))
        assert (found.url, found.hostname) == ("https://far:2376", "far")

    def test_what_it_cannot_speak_is_refused_in_words(self):
        with pytest.raises(EngineUnavailableError, match="ssh://"):
            find_connection({"DOCKER_HOST": "ssh://far"})

    def test_the_current_context_is_used(self, tmp_path, monkeypatch):
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        (tmp_path / "config.json").write_text(json.dumps({"currentContext": "far"}))
        meta = tmp_path / "contexts" / "meta" / hashlib.sha256(b"far").hexdigest()
        meta.mkdir(parents=True)
        endpoints = {"docker": {"Host": "unix:///far.sock", "SkipTLSVerify": False}}
        content = {"Name": "far", "Metadata": {}, "Endpoints": endpoints}
        (meta / "meta.json").write_text(json.dumps(content))
        monkeypatch.setattr("docker.context.config.get_context_dir", lambda: tmp_path / "contexts")
        found = find_connection({"DOCKER_CONFIG": str(tmp_path)})
        assert (found.address, found.origin) == ("unix:///far.sock", "context far")

    def test_a_context_that_does_not_exist_is_named(self, tmp_path):
        with pytest.raises(EngineUnavailableError, match="context nowhere"):
            find_connection({"DOCKER_CONTEXT": "nowhere", "HOME": str(tmp_path)})

    def test_without_any_socket_the_usual_one_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setattr(connect, "_usual_sockets", lambda _: iter([tmp_path / "none"]))
        assert find_connection({"HOME": str(tmp_path)}).socket == connect.DEFAULT_SOCKET


class TestTheClient:
    @pytest.mark.parametrize(
        ("newest", "oldest", "spoken"),
        [("1.41", "1.12", "1.41"), ("1.99", "1.44", "1.51"), ("1.99", "1.60", "1.60")],
    )
    def test_the_version_is_one_that_both_sides_speak(self, newest, oldest, spoken):
        assert _negotiated(newest, oldest) == spoken

    async def test_a_missing_socket_is_told_with_what_to_do(self, tmp_path):
        engine = Engine(connection_to(f"unix://{tmp_path}/none", origin="DOCKER_HOST"))
        async with engine:
            with pytest.raises(EngineUnavailableError, match=r"none.*no such socket.*doctor --fix"):
                await engine.get("/info")

    def test_frames_are_cut_wherever_the_network_cut_them(self):
        stream = b"".join(
            bytes((kind, 0, 0, 0)) + len(text).to_bytes(4) + text
            for kind, text in ((1, b"one\n"), (2, b""), (2, b"two\n"))
        )
        buffer, found = bytearray(), []
        for byte in stream:
            buffer.append(byte)
            found += _take_frames(buffer)
        assert found == [(1, b"one\n"), (2, b""), (2, b"two\n")]

    @pytest.mark.docker
    async def test_the_daemons_own_words_reach_the_caller(self):
        async with await Engine.connect(ENVIRONMENT) as engine:
            with pytest.raises(NotFoundError, match="No such container: nobody"):
                await engine.get("/containers/nobody/json")

    @pytest.mark.docker
    async def test_an_error_of_the_body_is_raised_as_itself(self):
        async def body():
            yield b"x"
            raise KeyError("mine")

        async with await Engine.connect(ENVIRONMENT) as engine:
            with pytest.raises(KeyError, match="mine"):
                await engine.post("/images/create", {"fromSrc": "-"}, data=body())

    @pytest.mark.docker
    async def test_a_stream_can_be_left_at_any_time(self):
        async with await Engine.connect(ENVIRONMENT) as engine:
            filters = {"label": ["nobody.has.this=1"]}
            async with aclosing(engine.stream("GET", "/events", {"filters": filters})) as lines:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(lines), 0.1)
            assert await engine.get("/_ping") == b"OK"


class TestTrees:
    async def test_files_keep_their_executable_bit_and_links_their_target(self, tmp_path):
        archive = tar(("a/run.sh", 0o775), ("a/plain", 0o664), links={"a/link": "../b", "b": "a"})
        await lay_tree(archive, [("node_modules", "/opt/node_modules")], tmp_path)
        assert (tmp_path / "a/run.sh").stat().st_mode & 0o777 == 0o755
        assert (tmp_path / "a/plain").stat().st_mode & 0o777 == 0o644
        assert (tmp_path / "a/link").readlink().as_posix() == "../b"
        assert (tmp_path / "node_modules").readlink().as_posix() == "/opt/node_modules"

    @pytest.mark.parametrize("target", ["/etc/passwd", "../x", "a/../../x"])
    async def test_a_link_that_leaves_the_tree_is_named(self, tmp_path, target):
        with pytest.raises(EngineError, match=r"^bad is a link to"):
            await lay_tree(tar(links={"bad": target}), [], tmp_path)

    @pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
    async def test_a_file_that_leaves_the_tree_is_named(self, tmp_path, name):
        app = tmp_path / "app"
        app.mkdir()
        with pytest.raises(EngineError, match="evil"):
            await lay_tree(tar((name, 0o644)), [], app)
        assert not (tmp_path / "evil").exists()

    async def test_no_file_is_written_through_a_link(self, tmp_path):
        inside, outside = tmp_path / "app", tmp_path / "outside"
        inside.mkdir()
        outside.mkdir()
        (inside / "d").symlink_to(outside)
        await lay_tree(tar(("d/file", 0o644)), [], inside)
        assert list(outside.iterdir()) == []
        assert (inside / "d/file").is_file()

    async def test_the_images_links_replace_what_the_tree_has(self, tmp_path):
        await lay_tree(tar(("node_modules/x", 0o644)), [("node_modules", "/opt/m")], tmp_path)
        assert (tmp_path / "node_modules").is_symlink()

    async def test_a_tree_can_be_sent_instead_of_mounted(self):
        archive = tar(("a/run.sh", 0o775), links={"l": "a"})
        packed = b"".join([c async for c in pack_tree(archive, [("m", "/opt/m")])])
        with tarfile.open(fileobj=io.BytesIO(packed)) as sent:
            found = {entry.name: (entry.mode, entry.linkname) for entry in sent}
        assert found["app/a/run.sh"] == (0o755, "")
        assert (found["app/l"][1], found["app/m"][1]) == ("a", "/opt/m")


async def tar(*files, links=()):
    """A tar stream of files (name, mode) and symbolic links."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as result:
        for name, mode in files:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = mode, 1
            result.addfile(entry, io.BytesIO(b"x"))
        for name, target in dict(links).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            result.addfile(entry)
    yield archive.getvalue()


class TestFreezing:
    def switch(self, tmp_path, line, name, content=""):
        """As the kernel would offer it for a process with that line in its cgroup file."""
        group = tmp_path / name
        group.parent.mkdir(parents=True)
        group.write_text(content)
        return freezer._switch(line, tmp_path)

    async def test_the_first_hierarchy_is_written_and_read(self, tmp_path):
        switch = self.switch(tmp_path, "6:freezer:/docker/c", "freezer/docker/c/freezer.state")
        subject = KernelFreezer(switch, LoopClock())
        await subject.freeze()
        assert subject.frozen()
        assert switch.control.read_text() == "FROZEN"
        await subject.thaw()
        assert not subject.frozen()
        subject.close()
        assert not subject.frozen()

    async def test_the_unified_hierarchy_is_frozen_when_its_events_say_so(self, tmp_path):
        scope = "system.slice/docker-c.scope"
        (tmp_path / scope).mkdir(parents=True)
        (tmp_path / scope / "cgroup.freeze").write_text("0")
        events = tmp_path / scope / "cgroup.events"
        events.write_text("populated 1\nfrozen 0\n")
        subject = KernelFreezer(freezer._switch(f"0::/{scope}", tmp_path), LoopClock())
        async with asyncio.TaskGroup() as group:
            freezing = group.create_task(subject.freeze())
            while (tmp_path / scope / "cgroup.freeze").read_text() != "1":
                await LoopClock().sleep(0)
            assert not freezing.done()
            events.write_text("populated 1\nfrozen 1\n")
        assert subject.frozen()
        subject.close()

    async def test_what_does_not_freeze_in_time_is_thawed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(freezer, "_PATIENCE", 0.02)
        (tmp_path / "c").mkdir()
        (tmp_path / "c" / "cgroup.freeze").write_text("0")
        (tmp_path / "c" / "cgroup.events").write_text("frozen 0\n")
        subject = KernelFreezer(freezer._switch("0::/c", tmp_path), LoopClock())
        with pytest.raises(EngineError, match="did not freeze"):
            await subject.freeze()
        assert (tmp_path / "c" / "cgroup.freeze").read_text() == "0"
        subject.close()

    def test_a_process_of_another_machine_has_no_switch(self):
        assert find_switch(2**22 + 1, "c") is None
        assert find_switch(1, "no container's id") is None


class TestConsumption:
    def group(self, root, path, **files):
        (root / path).mkdir(parents=True)
        for name, content in files.items():
            (root / path / name.replace("__", ".")).write_text(content)

    def test_of_the_first_hierarchies(self, tmp_path):
        self.group(tmp_path, "cpu,cpuacct/docker/c", cpuacct__usage="1500000000\n")
        self.group(tmp_path, "memory/docker/c", memory__usage_in_bytes="4096\n")
        lines = ["4:memory:/docker/c", "3:cpu,cpuacct:/docker/c", "0::/docker/c"]
        assert consumption.parse(lines, tmp_path) == Consumption(cpu=1.5, memory=4096)

    def test_of_the_unified_hierarchy(self, tmp_path):
        statistics = "usage_usec 2500000\nuser_usec 2000000\n"
        scope = "system.slice/docker-c.scope"
        self.group(tmp_path, scope, cpu__stat=statistics, memory__current="8192\n")
        assert consumption.parse([f"0::/{scope}"], tmp_path) == Consumption(cpu=2.5, memory=8192)

    def test_what_cannot_be_read_is_not_made_up(self, tmp_path):
        assert consumption.parse(["4:memory:/docker/c"], tmp_path) is None
        assert consumption.parse([], tmp_path) is None
        assert consumption.read(1, "no container's id") is None


class TestReading:
    def test_listening_sockets_of_both_families_without_the_engines_own(self):
        tables = """
          sl  local_address rem_address   st
           0: 0100007F:1F90 00000000:0000 0A 0
           1: 0B00007F:A3C1 00000000:0000 0A 0
           2: 0100007F:1F91 0100007F:1F90 01 0
           0: 00000000000000000000000000000000:1F92 00000000000000000000000000000000:0000 0A 0
           1: 0000000000000000FFFF00000100007F:1F93 00000000000000000000000000000000:0000 0A 0
        """
        assert parse_tables(tables) == (
            Endpoint(host="127.0.0.1", port=8080),
            Endpoint(host="::", port=8082),
            Endpoint(host="127.0.0.1", port=8083),
        )

    @pytest.mark.parametrize(
        ("rows", "port", "accepted"),
        [
            (["0100007F:1F90 00000000:0000 0A 00000000:00000000"], 8080, True),
            (["00000000:1F90 00000000:0000 0A 00000000:00000002"], 8080, False),
            (["00000000:1F90 00000000:0000 0A 00000000:00000002"], 8081, False),
            (["00000000:1F90 0100007F:1F91 01 00000000:00000002"], 8080, False),
            (
                [
                    "00000000:1F90 00000000:0000 0A 00000000:00000000",
                    "00000000:1F90 00000000:0000 0A 00000000:00000001",
                ],
                8080,
                False,
            ),
            ([], 8080, False),
        ],
    )
    def test_a_connection_that_waits_is_not_accepted(self, rows, port, accepted):
        assert accepts("\n".join(f"{n}: {row} 0" for n, row in enumerate(rows)), port) is accepted

    def test_a_log_line_has_its_time_to_the_nanosecond(self):
        frame = (1, b"2026-11-23T22:12:21.496557436Z hello world\n")
        (line,) = parse_frame(frame)
        assert line == Line(1_795_471_941_496_557_436, "hello world")

    def test_a_long_line_is_split_and_an_empty_one_kept(self):
        stamp = b"2026-11-23T22:12:21.000000001Z "
        assert [len(line.text) for line in parse_frame((1, stamp + b"x" * 20_000))] == [16384, 3616]
        assert [line.text for line in parse_frame((1, stamp + b"\n"))] == [""]

    def test_the_cursor_counts_lines_of_the_same_instant(self):
        cursor = Cursor().after([Line(1, "a"), Line(2, "b"), Line(2, "c")])
        assert cursor == Cursor(2, 2)
        assert cursor.after([Line(2, "d")]) == Cursor(2, 3)
        assert cursor.after([Line(3, "e")]) == Cursor(3, 1)

    def test_a_repeated_line_ends_what_is_new_but_a_reordered_one_does_not(self):
        order = Order()
        second = 1_000_000_000
        lines = [Line(5 * second, "a"), Line(5 * second + 9, "b"), Line(5 * second + 4, "late")]
        assert order.until_repeated(lines) == lines
        more = [Line(6 * second, "c"), lines[0], Line(7 * second, "d")]
        assert order.until_repeated(more) == more[:1]

    def test_a_line_from_long_ago_is_a_repetition_even_if_nobody_remembers_it(self):
        order = Order()
        order.until_repeated([Line(5_000_000_000, "a")])
        assert order.until_repeated([Line(4_000_000_000, "forgotten")]) == []

    def test_equal_parts_of_one_long_line_are_kept(self):
        parts = [Line(1, "x"), Line(1, "x"), Line(1, "x")]
        assert Order().until_repeated(parts) == parts

    def test_never_is_no_time(self):
        assert parse_time("0001-01-01T00:00:00Z") is None
        assert parse_time("2026-11-23T22:12:21.5Z") == 1_795_471_941.5


class TestSandboxImages:
    @pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
    def test_the_program_is_an_executable_whose_segment_holds_all_of_it(self, architecture):
        program = sandbox.program(sandbox.MACHINES[architecture])
        assert program[:4] == b"\x7fELF"
        entry = int.from_bytes(program[24:32], "little")
        assert program[entry - 0x400000 :] == sandbox.MACHINES[architecture].code
        assert int.from_bytes(program[96:104], "little") == len(program)

    def test_an_unknown_machine_is_told_in_words(self):
        with pytest.raises(EngineError, match="riscv64"):
            sandbox.image_name("riscv64")
