"""The command line: what it asks of the emulator, prints and returns."""

import csv
import json
import os
import signal
import subprocess

import pytest

from emulator.cli.main import VERBS
from emulator.decisions.focus import COLUMNS
from tests.surfaces.cli_world import Rows, announce, apprunner, fake_emulator

ROW = {
    "Name": "hello",
    "Status": "RUNNING",
    "Url": "https://abc.us-east-1.awsapprunner.localhost:8443",
    "LocalUrl": "http://127.0.0.1:41000",
    "Instances": {"active": 2, "idle": 1},
    "Revision": "r1",
    "ServiceArn": "arn:aws:apprunner:us-east-1:000000000000:service/hello/1",
}
INSTANCE = {"Id": "0123456789abcdef", "State": "active", "InFlight": 3, "StartedAt": 1.8e9}
SERVICE = {
    "ServiceName": "hello",
    "ServiceId": "1",
    "ServiceArn": ROW["ServiceArn"],
    "Status": "RUNNING",
    "SourceConfiguration": {
        "CodeRepository": {
            "RepositoryUrl": "/home/ann/hello",
            "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"},
            "SourceDirectory": "/api",
        },
        "AutoDeploymentsEnabled": True,
    },
    "InstanceConfiguration": {"Cpu": "256", "Memory": "512"},
    "Emulator": {
        "Url": ROW["Url"],
        "LocalUrl": ROW["LocalUrl"],
        "Instances": [INSTANCE],
        "Deployments": [{"Id": "r1", "Commit": "c0ffee1234", "Message": "First", "Serving": True}],
    },
}


def operation(status="SUCCEEDED", **more):
    return {"Id": "op", "Type": "PAUSE_SERVICE", "Status": status, "StartedAt": 1.8e9, **more}


def accepted():
    return {"Service": SERVICE, "OperationId": "op", "Operation": operation("PENDING")}


def feed(*events, **outcome):
    rows = [{"At": 1.8e9, "Event": text} for text in events]
    return Rows([*rows, {"Operation": operation(**outcome), "Service": SERVICE}])


# -- without an emulator --------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(tmp_path, verb):
    assert apprunner(tmp_path, verb, "--help").output.startswith("Usage: ")


def test_help_names_every_verb(tmp_path):
    output = apprunner(tmp_path, "--help").output
    assert [verb for verb in VERBS if f"  {verb} " not in output] == []


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["list"], ["describe", "x"], ["logs", "x"], ["env"], ["cost"], ["pause", "x"]],
)
def test_without_an_emulator_it_says_how_to_start_one(tmp_path, arguments):
    result = apprunner(tmp_path, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: The emulator is not running: apprunner start -d\n"


def test_what_a_dead_emulator_announced_is_not_believed(tmp_path):
    with fake_emulator(tmp_path) as fake:
        dead = subprocess.Popen(["true"])
        dead.wait()
        announce(tmp_path, api=fake.api, pid=dead.pid)
        assert "not running" in apprunner(tmp_path, "status").stderr
        assert fake.asked == []


def test_an_announcement_whose_port_nobody_answers_is_not_believed(tmp_path):
    with fake_emulator(tmp_path):
        pass
    assert "not running" in apprunner(tmp_path, "status").stderr
    assert apprunner(tmp_path, "stop").output == "The emulator is not running.\n"


def test_an_unknown_verb_is_a_usage_error(tmp_path):
    result = apprunner(tmp_path, "deplyo")
    assert result.exit_code == 2
    assert "Did you mean deploy?" in result.stderr


def test_a_child_that_cannot_start_hands_its_error_to_the_parent(tmp_path):
    (tmp_path / "bad.toml").write_text("[ports]\napi = 'x'")
    config = str(tmp_path / "bad.toml")
    result = apprunner(tmp_path / "state", "start", "-d", "--config", config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {config}:2 (ports.api): expected a port")
    assert result.stderr.count("Error") == 1


def test_estimate_needs_no_emulator(tmp_path):
    result = apprunner(tmp_path, "estimate", "--active", "8h/day", "--json")
    assert json.loads(result.stdout)["Total"] == pytest.approx(25.44)
    human = apprunner(tmp_path, "estimate", "--active", "480m/day")
    assert "25.440000 USD" in human.stdout


@pytest.mark.parametrize(
    "spelling",
    [
        ["--active", "8h/day", "--cpu", "1 vCPU", "--memory", "2 GB"],
        ["--active", "7h59m60s / day", "--cpu", "1024", "--memory", "2048"],
        ["--active", "480 minutes a day", "--cpu", "1.0vcpu", "--memory", "2048MB"],
        ["--active", "28800s", "--days", "720h"],
    ],
)
def test_an_estimate_takes_sizes_and_times_as_people_write_them(tmp_path, spelling):
    result = apprunner(tmp_path, "estimate", *spelling, "--json")
    assert json.loads(result.stdout)["Total"] == pytest.approx(25.44)


def test_an_estimate_in_a_region_without_prices_says_whose_it_uses(tmp_path):
    arguments = ["--active", "8h/day", "--region", "eu-central-1"]
    found = json.loads(apprunner(tmp_path, "estimate", *arguments, "--json").stdout)
    note = "the prices of eu-central-1 are not known: us-east-1's are used"
    assert (found["Region"], found["Notes"]) == ("eu-central-1", [note])
    assert f"Note: {note}\n" in apprunner(tmp_path, "estimate", *arguments).stderr


def test_an_estimate_takes_prices_of_ones_own(tmp_path):
    own = tmp_path / "own.toml"
    table = "gb-hour = 0\nvcpu-hour = 1\nbuild-minute = 0\nautomatic-deployment-month = 0\n"
    own.write_text(f"[apprunner.us-east-1]\n{table}")
    arguments = ["estimate", "--active", "8h/day", "--prices", str(own)]
    assert json.loads(apprunner(tmp_path, *arguments, "--json").stdout)["Total"] == 240
    own.write_text(f"[apprunner.us-east-1]\n{table}".replace("= 1", "= 'one'"))
    result = apprunner(tmp_path, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {own}:3 (apprunner.us-east-1.vcpu-hour): expected a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--active", "x"], "'x' is not a time per day such as 8h/day"),
        (["--active", "20h/day", "--paused", "5h"], "active and paused hours are together"),
        (["--active", "8h", "--cpu", "3"], "App Runner has no 3 vCPU with 2 GB."),
        (["--active", "8h", "--days", "many"], "'many' is not a number of days such as 30"),
        (["--active", "-8h"], "'-8h' is negative; expected a time per day such as 8h/day."),
        (["--active", "25h/day"], "more than the 24 hours that a day has"),
        (["--active", "8 parsecs"], "'8 parsecs' is not a time per day"),
        (["--active", "8h", "--days", "-1"], "'-1' is not a number of days"),
        (["--active", "8h", "--days", "0h"], "'0h' is not a number of days"),
        (["--active", "8h", "--cpu", "1024", "--memory", "512"], "no 1 vCPU with 0.5 GB. It has"),
        (["--active", "8h", "--cpu", "2 GB"], "'2 GB' is not a number of vCPU"),
        (["--active", "8h", "--memory", "-2"], "'-2' is not a number of GB"),
        (["--active", "8h", "--min-size", "0"], "0 is not in the range x>=1"),
        (["--active", "8h", "--region", "mars"], 'expected an AWS region such as "us-east-1"'),
        ([], "Missing option '--active'"),
    ],
)
def test_an_impossible_pattern_is_a_usage_error(tmp_path, arguments, message):
    result = apprunner(tmp_path, "estimate", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


# -- questions -----------------------------------------------------------------------------------


def test_list_shows_a_row_per_service(tmp_path):
    with fake_emulator(tmp_path, **{"GET services": [ROW]}):
        lines = apprunner(tmp_path, "list").stdout.splitlines()
        assert lines[0].split() == ["NAME", "STATUS", "INSTANCES", "URL"]
        assert lines[1].split("  ") == ["hello", "RUNNING", "2 active, 1 idle", ROW["Url"]]
        assert json.loads(apprunner(tmp_path, "list", "--json").stdout) == [ROW]


def test_list_without_services_says_how_to_get_one(tmp_path):
    with fake_emulator(tmp_path, **{"GET services": []}):
        assert "apprunner deploy" in apprunner(tmp_path, "list").stdout


def test_describe_shows_addresses_source_instances_and_deployments(tmp_path):
    with fake_emulator(tmp_path, **{"GET services/hello": SERVICE}):
        text = apprunner(tmp_path, "describe", "hello").stdout
        document = json.loads(apprunner(tmp_path, "describe", "hello", "--json").stdout)
    assert document == SERVICE
    for part in (
        ROW["Url"],
        ROW["LocalUrl"],
        "branch main, directory /api",
        "01234567",
        "c0ffee12",
    ):
        assert part in text
    assert "0.25 vCPU, 0.5 GB per instance" in text


@pytest.mark.parametrize(
    ("signs", "shown"), [("--", "-- no 2"), ("--+", "--+"), ("--+-+", "--+-+ no 4")]
)
def test_checks_before_an_application_has_started_are_no_trouble(tmp_path, signs, shown):
    checks = [{"Healthy": s == "+", "Detail": f"no {n}"} for n, s in enumerate(signs, start=1)]
    instance = INSTANCE | {"Checks": checks}
    with fake_emulator(tmp_path, **{"GET services/hello/instances": [instance]}):
        line = apprunner(tmp_path, "instances", "hello").stdout.splitlines()[1]
    assert line.endswith(f"  {shown}")


def test_what_is_known_of_instances_is_shown(tmp_path):
    checks = [{"Healthy": True}, {"Healthy": False, "Detail": "HTTP 503"}, {"Healthy": True}]
    shown = INSTANCE | {"State": "frozen", "Because": "no request for 10 s", "Checks": checks}
    start = {"At": 1.8e9, "Instance": "i", "Phases": {"queue": 1.2, "port": 190.0, "app": 9.8}}
    described = SERVICE | {
        "Emulator": SERVICE["Emulator"] | {"Instances": [shown], "LastStart": start}
    }
    usage = {
        "Meter": "provisioned",
        "InstanceId": "i",
        "Start": 1.8e9,
        "End": None,
        "Seconds": 12.0,
        "Cpu": 1024,
        "Memory": 2048,
        "ObservedCpuSeconds": 1.25,
        "ObservedMemoryBytes": 40 * 2**20,
    }
    answers = {"GET services/hello": described, "GET services/hello/usage": [usage]}
    with fake_emulator(tmp_path, **answers):
        text = apprunner(tmp_path, "describe", "hello").stdout
        used = apprunner(tmp_path, "usage", "hello").stdout
    assert "+-+ HTTP 503" in text
    assert "no request for 10 s" in text
    assert "queue 1 ms, port open 190 ms, first byte 10 ms" in text
    assert "1 vCPU, 2 GB  1.2 vCPU-seconds, 40 MB" in used


def test_a_service_that_is_not_there_is_an_error_with_the_next_step(tmp_path):
    missing = (404, {"__type": "ResourceNotFoundException", "Message": "There is no service 'x'."})
    with fake_emulator(tmp_path, **{"GET services/x": missing}):
        result = apprunner(tmp_path, "describe", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: There is no service 'x'.\napprunner list shows what there is.\n"


def test_a_name_is_data_not_a_path(tmp_path):
    with fake_emulator(tmp_path) as fake:
        apprunner(tmp_path, "describe", "../status?x=1")
    assert fake.asked == [("GET services/..%2Fstatus%3Fx%3D1", {}, None)]


def test_an_answer_that_is_no_answer_is_told_without_a_traceback(tmp_path):
    with fake_emulator(tmp_path, **{"GET services": (500, "oops")}):
        result = apprunner(tmp_path, "list")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The emulator failed (HTTP 500)\n")


def test_env_prints_what_a_shell_can_evaluate(tmp_path):
    with fake_emulator(tmp_path) as fake:
        script = apprunner(tmp_path, "--region", "eu-west-1", "env").stdout
    shell = (
        f'{script}\nprintf "%s " "$AWS_ENDPOINT_URL_APPRUNNER" "$AWS_REGION" "$AWS_DEFAULT_REGION"'
    )
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [fake.api, "eu-west-1", "eu-west-1"]


REMOTE = {
    "Name": "hello",
    "Url": "http://127.0.0.1:8400/_emulator/git/hello.git",
    "Repository": "/state/pushed/hello.git",
    "ObjectFormat": "sha1",
}


def test_git_remote_prints_an_address_that_a_shell_can_use(tmp_path):
    with fake_emulator(tmp_path, **{"POST git/hello": REMOTE}):
        plain = apprunner(tmp_path, "git-remote", "hello")
        as_json = apprunner(tmp_path, "git-remote", "hello", "--json")
    assert (plain.stdout, plain.stderr) == (f"{REMOTE['Url']}\n", "")
    assert json.loads(as_json.stdout) == REMOTE


@pytest.mark.parametrize(
    ("arguments", "form"), [([], "sha256"), (["--object-format", "sha1"], "sha1")]
)
def test_git_remote_is_for_the_kind_of_ids_that_the_repository_here_has(
    tmp_path, monkeypatch, arguments, form
):
    init = ["git", "init", "--quiet", "--object-format=sha256", str(tmp_path / "app")]
    subprocess.run(init, check=True)
    monkeypatch.chdir(tmp_path / "app")
    with fake_emulator(tmp_path, **{"POST git/hello": REMOTE}) as fake:
        apprunner(tmp_path, "git-remote", "hello", *arguments)
    assert fake.queries("POST git/hello") == [{"format": form}]


def test_git_remote_works_where_there_is_no_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused = (400, {"__type": "InvalidRequestException", "Message": "That is no name."})
    with fake_emulator(tmp_path, **{"POST git/..%2Fx": refused}):
        result = apprunner(tmp_path, "git-remote", "../x")
    assert (result.exit_code, result.stderr) == (1, "Error: That is no name.\n")


def test_operations_tell_the_reason_of_a_failure(tmp_path):
    rows = [operation("FAILED", EndedAt=1.8e9 + 2.5, Reason="The build failed.")]
    with fake_emulator(tmp_path, **{"GET services/hello/operations": rows}):
        line = apprunner(tmp_path, "operations", "hello").stdout.splitlines()[1]
    assert "FAILED" in line
    assert "2.5 s  The build failed." in line


LINE = {"Meter": "active", "Quantity": 2, "Unit": "h", "UnitPrice": 0.064, "Amount": 0.128}
LINE |= {"Why": "active for 2 hours"}
BILL = {
    "Currency": "USD",
    "Region": "us-east-1",
    "Total": 0.128,
    "Lines": [LINE],
    "Alternatives": [{"Name": "Fargate", "Total": 0.5, "Note": "always on"}],
    "Month": {"Total": 3.84, "Notes": ["a month as it was in 2 minutes"]},
}


def test_cost_shows_the_bill_and_the_same_work_elsewhere(tmp_path):
    with fake_emulator(tmp_path, **{"GET cost": BILL}) as fake:
        text = apprunner(tmp_path, "cost", "hello", "--month").stdout
        assert json.loads(apprunner(tmp_path, "cost", "--json").stdout) == BILL
    assert "Total in us-east-1: 0.128000 USD" in text
    assert "A month as it was in 2 minutes: 3.840000 USD (--month)" in text
    assert "0.064  0.128000  active for 2 hours" in text
    assert "Fargate      0.500000  always on" in text
    assert fake.queries("GET cost") == [{"service": "hello", "month": "1"}, {}]


def test_cost_writes_the_bills_rows_as_csv(tmp_path):
    row = dict.fromkeys(COLUMNS) | {"BilledCost": "0.128", "Tags": '{"a": "b, c"}'}
    path = tmp_path / "focus.csv"
    with fake_emulator(tmp_path, **{"GET cost": BILL | {"Focus": [row]}}) as fake:
        result = apprunner(tmp_path, "cost", "--focus", str(path), "--json")
    assert json.loads(result.stdout) == BILL
    with path.open(newline="") as file:
        (read,) = csv.DictReader(file)
    assert tuple(read) == COLUMNS
    assert (read["BilledCost"], read["Tags"], read["ChargeClass"]) == ("0.128", row["Tags"], "")
    assert fake.queries("GET cost") == [{"focus": "1"}]
    both = apprunner(tmp_path, "cost", "--focus", str(path), "--month")
    assert (both.exit_code, "choose one" in both.stderr) == (2, True)


def test_cost_asks_at_the_prices_of_a_file(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[lambda.us-east-1]\ndate = 2026-01-02\ngb-second = 0.0000166667\nrequest = 0\n")
    with fake_emulator(tmp_path, **{"POST cost": BILL}) as fake:
        assert apprunner(tmp_path, "cost", "hello", "--prices", str(own)).exit_code == 0
    sheet = {"date": "2026-01-02", "gb-second": 0.0000166667, "request": 0}
    assert fake.bodies("POST cost") == [{"Prices": {"lambda": {"us-east-1": sheet}}}]
    assert fake.queries("POST cost") == [{"service": "hello"}]


# -- streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "stream"),
    [
        ([], "instance/"),
        (["--application"], "instance/"),
        (["--build"], "deployment/"),
        (["--deployment"], "deployment/"),
        (["--instance", "0123"], "instance/0123"),
    ],
)
def test_logs_are_kept_apart(tmp_path, arguments, stream):
    rows = Rows([{"At": 1.8e9, "Stream": "instance/0123456789", "Text": "hello"}])
    with fake_emulator(tmp_path, **{"GET services/hello/logs": rows}) as fake:
        assert "01234567  hello" in apprunner(tmp_path, "logs", "hello", *arguments).stdout
    assert fake.queries("GET services/hello/logs") == [{"stream": stream}]


def test_followed_json_is_one_document_per_line(tmp_path):
    rows = [{"At": 1.8e9, "Text": "one"}, {"At": 1.8e9, "Text": "two"}]
    with fake_emulator(tmp_path, **{"GET services/hello/events": Rows(rows)}) as fake:
        followed = apprunner(tmp_path, "events", "hello", "-f", "--json", "--since", "5m").stdout
        assert [json.loads(line) for line in followed.splitlines()] == rows
        assert json.loads(apprunner(tmp_path, "events", "hello", "--json").stdout) == rows
    first, second = fake.queries("GET services/hello/events")
    assert (first["follow"], first["ago"], second) == ("1", "300.0", {})


def test_a_duration_that_is_none_is_a_usage_error(tmp_path):
    result = apprunner(tmp_path, "logs", "hello", "--since", "yesterday")
    assert result.exit_code == 2
    assert "'yesterday' is not a duration such as 30s, 5m, 2h or 1d." in result.stderr


# -- actions ---------------------------------------------------------------------------------------


def test_an_action_waits_and_shows_what_happens(tmp_path):
    answers = {
        "POST services/hello/pause": accepted(),
        "GET services/1/operations/op/feed": feed("Service pause started."),
    }
    with fake_emulator(tmp_path, **answers):
        result = apprunner(tmp_path, "pause", "hello")
        document = apprunner(tmp_path, "pause", "hello", "--json").stdout
    assert result.exit_code == 0
    assert "Service pause started.\n" in result.stdout
    assert result.stdout.endswith("hello is RUNNING.\n")
    assert json.loads(document) == SERVICE


def test_an_action_that_fails_is_exit_code_1_with_the_reason(tmp_path):
    answers = {
        "POST services/hello/redeploy": accepted(),
        "GET services/1/operations/op/feed": feed(status="FAILED", Reason="It crashed."),
    }
    with fake_emulator(tmp_path, **answers):
        result = apprunner(tmp_path, "redeploy", "hello")
        as_json = apprunner(tmp_path, "redeploy", "hello", "--json")
    assert result.exit_code == as_json.exit_code == 1
    assert result.stderr.startswith("Error: hello: It crashed.\napprunner events hello")
    assert json.loads(as_json.stdout) == SERVICE


def test_an_action_need_not_wait(tmp_path):
    with fake_emulator(tmp_path, **{"POST services/hello/rollback": accepted()}) as fake:
        output = apprunner(tmp_path, "rollback", "hello", "--to", "r1", "--no-wait").stdout
    assert output == "Accepted, operation op.\n"
    assert fake.bodies("POST services/hello/rollback") == [{"To": "r1"}]


def test_an_emulator_that_ends_before_the_operation_is_an_error(tmp_path):
    answers = {
        "POST services/hello/pause": accepted(),
        "GET services/1/operations/op/feed": Rows([{"At": 1.8e9, "Event": "Begun."}]),
    }
    with fake_emulator(tmp_path, **answers):
        result = apprunner(tmp_path, "pause", "hello")
    assert result.exit_code == 1
    assert "Error: The emulator ended before the operation did" in result.stderr


def deploying(**more):
    return {**accepted(), "Operation": operation("PENDING", Type="CREATE_SERVICE", **more)}


def test_cancelling_is_quiet_until_it_has_ended_and_is_no_failure(tmp_path):
    ended = feed("Ending.", status="ROLLBACK_SUCCEEDED", Reason="cancelled by the user")
    answers = {
        "POST services/hello/cancel": deploying(Cancelled="cancelled by the user"),
        "GET services/1/operations/op/feed": ended,
    }
    with fake_emulator(tmp_path, **answers):
        result = apprunner(tmp_path, "cancel", "hello")
        as_json = apprunner(tmp_path, "cancel", "hello", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "PAUSE_SERVICE is cancelled and ended ROLLBACK_SUCCEEDED.\nhello is RUNNING.\n"
    )
    assert (as_json.exit_code, json.loads(as_json.stdout)) == (0, SERVICE)


def test_where_there_is_nothing_to_cancel_it_fails(tmp_path):
    refused = (400, {"__type": "InvalidStateException", "Message": "There is nothing to cancel."})
    with fake_emulator(tmp_path, **{"POST services/hello/cancel": refused}):
        result = apprunner(tmp_path, "cancel", "hello")
    assert (result.exit_code, result.stderr) == (1, "Error: There is nothing to cancel.\n")


def test_a_delete_that_is_refused_for_a_deployment_names_the_way_out(tmp_path):
    message = "Service cannot be deleted in the current state: OPERATION_IN_PROGRESS."
    refused = (400, {"__type": "InvalidStateException", "Message": message})
    with fake_emulator(tmp_path, **{"POST services/hello/delete": refused}):
        result = apprunner(tmp_path, "delete", "hello")
    way_out = "If that is a deployment, apprunner cancel NAME ends it."
    assert (result.exit_code, result.stderr) == (1, f"Error: {message}\n{way_out}\n")


class Interrupted(Rows):
    """While they come, the user presses Ctrl-C."""

    def __iter__(self):
        for row in list.__iter__(self):
            os.kill(os.getpid(), signal.SIGINT)
            yield row


@pytest.mark.parametrize(
    ("verb", "answer", "way_out"),
    [
        ("redeploy", deploying(), "; to end it: apprunner cancel hello"),
        ("cancel", deploying(Cancelled="by the user"), ""),
        ("pause", accepted(), ""),
    ],
)
def test_ctrl_c_only_stops_following_and_says_how_to_end_a_deployment(
    tmp_path, verb, answer, way_out
):
    answers = {
        f"POST services/hello/{verb}": answer,
        "GET services/1/operations/op/feed": Interrupted(feed()),
    }
    with fake_emulator(tmp_path, **answers):
        result = apprunner(tmp_path, verb, "hello")
    assert result.exit_code == 130
    said = (
        f"{answer['Operation']['Type']} of hello goes on. To follow it: apprunner events hello -f"
    )
    assert result.stderr.strip() == f"{said}{way_out}"


def test_a_refusal_is_told_as_it_is(tmp_path):
    refused = (400, {"__type": "InvalidStateException", "Message": "It is PAUSED already."})
    with fake_emulator(tmp_path, **{"POST services/hello/pause": refused}):
        result = apprunner(tmp_path, "pause", "hello")
    assert (result.exit_code, result.stderr) == (1, "Error: It is PAUSED already.\n")


# -- reset -----------------------------------------------------------------------------------------


def test_reset_removes_an_unused_state_directory(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "emulator.log").write_text("")
    assert apprunner(state, "reset", "--yes").exit_code == 0
    assert not state.exists()
    assert "nothing to reset" in apprunner(state, "reset", "--yes").output


def test_reset_deletes_nothing_that_is_not_a_state_directory(tmp_path, monkeypatch):
    (tmp_path / "thesis.tex").write_text("")
    assert apprunner(tmp_path, "reset", "--yes").exit_code == 1
    (tmp_path / "lock").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    result = apprunner(tmp_path, "reset", "--yes")
    assert result.exit_code == 1
    assert "does not look like a state directory; nothing was deleted" in result.stderr
    assert (tmp_path / "thesis.tex").exists()


def test_the_emulators_process_must_end_before_stop_returns(tmp_path):
    ended = []

    class Stopping(dict):
        """Stands in for the answer: by then the process is told to end."""

        def items(self):
            child.terminate()
            ended.append(child.wait())
            return super().items()

    with fake_emulator(tmp_path, **{"POST stop": Stopping(a=1)}) as fake:
        child = subprocess.Popen(["sleep", "60"])
        announce(tmp_path, api=fake.api, pid=child.pid)
        assert apprunner(tmp_path, "stop").output == "Stopped.\n"
    assert ended
    assert fake.queries("POST stop") == [{}]


def test_an_emulator_that_runs_is_not_started_again(tmp_path):
    with fake_emulator(tmp_path) as fake:
        result = apprunner(tmp_path, "start", "-d")
        document = json.loads(apprunner(tmp_path, "start", "-d", "--json").stdout)
    assert result.exit_code == 0
    assert result.stdout.startswith("The emulator runs already.\n")
    assert (document["Addresses"]["Api"], document["Pid"]) == (fake.api, os.getpid())


CLOCK = {"Now": 1.8e9 + 3725, "Machine": 1.8e9, "Ahead": 3725.0, "Speed": 60.0}


def test_the_clock_is_shown_and_advanced(tmp_path):
    with fake_emulator(tmp_path, **{"GET clock": CLOCK, "POST clock": CLOCK}) as fake:
        shown = apprunner(tmp_path, "clock").stdout
        assert shown.endswith(", 1 h 2 min ahead of the machine, passing 60 times as fast\n")
        for written in ("90s", "15m", "1h", "1d"):
            assert apprunner(tmp_path, "clock", "advance", written).stdout == shown
        assert json.loads(apprunner(tmp_path, "clock", "--json").stdout) == CLOCK
    advances = [body["advance"] for body in fake.bodies("POST clock")]
    assert advances == [90, 900, 3600, 86400]


@pytest.mark.parametrize("written", ["-1h", "soon", ""])
def test_the_clock_is_advanced_by_a_duration(tmp_path, written):
    result = apprunner(tmp_path, "clock", "advance", written)
    assert result.exit_code == 2
    assert f"{written!r} is not a duration such as 30s, 5m, 2h or 1d." in result.stderr
