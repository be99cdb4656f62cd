"""What git says about the directory to be deployed, with what to do where it says no."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from emulator.cli import programs
from emulator.cli.failure import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """`directory` is the source directory from the repository's root, as App Runner writes it."""

    root: str
    directory: str
    branch: str
    changed: bool = False


def look(path: Path, branch: str | None) -> Checkout:
    """Raises Failure where a deployment could not work."""
    here = path.resolve()
    root = _root(here)
    current = _current_branch(root)
    wanted = branch or current
    if wanted is None:
        raise Failure(
            f"{root} is at no branch (a detached HEAD).", "Name one with --branch, or git switch."
        )
    _check_commits(root, wanted, given=branch is not None)
    inside = here.relative_to(root)
    return Checkout(
        root=str(root),
        directory="/" if inside == Path() else f"/{inside.as_posix()}",
        branch=wanted,
        changed=wanted == current and _changed(here),
    )


def _root(path: Path) -> Path:
    try:
        found = programs.git(path, "rev-parse", "--show-toplevel")
    except FileNotFoundError:
        raise Failure("git is not installed.", "apprunner doctor tells how to get it.") from None
    if found.code == 0:
        return Path(found.out).resolve()
    if programs.git(path, "rev-parse", "--is-bare-repository").out == "true":
        return path
    if "not a git repository" not in found.err:
        raise Failure(f"{path}: {found.err}")
    raise Failure(
        f"{path} is not a git repository; App Runner deploys commits.",
        f"cd {shlex.quote(str(path))} && git init && git add -A && git commit -m 'First version'",
    )


def _current_branch(root: Path) -> str | None:
    found = programs.git(root, "symbolic-ref", "--quiet", "--short", "HEAD")
    return found.out if found.code == 0 else None


def _check_commits(root: Path, branch: str, *, given: bool) -> None:
    if programs.git(root, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}").code == 0:
        return
    listed = programs.git(root, "for-each-ref", "--format=%(refname:short)", "refs/heads")
    branches = ", ".join(listed.out.split())
    if branches and given:
        raise Failure(f"{root} has no branch {branch!r}; it has: {branches}.")
    raise Failure(
        f"Nothing is committed yet on branch {branch} of {root}.",
        f"cd {shlex.quote(str(root))} && git add -A && git commit -m 'First version'",
    )


def _changed(path: Path) -> bool:
    return bool(programs.git(path, "status", "--porcelain", "--", ".").out)
