"""Files that come into an image by commands: which do, and what is left to the engine's builder."""

import shlex
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.build_inputs import Input, shorten
from emulator.decisions.build_stages import take_apart
from emulator.decisions.dockerfile import render
from emulator.model.build import BaseImage, BuildKind, BuildPlan

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0\n\r"), min_size=1, max_size=9
).filter(lambda name: name not in {".", ".."})
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=99)
PLAN = BuildPlan(
    kind=BuildKind.LAYERED, base=BaseImage(image="b:1"), inputs=("list",), build=("install",)
)
FILE = Input(0o644, b"text")


def stage_of(plan=PLAN):
    (stage,) = take_apart(render(plan, "b:1"))
    return stage


def as_sh_does(commands):
    """What the commands write, by a reading of the three words that they know."""
    files, modes = {}, {}
    for command in commands:
        match shlex.split(command):
            case [":", ">", made, "&&", "chmod", mode, place]:
                assert made == place
                files[place], modes[place] = "", int(mode, 8)
            case ["printf", "%s", text, ">>", place]:
                files[place] += text
    return {name: Input(modes[name], files[name].encode()) for name in files}


@given(st.dictionaries(NAMES, TEXTS, min_size=1, max_size=3), st.sampled_from(["", "a [1]/$x"]))
def test_commands_write_what_a_copy_brought(texts, directory):
    plan = replace(PLAN, directory=directory, inputs=tuple(texts))
    prefix = f"{directory}/" if directory else ""
    given_files = {name: Input(0o755, text.encode()) for name, text in texts.items()}
    stage = stage_of(plan)
    inputs = {prefix + name: file for name, file in given_files.items()}
    shorter, commands, line = shorten(stage, {**inputs, "more": FILE})
    assert as_sh_does(commands) == {f"./{name}": file for name, file in given_files.items()}
    assert shorter.head + line + "\n" == stage.head
    assert not shorter.copies_context
    assert (shorter.layers, shorter.length) == (stage.layers, stage.length)


def test_a_long_file_comes_in_pieces_that_a_kernel_takes_as_arguments():
    text = "it's " * 40_000
    _, commands, _ = shorten(stage_of(), {"list": Input(0o644, text.encode())})
    assert as_sh_does(commands) == {"./list": Input(0o644, text.encode())}
    assert max(len(command.encode()) for command in commands) < 131_072


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"other": FILE},
        {"list": Input(0o644, b"\0")},
        {"list": Input(0o644, b"\xff")},
        {"list": Input(0o644, b"'" * 50_000)},
        {"list": Input(0o644, b"x" * 1_000_001)},
    ],
)
def test_what_is_not_plain_or_too_large_stays_a_copy(inputs):
    assert shorten(stage_of(), inputs) == (stage_of(), (), "")


def test_a_stage_that_ends_otherwise_stays_as_it_is():
    for plan in (replace(PLAN, inputs=()), replace(PLAN, kind=BuildKind.COMPLETE)):
        for stage in take_apart(render(plan, "b:1")):
            assert shorten(stage, {"list": FILE}) == (stage, (), "")
