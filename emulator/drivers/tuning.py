"""What suits a process that serves many connections beside its threads: set once, at its start.

Memory: uvloop has a buffer of 256 KiB for each TLS connection, of which most is never touched. glibc
maps such a buffer by itself, so that only touched pages count, until the first one has been freed;
from then on it takes them from its heap, where they stay resident: 45 KiB for an idle connection
instead of 24. A threshold that is set does not move. It is above what is read from a plain socket at once,
as mapping each of those would cost more than half of the throughput; what TLS reads goes into one
buffer for all (`negotiation`).

Threads: the event loop gives up Python's lock at every system call. A thread that waits for it
(what git or a build says is taken apart in one) then keeps it for a whole switch interval, 5 ms
unless told otherwise, and every request waits. A tenth of that took a third off the load balancer's
p99 beside a thread that made lines of text, at the same CPU time per request.
"""

import ctypes
import sys

_MAP_FROM = 260_000  # bytes; a TLS buffer has 262,144, and 256,000 are read at once
_KEEP = 8 * 2**20  # bytes that a free end of the heap may have
_SWITCH = 0.0005  # seconds
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def suit_connections() -> bool:
    """False where the C library is not glibc: of memory, nothing has changed then."""
    sys.setswitchinterval(_SWITCH)
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(
        mallopt(parameter, value) == 1
        for parameter, value in ((_M_MMAP_THRESHOLD, _MAP_FROM), (_M_TRIM_THRESHOLD, _KEEP))
    )
