"""The part of the Dockerfile language that decides where a build starts from."""

import pytest

from emulator.decisions.instructions import (
    arguments,
    external_images,
    mistake,
    needs_buildkit,
    parse,
    replace_images,
    secrets,
    stages,
)


def test_an_image_that_is_only_copied_from_is_one_that_it_needs():
    text = (
        "FROM a AS one\nCOPY --from=One x y\nCOPY --from=0 x y\nCOPY --chown=1 --from=node:18 x y\n"
    )
    assert external_images(text) == ("a", "node:18")
    assert replace_images(text, {"node:18": "ours:1"}) == text.replace("node:18", "ours:1")


def test_reads_instructions_with_their_lines():
    text = "# syntax=x\nFROM a\n\nRUN one && \\\n  # why\n  two\ncopy --from=b --chown=c x y\n"
    found = [(i.keyword, i.line, i.end) for i in parse(text)]
    assert found == [("FROM", 2, 2), ("RUN", 4, 6), ("COPY", 7, 7)]
    assert parse(text)[2].flags == ("--from=b", "--chown=c")
    assert parse(text)[2].rest == "x y"
    assert parse(text)[1].rest == "one &&   two"


def test_an_instruction_in_a_here_document_is_none():
    text = "FROM a\nRUN <<EOF\nFROM b\nEOF\nFROM c\n"
    assert external_images(text) == ("a", "c")


def test_a_here_document_without_an_end_reaches_to_the_end_of_the_file():
    assert [i.keyword for i in parse("RUN <<EOF\nFROM b\n")] == ["RUN"]


def test_a_continuation_may_be_the_last_line_of_the_file():
    assert parse("RUN a \\")[0].rest == "a"


def test_another_escape_character_is_obeyed():
    text = "# escape=`\nFROM a\nRUN dir C:\\\nRUN x `\n y\n"
    assert [(i.line, i.end) for i in parse(text)] == [(2, 2), (3, 3), (4, 5)]


def test_only_images_from_outside_are_external():
    text = (
        "FROM node:22 AS Build\nFROM build AS test\nFROM scratch\nFROM python:3.11\nFROM node:22\n"
    )
    assert external_images(text) == ("node:22", "python:3.11")


def test_variables_in_from_take_their_defaults():
    text = "ARG A=3.11 B='slim'\nARG C=python\nARG D\nFROM $C:${A}-${B}\nARG A=x\nFROM ${E:-alpine}$D\n"
    assert external_images(text) == ("python:3.11-slim", "alpine")


def test_a_from_without_an_image_is_left_to_the_engine():
    assert [stage.external for stage in stages(parse("FROM\n"))] == [False]


def test_replaces_images_and_keeps_every_line_in_its_place():
    text = "FROM \\\n  python:3.11 \\\n  as one\nRUN x\nFROM one\n"
    replaced = replace_images(text, {"python:3.11": "ours:1"})
    assert replaced == "FROM ours:1 AS one\n\n\nRUN x\nFROM one\n"


def test_leaves_other_images_as_they_are_written():
    text = "FROM  --platform=linux/amd64 a  as b\n"
    assert replace_images(text, {"c": "d"}) == text


def test_drops_a_platform_that_only_buildkit_knows():
    text = "FROM --platform=$BUILDPLATFORM golang:1 AS build\n"
    assert replace_images(text, {}) == "FROM golang:1 AS build\n"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (
            "RUN --mount=type=cache,target=/x pip install y",
            "Dockerfile:2: RUN --mount=type=cache,target=/x",
        ),
        ("COPY --link a b", "Dockerfile:2: COPY --link"),
        ("ADD --checksum=sha256:1 a b", "Dockerfile:2: ADD --checksum=sha256:1"),
        ("RUN <<EOF\necho\nEOF", "Dockerfile:2: RUN with a here-document"),
        ("COPY <<-'END' /x\na\nEND", "Dockerfile:2: COPY with a here-document"),
    ],
)
def test_says_what_needs_buildkit_and_where(line, what):
    assert needs_buildkit(f"FROM a\n{line}\n") == what


@pytest.mark.parametrize(
    "line",
    [
        "# syntax=docker/dockerfile:1\nFROM a",
        "RUN echo $((1 << 3)) --mount",
        "COPY --from=a --chown=b c d",
        "ENV X=<<EOF",
    ],
)
def test_the_classic_builder_does_the_rest(line):
    assert needs_buildkit(f"FROM a\n{line}\n") is None


def test_build_arguments_go_before_defaults_in_from():
    text = "ARG TAG=1\nARG BASE=a:$TAG\nFROM $BASE AS one\nFROM b:$TAG\nFROM one\n"
    assert external_images(text) == ("a:1", "b:1")
    assert external_images(text, {"TAG": "2"}) == ("a:2", "b:2")
    assert external_images(text, {"BASE": "c"}) == ("c", "b:1")
    replaced = replace_images(text, {}, {"BASE": "c"})
    assert replaced == text.replace("$BASE", "c")
    assert replace_images(text, {}) == text


def test_arguments_are_declared_anywhere():
    text = "ARG A=1 B\nFROM a\narg C='x y' D=2\nRUN echo\n"
    assert arguments(text) == {"A", "B", "C", "D"}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 0, "says nothing; it has to begin with FROM"),
        ("# nothing\n\n", 0, "says nothing"),
        ("ARG A\n", 0, "says nothing"),
        ("FROM a\0b\n", 0, "is not text"),
        ("# c\nARG A\nrun true\nFROM a\n", 3, "RUN comes before FROM"),
        ("FROM a\nFROM b c d\n", 2, "expected FROM image or FROM image AS name, not FROM b c d"),
        ("FROM\n", 1, "expected FROM image"),
    ],
)
def test_a_mistake_is_told_with_its_line(text, line, said):
    found = mistake(text)
    assert found is not None
    assert found[0] == line
    assert said in found[1]


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\r\nRUN b\r\n",
        "# syntax=docker/dockerfile:1\nARG A=1\nfrom $A as b\n",
        "FROM --platform=linux/amd64 a AS b\n",
        "FROM \\\n a\n",
    ],
)
def test_what_is_right_is_no_mistake(text):
    assert mistake(text) is None


def test_secrets_are_found_with_their_lines():
    text = (
        "FROM a\nRUN --mount=type=cache,target=/x true\n"
        "RUN --mount=type=secret,id=npmrc,target=/root/.npmrc \\\n  --mount=type=ssh npm ci\n"
    )
    assert secrets(text) == ((3, "npmrc"), (3, "type=ssh"))
