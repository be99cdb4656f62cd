"""The emulator's own endpoints, which the command line speaks to, and on the same port AWS's API.

Bound to loopback, and deaf to web pages: the Host must be a loopback name and a browser's Origin
is refused unless it is this port's own, so that no page can drive it.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

from aiohttp import web

from emulator import __version__
from emulator.controllers.billing import bill_of, focus_rows, journals, month_of
from emulator.controllers.ledger import Ledger
from emulator.controllers.platform import Platform
from emulator.decisions import cost, price_list
from emulator.model.configuration import ServiceConfiguration
from emulator.model.errors import (
    AppRunnerError,
    EngineError,
    InternalServiceErrorException,
    InvalidRequestException,
    ResourceNotFoundException,
    StoreError,
)
from emulator.model.identifiers import Epoch
from emulator.model.operation import Operation
from emulator.model.prices import PriceList
from emulator.model.resources import Connection
from emulator.model.service import Service
from emulator.model.usage import Meter, UsageInterval
from emulator.ports import PushedRepositories
from emulator.surfaces.api import development, feed, requests, views
from emulator.surfaces.api.endpoint import AwsEndpoint
from emulator.surfaces.api.git_remote import GitRemote
from emulator.surfaces.api.utilization import Utilization

LONGEST_NAME = 32  # characters of an auto scaling configuration's name (service model)
LOOPBACK = {"localhost", "127.0.0.1", "[::1]", "::1"}
PUSHED = "/_emulator/registry/events"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
CLOCK = "/_emulator/clock"
BODY_LIMIT = 8 * 1024 * 1024
Answer = Awaitable[tuple[Service, Operation]]


class Api:
    """Routes under /_emulator/; `stop` ends the emulator (`all`: with everything it owns), `pushed`
    is what git pushes to, `metrics` what Prometheus scrapes.
    """

    def __init__(
        self,
        platform: Platform,
        *,
        status: Callable[[], dict[str, Any]],
        stop: Callable[[bool], None],
        pushed: PushedRepositories | None = None,
        metrics: Callable[[], bytes] = bytes,
    ) -> None:
        self._platform = platform
        self._git = GitRemote(platform, pushed) if pushed is not None else None
        self._status = status
        self._stop = stop
        self._metrics = metrics
        self._utilization = Utilization(platform)
        self.aws = AwsEndpoint(platform)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[guard], client_max_size=BODY_LIMIT)
        get, post = app.router.add_get, app.router.add_post
        get("/_emulator/health", self.health)
        get("/_localstack/health", self.health)
        get("/_emulator/status", self.status)
        get("/_emulator/metrics", self.metrics)
        post("/_emulator/stop", self.stop)
        post(PUSHED, self.hear_of_pushes)
        app.router.add_routes([web.get(CLOCK, self.clock), web.post(CLOCK, self.advance)])
        get("/_emulator/services", self.list)
        get("/_emulator/services/{key}", self.describe)
        post("/_emulator/services/{key}", self.deploy)
        post("/_emulator/services/{key}/{verb}", self.act)
        get("/_emulator/services/{key}/operations", self.operations)
        get("/_emulator/services/{key}/operations/{id}/feed", self.feed)
        get("/_emulator/services/{key}/instances", self.instances)
        get("/_emulator/services/{key}/dev", self.develop)
        post("/_emulator/services/{key}/dev/end", self.leave_development)
        get("/_emulator/services/{key}/events", self.events)
        get("/_emulator/services/{key}/logs", self.logs)
        get("/_emulator/services/{key}/usage", self.usage)
        get("/_emulator/cost", self.cost)
        post("/_emulator/cost", self.cost)
        get("/_emulator/connections", self.connections)
        post("/_emulator/connections/{name}/authorize", self.authorize)
        if self._git is not None:
            self._git.add_to(app)
        app.router.add_route("*", "/_emulator/{path:.*}", self.nothing)
        app.router.add_route("*", "/{path:.*}", self.aws.handle)
        app.on_cleanup.append(self._clean_up)
        return app

    async def _clean_up(self, _: web.Application) -> None:
        await self.aws.close()

    async def nothing(self, request: web.Request) -> web.StreamResponse:
        raise ResourceNotFoundException(f"There is no {request.method} {request.path}.")

    # -- questions -----------------------------------------------------------------------------

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"status": "running", "services": {"apprunner": "running"}, "version": __version__}
        )

    async def status(self, _: web.Request) -> web.Response:
        return web.json_response(self._status())

    async def metrics(self, _: web.Request) -> web.Response:
        body = self._metrics() + await self._utilization.render()
        return web.Response(body=body, headers={"Content-Type": PROMETHEUS})

    def _row(self, service: Service) -> dict[str, Any]:
        return views.listed(self._platform, self._platform.ledger(service.id))

    async def list(self, _: web.Request) -> web.Response:
        return web.json_response([self._row(service) for service in self._platform.services()])

    async def describe(self, request: web.Request) -> web.Response:
        return web.json_response(views.described(self._platform, self._ledger(request)))

    def _ledger(self, request: web.Request) -> Ledger:
        return self._platform.ledger(request.match_info["key"])

    async def operations(self, request: web.Request) -> web.Response:
        ledger = self._ledger(request)
        stored = await self._platform.ports.store.operations(ledger.service.id)
        return web.json_response([views.operation(o, ledger) for o in stored])

    async def instances(self, request: web.Request) -> web.Response:
        return web.json_response(views.instances(self._platform, self._ledger(request)))

    async def usage(self, request: web.Request) -> web.Response:
        ledger = self._ledger(request)
        await self._platform.meter.flush()
        intervals = await self._platform.ports.store.usage(ledger.service.id)
        now = self._platform.ports.clock.now()
        rows = [views.usage(i, now) | await self._observed(i) for i in intervals]
        return web.json_response(rows)

    async def _observed(self, interval: UsageInterval) -> dict[str, Any]:
        """Beside what is billed, what an instance that runs now has really used."""
        if interval.meter is not Meter.PROVISIONED or interval.end is not None:
            return {}
        if interval.instance is None:
            return {}
        with suppress(EngineError):
            found = await self._platform.ports.instances.consumption(interval.instance)
            if found is not None:
                return {"ObservedCpuSeconds": found.cpu, "ObservedMemoryBytes": found.memory}
        return {}

    async def cost(self, request: web.Request) -> web.Response:
        """`service`: of one; `month`: projected; `focus`: with the rows. A body may bring `Prices`,
        tables as in a price file, over the emulator's own.
        """
        query = request.query
        key = query.get("service")
        ledgers = (self._platform.ledger(key),) if key else self._platform.ledgers()
        prices = self._prices((await _members(request)).get("Prices") or {})
        await self._platform.meter.flush()
        ports, region = self._platform.ports, self._platform.settings.region
        month = await journals(ports.store, ledgers, ports.clock, seconds=cost.MONTH)
        projected = month_of(month, prices, region)
        if query.get("month") == "1":
            return web.json_response(cost.document(projected))
        found = await journals(ports.store, ledgers, ports.clock)
        document = cost.document(bill_of(found, prices, region))
        document["Month"] = {"Total": float(projected.total), "Notes": list(projected.notes)}
        if query.get("focus") == "1":
            document["Focus"] = focus_rows(found, prices)
        return web.json_response(document)

    def _prices(self, tables: object) -> PriceList:
        own = self._platform.settings.prices
        return price_list.read(tables, _bad_price).over(own) if tables else own

    def _region(self, members: Mapping[str, str]) -> str:
        return members.get("region") or self._platform.settings.region

    async def connections(self, request: web.Request) -> web.Response:
        account = self._platform.account
        live = account.registry.live(Connection, self._region(request.query))
        rows = [views.connection(value, account.connections.status(value)) for value in live]
        return web.json_response(rows)

    async def clock(self, _: web.Request) -> web.Response:
        return web.json_response(views.clock(self._platform))

    # -- requests ------------------------------------------------------------------------------

    async def advance(self, request: web.Request) -> web.Response:
        """`{"advance": seconds}`; answers once all has happened that happens in that time."""
        members = await _members(request)
        if members.keys() != {"advance"}:
            raise InvalidRequestException('Send {"advance": seconds}.')
        await self._platform.advance(members["advance"])
        return web.json_response(views.clock(self._platform))

    async def authorize(self, request: web.Request) -> web.Response:
        """What a click in AWS's console does."""
        connections = self._platform.account.connections
        name = request.match_info["name"]
        region = self._region(await _members(request))
        done = await connections.authorize(region, name)
        return web.json_response(views.connection(done, connections.status(done)))

    async def stop(self, request: web.Request) -> web.Response:
        self._stop(request.query.get("all") == "1")
        return web.json_response({})

    async def hear_of_pushes(self, request: web.Request) -> web.Response:
        """The registry's notifications. They name what to look at; nothing they say is believed."""
        for repository, tag in _pushed(await request.read()):
            await self._platform.pushed(repository, tag)
        return web.json_response({})

    async def deploy(self, request: web.Request) -> web.Response:
        """Create the service, or update it if there is one of that name.

        A deployment that a commit began is let finish first: the same person asked for both.
        """
        name = requests.name(request.match_info["key"])
        members = await _members(request)
        existing = [s for s in self._platform.services() if s.name == name]
        if existing:
            service = await self._platform.at_rest(existing[0].id)
            current = service.configuration
            wanted = requests.configuration(members, current, rules=self._rules)
            wanted = await self._scaled(name, service.region, wanted, members)
            result = await self._platform.update(service.id, wanted)
        else:
            wanted = requests.configuration(members, rules=self._rules)
            region = self._platform.settings.region
            wanted = self._platform.account.resolved(region, wanted, None)
            wanted = await self._scaled(name, region, wanted, members)
            result = await self._platform.create(name, wanted)
        return self._accepted(*result)

    @property
    def _rules(self) -> requests.Rules:
        return requests.Rules(aws=False, strict=self._platform.settings.strict)

    async def _scaled(
        self, name: str, region: str, wanted: ServiceConfiguration, members: Mapping[str, Any]
    ) -> ServiceConfiguration:
        """`--min-size` and the like become an auto scaling configuration of the service's name,
        as somebody would make one on AWS: what describe shows is true.
        """
        given = (members.get("Emulator") or {}).get("AutoScaling")
        if not given:
            return wanted
        values = requests.scaling(given, wanted.scaling)
        auto_scaling = self._platform.account.auto_scaling
        made = await auto_scaling.matching(region, name[:LONGEST_NAME], values)
        return replace(wanted, auto_scaling=made.arn, scaling=values)

    async def act(self, request: web.Request) -> web.Response:
        key, verb = request.match_info["key"], request.match_info["verb"]
        members = await _members(request)
        verbs: dict[str, Callable[[], Answer]] = {
            "pause": lambda: self._platform.pause(key),
            "resume": lambda: self._platform.resume(key),
            "delete": lambda: self._platform.delete(key),
            "cancel": lambda: self._platform.cancel(key),
            "redeploy": lambda: self._platform.start_deployment(key),
            "rollback": lambda: self._platform.rollback(key, to=members.get("To")),
        }
        if verb not in verbs:
            raise ResourceNotFoundException(f"There is no {verb!r}; there are: {', '.join(verbs)}.")
        return self._accepted(*await verbs[verb]())

    def _accepted(self, service: Service, operation: Operation) -> web.Response:
        ledger = self._platform.ledger(service.id)
        view = {
            "Service": views.service(self._platform, service),
            "OperationId": operation.id,
            "Operation": views.operation(operation, ledger),
        }
        return web.json_response(view)

    # -- streams -------------------------------------------------------------------------------

    async def events(self, request: web.Request) -> web.StreamResponse:
        ledger = self._ledger(request)
        follow = request.query.get("follow") == "1"
        since = self._since(request) or 0.0

        async def rows() -> AsyncGenerator[dict[str, Any]]:
            async for event in self._platform.events(ledger, follow=follow):
                if event.at >= since:
                    yield {"At": event.at, "Text": event.text}

        return await _stream(request, rows())

    def _since(self, request: web.Request) -> Epoch | None:
        """`ago` seconds of policy time."""
        ago = request.query.get("ago")
        try:
            return Epoch(self._platform.ports.clock.now() - float(ago)) if ago else None
        except ValueError as error:
            raise InvalidRequestException(f"ago={ago!r} is no number of seconds.") from error

    async def logs(self, request: web.Request) -> web.StreamResponse:
        ledger = self._ledger(request)
        query = request.query
        since, clock = self._since(request), self._platform.ports.clock
        machine_since = None if since is None else clock.timeline.machine(since)
        follow = query.get("follow") == "1"
        prefix = query.get("stream", "")

        async def rows() -> AsyncGenerator[dict[str, Any]]:
            source = self._platform.ports.logs.read(
                ledger.service.id, prefix=prefix, since=machine_since, follow=follow
            )
            async for line in source:
                yield {"At": clock.at(line.at), "Stream": line.stream, "Text": line.text}

        return await _stream(request, rows())

    async def feed(self, request: web.Request) -> web.StreamResponse:
        """Events and build log of an operation as they come; its last row is the outcome."""
        ledger = self._ledger(request)
        return await _stream(request, self._feed(ledger, request.match_info["id"]))

    async def develop(self, request: web.Request) -> web.StreamResponse:
        """Working-tree mode, until nobody listens."""
        ledger = self._ledger(request)
        return await _stream(request, development.rows(self._platform, ledger.service.id))

    async def leave_development(self, request: web.Request) -> web.Response:
        ledger = self._ledger(request)
        await self._platform.leave_development(ledger.service.id)
        return web.json_response(views.described(self._platform, ledger))

    async def _feed(self, ledger: Ledger, id_: str) -> AsyncGenerator[dict[str, Any]]:
        stored = await self._platform.ports.store.operations(ledger.service.id)
        operation = next((o for o in stored if o.id == id_), None)
        if operation is None:
            raise ResourceNotFoundException(f"There is no operation {id_!r}.")
        async with aclosing(feed.rows(self._platform, ledger, operation)) as rows:
            async for row in rows:
                yield row


def _bad_price(key: price_list.Key, message: str) -> Exception:
    return InvalidRequestException(f"Prices: {'.'.join(key)}: {message}")


async def _members(request: web.Request) -> dict[str, Any]:
    if not request.can_read_body:
        return {}
    if request.content_type != "application/json":
        raise InvalidRequestException("Send application/json.")
    try:
        members = await request.json()
    except (ValueError, RecursionError) as error:
        raise InvalidRequestException(f"The body is not JSON: {error}") from error
    if not isinstance(members, dict):
        raise InvalidRequestException("The body must be a JSON object.")
    return members


def _pushed(body: bytes) -> list[tuple[str, str]]:
    """Repository and tag of each image; layers are pushed without one."""
    try:
        events = json.loads(body)["events"]
        targets = [event["target"] for event in events if event["action"] == "push"]
        return [(str(each["repository"]), str(each["tag"])) for each in targets if "tag" in each]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRequestException(f"These are no registry's events: {error!r}") from error


async def _stream(request: web.Request, rows: AsyncGenerator[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    with suppress(ConnectionResetError):  # the listener has gone: that is its right
        async with aclosing(rows):
            async for row in rows:
                await response.write(json.dumps(row).encode() + b"\n")
        await response.write_eof()
    return response


@web.middleware
async def guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Who may ask, and how refusals look."""
    host = request.host.rsplit(":", 1)[0] if not request.host.endswith("]") else request.host
    own = f"http://{request.host}"
    if not _is_loopback(host.lower()) or request.headers.get("Origin", own) != own:
        return web.json_response({"Message": "Only local tools may ask here."}, status=403)
    try:
        return await handler(request)
    except AppRunnerError as error:
        return _refusal(error)
    except (EngineError, StoreError) as error:
        return _refusal(InternalServiceErrorException(str(error)))


def _is_loopback(host: str) -> bool:
    """No DNS server can lead `*.localhost` elsewhere (RFC 6761); SDKs ask for S3's buckets so."""
    return host in LOOPBACK or host.endswith(".localhost")


def _refusal(error: AppRunnerError) -> web.Response:
    statuses: dict[type[AppRunnerError], int] = {
        ResourceNotFoundException: 404,
        InternalServiceErrorException: 500,
    }
    status = statuses.get(type(error), 400)
    body = {"__type": error.code, "Message": str(error)}
    return web.json_response(body, status=status, headers={"x-amzn-errortype": error.code})
