"""The one door to PyYAML: lines, text as it was written, and nothing but one kind of error."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given, strategies as st

from emulator.decisions.app_configuration import Listing, Scalar, Table, read, render
from emulator.decisions.configuration_schema import RELEASES
from emulator.drivers import yaml
from emulator.model.build import AppConfiguration
from emulator.model.errors import ConfigurationError

CORPUS = os.environ.get("APPRUNNER_TEST_CORPUS")  # noqa: TID251 - a test run's own setting


def load(text):
    return yaml.load(text.encode() if isinstance(text, str) else text, "apprunner.yaml")


def refused(data, *, line, because):
    with pytest.raises(ConfigurationError, match=because) as caught:
        load(data)
    assert caught.value.place.line == line
    assert caught.value.place.file == "apprunner.yaml"


def test_every_key_and_value_has_its_line():
    assert load("a: 1\nb:\n  - x\n  - 'y'\n") == Table(
        (
            (Scalar("a", 1), Scalar("1", 1)),
            (Scalar("b", 2), Listing((Scalar("x", 3), Scalar("y", 4, plain=False)), 3)),
        ),
        1,
    )


@pytest.mark.parametrize("text", ["3.10", "0777", "yes", "1.10", "2026-01-01", "1_000", "0x1F"])
def test_scalars_stay_as_they_are_written(text):
    node = load(f"a: {text}\n")
    assert node.get("a") == Scalar(text, 1)


def test_no_tag_constructs_anything():
    assert load("a: !!python/object/apply:os.getcwd []\n").get("a") == Listing((), 1)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xef\xbb\xbfa: b\n", id="byte order mark"),
        pytest.param(b"a: b\r\n", id="Windows line ends"),
        pytest.param(b"a: b\r", id="old line ends"),
        pytest.param(b"---\na: b\n", id="document start"),
        pytest.param(b"---\na: b\n...\n", id="document end"),
        pytest.param(b"a: b", id="no final newline"),
        pytest.param(b"a:   b   \n\n\n", id="trailing blanks"),
        pytest.param(b"# \xc3\xa9\na: b # x\n", id="comments"),
        pytest.param(b"{a: b}", id="flow style"),
    ],
)
def test_all_that_yaml_allows_is_read(data):
    assert load(data).get("a").text == "b"


def test_no_carriage_return_reaches_a_command():
    node = load(b"c: |\r\n  one\r\n  two\r\nd: x\r\n")
    assert "\r" not in node.get("c").text + node.get("d").text


def test_an_anchor_stands_for_its_value():
    node = load("a: &x [1, 2]\nb: *x\n")
    assert node.get("a") == node.get("b")


def test_a_null_is_told_from_an_empty_text():
    node = load("a:\nb: ''\nc: ~\n")
    assert node.get("a") is None
    assert node.get("b") == Scalar("", 2, plain=False)
    assert node.get("c") is None


@pytest.mark.parametrize(
    ("data", "line", "because"),
    [
        pytest.param("", 1, "empty", id="empty"),
        pytest.param("\n", 1, "empty", id="a blank line"),
        pytest.param("# only a comment\n", 1, "empty", id="a comment"),
        pytest.param("---\n", 1, "empty", id="an empty document"),
        pytest.param("a: b\n\tc: d\n", 2, "tab", id="tab"),
        pytest.param("run:\n\tcommand: x\n", 2, "tab", id="tab first"),
        pytest.param("a: b: c\n", 1, "colon", id="two colons"),
        pytest.param("a:\n  - x\n b: y\n", 3, "indentation", id="indentation"),
        pytest.param("a: 'x\nb: y\n", 1, "quote", id="open quote"),
        pytest.param("a: [x\n", 1, "bracket", id="open bracket"),
        pytest.param("a: b\nc\nd: e\n", 2, "without a colon", id="no colon"),
        pytest.param("a: @x\n", 1, "quote it", id="reserved character"),
        pytest.param('a: "\\q"\n', 1, "escape", id="escape"),
        pytest.param("<<<<<<< HEAD\na: b\n", 1, "merge conflict", id="conflict"),
        pytest.param("a: b\n>>>>>>> x\n", 2, "merge conflict", id="conflict at the end"),
        pytest.param("a: b\n---\nc: d\n", 2, "second document", id="second document"),
        pytest.param("a: b\nc: d\na: e\n", 3, "on line 1", id="duplicate key"),
        pytest.param("a:\n  x: 1\n  x: 2\n", 3, "on line 2", id="duplicate inside"),
        pytest.param("? [a]\n: b\n", 1, "key must be", id="a list as key"),
        pytest.param("a: *x\n", 1, "anchor", id="unknown alias"),
        pytest.param("a: &x [*x]\n", 1, "its own anchor", id="recursive alias"),
        pytest.param(b"a: b\nc: \xff\n", 2, "UTF-8", id="Latin 1"),
        pytest.param("a: b\n".encode("utf-16"), 1, "UTF-8", id="UTF-16"),
        pytest.param(b"a: \x01\n", 1, "control character", id="control character"),
        pytest.param(b"a: " + b"x" * 1_000_000, 0, "at most", id="too large"),
        pytest.param("[" * 40, 1, "deeper", id="too deep"),
        pytest.param("- " * 100_000 + "x", 1, "deeper", id="far too deep"),
        pytest.param("{a: " * 200_000, 1, "deeper", id="mappings far too deep"),
        pytest.param(f"a: b\n? {'k' * 900_000}\n: c", 2, "a key of 900000", id="a long key"),
        pytest.param("\n" * 999_999, 1, "empty", id="a million blank lines"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(data, line, because):
    refused(data, line=line, because=because)


def test_a_chain_of_aliases_does_not_grow_without_bound():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    refused("\n".join(lines), line=5, because="aliases")


def test_many_keys_take_no_square_time():
    refused("\n".join(f"k{n}: v" for n in range(50_000)), line=10_000, because="values")


@given(st.binary(max_size=400))
@example(b"\x00")
@example(b"\xef\xbb\xbf")
@example(b"%YAML 9.9\n---\na")
@example(b"- \xc2\x85")
def test_arbitrary_bytes_raise_nothing_but_a_configuration_error(data):
    try:
        node = load(data)
        read(node, file="apprunner.yaml", runtimes=RELEASES)
    except ConfigurationError as error:
        assert error.place.file == "apprunner.yaml"  # noqa: PT017 - either outcome is right


YAML_PIECES = st.sampled_from(
    [
        *(
            "version: 1.0\n",
            "runtime: ",
            "python311\n",
            "build:\n",
            "  commands:\n",
            "    build:\n",
        ),
        *("run:\n", "  command: ", "x\n", "  network:\n", "    port: ", "8080\n", "  env:\n"),
        *("    - name: A\n", "      value: b\n", "- ", ": ", "&a ", "*a ", "[", "]", "{", "}"),
        *('"', "'", "\n", "  ", "\t", "#", "|\n", ">\n", "? ", "!!x ", "<<: ", "null\n", "\r\n"),
    ]
)


@given(st.lists(YAML_PIECES, max_size=40).map("".join))
def test_pieces_of_yaml_raise_nothing_but_a_configuration_error(text):
    try:
        read(load(text), file="apprunner.yaml", runtimes=RELEASES)
    except ConfigurationError as error:
        assert "\n" not in str(error)  # noqa: PT017 - one line in the event log


names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True).filter(
    lambda name: name != "PORT" and not name.startswith("AWSAPPRUNNER")
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
printable = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
commands = st.text(printable, min_size=1, max_size=30).map(str.strip).filter(bool)
several = st.lists(commands, max_size=3).map(tuple)
configurations = st.builds(
    AppConfiguration,
    runtime=st.sampled_from(sorted(RELEASES)),
    build=several,
    command=commands,
    pre_build=several,
    post_build=several,
    pre_run=several,
    build_env=st.dictionaries(names, texts, max_size=3),
    port=st.integers(1, 65535),
    port_env=st.none() | names,
    env=st.dictionaries(names, texts, max_size=3),
)


@given(configurations)
def test_what_is_rendered_reads_as_the_same(configuration):
    found = read(load(render(configuration)), file="apprunner.yaml", runtimes=RELEASES)
    for field in ("runtime", "build", "command", "pre_build", "post_build", "pre_run", "port"):
        assert getattr(found, field) == getattr(configuration, field), field
    assert dict(found.build_env) == configuration.build_env
    assert dict(found.env) == configuration.env
    assert found.port_env == configuration.port_env


def corpus():
    """Files of public repositories; they are data of whoever gathered them, and not ours to keep."""
    return sorted(Path(CORPUS).glob("*.y*ml")) if CORPUS else []


def verdict(path):
    try:
        node = yaml.load(path.read_bytes(), "apprunner.yaml")
        read(node, file="apprunner.yaml", runtimes=RELEASES)
    except ConfigurationError as error:
        return error
    return None


@pytest.mark.skipif(not corpus(), reason="APPRUNNER_TEST_CORPUS names no folder of public files")
def test_every_public_file_is_read_or_refused_with_its_place_and_an_expectation(
    record_testsuite_property,
):
    verdicts = {path.name: verdict(path) for path in corpus()}
    refused = {name: error for name, error in verdicts.items() if error is not None}
    for name, error in refused.items():
        place = error.place
        whole = re.search("merge conflict|is empty", error.message)  # of no key
        assert place.file == "apprunner.yaml", name
        assert place.line >= 1, name
        assert place.key or whole, name
        expectation = "did you mean|expected|required|must be|one of|set .* on the service|keep one"
        said = re.search(
            f"{expectation}|not supported: .* has|looks like|delete this file", error.message
        )
        assert said or whole, str(error)
        assert "\n" not in str(error), name
    share = 1 - len(refused) / len(verdicts)
    record_testsuite_property("public files read", f"{share:.0%} of {len(verdicts)}")
    assert 0.5 < share < 0.8
