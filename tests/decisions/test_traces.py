"""What is read as a trace, and what is refused with its line."""

import json

import pytest

from emulator.decisions import traces


class WrongError(Exception):
    """Line and message."""


def fault(line, message):
    return WrongError(f"{line}: {message}")


def table(text):
    return traces.table(text.splitlines(keepends=True), fault)


def entry(time, **more):
    known = {
        "time": time,
        "service": "shop",
        "status": 200,
        "duration_ms": 100,
        "queue_ms": 0,
        "upstream_ms": 99,
        "instance": "a",
        "cold_start": False,
    }
    return json.dumps(known | more) + "\n"


def log(*lines, service=None):
    return traces.access_log(lines, fault, service=service)


class TestTable:
    @pytest.mark.parametrize(
        "text",
        [
            "arrival_s,duration_s\n10,1\n10.5,0.25\n",
            "arrival_s, duration_s\r\n10,1\r\n10.5, 0.25\r\n",
            "10,1\n\n10.5,.25",
        ],
    )
    def test_times_count_from_the_first_arrival(self, text):
        found = table(text)
        assert ([*found.arrivals], [*found.durations]) == ([0, 500_000], [1_000_000, 250_000])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1,2,3\n4\n", "1: expected two numbers, arrival_s,duration_s, not '1,2,3'"),
            ("1,2\n3\n", "2: expected two numbers, arrival_s,duration_s, not '3'"),
            ("arrival_s,duration_s\n1,2\n3,x\n", "3: expected two numbers"),
            ("1,2,3\n", "1: expected two numbers"),
            ("time,took\n1,2\n", "1: expected two numbers, arrival_s,duration_s, not 'time,took'"),
            ("2,1\n1,1\n", "2: the arrival 1 is before that of the line above, 2"),
            ("1,-1\n", "1: the duration -1 is not a number of seconds"),
            ("1,nan\n", "1: the duration nan is not"),
            ("nan,1\n", "1: the arrival nan is not a number of seconds"),
            ("inf,1\n", "1: the arrival inf is not a number of seconds"),
            ("1767225600000,1\n", "1: the arrival 1.76723e+12 is not a number of seconds"),
            ("arrival_s,duration_s\n", "1: there are no requests in it"),
            ("", "0: there are no requests in it"),
        ],
    )
    def test_what_cannot_be_right_is_named_by_its_line(self, text, message):
        with pytest.raises(WrongError) as refused:
            table(text)
        assert str(refused.value).startswith(message)

    def test_a_long_one_is_read_as_a_short_one_is(self, monkeypatch):
        lines = [f"{n / 8},{n % 3}\n" for n in range(100)]
        whole = table("".join(lines))
        monkeypatch.setattr(traces, "_AT_ONCE", 7)
        assert table("".join(lines)) == whole
        lines[50] = "\n"
        assert len(table("".join(lines))) == 99
        lines[50] = "6,1\n"
        with pytest.raises(WrongError, match="51: the arrival 6 is before that of the line above"):
            table("".join(lines))


class TestAccessLog:
    def test_it_is_put_in_the_order_of_arrival_and_waiting_is_no_work(self):
        found = log(entry(11.0, duration_ms=100), entry(12.0, duration_ms=1500, queue_ms=500), "\n")
        assert found.began == 10.5
        assert [*found.trace.arrivals] == [0, 400_000]
        assert [*found.trace.durations] == [1_000_000, 100_000]
        assert found.latencies == [0.1, 1.5]

    def test_what_was_refused_is_replayed_with_what_the_others_took(self):
        away = {"instance": None, "upstream_ms": None, "duration_ms": 0}
        found = log(
            entry(1, duration_ms=100),
            entry(2, duration_ms=300),
            entry(3, duration_ms=700),
            entry(4, status=429, **away),
            entry(5, status=503, **away),
            entry(6, status=403, **away),
            entry(7, status=404, **away, service=None),
        )
        assert (found.refused, found.unserved, len(found.trace)) == (1, 1, 5)
        assert [*found.trace.durations][3:] == [300_000, 300_000]

    def test_one_of_several_services_has_to_be_named(self):
        lines = (entry(1), entry(2, service="api"), entry(3, service="api"))
        with pytest.raises(
            WrongError, match="2: there are several services: name one of api, shop"
        ):
            log(*lines)
        assert len(log(*lines, service="api").trace) == 2
        with pytest.raises(WrongError, match="there are no requests of web in it"):
            log(*lines, service="web")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{", "2: expected a JSON object: "),
            ("[]", "2: expected a JSON object, not '\\[\\]'"),
            (entry(2, duration_ms="x"), '2: expected a number for "duration_ms", not "x"'),
            (entry(2, queue_ms=-1), '2: expected a number for "queue_ms", not -1'),
            (entry(True), '2: expected a number for "time", not true'),
            (entry(2, status=None), '2: expected a number for "status", not null'),
        ],
    )
    def test_a_broken_line_is_named(self, line, message):
        with pytest.raises(WrongError, match=message):
            log(entry(1), line)


class TestTimeline:
    def row(self, start, seconds, meter="provisioned", instance="a"):
        return {"Meter": meter, "InstanceId": instance, "Start": start, "Seconds": seconds}

    def test_it_counts_from_the_first_request_and_shows_how_long_a_start_takes(self):
        recording = log(
            entry(10.1),
            entry(14.0, duration_ms=1400, queue_ms=900, instance="b"),
        )
        rows = [
            self.row(2.0, 18.0),
            self.row(0.0, 5.0, instance="gone before"),
            self.row(12.9, 4.1, instance="b"),
            self.row(13.5, 0.5, "active", "b"),
            {"Meter": "build", "InstanceId": None, "Start": 0.0, "Seconds": 1.0},
        ]
        found = traces.timeline(rows, recording, fault)
        assert (found.warm, found.starts, found.until) == (1, 1, 10.0)
        assert found.instance_seconds == pytest.approx(10.0 + 4.1)
        assert found.active_seconds == 0.5
        assert found.boot == pytest.approx(0.6)

    @pytest.mark.parametrize("rows", [[], {}, [{"Meter": "provisioned"}], [7]])
    def test_what_is_no_usage_is_refused(self, rows):
        with pytest.raises(WrongError, match="expected"):
            traces.timeline(rows, log(entry(1)), fault)
