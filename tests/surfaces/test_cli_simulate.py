"""`apprunner simulate` on files: what it prints, draws and refuses."""

import json
import xml.etree.ElementTree as ET

import pytest

from tests.surfaces.cli_world import apprunner

TABLE = "arrival_s,duration_s\n" + "".join(f"{n / 10},0.5\n" for n in range(100))


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(TABLE)
    return path


def simulated(path, *arguments):
    return apprunner(path.parent, "simulate", str(path), *arguments)


def test_every_combination_is_a_row_and_a_setting_of_the_document(trace):
    options = ["--min-size", "1,3", "--max-concurrency", "1,100", "--scale-to-zero-after", "60,off"]
    found = json.loads(simulated(trace, *options, "--json").stdout)
    assert found["Trace"] == {"File": str(trace), "Requests": 100, "Seconds": 9.9}
    assert found["Observed"] is None
    tried = [(s["MinSize"], s["MaxConcurrency"], s["ScaleToZeroAfter"]) for s in found["Settings"]]
    assert len(set(tried)) == 8
    one = found["Settings"][tried.index((1, 100, None))]
    assert (one["Served"], one["Queued"], one["Instances"]["Most"]) == (100, 0, 1)
    assert one["Latency"] == {"P50": 0.5, "P95": 0.5, "P99": 0.5}
    assert one["InstanceSeconds"] == pytest.approx(10.4)
    assert one["Cost"]["Total"] == pytest.approx(11 * 2 * 0.007 / 3600 + 60 * 0.064 / 3600)
    assert one["Timeline"] == [{"At": 0.0, "Instances": 1}, {"At": 10.4, "Instances": 1}]
    narrow = found["Settings"][tried.index((1, 1, None))]
    assert narrow["Queued"] > 0 < narrow["Starts"]
    assert narrow["Latency"]["P99"] > 0.5
    some = simulated(trace, "--min-size", "1,3", "--max-size", "2,4")
    assert (len(some.stdout.splitlines()), some.stderr) == (
        6,
        "Left out: --min-size 3 is above --max-size 2.\n",
    )
    text = simulated(trace, *options).stdout.splitlines()
    assert text[1] == "MAX 25, SIZE 1 vCPU/2 GB, FREEZE 10 s"
    assert text[2].split()[:2] == ["MIN", "CONCURRENCY"]
    assert len(text) == 11


def test_a_replay_is_the_same_every_time(trace):
    options = ["--max-concurrency", "2", "--max-size", "3", "--json"]
    assert simulated(trace, *options).stdout == simulated(trace, *options).stdout


def test_a_plot_is_svg_or_png_as_its_name_says(trace, tmp_path):
    svg, png = tmp_path / "plot.svg", tmp_path / "plot.PNG"
    options = ["--max-concurrency", "1,2"]
    assert simulated(trace, *options, "--plot", str(svg)).exit_code == 0
    root = ET.fromstring(svg.read_text())
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "1 to 25 instances, 2 at once, 1 vCPU/2 GB, to zero after 300 s" in texts
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) > 4
    assert simulated(trace, *options, "--plot", str(png)).exit_code == 0
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_real_run_is_shown_beside_its_replay(tmp_path):
    log, usage = tmp_path / "access.jsonl", tmp_path / "usage.json"
    base = {"service": "shop", "status": 200, "queue_ms": 0, "instance": "a", "cold_start": False}
    lines = [{"time": 100.0 + n, "duration_ms": 200.0, **base} for n in range(10)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    row = {"Meter": "provisioned", "InstanceId": "a", "Start": 50.0, "End": None, "Seconds": 70.0}
    usage.write_text(json.dumps([row]))
    options = ["--timeline", str(usage), "--scale-to-zero-after", "off"]
    found = json.loads(simulated(log, *options, "--json").stdout)
    assert found["Observed"]["InstanceSeconds"] == pytest.approx(20.2)
    assert found["Settings"][0]["InstanceSeconds"] == pytest.approx(20.2)
    text = simulated(log, *options).stdout
    assert "As it was: 10 served, 0 refused (429)" in text
    assert "20.2 instance-seconds, 0 starts." in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min-size", "3", "--max-size", "2"], "--min-size 3 is above --max-size 2."),
        (["--min-size", "0"], "'0' is not a whole number above 0."),
        (["--max-concurrency", "1,x"], "'x' is not a whole number above 0."),
        (["--max-concurrency", "100,201"], "MaxConcurrency is at most 200, not 201."),
        (["--min-size", "99999999999"], "can be simulated is at most 60000, not 99999999999."),
        (["--max-size", "99999"], "can be simulated is at most 60000, not 99999."),
        (["--scale-to-zero-after", "-1"], "'-1' is not a number of seconds above 0, or off."),
        (["--cpu", "1", "--memory", "8"], "App Runner has no 1 vCPU with 8 GB."),
        (["--cpu", "3"], "App Runner has no 3 vCPU"),
        (["--plot", "x.pdf"], "ends in .svg or .png, not x.pdf"),
        (["--plot", "no/where.svg"], "--plot: there is no directory no."),
        (["--service", "shop"], "a table has no services"),
        (["--timeline", "x.json"], "a table tells no time of day"),
        (["--min-size", ",".join(map(str, range(1, 26))), "--max-concurrency", "1,2,3,4,5"], "125"),
    ],
)
def test_settings_that_cannot_be_are_usage_errors(trace, arguments, message):
    result = simulated(trace, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_table_may_come_from_a_spreadsheet(trace):
    trace.write_bytes(b"\xef\xbb\xbf" + trace.read_bytes().replace(b"\n", b"\r\n"))
    assert simulated(trace).stdout.startswith("100 requests in 9.9 s;")


def test_a_trace_that_cannot_be_is_named_by_file_and_line(tmp_path):
    path = tmp_path / "bad.csv"
    assert "There is no file" in simulated(path).stderr
    path.write_text("1,2\n0,1\n")
    result = simulated(path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: {path}:2: the arrival 0 is before that of the line above, 1\n"
    )
    path.write_bytes(b"1,\xff\n")
    assert "expected UTF-8 text" in simulated(path).stderr
    path.write_text('{"service": "shop"}\n')
    assert f'Error: {path}:1: expected a number for "duration_ms"' in simulated(path).stderr
