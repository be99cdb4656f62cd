"""Our Dockerfiles taken apart: nothing gets lost, and nothing changes its meaning."""

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.build_environment import (
    BuildEnvironment,
    command_variables,
    insert_prelude,
    layer_key,
)
from emulator.decisions.build_stages import count, take_apart
from emulator.decisions.dockerfile import render
from emulator.decisions.instructions import parse
from emulator.model.build import BaseImage, BuildKind, BuildPlan, BuildProcess

commands = st.lists(
    st.from_regex(r"[a-z][a-z0-9 ./=&|;#'\"$<>!\\-]{0,20}", fullmatch=True).map(str.strip),
    max_size=3,
).map(tuple)
plans = st.builds(
    BuildPlan,
    kind=st.sampled_from([BuildKind.LAYERED, BuildKind.COMPLETE]),
    base=st.just(BaseImage(image="b:1")),
    process=st.sampled_from(BuildProcess),
    directory=st.sampled_from(["", "web", "my app/$x"]),
    pre_build=commands,
    build=commands,
    post_build=commands,
    pre_run=commands,
    build_env=st.sampled_from([{}, {"A": "b\nc"}]),
    inputs=st.sampled_from([(), ("a.txt", "b [1].json")]),
    links=st.sampled_from([(), (("web/x", "/x"), ("web/y", "/y"))]),
)


@given(plans)
def test_every_instruction_is_there_once_and_in_its_order(plan):
    text = render(plan, "b:1")
    stages = take_apart(text)
    found = []
    for stage in stages:
        found += [(i.keyword, i.rest) for i in parse(stage.head)]
        assert len(parse(stage.head)) == stage.length
        found += [("RUN", run.command) for layer in stage.layers for run in layer]
    assert found == [(i.keyword, i.rest) for i in parse(text)]
    numbers = [run.number for stage in stages for layer in stage.layers for run in layer]
    assert [parse(text)[number - 1].keyword for number in numbers] == ["RUN"] * len(numbers)
    assert count(stages) == len(parse(text))


@given(plans)
def test_phases_have_layers_of_their_own_and_links_lie_with_what_they_are_made_of(plan):
    layers = [layer for stage in take_apart(render(plan, "b:1")) for layer in stage.layers]
    if plan.kind is BuildKind.COMPLETE:
        assert all(len(layer) == 1 for layer in layers)
    elif plan.build:
        assert len(layers) == 1


def test_a_stage_copies_from_the_images_of_earlier_ones():
    text = "FROM b AS one\nRUN x\n\nFROM b AS two\nCOPY --from=one /app /app\nWORKDIR /app\n"
    one, two = take_apart(text)
    assert (one.copies_context, two.copies_context) == (False, False)
    assert two.head_on({"one": "sha256:1"}) == (
        "FROM b AS two\nCOPY --from=sha256:1 /app /app\nWORKDIR /app\n"
    )


@pytest.mark.parametrize(
    "text", ["RUN x\n", "FROM b\nRUN x\nCOPY . .\n", "FROM b AS a\nRUN x\nFROM a\nCOPY . .\n"]
)
def test_another_shape_is_not_taken_apart(text):
    with pytest.raises(ValueError, match="of ours"):
        take_apart(text)


def test_commands_get_what_arg_would_give_them():
    environment = BuildEnvironment(
        arguments={"PIP_INDEX_URL": "http://i", "https_proxy": "http://p"}, ca=True, npmrc=True
    )
    given_by_arg = insert_prelude("FROM b\n", environment).text
    found = command_variables(environment)
    (line,) = [li for li in given_by_arg.splitlines() if li.startswith("ARG")]
    declared = dict(word.partition("=")[::2] for word in line.split()[1:])
    assert found.keys() == declared.keys() | {"https_proxy"}
    assert all(found[name] == value for name, value in declared.items() if value)


@given(st.permutations(["a", "b", "c"]), st.sampled_from(["HTTPS_PROXY", "no_proxy"]))
def test_a_layer_s_key_changes_with_its_commands_and_variables_but_not_with_a_proxy(order, proxy):
    variables = {"A": "1", "B": "2"}
    key = layer_key("i", ["a", "b", "c"], variables)
    assert (layer_key("i", order, variables) == key) == (list(order) == ["a", "b", "c"])
    assert layer_key("i", ["a", "b", "c"], {**variables, proxy: "x"}) == key
    assert layer_key("i", ["a", "b", "c"], {**variables, "A": "x"}) != key
    assert layer_key("j", ["a", "b", "c"], variables) != key
