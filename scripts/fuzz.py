"""Fuzz the load balancer: SECONDS (60) from SEED (by the clock) on; what it finds, it prints.

python scripts/fuzz.py [SECONDS [SEED]]
"""

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.surfaces.proxy_fuzz import run


def main(arguments: list[str]) -> None:
    seconds = float(arguments[0]) if arguments else 60.0
    seed = int(arguments[1]) if len(arguments) > 1 else int(time.time())
    ran = asyncio.run(run(seed=seed, seconds=seconds))
    print(
        f"{ran.streams} streams from seed {seed} on, {ran.answered} requests answered, "
        f"{ran.quick} of them by the short way: nothing found"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
