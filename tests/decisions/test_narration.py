"""The event log speaks App Runner's words where they are known."""

from dataclasses import replace

import pytest

from emulator.decisions import narration
from emulator.model.configuration import CodeSource, HealthCheck, HealthProtocol, ImageSource
from emulator.model.instance import Endpoint, Exit
from emulator.model.operation import OperationStatus, OperationType
from emulator.model.service import ServiceStatus
from tests.decisions.situations import operation

HTTP = HealthCheck(protocol=HealthProtocol.HTTP, path="/health")
DEPLOYMENT = operation(OperationType.CREATE_SERVICE)
ID = DEPLOYMENT.deployment_id


@pytest.mark.observed("event logs of App Runner in public repositories and issues")
@pytest.mark.parametrize(
    ("said", "known"),
    [
        (
            narration.begun(DEPLOYMENT),
            (
                "Service creation started.",
                "Service status is set to OPERATION_IN_PROGRESS.",
                f"Deployment with ID : {ID} started. Triggering event : SERVICE_CREATE",
            ),
        ),
        (
            narration.artifact(CodeSource(repository="https://x/y", branch="main")),
            (
                "Deployment Artifact: [Repo Type: Source], [Repository: https://x/y], [Branch: main], "
                "[SourceDirectory: /]"
            ),
        ),
        (
            narration.checking(HealthCheck(), 8080),
            "Performing health check on protocol `TCP` [Port: '8080'].",
        ),
        (
            narration.checking(HTTP, 3000),
            "Performing health check on protocol `HTTP` [Path: '/health'], [Port: '3000'].",
        ),
        (
            narration.promoted(DEPLOYMENT),
            (
                "Health check is successful. Routing traffic to application.",
                "Successfully routed incoming traffic to application.",
                f"Deployment with ID : {ID} completed successfully.",
                "Service creation completed successfully.",
                "Service status is set to RUNNING.",
            ),
        ),
        (
            narration.stopped(Exit(code=1), 2048),
            (
                "Your application stopped or failed to start. See logs for more information.  "
                "Container exit code: 1"
            ),
        ),
        (
            narration.check_failed(HealthCheck(), 8080),
            (
                "Health check failed on protocol `TCP` [Port: '8080']. Check your configured port "
                "number. For more information, see the application logs."
            ),
        ),
        (
            narration.deployment_failed(DEPLOYMENT, "Health check failed."),
            f"Deployment with ID : {ID} failed. Failure reason : Health check failed.",
        ),
    ],
)
def test_says_what_app_runner_says(said, known):
    assert said == known


def test_an_image_is_named():
    artifact = narration.artifact(ImageSource(identifier="app:1"))
    assert artifact == "Deployment Artifact: [Repo Type: Image], [Image: app:1]"


def test_memory_that_ran_out_is_named():
    text = narration.stopped(Exit(code=137, out_of_memory=True), 512)
    assert narration.replaced(text).endswith("more than its 512 MB). A new instance replaces it.")
    assert "it used more than its 512 MB" in text


def test_an_exit_that_nobody_saw_is_still_told():
    assert narration.stopped(None, 512).endswith("exit code: 0")


def test_an_application_that_just_ends_is_told_apart_from_one_that_fails():
    assert "has to go on running" in narration.stopped(Exit(code=0, out_of_memory=False), 512)
    assert "go on" not in narration.stopped(Exit(code=1, out_of_memory=False), 512)


@pytest.mark.parametrize("type_", OperationType)
@pytest.mark.parametrize(
    "status",
    [OperationStatus.SUCCEEDED, OperationStatus.FAILED, OperationStatus.ROLLBACK_SUCCEEDED],
)
def test_every_end_says_the_status(type_, status):
    lines = narration.finished(operation(type_), status, ServiceStatus.RUNNING)
    assert lines[-1] == "Service status is set to RUNNING."
    assert all(lines)


@pytest.mark.parametrize("type_", [OperationType.UPDATE_SERVICE, OperationType.START_DEPLOYMENT])
def test_what_was_never_created_has_failed_to_be_created_again(type_):
    lines = narration.finished(
        operation(type_), OperationStatus.FAILED, ServiceStatus.CREATE_FAILED
    )
    assert lines == ("Service creation failed.", "Service status is set to CREATE_FAILED.")


@pytest.mark.parametrize("type_", OperationType)
def test_every_beginning_says_the_status(type_):
    lines = narration.begun(replace(operation(), type=type_))
    assert "Service status is set to OPERATION_IN_PROGRESS." in lines


HERE = Endpoint(host="0.0.0.0", port=8080)
HIDDEN = Endpoint(host="127.0.0.1", port=8080)
HIDDEN6 = Endpoint(host="::1", port=8080)
ELSEWHERE = Endpoint(host="0.0.0.0", port=5000)


@pytest.mark.parametrize(
    ("listening", "words", "hopeless"),
    [
        ((), "does not listen on any port", False),
        ((HIDDEN,), "let it listen on 0.0.0.0", True),
        ((HIDDEN6,), "let it listen on 0.0.0.0", True),
        ((ELSEWHERE,), "listens on 0.0.0.0:5000, not on port 8080", True),
        ((HERE, HIDDEN), "does not answer as expected (HTTP 503)", False),
    ],
)
def test_the_sockets_say_why_a_check_fails(listening, words, hopeless):
    assert words in narration.listening_hint(listening, 8080, "HTTP 503")
    assert narration.unreachable(listening, 8080) is hopeless


def test_one_instance_and_many():
    assert narration.scaled(0, 1, "asked") == "Scaling from 0 to 1 instance: asked."
    assert narration.scaled(1, 3, "busy") == "Scaling from 1 to 3 instances: busy."


def test_waits_and_phases_are_told_in_numbers():
    waiting = narration.still_waiting("0123456789", 10.2, "connection refused", 300)
    assert (
        waiting == "Instance 01234567 is not healthy after 10 s (connection refused); it has 300 s."
    )
    phases = [("queue", 0.001), ("start", 0.15), ("port", 0.1), ("app", 0.012)]
    assert narration.woken("0123456789", phases) == (
        "Instance 01234567 serves 263 ms after it was needed: queue 1 ms, start 150 ms, "
        "port open 100 ms, first byte 12 ms."
    )


def test_the_end_of_a_log_is_indented():
    assert narration.last_lines(["one", "two"]).splitlines()[1:] == ["  one", "  two"]
