"""The main job on real Docker: commit, build, run, balance, freeze, zero, wake, meter, delete."""

import json
import threading
import time

import pytest

from tests.end_to_end.running import Failed, Repository, docker, get, get_https, until

# The default gateway of a network namespace, and what a connection to it comes to.
GATEWAY = r"""awk '$2 == "00000000" {print $3}' /proc/net/route | sed 's/\(..\)\(..\)\(..\)\(..\)/0x\4 0x\3 0x\2 0x\1/' | xargs printf '%d.%d.%d.%d'"""
DIAL = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3)
    print("open")
except OSError:
    print("refused")
"""

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


def test_from_a_commit_to_an_answer_and_to_the_bill(emulator, sample):
    described = emulator.json("deploy", str(sample.path))
    assert described["Status"] == "RUNNING"
    port = emulator.port()
    assert get(port) == (200, "Hello from version 1!\n")

    https = int(emulator.json("status")["Addresses"]["Https"].rsplit(":", 1)[1])
    ca = emulator.state / "ca" / "ca.pem"
    assert get_https(described["ServiceUrl"], https, ca)[1] == "Hello from version 1!\n"
    assert get_https("hello.localhost", https, ca)[1] == "Hello from version 1!\n"

    commit = sample.version("2")
    until(lambda: get(port, "/version")[1] == "2\n")
    until(lambda: emulator.describe()["Status"] == "RUNNING")
    assert emulator.describe()["Emulator"]["Commit"] == commit
    assert "no build" in emulator.events()

    bill = emulator.json("cost", "hello")
    assert bill["Currency"] == "USD"
    assert bill["Total"] > 0
    assert {row["Meter"] for row in emulator.json("usage", "hello")} >= {"provisioned", "active"}
    assert "version 2 listens" in emulator.run("logs", "hello")

    emulator.run("delete", "hello")
    assert emulator.owned() == []
    assert emulator.networks() == []


def test_after_fifteen_idle_minutes_it_is_at_zero_wakes_and_the_bill_says_so(emulator, sample):
    """An hour in two seconds, on real containers."""
    zero_after = ("--no-auto-deploy", "--tag", "emulator:scale-to-zero-after=900")
    emulator.run("deploy", str(sample.path), *zero_after)
    port = emulator.port()
    emulator.run("clock", "advance", "2m")
    assert emulator.states() == ["frozen"]
    assert get(port)[0] == 200
    began = time.perf_counter()
    emulator.run("clock", "advance", "1h")
    assert time.perf_counter() - began < 30  # not an hour
    assert emulator.states() == []
    assert "no request for 900 s: scaled to zero" in emulator.events()
    assert get(port) == (200, "Hello from version 1!\n")
    first = next(row for row in emulator.json("usage", "hello") if row["Meter"] == "provisioned")
    assert first["Seconds"] == pytest.approx(1020, abs=30)
    # 1 vCPU, 2 GB: an hour of memory, which App Runner keeps, and a minute of vCPU each for the
    # start, the request to the frozen one and the start from zero, which its request prolongs.
    expected = 3720 * 2 * 0.007 / 3600 + 3 * 60 * 0.064 / 3600
    assert emulator.json("cost", "hello")["Total"] == pytest.approx(expected, rel=0.03)
    before = emulator.json("clock")["Now"]
    emulator.run("stop")
    (emulator.directory / "emulator.toml").write_text("[pace]\nspeed = 60\n")
    emulator.start()
    clock = emulator.json("clock")
    assert (clock["Speed"], clock["Now"] > before) == (60.0, True)
    moments = [event["At"] for event in emulator.json("events", "hello")]
    assert moments == sorted(moments)


def test_a_request_body_survives_the_way_from_zero(emulator, sample):
    tags = ("--tag", "emulator:scale-to-zero-after=1")
    emulator.run("deploy", str(sample.path), *tags)
    port = emulator.port()
    until(lambda: emulator.states() == [])
    import http.client  # noqa: PLC0415

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/", body=b"x" * 3_000_000)
    assert connection.getresponse().read() == b"3000000 bytes\n"
    connection.close()


def test_scales_out_and_keeps_within_the_maximum(emulator, sample):
    emulator.run("deploy", str(sample.path), "--max-concurrency", "2", "--max-size", "3")
    port = emulator.port()
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(get(port, "/slow?seconds=2")[0]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    until(lambda: len(emulator.states()) == 3)
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    assert len(emulator.states()) <= 3


def test_no_request_fails_while_versions_change(emulator, sample):
    emulator.run("deploy", str(sample.path))
    port = emulator.port()
    stop, failures, count = threading.Event(), [], [0]

    def client(path):
        while not stop.is_set():
            status, _ = get(port, path)
            count[0] += 1
            if status != 200:
                failures.append(status)

    threads = [
        threading.Thread(target=client, args=(path,))
        for path in ("/version", "/version", "/slow?seconds=0.5", "/json")
    ]
    for thread in threads:
        thread.start()
    try:
        for n in range(2, 7):
            sample.version(str(n))
            until(lambda n=n: get(port, "/version")[1] == f"{n}\n")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert count[0] > 50


class TestFailures:
    def test_a_deployment_that_dies_leaves_the_old_version_serving(self, emulator, sample):
        emulator.run("deploy", str(sample.path))
        port = emulator.port()
        sample.commit({"app.py": "raise SystemExit('it will not do')\n"})
        until(lambda: "ROLLBACK_SUCCEEDED" in emulator.run("operations", "hello"))
        assert get(port) == (200, "Hello from version 1!\n")
        events = emulator.events()
        assert "Container exit code: 1" in events
        assert "it will not do" in events

    def test_a_build_that_fails_names_the_command_and_its_exit_code(self, emulator, sample):
        text = (sample.path / "apprunner.yaml").read_text()
        sample.commit(
            {"apprunner.yaml": text.replace("pip3 install -r requirements.txt", "exit 7")}
        )
        with pytest.raises(Failed, match=r"(?s)exit 7.*7"):
            emulator.run("deploy", str(sample.path))
        assert emulator.describe()["Status"] == "CREATE_FAILED"
        sample.commit({"apprunner.yaml": text})
        emulator.run("deploy", str(sample.path))
        assert get(emulator.port())[0] == 200

    def test_an_application_on_loopback_only_is_told_so(self, emulator, sample):
        code = (sample.path / "app.py").read_text()
        sample.commit({"app.py": code.replace('"0.0.0.0"', '"127.0.0.1"')})
        with pytest.raises(Failed, match=r"127\.0\.0\.1:8080 only"):
            emulator.run("deploy", str(sample.path))

    def test_an_application_on_another_port_is_told_which(self, emulator, sample):
        code = (sample.path / "app.py").read_text()
        sample.commit({"app.py": code.replace('os.environ.get("PORT", "8080")', '"5000"')})
        with pytest.raises(Failed, match="5000, not on port 8080"):
            emulator.run("deploy", str(sample.path))

    def test_running_out_of_memory_is_named(self, emulator, sample):
        greedy = "x = []\nwhile True:\n    x.append(bytearray(50_000_000))\n"
        sample.commit({"app.py": greedy})
        with pytest.raises(Failed, match="out of memory"):
            emulator.run("deploy", str(sample.path), "--cpu", "0.25", "--memory", "0.5")

    def test_a_broken_configuration_file_is_named_with_its_line(self, emulator, sample):
        text = (sample.path / "apprunner.yaml").read_text()
        sample.commit({"apprunner.yaml": text.replace("runtime: python311", "runtime: pyton311")})
        with pytest.raises(Failed, match=r"apprunner.yaml:2.*python311"):
            emulator.run("deploy", str(sample.path))

    def test_a_repository_that_goes_away_and_returns(self, emulator, sample, tmp_path):
        emulator.run("deploy", str(sample.path))
        port = emulator.port()
        moved = tmp_path / "elsewhere"
        sample.path.rename(moved)
        until(lambda: "goes on running" in emulator.events())
        assert get(port)[0] == 200
        moved.rename(sample.path)
        sample.version("2")
        until(lambda: get(port, "/version")[1] == "2\n")

    def test_a_rewritten_branch_is_followed(self, emulator, sample):
        emulator.run("deploy", str(sample.path))
        port = emulator.port()
        first = sample.git("rev-parse", "HEAD")
        sample.version("2")
        until(lambda: get(port, "/version")[1] == "2\n")
        until(lambda: emulator.describe()["Status"] == "RUNNING")
        sample.git("reset", "-q", "--hard", first)
        sample.version("3")
        until(lambda: get(port, "/version")[1] == "3\n")


class TestOtherSources:
    def test_a_local_image(self, emulator, sample):
        emulator.run("deploy", str(sample.path), "--name", "first")
        image = emulator.describe("first")["Emulator"]["Deployments"][0]["Image"]
        docker("tag", image, "apprunner-test-image:1")
        try:
            server = "python3 -m http.server 8080"
            emulator.run(
                "deploy",
                "--image",
                "apprunner-test-image:1",
                "--name",
                "image",
                "--start-command",
                server,
            )
            assert get(emulator.port("image"))[0] == 200
        finally:
            docker("rmi", "--no-prune", "apprunner-test-image:1")

    def test_a_source_directory_deploys_only_its_own_changes(self, emulator, tmp_path):
        repository = Repository(tmp_path / "mono", sample=None)
        inner = Repository(tmp_path / "inner")
        files = {p.name: p.read_text() for p in inner.path.iterdir() if p.is_file()}
        repository.commit({f"services/hello/{name}": text for name, text in files.items()})
        emulator.run("deploy", str(repository.path / "services" / "hello"))
        port = emulator.port()
        repository.commit({"README.md": "outside\n"}, "outside")
        until(lambda: "changes nothing in the source directory" in emulator.events())
        repository.commit({"services/hello/version.txt": "2\n"}, "inside")
        until(lambda: get(port, "/version")[1] == "2\n")


class TestLifeOfTheEmulator:
    def test_services_outlive_a_restart(self, emulator, sample):
        emulator.run("deploy", str(sample.path))
        port, before = emulator.port(), emulator.describe()["Emulator"]["Instances"][0]["Id"]
        emulator.run("stop")
        sample.version("2")  # while nobody looks
        emulator.start()
        until(lambda: get(port, "/version")[1] == "2\n")
        assert emulator.port() == port
        until(lambda: before not in str(emulator.describe()["Emulator"]["Instances"]))

    def test_a_second_emulator_is_refused(self, emulator):
        emulator.environment["APPRUNNER_API_PORT"] = "0"
        (emulator.state / "emulator.json").rename(emulator.state / "hidden.json")
        done = emulator.command("start")
        (emulator.state / "hidden.json").rename(emulator.state / "emulator.json")
        assert done.returncode == 1
        assert str(emulator.pid()) in done.stderr

    def test_rollback_serves_the_version_before(self, emulator, sample):
        emulator.run("deploy", str(sample.path))
        port = emulator.port()
        sample.version("2")
        until(lambda: get(port, "/version")[1] == "2\n")
        until(lambda: emulator.describe()["Status"] == "RUNNING")
        emulator.run("rollback", "hello")
        assert get(port, "/version")[1] == "1\n"

    def test_pause_and_resume(self, emulator, sample):
        emulator.run("deploy", str(sample.path))
        port = emulator.port()
        emulator.run("pause", "hello")
        assert emulator.states() == []
        assert get(port)[0] == 503
        emulator.run("resume", "hello")
        assert get(port)[0] == 200

    def test_a_container_removed_by_hand_is_replaced(self, emulator, sample):
        emulator.run("deploy", str(sample.path))
        port = emulator.port()
        instance = emulator.describe()["Emulator"]["Instances"][0]["Id"]
        (name,) = [n for n in emulator.owned() if n.endswith(instance[:8])]
        docker("rm", "-f", name)
        until(lambda: "removed from outside" in emulator.events())
        assert get(port)[0] == 200
        until(lambda: len(emulator.states()) == 1)

    def test_an_instance_reaches_neither_the_engine_nor_the_emulator(self, emulator, sample):
        emulator.run("deploy", str(sample.path))
        instance = emulator.describe()["Emulator"]["Instances"][0]["Id"]
        (name,) = [n for n in emulator.owned() if n.endswith(instance[:8])]
        port = emulator.json("status")["Addresses"]["Api"].rsplit(":", 1)[1]
        gateway = docker("exec", name, "sh", "-c", GATEWAY)
        assert gateway.endswith(".1")  # the bridge: this machine
        tried = docker("exec", name, "python3", "-c", DIAL, gateway, port)
        assert tried == "refused"
        assert docker("exec", name, "sh", "-c", "ls /var/run/docker.sock || true") == ""
        labels = json.loads(docker("inspect", "-f", "{{json .Config.Labels}}", name))
        names = ("owner", "service", "instance", "deployment", "role")
        assert all(labels[f"dev.apprunner-emulator.{label}"] for label in names)
