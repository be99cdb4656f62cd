"""The command line's door to time: it has no event loop for `ports.Clock` to run on."""

import time


def elapsed() -> float:
    """Seconds since some moment, for differences."""
    return time.perf_counter()


def sleep(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251 - see above


def local(at: float) -> str:
    """Hours, minutes and seconds where the user is."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def local_date(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
