"""What-if replay: a day of ten million requests over up to a thousand instances, from a table."""

import math
import resource
import subprocess
import sys
import tempfile
import time
from heapq import heappop, heappush
from pathlib import Path
from random import Random

REQUESTS = 10_000_000
DAY = 86400
BUSY = 5.0  # seconds that a request takes, on average
OPTIONS = ("--max-size", "1000", "--max-concurrency", "1")


def write(path: Path, count: int = REQUESTS) -> None:
    """Arrivals whose rate swings between 0.25 and 1.75 of its mean, exponential durations."""
    draw = Random(5).random
    arrivals: list[float] = []
    while len(arrivals) < count:
        moment = draw()
        if draw() * 1.75 < 1 - 0.75 * math.cos(2 * math.pi * moment):
            arrivals.append(moment * DAY)
    arrivals.sort()
    with path.open("w") as file:
        file.write("arrival_s,duration_s\n")
        file.writelines(f"{at:.4f},{-math.log(1 - draw()) * BUSY:.4f}\n" for at in arrivals)


def peer(count: int = REQUESTS) -> float:
    """CPU seconds of nothing but a heap of as many completions."""
    began = time.process_time()
    heap: list[int] = []
    for number in range(count):
        heappush(heap, number * 7919 % 1_000_003 << 16 | number)
        if len(heap) > 600:  # as many as are in flight
            heappop(heap)
    return time.process_time() - began


def bench() -> str:
    with tempfile.TemporaryDirectory() as directory:
        table = Path(directory) / "day.csv"
        write(table)
        command = [sys.executable, "-m", "emulator", "simulate", str(table), *OPTIONS]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{cpu:.0f} s of CPU, {took:.0f} s; the heap of its completions alone: {peer():.0f} s"
