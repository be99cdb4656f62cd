"""git's packets, however they are cut on their way."""

from hypothesis import given, strategies as st

from emulator.surfaces.api.sideband import FLUSH, MOST, PROGRESS, REPORT, Answer, packet, said

MOVED = (
    packet(b"unpack ok\n")
    + packet(b"ok refs/heads/main\n")
    + packet(b"ng refs/heads/old non-fast-forward\n")
    + packet(b"ok refs/tags/v1\n")
    + FLUSH
)
BANDED = (
    packet(PROGRESS + b"Resolving deltas: 100%\r")
    + packet(REPORT + MOVED[:30])
    + packet(REPORT + MOVED[30:])
)


def passed(data, size):
    answer = Answer()
    pieces = [answer.passed(data[at : at + size]) for at in range(0, len(data), size)]
    return answer, b"".join(pieces)


@given(st.integers(1, 200))
def test_all_but_the_end_is_passed_on_and_the_report_is_read(size):
    answer, seen = passed(BANDED + FLUSH, size)
    assert (seen, answer.rest(), answer.banded) == (BANDED, FLUSH, True)
    assert answer.updated() == ("refs/heads/main", "refs/tags/v1")


@given(st.integers(1, 200))
def test_a_report_without_a_side_band_is_read_as_well(size):
    answer, seen = passed(MOVED, size)
    assert seen + answer.rest() == MOVED
    assert not answer.banded
    assert answer.updated() == ("refs/heads/main", "refs/tags/v1")


@given(st.binary(max_size=300), st.integers(1, 50))
def test_whatever_comes_goes_on(data, size):
    answer, seen = passed(data, size)
    assert seen + answer.rest() == data


@given(st.text(max_size=200))
def test_what_is_said_arrives_in_packets_of_whole_lines(text):
    answer, seen = passed(said(text), 7)
    assert seen == said(text)
    assert answer.rest() == b""
    assert seen.count(b"\n") >= len(text.splitlines())


def test_a_line_of_any_length_fits():
    packets = said("x" * 3 * MOST)
    assert len(packets) == 3 * MOST + 1 + 4 * 5
    assert passed(packets, 1000)[1] == packets
