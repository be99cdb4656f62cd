"""The doctor, on computers that are made up, and once with a real dockerd of its own."""

import asyncio
import errno
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiohttp import web

from emulator.drivers.clock import SystemClock
from emulator.drivers.docker.connect import DEFAULT_SOCKET
from emulator.drivers.docker.labels import OWNER
from emulator.drivers.lock import StateLock
from emulator.drivers.machine import Computer, Daemon, Finding, Machine
from emulator.drivers.machine.advice import hint_for
from emulator.drivers.machine.computer import Packages
from emulator.drivers.machine.daemon import DaemonError
from emulator.drivers.process import Finished, MissingProgramError
from emulator.model.settings import Addresses, Settings

MINE, DAEMON = 4711, 4712
DEBIAN = 'ID=debian\nVERSION_ID="12"\n'
ROUTES = "Iface\tDestination\tGateway\neth0\t00000000\t0100A8C0\n"


@dataclass(kw_only=True)
class Engine:
    """Answers like dockerd on a Unix socket."""

    path: Path
    api: str = "1.41"
    owners: tuple[str, ...] = ()
    runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self.answer)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.UnixSite(self.runner, str(self.path)).start()

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()

    async def answer(self, request: web.Request) -> web.Response:
        match request.path.rpartition("/")[2], "/containers/" in request.path:
            case "_ping", _:
                return web.Response(text="OK", headers={"Api-Version": self.api})
            case "info", _:
                return web.json_response({"ServerVersion": "20.10", "DockerRootDir": "/nowhere"})
            case "json", True:
                return web.json_response([{"Labels": {OWNER: owner}} for owner in self.owners])
            case _:  # a registry's images too: there is none
                return web.json_response({"message": "no such host"}, status=500)


@dataclass(kw_only=True)
class Programs:
    """Runs nothing: notes what would be run, and does what a test lays down for it."""

    world: "World"
    called: list[str] = field(default_factory=list)
    failing: dict[str, list[str]] = field(default_factory=dict)  # a command's complaints, in turn

    async def __call__(self, *argv: str, environment=None, **_: object) -> Finished:
        command = " ".join(argv)
        self.called.append(command)
        self.environment = dict(environment or {})
        for start, complaints in self.failing.items():
            if command.startswith(start) and complaints:
                return Finished(100, b"", complaints.pop(0).encode())
        return await self.world.perform(argv, command)


class World:
    """A computer below a directory, with an engine that starts when it is told to."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        self.engine = Engine(path=directory / "docker.sock")
        self.programs = Programs(world=self)
        self.git: str | None = "git version 2.39.5"
        self.log_of_daemon = ""
        self.lives = True  # a dockerd that is started
        self.said: list[str] = []
        self.write("etc/os-release", DEBIAN)
        self.write("etc/ssl/certs/ca-certificates.crt", "a bundle")

    def write(self, path: str, content: str) -> Path:
        there = self.root / path
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(content)
        return there

    def install(self, *names: str) -> None:
        for name in names:
            self.write(f"bin/{name}", "").chmod(0o755)

    def process(self, pid: int, name: str, *, state: str = "S (sleeping)") -> None:
        self.write(f"proc/{pid}/status", f"Name:\t{name}\nState:\t{state}\n")

    async def perform(self, argv: tuple[str, ...], command: str) -> Finished:
        if argv[0] == "git":
            if self.git is None:
                raise MissingProgramError("git is not installed", code=127)
            return Finished(0, self.git.encode(), b"")
        if argv[0] == "apt-get" and "install" in argv:
            await asyncio.to_thread(self.install, "dockerd", "iptables", "mmdebstrap")
        if argv[0] == "/bin/sh":
            return await self.launch()
        if command == "systemctl start docker":
            await self.engine.start()
        return Finished(0, b"", b"")

    async def launch(self) -> Finished:
        await asyncio.to_thread(self.daemon.log.write_text, self.log_of_daemon)
        if self.lives:
            await asyncio.to_thread(self.process, DAEMON, "dockerd")
            await self.engine.start()
        return Finished(0, str(DAEMON).encode(), b"")

    @property
    def daemon(self) -> Daemon:
        return Daemon(
            socket=self.engine.path,
            pid_file=self.root / "docker.pid",
            containerd=self.root / "containerd",
            log=self.root / "dockerd.log",
            patience=1.0,
        )

    @property
    def computer(self) -> Computer:
        return Computer(
            environment={
                "DOCKER_HOST": f"unix://{self.engine.path}",
                "PATH": str(self.root / "bin"),
                "HTTPS_PROXY": "http://proxy:3128",
            },
            root=self.root,
            system="linux",
            administrator=True,
            programs=(),
            run=self.programs,
        )

    @property
    def settings(self) -> Settings:
        free = Addresses(api_port=0, https_port=0, http_port=0)
        return Settings(state_dir=str(self.root / "state"), addresses=free)

    def machine(self, **changes: object) -> Machine:
        """As laid down; changes are fields of the computer, the settings, or arguments."""
        names = {"environment", "system", "administrator", "python"}
        computer = replace(self.computer, **{k: v for k, v in changes.items() if k in names})
        settings = replace(self.settings, **{k: v for k, v in changes.items() if k == "addresses"})
        rest = {k: v for k, v in changes.items() if k in {"owner", "resolve"}}
        return Machine(
            settings,
            SystemClock(),
            **{"computer": computer, "daemon": self.daemon, "resolve": always} | rest,
        )

    async def fix(self, **changes: object) -> tuple[Finding, ...]:
        return await self.machine(**changes).fix(self.said.append)


async def always(name: str) -> bool:
    return name.endswith(".localhost")


async def never(name: str) -> bool:  # noqa: ARG001 - a resolver's signature
    return False


def one(findings: tuple[Finding, ...], check: str) -> Finding:
    return next(each for each in findings if each.check == check)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory(prefix="machine-") as directory:  # a socket's path is bounded
        here = World(Path(directory))
        yield here
        await here.engine.stop()


# --- what is found ---


async def test_a_machine_with_everything_is_well_and_needs_no_remedy(world):
    world.install("mmdebstrap")
    world.write("state/ca/ca.pem", "bundle")
    await world.engine.start()
    findings = await world.machine(owner="mine").inspect()
    assert [each.check for each in findings if not each.ok] == []
    assert {each.remedy for each in findings} == {""}
    assert one(findings, "Docker engine").detail.startswith("Docker 20.10, API 1.41, at unix://")


@pytest.mark.parametrize(
    ("python", "fine"), [((3, 10, 9), False), ((3, 11, 0), True), ((3, 13, 1), True)]
)
async def test_python_must_be_3_11_or_newer(world, python, fine):
    assert one(await world.machine(python=python).inspect(), "Python").ok is fine


@pytest.mark.parametrize(
    ("said", "fine"),
    [
        ("git version 2.24.4", False),
        ("git version 2.25.0", True),
        ("git version 2.39.3 (Apple Git-146)", True),
        ("nonsense", False),
        (None, False),
    ],
)
async def test_git_must_be_there_and_recent(world, said, fine):
    world.git = said
    finding = one(await world.machine().inspect(), "git")
    assert finding.ok is fine
    assert bool(finding.remedy) is not fine


async def test_an_engine_with_an_old_api_is_to_be_updated_by_its_user(world):
    world.engine.api = "1.39"
    await world.engine.start()
    finding = one(await world.machine().inspect(), "Docker engine")
    assert not finding.ok
    assert not finding.fixable
    assert "update Docker" in finding.remedy


async def test_a_socket_without_permission_is_answered_with_the_group(world, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    await world.engine.start()
    monkeypatch.setattr(asyncio.get_running_loop(), "create_unix_connection", refuse)
    finding = one(await world.machine(administrator=False).inspect(), "Docker engine")
    assert not finding.ok
    assert "usermod -aG docker $USER" in finding.remedy
    assert "may not use the socket" in finding.detail


@pytest.mark.parametrize(
    ("release", "installed", "remedy"),
    [
        (DEBIAN, False, "apt-get install -y docker.io"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", False, "apt-get install -y docker.io"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', False, "dnf install"),
        ("ID=nixos\n", False, "https://docs.docker.com/engine/install/"),
        (DEBIAN, True, "sudo sh -c 'dockerd"),
    ],
)
async def test_who_is_not_root_gets_the_exact_command(world, release, installed, remedy):
    world.write("etc/os-release", release)
    if installed:
        world.install("dockerd")
    finding = one(await world.machine(administrator=False).inspect(), "Docker engine")
    assert remedy in finding.remedy
    assert not finding.fixable


async def test_with_systemd_the_command_is_systemctl(world):
    world.install("dockerd")
    (world.root / "run/systemd/system").mkdir(parents=True)
    finding = one(await world.machine(administrator=False).inspect(), "Docker engine")
    assert finding.remedy == "sudo systemctl start docker"


@pytest.mark.parametrize(("installed", "remedy"), [(True, "open -a Docker"), (False, "brew")])
async def test_on_a_mac_docker_desktop_is_installed_or_opened(world, installed, remedy):
    if installed:
        world.install("docker")
    finding = one(await world.machine(system="darwin").inspect(), "Docker engine")
    assert remedy in finding.remedy
    assert not finding.fixable


async def test_an_engine_elsewhere_is_not_ours_to_start(world):
    elsewhere = {"DOCKER_HOST": f"unix://{world.root}/other.sock"}
    findings = await world.fix(environment=elsewhere)
    finding = one(findings, "Docker engine")
    assert not finding.fixable
    assert "DOCKER_HOST" in finding.remedy
    assert world.said == []


async def test_a_docker_host_that_makes_no_sense_is_a_finding(world):
    findings = await world.machine(environment={"DOCKER_HOST": "ssh://somewhere"}).inspect()
    assert "cannot speak ssh://" in one(findings, "Docker engine").detail


async def test_a_full_disk_is_found(world, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    finding = one(await world.machine().inspect(), "disk of the state directory")
    assert not finding.ok
    assert finding.required
    assert str(world.root) in finding.detail  # the state directory itself is not made yet


async def test_missing_mmdebstrap_is_advice_and_not_looked_for_on_a_mac(world):
    finding = one(await world.machine().inspect(), "mmdebstrap")
    assert (finding.ok, finding.required, finding.fixable) == (False, False, True)
    checks = {each.check for each in await world.machine(system="darwin").inspect()}
    assert "mmdebstrap" not in checks


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def lay_down_listener(world: World, port: int) -> None:
    """As the kernel tells who listens: the socket's inode, and the process that has it open."""
    line = f"0: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 0 0 0 777 1 0"
    world.write("proc/net/tcp", f"head\n{line}\n")
    world.write(f"proc/{MINE}/comm", "greedy\n")
    (world.root / f"proc/{MINE}/fd").mkdir()
    (world.root / f"proc/{MINE}/fd/3").symlink_to("socket:[777]")


async def test_the_holder_of_a_port_is_named(world, taken):
    lay_down_listener(world, taken)
    addresses = Addresses(api_port=taken, https_port=0, http_port=0)
    finding = one(await world.machine(addresses=addresses).inspect(), f"port {taken}")
    assert not finding.ok
    assert finding.detail == f"held by greedy (pid {MINE})"
    assert "APPRUNNER_API_PORT=0" in finding.remedy


async def test_a_holder_that_only_root_could_tell_is_another_program(world, taken):
    addresses = Addresses(api_port=0, https_port=taken, http_port=0)
    finding = one(await world.machine(addresses=addresses).inspect(), f"port {taken}")
    assert finding.detail == "held by another program"


async def test_a_port_that_our_own_emulator_holds_is_fine(world, taken):
    lock = await asyncio.to_thread(StateLock.acquire, world.root / "state")
    addresses = Addresses(api_port=taken, https_port=0, http_port=0)
    try:
        real = replace(world.computer, root=Path("/"))
        machine = Machine(
            replace(world.settings, addresses=addresses),
            SystemClock(),
            computer=real,
            resolve=always,
        )
        finding = one(await machine.inspect(), f"port {taken}")
    finally:
        lock.release()
    assert finding.ok
    assert finding.detail == "held by the running emulator"


async def test_a_free_port_is_free(world, taken):
    addresses = Addresses(host="127.0.0.2", api_port=taken, https_port=0, http_port=0)
    assert one(await world.machine(addresses=addresses).inspect(), f"port {taken}").detail == "free"


async def test_names_that_do_not_resolve_are_advice(world):
    finding = one(await world.machine(resolve=never).inspect(), "*.localhost")
    assert not finding.ok
    assert not finding.required
    assert "LocalUrl" in finding.remedy


async def test_the_authority_is_trusted_once_it_is_in_the_bundle(world):
    authority = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    assert one(await world.machine().inspect(), "local CA").remedy.endswith(
        "update-ca-certificates"
    )
    world.write("state/ca/ca.pem", authority)
    assert not one(await world.machine().inspect(), "local CA").ok
    world.write("etc/ssl/certs/ca-certificates.crt", f"others\n{authority}others\n")
    assert one(await world.machine().inspect(), "local CA").ok


async def test_containers_of_other_state_directories_are_counted(world):
    world.engine.owners = ("mine", "gone", "gone", "strange")
    await world.engine.start()
    finding = one(await world.machine(owner="mine").inspect(), "leftovers")
    assert finding.detail == "3 containers of 2 other state directories"
    assert not finding.required
    assert "leftovers" not in {each.check for each in await world.machine().inspect()}


# --- what is mended ---


async def test_fix_touches_nothing_where_all_is_well(world):
    world.install("mmdebstrap")
    await world.engine.start()
    await world.fix()
    assert world.said == []
    assert set(world.programs.called) == {"git --version"}


async def test_fix_never_installs_an_engine_beside_one_that_answers(world):
    world.install("mmdebstrap")  # but no dockerd: it runs in a virtual machine
    await world.engine.start()
    await world.fix()
    assert not any("apt-get" in command for command in world.programs.called)


async def test_fix_installs_what_is_missing_and_starts_the_engine(world):
    findings = await world.fix()
    assert one(findings, "Docker engine").ok
    assert one(findings, "mmdebstrap").ok
    assert world.said[0] == "Installing docker.io, iptables, mmdebstrap."
    assert world.said[1].startswith(f"Started dockerd (pid {DAEMON})")
    assert world.said[2] == "The Docker engine answers."
    installs = [command for command in world.programs.called if "apt-get" in command]
    assert len(installs) == 1
    assert "--no-install-recommends docker.io iptables mmdebstrap" in installs[0]


async def test_an_installation_that_fails_is_reported_in_apts_words(world):
    world.lives = False
    world.programs.failing["apt-get"] = ["no", "no", "no"]
    await world.fix()
    apt = [command for command in world.programs.called if command.startswith("apt-get")]
    assert [" ".join(each.split()[4:5]) for each in apt] == ["install", "update", "install"]
    assert any("failed: no" in line for line in world.said)


async def test_fix_updates_the_package_lists_only_when_it_must(world):
    world.programs.failing["apt-get"] = ["Unable to locate package docker.io"]
    findings = await world.fix()
    apt = [command for command in world.programs.called if command.startswith("apt-get")]
    assert len(apt) == 3
    assert apt[1].endswith("update")
    assert one(findings, "Docker engine").ok


async def test_a_program_gets_the_users_environment_and_what_it_needs(world):
    await world.computer.call("apt-get", "update", DEBIAN_FRONTEND="noninteractive")
    assert world.programs.environment["HTTPS_PROXY"] == "http://proxy:3128"
    assert world.programs.environment["DEBIAN_FRONTEND"] == "noninteractive"
    assert world.programs.environment["PATH"] == str(world.root / "bin")


async def test_fix_starts_an_installed_engine_by_systemd_where_it_runs(world):
    world.install("dockerd")
    (world.root / "run/systemd/system").mkdir(parents=True)
    findings = await world.fix()
    assert one(findings, "Docker engine").ok
    assert "systemctl start docker" in world.programs.called
    assert not any(command.startswith("/bin/sh") for command in world.programs.called)


async def test_a_failure_of_systemctl_points_to_the_journal(world):
    world.install("dockerd")
    (world.root / "run/systemd/system").mkdir(parents=True)
    world.programs.failing["systemctl"] = ["Job for docker.service failed."]
    assert not one(await world.fix(), "Docker engine").ok
    assert "Job for docker.service failed.\nSee: journalctl -u docker" in world.said[-1]


async def test_fix_of_somebody_who_is_not_root_does_nothing(world):
    findings = await world.fix(administrator=False)
    assert world.said == []
    assert "apt-get install" in one(findings, "Docker engine").remedy


async def test_fix_installs_mmdebstrap_only_where_no_registry_answers(world):
    await world.engine.start()
    findings = await world.fix()
    assert one(findings, "mmdebstrap").ok
    installs = [command for command in world.programs.called if "install" in command]
    assert len(installs) == 1
    assert installs[0].endswith("--no-install-recommends mmdebstrap")


# --- a dockerd of our own ---


async def test_a_registry_is_looked_for_and_installed_only_where_one_is_wanted(world):
    world.install("dockerd", "iptables", "mmdebstrap")
    await world.engine.start()
    assert "docker-registry" not in {each.check for each in await world.fix()}
    wanted = replace(world.settings.addresses, registry_port=0)
    missing = one(await world.machine(addresses=wanted).inspect(), "docker-registry")
    assert (missing.ok, missing.required, missing.fixable) == (False, False, True)
    assert missing.remedy.startswith("sudo apt-get install -y docker-registry")
    await world.fix(addresses=wanted)
    (command,) = [each for each in world.programs.called if each.startswith("apt-get")]
    assert command.endswith(" docker-registry")
    assert "--path-exclude=/etc/init.d/docker-registry" in command  # no service of its own
    assert "--path-exclude=/lib/systemd/system/docker-registry.service" in command


@pytest.mark.parametrize(("pid", "fine"), [(MINE, True), (1, False)])
async def test_the_registry_of_this_state_directory_may_have_its_port(world, taken, pid, fine):
    lay_down_listener(world, taken)
    world.write("state/registry/pid", str(pid))
    configuration = world.root / "state/registry/config.yml"
    world.write(f"proc/{pid}/cmdline", f"docker-registry\0serve\0{configuration}\0")
    wanted = replace(world.settings.addresses, registry_port=taken)
    assert one(await world.machine(addresses=wanted).inspect(), f"port {taken}").ok is fine


async def test_what_a_dead_engine_left_behind_is_removed_before_the_start(world):
    world.install("dockerd")
    world.write("docker.pid", str(MINE))
    world.process(MINE, "postgres")  # it has the old number now
    world.write("docker.sock", "")
    world.write("containerd/containerd.pid", str(MINE))
    world.write("containerd/containerd.sock.ttrpc", "")
    assert one(await world.fix(), "Docker engine").ok
    assert world.said[0].startswith("Removed what an engine that is gone left behind: ")
    for name in ("docker.pid", "docker.sock", "containerd.pid", "containerd.sock.ttrpc"):
        assert name in world.said[0]
    assert not (world.root / "docker.pid").exists()
    assert not (world.root / "containerd/containerd.pid").exists()


def test_a_zombie_does_not_count_as_running(world):
    world.write("docker.pid", str(MINE))
    world.process(MINE, "dockerd", state="Z (zombie)")
    assert world.daemon.running(world.computer) is None


async def test_a_dockerd_that_is_starting_is_waited_for_and_its_files_are_left(world):
    world.install("dockerd")
    world.write("docker.pid", str(MINE))
    world.process(MINE, "dockerd")
    async with asyncio.TaskGroup() as group:
        group.create_task(world.fix())
        while not world.programs.called:
            await asyncio.to_thread(os.sched_yield)
        await world.engine.start()
    assert (world.root / "docker.pid").exists()
    assert not any(command.startswith("/bin/sh") for command in world.programs.called)
    assert world.said == ["The Docker engine answers."]


async def test_a_dockerd_that_ends_is_explained_by_its_log(world):
    world.install("dockerd")
    world.lives = False
    world.log_of_daemon = (
        "level=info msg=starting\nfailed to start daemon: Devices cgroup isn't mounted\n"
    )
    findings = await world.fix()
    assert not one(findings, "Docker engine").ok
    assert "dockerd ended; the end of" in world.said[-1]
    assert "Devices cgroup isn't mounted" in world.said[-1]
    assert "--privileged" in world.said[-1]


def test_only_what_this_start_logged_is_shown(world):
    world.write("dockerd.log", "failed: yesterday's news\n")
    size = world.daemon._log_size()
    with world.daemon.log.open("a") as file:
        file.write("failed: today's news\n")
    assert world.daemon._tail(size) == ["failed: today's news"]


async def test_a_dockerd_that_never_answers_is_given_up_on(world):
    world.process(DAEMON, "dockerd")
    world.write("docker.pid", str(DAEMON))
    impatient = replace(world.daemon, patience=0.0)
    with pytest.raises(DaemonError, match=rf"dockerd \(pid {DAEMON}\) does not answer after 0 s"):
        await impatient.start(world.computer, SystemClock(), world.said.append)


@pytest.mark.parametrize(("mtu", "option"), [("1400", "--mtu=1400"), ("1500", ""), ("9000", "")])
async def test_networks_do_not_promise_more_than_the_way_out_carries(world, mtu, option):
    world.install("dockerd")
    world.write("proc/net/route", ROUTES)
    world.write("sys/class/net/eth0/mtu", f"{mtu}\n")
    await world.fix()
    launch = next(each for each in world.programs.called if each.startswith("/bin/sh"))
    assert ("--mtu" in launch) is bool(option)
    assert option in launch


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("failed to start daemon: Devices cgroup isn't mounted", "cgroupfs-mount"),
        ("Error initializing network controller: iptables failed", "iptables-legacy"),
        ("error initializing graphdriver: driver not supported: overlay2", "fuse-overlayfs"),
        ("failed to mount overlay: operation not permitted", "fuse-overlayfs"),
        ("failed: mkdir /var/lib/docker: no space left on device", "disk is full"),
        ("cannot chown: Operation not permitted", "--privileged"),
        ("failed: something that nobody has seen", ""),
        ("msg='loading cgroup plugin'", ""),
    ],
)
def test_the_log_of_a_failure_leads_to_a_hint(line, hint):
    found = hint_for(["time=… level=info msg=starting", line])
    assert hint in found
    assert bool(found) is bool(hint)


def test_a_computer_knows_its_package_manager(world):
    assert world.computer.packages() is Packages.APT
    assert replace(world.computer, system="darwin").packages() is Packages.BREW


def test_programs_are_found_outside_a_users_path(world):
    world.write("sbin/dockerd", "").chmod(0o755)
    assert world.computer.find("dockerd") is None
    assert replace(world.computer, programs=(f"{world.root}/sbin",)).find("dockerd")


def test_the_default_daemon_is_the_one_that_docker_looks_for():
    assert str(Daemon().socket) == DEFAULT_SOCKET


# --- a real one ---


@asynccontextmanager
async def private_daemon(computer: Computer) -> AsyncIterator[Daemon]:
    """Apart from the machine's engine in everything; ended and cleared away.

    Also in namespaces of its own: a dockerd without a bridge removes the docker0 that it sees, and
    that would be the one of the engine that everybody uses.
    """
    base = Path(tempfile.mkdtemp(prefix="dockerd-"))
    daemon = Daemon(
        socket=base / "docker.sock",
        pid_file=base / "docker.pid",
        containerd=base / "exec/containerd",
        log=base / "log",
        command=("unshare", "--net", "--mount", "dockerd"),
        arguments=(
            f"--data-root={base}/data",
            f"--exec-root={base}/exec",
            f"--pidfile={base}/docker.pid",
            f"--host=unix://{base}/docker.sock",
            "--storage-driver=vfs",
            "--bridge=none",
            "--iptables=false",
            "--ip-forward=false",
        ),
    )
    try:
        yield daemon
    finally:
        await end(computer, daemon, signal.SIGTERM)
        await asyncio.to_thread(shutil.rmtree, base)


async def end(computer: Computer, daemon: Daemon, how: signal.Signals) -> None:
    pid = await asyncio.to_thread(daemon.running, computer)
    if pid is None:
        return
    os.kill(pid, how)
    while await asyncio.to_thread(computer.runs, pid, "dockerd"):
        await SystemClock().sleep(0.02)


def bridge_of_the_machine() -> str:
    """The number of docker0, another one if it was made anew; empty where there is none."""
    try:
        return Path("/sys/class/net/docker0/ifindex").read_text()
    except OSError:
        return ""


@pytest.mark.docker
@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("dockerd") is None,
    reason="starts a dockerd of its own: only root on Linux can",
)
async def test_a_real_dockerd_starts_again_after_it_was_killed():
    computer = Computer()
    said: list[str] = []
    bridge = await asyncio.to_thread(bridge_of_the_machine)
    async with private_daemon(computer) as daemon:
        await daemon.start(computer, SystemClock(), said.append)
        first = await asyncio.to_thread(daemon.running, computer)
        await end(computer, daemon, signal.SIGKILL)
        assert daemon.socket.exists()
        assert not await daemon.answers()
        for pid_file in (daemon.pid_file, daemon.containerd / "containerd.pid"):
            pid_file.write_text(str(os.getpid()))  # the numbers are other processes' by now
        await daemon.start(computer, SystemClock(), said.append)
        assert await asyncio.to_thread(daemon.running, computer) not in {None, first}
        assert await daemon.answers()
        await daemon.start(computer, SystemClock(), said.append)  # is only waited for
    assert [line.split()[0] for line in said] == ["Started", "Removed", "Started"]
    assert await asyncio.to_thread(bridge_of_the_machine) == bridge
