"""`apprunner cancel` on real Docker: nothing is left of the build, the old version answers."""

import signal
import threading
import uuid

import pytest

from tests.end_to_end.running import docker, get, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
ROLE = "label=dev.apprunner-emulator.role"


def slow_build(sample, mark):
    """A commit whose build has a step that is done soon, and one that takes for ever."""
    text = (sample.path / "apprunner.yaml").read_text()
    commands = (
        f"    pre-build:\n      - echo {mark}-done\n    build:\n      - sleep 300 && echo {mark}\n"
    )
    head, _, tail = text.partition("    build:\n")
    changed = f"{head}{commands}{tail.partition(chr(10))[2]}"
    return sample.commit({"apprunner.yaml": changed}, "a build that takes for ever")


def steps(mark):
    """Containers of the build's steps: their command has the mark."""
    return [
        line
        for line in docker("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Command}}").split("\n")
        if mark in line
    ]


def images(mark):
    """Images of the build's steps, tagged or not."""
    ids = docker("images", "-a", "-q", "--no-trunc", "--filter", f"{ROLE}=build").split()
    if not ids:
        return []
    form = "{{.Id}} {{.ContainerConfig.Cmd}}"
    return [line for line in docker("inspect", "-f", form, *ids).split("\n") if mark in line]


def test_a_cancelled_build_leaves_nothing_and_the_old_version_answers(emulator, sample):
    emulator.run("deploy", str(sample.path))
    port, mark = emulator.port(), uuid.uuid4().hex
    stop, answers = threading.Event(), []

    def client():
        while not stop.is_set():
            answers.append(get(port, "/version"))

    asking = threading.Thread(target=client)
    asking.start()
    try:
        slow_build(sample, mark)
        until(lambda: any("sleep 300" in step for step in steps(mark)))
        assert images(mark)
        refused = emulator.command("delete", "hello")
        assert (refused.returncode, "apprunner cancel NAME" in refused.stderr) == (1, True)
        assert "is cancelled and ended ROLLBACK_SUCCEEDED" in emulator.run("cancel", "hello")
        assert (steps(mark), images(mark)) == ([], [])
    finally:
        stop.set()
        asking.join()
    assert set(answers) == {(200, "1\n")}
    described = emulator.describe()
    assert described["Status"] == "RUNNING"
    assert [d["Id"] for d in described["Emulator"]["Deployments"]] == ["r1"]
    operation = emulator.json("operations", "hello")[0]
    assert operation["Reason"] == "cancelled by the user"
    assert emulator.command("cancel", "hello").returncode == 1


def test_a_kill_right_after_it_was_accepted_still_cancels(emulator, sample):
    mark = uuid.uuid4().hex
    slow_build(sample, mark)
    emulator.run("deploy", str(sample.path), "--no-wait")
    until(lambda: any("sleep 300" in step for step in steps(mark)))
    emulator.run("cancel", "hello", "--no-wait")
    emulator.kill()
    emulator.start()
    until(lambda: emulator.describe()["Status"] == "CREATE_FAILED")
    until(lambda: steps(mark) == [])
    assert emulator.json("operations", "hello")[0]["Reason"] == "cancelled by the user"


def test_ctrl_c_ends_the_following_alone_and_the_emulator_s_end_the_build(emulator, sample):
    mark = uuid.uuid4().hex
    slow_build(sample, mark)
    with emulator.begin("deploy", str(sample.path)) as following:
        until(lambda: any("sleep 300" in step for step in steps(mark)))
        following.send_signal(signal.SIGINT)
        _, told = following.communicate(timeout=60)
    assert following.returncode == 130
    assert "CREATE_SERVICE of hello goes on" in told
    assert "to end it: apprunner cancel hello" in told
    assert steps(mark)
    emulator.run("stop")
    assert (steps(mark), images(mark)) == ([], [])
