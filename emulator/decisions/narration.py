"""The event log's sentences: App Runner's own where they are known, in its style elsewhere."""

from collections.abc import Sequence

from emulator.decisions.cold_start import Phase, in_words
from emulator.model.configuration import CodeSource, HealthCheck, HealthProtocol, Source
from emulator.model.instance import Endpoint, Exit
from emulator.model.operation import Operation, OperationStatus, OperationType
from emulator.model.service import ServiceStatus

_T = OperationType
_STARTED = {
    _T.CREATE_SERVICE: "Service creation started.",
    _T.UPDATE_SERVICE: "Service update started.",
    _T.PAUSE_SERVICE: "Service pause started.",
    _T.RESUME_SERVICE: "Service resume started.",
    _T.DELETE_SERVICE: "Service deletion started.",
}
_COMPLETED = {
    _T.CREATE_SERVICE: "Service creation completed successfully.",
    _T.UPDATE_SERVICE: (
        "Service update completed successfully. New application and configuration is deployed."
    ),
    _T.PAUSE_SERVICE: "Service pause completed successfully.",
    _T.RESUME_SERVICE: "Service resume completed successfully.",
    _T.DELETE_SERVICE: "Service deletion completed successfully.",
}
_FAILED = {
    _T.CREATE_SERVICE: "Service creation failed.",
    _T.UPDATE_SERVICE: "Service update failed.",
    _T.PAUSE_SERVICE: "Service pause failed.",
    _T.RESUME_SERVICE: "Service resume failed.",
    _T.DELETE_SERVICE: "Service deletion failed.",
}
_TRIGGERS = {
    _T.CREATE_SERVICE: "SERVICE_CREATE",
    _T.UPDATE_SERVICE: "SERVICE_UPDATE",
    _T.START_DEPLOYMENT: "SERVICE_DEPLOY",
}


TOLD_ONCE = "(Told once.)"


def status_set(status: ServiceStatus) -> str:
    return f"Service status is set to {status}."


def begun(operation: Operation) -> tuple[str, ...]:
    """What is said when an operation is taken up."""
    lines = [_STARTED[operation.type]] if operation.type in _STARTED else []
    lines.append(status_set(ServiceStatus.OPERATION_IN_PROGRESS))
    if operation.deploys:
        trigger = _TRIGGERS[operation.type]
        id_ = operation.deployment_id
        lines.append(f"Deployment with ID : {id_} started. Triggering event : {trigger}")
    return tuple(lines)


def artifact(source: Source) -> str:
    """What is going to be deployed."""
    if isinstance(source, CodeSource):
        return (
            f"Deployment Artifact: [Repo Type: Source], [Repository: {source.repository}], "
            f"[Branch: {source.branch}], [SourceDirectory: {source.source_directory}]"
        )
    return f"Deployment Artifact: [Repo Type: Image], [Image: {source.identifier}]"


def arrived(what: str, status: ServiceStatus, *, developed: bool = False) -> str:
    """What comes of a new commit or image."""
    if developed and status is not ServiceStatus.PAUSED:
        return f"{what} is queued: the working tree is served until working-tree mode ends."
    match status:
        case ServiceStatus.PAUSED:
            return f"{what} is not deployed: the service is paused."
        case ServiceStatus.OPERATION_IN_PROGRESS:
            return f"{what} is queued: an operation is in progress."
        case _:
            return f"{what} is deployed."


def working_tree_begins(repository: str) -> str:
    return (
        f"Working-tree mode: what is saved in {repository} is served, not what is committed. "
        "Commits wait until it ends."
    )


def working_tree_ends(commit: str | None) -> str:
    what = f"commit {commit[:7]} serves again" if commit else "nothing committed has served yet"
    return f"Working-tree mode has ended: {what}."


def checking(check: HealthCheck, port: int) -> str:
    return f"Performing health check on protocol {_check(check, port)}."


def check_failed(check: HealthCheck, port: int, hint: str = "") -> str:
    text = (
        f"Health check failed on protocol {_check(check, port)}. Check your configured port "
        "number. For more information, see the application logs."
    )
    return f"{text} {hint}" if hint else text


def _check(check: HealthCheck, port: int) -> str:
    path = f" [Path: '{check.path}']," if check.protocol is HealthProtocol.HTTP else ""
    return f"`{check.protocol}`{path} [Port: '{port}']"


def stopped(exit_: Exit | None, memory: int) -> str:
    """An instance that ended by itself; `memory` is its limit in MB."""
    code = exit_.code if exit_ else 0
    text = (
        "Your application stopped or failed to start. See logs for more information.  "
        f"Container exit code: {code}"
    )
    if exit_ is not None and exit_.out_of_memory:
        return f"{text} (out of memory: it used more than its {memory} MB)"
    if exit_ is not None and not code:
        return (
            f"{text} (it ended by itself, without an error: what is started has to go on running)"
        )
    return text


def replaced(failure: str, *, times: int = 1, wait: float = 0.0, loop: int = 0) -> str:
    """An instance of what serves that is no good any more, the `times`-th in a row."""
    failure = failure if failure.endswith(".") else f"{failure}."  # App Runner's text has none
    hold = f" The next start is in {wait:g} s." if wait else ""
    if loop and times >= loop:
        return (
            f"Crash loop: {failure} That is {times} times in a row. It is started again after "
            f"growing pauses of up to a minute.{hold} The next line about this comes when it is over."
        )
    again = f" That is {times} times in a row." if times > 1 else ""
    return f"{failure}{again} A new instance replaces it.{hold}"


def loop_over(times: int, calm: float) -> str:
    return f"The crash loop is over: no crash for {calm:g} s, after {times} in a row."


def promoted(operation: Operation) -> tuple[str, ...]:
    """A deployment that succeeded."""
    lines = [
        "Health check is successful. Routing traffic to application.",
        "Successfully routed incoming traffic to application.",
        f"Deployment with ID : {operation.deployment_id} completed successfully.",
    ]
    if operation.type in _COMPLETED:
        lines.append(_COMPLETED[operation.type])
    return (*lines, status_set(ServiceStatus.RUNNING))


def cancelling(operation: Operation, reason: str) -> str:
    return f"Ending deployment with ID : {operation.deployment_id}. Reason : {reason}"


def deployment_failed(operation: Operation, reason: str) -> str:
    return f"Deployment with ID : {operation.deployment_id} failed. Failure reason : {reason}"


def finished(
    operation: Operation, status: OperationStatus, service: ServiceStatus
) -> tuple[str, ...]:
    """The end of an operation that promoted nothing."""
    if status is OperationStatus.SUCCEEDED:
        first = _COMPLETED.get(operation.type, "")
    elif status is OperationStatus.ROLLBACK_SUCCEEDED:
        first = "Rollback succeeded. The last deployed version goes on serving."
    elif service is ServiceStatus.CREATE_FAILED:  # whatever tried it again
        first = _FAILED[_T.CREATE_SERVICE]
    else:
        first = _FAILED.get(operation.type, "")
    return tuple(line for line in (first, status_set(service)) if line)


def slept(seconds: float) -> str:
    return (
        f"This machine slept for {seconds:.0f} s, or its clock was set ahead by as much: that time "
        "is neither metered nor charged."
    )


def still_waiting(instance: str, seconds: float, detail: str, limit: float) -> str:
    return (
        f"Instance {instance[:8]} is not healthy after {seconds:.0f} s ({detail}); it has "
        f"{limit:.0f} s."
    )


def set_aside(instance: str, why: str) -> str:
    return f"Instance {instance[:8]} gets no requests for a while: {why}."


def listening_hint(listening: Sequence[Endpoint], port: int, detail: str = "") -> str:
    """What the sockets inside an instance say about a health check that fails with `detail`."""
    if not listening:
        return "The application does not listen on any port."
    here = [e for e in listening if e.port == port]
    if here and all(_is_loopback(e) for e in here):
        return (
            f"The application listens on {here[0].host}:{port} only, which nothing outside its "
            "container can reach: let it listen on 0.0.0.0."
        )
    if here:
        answer = f" ({detail})" if detail else ""
        return f"The application listens on port {port} but does not answer as expected{answer}."
    where = ", ".join(sorted({f"{e.host}:{e.port}" for e in listening}))
    return (
        f"The application listens on {where}, not on port {port}: let it read the PORT variable, "
        "or configure that port."
    )


def unreachable(listening: Sequence[Endpoint], port: int) -> bool:
    """True when the application does listen, but where no health check will ever reach it."""
    return bool(listening) and all(e.port != port or _is_loopback(e) for e in listening)


def _is_loopback(endpoint: Endpoint) -> bool:
    return endpoint.host == "::1" or endpoint.host.startswith("127.")


def last_lines(lines: Sequence[str]) -> str:
    """The end of an instance's log, for an event."""
    return "Last lines of the application log:\n" + "\n".join(f"  {line}" for line in lines)


def scaled(old: int, new: int, reason: str) -> str:
    plural = "" if new == 1 else "s"
    return f"Scaling from {old} to {new} instance{plural}: {reason}."


def woken(instance: str, phases: Sequence[Phase]) -> str:
    """How an instance came, and where the time went."""
    total = 1000 * sum(seconds for _, seconds in phases)
    return f"Instance {instance[:8]} serves {total:.0f} ms after it was needed: {in_words(phases)}."


def frozen(instance: str, reason: str) -> str:
    """Told once for each service: it is where an application's background work ends."""
    return (
        f"Instance {instance[:8]} has no CPU until the next request: {reason}. It keeps its memory "
        f"and its connections; its background work stands still, as on App Runner. {TOLD_ONCE}"
    )


def refused(status: int, reason: str, count: int) -> str:
    """Requests that found no room, since that was told last."""
    who = "a request" if count == 1 else f"{count} requests"
    return f"Refused {who} with {status}: {reason}."
