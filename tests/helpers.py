"""What tests of more than one ring need: real git repositories, and patience without sleeps."""

import asyncio
import inspect
import re
import shutil
import subprocess
import types
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import pytest
import uvloop

from emulator.drivers.clock import SystemClock

GIT = shutil.which("git") or "git"
GIT_ENVIRONMENT = {
    "PATH": f"{Path(GIT).parent}:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{who}_NAME": "Test" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "test@example.com" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_DATE": "2026-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")},
}
# What a commit may put at a path: text, bytes, or nothing any more.
Content = str | bytes | None


@types.coroutine
def turn() -> Generator[None]:
    """Let the event loop do what is due: a real call to the outside suspends its caller, so the
    fakes do, and what relies on the opposite fails with them too.
    """
    yield


class GitRepository:
    """A real repository of the test's own, untouched by the machine's configuration.

    Its methods block; in a coroutine, call them by `asyncio.to_thread`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def git(self, *arguments: str, data: bytes | None = None) -> str:
        """One git command, for its output; a failure fails the test with git's complaint."""
        done = subprocess.run(
            [GIT, "-c", "commit.gpgsign=false", *arguments],
            cwd=self.path,
            env=GIT_ENVIRONMENT,
            input=data,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr.decode()}"
        return done.stdout.decode(errors="surrogateescape").strip()

    def write(self, files: Mapping[str, Content]) -> None:
        for name, content in files.items():
            path = self.path / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: Mapping[str, Content], message: str = "Change") -> str:
        """Write, add and commit to the branch that is checked out; the new commit's id."""
        self.write(files)
        self.git("add", "--all", "--force", ".")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def branch(self, name: str, at: str = "HEAD") -> None:
        """Make or move a branch that is not checked out."""
        self.git("branch", "--force", name, at)


def git_repository(
    directory: Path,
    files: Mapping[str, Content] | None = None,
    *,
    name: str = "app",
    branch: str = "main",
    options: tuple[str, ...] = (),
) -> GitRepository:
    """A new repository `directory / name`; with `files`, they are its first commit."""
    repository = GitRepository(directory / name)
    repository.path.mkdir(parents=True)
    repository.git("init", "--quiet", f"--initial-branch={branch}", *options)
    if files is not None:
        repository.commit(files, "First version")
    return repository


def git_has_reftable() -> bool:
    """From git 2.45 on."""
    version = subprocess.run([GIT, "version"], capture_output=True, check=True, text=True).stdout
    major, minor, *_ = re.findall(r"\d+", version)
    return (int(major), int(minor)) >= (2, 45)


needs_reftable = pytest.mark.skipif(not git_has_reftable(), reason="git before 2.45: no reftable")


async def until(condition: Callable[[], object], *, within: float = 5.0) -> None:
    """Wait for something that happens outside the event loop (the condition may block)."""
    async with asyncio.timeout(within):
        while not await asyncio.to_thread(condition):
            await SystemClock().sleep(0.002)


def on_both_loops(test):
    """The emulator runs on uvloop where there is one: its processes must behave the same."""

    @pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
    def run_on(loop, **fixtures):
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(test(**fixtures))

    names = [*inspect.signature(test).parameters, "loop"]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    run_on.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    return run_on
