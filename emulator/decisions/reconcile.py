"""What to do next for one service: from what is wanted and what is there to a list of actions.

Rules:
 1. Level-triggered: the answer depends on the situation only, never on how it came about, so it
    is right after any crash and after any meddling by hand.
 2. Nothing returns early: clean-up is planned in every situation.
 3. Requests go only to healthy instances of the serving revision. A deployment starts instances
    of its target beside them, and promotes the target when all of them are healthy.
 4. What is not wanted is drained, then stopped, then removed, and only its own job touches it
    meanwhile (`busy`).
 5. Each action says why.
 6. An operation ends no sooner than the pace allows; all that is to be done for it is done at once,
    and a failure is noted at once.
 7. A cancelled deployment is a failed one, once nothing is left of its build.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from emulator.decisions import cancelling, pace
from emulator.model.identifiers import Epoch, InstanceId, RevisionId
from emulator.model.instance import ContainerState, Health, Instance
from emulator.model.operation import Operation, OperationStatus, OperationType
from emulator.model.revision import Revision
from emulator.model.service import Service, ServiceStatus
from emulator.model.settings import Pace


class BuildState(StrEnum):
    """Of the build that the current operation needs; its success is a stored target."""

    NONE = "none"
    RUNNING = "running"
    ENDING = "ending"  # cancelled, and still cleaning up
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything a plan depends on.

    `launching` counts starts under way by revision, `start_failures` holds why the engine could
    not start one; `busy` are instances with a job under way.
    `deadline` is that of the operation's work. `size` is the autoscaler's word for the serving revision. `held_until` is the end of the
    back-off after crashes of the serving revision. `closing` tells that the service's remains
    are being removed. `candidate` is a state of the working tree that is being tried beside what
    serves (or what is committed, once that is to serve again); `developing`: working-tree mode is
    on, `holding`: commits wait for its end; `warm` are standbys that were made for it.
    """

    now: Epoch
    service: Service
    operation: Operation | None
    deadline: Epoch | None = None
    serving: Revision | None
    target: Revision | None
    candidate: Revision | None = None
    developing: bool = False
    holding: bool = False
    instances: tuple[Instance, ...]
    size: int
    build: BuildState = BuildState.NONE
    build_failure: str = ""
    launching: Mapping[RevisionId, int] = field(default_factory=dict)
    start_failures: Mapping[RevisionId, str] = field(default_factory=dict)
    busy: frozenset[InstanceId] = frozenset()
    preparing: bool = False
    warm: frozenset[InstanceId] = frozenset()
    closing: bool = False
    closed: bool = False
    held_until: Epoch | None = None
    freeze_after: float | None = None
    standby: bool = True
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True)
class Begin:
    """Take the pending operation up."""


@dataclass(frozen=True, slots=True)
class Deploy:
    """Begin the deployment of the newest commit (or image) that arrived meanwhile."""

    commit: str


@dataclass(frozen=True, slots=True)
class Build:
    """Make the revision that the operation deploys."""


@dataclass(frozen=True, slots=True)
class CancelBuild:
    """End the build: nobody needs it any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Supersede:
    """Cancel the deployment in favour of a newer commit."""

    reason: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start an instance, from a fitting standby if there is one."""

    revision: Revision
    reason: str
    standby: InstanceId | None = None


@dataclass(frozen=True, slots=True)
class Prepare:
    """Create a standby, ready to be started."""

    revision: Revision
    warm: bool = False


@dataclass(frozen=True, slots=True)
class Freeze:
    """Take an idle instance's CPU away."""

    instance: InstanceId
    reason: str


@dataclass(frozen=True, slots=True)
class Drain:
    """No new requests; those in flight may end."""

    instance: InstanceId
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End its process."""

    instance: InstanceId
    reason: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Take the container away."""

    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Promote:
    """The target becomes the serving revision; the operation has succeeded."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class Adopt:
    """The candidate serves from now on."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class Refuse:
    """The candidate will not do; what served goes on."""

    revision: Revision
    reason: str


@dataclass(frozen=True, slots=True)
class RollBack:
    """The deployment failed; what it started goes away, what served goes on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fail:
    """The operation has failed for good, but App Runner would not say so yet."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The operation ends and the service gets its status."""

    status: OperationStatus
    service: ServiceStatus
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """Remove all that is left of the service."""


Action = (
    Begin
    | Deploy
    | Build
    | CancelBuild
    | Supersede
    | Start
    | Prepare
    | Freeze
    | Drain
    | Stop
    | Remove
    | Promote
    | Adopt
    | Refuse
    | RollBack
    | Fail
    | Finish
    | Close
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`due` is when the plan may differ although nothing happened, None for never."""

    actions: tuple[Action, ...]
    due: Epoch | None = None


def plan(s: Situation) -> Plan:
    """The next actions; all of them may be carried out at once."""
    wanted = _wanted(s)
    starts = tuple(_starts(s, wanted))
    operation, ends_at = _paced(s, _operation(s))
    actions = (
        *operation,
        *_trial(s),
        *starts,
        *_surplus(s, wanted),
        *_strangers(s, wanted),
        *_ends(s),
        *_standbys(s, wanted, taken={start.standby for start in starts}),
        *_freezes(s, wanted),
    )
    return Plan(actions=actions, due=_due(s, ends_at))


# -- what should run ---------------------------------------------------------------------------


def _wanted(s: Situation) -> Mapping[RevisionId, tuple[Revision, int]]:
    """Revisions that should have instances, and how many."""
    wanted: dict[RevisionId, tuple[Revision, int]] = {}
    if s.serving is not None and _serves(s):
        wanted[s.serving.id] = (s.serving, _size(s))
    if s.target is not None and _deploys(s):
        wanted[s.target.id] = (s.target, _target_size(s))
    if s.candidate is not None and _serves(s):
        wanted[s.candidate.id] = (s.candidate, _candidate_size(s))
    return wanted


def _serves(s: Situation) -> bool:
    if s.operation is None:
        failed = s.developing and s.service.status is ServiceStatus.CREATE_FAILED
        return s.service.status is ServiceStatus.RUNNING or failed
    match s.operation.type:
        case OperationType.PAUSE_SERVICE | OperationType.DELETE_SERVICE:
            return s.operation.status is OperationStatus.PENDING and not s.service.paused
        case OperationType.RESUME_SERVICE:
            return True
        case _:
            return not s.service.paused


def _deploys(s: Situation) -> bool:
    return (
        s.operation is not None
        and s.operation.deploys
        and s.operation.status is OperationStatus.IN_PROGRESS
        and not s.operation.reason
        and not s.operation.cancelled
    )


def _resumes(s: Situation) -> bool:
    return (
        s.operation is not None
        and s.operation.type is OperationType.RESUME_SERVICE
        and s.operation.status is OperationStatus.IN_PROGRESS
    )


def _size(s: Situation) -> int:
    return max(1, s.size) if _resumes(s) else s.size


def _target_size(s: Situation) -> int:
    """As many as serve now: App Runner doubles the instances while it deploys."""
    floor = s.service.configuration.scaling.min_size
    same = s.serving is not None and s.target is not None and s.serving.id == s.target.id
    serving = 0 if same else len([i for i in _of(s, s.serving) if i.health is Health.HEALTHY])
    return max(1, floor, min(serving, s.service.configuration.scaling.max_size))


def _candidate_size(s: Situation) -> int:
    scaling = s.service.configuration.scaling
    serving = len([i for i in _of(s, s.serving) if i.health is Health.HEALTHY])
    return max(1, scaling.min_size, min(serving, scaling.max_size))


def _of(s: Situation, revision: Revision | None) -> tuple[Instance, ...]:
    """The instances of a revision that count: starting or healthy, and not on their way out."""
    if revision is None:
        return ()
    return tuple(i for i in s.instances if i.revision == revision.id and _counts(i))


def _counts(i: Instance) -> bool:
    return i.runs and not i.draining and i.health is not Health.UNHEALTHY


# -- the operation -----------------------------------------------------------------------------


def _paced(s: Situation, actions: tuple[Action, ...]) -> tuple[tuple[Action, ...], Epoch | None]:
    """The actions, or what is done instead while the end has to wait; and until when it has to."""
    for action in actions:
        outcome = _outcome(action)
        if s.operation is None or outcome is None:
            continue
        ends_at = pace.not_before(s.pace, s.operation, outcome)
        if s.now < ends_at:
            return _meanwhile(s.operation, action), ends_at
    return actions, None


def _outcome(action: Action) -> OperationStatus | None:
    """How the operation ends by it, if it does."""
    match action:
        case Promote():
            return OperationStatus.SUCCEEDED
        case Finish(status=status):
            return status
        case _:
            return None


def _meanwhile(operation: Operation, end: Action) -> tuple[Action, ...]:
    """A failure is stored: no instance need be kept for it, and a restart does not try again."""
    match end:
        case Finish(status=OperationStatus.FAILED, reason=reason) if operation.deploys:
            return () if operation.reason else (Fail(reason),)
        case _:
            return ()


def _operation(s: Situation) -> tuple[Action, ...]:
    operation = s.operation
    if operation is None:
        return _queued(s)
    match operation.status:
        case OperationStatus.PENDING:
            return (Begin(),)
        case OperationStatus.IN_PROGRESS:
            return _progress(s, operation)
        case OperationStatus.ROLLBACK_IN_PROGRESS:
            return _rolling_back(s, operation)
        case _:
            return ()


def _queued(s: Situation) -> tuple[Action, ...]:
    """A commit or image is deployed over what runs, and mends what could not be created."""
    commit = s.service.queued
    deployable = {ServiceStatus.RUNNING, ServiceStatus.CREATE_FAILED}
    if commit is None or s.holding or s.service.status not in deployable:
        return ()
    return (Deploy(commit),)


def _progress(s: Situation, operation: Operation) -> tuple[Action, ...]:
    match operation.type:
        case (
            OperationType.CREATE_SERVICE
            | OperationType.UPDATE_SERVICE
            | OperationType.START_DEPLOYMENT
        ):
            return _deployment(s, operation)
        case OperationType.PAUSE_SERVICE:
            return _until_gone(s, Finish(OperationStatus.SUCCEEDED, ServiceStatus.PAUSED))
        case OperationType.RESUME_SERVICE:
            return _resume(s, operation)
        case OperationType.DELETE_SERVICE:
            return _delete(s)


def _deployment(s: Situation, operation: Operation) -> tuple[Action, ...]:
    failure = operation.reason or operation.cancelled or _deployment_failure(s, operation)
    if failure:
        return _failed(s, operation, failure)
    if newer := cancelling.superseded(s.service, operation, s.now):
        return (Supersede(newer),)
    if s.target is None:
        return (Build(),) if s.build is BuildState.NONE else ()
    healthy = [i for i in _of(s, s.target) if i.health is Health.HEALTHY]
    return (Promote(s.target),) if len(healthy) >= _target_size(s) else ()


def _deployment_failure(s: Situation, operation: Operation) -> str:
    if s.build is BuildState.FAILED:
        return s.build_failure or "the build failed"
    if _late(s, operation):
        return "it took too long"
    if s.target is None:
        return ""
    return _start_failure(s, s.target)


def _late(s: Situation, operation: Operation) -> bool:
    deadline = _deadline(s, operation)
    return deadline is not None and s.now >= deadline


def _deadline(s: Situation, operation: Operation) -> Epoch | None:
    """The stored one is for the work alone: waiting for App Runner's pace comes on top."""
    if s.deadline is None:
        return None
    waited = pace.wait(s.pace, operation.type, OperationStatus.SUCCEEDED)
    return Epoch(s.deadline + waited)


def _trial(s: Situation) -> tuple[Action, ...]:
    """Of the working tree: it takes over when it is healthy, as a deployment does."""
    if s.candidate is None or not _serves(s):
        return ()
    failure = _trial_failure(s)
    if failure:
        return (Refuse(s.candidate, failure),)
    healthy = [i for i in _of(s, s.candidate) if i.health is Health.HEALTHY]
    return (Adopt(s.candidate),) if len(healthy) >= _candidate_size(s) else ()


def _trial_failure(s: Situation) -> str:
    return _start_failure(s, s.candidate) if s.candidate else ""


def _start_failure(s: Situation, revision: Revision) -> str:
    """Why it does not come up, with what was suspected before it was tried."""
    mine = (i for i in s.instances if i.revision == revision.id)
    observed = (_why(i) for i in mine if _failed_one(i))
    failure = s.start_failures.get(revision.id) or next(observed, "")
    if not failure or not revision.suspicions:
        return failure
    return f"{failure.rstrip('.')}. Probably because: {' '.join(revision.suspicions)}."


def _failed_one(i: Instance) -> bool:
    """Not one that this side stopped."""
    if i.draining:
        return False
    return i.health is Health.UNHEALTHY or i.observed.state is ContainerState.EXITED


def _why(i: Instance) -> str:
    if i.failure:
        return i.failure
    return f"container {i.observed.exit}" if i.observed.exit else "health check failed"


def _failed(s: Situation, operation: Operation, reason: str) -> tuple[Action, ...]:
    if s.build in {BuildState.RUNNING, BuildState.ENDING}:
        return (CancelBuild(reason),) if s.build is BuildState.RUNNING else ()
    if s.service.revision is not None:
        return (RollBack(reason),)
    finish = Finish(OperationStatus.FAILED, ServiceStatus.CREATE_FAILED, reason)
    return _until_gone(s, finish) if operation.cancelled else (finish,)


def _rolling_back(s: Situation, operation: Operation) -> tuple[Action, ...]:
    serving = s.serving.id if s.serving else None
    target = operation.target
    left = [i for i in s.instances if target and i.revision == target != serving]
    if left or (target and target != serving and s.launching.get(target)):
        return ()
    status = ServiceStatus.PAUSED if s.service.paused else ServiceStatus.RUNNING
    return (Finish(OperationStatus.ROLLBACK_SUCCEEDED, status, operation.reason),)


def _until_gone(s: Situation, finish: Finish) -> tuple[Action, ...]:
    return () if s.instances or any(s.launching.values()) else (finish,)


def _resume(s: Situation, operation: Operation) -> tuple[Action, ...]:
    if any(i.health is Health.HEALTHY for i in _of(s, s.serving)):
        return (Finish(OperationStatus.SUCCEEDED, ServiceStatus.RUNNING),)
    if _late(s, operation):
        reason = "no instance became healthy in time"
        return (Finish(OperationStatus.FAILED, ServiceStatus.PAUSED, reason),)
    return ()


def _delete(s: Situation) -> tuple[Action, ...]:
    if s.closed:
        return (Finish(OperationStatus.SUCCEEDED, ServiceStatus.DELETED),)
    if s.closing or s.instances or any(s.launching.values()) or s.build is BuildState.RUNNING:
        return ()
    return (Close(),)


# -- instances ---------------------------------------------------------------------------------


def _starts(s: Situation, wanted: Mapping[RevisionId, tuple[Revision, int]]) -> Iterable[Start]:
    taken: set[InstanceId] = set()
    for revision, count in wanted.values():
        held = revision is s.serving and s.held_until is not None and s.now < s.held_until
        if held or _target_failed(s, revision):
            continue
        have = len(_of(s, revision)) + s.launching.get(revision.id, 0)
        fitting = [i.id for i in _created(s) if i.observed.fingerprint == revision.fingerprint]
        standbys = sorted(fitting, key=lambda i: i not in s.warm)
        for n in range(have, count):
            standby = next((i for i in standbys if i not in taken), None)
            if standby is not None:
                taken.add(standby)
            yield Start(revision, reason=f"instance {n + 1} of {count}", standby=standby)


def _target_failed(s: Situation, revision: Revision) -> bool:
    """A deployment is judged by its first instances: what failed is not tried again."""
    if revision is s.candidate:
        return bool(_trial_failure(s))
    if revision is not s.target or not _deploys(s) or s.operation is None:
        return False
    return bool(_deployment_failure(s, s.operation))


def _surplus(s: Situation, wanted: Mapping[RevisionId, tuple[Revision, int]]) -> Iterable[Action]:
    for revision, count in wanted.values():
        if revision is not s.serving and (revision is s.target or revision is s.candidate):
            continue
        mine = [i for i in _of(s, revision) if i.id not in s.busy]
        surplus = len(mine) - count
        for i in sorted(mine, key=_need)[:surplus] if surplus > 0 else ():
            yield Drain(i.id, "scaled in" if count else "scaled to zero")


def _need(i: Instance) -> tuple[bool, int, float, InstanceId]:
    """Least for those that do not serve yet, then for those that have rested longest."""
    return i.health is Health.HEALTHY, i.in_flight, i.idle_since or 0.0, i.id


def _strangers(s: Situation, wanted: Mapping[RevisionId, tuple[Revision, int]]) -> Iterable[Action]:
    """Instances that run but should not, and those that are no good."""
    for i in s.instances:
        if not i.runs or i.draining or i.id in s.busy:
            continue
        if i.revision not in wanted:
            yield Drain(i.id, _stranger_reason(s))
        elif i.health is Health.UNHEALTHY:
            yield Drain(i.id, i.failure or "unhealthy")


def _stranger_reason(s: Situation) -> str:
    if s.operation is not None:
        match s.operation.type:
            case OperationType.PAUSE_SERVICE:
                return "the service is paused"
            case OperationType.DELETE_SERVICE:
                return "the service is deleted"
            case _:
                pass
    return "its revision does not serve"


def _ends(s: Situation) -> Iterable[Action]:
    for i in s.instances:
        if i.id in s.busy:
            continue
        if i.runs and i.draining and (not i.in_flight or _overdue(s, i)):
            yield Stop(i.id, "drained" if not i.in_flight else "the drain time is over")
        elif i.observed.state is ContainerState.EXITED:
            yield Remove(i.id)


def _overdue(s: Situation, i: Instance) -> bool:
    return i.drain_deadline is not None and s.now >= i.drain_deadline


def _created(s: Situation) -> tuple[Instance, ...]:
    """Prepared instances that nobody is busy with."""
    created = ContainerState.CREATED
    return tuple(i for i in s.instances if i.observed.state is created and i.id not in s.busy)


def _standbys(
    s: Situation,
    wanted: Mapping[RevisionId, tuple[Revision, int]],
    *,
    taken: Collection[InstanceId | None],
) -> Iterable[Action]:
    """One prepared instance that fits what serves, so that the way back is short; no others.

    In working-tree mode a warm one takes the place of a cold one, once it is there.
    """
    fits = {revision.fingerprint for revision, _ in wanted.values()}
    free = [i for i in _created(s) if i.id not in taken]
    fitting = [i for i in free if s.standby and i.observed.fingerprint in fits]
    spare = [i for i in fitting if not s.developing or i.id in s.warm]
    for i in free:
        if i not in (spare or fitting)[:1]:
            yield Remove(i.id)
    ready = s.standby and s.operation is None and s.serving is not None and bool(wanted)
    ready = ready and s.candidate is None
    settled = not s.preparing and not spare and not any(s.launching.values())
    if ready and settled and s.serving is not None and _enough(s):
        yield Prepare(s.serving, warm=s.developing)


def _enough(s: Situation) -> bool:
    """A standby is made only when nobody waits for the machine."""
    return len([i for i in _of(s, s.serving) if i.health is Health.HEALTHY]) >= s.size


def _freezes(s: Situation, wanted: Mapping[RevisionId, tuple[Revision, int]]) -> Iterable[Action]:
    if s.freeze_after is None:
        return
    for i in s.instances:
        if _may_freeze(s, i) and i.revision in wanted and s.now >= _freeze_at(s, i):
            yield Freeze(i.id, f"no request for {s.freeze_after:g} s")


def _may_freeze(s: Situation, i: Instance) -> bool:
    return (
        i.idle_since is not None
        and s.serving is not None
        and i.revision == s.serving.id
        and i.observed.state is ContainerState.RUNNING
        and i.health is Health.HEALTHY
        and not i.draining
        and i.id not in s.busy
    )


def _freeze_at(s: Situation, i: Instance) -> float:
    return (i.idle_since or 0.0) + (s.freeze_after or 0.0)


def _due(s: Situation, ends_at: Epoch | None) -> Epoch | None:
    deadline = _deadline(s, s.operation) if s.operation is not None else None
    moments: list[float] = [m for m in (ends_at, deadline, s.held_until) if m is not None]
    moments += [i.drain_deadline for i in s.instances if i.drain_deadline is not None]
    if s.freeze_after is not None:
        moments += [_freeze_at(s, i) for i in s.instances if _may_freeze(s, i)]
    later = [m for m in moments if m > s.now]
    return Epoch(min(later)) if later else None
