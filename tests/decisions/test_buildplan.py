"""How a commit becomes an image: what to go by, and when the source may be laid over a layer."""

import textwrap
from dataclasses import replace

import pytest

from emulator.decisions.app_configuration import read
from emulator.decisions.buildplan import decide, exposed_port, other_version
from emulator.decisions.configuration_schema import RELEASES
from emulator.decisions.dockerfile import complete_key
from emulator.drivers import buildpacks, yaml
from emulator.model.build import Base, BuildKind, BuildProcess
from emulator.model.configuration import CodeSource, CodeValues, ConfigurationSource
from emulator.model.errors import ConfigurationError

PACKS = buildpacks.load(buildpacks.folder())
FILE = "apprunner.yaml"
PACKAGE = '{"dependencies": {"ms": "1"}}'


def yaml_of(runtime, *, build=("echo x",), pre_run=(), command="python3 app.py", extra=""):
    lines = [f"version: 1.0\nruntime: {runtime}\nbuild:\n  commands:\n    build:\n"]
    lines += [f"      - {line}\n" for line in build]
    lines += [extra, "run:\n", f"  command: {command}\n"]
    if pre_run:
        lines += ["  pre-run:\n", *(f"    - {line}\n" for line in pre_run)]
    return "".join(lines)


def source(values=None, directory="/", configuration=ConfigurationSource.REPOSITORY):
    return CodeSource(
        repository="r",
        branch="main",
        source_directory=directory,
        configuration_source=configuration,
        values=values,
    )


def decided(files, *, values=None, directory="/", env=None, by_api=False, unread=()):
    contents = {name: text.encode() for name, text in files.items() if name not in unread}
    data = contents.get(FILE)
    kind = ConfigurationSource.API if by_api else ConfigurationSource.REPOSITORY
    return decide(
        paths=files.keys(),
        contents=contents,
        node=None if data is None else yaml.load(data, FILE),
        source=source(values, directory, kind),
        env=env or {},
        buildpacks=PACKS,
    )


def planned(files, **options):
    return decided(files, **options).plan


# -- what to go by -------------------------------------------------------------------------------

VALUES = CodeValues(runtime="NODEJS_22", build_command="npm ci", start_command="node api.js")


def test_apprunner_yaml_comes_first():
    files = {FILE: yaml_of("python311"), "Dockerfile": "FROM x", "package.json": PACKAGE}
    made = decided(files, values=VALUES)
    assert (made.buildpack, made.runtime) == ("python", "python311")
    assert made.plan.command == ("python3", "app.py")


@pytest.mark.documented
def test_a_package_json_that_contradicts_runtime_version_fails_the_build():
    files = {FILE: yaml_of("nodejs18"), "package.json": '{"engines": {"node": "12.x"}}'}
    assert planned(files).base.image == "node:18"
    files[FILE] += "  runtime-version: 18.17\n"
    with pytest.raises(ConfigurationError, match=r"package.json \(engines.node\): '12.x' excludes"):
        planned(files)


@pytest.mark.documented
def test_with_the_api_as_source_the_file_is_ignored():
    files = {FILE: yaml_of("python3"), "package.json": PACKAGE}
    made = planned(files, values=VALUES, by_api=True)
    assert made.command == ("node", "api.js")
    assert made.reasons[0] == "apprunner.yaml is not read: ConfigurationSource is API."


def test_without_a_file_the_api_s_values_count():
    made = planned({"Dockerfile": "FROM x", "package.json": PACKAGE}, values=VALUES)
    assert made.base.image == "node:22"
    assert made.build == ("npm ci",)


def test_then_the_repository_s_own_dockerfile():
    made = decided({"Dockerfile": "FROM x\nEXPOSE 5000\n", "main.py": ""})
    assert (made.plan.kind, made.plan.base) == (BuildKind.DOCKERFILE, None)
    assert made.plan.dockerfile == "FROM x\nEXPOSE 5000\n"
    assert made.plan.command is None
    assert made.plan.port == 5000
    assert dict(made.plan.env) == {"PORT": "5000"}
    assert made.app_runner_yaml == ""


def test_a_dockerfile_s_arguments_come_from_the_service_s_variables():
    text = "ARG TAG=1\nFROM x:$TAG\nARG PORT\nARG MODE=dev\n"
    plan = planned({"Dockerfile": text}, env={"MODE": "prod", "OTHER": "1"})
    assert dict(plan.build_env) == {"MODE": "prod", "PORT": "8080"}
    assert any("Build arguments come from" in reason for reason in plan.reasons)
    plain = planned({"Dockerfile": text})
    assert complete_key(plan, "", "tree") != complete_key(plain, "", "tree")
    assert dict(planned({"Dockerfile": "FROM x"}, env={"MODE": "prod"}).build_env) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "^Dockerfile: says nothing"),
        ("ARG A\nRUN x\n", "^Dockerfile:2: RUN comes before FROM"),
        (None, "^Dockerfile: the file is too large"),
    ],
)
def test_a_dockerfile_that_cannot_be_one_is_told_with_its_line(text, message):
    with pytest.raises(ConfigurationError, match=message):
        decided({"Dockerfile": text or ""}, unread=["Dockerfile"] if text is None else [])


def test_a_secret_that_a_dockerfile_asks_for_is_named_with_what_to_do():
    text = "FROM x\nRUN --mount=type=secret,id=npm npm ci\n"
    (warning,) = planned({"Dockerfile": text}).warnings
    assert warning.startswith("Dockerfile:2 asks for the secret npm")
    assert "docker build --secret id=npm,src=FILE" in warning


def test_then_what_is_recognised():
    made = decided({"main.py": ""})
    assert made.plan.command == ("python3", "main.py")
    assert made.runtime == "python311"


def test_nothing_recognised_is_an_error():
    with pytest.raises(ConfigurationError, match="nothing else was recognised") as caught:
        decided({"README": ""})
    assert "requirements.txt, pyproject.toml, Pipfile, manage.py … (python)" in str(caught.value)
    assert len(str(caught.value)) < 600
    with pytest.raises(
        ConfigurationError, match="dockerfile is not read, the name must be Dockerfile"
    ):
        decided({"dockerfile": "FROM x"})


def test_a_misspelt_file_is_warned_of_even_where_the_rest_is_recognised():
    for others in ({"main.py": ""}, {"Dockerfile": "FROM x"}):
        warnings = planned({"apprunner.yml": "", **others}).warnings
        assert any("apprunner.yml is not read" in warning for warning in warnings)


def test_values_without_a_runtime_change_what_is_recognised():
    values = CodeValues(
        runtime="", build_command="make", start_command="./x", port=3000, env={"A": "b"}
    )
    made = planned({"main.py": "", "Procfile": "web: y"}, values=values)
    assert made.command == ("./x",)
    assert made.pre_run == ("make",)
    assert dict(made.env) == {"A": "b", "PORT": "3000"}


def test_values_without_a_runtime_change_a_dockerfile_s_start():
    values = CodeValues(runtime="", start_command="x -y", port=3000, env={"A": "b"})
    made = planned({"Dockerfile": "FROM x\nEXPOSE 80"}, values=values)
    assert (made.command, made.port) == (("x", "-y"), 3000)
    assert dict(made.env) == {"A": "b", "PORT": "3000"}


def test_values_without_a_start_command_start_what_is_recognised():
    made = planned({"server.js": ""}, values=CodeValues(runtime="NODEJS_16"), by_api=True)
    assert made.command == ("node", "server.js")
    assert made.process is BuildProcess.ORIGINAL
    assert "StartCommand is not set" in " ".join(made.reasons)


HINT = "App Runner runs the start command without a shell, split on blanks, so `&&` will not work"


@pytest.mark.observed
@pytest.mark.parametrize(
    "files",
    [{"server.js": ""}, {"Dockerfile": "FROM x"}, {FILE: yaml_of("python3", command="a && b")}],
)
def test_a_start_command_that_wants_a_shell_gets_none_and_a_hint(files):
    values = CodeValues(runtime="", start_command="a && b")
    for made in (
        planned(files, values=values),
        planned(files, values=replace(values, runtime="GO_1")),
    ):
        assert made.command == ("a", "&&", "b")
        [warning] = made.warnings
        place = "CodeConfigurationValues (StartCommand)" if FILE not in files else f"{FILE}:8"
        assert warning.startswith(place)
        assert HINT in warning
        assert [text.startswith(HINT) for text in made.suspicions] == [True]


def test_a_procfile_s_line_has_a_shell_and_needs_no_hint():
    made = planned({"main.py": "", "Procfile": "web: a && b $PORT"})
    assert (made.warnings, made.suspicions) == ((), ())


def test_a_dockerfile_too_large_to_read_is_refused():
    with pytest.raises(ConfigurationError, match="Dockerfile: the file is too large"):
        planned({"Dockerfile": "FROM x"}, unread=("Dockerfile",))


def test_values_without_any_start_are_refused():
    with pytest.raises(ConfigurationError, match="StartCommand"):
        planned({"README": ""}, values=CodeValues(runtime="NODEJS_16"))


def test_values_for_an_unknown_runtime_are_refused():
    with pytest.raises(
        ConfigurationError, match="no buildpack brings COBOL_1; there are CORRETTO_11"
    ):
        planned({"main.go": ""}, values=CodeValues(runtime="COBOL_1", start_command="x"))


def test_a_procfile_s_line_is_run_by_a_shell():
    assert planned({"main.py": "", "Procfile": "web: x --port $PORT"}).command == (
        *("sh", "-c"),
        "x --port $PORT",
    )


@pytest.mark.parametrize(
    ("dockerfile", "port"),
    [
        ("FROM x\nEXPOSE 80", 80),
        ("FROM x\nexpose 8000/tcp 9000", 8000),
        ("FROM x\nEXPOSE 53/udp 80", 80),
        ("FROM a AS b\nEXPOSE 1\nFROM b\nEXPOSE 2", 2),
        ("FROM a AS b\nEXPOSE 1\nFROM c", None),
        ("FROM x\nEXPOSE $PORT", None),
        ("FROM x\nEXPOSE 99999", None),
        ("# EXPOSE 80\nFROM x", None),
        ("", None),
    ],
)
def test_the_exposed_port_of_the_last_stage_is_found(dockerfile, port):
    assert exposed_port(dockerfile) == port


# -- layered or complete -------------------------------------------------------------------------

PIP = "pip3 install -r requirements.txt"
LAYERS = {  # the files; the layer's commands, inputs and links
    "python311 that installs in pre-run": (
        {FILE: yaml_of("python311", build=[PIP], pre_run=[PIP]), "requirements.txt": "flask"},
        *((PIP,), ("requirements.txt",), ()),
    ),
    "python311 that only prints in the build": (
        {FILE: yaml_of("python311", pre_run=[PIP]), "requirements.txt": "flask"},
        *((PIP,), ("requirements.txt",), ()),
    ),
    "python3 with its build": (
        {
            FILE: yaml_of("python3", build=["pip install --upgrade pip", "pip install flask"]),
            "requirements.txt": "-r base.txt",
        },
        *(("pip install --upgrade pip", "pip install flask"), (), ()),
    ),
    "python3 without anything": ({FILE: yaml_of("python3"), "app.py": ""}, (), (), ()),
    "nodejs18 with its build": (
        {FILE: yaml_of("nodejs18", build=["npm ci"]), "package.json": PACKAGE, "x.js": ""},
        *(("npm ci",), ("package.json",), (("node_modules", "/node_modules"),)),
    ),
    "nodejs16 with its lock": (
        {
            FILE: yaml_of("nodejs16", build=["npm ci --omit=dev"]),
            "package.json": PACKAGE,
            "package-lock.json": "{}",
            ".npmrc": "",
        },
        ("npm ci --omit=dev",),
        (".npmrc", "package-lock.json", "package.json"),
        (("node_modules", "/node_modules"),),
    ),
    "commands joined by &&": (
        {
            FILE: yaml_of(
                "python3", build=["pip install -U pip && pip install  -r  requirements.txt"]
            ),
            "requirements.txt": "flask",
        },
        ("pip install -U pip && pip install  -r  requirements.txt",),
        *(("requirements.txt",), ()),
    ),
    "no file, with requirements": (
        {"main.py": "", "requirements.txt": "flask"},
        *((PIP,), ("requirements.txt",), ()),
    ),
    "no file, nothing to install": ({"main.py": ""}, (), (), ()),
}


@pytest.mark.parametrize(("files", "build", "inputs", "links"), LAYERS.values(), ids=LAYERS)
def test_commands_that_only_install_make_a_layer(files, build, inputs, links):
    made = planned(files)
    assert made.kind is BuildKind.LAYERED, made.reasons
    assert (made.build, made.inputs, made.links) == (build, inputs, links)
    assert (made.pre_build, made.post_build, made.pre_run) == ((), (), ())


ENV = "  env:\n    - name: A\n      value: b\n"
WHOLE = {  # the files, and why
    "more than dependencies": (
        {FILE: yaml_of("nodejs18", build=["npm ci", "npm run build"]), "package.json": PACKAGE},
        "`npm run build` does more than install dependencies",
    ),
    "one of several by &&": (
        {FILE: yaml_of("nodejs18", build=["npm ci && npm run build"]), "package.json": PACKAGE},
        "`npm run build` does more",
    ),
    "a shell's ||": (
        {FILE: yaml_of("nodejs18", build=["npm ci || npm install"]), "package.json": PACKAGE},
        "`npm ci || npm install` does more",
    ),
    "quotes around &&": (
        {FILE: yaml_of("nodejs18", build=["sh -c 'npm ci && npm ci'"]), "package.json": PACKAGE},
        "does more",
    ),
    "an echo that writes": (
        {FILE: yaml_of("nodejs18", build=["echo x > y"])},
        "`echo x > y` does more",
    ),
    "another directory": (
        {FILE: yaml_of("nodejs18", build=["cd web && npm ci"]), "package.json": PACKAGE},
        "`cd web` does more",
    ),
    "nested requirements": (
        {FILE: yaml_of("python3", build=["pip install -r requirements.txt"]),
         "requirements.txt": "-r base.txt"},
        "requirements.txt needs more of the repository (-r)",
    ),
    "requirements in another encoding": (
        {FILE: yaml_of("python3", build=["pip install -r requirements.txt"]),
         "requirements.txt": "\udcff"},
        "requirements.txt is not UTF-8",
    ),
    "no requirements": (
        {FILE: yaml_of("python3", build=["pip install -r requirements.txt"])},
        "requirements.txt is not in the source directory",
    ),
    "scripts of the package": (
        {FILE: yaml_of("nodejs18", build=["npm ci"]),
         "package.json": '{"scripts": {"postinstall": "x"}}'},
        "package.json needs more of the repository",
    ),
    "a native add-on": (
        {FILE: yaml_of("nodejs18", build=["npm ci"]), "package.json": PACKAGE, "binding.gyp": ""},
        "binding.gyp needs more of the repository",
    ),
    "node_modules in the repository": (
        {FILE: yaml_of("nodejs18", build=["npm ci"]), "package.json": PACKAGE,
         "node_modules/x/index.js": ""},
        "node_modules is in the repository",
    ),
    "pre-build": (
        {FILE: yaml_of("python3", extra="    pre-build:\n      - x\n")},
        "there are pre-build commands",
    ),
    "post-build": (
        {FILE: yaml_of("python3", extra="    post-build:\n      - x\n")},
        "there are post-build commands",
    ),
    "build.env in an original build": (
        {FILE: yaml_of("python3", build=["pip install flask"], extra=ENV)},
        "runs the build commands again without build.env",
    ),
    "packages that the revised build loses": (
        {FILE: yaml_of("python311", build=[PIP]), "requirements.txt": "flask"},
        f"what `{PIP}` installs in the build is lost",
    ),
    "pre-run that does more": (
        {FILE: yaml_of("python311", pre_run=["make"])},
        "`make` does more",
    ),
    "no file, a package of its own": (
        {"main.py": "", "pyproject.toml": ""},
        "`pip3 install .` does more",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "why"), WHOLE.values(), ids=WHOLE)
def test_in_doubt_the_whole_source_is_built(files, why):
    contents = {n: t.encode("utf-8", "surrogateescape") for n, t in files.items()}
    data = contents.get(FILE)
    made = decide(
        paths=files.keys(),
        contents=contents,
        node=None if data is None else yaml.load(data, FILE),
        source=source(),
        env={},
        buildpacks=PACKS,
    ).plan
    assert made.kind is BuildKind.COMPLETE
    assert why in made.reasons[-1]
    assert (made.inputs, made.links) == ((), ())


def test_a_file_that_was_too_large_to_read_is_not_trusted():
    files = {
        FILE: yaml_of("nodejs18", build=["npm ci"]),
        "package.json": PACKAGE,
        "package-lock.json": "",
    }
    made = planned(files, unread=("package-lock.json",))
    assert "package-lock.json is too large to look into" in made.reasons[-1]


def test_a_complete_plan_has_every_phase():
    text = yaml_of(
        "nodejs18",
        build=["npm ci", "npm run build"],
        pre_run=["npm prune"],
        extra="    pre-build:\n      - a\n    post-build:\n      - b\n" + ENV,
    )
    made = planned({FILE: text, "package.json": PACKAGE}, directory="/web/client/")
    assert made.process is BuildProcess.REVISED
    assert (made.pre_build, made.post_build, made.pre_run) == (("a",), ("b",), ("npm prune",))
    assert made.build == ("npm ci", "npm run build")
    assert dict(made.build_env) == {"A": "b"}
    assert made.directory == "web/client"


def test_links_are_relative_to_the_repository():
    files = {FILE: yaml_of("nodejs18", build=["npm ci"]), "package.json": PACKAGE}
    made = planned(files, directory="/web/client")
    assert made.links == (("web/client/node_modules", "/node_modules"),)
    assert made.inputs == ("package.json",)


def test_what_a_revised_build_makes_in_the_source_is_kept_beside_pre_run():
    files = {
        FILE: yaml_of("nodejs22", build=["npm ci"], pre_run=["npm install -g serve"]),
        "package.json": PACKAGE,
    }
    assert planned(files).build == ("npm ci", "npm install -g serve")


def test_the_same_command_in_build_and_pre_run_runs_once():
    files = {FILE: yaml_of("nodejs22", build=["npm ci"], pre_run=["npm ci"]),
             "package.json": PACKAGE}  # fmt: skip
    assert planned(files).build == ("npm ci",)


# -- the environment -----------------------------------------------------------------------------


@pytest.mark.documented
def test_the_port_is_always_in_port_and_in_the_variable_asked_for():
    network = "  network:\n    port: 3000\n    env: MY_PORT\n"
    made = planned({FILE: yaml_of("python3", command=f"x\n{network}")})
    assert made.port == 3000
    assert dict(made.env) == {"MY_PORT": "3000", "PORT": "3000"}


def test_no_variable_overrides_the_port():
    text = yaml_of("python3", command="x\n  env:\n    - name: PORT\n      value: 1")
    made = planned({FILE: text}, env={"PORT": "2", "A": "b"})
    assert dict(made.env) == {"PORT": "8080", "A": "b"}
    assert [w for w in made.warnings if "PORT is 1 here" in w]
    assert [w for w in made.warnings if "PORT=2 is not passed on" in w]


def test_a_port_variable_that_agrees_is_no_matter_for_a_warning():
    assert planned({FILE: yaml_of("python3")}, env={"PORT": "8080"}).warnings == ()


def test_added_variables_win_over_the_file_s_and_secrets_stay_apart():
    run = textwrap.indent(
        "env:\n  - name: A\n    value: b\nsecrets:\n  - name: S\n    value-from: x", "  "
    )
    made = planned({FILE: yaml_of("python3", command=f"x\n{run}")}, env={"A": "c"})
    assert dict(made.env) == {"A": "c", "PORT": "8080"}
    assert dict(made.secrets) == {"S": "x"}


# -- warnings ------------------------------------------------------------------------------------


@pytest.mark.documented
@pytest.mark.parametrize(
    ("files", "warning"),
    [
        (
            {FILE: yaml_of("python3", pre_run=["x"])},
            "apprunner.yaml (run.pre-run): not run, as python3 has the original build",
        ),
        (
            {FILE: yaml_of("python311", build=[PIP]), "requirements.txt": ""},
            "repeat it in run.pre-run",
        ),
    ],
    ids=["pre-run in an original build", "lost packages"],
)
def test_what_differs_from_the_wish_is_warned_of(files, warning):
    assert [text for text in planned(files).warnings if warning in text]


@pytest.mark.documented
@pytest.mark.parametrize(
    "build",
    [
        ["pip3 install --upgrade pip", f"{PIP} && python3 manage.py collectstatic"],
        ["python3 x.py", PIP],
    ],
)
def test_packages_that_are_lost_are_warned_of_and_suspected_whatever_else_is_built(build):
    files = {FILE: yaml_of("python311", build=build), "requirements.txt": "-r other.txt"}
    made = planned(files)
    [warning] = made.warnings
    assert warning.startswith(f"`{PIP}` installs outside /app")
    assert made.suspicions == (warning,)


def test_the_api_has_no_pre_run_to_repeat_it_in():
    values = CodeValues(runtime="PYTHON_311", build_command=PIP, start_command="python3 a.py")
    [warning] = planned({"requirements.txt": "x"}, values=values, by_api=True).warnings
    assert warning.endswith(
        "install into /app, or write an apprunner.yaml, which can repeat it in run.pre-run"
    )


ELSEWHERE = "  env:\n    - name: PYTHONUSERBASE\n      value: /app\n"


@pytest.mark.parametrize(
    "files",
    [
        {FILE: yaml_of("python311", build=[f". v/bin/activate && {PIP}"]), "requirements.txt": ""},
        {FILE: yaml_of("python311", build=[PIP], extra=ELSEWHERE), "requirements.txt": ""},
        {FILE: yaml_of("python311", build=[PIP], pre_run=[PIP]), "requirements.txt": ""},
        {FILE: yaml_of("nodejs18", build=["npm ci"]), "package.json": PACKAGE},
    ],
    ids=["a virtual environment", "a user base", "packages in pre-run", "packages in the source"],
)
def test_what_is_right_is_not_warned_of(files):
    assert planned(files).warnings == ()


def test_a_pre_run_of_an_original_build_is_not_run():
    made = planned({FILE: yaml_of("python3", build=["make"], pre_run=["x"])})
    assert (made.build, made.pre_run) == (("make",), ())


# -- another version of the language --------------------------------------------------------------

LIKE_IT = "cannot be had here, and the base made from Debian's packages has 3.11"


@pytest.mark.parametrize(
    ("runtime", "version", "base", "said"),
    [
        (
            *("python3", "3.8.16", Base("x", "3.11")),
            f"runtime-version asks for 3.8.16, but python:3.8.16 {LIKE_IT}",
        ),
        (
            "python3",
            "",
            Base("x", "3.11"),
            f"python3 asks for 3.7 or 3.8, but python:3.8 {LIKE_IT}",
        ),
        (
            *("python3", "3.7.10", Base("python:3.8", "3.8")),
            "runtime-version asks for 3.7.10, and python:3.8 has 3.8",
        ),
        ("python3", "3.8.16", Base("python:3.8", "3.8"), ""),
        ("python311", "3.11.9", Base("x", "3.11"), ""),
        ("python311", "", Base("x", ""), ""),
        ("go1", "", Base("x", "1.19"), ""),
    ],
)
def test_a_base_with_another_version_than_was_asked_for_is_told_of(runtime, version, base, said):
    wish = f"x\n  runtime-version: {version}" if version else "x"
    assert other_version(planned({FILE: yaml_of(runtime, command=wish)}), base) == said


def test_a_runtime_version_names_the_public_image_of_just_that():
    base = planned({FILE: yaml_of("nodejs18", command="x\n  runtime-version: 18.17.1")}).base
    assert (base.exact, base.exact_version) == ("node:18.17.1", "18.17.1")
    assert planned({FILE: yaml_of("nodejs18", command="x")}).base.exact == ""


def test_a_repository_s_own_dockerfile_asks_for_no_version():
    assert other_version(planned({"Dockerfile": "FROM x"}), Base("x", "1")) == ""


# -- an apprunner.yaml that says the same --------------------------------------------------------

MAVEN = ("mvn -q -DskipTests package", 'cp "$(ls -S target/*.[jw]ar | head -n 1)" app.jar')


@pytest.mark.parametrize(
    ("files", "build", "pre_run", "command"),
    [
        ({"main.py": ""}, ("echo Nothing to build",), (), "python3 main.py"),
        ({"main.py": "", "requirements.txt": "x"}, (PIP,), (PIP,), "python3 main.py"),
        (
            {"package.json": PACKAGE, "index.js": ""},
            *(("npm install --omit=dev",), (), "node index.js"),
        ),
        (
            {"main.py": "", "Procfile": "web: x -p $PORT -q ${PORT:-5000} $PORTAL"},
            *(("echo 'x -p $PORT -q ${PORT:-5000} $PORTAL' > .start.sh",), (), "sh .start.sh"),
        ),
        (
            {"main.py": "", "Procfile": "web: x -p $PORT -q ${PORT:-5000}"},
            *(("echo Nothing to build",), (), "x -p 8080 -q 8080"),
        ),
        (
            {"pom.xml": "", "Procfile": "web: java -Dname='a b' -jar target/*.jar"},
            (
                *MAVEN,
                "echo 'java -Dname='\\''a b'\\'' -jar target/*.jar' > .start.sh",
            ),
            *((), "sh .start.sh"),
        ),
        ({"pom.xml": ""}, MAVEN, (), "java -jar app.jar"),
        (
            {"go.mod": "", "main.go": "package main\n"},
            *(("go build -o bin/app .",), (), "./bin/app"),
        ),
    ],
)
def test_what_is_recognised_can_be_written_down_for_app_runner(files, build, pre_run, command):
    text = decided(files).app_runner_yaml
    found = read(yaml.load(text.encode(), FILE), file=FILE, runtimes=RELEASES)
    assert (found.build, found.pre_run, found.command) == (build, pre_run, command)


def test_the_written_down_configuration_is_planned_alike():
    for files in (
        {"main.py": "", "requirements.txt": "x"},
        {"package.json": PACKAGE, "app.js": ""},
    ):
        recognised = decided(files)
        written = planned({**files, FILE: recognised.app_runner_yaml})
        for name in ("kind", "build", "inputs", "links", "command", "port", "env", "base"):
            assert getattr(written, name) == getattr(recognised.plan, name), name
