"""`apprunner dev`: what is asked of the emulator, and what is shown of its answers."""

import json

import pytest

from tests.surfaces.cli_world import Rows, apprunner, fake_emulator
from tests.surfaces.test_cli import SERVICE
from tests.surfaces.test_cli_deploy import ACCEPTED, DONE, repository, state

__all__ = ["repository", "state"]
FEED = "GET services/1/operations/op/feed"


def rows(*more):
    watching = {"At": 1.8e9, "What": "Watching", "Changed": ["a.py"], "Text": "/app"}
    return Rows([watching, {"At": 1.8e9}, *more, {"At": 1.8e9, "Ended": "it is over"}])


def saved(what, **more):
    return {"At": 1.8e9, "What": what, "Changed": ["app.py", "b", "c", "d"], **more}


@pytest.fixture
def fake(state, repository):
    code = {
        "RepositoryUrl": str(repository),
        "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"},
        "SourceDirectory": "/",
    }
    there = {**SERVICE, "SourceConfiguration": {"CodeRepository": code}}
    answers = {
        "POST services/hello": ACCEPTED,
        FEED: Rows([{"Operation": {**DONE, "Status": "SUCCEEDED"}, "Service": SERVICE}]),
        "GET services/hello/dev": rows(),
    }
    with fake_emulator(state, **answers) as running:
        running.there = there
        yield running


def shown(fake, *arguments):
    """What is printed until the session ends, which is a failure unless Ctrl-C ended it."""
    result = apprunner(fake.state_dir, "dev", *arguments)
    assert result.exit_code == 1, result.output
    assert "hello: it is over" in result.stderr
    return result.stdout


def test_the_service_is_created_as_deploy_would(fake, repository):
    output = shown(fake, str(repository), "--cpu", "0.25", "--env", "A=B")
    (body,) = fake.bodies("POST services/hello")
    assert body["InstanceConfiguration"] == {"Cpu": "0.25"}
    assert body["Emulator"] == {"Env": {"A": "B"}}
    assert "hello serves what you save in /app; uncommitted: a.py. Ctrl-C ends it." in output


def test_one_that_is_there_is_left_as_it_is(fake, repository):
    fake.answers["GET services/hello"] = fake.there
    shown(fake, str(repository))
    assert fake.bodies("POST services/hello") == []
    shown(fake, str(repository), "--memory", "2")
    assert len(fake.bodies("POST services/hello")) == 1


def test_another_repository_s_service_is_not_taken_over(fake, repository):
    fake.there["SourceConfiguration"]["CodeRepository"]["RepositoryUrl"] = "/elsewhere"
    fake.answers["GET services/hello"] = fake.there
    result = apprunner(fake.state_dir, "dev", str(repository))
    assert result.exit_code == 1
    assert "hello is deployed from /elsewhere" in result.stderr


def test_each_save_is_a_line_with_what_changed_and_how_long_it_took(fake, repository):
    fake.answers["GET services/hello/dev"] = rows(
        saved("Serving", Seconds=0.123), saved("Unchanged"), saved("Failed", Text="exit code 3")
    )
    output = shown(fake, str(repository))
    assert "✓ app.py, b, c and 1 more: serves after 123 ms" in output
    assert "= app.py, b, c and 1 more: serves already" in output
    assert "✗ app.py, b, c and 1 more: exit code 3" in output
    assert "What served before serves on." in output


def test_log_lines_of_the_application_and_of_builds_are_told_apart(fake, repository):
    fake.answers["GET services/hello/dev"] = rows(
        {"At": 1.8e9, "Log": "hello", "Stream": "instance/0123456789"},
        {"At": 1.8e9, "Log": "[Build] pip", "Stream": "deployment/1"},
    )
    output = shown(fake, str(repository))
    assert "01234567  hello" in output
    assert "│ [Build] pip" in output


def test_programs_get_a_document_for_each_line(fake, repository):
    fake.answers["GET services/hello/dev"] = rows(saved("Serving", Seconds=0.123))
    lines = [json.loads(line) for line in shown(fake, str(repository), "--json").splitlines()]
    assert [line["What"] for line in lines] == ["Watching", "Serving"]


def test_what_is_committed_need_not_work(fake, repository):
    failed = {**DONE, "Status": "FAILED", "Reason": "no start command"}
    fake.answers[FEED] = Rows([{"Operation": failed, "Service": SERVICE}])
    result = apprunner(fake.state_dir, "dev", str(repository))
    assert "What is committed does not serve: no start command" in result.stderr
    assert "hello serves what you save" in result.stdout
