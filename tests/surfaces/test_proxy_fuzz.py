"""A bounded run of the fuzzer; `make fuzz` runs for longer."""

import pytest

from tests.surfaces import http_oracle
from tests.surfaces.proxy_fuzz import run


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_what_arrives_is_what_was_meant_and_what_was_meant_arrives():
    ran = await run(seed=1, cases=800)
    assert ran.streams == 800
    assert ran.quick > ran.answered / 4  # else the short way would hardly be looked at


def test_the_strict_reader_stops_where_it_is_in_doubt():
    get = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"
    doubtful = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"
    reading = http_oracle.read(get % 1 + get % 2 + doubtful + get % 3)
    assert [request.target for request in reading.requests] == [b"/1", b"/2"]
