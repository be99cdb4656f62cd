"""The loop's decision: what to do next for one service."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.reconcile import (
    Begin,
    Build,
    BuildState,
    CancelBuild,
    Close,
    Deploy,
    Drain,
    Fail,
    Finish,
    Freeze,
    Prepare,
    Promote,
    Remove,
    RollBack,
    Start,
    Stop,
    Supersede,
    plan,
)
from emulator.model.instance import ContainerState, Health, Instance, InstanceState
from emulator.model.operation import TRANSITIONS, OperationStatus, OperationType
from emulator.model.service import ServiceStatus
from emulator.model.settings import Pace, PaceMode
from tests.decisions.situations import NOW, instance, operation, revision, service, situation

R1, R2 = revision(1), revision(2, image="image2")
OLD = instance("old", R1)
STANDBY = instance("standby", None, state=ContainerState.CREATED, fits=R1, idle_since=None)
IN_PROGRESS = ServiceStatus.OPERATION_IN_PROGRESS
REALISTIC = Pace(mode=PaceMode.REALISTIC)


def actions(*args, **more):
    return plan(situation(*args, **more)).actions


class TestSteadyState:
    def test_does_nothing_when_all_is_as_wanted(self):
        assert actions(service(revision=R1), OLD, STANDBY, serving=R1) == ()

    def test_starts_what_is_missing(self):
        (start, *_) = actions(service(revision=R1), serving=R1, size=2)
        assert start == Start(R1, reason="instance 1 of 2")

    def test_counts_starts_under_way(self):
        wanted = actions(service(revision=R1), serving=R1, size=2, launching={R1.id: 1})
        assert [a for a in wanted if isinstance(a, Start)] == [Start(R1, reason="instance 2 of 2")]

    def test_prepares_one_standby_when_nobody_waits_for_the_machine(self):
        assert actions(service(revision=R1), OLD, serving=R1) == (Prepare(R1),)

    def test_removes_a_standby_that_fits_nothing(self):
        misfit = instance("misfit", None, state=ContainerState.CREATED, fits=R2, idle_since=None)
        assert Remove(misfit.id) in actions(service(revision=R1), OLD, misfit, serving=R1)

    def test_in_working_tree_mode_a_warm_standby_takes_a_cold_one_s_place_when_it_is_there(self):
        warm = instance("warm", None, state=ContainerState.CREATED, fits=R1, idle_since=None)
        s = situation(service(revision=R1), OLD, STANDBY, serving=R1, developing=True)
        assert plan(s).actions == (Prepare(R1, warm=True),)
        s = replace(s, instances=(OLD, STANDBY, warm), warm=frozenset({warm.id}))
        assert plan(s).actions == (Remove(STANDBY.id),)
        assert (
            Start(R1, reason="instance 2 of 2", standby=warm.id) in plan(replace(s, size=2)).actions
        )

    def test_removes_a_second_standby(self):
        second = instance("second", None, state=ContainerState.CREATED, fits=R1, idle_since=None)
        wanted = actions(service(revision=R1), OLD, STANDBY, second, serving=R1)
        assert wanted == (Remove(second.id),)

    def test_replaces_and_removes_an_instance_that_died(self):
        dead = instance("dead", R1, state=ContainerState.EXITED)
        wanted = actions(service(revision=R1), dead, STANDBY, serving=R1)
        assert wanted == (Start(R1, reason="instance 1 of 1", standby=STANDBY.id), Remove(dead.id))

    def test_holds_a_crash_loop_back(self):
        s = situation(service(revision=R1), STANDBY, serving=R1, held_until=NOW + 4)
        assert plan(s).actions == ()
        assert plan(s).due == NOW + 4

    def test_drains_an_unhealthy_instance_while_another_starts(self):
        sick = instance("sick", R1, health=Health.UNHEALTHY)
        wanted = actions(service(revision=R1), sick, STANDBY, serving=R1)
        assert wanted == (
            Start(R1, reason="instance 1 of 1", standby=STANDBY.id),
            Drain(sick.id, "unhealthy"),
        )

    def test_scales_in_the_instance_that_is_needed_least(self):
        busy = instance("busy", R1, in_flight=3)
        wanted = actions(service(revision=R1), busy, OLD, STANDBY, serving=R1)
        assert wanted == (Drain(OLD.id, "scaled in"),)

    def test_of_instances_at_rest_the_one_that_has_rested_longest_goes(self):
        rested = [instance(f"i{s}", R1, idle_since=NOW - s) for s in (5, 9, 1)]
        wanted = actions(service(revision=R1), *rested, STANDBY, serving=R1, size=2)
        assert wanted == (Drain(rested[1].id, "scaled in"),)

    def test_scales_to_zero_and_keeps_the_standby(self):
        wanted = actions(service(revision=R1), OLD, STANDBY, serving=R1, size=0)
        assert wanted == (Drain(OLD.id, "scaled to zero"),)

    def test_freezes_an_idle_instance_once_it_has_rested_long_enough(self):
        resting = instance("resting", R1, idle_since=NOW - 10)
        s = situation(service(revision=R1), resting, STANDBY, serving=R1, freeze_after=10.0)
        assert plan(s).actions == (Freeze(resting.id, "no request for 10 s"),)

    def test_says_when_an_instance_will_have_rested_long_enough(self):
        resting = instance("resting", R1, idle_since=NOW - 4)
        s = situation(service(revision=R1), resting, STANDBY, serving=R1, freeze_after=10.0)
        assert plan(s).actions == ()
        assert plan(s).due == NOW + 6

    def test_deploys_a_commit_that_was_queued(self):
        wanted = actions(service(revision=R1, queued="abc"), OLD, STANDBY, serving=R1)
        assert Deploy("abc") in wanted

    def test_leaves_alone_what_has_a_job_under_way(self):
        sick = instance("sick", R1, health=Health.UNHEALTHY)
        wanted = actions(
            service(revision=R1), sick, OLD, STANDBY, serving=R1, busy=frozenset({sick.id})
        )
        assert wanted == ()


class TestDraining:
    def test_waits_for_requests_in_flight(self):
        leaving = instance("leaving", R1, in_flight=1, draining=True, drain_deadline=NOW + 5)
        s = situation(service(revision=R2), leaving, instance("new", R2), serving=R2)
        assert not [a for a in plan(s).actions if isinstance(a, Stop)]
        assert plan(s).due == NOW + 5

    def test_stops_what_is_drained(self):
        leaving = instance("leaving", R1, draining=True, drain_deadline=NOW + 5)
        wanted = actions(service(revision=R2), leaving, instance("new", R2), serving=R2)
        assert Stop(leaving.id, "drained") in wanted

    def test_does_not_wait_for_ever(self):
        leaving = instance("leaving", R1, in_flight=1, draining=True, drain_deadline=NOW)
        wanted = actions(service(revision=R2), leaving, instance("new", R2), serving=R2)
        assert Stop(leaving.id, "the drain time is over") in wanted


class TestDeployment:
    def test_takes_a_pending_operation_up(self):
        pending = operation(OperationType.CREATE_SERVICE, OperationStatus.PENDING)
        assert actions(service(IN_PROGRESS), operation=pending) == (Begin(),)

    def test_builds_when_there_is_no_target_and_no_build(self):
        wanted = actions(service(IN_PROGRESS), operation=operation(OperationType.CREATE_SERVICE))
        assert wanted == (Build(),)

    def test_waits_for_a_build_under_way(self):
        wanted = actions(
            service(IN_PROGRESS),
            operation=operation(OperationType.CREATE_SERVICE),
            build=BuildState.RUNNING,
        )
        assert wanted == ()

    def test_starts_the_target_beside_what_serves(self):
        wanted = actions(
            service(IN_PROGRESS, revision=R1),
            OLD,
            STANDBY,
            operation=operation(target=R2),
            serving=R1,
            target=R2,
        )
        assert Start(R2, reason="instance 1 of 1") in wanted
        assert not [a for a in wanted if isinstance(a, Drain)]

    def test_starts_as_many_as_serve(self):
        wanted = actions(
            service(IN_PROGRESS, revision=R1),
            OLD,
            instance("old2", R1),
            operation=operation(target=R2),
            serving=R1,
            target=R2,
            size=2,
        )
        assert len([a for a in wanted if isinstance(a, Start)]) == 2

    def test_does_not_promote_before_all_are_healthy(self):
        wanted = actions(
            service(IN_PROGRESS, revision=R1),
            OLD,
            instance("new", R2, health=Health.UNKNOWN),
            operation=operation(target=R2),
            serving=R1,
            target=R2,
        )
        assert not [a for a in wanted if isinstance(a, Promote)]

    def test_promotes_a_healthy_target(self):
        wanted = actions(
            service(IN_PROGRESS, revision=R1),
            OLD,
            instance("new", R2),
            operation=operation(target=R2),
            serving=R1,
            target=R2,
        )
        assert Promote(R2) in wanted

    def test_rolls_back_when_an_instance_of_the_target_dies(self):
        dead = instance("dead", R2, state=ContainerState.EXITED, failure="it stopped")
        wanted = actions(
            service(IN_PROGRESS, revision=R1),
            OLD,
            dead,
            operation=operation(target=R2),
            serving=R1,
            target=R2,
        )
        assert RollBack("it stopped") in wanted
        assert not [a for a in wanted if isinstance(a, Start)]

    def test_a_failed_create_has_nothing_to_roll_back_to(self):
        dead = instance("dead", R1, state=ContainerState.EXITED)
        (finish, *_) = actions(
            service(IN_PROGRESS),
            dead,
            operation=operation(OperationType.CREATE_SERVICE, target=R1),
            target=R1,
        )
        assert finish == Finish(
            OperationStatus.FAILED, ServiceStatus.CREATE_FAILED, "container exit code 1"
        )

    def test_an_engine_that_cannot_start_the_target_fails_the_deployment(self):
        wanted = actions(
            service(IN_PROGRESS, revision=R1),
            OLD,
            operation=operation(target=R2),
            serving=R1,
            target=R2,
            start_failures={R2.id: "no space left"},
        )
        assert RollBack("no space left") in wanted

    def test_gives_up_at_the_deadline(self):
        wanted = actions(
            service(IN_PROGRESS, revision=R1),
            OLD,
            operation=operation(target=R2, deadline=NOW),
            serving=R1,
            target=R2,
        )
        assert RollBack("it took too long") in wanted

    def test_rollback_waits_until_the_target_is_gone(self):
        rolling = operation(status=OperationStatus.ROLLBACK_IN_PROGRESS, target=R2)
        wanted = actions(
            service(IN_PROGRESS, revision=R1),
            OLD,
            instance("new", R2),
            operation=rolling,
            serving=R1,
            target=R2,
        )
        assert Drain("new", "its revision does not serve") in wanted
        assert not [a for a in wanted if isinstance(a, Finish)]

    def test_rollback_ends_when_the_target_is_gone(self):
        rolling = operation(status=OperationStatus.ROLLBACK_IN_PROGRESS, target=R2)
        wanted = actions(
            service(IN_PROGRESS, revision=R1), OLD, operation=rolling, serving=R1, target=R2
        )
        assert Finish(OperationStatus.ROLLBACK_SUCCEEDED, ServiceStatus.RUNNING) in wanted

    def test_what_does_not_serve_any_more_is_drained_after_the_shift(self):
        wanted = actions(service(revision=R2), OLD, instance("new", R2), serving=R2)
        assert Drain(OLD.id, "its revision does not serve") in wanted


class TestPauseResumeDelete:
    def test_pausing_takes_everything_down_and_then_ends(self):
        pausing = operation(OperationType.PAUSE_SERVICE)
        paused = service(IN_PROGRESS, revision=R1)
        wanted = actions(paused, OLD, STANDBY, operation=pausing, serving=R1)
        assert wanted == (Drain(OLD.id, "the service is paused"), Remove(STANDBY.id))
        assert actions(paused, operation=pausing, serving=R1) == (
            Finish(OperationStatus.SUCCEEDED, ServiceStatus.PAUSED),
        )

    def test_a_paused_service_keeps_nothing(self):
        paused = service(ServiceStatus.PAUSED, revision=R1, paused=True)
        wanted = actions(paused, OLD, STANDBY, serving=R1)
        assert wanted == (Drain(OLD.id, "its revision does not serve"), Remove(STANDBY.id))

    def test_resuming_starts_an_instance_and_ends_when_it_is_healthy(self):
        resuming = operation(OperationType.RESUME_SERVICE)
        paused = service(IN_PROGRESS, revision=R1, paused=True)
        assert Start(R1, reason="instance 1 of 1") in actions(
            paused, operation=resuming, serving=R1, size=0
        )
        assert Finish(OperationStatus.SUCCEEDED, ServiceStatus.RUNNING) in actions(
            paused, OLD, operation=resuming, serving=R1, size=0
        )

    def test_deleting_closes_only_when_nothing_runs(self):
        deleting = operation(OperationType.DELETE_SERVICE)
        leaving = service(IN_PROGRESS, revision=R1)
        assert Close() not in actions(leaving, OLD, operation=deleting, serving=R1)
        assert actions(leaving, operation=deleting, serving=R1) == (Close(),)
        assert actions(leaving, operation=deleting, serving=R1, closed=True) == (
            Finish(OperationStatus.SUCCEEDED, ServiceStatus.DELETED),
        )


class TestResuming:
    def test_gives_up_at_the_deadline(self):
        resuming = operation(OperationType.RESUME_SERVICE, deadline=NOW)
        paused = service(IN_PROGRESS, revision=R1, paused=True)
        ends = [a for a in actions(paused, operation=resuming, serving=R1) if isinstance(a, Finish)]
        assert ends == [
            Finish(
                OperationStatus.FAILED,
                ServiceStatus.PAUSED,
                "no instance became healthy in time",
            )
        ]

    def test_waits_before_it(self):
        resuming = operation(OperationType.RESUME_SERVICE, deadline=NOW + 1)
        paused = service(IN_PROGRESS, revision=R1, paused=True)
        wanted = actions(paused, operation=resuming, serving=R1)
        assert not [a for a in wanted if isinstance(a, Finish)]


class TestPace:
    def test_a_deployment_that_could_be_promoted_waits_for_app_runner(self):
        new = instance("new", R2)
        s = situation(
            service(IN_PROGRESS, revision=R1),
            OLD,
            new,
            operation=operation(target=R2),
            serving=R1,
            target=R2,
            pace=REALISTIC,
        )
        assert plan(s).actions == ()
        assert plan(s).due == NOW + 180
        assert plan(replace(s, now=NOW + 179.9)).actions == ()
        assert plan(replace(s, now=NOW + 180)).actions == (Promote(R2),)

    def test_a_target_that_dies_during_the_wait_is_rolled_back_at_once(self):
        dead = instance("dead", R2, state=ContainerState.EXITED, failure="it stopped")
        wanted = actions(
            service(IN_PROGRESS, revision=R1),
            OLD,
            dead,
            operation=operation(target=R2),
            serving=R1,
            target=R2,
            pace=REALISTIC,
        )
        assert RollBack("it stopped") in wanted

    def test_a_rollback_ends_when_app_runners_would(self):
        rolling = operation(status=OperationStatus.ROLLBACK_IN_PROGRESS, target=R2)
        back = service(IN_PROGRESS, revision=R1)
        s = situation(back, OLD, operation=rolling, serving=R1, target=R2, pace=REALISTIC)
        assert plan(s).actions == ()
        assert plan(s).due == NOW + 900
        (finish,) = plan(replace(s, now=NOW + 900)).actions
        assert finish == Finish(OperationStatus.ROLLBACK_SUCCEEDED, ServiceStatus.RUNNING)

    def test_a_failed_create_is_noted_at_once_and_ends_when_app_runners_would(self):
        dead = instance("dead", R1, state=ContainerState.EXITED)
        creating = operation(OperationType.CREATE_SERVICE, target=R1)
        s = situation(service(IN_PROGRESS), dead, operation=creating, target=R1, pace=REALISTIC)
        assert plan(s).actions == (Fail("container exit code 1"), Remove(dead.id))
        noted = replace(s, operation=replace(creating, reason="it stopped"), instances=())
        assert plan(noted).actions == ()
        assert plan(noted).due == NOW + 360
        assert plan(replace(noted, now=NOW + 360)).actions == (
            Finish(OperationStatus.FAILED, ServiceStatus.CREATE_FAILED, "it stopped"),
        )

    def test_what_is_noted_as_failed_is_neither_built_nor_kept_running(self):
        noted = operation(OperationType.CREATE_SERVICE, reason="the build failed")
        assert actions(service(IN_PROGRESS), operation=noted, pace=REALISTIC) == ()
        started = operation(OperationType.CREATE_SERVICE, target=R1, reason="it stopped")
        left = instance("left", R1)
        wanted = actions(service(IN_PROGRESS), left, operation=started, target=R1, pace=REALISTIC)
        assert wanted == (Drain(left.id, "its revision does not serve"),)

    def test_waiting_for_app_runner_does_not_take_too_long(self):
        creating = operation(OperationType.CREATE_SERVICE, target=R1, deadline=NOW + 10)
        s = situation(
            service(IN_PROGRESS),
            instance("new", R1),
            operation=creating,
            target=R1,
            pace=REALISTIC,
        )
        assert plan(replace(s, now=NOW + 100)).actions == ()
        assert plan(replace(s, now=NOW + 203)).actions == (Promote(R1),)

    def test_but_its_work_still_may(self):
        creating = operation(OperationType.CREATE_SERVICE, deadline=NOW + 1000)
        s = situation(
            service(IN_PROGRESS), operation=creating, build=BuildState.RUNNING, pace=REALISTIC
        )
        assert plan(s).due == NOW + 1203
        late = replace(s, now=NOW + 1203)
        assert plan(late).actions == (CancelBuild("it took too long"),)
        assert plan(replace(late, build=BuildState.NONE)).actions == (
            Finish(OperationStatus.FAILED, ServiceStatus.CREATE_FAILED, "it took too long"),
        )


class TestCancelling:
    def test_a_pending_operation_is_begun_first(self):
        pending = operation(status=OperationStatus.PENDING, cancelled="enough")
        assert actions(service(IN_PROGRESS, revision=R1), OLD, operation=pending, serving=R1) == (
            Begin(),
        )

    def test_a_build_under_way_is_ended_once_and_waited_for(self):
        s = situation(
            service(IN_PROGRESS, revision=R1),
            OLD,
            operation=operation(cancelled="enough"),
            serving=R1,
            build=BuildState.RUNNING,
        )
        assert plan(s).actions == (CancelBuild("enough"),)
        assert plan(replace(s, build=BuildState.ENDING)).actions == ()
        assert plan(replace(s, build=BuildState.NONE)).actions == (RollBack("enough"),)

    def test_what_could_be_promoted_is_not(self):
        wanted = actions(
            service(IN_PROGRESS, revision=R1),
            OLD,
            instance("new", R2),
            operation=operation(target=R2, cancelled="enough"),
            serving=R1,
            target=R2,
        )
        assert wanted == (RollBack("enough"), Drain("new", "its revision does not serve"))

    def test_a_create_ends_when_its_instances_are_gone(self):
        s = situation(
            service(IN_PROGRESS),
            instance("new", R1),
            operation=operation(OperationType.CREATE_SERVICE, target=R1, cancelled="enough"),
            target=R1,
        )
        assert plan(s).actions == (Drain("new", "its revision does not serve"),)
        assert plan(replace(s, instances=(), launching={R1.id: 1})).actions == ()
        failed = Finish(OperationStatus.FAILED, ServiceStatus.CREATE_FAILED, "enough")
        assert plan(replace(s, instances=())).actions == (failed,)

    def test_the_first_reason_counts(self):
        failing = operation(reason="pip failed", cancelled="enough")
        wanted = actions(service(IN_PROGRESS, revision=R1), OLD, operation=failing, serving=R1)
        assert wanted == (RollBack("pip failed"),)

    def test_a_newer_commit_cancels_an_automatic_deployment_that_builds(self):
        automatic = replace(operation(), commit="a" * 40, automatic=True)
        wanted = actions(
            service(IN_PROGRESS, revision=R1, queued="b" * 40),
            OLD,
            operation=automatic,
            serving=R1,
            build=BuildState.RUNNING,
        )
        assert wanted == (Supersede("superseded by commit bbbbbbb"),)


def test_what_a_deleted_service_leaves_is_drained_with_that_reason():
    deleting = operation(OperationType.DELETE_SERVICE)
    wanted = actions(service(IN_PROGRESS, revision=R1), OLD, operation=deleting, serving=R1)
    assert Drain(OLD.id, "the service is deleted") in wanted


def test_every_operation_status_has_its_row():
    assert set(TRANSITIONS) == set(OperationStatus)


@pytest.mark.parametrize("status", [s for s in OperationStatus if not TRANSITIONS[s]])
def test_what_has_ended_never_moves(status):
    ended = operation(status=status)
    for other in OperationStatus:
        with pytest.raises(ValueError, match="cannot go"):
            ended.moved(other, now=NOW)


@pytest.mark.parametrize("state", ContainerState)
@pytest.mark.parametrize("health", Health)
def test_every_instance_shows_a_state(state, health):
    assert instance("x", R1, state=state, health=health).state in InstanceState


# -- properties ----------------------------------------------------------------------------------

REVISIONS = st.sampled_from([R1, R2, None])


@st.composite
def any_instance(draw, number: int) -> Instance:
    state = draw(st.sampled_from(ContainerState))
    of = None if state is ContainerState.CREATED else draw(st.sampled_from([R1, R2]))
    draining = draw(st.booleans()) and state is not ContainerState.CREATED
    return instance(
        f"i{number}",
        of,
        fits=draw(st.sampled_from([R1, R2])),
        state=state,
        health=draw(st.sampled_from(Health)),
        in_flight=draw(st.integers(0, 3)),
        draining=draining,
        drain_deadline=NOW + draw(st.floats(-5, 5)) if draining else None,
    )


@st.composite
def any_situation(draw):
    instances = [draw(any_instance(n)) for n in range(draw(st.integers(0, 5)))]
    serving = draw(st.sampled_from([R1, None]))
    type_ = draw(st.sampled_from(OperationType))
    status = draw(st.sampled_from([s for s in OperationStatus if TRANSITIONS[s]]))
    target = draw(st.sampled_from([R2, None]))
    under_way = draw(st.booleans())
    busy = draw(st.sets(st.sampled_from([i.id for i in instances]))) if instances else set()
    resting = [ServiceStatus.RUNNING, ServiceStatus.PAUSED, ServiceStatus.CREATE_FAILED]
    value = service(
        IN_PROGRESS if under_way else draw(st.sampled_from(resting)),
        revision=serving,
        paused=draw(st.booleans()),
        queued=draw(st.sampled_from([None, "abc"])),
    )
    return situation(
        value,
        *instances,
        operation=_cancelled_or_not(draw, operation(type_, status, target=target))
        if under_way
        else None,
        serving=serving,
        target=target if under_way else None,
        size=draw(st.integers(0, 3)),
        busy=frozenset(busy),
        build=draw(st.sampled_from(BuildState)),
        closed=draw(st.booleans()),
        freeze_after=draw(st.sampled_from([None, 0.0, 10.0])),
    )


def _cancelled_or_not(draw, value):
    cancelled = draw(st.sampled_from(["", "enough"])) if value.deploys else ""
    return replace(value, cancelled=cancelled, automatic=draw(st.booleans()), commit="a")


@given(any_situation())
def test_a_cancelled_deployment_starts_builds_and_promotes_nothing(s):
    if s.operation is None or not s.operation.cancelled:
        return
    done = plan(s).actions
    assert not [a for a in done if isinstance(a, Build | Promote | Supersede | Fail)]
    assert all(a.revision is s.serving for a in done if isinstance(a, Start))


@given(any_situation())
def test_a_deployment_never_ends_before_its_build_has(s):
    if s.operation is None or s.operation.status is not OperationStatus.IN_PROGRESS:
        return
    if s.operation.deploys and s.build in {BuildState.RUNNING, BuildState.ENDING}:
        assert not [a for a in plan(s).actions if isinstance(a, Finish | RollBack)]


@given(any_situation())
def test_nobody_waits_for_the_end_of_what_is_cancelled(s):
    if s.operation is not None and s.operation.cancelled:
        paced = replace(s, pace=REALISTIC)
        assert plan(paced).actions == plan(s).actions


@given(any_situation())
def test_no_instance_gets_two_jobs_and_none_that_has_one(s):
    actions = plan(s).actions
    touched = [a.instance for a in actions if isinstance(a, Freeze | Stop | Remove)]
    touched += [a.standby for a in actions if isinstance(a, Start) and a.standby]
    assert len(touched) == len(set(touched))
    assert not s.busy & set(touched)


@given(any_situation())
def test_requests_in_flight_are_never_cut_before_the_drain_is_over(s):
    by_id = {i.id: i for i in s.instances}
    for action in plan(s).actions:
        if isinstance(action, Stop):
            i = by_id[action.instance]
            assert i.draining
            assert not i.in_flight or i.drain_deadline <= s.now
        if isinstance(action, Remove):
            assert not by_id[action.instance].runs


@given(any_situation())
def test_what_serves_is_not_drained_by_a_deployment(s):
    """Unless there are more of it than wanted, or an instance is unhealthy."""
    deploys = s.operation is not None and s.operation.deploys and not s.service.paused
    if not deploys or s.serving is None:
        return
    healthy = [i for i in s.instances if i.revision == s.serving.id and i.runs and not i.draining]
    healthy = [i for i in healthy if i.health is Health.HEALTHY]
    drained = {a.instance for a in plan(s).actions if isinstance(a, Drain)}
    left = [i for i in healthy if i.id not in drained]
    assert len(left) >= min(len(healthy), s.size)


@given(any_situation())
def test_an_operation_ends_once(s):
    ends = [a for a in plan(s).actions if isinstance(a, Finish | Promote | RollBack)]
    assert len(ends) <= 1
    assert s.operation is not None or not ends


@given(any_situation(), st.sampled_from([Pace(), REALISTIC]))
def test_a_due_time_lies_ahead(s, pace):
    due = plan(replace(s, pace=pace)).due
    assert due is None or due > s.now


def split(actions):
    """How the operation ends, and what else is to be done."""
    ends = [a for a in actions if isinstance(a, Promote | Finish | Fail)]
    return ends, [a for a in actions if a not in ends]


@given(any_situation())
def test_the_realistic_pace_delays_the_end_of_an_operation_and_nothing_else(s):
    if s.operation is not None and s.operation.cancelled:
        return  # that is not App Runner's
    paced = replace(s, pace=REALISTIC)
    ends, rest = split(plan(s).actions)
    held, rest_of_paced = split(plan(paced).actions)
    assert rest_of_paced == rest
    assert all(isinstance(a, Fail) for a in held)
    if ends:
        assert s.now < plan(paced).due <= s.now + 900
    later = s.now + 900
    assert plan(replace(paced, now=later)) == plan(replace(s, now=later))


def ending(type_, *instances, seconds, **more):
    """A situation in which nothing but the pace keeps an operation from its end."""
    old = None if type_ is OperationType.CREATE_SERVICE else R1
    target = R2 if more.pop("deployed", False) else None
    value = service(IN_PROGRESS, revision=old, paused=type_ is OperationType.RESUME_SERVICE)
    status = more.pop("status", OperationStatus.IN_PROGRESS)
    asked = operation(type_, status, target=target)
    return (
        situation(value, *instances, operation=asked, serving=old, target=target, **more),
        seconds,
    )


NEW = instance("new", R2)
DEAD = instance("dead", R2, state=ContainerState.EXITED)
ROLLING_BACK = OperationStatus.ROLLBACK_IN_PROGRESS
ENDINGS = [
    ending(OperationType.CREATE_SERVICE, NEW, deployed=True, seconds=203),
    ending(OperationType.CREATE_SERVICE, DEAD, deployed=True, seconds=360),
    ending(OperationType.CREATE_SERVICE, build=BuildState.FAILED, seconds=360),
    ending(OperationType.UPDATE_SERVICE, OLD, NEW, deployed=True, seconds=180),
    ending(OperationType.UPDATE_SERVICE, OLD, status=ROLLING_BACK, seconds=900),
    ending(OperationType.START_DEPLOYMENT, OLD, NEW, deployed=True, seconds=180),
    ending(OperationType.START_DEPLOYMENT, OLD, status=ROLLING_BACK, seconds=900),
    ending(OperationType.PAUSE_SERVICE, seconds=120),
    ending(OperationType.RESUME_SERVICE, OLD, seconds=120),
    ending(OperationType.DELETE_SERVICE, closed=True, seconds=60),
]


@given(st.sampled_from(ENDINGS))
def test_an_operation_ends_when_its_pace_allows_it_and_never_earlier(case):
    """Followed from one due time to the next, while nothing else happens."""
    s, seconds = case
    paced = replace(s, pace=REALISTIC)
    while not (ends := split(plan(paced).actions)[0]) or isinstance(ends[0], Fail):
        if ends:
            paced = replace(paced, operation=replace(s.operation, reason=ends[0].reason))
        paced = replace(paced, now=plan(paced).due)
    assert ends == split(plan(s).actions)[0]
    assert paced.now - NOW == pytest.approx(seconds)
