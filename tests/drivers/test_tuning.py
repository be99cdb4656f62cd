"""Large buffers stay out of the heap, also after one was freed; threads give way soon."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, re, sys
from emulator.drivers.tuning import suit_connections

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])

assert sys.argv[1:] or suit_connections()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
start = resident()
for _ in range(2):
    used = [library.malloc(262144) for _ in range(50)]
    for place in used:
        ctypes.memset(place, 1, 262144)
    library.malloc(100_000)  # something that stays where the heap ends
    for place in used:
        library.free(place)
for _ in range(50):
    library.malloc(262144)
print(resident() - start)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_a_buffer_takes_no_memory_before_it_is_used_although_others_were_freed():
    usual, suited = run("usual"), run()
    assert suited < 1000 < usual  # KiB; 12,800 are allocated


def test_a_thread_that_computes_gives_way_sooner_than_usual():
    program = "import sys; print(sys.getswitchinterval())"
    suit = "from emulator.drivers.tuning import suit_connections; suit_connections(); "
    usual, suited = (
        float(subprocess.run([sys.executable, "-c", text], capture_output=True, check=True).stdout)
        for text in (program, suit + program)
    )
    assert suited < usual / 4


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    if "AssertionError" in done.stderr:
        pytest.skip("the C library is not glibc")
    return int(done.stdout)
