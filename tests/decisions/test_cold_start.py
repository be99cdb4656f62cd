"""Where a request's time went: the phases add up, whatever began before it came."""

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.cold_start import (
    Birth,
    in_words,
    of_instance,
    of_request,
    server_timing,
)

BIRTH = Birth(began=10.01, created=10.01, started=10.14, connected=10.35, healthy=10.36)


def test_a_cold_start_is_told_in_its_phases():
    phases = of_request(asked=10.0, granted=10.362, birth=BIRTH, answered=10.375)
    assert in_words(phases) == (
        "queue 10 ms, create 0 ms, start 130 ms, port open 210 ms, healthy 10 ms, choose 2 ms, "
        "first byte 13 ms"
    )
    assert server_timing(phases).startswith("queue;dur=10.0, create;dur=0.0, start;dur=130.0, ")


def test_a_request_that_comes_late_waited_only_for_the_rest():
    phases = of_request(asked=10.3, granted=10.362, birth=BIRTH, answered=10.375)
    assert in_words(phases).startswith("queue 0 ms, create 0 ms, start 0 ms, port open 50 ms")


def test_a_thaw_and_a_wait_for_room_have_their_own_phases():
    thawed = of_request(asked=1.0, granted=1.0, thawed=1.002, answered=1.005)
    assert in_words(thawed) == "choose 0 ms, thaw 2 ms, first byte 3 ms"
    queued = of_request(asked=1.0, granted=1.5, answered=1.6)
    assert in_words(queued) == "queue 500 ms, first byte 100 ms"


MOMENTS = st.floats(0.0, 100.0)


@given(st.lists(MOMENTS, min_size=5, max_size=5), MOMENTS, MOMENTS, MOMENTS)
def test_the_phases_add_up_to_the_whole_wait(moments, asked, granted, answered):
    began, created, started, connected, healthy = sorted(moments)
    birth = Birth(
        began=began, created=created, started=started, connected=connected, healthy=healthy
    )
    last = max(asked, healthy, granted, answered)
    phases = of_request(asked=asked, granted=granted, birth=birth, answered=answered)
    assert all(seconds >= 0 for _, seconds in phases)
    assert sum(seconds for _, seconds in phases) == pytest.approx(last - asked)
    assert sum(s for _, s in of_instance(birth)) == pytest.approx(healthy - began)
