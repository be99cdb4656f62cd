"""apprunner.yaml: the documented schema, and variants of the oddities in oddities.py."""

import textwrap

import pytest

from emulator.decisions.app_configuration import (
    Listing,
    Node,
    Scalar,
    Table,
    misspelt,
    read,
    render,
    split_command,
)
from emulator.decisions.configuration_schema import RELEASES, nearest_runtimes, shell_hint
from emulator.drivers import yaml
from emulator.model.build import AppConfiguration
from emulator.model.errors import ConfigurationError

FILE = "apprunner.yaml"
MINIMAL = """\
version: 1.0
runtime: python3
build:
  commands:
    build:
      - pip install pipenv
      - pipenv install
run:
  command: python app.py
"""
COMPLETE = """\
version: 1.0
runtime: python3
build:
  commands:
    pre-build:
      - wget -c https://example.com/lib.tar.gz -O - | tar -xz
    build:
      - pip install pipenv
      - pipenv install
    post-build:
      - python manage.py test
  env:
    - name: DJANGO_SETTINGS_MODULE
      value: "django_apprunner.settings"
run:
  runtime-version: 3.7.7
  command: pipenv run gunicorn django_apprunner.wsgi --log-file -
  network:
    port: 8000
    env: MY_APP_PORT
  env:
    - name: MY_VAR_EXAMPLE
      value: "example"
  secrets:
    - name: my-secret
      value-from: "arn:aws:secretsmanager:us-east-1:123456789012:secret:x-kJFXde:username::"
    - name: my-parameter
      value-from: parameter-name
"""


def parsed(text: str) -> Node:
    return yaml.load(textwrap.dedent(text).encode(), FILE)


def reading(text: str) -> AppConfiguration:
    return read(parsed(text), file=FILE, runtimes=RELEASES)


def refusal(text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        reading(text)
    return caught.value


def changed(old: str, new: str, text: str = MINIMAL) -> str:
    assert old in text
    return text.replace(old, new)


def with_run(lines: str, text: str = MINIMAL) -> str:
    """Further lines in the section `run`."""
    return text + textwrap.indent(textwrap.dedent(lines), "  ")


@pytest.mark.documented
def test_the_minimal_example_has_the_documented_defaults():
    assert reading(MINIMAL) == AppConfiguration(
        runtime="python3",
        build=("pip install pipenv", "pipenv install"),
        command="python app.py",
        port=8080,
    )


@pytest.mark.documented
def test_the_complete_example_is_read_completely():
    found = reading(COMPLETE)
    assert found.pre_build == ("wget -c https://example.com/lib.tar.gz -O - | tar -xz",)
    assert found.post_build == ("python manage.py test",)
    assert dict(found.build_env) == {"DJANGO_SETTINGS_MODULE": "django_apprunner.settings"}
    assert found.runtime_version == "3.7.7"
    assert (found.port, found.port_env) == (8000, "MY_APP_PORT")
    assert dict(found.env) == {"MY_VAR_EXAMPLE": "example"}
    assert found.secrets["my-secret"].endswith("x-kJFXde:username::")
    assert found.secrets["my-parameter"] == "parameter-name"
    assert found.warnings == ()


@pytest.mark.documented
def test_pre_run_is_read():
    found = reading(with_run("pre-run:\n  - pip3 install -r requirements.txt\n"))
    assert found.pre_run == ("pip3 install -r requirements.txt",)


@pytest.mark.documented
@pytest.mark.parametrize("version", ["1.0", "1", '"1.0"'])
def test_the_version_may_be_written_in_three_ways(version):
    assert reading(changed("1.0", version)).runtime == "python3"


# -- the oddities of public files ----------------------------------------------------------------

REFUSED = {
    # what was written: (text, line, key, part of the message)
    "2 commands as a text": (
        "version: 1.0\nruntime: python3\nbuild:\n  commands: make\nrun:\n  command: x\n",
        *(4, "build.commands", "must be a mapping"),
    ),
    "3 no build.commands": (
        "version: 1.0\nruntime: python3\nbuild:\n  env: []\nrun:\n  command: x\n",
        *(4, "build.commands", "build commands are required"),
    ),
    "6 DOCKERFILE": (
        changed("python3\n", "DOCKERFILE\n"),
        *(2, "runtime", "never builds a Dockerfile"),
    ),
    "6 python313": (
        changed("python3\n", "python313\n"),
        *(2, "runtime", "did you mean python3 or python311"),
    ),
    "6 node": (changed("python3\n", "node\n"), 2, "runtime", "nodejs18 or nodejs22"),
    "6 go": (changed("python3\n", "go\n"), 2, "runtime", "did you mean go1"),
    "7 port at the top": (
        MINIMAL + "port: 80\n",
        *(10, "port", "did you mean run.network.port?"),
    ),
    "7 env at the top": (MINIMAL + "env: []\n", 10, "env", "did you mean run.env?"),
    "7 ingress": (
        with_run("network:\n  ingress:\n    port: 80\n"),
        *(11, "run.network.ingress", "did you mean run.network.port?"),
    ),
    "7 networking": (
        MINIMAL + "networking:\n  port: 80\n",
        *(10, "networking", "did you mean run.network?"),
    ),
    "8 environment_variables": (
        with_run("environment_variables: []\n"),
        *(10, "run.environment_variables", "did you mean run.env?"),
    ),
    "8 runtime-env-vars": (
        with_run("runtime-env-vars: []\n"),
        *(10, "run.runtime-env-vars", "did you mean run.env?"),
    ),
    "9 run.health-check": (
        with_run("health-check:\n  path: /\n"),
        *(10, "run.health-check", "HealthCheckConfiguration on the service"),
    ),
    "10 observability": (
        MINIMAL + "observability: {}\n",
        *(10, "observability", "ObservabilityConfiguration"),
    ),
    "10 cpu": (MINIMAL + "cpu: 1\n", 10, "cpu", "InstanceConfiguration.Cpu"),
    "10 source_directory": (
        MINIMAL + "source_directory: /\n",
        *(10, "source_directory", "SourceDirectory"),
    ),
    "10 instanceConfiguration": (
        MINIMAL + "instanceConfiguration: {}\n",
        *(10, "instanceConfiguration", "InstanceConfiguration"),
    ),
    "10 a Compose file": (
        "version: '3.9'\nservices:\n  web:\n    image: x\n",
        *(2, "services", "Docker Compose"),
    ),
    "10 a CloudFormation template": (
        "AWSTemplateFormatVersion: '2010-09-09'\nResources: {}\n",
        *(1, "AWSTemplateFormatVersion", "CloudFormation"),
    ),
    "10 applications": ("version: 1.0\napplications: []\n", 2, "applications", "applications"),
    "15 no version": (changed("version: 1.0\n", ""), 1, "version", "`version: 1.0` is required"),
    "16 a runtime as version": (
        with_run("runtime-version: python311\n"),
        *(10, "run.runtime-version", "expected major[.minor[.patch]]"),
    ),
    "21 a build command of two lines": (
        changed("- pip install pipenv", "- |\n        cd x\n        pip install pipenv"),
        *(6, "build.commands.build", "a command is one line"),
    ),
    "a misspelt phase": (
        changed("    build:\n", "    prebuild:\n      - x\n    build:\n"),
        *(5, "build.commands.prebuild", "did you mean build.commands.pre-build?"),
    ),
    "a merge key": (
        MINIMAL + "<<: {}\n",
        *(10, "<<", "merge keys"),
    ),
    "a list at the top": ("- a\n", 1, "", "expected a mapping with the keys version"),
    "a text at the top": ("hello\n", 1, "", "expected a mapping with the keys version"),
    "run as a text": (
        changed("run:\n  command: python app.py", "run: python app.py"),
        *(8, "run", "expected a mapping"),
    ),
    "an empty command": (changed("python app.py", "''"), 9, "run.command", "expected one command"),
    "a list as command": (changed("python app.py", "[a, b]"), 9, "run.command", "expected one"),
    "an empty entry": (
        changed("- pip install pipenv", "-"),
        *(6, "build.commands.build", "expected one command"),
    ),
    "a list as entry": (
        changed("- pip install pipenv", "- [a]"),
        *(6, "build.commands.build", "expected one command"),
    ),
    "port 0": (with_run("network:\n  port: 0\n"), 11, "run.network.port", "from 1 to 65535"),
    "port 65536": (with_run("network:\n  port: 65536\n"), 11, "run.network.port", "1 to 65535"),
    "a port that is a float": (
        with_run("network:\n  port: 80.0\n"),
        *(11, "run.network.port", "not '80.0'"),
    ),
    "a port that is a list": (
        with_run("network:\n  port: [80]\n"),
        *(11, "run.network.port", "not a list"),
    ),
    "a port's variable that is a list": (
        with_run("network:\n  env: [A]\n"),
        *(11, "run.network.env", "one variable"),
    ),
    "an entry without value": (with_run("env:\n  - name: A\n"), 11, "run.env", "`value: …`"),
    "an entry without name": (with_run("env:\n  - value: A\n"), 11, "run.env", "- name: NAME"),
    "an entry with an empty name": (
        with_run("env:\n  - name:\n    value: A\n"),
        *(11, "run.env", "- name: NAME"),
    ),
    "an entry with more": (
        with_run("env:\n  - name: A\n    value: b\n    type: c\n"),
        *(11, "run.env", "no more"),
    ),
    "an entry with a list": (
        with_run("env:\n  - name: A\n    value: [b]\n"),
        *(11, "run.env", "scalar values"),
    ),
    "an impossible name": (
        with_run("env:\n  - name: A=B\n    value: c\n"),
        *(11, "run.env", "cannot be the name"),
    ),
    "a name that no shell can hold": (
        changed(
            "build:\n  commands", "build:\n  env:\n    - name: a-b\n      value: c\n  commands"
        ),
        *(4, "build.env", "a shell cannot hold"),
    ),
    "a secret without a source": (
        with_run("secrets:\n  - name: A\n    value-from: ''\n"),
        *(12, "run.secrets", "value-from is empty"),
    ),
    "a secret that is a variable too": (
        with_run("env:\n  - name: A\n    value: b\nsecrets:\n  - name: A\n    value-from: c\n"),
        *(14, "run.secrets", "in run.env as well"),
    ),
    "a secret port": (
        with_run("secrets:\n  - name: PORT\n    value-from: c\n"),
        *(11, "run.secrets", "PORT is reserved"),
    ),
}


@pytest.mark.observed
@pytest.mark.parametrize(("text", "line", "key", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused_at_its_line(text, line, key, message):
    error = refusal(text)
    assert message in error.message
    assert (error.place.file, error.place.line, error.place.key) == (FILE, line, key)


ACCEPTED = {
    # what was written: (text, what it is read as)
    "11 numbers and words keep their spelling": (
        with_run("env:\n  - name: A\n    value: 8080\n  - name: B\n    value: 1.10\n"),
        {"env": {"A": "8080", "B": "1.10"}},
    ),
    "an empty value": (with_run("env:\n  - name: A\n    value:\n"), {"env": {"A": ""}}),
    "12 PORT that equals the port": (
        with_run("network:\n  port: 3000\nenv:\n  - name: PORT\n    value: 3000\n"),
        {"env": {"PORT": "3000"}, "port": 3000},
    ),
    "15 a version in text": (with_run("runtime-version: 3.8.16\n"), {"runtime_version": "3.8.16"}),
    "16 only the major version": (with_run("runtime-version: 3\n"), {"runtime_version": "3"}),
    "19 null port": (with_run("network:\n  port:\n"), {"port": 8080}),
    "null env and secrets": (with_run("env:\nsecrets:\npre-run:\n"), {"env": {}, "secrets": {}}),
    "26 trailing blanks": (changed("python3\n", "python3 \n"), {"runtime": "python3"}),
    "a quoted port": (with_run('network:\n  port: "8000"\n'), {"port": 8000}),
    "PORT as the port's variable": (with_run("network:\n  env: PORT\n"), {"port_env": "PORT"}),
}


@pytest.mark.observed
@pytest.mark.parametrize(("text", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_works_is_read_as_it_is_written(text, expected):
    found = reading(text)
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.warnings == ()


WARNED = {
    "12 another value for the port's own variable": (
        with_run("network:\n  env: MY_PORT\nenv:\n  - name: MY_PORT\n    value: 3000\n"),
        *(12, "MY_PORT is 3000 here but run.network.port is 8080: the app gets 8080"),
    ),
    "a pipe in the start command": (changed("app.py", "app.py | tee x"), 9, "`|`"),
    "cd in the start command": (changed("python app.py", "cd x"), 9, "`cd`"),
    "a name twice": (
        with_run("env:\n  - name: A\n    value: b\n  - name: A\n    value: c\n"),
        *(13, "A is set twice; the last one counts"),
    ),
    "17 pip on python311": (changed("python3\n", "python311\n"), 6, "no `pip` on App Runner"),
    "17 python on python311": (changed("python3\n", "python311\n"), 9, "write `python3`"),
    "an empty list": (
        changed("\n      - pip install pipenv\n      - pipenv install", " []"),
        *(5, "an empty list"),
    ),
}


@pytest.mark.observed
@pytest.mark.parametrize(("text", "line", "message"), WARNED.values(), ids=WARNED)
def test_what_will_surprise_is_warned_of(text, line, message):
    place = f"{FILE}:{line}" if line else FILE
    assert [w for w in reading(text).warnings if w.startswith(place) and message in w]


def test_a_warning_repeats_no_value_that_may_be_secret():
    told = reading(
        with_run(
            "env:\n  - name: A\n    value: hunter2@${B}\n", changed("python app", "K=hunter2 app")
        )
    ).warnings
    assert len(told) == 2
    assert "hunter2" not in "".join(told)


def test_warnings_are_as_few_as_one_can_read():
    again = "  - name: A\n    value: b\n" * 100
    told = reading(with_run(f"env:\n{again}")).warnings
    assert len(told) == 21
    assert told[-1] == "apprunner.yaml: 79 more warnings"


def test_pip_that_pip3_has_brought_is_there():
    build = "      - pip3 install --upgrade pip\n      - pip install flask\n"
    text = changed("      - pip install pipenv\n      - pipenv install\n", build)
    text = changed("python app.py", "python3 app.py", text)
    assert reading(changed("python3\n", "python311\n", text)).warnings == ()


def test_a_virtual_environment_brings_the_programs_that_app_runner_lacks():
    lines = ["python3 -m venv venv", ". venv/bin/activate && pip install x", "python y"]
    build = "".join(f"      - {line}\n" for line in lines)
    text = changed("      - pip install pipenv\n      - pipenv install\n", build)
    text = changed("python app.py", "venv/bin/python app.py", text)
    assert reading(changed("python3\n", "python311\n", text)).warnings == ()


SHELL = {
    "cd web && node a.js": "`cd`, `&&`",
    "source v/bin/activate": "`source`",
    "sh -c 'a b'": "quotes around several words",
    "sh -c exec x": "more than one word after `-c`",
    "A='b c' python x": "`A=`, quotes",
    "a & b &": "`&`",
    "a `b` $(c) ${D} $E": "backticks, `$(`, `${D}`, `$E`",
    "a > b 2>&1 | c; d": "`>`, `|`, `;`",
    "java -jar target/*.jar": "`target/*.jar`",
    "~/run": "`~/run`",
    " ".join(f"$A{n}" for n in range(9)): "`$A0`, `$A1`, `$A2`, `$A3`, `$A4`, `$A5`, more",
}


@pytest.mark.observed
@pytest.mark.parametrize(("command", "what"), SHELL.items())
def test_what_a_start_command_wants_of_a_shell_is_named(command, what):
    assert f"so {what} will not work" in shell_hint(command)


@pytest.mark.observed
@pytest.mark.parametrize(
    "command",
    [
        "sh -c a&&b",
        "sh -c 'a'",
        "sh start.sh",
        "gunicorn --forwarded-allow-ips=* app:app",
        "gunicorn --forwarded-allow-ips * app:app",
        "x --url http://a/?b=c&d=e",
        "java -Dx[0]=/a[b] y",
        "",
        "gunicorn --bind 0.0.0.0:8080 -w 4 app:app",
        "streamlit run app.py --server.port=8501 --server.headless true",
        "java -Xms256m -jar target/a-1.0-SNAPSHOT.jar .",
        "./build/server",
    ],
)
def test_a_plain_start_command_is_no_matter_for_a_warning(command):
    assert shell_hint(command) == ""


def test_all_problems_are_told_at_once():
    error = refusal("version: 2\nruntime: nodejs20\nbuild:\n  commands: []\nrun:\n  port: 1\n")
    for part in ("nodejs18", "expected 1.0", "must be a mapping", "run.network.port", "start"):
        assert part in error.message
    assert "apprunner.yaml:6 (run.port)" in error.message
    assert "?." not in error.message


def test_not_more_problems_are_told_than_one_can_read():
    extra = "".join(f"key{n}: x\n" for n in range(30))
    assert refusal(MINIMAL + extra).message.endswith("And 23 more")


def test_a_runtime_without_a_buildpack_is_told_from_one_that_does_not_exist():
    node = parsed(changed("python3\n", "corretto11\n"))
    with pytest.raises(ConfigurationError, match="is a runtime of App Runner, but no buildpack"):
        read(node, file=FILE, runtimes=("python3",))


LONG = "x" * 60_000
TOO_LONG = {  # what is written: (text, part of the message)
    "version": (changed("1.0", LONG), "expected 1.0"),
    "runtime": (changed("python3", LONG), "there is no runtime"),
    "digits": (changed("python3", "python" + "1" * 6000), "did you mean python3 or python311?"),
    "docker": (changed("python3", "docker" + LONG), "never builds a Dockerfile"),
    "command": (
        changed("app.py", LONG * 2),
        "a command of 120007 characters; at most 65536 are taken: put it into a script",
    ),
    "mapping": (changed("pip install pipenv", f"a: {LONG}"), "quote this command in single quotes"),
    "value": (
        with_run(f"env:\n  - name: A\n    value: {LONG}\n"),
        "A has 60000 characters; at most 51200 are allowed",
    ),
    "name": (with_run(f"env:\n  - name: A={LONG}\n    value: b\n"), "cannot be the name"),
    "reserved": (with_run(f"env:\n  - name: AWSAPPRUNNER{LONG}\n    value: b\n"), "are reserved"),
    "port": (with_run(f"network:\n  port: {LONG}\n"), "expected a number"),
}


@pytest.mark.parametrize(("text", "message"), TOO_LONG.values(), ids=TOO_LONG)
def test_what_is_too_long_is_refused_and_not_repeated(text, message):
    error = refusal(text)
    assert message in str(error)
    assert len(str(error)) < 400


def test_a_runtime_that_only_a_buildpack_knows_has_no_release_table():
    node = parsed(with_run("runtime-version: 9.9\n", changed("python3\n", "elixir1\n")))
    assert read(node, file=FILE, runtimes=("elixir1",)).runtime_version == "9.9"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Python311", ("python311",)),
        ("python3.9", ("python3", "python311")),
        ("corretto17", ("corretto11", "corretto8")),
        ("pyhton3", ("python3",)),
        ("3.8", ("python3",)),
        ("22", ("nodejs22",)),
        ("python" + "1" * 5000, ("python3", "python311")),
        ("", ()),
        ("cobol", ()),
    ],
)
def test_the_nearest_runtimes_are_found(name, expected):
    assert nearest_runtimes(name, RELEASES) == expected


@pytest.mark.observed
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python app.py", ("python", "app.py")),
        ("  python \t app.py\n", ("python", "app.py")),
        ('sh -c "cd x && y"', ("sh", "-c", '"cd', "x", "&&", 'y"')),
        ("echo $PORT", ("echo", "$PORT")),
        ("", ()),
    ],
)
def test_a_start_command_is_split_on_blanks_and_quotes_mean_nothing(command, expected):
    assert split_command(command) == expected


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("apprunner.yml", "app.py"), "apprunner.yml is not read, the name must be exactly"),
        (("AppRunner.yaml",), "AppRunner.yaml is not read"),
        (("app-runner.yaml",), "rename it"),
        (("apprunner.yaml.txt",), "rename it"),
        (("a.py", "server/apprunner.yaml"), "only if the source directory is /server"),
    ],
)
def test_a_misnamed_or_misplaced_file_is_pointed_out(paths, expected):
    assert expected in (misspelt(paths) or "")


def test_nothing_is_pointed_out_without_cause():
    assert misspelt(("apprunner.yaml", "runner.yaml", "app.yml")) is None


def test_a_rendered_configuration_is_one_that_people_can_read():
    text = render(
        AppConfiguration(
            runtime="python311",
            build=("pip3 install -r requirements.txt", 'echo "a: b"'),
            command="python3 app.py",
            env={"A": "yes", "N": "null"},
            secrets={"S": "name"},
        )
    )
    assert text == textwrap.dedent("""\
        version: 1.0
        runtime: python311
        build:
          commands:
            build:
              - pip3 install -r requirements.txt
              - "echo \\"a: b\\""
        run:
          command: python3 app.py
          network:
            port: 8080
          env:
            - name: A
              value: yes
            - name: N
              value: "null"
          secrets:
            - name: S
              value-from: name
        """)


@pytest.mark.parametrize("text", [MINIMAL, COMPLETE])
def test_a_rendered_example_reads_as_the_same(text):
    assert reading(render(reading(text))) == reading(text)


def test_a_node_without_entries_is_nothing_at_all():
    with pytest.raises(ConfigurationError, match="`runtime:` is required"):
        read(Table((), 1), file=FILE, runtimes=RELEASES)
    with pytest.raises(ConfigurationError, match="expected a mapping"):
        read(Listing((Scalar("x", 1),), 1), file=FILE, runtimes=RELEASES)
