"""The part of the Dockerfile language that decides where a build starts from."""

import pytest

from emulator.decisions.instructions import (
    external_images,
    needs_buildkit,
    parse,
    replace_images,
    stages,
)


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
        ("RUN --mount=type=cache,target=/x pip install y", "line 2: RUN --mount"),
        ("COPY --link a b", "line 2: COPY --link"),
        ("ADD --checksum=sha256:1 a b", "line 2: ADD --checksum"),
        ("RUN <<EOF\necho\nEOF", "line 2: RUN with a here-document"),
        ("COPY <<-'END' /x\na\nEND", "line 2: COPY with a here-document"),
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
