"""Router: host names to services."""

import pytest

from emulator.controllers.balancer import Balancer
from emulator.controllers.router import Router, normalise
from emulator.model.identifiers import ServiceId
from tests.fakes.clock import LoopClock

HELLO = ServiceId("hello")
OTHER = ServiceId("other")


async def _nothing(_instance: str) -> None:
    return None


def balancer() -> Balancer:
    return Balancer(
        LoopClock(),
        max_concurrency=1,
        queue_limit=1,
        queue_wait=1,
        wake=lambda: None,
        thaw=_nothing,
        activity=lambda _instance, _active: None,
    )


@pytest.fixture
def router() -> Router:
    router = Router()
    router.add(HELLO, ["abc.us-east-1.awsapprunner.localhost", "hello.localhost"], balancer())
    return router


@pytest.mark.parametrize(
    "host",
    ["hello.localhost", "HELLO.localhost", "hello.localhost:8443", "hello.localhost.:8443"],
)
def test_finds_a_service_by_host_in_any_case_with_or_without_a_port(router, host):
    assert router.by_host(host) is router.by_service(HELLO) is not None


@pytest.mark.parametrize(
    "host", ["", "localhost", "x.hello.localhost", "hello.localhost.evil", ":8443", "[::1]:8443"]
)
def test_does_not_find_what_was_not_added(router, host):
    assert router.by_host(host) is None


def test_a_removed_service_is_not_found_any_more(router):
    router.remove(HELLO)
    router.remove(HELLO)
    assert router.by_host("hello.localhost") is None
    assert router.by_service(HELLO) is None


def test_adding_a_service_again_replaces_its_hosts_and_balancer(router):
    fresh = balancer()
    router.add(HELLO, ["new.localhost"], fresh)
    assert router.by_host("hello.localhost") is None
    assert router.by_host("new.localhost") is fresh


def test_a_name_stays_with_the_service_that_had_it_first(router):
    taken = router.add(OTHER, ["hello.localhost", "other.localhost"], balancer())
    assert taken == ("hello.localhost",)
    assert router.by_host("hello.localhost") is router.by_service(HELLO)
    router.remove(OTHER)
    assert router.by_host("hello.localhost") is router.by_service(HELLO)


def test_a_wildcard_stands_for_one_label_and_an_exact_name_wins(router):
    router.add(OTHER, ["*.example.com"], balancer())
    router.add(ServiceId("exact"), ["a.example.com"], balancer())
    assert router.service_of("b.example.com:8443") == OTHER
    assert router.service_of("a.example.com") == "exact"
    assert router.service_of("example.com") is None
    assert router.service_of("x.b.example.com") is None


def test_an_address_in_brackets_keeps_its_colons():
    assert normalise("[::1]:8443") == "[::1]"
