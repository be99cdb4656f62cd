"""What of the host reaches a build, and the lines of a Dockerfile that let it in.

Nothing of it stays in the image's environment: variables come as ARG. The host's certificates
come from a small image of their own, so that `COPY . .` never sees them.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from emulator.decisions.instructions import Stage, parse, stages
from emulator.model.configuration import NOTHING

FOLDER = "/usr/local/share/apprunner-emulator"
CA_FILE = f"{FOLDER}/ca.crt"  # outlives `update-ca-certificates`, which rewrites the next one
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # for all that reads no variable
JAVA_TRUST = f"{FOLDER}/cacerts"  # the same, as a JDK reads it
JAVA_VARIABLE = "JAVA_TOOL_OPTIONS"
TRUST_JAVA = f"-Djavax.net.ssl.trustStore={JAVA_TRUST}"
MAVEN_FILE = "/root/.m2/settings.xml"
NPMRC_FILE = f"{FOLDER}/npmrc"
CA_VARIABLES = (
    *("CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"),
    *("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"),
)
PROXIES = tuple(
    case
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY")
    for case in (name, name.lower())
)  # the engine knows these without ARG, and keeps them out of the image's history
_LOOPBACK = re.compile(r"^(\w+://)?([^@/\s]*@)?(localhost|127(?:\.\d+){3}|\[::1\])(?=[:/]|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildEnvironment:
    """`arguments` are build arguments; `files` the image that holds the CA bundle as /ca.crt, and
    for Java as /cacerts, npm's token as /npmrc and Maven's mirrors as /settings.xml, where there
    are such.
    """

    arguments: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    files: str = ""
    ca: bool = False
    npmrc: bool = False
    maven: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A Dockerfile with our lines in it; `inserted` are their numbers, from 1."""

    text: str
    inserted: tuple[int, ...] = ()

    def original_line(self, line: int) -> int:
        """Where a line was before ours came in."""
        return line - sum(1 for number in self.inserted if number < line)


def prelude(environment: BuildEnvironment) -> tuple[str, ...]:
    """The lines after a FROM that names an image."""
    return _copies(environment) + _arguments(environment)


def _copies(environment: BuildEnvironment) -> tuple[str, ...]:
    copy = f"COPY --from={environment.files}"
    ca = (f"{copy} /ca.crt /cacerts {FOLDER}/", f"{copy} /ca.crt {CA_BUNDLE}")
    npmrc = (f"{copy} /npmrc {NPMRC_FILE}",) if environment.npmrc else ()
    maven = (f"{copy} /settings.xml {MAVEN_FILE}",) if environment.maven else ()
    return (ca if environment.ca else ()) + npmrc + maven


def _arguments(environment: BuildEnvironment) -> tuple[str, ...]:
    """One ARG for all: each instruction costs time."""
    declared = sorted(set(environment.arguments) - set(PROXIES))
    declared += [f"{name}={value}" for name, value in _files_named(environment).items()]
    return (" ".join(("ARG", *declared)),) if declared else ()


def _files_named(environment: BuildEnvironment) -> Mapping[str, str]:
    """Variables that name the files of the prelude."""
    ca = dict.fromkeys(CA_VARIABLES if environment.ca else (), CA_FILE)
    return ca | ({"NPM_CONFIG_USERCONFIG": NPMRC_FILE} if environment.npmrc else {})


def command_variables(environment: BuildEnvironment) -> Mapping[str, str]:
    """What ARG gives a command where the prelude is in its image."""
    return {**environment.arguments, **_files_named(environment)}


def layer_key(
    image: str,
    commands: Iterable[str],
    variables: Mapping[str, str],
    programs: Mapping[str, str] = NOTHING,
) -> str:
    """The same for commands that would make the same again of an image; as in the engine's own
    builder, it does not matter which proxy they went through.
    """
    seen = {name: value for name, value in sorted(variables.items()) if name not in PROXIES}
    text = json.dumps([image, list(commands), seen, dict(sorted(programs.items()))])
    return hashlib.sha256(text.encode()).hexdigest()


def insert_prelude(
    dockerfile: str,
    environment: BuildEnvironment,
    labels: Mapping[str, str] = NOTHING,
    image_labels: Mapping[str, str] = NOTHING,
) -> Prepared:
    """Our lines after every FROM; `labels` mark what a failed build leaves behind,
    `image_labels`, at the end, the image: the engine would make a step of each.

    A stage on top of another one inherits its files; `scratch` has no room for any.
    """
    first = _label(labels)
    lines = dockerfile.rstrip(" \t\r\n\\").split("\n")
    inserted: list[int] = []
    for stage in stages(parse(dockerfile)):
        at = stage.instruction.end + len(inserted)
        ours = _lines_of(stage, environment, first)
        lines[at:at] = ours
        inserted += range(at + 1, at + 1 + len(ours))
    if last := _label(image_labels):
        lines += last
        inserted.append(len(lines))
    return Prepared("\n".join((*lines, "")), tuple(inserted))


def _label(labels: Mapping[str, str]) -> tuple[str, ...]:
    words = (f'{name}="{value}"' for name, value in labels.items())
    return (" ".join(("LABEL", *words)),) if labels else ()


def _lines_of(
    stage: Stage, environment: BuildEnvironment, first: tuple[str, ...]
) -> tuple[str, ...]:
    if stage.external:
        return first + prelude(environment)
    return () if stage.image == "scratch" else _arguments(environment)


def reach_host(
    arguments: Mapping[str, str], gateway: str
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Addresses of the host's loopback are not the host's inside a build: its gateway is.

    Returns the arguments and a note for each that changed.
    """
    reached = {
        name: value if name.upper() == "NO_PROXY" else _by_gateway(value, gateway)
        for name, value in arguments.items()
    }
    changed = [name for name in sorted(reached) if reached[name] != arguments[name]]
    note = f"points at this machine's loopback; the build uses {gateway}, where it must listen too."
    return reached, tuple(f"{name} {note}" for name in changed)


def _by_gateway(value: str, gateway: str) -> str:
    return " ".join(_LOOPBACK.sub(rf"\g<1>\g<2>{gateway}", word) for word in value.split())


def remote_addresses(words: Iterable[str]) -> str:
    """Those that mean something inside a container: no files and no paths of the host."""
    return " ".join(word for word in words if word.startswith(("http://", "https://")))
