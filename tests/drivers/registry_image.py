"""An image without any base: distribution's registry, with what it is linked to."""

import re
import shutil
import subprocess
from pathlib import Path

from emulator.drivers.machine import Computer
from emulator.drivers.machine.registry import find_program
from tests.conftest import ENVIRONMENT


def lay_down_program(context: Path, inside: str) -> None:
    """A context for `docker build`; `inside` is where the program is in the image."""
    program = find_program(Computer(environment=ENVIRONMENT)) or ""
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    files = {library: library.lstrip("/") for library in re.findall(r"/\S+", linked.stdout)}
    for file, there in {**files, program: inside}.items():
        copy = context / "root" / there
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    (context / "Dockerfile").write_text("FROM scratch\nENV PATH=/bin\nCOPY root/ /\n")
