"""What the emulator needs of the machine it runs on, and how to mend what is missing.

`apprunner doctor` shows what is found here as it is: every finding says what is wrong and the
exact command that mends it, or is mended by `--fix` where root on Debian or Ubuntu can.
"""

from emulator.drivers.machine.computer import Computer
from emulator.drivers.machine.daemon import Daemon
from emulator.drivers.machine.doctor import Machine
from emulator.drivers.machine.finding import Finding

__all__ = ["Computer", "Daemon", "Finding", "Machine"]
