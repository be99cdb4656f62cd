"""Docker's rules for `.dockerignore` (documented: docs.docker.com, Build context)."""

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.dockerignore import read_dockerignore


@pytest.mark.parametrize(
    ("patterns", "ignored", "kept"),
    [
        ("node_modules", ["node_modules", "node_modules/a/b.js"], ["a/node_modules", "node"]),
        ("**/node_modules", ["node_modules/x", "a/b/node_modules/x"], ["a/node_modules_x"]),
        ("*.md", ["README.md"], ["docs/README.md", "README.mdx"]),
        ("**/*.md", ["README.md", "docs/a/README.md"], ["README"]),
        ("*/temp*", ["a/temporary", "a/temp/x"], ["temp", "a/b/temp"]),
        ("temp?", ["tempa"], ["temp", "temp/"]),
        ("docs/**", ["docs/a", "docs/a/b"], ["docs"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["a/bz"]),
        ("/out/", ["out", "out/x"], ["a/out"]),
        ("./a/../b", ["b"], ["a"]),
        ("*.md\n!README.md", ["x.md"], ["README.md"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["README-secret.md"], ["README-x.md"]),
        ("*\n!src\n!package.json", ["a", "b/c"], ["src/x/y.js", "package.json"]),
        ("docs\n!docs/keep.md", ["docs/a"], ["docs/keep.md"]),
        ("[ab].txt", ["a.txt"], ["c.txt"]),
        ("[^ab].txt", ["c.txt"], ["a.txt"]),
        ("\\*.txt", ["*.txt"], ["a.txt"]),
        ("a.c", ["a.c"], ["abc"]),
        ("# a comment\n\n  b  \n", ["b"], ["# a comment", "a"]),
        (".\n/\n!", [], ["a", "a/b"]),
        ("[z-a]\nx", ["x"], ["z"]),
        ("[", ["["], ["a"]),
    ],
)
def test_ignores_what_docker_ignores(patterns, ignored, kept):
    rules = read_dockerignore(patterns)
    assert [path for path in ignored if not rules.ignores(path)] == []
    assert [path for path in kept if rules.ignores(path)] == []


@given(st.text(), st.text(min_size=1))
def test_never_fails_on_any_text(patterns, path):
    assert read_dockerignore(patterns).ignores(path) in {True, False}


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join))
def test_what_is_in_an_ignored_directory_is_ignored(path):
    assert read_dockerignore(path).ignores(f"{path}/below/it")
