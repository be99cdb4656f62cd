"""The Dockerfile of a plan: its shape, and that its commands mean what their authors wrote."""

import json
import re
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from emulator.decisions.dockerfile import authored, complete_key, dependency_key, render
from emulator.decisions.instructions import needs_buildkit, parse
from emulator.model.build import BaseImage, BuildKind, BuildPlan, BuildProcess

BASE = BaseImage(image="python:3.11-slim")
LAYERED = BuildPlan(
    kind=BuildKind.LAYERED,
    base=BASE,
    build=("pip3 install -r requirements.txt",),
    inputs=("requirements.txt",),
)
COMPLETE = BuildPlan(
    kind=BuildKind.COMPLETE,
    base=BASE,
    process=BuildProcess.REVISED,
    pre_build=("make ready",),
    build=("make", "make all"),
    post_build=("make test",),
    pre_run=("pip3 install x",),
    build_env={"MODE": "fast"},
)
ORIGINAL = replace(COMPLETE, process=BuildProcess.ORIGINAL)


def logical_lines(text):
    return re.sub(r"\\\n\s*", "", text).split("\n")


def runs(text):
    return [line.removeprefix("RUN ") for line in logical_lines(text) if line.startswith("RUN ")]


def sh(script, **options):
    return subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=False, **options
    )


def test_a_layer_of_dependencies_reads_only_their_files():
    assert render(LAYERED, "base:1") == (
        "# Dependencies only: the source is laid over /app when an instance starts.\n"
        "FROM base:1\n"
        "WORKDIR /app\n"
        'COPY ["requirements.txt", "./"]\n'
        "# Install what these files name.\n"
        "RUN pip3 install -r requirements.txt\n"
    )


def test_a_layer_in_a_directory_has_the_repository_s_paths():
    plan = replace(
        LAYERED,
        directory="web/client",
        inputs=("package-lock.json", "package.json"),
        links=(("web/client/node_modules", "/node_modules"),),
    )
    text = render(plan, "b")
    assert "WORKDIR /app/web/client\n" in text
    assert 'COPY ["web/client/package-lock.json", "web/client/package.json", "./"]\n' in text
    place = "'/app/web/client/node_modules'"
    assert f"RUN mkdir -p {place} && mv {place} '/node_modules'\n" in text


@pytest.mark.documented
def test_the_revised_build_carries_only_app_into_the_run_image():
    assert render(COMPLETE, "b:1") == (
        "# App Runner's revised build: only /app is carried from the build into the run image.\n"
        "FROM b:1 AS build-stage\n"
        "COPY . /app\n"
        "WORKDIR /app\n"
        "# pre-build\n"
        "RUN export \\\n"
        "      MODE='fast' \\\n"
        " && make ready\n"
        "# build\n"
        "RUN export \\\n"
        "      MODE='fast' \\\n"
        " && echo '$ make' && make \\\n"
        " && echo '$ make all' && make all\n"
        "\n"
        "# Its result is never deployed, but it must succeed.\n"
        "FROM build-stage AS post-build-stage\n"
        "# post-build\n"
        "RUN export \\\n"
        "      MODE='fast' \\\n"
        " && make test\n"
        "\n"
        "FROM b:1 AS packaging-stage\n"
        "COPY --from=build-stage /app /app\n"
        "WORKDIR /app\n"
        "# pre-run\n"
        "RUN export \\\n"
        "      MODE='fast' \\\n"
        " && pip3 install x\n"
    )


@pytest.mark.observed
def test_the_original_build_runs_build_again_without_its_variables():
    run_stage = render(ORIGINAL, "b").partition(" AS run-stage\n")[2]
    assert "RUN echo '$ make' && make \\\n && echo '$ make all' && make all\n" in run_stage
    assert "MODE" not in run_stage
    assert "make ready" not in run_stage
    assert "make test" not in run_stage


@pytest.mark.documented
@pytest.mark.parametrize("plan", [COMPLETE, ORIGINAL])
def test_variables_of_the_build_never_reach_the_running_application(plan):
    keywords = {instruction.keyword for instruction in parse(render(plan, "b"))}
    assert keywords == {"FROM", "COPY", "WORKDIR", "RUN"}


def test_phases_without_commands_leave_no_trace():
    plan = BuildPlan(kind=BuildKind.COMPLETE, base=BASE, build=())
    assert "RUN" not in render(plan, "b")
    assert "post-build" not in render(plan, "b")


def test_the_whole_repository_is_copied_and_the_directory_is_where_commands_run():
    text = render(replace(COMPLETE, directory="my app/$x"), "b")
    assert text.count("COPY . /app\n") == 1
    assert text.count("WORKDIR /app/my app/\\$x\n") == 2


def test_paths_with_blanks_and_patterns_are_copied_literally():
    plan = replace(LAYERED, directory="a b/[id]*$x")
    line = next(li for li in render(plan, "b").splitlines() if li.startswith("COPY"))
    assert json.loads(line.removeprefix("COPY ")) == [
        "a b/[[]id][*]\\$x/requirements.txt",
        "./",
    ]


def test_a_repository_s_own_dockerfile_is_left_as_it_is():
    plan = BuildPlan(kind=BuildKind.DOCKERFILE, base=None, dockerfile="FROM x\r\nRUN y")
    assert render(plan, "") == "FROM x\r\nRUN y"


# -- the commands, in a real shell ---------------------------------------------------------------


def phase(*commands, **env):
    plan = BuildPlan(kind=BuildKind.COMPLETE, base=BASE, build=commands, build_env=env)
    return runs(render(plan, "b"))[0]


def test_cd_in_one_command_carries_over_to_the_next(tmp_path):
    (tmp_path / "web").mkdir()
    assert sh(phase("cd web", "pwd"), cwd=tmp_path).stdout.endswith("/web\n")


@pytest.mark.parametrize("failing", ["false", "echo x; false", "cat <<A\nx\nA\nfalse", "echo 'a'"])
def test_of_a_phase_that_failed_the_author_s_own_command_is_named(failing):
    plan = replace(COMPLETE, build=("npm ci", failing, "true"), build_env={"KEY": "it's"})
    run = next(run for run in runs(render(plan, "x")) if "npm ci" in run)
    first_line = failing.partition("\n")[0]
    assert authored(run, ("$ npm ci", "$ node postinstall.js")) == "npm ci"
    assert authored(run, ("$ npm ci", f"$ {first_line}", "$ node x.js")) == first_line
    assert authored(run).startswith("npm ci")
    assert "KEY" not in authored(run)


def test_a_command_that_is_alone_in_its_phase_is_named_as_its_author_wrote_it():
    plan = replace(COMPLETE, build=("a; b << c",), build_env={"KEY": "x" * 500})
    assert "a; b << c" in [authored(run) for run in runs(render(plan, "x"))]
    assert authored("export A=b && make") == "export A=b && make"


def test_a_phase_of_which_nothing_has_run_yet_is_shown_without_what_we_put_around():
    [run] = runs(
        render(replace(COMPLETE, pre_build=(), build=("a", "b; c"), post_build=(), pre_run=()), "x")
    )
    assert " ".join(authored(run).split()) == "a && b; c"


@pytest.mark.parametrize("failing", ["false", "exit 3", "cd missing && true", "true; false"])
def test_the_first_command_that_fails_ends_the_phase_and_is_the_last_one_printed(failing):
    done = sh(phase("echo one", failing, "echo three"))
    assert done.returncode
    assert done.stdout == f"$ echo one\none\n$ {failing}\n"


@pytest.mark.parametrize(
    "command",
    [
        "false || true",
        "true # a comment",
        "true;",
        "true & wait",
        "false; true",
        "! false",
        "test 'a # b' = 'a # b'",
        "echo a >/dev/null 2>&1",
        "echo 'it''s' | grep -q its",
    ],
)
def test_a_command_means_what_it_says_among_others(command):
    done = sh(phase("echo one", command, "echo three"))
    assert done.stdout.endswith("three\n"), done.stderr
    assert not sh(phase("false", command, "echo three")).stdout.endswith("three\n")


def test_a_command_that_needs_no_care_stands_there_word_for_word():
    command = "cd client && npm ci && npm run build"
    assert render(replace(ORIGINAL, build=(command,)), "b").count(command) == 2


def test_a_command_is_never_taken_for_an_option_or_a_here_document():
    text = render(replace(ORIGINAL, build=("--mount=x y", "cat <<EOF")), "b")
    assert needs_buildkit(text) is None


values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@given(values)
@settings(max_examples=25)
def test_a_variable_s_value_arrives_as_it_is(value):
    """But for line breaks at its very end."""
    script = phase('printf %s "$V"', V=value)
    found = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    assert found.decode() == value.rstrip("\n")


safe = st.from_regex(r"[a-z][a-z0-9 ./=&|;#'\"$<>!\\-]{0,20}", fullmatch=True).map(str.strip)


@given(st.lists(safe, min_size=1, max_size=3))
def test_every_command_stays_within_its_run(commands):
    plan = replace(COMPLETE, build=tuple(commands), build_env={"A": "b"})
    text = render(plan, "b")
    assert [i.keyword for i in parse(text)] == [i.keyword for i in parse(render(COMPLETE, "b"))]
    assert needs_buildkit(text) is None or "<<" in "".join(commands)


# -- keys ----------------------------------------------------------------------------------------

CONTENTS = {"requirements.txt": b"flask\n", "app.py": b"1"}


def test_the_key_of_a_layer_changes_with_all_that_goes_into_it_and_nothing_else():
    key = dependency_key(LAYERED, "sha256:a", CONTENTS)
    assert re.fullmatch(r"[0-9a-f]{24}", key)
    assert key == dependency_key(LAYERED, "sha256:a", CONTENTS | {"app.py": b"2"})
    assert key == dependency_key(replace(LAYERED, port=1, env={"A": "b"}), "sha256:a", CONTENTS)
    others = {
        dependency_key(LAYERED, "sha256:b", CONTENTS),
        dependency_key(LAYERED, "sha256:a", CONTENTS | {"requirements.txt": b"flask"}),
        dependency_key(replace(LAYERED, build=("pip install x",)), "sha256:a", CONTENTS),
        dependency_key(replace(LAYERED, build_env={"A": "b"}), "sha256:a", CONTENTS),
        dependency_key(replace(LAYERED, directory="web"), "sha256:a", CONTENTS),
        dependency_key(replace(LAYERED, links=(("a", "/a"),)), "sha256:a", CONTENTS),
    }
    assert len(others - {key}) == 6


def test_the_key_of_a_complete_image_changes_with_the_tree():
    key = complete_key(COMPLETE, "sha256:a", "tree1")
    others = {
        complete_key(COMPLETE, "sha256:a", "tree2"),
        complete_key(COMPLETE, "sha256:b", "tree1"),
        complete_key(ORIGINAL, "sha256:a", "tree1"),
        complete_key(replace(COMPLETE, build_env={}), "sha256:a", "tree1"),
    }
    assert len(others - {key}) == 4
    assert key == complete_key(replace(COMPLETE, command=("x",)), "sha256:a", "tree1")
