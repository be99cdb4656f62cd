"""The check of the Docker engine, and what `--fix` may do about it."""

import asyncio
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emulator.drivers.docker.connect import Connection, find_connection
from emulator.drivers.docker.engine import Engine, Json
from emulator.drivers.docker.labels import OWNER
from emulator.drivers.machine import advice
from emulator.drivers.machine.checks import check_disk
from emulator.drivers.machine.computer import Computer
from emulator.drivers.machine.daemon import Daemon
from emulator.drivers.machine.finding import Finding
from emulator.drivers.machine.programs import may_install
from emulator.model.errors import EngineError

OLDEST_API = (1, 40)
CHECK = "Docker engine"
_DEFAULT_ORIGIN = "default"
_REFERRAL = " Run `apprunner doctor --fix`."  # who reads ours is there already


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the engine said about itself, or why it said nothing."""

    connection: Connection | None = None
    api: str = ""
    info: Json = None
    containers: Json = ()
    problem: EngineError | None = None


async def ask(computer: Computer) -> Answer:
    try:
        connection = await asyncio.to_thread(find_connection, computer.environment)
    except EngineError as error:
        return Answer(problem=error)
    try:
        async with Engine(connection) as engine:
            return Answer(
                connection=connection,
                api=await engine.version(),
                info=await engine.get("/info"),
                containers=await _labelled(engine),
            )
    except EngineError as error:
        return Answer(connection=connection, problem=error)


async def _labelled(engine: Engine) -> Json:
    return await engine.get("/containers/json", {"all": True, "filters": {"label": [OWNER]}})


async def check_engine(computer: Computer, daemon: Daemon, answer: Answer) -> Finding:
    if answer.problem is not None:
        return await _down(computer, daemon, answer)
    major, minor = (int(part) for part in answer.api.split("."))
    recent = (major, minor) >= OLDEST_API
    where = answer.connection.address if answer.connection else ""
    return Finding(
        check=CHECK,
        ok=recent,
        detail=f"Docker {answer.info['ServerVersion']}, API {answer.api}, at {where}",
        remedy="" if recent else "update Docker: its API must be 1.40 (Docker 19.03) or newer",
    )


async def _down(computer: Computer, daemon: Daemon, answer: Answer) -> Finding:
    remedy, fixable = await _remedy(computer, daemon, answer)
    detail = str(answer.problem).removesuffix(_REFERRAL)
    return Finding(check=CHECK, ok=False, detail=detail, remedy=remedy, fixable=fixable)


async def _remedy(computer: Computer, daemon: Daemon, answer: Answer) -> tuple[str, bool]:
    """And whether we may do it: never where somebody pointed us to another engine."""
    if answer.problem is not None and is_forbidden(answer.problem):
        return advice.JOIN_GROUP, False
    if not is_ours(answer.connection, daemon):
        origin = answer.connection.origin if answer.connection else "the configuration"
        return f"start the engine that {origin} names, or choose another", False
    packages = await asyncio.to_thread(computer.packages)
    installed = await computer.has("dockerd" if computer.system == "linux" else "docker")
    startable = installed and computer.administrator and computer.system == "linux"
    if not installed:
        return advice.INSTALL_ENGINE[packages], await may_install(computer)
    systemd = await asyncio.to_thread(computer.has_systemd)
    return advice.start_engine(packages, systemd=systemd), startable


def is_ours(connection: Connection | None, daemon: Daemon) -> bool:
    """Whether starting our daemon would make this connection work."""
    if connection is None:
        return False
    unnamed = connection.origin == _DEFAULT_ORIGIN
    return unnamed or connection.socket == str(daemon.socket)


def is_forbidden(problem: BaseException) -> bool:
    return any(
        getattr(error, "errno", None) in {errno.EACCES, errno.EPERM} for error in _chain(problem)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def check_engine_disk(computer: Computer, answer: Answer) -> Finding | None:
    """None where its files are in another machine."""
    if answer.info is None or answer.connection is None or not answer.connection.local:
        return None
    directory = Path(answer.info["DockerRootDir"])
    if computer.system != "linux" or not await asyncio.to_thread(directory.is_dir):
        return None
    return await check_disk("disk of the engine", directory)


def check_leftovers(answer: Answer, owner: str) -> Finding | None:
    """Containers of state directories other than this one: gone ones, or somebody else's."""
    if answer.problem is not None or not owner:
        return None
    owners = [each["Labels"].get(OWNER) for each in answer.containers]
    others = [each for each in owners if each != owner]
    count = f"{len(others)} containers of {len(set(others))} other state directories"
    return Finding(
        check="leftovers",
        ok=not others,
        detail=count if others else "none",
        remedy="apprunner prune --dry-run, then apprunner prune",
        required=False,
    )
