"""What people read of a build."""

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.build_environment import BuildEnvironment, insert_prelude
from emulator.drivers.docker.build_output import Bound, BuildOutput, Lines, shown_command

PREPARED = insert_prelude(
    "FROM a\nRUN x\n", BuildEnvironment(arguments={"A": "1"}), image_labels={"owner": "x"}
)


def output(limit=10_000):
    shown = []
    return BuildOutput(Bound(shown.append, limit), PREPARED), shown


def feed(*texts, limit=10_000):
    build, shown = output(limit)
    for text in texts:
        build.feed({"stream": text})
    build.end()
    return shown


def test_pieces_become_lines():
    assert feed("a", "b\nc", "\n\n", "d") == ["ab", "c", "", "d"]


def test_a_line_is_shown_as_soon_as_it_is_whole():
    build, shown = output()
    build.feed({"stream": "one\ntw"})
    assert shown == ["one"]


def test_progress_that_overwrites_itself_is_one_line():
    assert feed("10%\r20%\r", "30%\r", "100%\r\n", "next\r\n") == ["100%", "next"]


def test_colours_are_left_out_even_when_cut_in_two():
    assert feed("\x1b[9", "1mbad\n\x1b[0m", "good\n\x1b[0m") == ["bad", "good"]


def test_other_control_characters_are_left_out_but_not_tabs():
    assert feed("a\x07\x00\tb\x1b]0;title\x07c\n") == ["a\tbc"]


def test_only_images_that_a_step_has_made_are_its_own():
    build, _ = output()
    lines = [
        *("Step 1/4 : FROM debian", f" ---> {'a' * 12}"),
        *("Step 2/4 : RUN one", " ---> Using cache", f" ---> {'b' * 12}"),
        *("Step 3/4 : RUN two", f" ---> Running in {'c' * 12}", f" ---> {'d' * 12}"),
        *("Step 4/4 : COPY . .", f" ---> {'e' * 12}"),
    ]
    build.feed({"stream": "\n".join(lines) + "\n"})
    assert build.outcome.made == ("d" * 12, "e" * 12)


def test_a_line_without_an_end_does_not_fill_the_memory():
    lines = Lines()
    got = [line for _ in range(100) for line in lines.feed("x" * 10_000)]
    assert sum(map(len, got)) > 900_000
    assert len(lines._rest) <= 65_536


@given(st.lists(st.text()))
def test_no_line_holds_an_end_of_line(texts):
    assert not [line for line in feed(*texts) if "\n" in line or "\r" in line]


def test_our_own_steps_are_hidden_and_the_others_counted_anew():
    shown = feed(
        *("Step 1/4 : FROM a", "\n", " ---> 123456789abc\n"),
        *("Step 2/4 : ARG A", "\n", " ---> Running in 111111111111\n"),
        *("Removing intermediate container 111111111111\n", " ---> 223456789abc\n"),
        *("Step 3/4 : RUN x", "\n", "hello\n"),
        *('Step 4/4 : LABEL owner="x"', "\n", " ---> 323456789abc\n"),
        *("Successfully built 323456789abc\n", "Successfully tagged x:1\n"),
    )
    assert shown == [
        *("Step 1/2 : FROM a", " ---> 123456789abc", "Step 2/2 : RUN x", "hello"),
        *("Successfully built 323456789abc", "Successfully tagged x:1"),
    ]


def test_knows_which_step_s_container_has_not_ended():
    build, _ = output()
    for text in (
        *(" ---> Running in 111111111111\n", "Removing intermediate container 111111111111\n"),
        " ---> Running in 222222222222\n",
    ):
        build.feed({"stream": text})
    assert build.outcome.containers == ("222222222222",)


def test_a_long_log_is_cut_with_one_line_that_says_so():
    shown = feed(*["123456789\n"] * 100, limit=50)
    assert len(shown) == 5
    assert shown[-1] == "The build log is cut here, at 50 bytes; the build goes on."


def test_bars_of_a_pull_are_left_out():
    build, shown = output()
    build.feed({"status": "Pulling from library/x", "id": "1"})
    build.feed({"status": "Downloading", "progressDetail": {"current": 1}, "id": "abc"})
    build.feed({"status": "Digest: sha256:1"})
    assert shown == ["1: Pulling from library/x", "Digest: sha256:1"]


def test_the_error_names_the_command_and_its_exit_code():
    error = output()[0].failure(
        "The command '/bin/sh -c pip install   -r requirements.txt' returned a non-zero code: 2"
    )
    assert str(error) == "`pip install -r requirements.txt` failed with exit code 2."
    assert (error.command, error.exit_code) == ("pip install -r requirements.txt", 2)


def test_the_error_tells_what_the_command_said_and_nothing_of_the_one_before():
    build, _ = output()
    failed = "The command '/bin/sh -c make' returned a non-zero code: 2"
    build.feed({"stream": " ---> Running in 111111111111\nerror: harmless\n"})
    build.feed({"stream": " ---> Running in 222222222222\n"})
    assert str(build.failure(failed)) == "`make` failed with exit code 2."
    build.feed({"stream": "fatal: no widget\nmake: *** [Makefile:2: all] Error 1\n"})
    assert str(build.failure(failed)) == "`make` failed with exit code 2. It said: fatal: no widget"


def test_a_killed_command_is_said_to_lack_memory():
    text = "The command '/bin/sh -c npm ci' returned a non-zero code: 137"
    assert "memory" in str(output()[0].failure(text))


def test_an_error_of_buildkit_names_the_command_too():
    text = 'ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 3'
    assert str(output()[0].failure(text)) == "`make` failed with exit code 3."


@pytest.mark.parametrize("where", ["message", "output"])
def test_a_full_disk_is_named_as_such(where):
    build, _ = output()
    if where == "output":
        build.feed({"stream": "OSError: [Errno 28] No space left on device\n"})
    failed = "The command '/bin/sh -c cp a b' returned a non-zero code: 1"
    error = build.failure("write /x: no space left on device" if where == "message" else failed)
    assert str(error).startswith("The disk is full: ")


def test_a_host_that_could_not_be_reached_is_named_with_what_reaches_builds():
    build, _ = output()
    build.feed({"stream": "curl: (6) Could not resolve host: example.com\n" + "\n" * 9})
    error = build.failure("The command '/bin/sh -c make' returned a non-zero code: 6")
    assert str(error).startswith(
        "`make` failed with exit code 6. It said: curl: (6) Could not resolve host: example.com. "
        "example.com could not be resolved"
    )
    assert "HTTPS_PROXY" in str(error)
    assert (error.command, error.exit_code) == ("make", 6)


def test_a_program_that_is_not_there_is_told_with_what_to_do():
    build, _ = output()
    build.feed({"stream": "/bin/sh: 1: sudo: not found\n"})
    error = build.failure("The command '/bin/sh -c sudo make' returned a non-zero code: 127")
    assert "It said: /bin/sh: 1: sudo: not found. A build is root already" in str(error)


def test_a_mistake_in_the_dockerfile_is_at_its_author_s_line():
    error = output()[0].failure("dockerfile parse error line 3: unknown instruction: RUNN")
    assert str(error) == "Dockerfile:2: unknown instruction: RUNN"


def test_what_the_engine_says_of_an_instruction_is_at_its_author_s_line_too():
    build, _ = output()
    build.feed({"stream": "Step 3/4 : RUN x\n"})
    error = build.failure("COPY failed: stat nosuch.txt: file does not exist")
    assert str(error) == "Dockerfile:2: COPY failed: stat nosuch.txt: file does not exist"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("/bin/sh -c a b", "a b"),
        ("/bin/sh -ec a", "a"),
        ("/bin/bash -o pipefail -c a | b", "a | b"),
        ("/bin/bash -eo pipefail -c a", "a"),
        ("sh -e -c a", "a"),
        ("npm ci -c x", "npm ci -c x"),
        ("/bin/sh -c " + "x" * 500, "x" * 199 + "…"),
    ],
)
def test_a_command_is_shown_as_its_author_wrote_it(command, shown):
    assert shown_command(command) == shown
