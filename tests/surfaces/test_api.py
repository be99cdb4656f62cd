"""The emulator's own endpoints, over a machine in memory."""

import json
from dataclasses import replace

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from emulator.surfaces.api.server import Api
from tests.fakes.emulators import Emulator, Machine

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
async def emulator():
    async with Emulator(Machine()) as running:
        yield running


@pytest.fixture
async def client(emulator):
    stopped = []
    api = Api(
        emulator.platform,
        status=lambda: {"Pid": 1, "Services": []},
        stop=stopped.append,
        metrics=lambda: b"apprunner_connections 3.0\n",
    )
    async with TestClient(TestServer(api.application(), host="127.0.0.1")) as talking:
        talking.stopped = stopped
        yield talking


SOURCE = {
    "SourceConfiguration": {
        "ImageRepository": {"ImageIdentifier": "app:1", "ImageRepositoryType": "ECR"}
    }
}


async def deployed(client, name="hello", **more):
    answer = await client.post(f"/_emulator/services/{name}", json=SOURCE | more)
    assert answer.status == 200, await answer.text()
    accepted = await answer.json()
    path = f"/_emulator/services/{name}/operations/{accepted['OperationId']}/feed"
    lines = (await (await client.get(path)).text()).splitlines()
    return [json.loads(line) for line in lines]


async def test_a_deployment_is_fed_to_its_end(client):
    rows = await deployed(client)
    assert rows[-1]["Operation"]["Status"] == "SUCCEEDED"
    assert rows[-1]["Service"]["Status"] == "RUNNING"
    assert "Service creation started." in [row.get("Event") for row in rows]


async def test_metrics_are_prometheus_text(client):
    answer = await client.get("/_emulator/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert (await answer.text()).startswith("apprunner_connections 3.0\n")


async def test_metrics_tell_what_share_of_their_cpu_and_memory_instances_use(client, emulator):
    async def scraped() -> dict[str, float]:
        found = await (await client.get("/_emulator/metrics")).text()
        lines = [line for line in found.splitlines() if line.startswith("aws_")]
        return {line.split("{")[0]: float(line.split()[-1]) for line in lines}

    await deployed(client)
    assert await scraped() == {"aws_apprunner_memory_utilization": 100 * 32 / 2048}
    instances = emulator.machine.instances
    instances.consumed = replace(instances.consumed, cpu=1000)
    assert (await scraped())["aws_apprunner_cpu_utilization"] > 0
    assert (await scraped())["aws_apprunner_cpu_utilization"] == 0


async def test_describe_is_app_runner_s_service_with_the_emulator_s_own_beside_it(client):
    await deployed(client)
    view = await (await client.get("/_emulator/services/hello")).json()
    assert view["InstanceConfiguration"] == {"Cpu": "1024", "Memory": "2048"}
    assert view["ServiceUrl"].endswith(".us-east-1.awsapprunner.localhost:8443")
    assert [i["State"] for i in view["Emulator"]["Instances"]] == ["idle"]


async def test_settings_reach_the_service_and_stay_when_left_out(client):
    tags = {"emulator:scale-to-zero-after": "off"}
    scaling = {"AutoScaling": {"MaxConcurrency": 5, "MaxSize": 2}}
    await deployed(client, Tags=tags, Emulator=scaling, InstanceConfiguration={"Cpu": "0.25 vCPU"})
    await deployed(client)
    (listed,) = await (await client.get("/_emulator/services")).json()
    assert listed["Status"] == "RUNNING"
    view = await (await client.get("/_emulator/services/hello")).json()
    assert view["InstanceConfiguration"] == {"Cpu": "256", "Memory": "512"}


@pytest.mark.parametrize(
    ("name", "members", "message"),
    [
        ("x", SOURCE, "regular expression pattern"),
        ("hello", {}, "SourceConfiguration is required"),
        ("hello", SOURCE | {"InstanceConfiguration": {"Cpu": "1024", "Memory": "512"}}, "pair"),
        ("hello", SOURCE | {"Tags": {"emulator:freeze-after": "soon"}}, "seconds or 'off'"),
        ("hello", SOURCE | {"Tags": {"emulator:freeze": "2"}}, "no tag emulator:freeze; it knows"),
        ("hello", SOURCE | {"Emulator": {"AutoScaling": {"MinSize": 9, "MaxSize": 2}}}, "MinSize"),
        ("hello", SOURCE | {"Emulator": {"Env": {"PORT": "1"}}}, "reserved"),
        ("hello", SOURCE | {"HealthCheckConfiguration": {"Interval": 99}}, "from 1 to 20"),
    ],
)
async def test_a_bad_request_is_refused_in_words(client, name, members, message):
    answer = await client.post(f"/_emulator/services/{name}", json=members)
    body = await answer.json()
    assert answer.status == 400
    assert body["__type"] == "InvalidRequestException"
    assert message in body["Message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"[" * 100_000])
async def test_what_is_not_an_object_is_refused(client, body):
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/_emulator/services/hello", data=body, headers=headers)
    assert answer.status == 400


async def test_what_is_not_there_is_not_found(client):
    for path in ("services/nobody", "services/nobody/events", "services/nobody/usage"):
        assert (await client.get(f"/_emulator/{path}")).status == 404
    assert (await client.post("/_emulator/services/nobody/pause", json={})).status == 404


async def test_verbs_act(client, emulator):
    await deployed(client)
    answer = await client.post("/_emulator/services/hello/pause", json={})
    assert (await answer.json())["Operation"]["Type"] == "PAUSE_SERVICE"
    await emulator.at_rest()
    assert (await client.post("/_emulator/services/hello/dance", json={})).status == 404


async def test_a_deployment_is_cancelled_and_nothing_else_is(client, emulator):
    await deployed(client)
    refused = await client.post("/_emulator/services/hello/cancel", json={})
    body = await refused.json()
    assert (refused.status, body["__type"]) == (400, "InvalidStateException")
    await client.post("/_emulator/services/hello/redeploy", json={})
    answer = await (await client.post("/_emulator/services/hello/cancel", json={})).json()
    assert answer["Operation"]["Cancelled"] == "cancelled by the user"
    assert (await emulator.at_rest()).status == "RUNNING"
    rows = await (await client.get("/_emulator/services/hello/operations")).json()
    assert rows[0]["Reason"] == "cancelled by the user"


async def test_the_bill_is_a_document(client):
    await deployed(client)
    bill = await (await client.get("/_emulator/cost", params={"service": "hello"})).json()
    assert bill["Currency"] == "USD"
    assert {line["Meter"] for line in bill["Lines"]} >= {"provisioned", "active"}
    everything = await (await client.get("/_emulator/cost", params={"focus": "1"})).json()
    rows = everything.pop("Focus")
    assert sum(float(row["BilledCost"]) for row in rows) == pytest.approx(everything["Total"])


async def test_a_bill_at_prices_of_ones_own(client):
    await deployed(client)
    keys = ("gb-hour", "vcpu-hour", "build-minute", "automatic-deployment-month")
    free = {"apprunner": {"us-east-1": dict.fromkeys(keys, 0)}}
    answer = await client.post("/_emulator/cost", json={"Prices": free})
    assert (await answer.json())["Total"] == 0
    for wrong in (7, {"apprunner": []}, {"apprunner": {"us-east-1": {"gb-hour": "x"}}}):
        answer = await client.post("/_emulator/cost", json={"Prices": wrong})
        assert (answer.status, (await answer.json())["Message"][:8]) == (400, "Prices: ")


async def test_a_web_page_cannot_drive_it(client):
    page = {"Origin": "https://evil.example"}
    assert (await client.get("/_emulator/services", headers=page)).status == 403
    rebound = {"Host": "evil.example:8400"}
    assert (await client.get("/_emulator/services", headers=rebound)).status == 403
    plain = {"Content-Type": "text/plain"}
    answer = await client.post("/_emulator/services/hello", data=b"{}", headers=plain)
    assert answer.status == 400


async def test_health_has_the_name_that_other_tools_ask_for(client):
    assert (await client.get("/_localstack/health")).status == 200


async def test_stop_tells_whether_all_shall_go(client):
    await client.post("/_emulator/stop", params={"all": "1"})
    await client.post("/_emulator/stop")
    assert client.stopped == [True, False]


async def test_a_listener_that_goes_away_is_no_error(client):
    await deployed(client)
    answer = await client.get("/_emulator/services/hello/events", params={"follow": "1"})
    assert b"Text" in await answer.content.readline()
    answer.close()
    assert isinstance(answer, aiohttp.ClientResponse)
    assert (await client.get("/_emulator/health")).status == 200


CODE = {
    "SourceConfiguration": {
        "CodeRepository": {
            "RepositoryUrl": "/repo",
            "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"},
        }
    }
}


async def test_working_tree_mode_lasts_as_long_as_somebody_listens(client, emulator):
    repository = emulator.machine.repository
    repository.commit_files("/repo", {"requirements.txt": "", "app.py": "print(1)\n"})
    await client.post("/_emulator/services/hello", json=CODE)
    await emulator.at_rest()

    async def described():
        view = await (await client.get("/_emulator/services/hello")).json()
        return view["Emulator"]

    async with client.get("/_emulator/services/hello/dev") as answer:
        rows = [json.loads(await answer.content.readline())]
        repository.save_files("/repo", {"app.py": "print(2)\n"})
        while "Serving" not in [row.get("What") for row in rows]:
            rows.append(json.loads(await answer.content.readline()))
        assert rows[-1]["Changed"] == ["app.py"]
        own = await described()
        assert (own["Dev"]["Repository"], own["Dev"]["Serving"]) == ("/repo", True)
        assert "Commit" not in own
        (listed,) = await (await client.get("/_emulator/services")).json()
        assert listed["Dev"] is True
        second = await client.get("/_emulator/services/hello/dev")
        assert "already" in (await second.text())
        answer.close()  # as a killed command does

    ledger = emulator.platform.ledger("hello")
    assert await emulator.until(lambda: ledger.dev is None, within=20)
    assert (await described())["Commit"]


async def test_leaving_working_tree_mode_answers_when_the_commit_serves(client, emulator):
    repository = emulator.machine.repository
    repository.commit_files("/repo", {"requirements.txt": "", "app.py": "print(1)\n"})
    await client.post("/_emulator/services/hello", json=CODE)
    await emulator.at_rest()
    async with client.get("/_emulator/services/hello/dev") as answer:
        await answer.content.readline()
        left = await (await client.post("/_emulator/services/hello/dev/end")).json()
        assert "Dev" not in left["Emulator"]
        assert left["Emulator"]["Commit"]


async def test_the_clock_is_advanced_and_what_happens_meanwhile_has_happened(client):
    await deployed(client)
    before = await (await client.get("/_emulator/clock")).json()
    answer = await client.post("/_emulator/clock", json={"advance": 3600})
    after = await answer.json()
    assert after["Now"] - before["Now"] == pytest.approx(3600, abs=5)
    assert after["Ahead"] == pytest.approx(3600, abs=5)
    assert await (await client.get("/_emulator/services/hello/instances")).json() == []
    young = await (await client.get("/_emulator/services/hello/events?ago=3000")).text()
    assert young == ""
    told = await (await client.get("/_emulator/services/hello/events?ago=3400")).text()
    assert "no request for 300 s" in told


async def test_instances_say_why_they_rest_how_they_came_and_what_they_use(client):
    await deployed(client)
    await client.post("/_emulator/clock", json={"advance": 11})
    (resting,) = await (await client.get("/_emulator/services/hello/instances")).json()
    assert (resting["State"], resting["Because"]) == ("frozen", "no request for 10 s")
    *before, last = resting["Checks"]
    assert last["Healthy"]
    assert {check["Detail"] for check in before} == {"connection refused"}  # while it booted
    rows = await (await client.get("/_emulator/services/hello/usage")).json()
    (memory,) = [row for row in rows if row["Meter"] == "provisioned"]
    assert memory["Seconds"] == pytest.approx(11, abs=3)
    assert (memory["ObservedCpuSeconds"], memory["ObservedMemoryBytes"]) == (0.25, 32 * 2**20)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"advance": -3600}, "The clock only goes forward"),
        ({"advance": 0}, "a number of seconds above 0"),
        ({"advance": "1h"}, "not '1h'"),
        ({"now": 5}, 'Send {"advance": seconds}.'),
        ({}, 'Send {"advance": seconds}.'),
    ],
)
async def test_a_clock_that_is_to_go_back_is_refused(client, body, said):
    answer = await client.post("/_emulator/clock", json=body)
    assert answer.status == 400
    assert said in (await answer.json())["Message"]
