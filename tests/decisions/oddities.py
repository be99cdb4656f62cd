"""What public apprunner.yaml files hold beside what the documentation shows, and what comes of it.

One table for both: the tests that hold the emulator to it, and docs/apprunner-yaml.md, which is
written from it (`make docs`). How sure it is what App Runner does with each: D documented, O observed
in histories or logs of public repositories, A assumed.
"""

import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emulator.decisions.buildplan import decide
from emulator.drivers import buildpacks, yaml
from emulator.model.build import BuildPlan
from emulator.model.configuration import NOTHING, CodeSource

PACKS = buildpacks.load(buildpacks.folder())
FILE = "apprunner.yaml"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "apprunner-yaml.md"
MINIMAL = """\
version: 1.0
runtime: nodejs22
build:
  commands:
    build:
      - npm ci
run:
  command: node app.js
"""
VALID = (
    "corretto11, corretto8, dotnet6, go1, nodejs12, nodejs14, nodejs16, nodejs18, nodejs22, php81, "
    "python3, python311, ruby31"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """`text` is the file's; exactly one of `refused`, `warned` and `read` says what comes of it.

    The first two are the whole message; `read` are members of the plan. `here` is for the page,
    where `read` does not speak for itself.
    """

    written: str
    there: str
    text: str
    refused: str = ""
    warned: str = ""
    read: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    here: str = ""
    files: tuple[str, ...] = ()


def outcome(oddity: Oddity) -> BuildPlan:
    """Raises ConfigurationError."""
    data = oddity.text.encode()
    files = dict.fromkeys(oddity.files, b"{}") | ({FILE: data} if data else {})
    return decide(
        paths=files.keys(),
        contents=files,
        node=yaml.load(data, FILE) if data else None,
        source=CodeSource(repository="r", branch="main"),
        env={},
        buildpacks=PACKS,
    ).plan


def changed(old: str, new: str, text: str = MINIMAL) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def with_run(lines: str, text: str = MINIMAL) -> str:
    return text + textwrap.indent(lines, "  ")


def runtime(name: str) -> str:
    return changed("nodejs22", name)


def command(text: str) -> str:
    return changed("node app.js", text)


def building(text: str) -> str:
    return changed("npm ci", text)


def env(value: str) -> str:
    return with_run(f"env:\n  - name: A\n    value: {value}\n")


def python(build: str) -> str:
    text = changed("nodejs22", "python311").replace("npm ci", build)
    return text.replace("node app.js", "python3 app.py")


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)

ODDITIES = (
    Oddity(
        written="`build.commands` is a list",
        there="D: must be a mapping",
        text=changed("    build:\n      - npm ci", "    - npm ci"),
        refused=(
            "apprunner.yaml:5 (build.commands): build.commands must be a mapping with "
            "the key build: indent the commands under `build:`"
        ),
    ),
    Oddity(
        written="`build.commands.build` is a text",
        there="D: must be a list",
        text=changed("\n      - npm ci", " npm ci"),
        refused=(
            "apprunner.yaml:5 (build.commands.build): expected a list of commands: each "
            "on its own line after `- `"
        ),
    ),
    Oddity(
        written="`build.command`",
        there="D: unknown",
        text=changed("  commands:\n    build:\n      - npm ci", "  command: npm ci"),
        refused=(
            "apprunner.yaml:4 (build.command): unknown key; did you mean "
            "build.commands.build? Also apprunner.yaml:4 (build.commands): build "
            "commands are required (build.commands.build)"
        ),
    ),
    Oddity(
        written="no `build`",
        there="D: required",
        text=changed("build:\n  commands:\n    build:\n      - npm ci\n", ""),
        refused=(
            "apprunner.yaml:1 (build): the section `build:` is required; it needs "
            "commands.build, a list of commands"
        ),
    ),
    Oddity(
        written="only `pre-build`",
        there="D: `build` is required",
        text=changed("    build:\n", "    pre-build:\n"),
        refused=("apprunner.yaml:5 (build.commands.build): a list of build commands is required"),
    ),
    Oddity(
        written="no `run`",
        there="D: required",
        text=changed("run:\n  command: node app.js\n", ""),
        refused=(
            "apprunner.yaml:1 (run): the section `run:` is required; it needs command, "
            "the start command"
        ),
    ),
    Oddity(
        written="no `run.command`",
        there="D: required",
        text=changed("  command: node app.js", "  network:\n    port: 80"),
        refused="apprunner.yaml:8 (run.command): a start command is required",
    ),
    Oddity(
        written="`run` inside `build`",
        there="D: unknown",
        text=changed("run:\n  command", "  run:\n    command"),
        refused=(
            "apprunner.yaml:7 (build.run): unknown key; did you mean run, at the top "
            "level? Also apprunner.yaml:1 (run): the section `run:` is required; it "
            "needs command, the start command"
        ),
    ),
    Oddity(
        written="`start` instead of `run`",
        there="D: unknown",
        text=changed("run:\n", "start:\n"),
        refused=(
            "apprunner.yaml:7 (start): unknown key; did you mean run.command? Also "
            "apprunner.yaml:1 (run): the section `run:` is required; it needs command, "
            "the start command"
        ),
    ),
    Oddity(
        written="no `runtime`",
        there="D: required",
        text=changed("runtime: nodejs22\n", ""),
        refused="apprunner.yaml:1 (runtime): `runtime:` is required, one of " + VALID,
    ),
    Oddity(
        written="`runtime` is a mapping",
        there="D: one name",
        text=runtime("\n  name: python"),
        refused="apprunner.yaml:2 (runtime): expected the name of a runtime, one of " + VALID,
    ),
    Oddity(
        written="`runtime: 3.8`",
        there="D: unknown",
        text=runtime("3.8"),
        refused="apprunner.yaml:2 (runtime): there is no runtime '3.8'; did you mean python3? there are "
        + VALID,
    ),
    Oddity(
        written="`runtime` inside `run`",
        there="D: unknown",
        text=with_run("runtime: nodejs22\n", changed("runtime: nodejs22\n", "")),
        refused="apprunner.yaml:1 (runtime): `runtime:` is required, one of "
        + VALID
        + ". Also apprunner.yaml:8 (run.runtime): unknown key; did you mean runtime, at the top level?",
    ),
    Oddity(
        written="`runtime: nodejs20`",
        there="D: unknown",
        text=runtime("nodejs20"),
        refused="apprunner.yaml:2 (runtime): there is no runtime 'nodejs20'; did you mean nodejs18 or nodejs22? there are "
        + VALID,
    ),
    Oddity(
        written="`runtime: python3.11`",
        there="D: unknown",
        text=runtime("python3.11"),
        refused="apprunner.yaml:2 (runtime): there is no runtime 'python3.11'; did you mean python311? there are "
        + VALID,
    ),
    Oddity(
        written="`runtime: Nodejs 12`",
        there="D: unknown",
        text=runtime("Nodejs 12"),
        refused="apprunner.yaml:2 (runtime): there is no runtime 'Nodejs 12'; did you mean nodejs12? there are "
        + VALID,
    ),
    Oddity(
        written="`runtime: docker`",
        there="D: no Dockerfiles from a code repository",
        text=runtime("docker"),
        refused=(
            "apprunner.yaml:2 (runtime): there is no runtime docker. App Runner never "
            "builds a Dockerfile from a code repository: name a managed runtime here, "
            "or delete this file and let the emulator build the Dockerfile"
        ),
    ),
    Oddity(
        written="`network` at the top",
        there="A: ignored or refused; the port stays 8080",
        text=MINIMAL + "network:\n  port: 3000\n",
        refused="apprunner.yaml:9 (network): unknown key; did you mean run.network?",
    ),
    Oddity(
        written="`run.port`",
        there="A: ignored or refused; the port stays 8080",
        text=with_run("port: 3000\n"),
        refused="apprunner.yaml:9 (run.port): unknown key; did you mean run.network.port?",
    ),
    Oddity(
        written="`server`",
        there="A: ignored or refused; the port stays 8080",
        text=MINIMAL + "server:\n  port: 3000\n",
        refused="apprunner.yaml:9 (server): unknown key; did you mean run.network.port?",
    ),
    Oddity(
        written="`run.environment`",
        there="A: ignored or refused",
        text=with_run("environment:\n  - name: A\n    value: b\n"),
        refused="apprunner.yaml:9 (run.environment): unknown key; did you mean run.env?",
    ),
    Oddity(
        written="`run.env` is a mapping",
        there="D: a list of pairs",
        text=with_run("env:\n  A: b\n"),
        refused=(
            "apprunner.yaml:10 (run.env): expected a list, each entry `- name: NAME` "
            "with `value: …` below it"
        ),
    ),
    Oddity(
        written="a health check",
        there="D: no operational settings in the file",
        text=MINIMAL + "health_check:\n  path: /\n",
        refused=(
            "apprunner.yaml:9 (health_check): unknown key; the file holds no "
            "operational settings: set HealthCheckConfiguration on the service"
        ),
    ),
    Oddity(
        written="`auto_deploy`, `cpu`, `observability` …",
        there="D: no operational settings in the file",
        text=MINIMAL + "auto_deploy: true\n",
        refused=(
            "apprunner.yaml:9 (auto_deploy): unknown key; the file holds no operational "
            "settings: set AutoDeploymentsEnabled on the service"
        ),
    ),
    Oddity(
        written="a Compose file",
        there="D: another format",
        text="services: {}\n",
        refused="apprunner.yaml:1 (services): unknown key; this looks like a Docker Compose file, not like apprunner.yaml. Also apprunner.yaml:1 (runtime): `runtime:` is required, one of "
        + VALID
        + ". Also apprunner.yaml:1 (version): `version: 1.0` is required",
    ),
    Oddity(
        written="a variable `8080`, `1.10`, `0777`, `yes`",
        there="D: scalars",
        text=with_run("env:\n  - name: A\n    value: 0777\n  - name: B\n    value: 1.10\n"),
        read={"env": {"A": "0777", "B": "1.10", "PORT": "8080"}},
        here="passed as it is written",
    ),
    Oddity(
        written="`PORT` in `run.env`, the same as the port",
        there="D: PORT carries the port",
        text=with_run("env:\n  - name: PORT\n    value: 8080\n"),
        read={"env": {"PORT": "8080"}},
        here="passed",
    ),
    Oddity(
        written="`PORT` in `run.env`, another one",
        there="A: the port wins",
        text=with_run("env:\n  - name: PORT\n    value: 3000\n"),
        warned=(
            "apprunner.yaml:9 (run.env): PORT is 3000 here but run.network.port is "
            "8080: the app gets 8080"
        ),
    ),
    Oddity(
        written="`${B}` in a value",
        there="A: passed as it stands",
        text=env("${B}"),
        warned=(
            "apprunner.yaml:11 (run.env): A: `${…}` and `{{resolve:…}}` are passed as "
            "they stand, nothing is put in; write the value, or use run.secrets"
        ),
    ),
    Oddity(
        written="`{{resolve:ssm:/x}}` in a value",
        there="A: passed as it stands",
        text=env("'{{resolve:ssm:/x}}'"),
        warned=(
            "apprunner.yaml:11 (run.env): A: `${…}` and `{{resolve:…}}` are passed as "
            "they stand, nothing is put in; write the value, or use run.secrets"
        ),
    ),
    Oddity(
        written="`$PORT` as port",
        there="D: a number",
        text=with_run("network:\n  port: $PORT\n"),
        refused=(
            "apprunner.yaml:10 (run.network.port): expected a number from 1 to 65535, "
            "not '$PORT'; variables are not expanded here"
        ),
    ),
    Oddity(
        written="`$PORT` in the start command",
        there="O: no shell",
        text=command("node app.js --port $PORT"),
        warned=(
            "apprunner.yaml:8 (run.command): App Runner runs the start command without "
            "a shell, split on blanks, so `$PORT` will not work; write the value itself, or "
            "put the commands into a script and run `sh start.sh`"
        ),
    ),
    Oddity(
        written="`runtime-version: 3.10`",
        there="D: read as a text, 3.10 is not 3.1",
        text=with_run("runtime-version: 3.10\n", runtime("python3")),
        refused=(
            "apprunner.yaml:9 (run.runtime-version): runtime version not supported: "
            "python3 has 3.7 and 3.8"
        ),
    ),
    Oddity(
        written="`version: 1.10`",
        there="D: 1.0 is the only one",
        text=changed("1.0", "1.10"),
        refused="apprunner.yaml:1 (version): expected 1.0, not '1.10'",
    ),
    Oddity(
        written="`runtime-version: latest`",
        there="D: major[.minor[.patch]]",
        text=with_run("runtime-version: latest\n"),
        refused=(
            "apprunner.yaml:9 (run.runtime-version): expected major[.minor[.patch]], "
            "for example 22, not 'latest'"
        ),
    ),
    Oddity(
        written="another runtime's version",
        there="O: not supported",
        text=with_run("runtime-version: 3.9\n", runtime("python3")),
        refused=(
            "apprunner.yaml:9 (run.runtime-version): runtime version not supported: "
            "python3 has 3.7 and 3.8"
        ),
    ),
    Oddity(
        written="python311 that installs in `build` alone",
        there="D: built, and the start fails: only /app is carried over",
        text=python("pip3 install -r requirements.txt"),
        warned=(
            "`pip3 install -r requirements.txt` installs outside /app, and App Runner's "
            "revised build carries nothing else into the run image: repeat it in "
            "run.pre-run"
        ),
        files=("requirements.txt",),
    ),
    Oddity(
        written="`pip` on python311",
        there="O: `pip` is not there, the build fails",
        text=python("pip --version"),
        warned=(
            "apprunner.yaml:6 (build.commands.build): this runtime has no `pip` on App "
            "Runner, where that fails: write `pip3`"
        ),
    ),
    Oddity(
        written="`pre-run` in an original build",
        there="D: supported by the revised build only",
        text=with_run("pre-run:\n  - npm ci\n", runtime("nodejs16")),
        warned="apprunner.yaml (run.pre-run): not run, as nodejs16 has the original build",
    ),
    Oddity(
        written="`network` without anything in it",
        there="D: optional",
        text=with_run("network:\n"),
        read={"port": 8080},
        here="port 8080",
    ),
    Oddity(
        written='`- echo "DEBUG 1: Starting"`',
        there="D: a list of texts; for YAML this is a mapping",
        text=building('echo "DEBUG 1: Starting"'),
        refused=(
            "apprunner.yaml:6 (build.commands.build): this is a mapping, because of the "
            "colon: quote this command, as 'echo \"DEBUG 1: Starting\"'"
        ),
    ),
    Oddity(
        written="a start command of two lines",
        there="D: one line",
        text=command("|\n    npm ci\n    node app.js"),
        refused=(
            "apprunner.yaml:8 (run.command): a command is one line: use one per entry, "
            "a script, or `>-`"
        ),
    ),
    Oddity(
        written="a folded start command (`>`)",
        there="D: one line",
        text=command(">\n    node\n    app.js"),
        read={"command": ("node", "app.js")},
        here="taken as one line",
    ),
    Oddity(
        written="`pip install x>=1.28`",
        there="O: a redirection for the shell",
        text=building("npm install x>=1.28"),
        read={"build": ("npm install x>=1.28",)},
        here="the same: writes a file `=1.28`",
    ),
    Oddity(
        written="`cd` as a command of its own",
        there="O: one shell for all commands of a phase",
        text=changed("      - npm ci", "      - cd web\n      - npm ci"),
        read={"build": ("cd web", "npm ci")},
        here="the same: it holds for the next command",
    ),
    Oddity(
        written="`cd x && y` to start",
        there="O: no shell",
        text=command("cd web && node app.js"),
        warned=(
            "apprunner.yaml:8 (run.command): App Runner runs the start command without "
            "a shell, split on blanks, so `cd`, `&&` will not work; put the commands into a "
            "script and run `sh start.sh`"
        ),
    ),
    Oddity(
        written='`sh -c "x; y"` to start',
        there="O: split on blanks, quotes mean nothing",
        text=command('sh -c "node a.js; node b.js"'),
        warned=(
            "apprunner.yaml:8 (run.command): App Runner runs the start command without "
            "a shell, split on blanks, so quotes around several words will not work; put the "
            "commands into a script and run `sh start.sh`"
        ),
    ),
    Oddity(
        written="`NAME=value x` to start",
        there="O: no shell",
        text=command("NODE_ENV=production node app.js"),
        warned=(
            "apprunner.yaml:8 (run.command): App Runner runs the start command without "
            "a shell, split on blanks, so `NODE_ENV=` will not work; set it in run.env, or "
            "put the commands into a script and run `sh start.sh`"
        ),
    ),
    Oddity(
        written="`*.jar` to start",
        there="O: no shell",
        text=command("java -jar target/*.jar"),
        warned=(
            "apprunner.yaml:8 (run.command): App Runner runs the start command without "
            "a shell, split on blanks, so `target/*.jar` will not work; put the commands "
            "into a script and run `sh start.sh`"
        ),
    ),
    Oddity(
        written="`apprunner.yml`",
        there="D: the name is apprunner.yaml",
        text="",
        warned=("apprunner.yml is not read, the name must be exactly apprunner.yaml: rename it"),
        files=("apprunner.yml", "server.js"),
    ),
    Oddity(
        written="a file in a directory",
        there="D: read in the source directory",
        text="",
        warned="web/apprunner.yaml is read only if the source directory is /web",
        files=("web/apprunner.yaml", "server.js"),
    ),
    Oddity(
        written="Windows line ends, a byte order mark, `---`, no last line end, comments",
        there="D: YAML",
        text="\ufeff---\n" + MINIMAL.rstrip().replace("\n", " # é\r\n"),
        read={"command": ("node", "app.js"), "build": ("npm ci",)},
        here="taken; no `\\r` reaches a shell",
    ),
    Oddity(
        written="an empty file",
        there="A: refused",
        text="\n",
        refused="apprunner.yaml:1: the file is empty",
    ),
    Oddity(
        written="a merge conflict",
        there="D: not YAML",
        text=MINIMAL + "<<<<<<< HEAD\n",
        refused="apprunner.yaml:9: a merge conflict is left in the file: resolve it",
    ),
    Oddity(
        written="`<<port>>` as port",
        there="D: a number",
        text=with_run("network:\n  port: <<port>>\n"),
        refused=(
            "apprunner.yaml:10 (run.network.port): expected a number from 1 to 65535, "
            "not '<<port>>'"
        ),
    ),
    Oddity(
        written="a secret by ARN or by name",
        there="D: Secrets Manager, Parameter Store",
        text=with_run(
            "secrets:\n  - name: A\n    value-from: arn:aws:ssm:us-east-1:123456789012:parameter/a\n"
        ),
        read={"secrets": {"A": "arn:aws:ssm:us-east-1:123456789012:parameter/a"}},
        here="taken",
    ),
    Oddity(
        written="a tab for indentation",
        there="D: not YAML",
        text="version: 1.0\nrun:\n\tcommand: x\n",
        refused="apprunner.yaml:3: not YAML: a tab indents this line, YAML wants blanks",
    ),
    Oddity(
        written="a second document",
        there="A: refused",
        text=MINIMAL + "---\n" + MINIMAL,
        refused="apprunner.yaml:9: a second document begins here: one is read",
    ),
    Oddity(
        written="an anchor and its alias",
        there="D: YAML",
        text=changed("npm ci", "&a npm ci").replace("node app.js", "*a"),
        read={"command": ("npm", "ci")},
        here="put in",
    ),
    Oddity(
        written="a key twice",
        there="A: not YAML, by its standard",
        text=MINIMAL + "version: 1.0\n",
        refused="apprunner.yaml:9 (version): this key stands already on line 1: keep one",
    ),
    Oddity(
        written="a name with AWSAPPRUNNER",
        there="D: reserved",
        text=with_run("env:\n  - name: AWSAPPRUNNER_A\n    value: b\n"),
        refused=(
            "apprunner.yaml:10 (run.env): AWSAPPRUNNER_A: names with AWSAPPRUNNER are reserved"
        ),
    ),
    Oddity(
        written="more than 1,000,000 bytes",
        there="A: unknown",
        text="#" * 1_000_001,
        refused="apprunner.yaml: the file has 1000001 bytes; at most 1000000 are read",
    ),
    Oddity(
        written="aliases of aliases of aliases …",
        there="A: unknown",
        text=BOMB,
        refused="apprunner.yaml:5: more than 20000 values, what aliases stand for included",
    ),
)


# -- the page ------------------------------------------------------------------------------------

INTRODUCTION = """\
# apprunner.yaml

Written by `make docs`; a test holds the table to what the emulator does.

App Runner documents the file's schema, not what it does with a file that breaks it; most public
files broke it before they worked. Here a file is read as App Runner documents it. What cannot work
is refused during the deployment, as there, with file, line, key, what was expected and what to write;
all problems at once. What works and will surprise goes on with a warning in the event log.
`apprunner detect PATH` says the same without deploying.

- Every value is read as it is written: `3.10` is not 3.1, `yes` and `0777` stay what they are.
- At most 1,000,000 bytes, 20,000 values (with all that aliases stand for), 32 levels, 65,536
  characters in a command and 51,200 in a variable's value.
- With ConfigurationSource `API` the file is not read at all, whatever it holds.

## The start command
It is split on blanks and started without a shell: quotes, `&&`, `|`, `;`, `>`, `$VAR`, `*` and
`NAME=value` mean nothing, not even in `sh -c "…"`. Put such commands into a script and write
`command: sh start.sh`. Where a command plainly wants a shell the event log says so, and when the
start then fails, so does the reason of the failure.

## The two builds
| | original | revised: python311, nodejs18, nodejs22 |
|---|---|---|
| build image, `/app` holds the repository, commands run in the source directory | `pre-build`, `build`, then `post-build` on top of a copy | the same |
| run image, only `/app` carried over | `build` again, without `build.env` | `pre-run`, with `build.env` |
| deployed | the run image | the run image |

All commands of a phase share one shell: `cd` in one holds for the next, the first that fails ends the
build. What a command installs outside `/app` is gone in the revised build unless `pre-run` repeats
it. What `post-build` makes is never deployed. `run.env` and secrets are not seen by any build.
`PORT` always carries `run.network.port`, the variable in `run.network.env` as well.
Where commands only install what lock or requirement files name, the emulator makes the same image
from those files alone and lays the source over it; the event log says which of the two it did.

## Kinder than App Runner
`strict = true` refuses each of these.
- Without the file the emulator recognises the language, or builds the repository's own `Dockerfile`.
- `pip` and `python` exist on python311; there they do not (a warning says so).
- A version of a language that is not to be had here is replaced by another, which is named.

## What people write
App Runner's side is **D**ocumented, **O**bserved in public histories and logs, or **A**ssumed.

| written | App Runner | here |
|---|---|---|
"""


def page() -> str:
    """docs/apprunner-yaml.md."""
    return INTRODUCTION + "".join(f"{_row(oddity)}\n" for oddity in ODDITIES)


def _row(oddity: Oddity) -> str:
    if oddity.refused:
        here = f"refused: {_literal(oddity.refused)}"
    elif oddity.warned:
        here = f"goes on and warns: {_literal(oddity.warned)}"
    else:
        here = oddity.here
    cells = (oddity.written, oddity.there, here)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _literal(message: str) -> str:
    """As code, although it holds backticks itself."""
    return f"`` {message.replace(VALID, 'corretto11, …, ruby31')} ``"


if __name__ == "__main__":
    sys.stdout.write(page())
