"""`git push` on real Docker: the first creates the service, the next deploys, a broken one says why."""

import subprocess

import pytest

from tests.end_to_end.running import get, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


def pushed(emulator, sample, *arguments):
    """What the pusher saw from the emulator; the push itself must succeed."""
    url = emulator.run("git-remote", "hello").strip()
    done = subprocess.run(
        ["git", "-C", str(sample.path), "push", *arguments, url, "main"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("remote: ")]
    return [line.removeprefix("remote: ").rstrip() for line in lines]


def test_a_push_creates_the_next_deploys_and_a_broken_one_says_why(emulator, sample, tmp_path):
    sample.commit({"requirements.txt": f"# {tmp_path}\n"})  # not what another test has built
    first = pushed(emulator, sample)
    port = emulator.port()
    assert any(line.startswith("│ [Build] ") for line in first)
    assert first[-2:] == [
        f"  {emulator.describe()['Emulator']['Url']}",
        f"  http://127.0.0.1:{port}",
    ]
    assert get(port) == (200, "Hello from version 1!\n")

    commit = sample.version("2")
    second = pushed(emulator, sample)
    assert second[0] == f"Commit {commit[:7]} (version 2) is deployed."
    assert second[-3].startswith("hello is RUNNING after ")
    assert get(port, "/version") == (200, "2\n")

    sample.commit({"app.py": "raise SystemExit('it will not do')\n"})
    third = pushed(emulator, sample)
    assert "  it will not do" in third
    assert "Container exit code: 1" in " ".join(third)
    assert third[-2] == "What was deployed before goes on serving."
    assert get(port, "/version") == (200, "2\n")

    bare = emulator.json("git-remote", "hello")["Repository"]
    sample.git("revert", "--no-edit", "HEAD")
    pushed(emulator, sample)
    emulator.run("deploy", bare, "--env", "GREETING=Hi")
    until(lambda: emulator.describe()["Status"] == "RUNNING")
    assert emulator.describe()["SourceConfiguration"]["CodeRepository"]["RepositoryUrl"] == bare

    emulator.run("delete", "hello")
    sample.git("clone", "--quiet", emulator.run("git-remote", "hello").strip(), str(tmp_path / "c"))
    assert (tmp_path / "c" / "version.txt").read_text() == "2\n"
