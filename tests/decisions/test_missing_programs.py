"""Advice on programs that are not there."""

import pytest

from emulator.decisions.missing_programs import advice


@pytest.mark.parametrize(
    ("said", "command", "told"),
    [
        ("/bin/sh: 1: sudo: not found", "sudo pip install flask", "leave `sudo` out"),
        ("sh: line 1: docker: command not found", "docker build .", "push an image"),
        ("/bin/sh: 1: apk: not found", "apk update && apk upgrade", "apt-get"),
        ("sh: 1: tsc: not found", "npm run build", "devDependencies"),
        ("sh: vite: command not found", "cd web && yarn build", "devDependencies"),
    ],
)
def test_what_is_missing_is_told_with_what_to_do(said, command, told):
    assert told in advice(said, command)


@pytest.mark.parametrize(
    ("said", "command"),
    [
        ("/bin/sh: 1: frobnicate: not found", "frobnicate --all"),
        ("npm ERR! 404 Not Found - GET https://registry.npmjs.org/x - Not found", "npm install"),
        ("Package flask (3.1.3) not found.", "poetry install"),
        ("/bin/sh: 1: npm: not found", "npm run build"),
        ("", "npm run build"),
    ],
)
def test_nothing_is_added_to_other_failures(said, command):
    assert advice(said, command) == ""
