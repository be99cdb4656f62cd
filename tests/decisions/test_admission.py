"""Admission: who takes a request, who waits, who is refused."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.admission import Door, give_up, pick, refuse


@dataclass(frozen=True)
class Candidate:
    name: int
    in_flight: int
    frozen: bool = False


@st.composite
def fleets(draw: st.DrawFn) -> list[Candidate]:
    loads = draw(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=8))
    return [Candidate(name, load, frozen) for name, (load, frozen) in enumerate(loads)]


limits = st.integers(1, 6)
rolls = st.integers(0, 1000)


def chosen(fleet: Sequence[Candidate], limit: int, roll: int) -> Candidate | None:
    return pick(fleet, max_concurrency=limit, draw=lambda n: roll % n)


@given(fleets(), limits, rolls)
def test_picks_somebody_exactly_when_somebody_has_room(fleet, limit, roll):
    room = any(candidate.in_flight < limit for candidate in fleet)
    assert (chosen(fleet, limit, roll) is not None) == room


@given(fleets(), limits, rolls)
def test_never_picks_an_instance_at_its_limit_or_one_busier_than_another(fleet, limit, roll):
    picked = chosen(fleet, limit, roll)
    if picked is not None:
        assert picked.in_flight < limit
        assert picked.in_flight == min(candidate.in_flight for candidate in fleet)


@given(fleets(), limits, rolls)
def test_does_not_thaw_an_instance_while_an_equally_idle_one_is_awake(fleet, limit, roll):
    picked = chosen(fleet, limit, roll)
    if picked is not None and picked.frozen:
        peers = [c for c in fleet if c.in_flight == picked.in_flight]
        assert all(peer.frozen for peer in peers)


@given(fleets(), limits)
def test_every_tied_instance_can_be_drawn(fleet, limit):
    picked = {chosen(fleet, limit, roll) for roll in range(len(fleet) or 1)} - {None}
    if picked:
        least = min((c.in_flight, c.frozen) for c in fleet)
        assert picked == {c for c in fleet if (c.in_flight, c.frozen) == least}


@given(st.integers(0, 50), st.integers(0, 50))
def test_an_open_door_lets_requests_wait_until_the_queue_is_full(waiting, limit):
    refusal = refuse(door=Door.OPEN, waiting=waiting, queue_limit=limit)
    assert (refusal is None) == (waiting < limit)
    if refusal is not None:
        assert refusal.status == 429


@pytest.mark.parametrize("door", [Door.PAUSED, Door.CLOSED])
@given(waiting=st.integers(0, 5))
def test_a_shut_door_refuses_even_with_an_empty_queue(door, waiting):
    refusal = refuse(door=door, waiting=waiting, queue_limit=100)
    assert refusal is not None
    assert refusal.status == 503
    assert refusal.reason


def test_waiting_in_vain_is_too_many_requests_only_where_instances_exist():
    assert give_up(instances=2, waited=60).status == 429
    assert give_up(instances=0, waited=60).status == 503
    assert "60 seconds" in give_up(instances=0, waited=60).reason
