"""What `apprunner simulate` found: a document, a table, a plot."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import click

from emulator.cli import terminal
from emulator.decisions import cost, plot, traces
from emulator.decisions.replay import Outcome, Setting, Trace
from emulator.decisions.replay_meters import SECOND
from emulator.model.prices import Prices

UNITS = 1024
POINTS = 1000  # of a timeline
BARS = 240  # of the arrivals
QUANTILES = {"P50": 0.5, "P95": 0.95, "P99": 0.99}
_Cell = Callable[[Mapping[str, Any]], str]
# What was set is a column only where it differs.
_SET: Mapping[str, _Cell] = {
    "MIN": lambda each: str(each["MinSize"]),
    "MAX": lambda each: str(each["MaxSize"]),
    "CONCURRENCY": lambda each: str(each["MaxConcurrency"]),
    "SIZE": lambda each: _size(each["Cpu"], each["Memory"]),
    "TO ZERO": lambda each: _off_or(each["ScaleToZeroAfter"]),
    "FREEZE": lambda each: _off_or(each["FreezeAfter"]),
}
_FOUND: Mapping[str, _Cell] = {
    "INSTANCES": lambda each: f"{each['Instances']['Average']:.2f}",
    "MOST": lambda each: str(each["Instances"]["Most"]),
    "INSTANCE-S": lambda each: f"{each['InstanceSeconds']:.1f}",
    "QUEUED": lambda each: str(each["Queued"]),
    "429": lambda each: str(each["TooManyRequests"]),
    "503": lambda each: str(each["Unavailable"]),
    "COLD": lambda each: str(each["ColdStarts"]),
    "P50": lambda each: _time(each["Latency"]["P50"]),
    "P95": lambda each: _time(each["Latency"]["P95"]),
    "P99": lambda each: _time(each["Latency"]["P99"]),
    "USD": lambda each: f"{each['Cost']['Total']:.6f}",
    "… TO ZERO": lambda each: f"{each['Cost']['Alternatives'][_TO_ZERO]['Total']:.6f}",
    "USD/MONTH": lambda each: f"{each['Month']:.2f}",
}
_TO_ZERO = 1  # of a bill's alternatives


@dataclass(frozen=True, slots=True)
class Replay:
    """A setting and what became of it."""

    setting: Setting
    outcome: Outcome
    prices: Prices

    @property
    def name(self) -> str:
        """Short, for a legend."""
        scaling, size = self.setting.scaling, self.setting.size
        zero = (
            "never to zero" if self.setting.zero_after is None else _zero(self.setting.zero_after)
        )
        return (
            f"{scaling.min_size} to {scaling.max_size} instances, {scaling.max_concurrency} at once,"
            f" {_size(size.cpu, size.memory)}, {zero}"
        )


def length(trace: Trace) -> float:
    """Seconds from the first arrival to the last."""
    return trace.arrivals[-1] / SECOND


def document(replay: Replay) -> dict[str, Any]:
    setting, outcome = replay.setting, replay.outcome
    month = outcome.billable.times(Decimal(cost.MONTH) / Decimal(max(outcome.seconds, 1.0)))
    return {
        "MinSize": setting.scaling.min_size,
        "MaxSize": setting.scaling.max_size,
        "MaxConcurrency": setting.scaling.max_concurrency,
        "Cpu": setting.size.cpu,
        "Memory": setting.size.memory,
        "ScaleToZeroAfter": setting.zero_after,
        "FreezeAfter": setting.freeze_after,
        "Seconds": outcome.seconds,
        "Served": outcome.served,
        "TooManyRequests": outcome.refused,
        "Unavailable": outcome.unserved,
        "Queued": outcome.queued,
        "LongestWait": outcome.longest_wait,
        "ColdStarts": outcome.cold,
        "Starts": outcome.starts,
        "Instances": {"Average": outcome.average, "Most": outcome.most},
        "InstanceSeconds": outcome.instance_seconds,
        "ActiveSeconds": outcome.active_seconds,
        "Latency": {name: outcome.latency(quantile) for name, quantile in QUANTILES.items()},
        "Timeline": [{"At": at, "Instances": count} for at, count in _thinned(outcome.timeline)],
        "Cost": cost.document(cost.priced(outcome.billable, replay.prices)),
        "Month": float(cost.priced(month, replay.prices).total),
    }


def _thinned(steps: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """At most so many, the highest of each stretch: a peak must not be lost."""
    if len(steps) <= POINTS:
        return list(steps)
    width = steps[-1][0] / POINTS
    highest: dict[int, int] = {}
    for at, count in steps:
        stretch = min(POINTS - 1, int(at / width))
        highest[stretch] = max(highest.get(stretch, 0), count)
    return [(stretch * width, count) for stretch, count in sorted(highest.items())]


def as_it_was(
    recording: traces.Recording | None, observed: traces.Timeline | None
) -> dict[str, Any] | None:
    """The real run, as far as it is known; None for a table."""
    if recording is None:
        return None
    found: dict[str, Any] = {
        "Served": len(recording.latencies),
        "TooManyRequests": recording.refused,
        "Unavailable": recording.unserved,
        "Latency": {name: recording.latency(quantile) for name, quantile in QUANTILES.items()},
    }
    if observed is not None:
        found |= {
            "Seconds": observed.until,
            "Starts": observed.starts,
            "InstanceSeconds": observed.instance_seconds,
            "ActiveSeconds": observed.active_seconds,
        }
    return found


def show(found: Mapping[str, Any]) -> None:
    trace, settings = found["Trace"], found["Settings"]
    click.echo(
        f"{terminal.counted(trace['Requests'], 'request')} in {trace['Seconds']:.6g} s;"
        f" an instance takes {found['StartTime']:.3g} s to start."
    )
    same = {name for name, cell in _SET.items() if len(set(map(cell, settings))) == 1}
    click.echo(", ".join(f"{name} {_SET[name](settings[0])}" for name in _SET if name in same))
    columns = {name: cell for name, cell in {**_SET, **_FOUND}.items() if name not in same}
    rows = [[cell(each) for cell in columns.values()] for each in settings]
    terminal.table(tuple(columns), rows)
    if found["Observed"]:
        click.echo(f"As it was: {_told(found['Observed'])}.")


def _told(was: Mapping[str, Any]) -> str:
    refused = f"{was['TooManyRequests']} refused (429), {was['Unavailable']} unserved (503)"
    parts = [
        f"{was['Served']} served, {refused}",
        ", ".join(f"{name.lower()} {_time(t)}" for name, t in was["Latency"].items()),
    ]
    if "Starts" in was:
        starts = terminal.counted(was["Starts"], "start")
        parts.append(f"{was['InstanceSeconds']:.1f} instance-seconds, {starts}")
    return "; ".join(parts)


def _off_or(seconds: float | None) -> str:
    return "off" if seconds is None else f"{seconds:g} s"


def _size(cpu: int, memory: int) -> str:
    return f"{cpu / UNITS:g} vCPU/{memory / UNITS:g} GB"


def _zero(seconds: float) -> str:
    return f"to zero after {seconds:g} s"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def plot_of(replays: Sequence[Replay], trace: Trace) -> plot.Plot:
    """Instances over time for each, and what was asked of them."""
    seconds = max(replay.outcome.seconds for replay in replays)
    drawn = [
        plot.Steps(name=replay.name, steps=_thinned(replay.outcome.timeline)) for replay in replays
    ]
    return plot.replayed(drawn, _arrivals(trace, seconds), seconds)


def _arrivals(trace: Trace, seconds: float) -> plot.Steps:
    width = max(seconds, 1e-6) / BARS
    counts = [0] * BARS
    per_bar = max(1, round(width * SECOND))
    for arrival in trace.arrivals:
        counts[min(BARS - 1, arrival // per_bar)] += 1
    steps = [(number * width, count / width) for number, count in enumerate(counts)]
    return plot.Steps(name="arrivals", steps=steps)
