"""`apprunner simulate`: the requests of a real run, or of a table, against other configurations."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random  # noqa: TID251 - seeded: a replay can be repeated
from typing import Any, TextIO

import click

from emulator.cli import context, estimate, plots, replayed, terminal
from emulator.cli.failure import Failure
from emulator.cli.replayed import Replay
from emulator.decisions import traces
from emulator.decisions.replay import Setting, Tempo, Trace
from emulator.decisions.simulation import simulate
from emulator.model.configuration import MOST_CONCURRENCY, SIZES, AutoScaling, InstanceSize
from emulator.model.errors import ConfigurationError, Place

MOST_SETTINGS = 100
MOST_INSTANCES = 60_000  # with those that drain they are fewer than have a number
OFF = "off"


def _list(check: Callable[[click.Context, click.Parameter, str], Any]) -> Callable[..., Any]:
    """Values with commas between them, each by itself."""

    def checked(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Any:  # noqa: ANN401
        if value is None:
            return None
        return tuple(
            dict.fromkeys(check(ctx, parameter, part.strip()) for part in value.split(","))
        )

    return checked


def _count(_: click.Context, __: click.Parameter, value: str) -> int:
    if value.isascii() and value.isdigit() and int(value) > 0:
        return int(value)
    raise click.BadParameter(f"{value!r} is not a whole number above 0.")


def _up_to(most: int, what: str) -> Callable[[click.Context, click.Parameter, str], int]:
    def checked(context: click.Context, parameter: click.Parameter, value: str) -> int:
        count = _count(context, parameter, value)
        if count > most:
            raise click.BadParameter(f"{what} is at most {most}, not {count}.")
        return count

    return checked


_instances = _up_to(MOST_INSTANCES, "The number of instances that can be simulated")
_concurrency = _up_to(MOST_CONCURRENCY, "App Runner's MaxConcurrency")


def _seconds(_: click.Context, __: click.Parameter, value: str) -> float | None:
    if value == OFF:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if 0 < seconds < float("inf"):
        return seconds
    raise click.BadParameter(f"{value!r} is not a number of seconds above 0, or {OFF}.")


def _choices(
    name: str, check: Callable[..., Any], default: str | None, text: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        name, default=default, callback=_list(check), metavar="N,…", show_default=True, help=text
    )


_TIME = click.FloatRange(0, 3600)
_TEMPO = Tempo()


@click.command(
    help="Replay TRACE against other settings: instances, waiting, latency, cost. TRACE is an access"
    f" log (JSON lines) or a CSV file with the columns {traces.HEADER}. Options with several values"
    " are tried in all combinations.",
    params=[context.prices_option()],
)
@click.argument("trace", type=click.Path(dir_okay=False))
@click.option("--service", help="Whose requests, where the access log has several.")
@click.option(
    "--timeline",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="What `apprunner usage NAME --json` printed: how it really was, to compare with.",
)
@_choices("--min-size", _instances, "1", "Instances kept.")
@_choices("--max-size", _instances, "25", "Instances at most.")
@_choices("--max-concurrency", _concurrency, "100", "Requests at once per instance.")
@_choices("--cpu", estimate.cpu, "1", "vCPU; no request becomes faster by it.")
@_choices("--memory", estimate.memory, None, "GB; by default the least for each --cpu.")
@_choices("--scale-to-zero-after", _seconds, "300", f"Seconds without a request, or {OFF}.")
@_choices("--freeze-after", _seconds, "10", f"Seconds without a request, or {OFF}.")
@click.option(
    "--warm",
    type=click.IntRange(0, MOST_INSTANCES),
    help="Instances at the start; default: MinSize.",
)
@click.option(
    "--start-time",
    type=_TIME,
    help=f"Seconds from an instance's start to its first request; default: {_TEMPO.start + _TEMPO.boot:g},"
    " or what --timeline shows.",
)
@click.option("--prepare-time", type=_TIME, default=_TEMPO.prepare, show_default=True)
@click.option("--thaw-time", type=_TIME, default=_TEMPO.thaw, show_default=True)
@click.option("--stop-time", type=_TIME, default=_TEMPO.stop, show_default=True)
@click.option("--queue", type=click.IntRange(0), default=_TEMPO.queue, show_default=True)
@click.option("--queue-wait", type=_TIME, default=_TEMPO.queue_wait, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--region", callback=estimate.region, help="Default: the emulator's.")
@click.option("--plot", "drawing", type=click.Path(dir_okay=False), metavar="FILE.svg|png")
@context.json_option
def command(*, trace: str, drawing: str | None, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    write = None if drawing is None else plots.writer(drawing)
    settings = _settings(given)
    recording, requests = _read(trace, given["service"])
    observed = _observed(given["timeline"], recording)
    tempo = _tempo(given, observed)
    warm = given["warm"] if given["warm"] is not None or observed is None else observed.warm
    own = context.settings()
    prices = own.prices.within(given["region"] or own.region)
    until = observed.until if observed else 0.0
    outcomes = [
        simulate(requests, setting, tempo, _draw(given["seed"]), warm=warm, until=until)
        for setting in settings
    ]
    replays = [Replay(s, o, prices) for s, o in zip(settings, outcomes, strict=True)]
    if write is not None:
        write(replayed.plot_of(replays, requests))
    found = {
        "Trace": {"File": trace, "Requests": len(requests), "Seconds": replayed.length(requests)},
        "StartTime": tempo.start + tempo.boot,
        "Settings": [replayed.document(replay) for replay in replays],
        "Observed": replayed.as_it_was(recording, observed),
    }
    if as_json:
        terminal.document(found)
    else:
        replayed.show(found)


def _draw(seed: int) -> Callable[[], float]:
    """Every setting meets the same chances."""
    return Random(seed).random  # noqa: S311 - nothing is kept secret by it


# -- what is asked ---------------------------------------------------------------------------------


def _settings(given: Mapping[str, Any]) -> list[Setting]:
    """All combinations that there are; UsageError for what App Runner would refuse."""
    _check_sizes(given["min_size"], given["max_size"])
    names = ("min_size", "max_size", "max_concurrency", "scale_to_zero_after", "freeze_after")
    found = [
        Setting(
            scaling=AutoScaling(min_size=least, max_size=most, max_concurrency=concurrency),
            size=size,
            zero_after=zero,
            freeze_after=freeze,
        )
        for least, most, concurrency, zero, freeze in product(*(given[name] for name in names))
        if least <= most
        for size in _sizes(given["cpu"], given["memory"])
    ]
    if len(found) > MOST_SETTINGS:
        raise click.UsageError(
            f"These are {len(found)} combinations; at most {MOST_SETTINGS} are replayed at a time."
        )
    return found


def _check_sizes(least: Sequence[int], most: Sequence[int]) -> None:
    """Combinations that cannot be are left out; not all of them, and not in silence."""
    above = [(a, b) for a, b in product(least, most) if a > b]
    told = ", ".join(f"{a} is above --max-size {b}" for a, b in above)
    if len(above) == len(least) * len(most):
        raise click.UsageError(f"--min-size {told}.")
    if above:
        terminal.note(f"Left out: --min-size {told}.")


def _sizes(cpus: Sequence[int], memories: Sequence[int] | None) -> list[InstanceSize]:
    """The pairs that App Runner has; where it has none of them, the error says which it has."""
    if memories is None:
        return [estimate.size(cpu, (SIZES.get(cpu) or (0,))[0]) for cpu in cpus]
    pairs = [(cpu, memory) for cpu, memory in product(cpus, memories)]
    known = [InstanceSize(cpu=c, memory=m) for c, m in pairs if m in SIZES.get(c, ())]
    return known or [estimate.size(*pairs[0])]


def _tempo(given: Mapping[str, Any], observed: traces.Timeline | None) -> Tempo:
    tempo = replace(
        _TEMPO,
        prepare=given["prepare_time"],
        thaw=given["thaw_time"],
        stop=given["stop_time"],
        queue=given["queue"],
        queue_wait=given["queue_wait"],
    )
    boot = given["start_time"]
    if boot is None and observed is not None:
        boot = observed.boot
    if boot is None:
        return tempo
    start = min(tempo.start, boot)
    return replace(tempo, start=start, boot=boot - start)


def _read(path: str, service: str | None) -> tuple[traces.Recording | None, Trace]:
    """The file says by its first character what it is."""

    def fault(line: int, message: str) -> ConfigurationError:
        return ConfigurationError(Place(file=path, line=line), message)

    with _opened(path) as file:
        try:
            start = file.read(1)
            file.seek(0)
            if start != "{":
                if service is not None:
                    raise click.UsageError("--service is for access logs; a table has no services.")
                return None, traces.table(file, fault)
            recording = traces.access_log(file, fault, service=service)
        except UnicodeDecodeError:
            raise fault(0, "expected UTF-8 text") from None
    return recording, recording.trace


def _opened(path: str) -> TextIO:
    try:
        return Path(path).open(encoding="utf-8-sig")  # spreadsheets begin with a mark
    except FileNotFoundError:
        raise Failure(f"There is no file {path}.") from None


def _observed(path: str | None, recording: traces.Recording | None) -> traces.Timeline | None:
    if path is None:
        return None
    if recording is None:
        raise click.UsageError("--timeline goes with an access log: a table tells no time of day.")

    def fault(row: int, message: str) -> ConfigurationError:
        return ConfigurationError(Place(file=path, key=f"interval {row}" if row else ""), message)

    with _opened(path) as file:
        try:
            rows = json.load(file)
        except ValueError as error:
            raise fault(0, f"expected JSON: {error}") from None
    return traces.timeline(rows, recording, fault)
