"""What to do about a program that a build's command does not find; a further one is a further row."""

import re
from typing import Final

_MISSING: Final = re.compile(
    r"(?:^|[:\s])(?P<program>[\w.+@-]+): (?:command not found|not found|inaccessible or not found)$"
)
_ADVICE: Final = (  # by the program, and by the command that wanted it
    (r"sudo", r"", "A build is root already, here and on App Runner: leave `sudo` out."),
    (
        r"docker|docker-compose|podman",
        r"",
        (
            "No build can use Docker, here or on App Runner: push an image and deploy that, or delete "
            "apprunner.yaml and let the emulator build the repository's Dockerfile."
        ),
    ),
    (
        r"apk",
        r"",
        "That is Alpine's; this base is a Debian: `apt-get update && apt-get install -y PACKAGE`.",
    ),
    (
        r"(?!(?:npm|npx|yarn|pnpm|node|corepack)$).+",
        r"\b(?:npm|yarn|pnpm)\b",
        (
            "If it is among devDependencies, the build has to install these too: no `--production`, no "
            "`--omit=dev`, no NODE_ENV=production in build.env."
        ),
    ),
)


def advice(said: str, command: str) -> str:
    """`said` is the line of a shell that `command` failed with; "" where there is nothing to add."""
    found = _MISSING.search(said)
    if found is None:
        return ""
    rows = (
        text
        for program, wanted_by, text in _ADVICE
        if _fits(program, found["program"]) and re.search(wanted_by, command)
    )
    return next(rows, "")


def _fits(pattern: str, program: str) -> bool:
    return re.fullmatch(pattern, program) is not None
