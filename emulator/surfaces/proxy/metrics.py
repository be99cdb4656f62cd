"""The load balancer's metrics for Prometheus, under names of its own and under CloudWatch's.

Everything is counted anyway: a scrape reads it, the request path knows nothing of it.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from emulator.controllers.balancer import Balancer
from emulator.controllers.router import Router
from emulator.model.identifiers import ServiceId
from emulator.surfaces.proxy.access_log import BOUNDS, AccessLog, Counters
from emulator.surfaces.proxy.floor import Floor

CLASSES = {0: "client gone", 1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}

_CLOUDWATCH = "as the metric {} of AWS/AppRunner"
_DIMENSIONS = ("ServiceName", "ServiceID")
_OWN = ("service",)


class Metrics(Collector):
    """`name_of` says how a service is called."""

    def __init__(
        self, router: Router, floor: Floor, log: AccessLog, name_of: Callable[[ServiceId], str]
    ) -> None:
        self._router = router
        self._floor = floor
        self._log = log
        self._name_of = name_of
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def render(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing ahead: what there is depends on the services."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._of_requests()
        yield from self._of_balancers()
        yield from self._of_connections()
        yield from self._of_cloudwatch()

    def _counted(self) -> Iterator[tuple[str, Counters]]:
        for service, counters in self._log.all_counters.items():
            yield "" if service is None else self._name_of(service), counters

    def _balancers(self) -> Iterator[tuple[ServiceId, Balancer]]:
        yield from self._router.services.items()

    def _of_requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "apprunner_requests",
            "Answered requests by class of status",
            labels=("service", "class"),
        )
        seconds = HistogramMetricFamily(
            "apprunner_request_duration_seconds",
            "From a request's head to the last byte of its answer",
            labels=_OWN,
        )
        for name, counters in self._counted():
            for number, label in CLASSES.items():
                requests.add_metric((name, label), counters.by_class[number])
            seconds.add_metric((name,), list(_buckets(counters)), counters.seconds)
        yield requests
        yield seconds

    def _of_balancers(self) -> Iterator[Metric]:
        in_flight = GaugeMetricFamily("apprunner_in_flight", "Requests at instances", labels=_OWN)
        waiting = GaugeMetricFamily("apprunner_queue", "Requests without an instance", labels=_OWN)
        instances = GaugeMetricFamily(
            "apprunner_instances", "Instances that take requests", labels=("service", "state")
        )
        starts = SummaryMetricFamily(
            "apprunner_cold_start_seconds",
            "Phases of the starts of instances, from the request that needed them",
            labels=("service", "phase"),
        )
        for service, balancer in self._balancers():
            name = self._name_of(service)
            for phase, (count, seconds) in balancer.cold_starts.items():
                starts.add_metric((name, phase), count, seconds)
            in_flight.add_metric((name,), balancer.total_in_flight)
            waiting.add_metric((name,), balancer.waiting)
            for state, count in balancer.instances().items():
                instances.add_metric((name, state), count)
        yield in_flight
        yield waiting
        yield instances
        yield starts

    def _of_connections(self) -> Iterator[Metric]:
        floor = self._floor
        yield GaugeMetricFamily(
            "apprunner_connections", "Open connections from clients", value=len(floor.connections)
        )
        for name, help_text, value in (
            ("connections_refused", "Connections above a limit", floor.refused),
            (
                "malformed",
                "Requests that could be read in two ways, or not at all",
                floor.malformed,
            ),
            ("too_slow", "Clients that were ended for their pace", floor.too_slow),
            ("short_way", "Requests that were answered without a task of their own", floor.quick),
            ("access_log_dropped", "Requests that the access log lacks", self._log.dropped),
        ):
            yield CounterMetricFamily(f"apprunner_{name}", help_text, value=value)

    def _of_cloudwatch(self) -> Iterator[Metric]:
        """`2xxStatusResponses` is no name for Prometheus: spelt as its CloudWatch exporter does."""
        requests = _cloudwatch_counter("requests", "Requests")
        classes = {
            number: _cloudwatch_counter(
                f"{number}xx_status_responses", f"{number}xxStatusResponses"
            )
            for number in (2, 4, 5)
        }
        latency = SummaryMetricFamily(
            "aws_apprunner_request_latency_milliseconds",
            _CLOUDWATCH.format("RequestLatency"),
            labels=_DIMENSIONS,
        )
        active = _cloudwatch_gauge("active_instances", "ActiveInstances")
        concurrency = _cloudwatch_gauge("concurrency", "Concurrency")
        for service, balancer in self._balancers():
            labels = (self._name_of(service), service)
            counters = self._log.counters(service)
            requests.add_metric(labels, counters.requests)
            for number, family in classes.items():
                family.add_metric(labels, counters.by_class[number])
            latency.add_metric(labels, counters.requests, counters.seconds * 1000)
            active.add_metric(labels, balancer.instances()["active"])
            concurrency.add_metric(labels, balancer.total_in_flight)
        yield from (requests, *classes.values(), latency, active, concurrency)


def _buckets(counters: Counters) -> Iterator[tuple[str, float]]:
    """Cumulative, as Prometheus has them."""
    total = 0
    for bound, count in zip((*BOUNDS, "+Inf"), counters.buckets, strict=True):
        total += count
        yield str(bound), total


def _cloudwatch_counter(name: str, theirs: str) -> CounterMetricFamily:
    return CounterMetricFamily(
        f"aws_apprunner_{name}", _CLOUDWATCH.format(theirs), labels=_DIMENSIONS
    )


def _cloudwatch_gauge(name: str, theirs: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(
        f"aws_apprunner_{name}", _CLOUDWATCH.format(theirs), labels=_DIMENSIONS
    )
