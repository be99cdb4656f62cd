"""Make `.venv` from nothing but git, make and a Python; silent and quick when it is up to date.

Why not `python3 -m venv && pip install`: Debian's python3 comes without a working ensurepip, its
python3-minimal with half of the library; a machine's `python3` may be too old while a newer one
stands beside it; and a company's package index may be all there is.

Pythons that are too old or too bare must be able to read this file far enough to say so: nothing
newer than Python 3.6, and at the top only what python3-minimal has.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

OLDEST = (3, 11)
CANDIDATES = ("python3.13", "python3.12", "python3.11", "python3")
GROUPS = ("test", "lint")
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".setup-stamp"
NEEDED = ("venv", "ssl", "sqlite3", "tomllib", "ctypes", "urllib.request")
INSTALLED = "APPRUNNER_SETUP_INSTALLED_PYTHON"


class SetupError(Exception):
    """What is missing and the command that mends it."""


def say(text: str) -> None:
    print(f"setup: {text}", file=sys.stderr, flush=True)


def use_a_suitable_python() -> None:
    """Go on as another interpreter where this one is too old."""
    if sys.version_info[:2] >= OLDEST:
        return
    for name in CANDIDATES:
        if is_suitable(name):
            os.execvp(name, [name, *sys.argv])
    here = f"{sys.executable} is {sys.version_info[0]}.{sys.version_info[1]}"
    raise SetupError(
        f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed; {here}.\n{hint_for_a_newer_python()}"
    )


def is_suitable(python: str) -> bool:
    """Ask it: a pyenv shim exists also for versions that are not switched on."""
    question = f"import sys; sys.exit(sys.version_info[:2] < {OLDEST!r})"
    return succeeds([python, "-c", question])


def succeeds(command: list) -> bool:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return subprocess.run(command, check=False, **quiet).returncode == 0
    except OSError:
        return False


def hint_for_a_newer_python() -> str:
    if sys.platform == "darwin":
        return "Run: brew install python@3.13"
    if has_apt():
        return "Run: sudo apt-get install -y python3.11-venv (or python3.12-venv)"
    if Path("/usr/bin/dnf").exists():
        return "Run: sudo dnf install -y python3.12"
    return "Get one from https://www.python.org/downloads/"


def has_apt() -> bool:
    return Path("/usr/bin/apt-get").exists()


def require_the_whole_library() -> None:
    """Distributions split it into packages, and a Python built by hand may lack parts."""
    missing = missing_modules()
    if not missing:
        return
    problem = f"{sys.executable} lacks {', '.join(missing)}"
    if not (has_apt() and sys.executable.startswith("/usr/bin/")):
        raise SetupError(f"{problem}: reinstall it, or put another Python first on the PATH.")
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    command = ["apt-get", "install", "-y", "--no-install-recommends", f"{version}-venv"]
    if os.geteuid() != 0 or INSTALLED in os.environ:
        raise SetupError(f"{problem}. Run: sudo {' '.join(command)}")
    say(f"{problem}; installing {version}-venv")
    install_package(command)
    os.execve(sys.executable, [sys.executable, *sys.argv], dict(os.environ, **{INSTALLED: "1"}))


def missing_modules() -> list:
    missing = []
    for name in NEEDED:
        try:
            __import__(name)
        except ImportError:
            missing.append(name)
    return missing


def install_package(command: list) -> None:
    """With fresh package lists only where the ones at hand do not do."""
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    options = {"env": environment, "stdout": subprocess.DEVNULL}
    if subprocess.run(command, check=False, stderr=subprocess.DEVNULL, **options).returncode:
        run(["apt-get", "update"], **options)
        run(command, **options)


def is_up_to_date() -> bool:
    return PYTHON.exists() and STAMP.is_file() and STAMP.read_text() == fingerprint()


def fingerprint() -> str:
    """Also of the place: scripts in a virtual environment name it by its full path."""
    content = (ROOT / "pyproject.toml").read_bytes() + Path(__file__).read_bytes()
    return hashlib.sha256(content + str(ROOT).encode()).hexdigest()


def make_environment() -> None:
    """Pip is ensurepip's where that works, else the newest of the package index."""
    if is_usable():
        return
    say(f"making .venv with Python {'.'.join(str(part) for part in sys.version_info[:3])}")
    run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)])
    if not succeeds([str(PYTHON), "-m", "ensurepip", "--default-pip"]):
        install_pip()


def is_usable() -> bool:
    """Whether what is there may be kept: new enough, made for this place, and its pip runs."""
    script = VENV / "bin" / "pip"
    return (
        is_suitable(str(PYTHON))
        and script.is_file()
        and str(VENV) in script.read_text()
        and succeeds([str(PYTHON), "-m", "pip", "--version"])
    )


def install_pip() -> None:
    from download_pip import DownloadError, download_pip  # noqa: PLC0415 - needs a whole library

    say("this Python has no ensurepip that works; getting pip from the package index")
    with tempfile.TemporaryDirectory() as directory:
        try:
            wheel = download_pip(Path(directory))
        except DownloadError as error:
            raise SetupError(str(error)) from error
        install("--no-index", str(wheel), pip=(str(wheel / "pip"),))


def install_project() -> None:
    say("installing the project and its tools (a minute or two the first time)")
    install("--editable", str(ROOT), *requirements())


def install(*arguments: str, pip: tuple = ("-m", "pip")) -> None:
    run([str(PYTHON), *pip, "install", *arguments], env=environment_for_pip())


def requirements() -> list:
    """The dependency groups, read by ourselves: pip knows `--group` only since 25.1."""
    import tomllib  # noqa: PLC0415 - not in every Python that reads this file

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    pending = [each for name in GROUPS for each in groups[name]]
    found = []
    while pending:
        each = pending.pop(0)
        if isinstance(each, dict):
            pending += groups[each["include-group"]]
        else:
            found.append(each)
    return found


def environment_for_pip() -> dict:
    """Quiet, into this environment whatever the user's settings, trusting what the user trusts."""
    dropped = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PYTHONHOME", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    environment.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    environment["PIP_QUIET"] = "2"
    environment["PIP_ROOT_USER_ACTION"] = "ignore"
    if "SSL_CERT_FILE" in os.environ and "REQUESTS_CA_BUNDLE" not in os.environ:
        environment.setdefault("PIP_CERT", os.environ["SSL_CERT_FILE"])  # old pips look only there
    return environment


def run(command: list, **options: object) -> None:
    try:
        subprocess.run(command, check=True, **options)
    except subprocess.CalledProcessError as error:
        problem = f"this failed with exit code {error.returncode}: {' '.join(command)}"
        raise SetupError(problem) from error


@contextmanager
def only_one() -> object:
    """Two at a time would spoil each other's environment; the second waits."""
    import fcntl  # noqa: PLC0415 - a Windows user deserves a better message than its absence

    descriptor = os.open(str(ROOT), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def main() -> None:
    use_a_suitable_python()
    if is_up_to_date():
        return
    if os.name != "posix":
        raise SetupError("Windows is not supported; WSL 2 is.")
    require_the_whole_library()
    with only_one():
        if is_up_to_date():  # by whom we have been waiting for
            return
        make_environment()
        install_project()
        STAMP.write_text(fingerprint())
    say("ready: .venv/bin/apprunner")


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
