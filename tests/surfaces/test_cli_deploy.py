"""`apprunner deploy`: what git must say, and what is asked of the emulator."""

import json
import subprocess

import pytest

from emulator.cli.deploy import valid_name
from tests.surfaces.cli_world import Rows, apprunner, fake_emulator
from tests.surfaces.test_cli import SERVICE

GIT = ("git", "-c", "user.name=Ann", "-c", "user.email=ann@localhost", "-c", "commit.gpgsign=false")
ACCEPTED = {"OperationId": "op", "Operation": {"Type": "CREATE_SERVICE"}, "Service": SERVICE}
DONE = {"Id": "op", "Type": "CREATE_SERVICE", "StartedAt": 1.8e9, "EndedAt": 1.8e9 + 3}


def git(directory, *arguments):
    subprocess.run([*GIT, "-C", str(directory), *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "hello"
    root.mkdir()
    git(root, "init", "--initial-branch=main")
    (root / "app.py").write_text("")
    git(root, "add", "--all")
    git(root, "commit", "--message=First")
    return root


@pytest.fixture
def state(tmp_path):
    directory = tmp_path / "state"
    directory.mkdir()
    return directory


@pytest.fixture
def fake(state):
    answers = {
        "POST services/hello": ACCEPTED,
        "GET services/1/operations/op/feed": Rows(
            [
                {"At": 1.8e9, "Event": "Service creation started."},
                {"At": 1.8e9, "Log": "Collecting flask"},
                {"Operation": {**DONE, "Status": "SUCCEEDED"}, "Service": SERVICE},
            ]
        ),
    }
    with fake_emulator(state, **answers) as running:
        yield running


def deployed(fake, *arguments):
    """What was asked of the emulator."""
    result = apprunner(fake.state_dir, "deploy", *arguments, "--no-wait")
    assert result.exit_code == 0, result.output
    return fake.bodies("POST services/hello")[-1]


def refusal(state, *arguments, code=1):
    result = apprunner(state, "deploy", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    return result.stderr


def test_a_repository_is_deployed_from_its_current_branch(fake, repository):
    assert deployed(fake, str(repository)) == {
        "SourceConfiguration": {
            "CodeRepository": {
                "RepositoryUrl": str(repository),
                "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"},
                "SourceDirectory": "/",
            }
        }
    }


def test_it_streams_events_and_build_log_and_ends_with_the_addresses(fake, repository):
    result = apprunner(fake.state_dir, "deploy", str(repository))
    assert result.exit_code == 0
    event, log, *end = result.stdout.splitlines()
    assert event.endswith("  Service creation started.")
    assert log.endswith("  │ Collecting flask")
    assert end[0] == "hello is RUNNING after 3.0 s."
    assert end[1:] == [f"  {SERVICE['Emulator'][u]}" for u in ("Url", "LocalUrl")]


def test_json_is_the_described_service_alone(fake, repository):
    result = apprunner(fake.state_dir, "deploy", str(repository), "--json")
    assert json.loads(result.stdout) == SERVICE


def test_a_failed_deployment_is_exit_code_1_with_the_reason(fake, repository):
    failed = {**DONE, "Status": "FAILED", "Reason": "pip failed with exit code 1."}
    fake.answers["GET services/1/operations/op/feed"] = Rows(
        [{"Operation": failed, "Service": SERVICE}]
    )
    result = apprunner(fake.state_dir, "deploy", str(repository))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: hello: pip failed with exit code 1.\n")


def test_a_subdirectory_is_the_source_directory(fake, repository):
    (repository / "services" / "api").mkdir(parents=True)
    asked = deployed(fake, str(repository / "services" / "api"), "--name", "hello")
    code = asked["SourceConfiguration"]["CodeRepository"]
    assert (code["RepositoryUrl"], code["SourceDirectory"]) == (str(repository), "/services/api")


def test_options_become_app_runners_members(fake, repository):
    asked = deployed(
        fake,
        str(repository),
        *("--runtime", "python311", "--build-command", "make", "--start-command", "run"),
        *("--port", "5000", "--secret", "DB=arn:db", "--env", "A=1", "--env", "B=x=y"),
        *("--cpu", "0.5", "--memory", "1", "--health-path", "/up", "--no-auto-deploy"),
        *("--min-size", "1", "--max-size", "3", "--max-concurrency", "10"),
        *("--tag", "emulator:freeze-after=2"),
    )
    values = {
        "Runtime": "PYTHON_311",
        "BuildCommand": "make",
        "StartCommand": "run",
        "Port": "5000",
        "RuntimeEnvironmentSecrets": {"DB": "arn:db"},
    }
    source = asked.pop("SourceConfiguration")
    assert source["AutoDeploymentsEnabled"] is False
    assert source["CodeRepository"]["CodeConfiguration"] == {
        "ConfigurationSource": "API",
        "CodeConfigurationValues": values,
    }
    assert asked == {
        "InstanceConfiguration": {"Cpu": "0.5", "Memory": "1"},
        "HealthCheckConfiguration": {"Protocol": "HTTP", "Path": "/up"},
        "Emulator": {
            "AutoScaling": {"MaxConcurrency": 10, "MinSize": 1, "MaxSize": 3},
            "Env": {"A": "1", "B": "x=y"},
        },
        "Tags": {"emulator:freeze-after": "2"},
    }


def test_an_update_keeps_what_is_not_given(fake, repository):
    values = {"Runtime": "PYTHON_3", "BuildCommand": "make", "Port": "1"}
    code = {"CodeConfiguration": {"CodeConfigurationValues": values}}
    fake.answers["GET services/hello"] = {
        **SERVICE,
        "SourceConfiguration": {"CodeRepository": code},
    }
    asked = deployed(fake, str(repository), "--port", "2")
    kept = asked["SourceConfiguration"]["CodeRepository"]["CodeConfiguration"]
    assert kept["CodeConfigurationValues"] == {**values, "Port": "2"}


def test_an_image_keeps_its_port_when_it_is_deployed_again(fake):
    image = {"ImageConfiguration": {"Port": "80"}}
    fake.answers["GET services/hello"] = {
        **SERVICE,
        "SourceConfiguration": {"ImageRepository": image},
    }
    asked = deployed(fake, "--image", "registry.example.com/team/hello:dev")
    assert asked["SourceConfiguration"]["ImageRepository"] == {
        "ImageIdentifier": "registry.example.com/team/hello:dev",
        "ImageRepositoryType": "ECR",
        "ImageConfiguration": {"Port": "80"},
    }


def test_the_branch_can_be_named(fake, repository):
    git(repository, "branch", "release")
    asked = deployed(fake, str(repository), "--branch", "release")
    version = asked["SourceConfiguration"]["CodeRepository"]["SourceCodeVersion"]
    assert version == {"Type": "BRANCH", "Value": "release"}


def test_uncommitted_changes_are_noted(fake, repository):
    note = "only what is committed is deployed"
    clean = apprunner(fake.state_dir, "deploy", str(repository), "--no-wait")
    (repository / "app.py").write_text("changed")
    changed = apprunner(fake.state_dir, "deploy", str(repository), "--no-wait")
    assert (note in clean.stderr, note in changed.stderr) == (False, True)


def test_what_is_no_repository_is_told_with_the_commands(state, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    plain = tmp_path / "plain"
    plain.mkdir()
    text = refusal(state, str(plain))
    assert text.startswith(f"Error: {plain} is not a git repository")
    assert f"cd {plain} && git init && git add -A && git commit" in text


def test_a_repository_without_a_commit_is_told_with_the_commands(state, tmp_path):
    git(tmp_path, "init", "--initial-branch=trunk", "empty")
    text = refusal(state, str(tmp_path / "empty"))
    assert text.startswith("Error: Nothing is committed yet on branch trunk of ")
    assert "git add -A && git commit" in text


def test_a_detached_head_asks_for_a_branch(state, repository):
    git(repository, "checkout", "--detach")
    text = refusal(state, str(repository))
    assert "a detached HEAD" in text
    assert "--branch" in text


def test_a_branch_that_is_not_there_is_told_with_those_that_are(state, repository):
    git(repository, "branch", "release")
    text = refusal(state, str(repository), "--branch", "nope")
    assert text == f"Error: {repository} has no branch 'nope'; it has: main, release.\n"


def test_a_hooks_variables_do_not_mislead_git(fake, repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    code = deployed(fake, str(repository))["SourceConfiguration"]["CodeRepository"]
    assert code["RepositoryUrl"] == str(repository)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "A"], "'A' is not of the form NAME=VALUE."),
        (["--port", "0"], "'--port'"),
        (["--image", "x", "."], "Give a PATH or --image, not both."),
        (["--image", "hello", "--runtime", "PYTHON_3"], "are for repositories."),
        (["/does/not/exist"], "'/does/not/exist' does not exist"),
    ],
)
def test_options_that_do_not_fit_are_usage_errors(fake, arguments, message):
    assert message in refusal(fake.state_dir, *arguments, code=2)


def test_build_settings_without_a_runtime_are_a_usage_error(fake, repository):
    text = refusal(fake.state_dir, str(repository), "--start-command", "run", code=2)
    assert "they need --runtime too" in " ".join(text.split())


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("hello", "hello"),
        ("my.app (old)", "my-app-old"),
        ("api", "api-service"),
        ("-_x", "x-service"),
        ("数据", "service"),
        ("x" * 60, "x" * 40),
    ],
)
def test_a_directorys_name_becomes_a_valid_service_name(directory, name):
    assert valid_name(directory) == name
