"""What of a repository may be deployed."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from emulator.decisions.source_tree import (
    may_be_pointers,
    pointers_warning,
    refusal,
    shown,
    submodule_warnings,
    trail,
)
from emulator.model.source import Submodule, TreeFile

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 629145600\n" % (
    b"4d" * 32
)


def files(*paths, mode="100644"):
    return [TreeFile(path=path, mode=mode, blob="b", size=1) for path in paths]


def refused(links, *paths):
    return refusal([*files(*links, mode="120000"), *files(*paths)], links)


@pytest.mark.parametrize(
    "links",
    [
        {"passwd": "/etc/passwd"},
        {"up": ".."},
        {"a/b/up": "../../../x"},
        {"a/up": "..", "out": "a/up/../x"},
        {"one": "two", "two": "three", "three": "../out"},
        {"d": "deep/er", "out": "d/../../../x"},
        {"self": "a/../../app"},
    ],
)
def test_a_link_that_leads_out_of_the_tree_is_refused_with_its_target(links):
    said = refused(links, "a/b/c", "deep/er/file")
    worst = list(links)[0 if "one" in links else -1]
    assert f"{worst} -> {links[worst]}" in said
    assert "leads out of the repository" in said


@pytest.mark.parametrize(
    "links",
    [
        {"current": "releases/2"},
        {"a/b/up": "../../x"},
        {"a/root": ".."},
        {"d": "deep/er", "x": "d/../../app.py"},
        {"loop": "loop"},
        {"one": "two", "two": "one"},
        {"nowhere": "not/here"},
        {"odd": "..."},
    ],
)
def test_a_link_that_stays_inside_is_kept(links):
    assert refused(links, "a/b/c", "deep/er/file", "app.py") == ""


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "..", ".git/config", "a/.GIT/hooks/x", "a//b", "./a", "/etc/x"]
)
def test_no_path_comes_that_git_would_not_check_out(path):
    assert path in refused({}, "app.py", path)


@pytest.mark.parametrize("path", [".gitignore", "a/.gitmodules", "..x", "x..", "...", " ", "a\n"])
def test_other_odd_names_are_welcome(path):
    assert refused({}, "app.py", path) == ""


def test_nothing_lies_under_a_link():
    assert "a/x: lies under a symbolic link" in refused({"a": "b"}, "a/x", "a-b", "b/x")
    assert refused({"a": "b"}, "a-b", "a.b/x", "ab/x") == ""


def test_an_empty_tree_is_a_tree():
    assert refused({}) == ""


def test_only_the_first_few_are_named():
    said = refused({f"link{number}": "/etc" for number in range(9)})
    assert "link2 -> /etc and 6 more" in said


def test_a_trail_names_every_link_on_the_way():
    targets = {"a": "b/c", "b/c": "../d"}
    assert trail("a", targets) == ("a", "b/c", "d")
    assert trail("d", targets) == ("d",)


parts = st.sampled_from(["a", "b", "c", "..", "."])
names = st.sampled_from(["a", "b", "c", "a/x", "b/x", "c/x/y"])
targets = st.lists(parts, min_size=1, max_size=5).map("/".join)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(names, targets, min_size=1, max_size=4))
def test_links_are_followed_as_the_system_follows_them(links):
    links = {p: t for p, t in links.items() if not any(p.startswith(f"{q}/") for q in links)}
    with tempfile.TemporaryDirectory() as top:
        root = Path(top).resolve().joinpath(*"0123456", "app")
        root.mkdir(parents=True)
        for path, target in links.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).symlink_to(target)
        for path in links:
            try:
                real = os.path.realpath(root / path, strict=True)
            except OSError:
                continue  # a loop, or nothing there
            found = trail(path, links)
            inside = real == str(root) or real.startswith(f"{root}/")
            if found is not None:
                assert os.path.normpath(root / found[-1]) == real
            assert inside or found is None


def test_pointers_are_known_by_their_content_and_named_with_their_size():
    (likely,) = may_be_pointers([TreeFile(path="m", mode="100644", blob="b", size=len(POINTER))])
    assert likely.path == "m"
    said = pointers_warning({"models/é.bin": POINTER, "a.txt": b"version 1\n"})
    assert said.startswith("models/é.bin (629,145,600 bytes) is a Git LFS pointer:")
    many = pointers_warning({f"m{number}": POINTER for number in range(7)})
    assert "m2 (629,145,600 bytes) and 4 more are Git LFS pointers" in many
    assert pointers_warning({"a.txt": b"version 1\n"}) == ""


def test_a_missing_submodule_is_named_with_what_brings_it():
    lost = Submodule(path="vendor/lib", commit="1234567890", url="https://host/lib.git")
    odd = TreeFile(path="odd", mode="160000", blob="abcdef0123", size=0)
    seen = TreeFile(path="lib", mode="160000", blob="1234567890", size=0)
    first, second = submodule_warnings([lost], [odd, seen], "/home/me/app")
    for word in ("vendor/lib", "https://host/lib.git", "1234567", "git submodule update", "empty"):
        assert word in first
    assert "[repositories]" in first
    assert second.startswith("odd is a submodule (commit abcdef0)")


@given(st.binary(min_size=1, max_size=30))
def test_any_name_can_be_shown_on_one_line(name):
    text = shown(name.decode("utf-8", "surrogateescape"))
    assert text.isprintable()
    assert text.encode()
