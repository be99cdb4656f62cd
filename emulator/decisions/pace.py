"""How long App Runner takes: a pipeline's time-outs and polling are tried where nothing is quick.

In the fast mode nothing waits. In the realistic mode an operation ends no sooner than its like
does on AWS; work that takes longer here than there is not hurried. A cancellation is not App
Runner's, and nothing is waited for.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

from emulator.model.errors import InvalidRequestException
from emulator.model.identifiers import Epoch
from emulator.model.operation import Operation, OperationStatus, OperationType
from emulator.model.settings import Pace, PaceMode

_T = OperationType
# Seconds from an operation's StartedAt to its EndedAt, by how it ended, else by what it was.
SECONDS: Mapping[OperationType | OperationStatus, float] = MappingProxyType(
    {
        # Documented: the operation in AWS CLI's example of list-operations.
        _T.CREATE_SERVICE: 203.0,
        # Observed: what a create takes from the pulled image to RUNNING (aws/apprunner-roadmap
        # issue 128: 17:56:51 provisioning, 17:59:55 RUNNING); #147 has "minutes".
        _T.UPDATE_SERVICE: 180.0,
        _T.START_DEPLOYMENT: 180.0,
        # Observed: the lower end of the two to five minutes in issue 128.
        _T.PAUSE_SERVICE: 120.0,
        _T.RESUME_SERVICE: 120.0,
        # Assumed: no source tells.
        _T.DELETE_SERVICE: 60.0,
        # Observed: users see failing deployments declared after 6 to 19 minutes.
        OperationStatus.FAILED: 360.0,
        # Observed: issue 147.
        OperationStatus.ROLLBACK_SUCCEEDED: 900.0,
        OperationStatus.ROLLBACK_FAILED: 900.0,
    }
)


LONGEST_ADVANCE = 366 * 86400.0  # seconds


def check_advance(seconds: object) -> float:
    """How far the clock is to be advanced, if that can be. Raises InvalidRequestException."""
    if isinstance(seconds, int | float) and not isinstance(seconds, bool):
        if math.isfinite(seconds) and 0 < seconds <= LONGEST_ADVANCE:
            return float(seconds)
        if seconds < 0:
            raise InvalidRequestException(
                f"The clock only goes forward: it cannot be advanced by {seconds:g} seconds."
            )
    raise InvalidRequestException(
        "Advance the clock by a number of seconds above 0, a year at most: "
        f'{{"advance": 3600}}, not {seconds!r}.'
    )


def wait(pace: Pace, type_: OperationType, outcome: OperationStatus) -> float:
    """Seconds of policy time that an operation takes at least, from the request to its end."""
    if pace.mode is PaceMode.FAST:
        return 0.0
    return SECONDS.get(outcome, SECONDS[type_])


def not_before(pace: Pace, operation: Operation, outcome: OperationStatus) -> Epoch:
    """The first moment at which it may end so."""
    if operation.cancelled:
        return operation.started_at
    return Epoch(operation.started_at + wait(pace, operation.type, outcome))
