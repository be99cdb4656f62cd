"""The whole control plane against a model of it, with crashes, restarts and hours that pass.

What is done is drawn by Hypothesis: requests of every kind in two Regions, right ones and wrong
ones; after each, all that the API shows must be what the model (`reference`) has. A call that was
lost in a crash may or may not have been accepted; the model asks which, and nothing else may have
changed. In every test run the examples are the same; for hours of others:

    python -m pytest tests/conformance/test_control_plane.py --hypothesis-profile=long \\
        --hypothesis-seed=1 --timeout=0
"""

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

import looptime
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from emulator.model.settings import Pace, PaceMode, Quotas
from tests.conformance import reference
from tests.conformance.reference import (
    BUSY,
    FAST,
    MISSING,
    REGIONS,
    Account,
    Domain,
    Service,
    Thing,
    Wanted,
    changed,
    tagged,
)
from tests.fakes.emulators import SETTINGS, Emulator, Killed, Machine
from tests.surfaces.aws_calls import Aws, Refusal, image_source

Answer = dict[str, Any]
SPEED = 20.0  # of App Runner's pace, where it is kept
TICK = 0.01  # seconds between two steps: no two things are made in the same moment
SETTLED = 100.0  # seconds within which every operation has ended
DOWN = 5.0  # seconds that a dead emulator is dead at most
QUOTAS = Quotas(
    services=reference.SERVICES,
    connections=2,
    auto_scaling_configurations=2,
    auto_scaling_revisions=reference.REVISIONS,
    observability_configurations=2,
    observability_revisions=reference.REVISIONS,
    vpc_connectors=2,
    custom_domains=reference.DOMAINS,
)


@dataclass(frozen=True)
class Kind:
    """How a kind of resource is spelt."""

    word: str  # as in CreateX
    member: str  # of an answer
    rows: str  # of a list
    arn: str
    name: str
    gone: str
    there: str
    more: tuple[tuple[str, Any], ...] = ()

    def made(self, name: str) -> Answer:
        return {self.name: name, **dict(self.more)}


def _kind(word: str, rows: str, there: str, gone: str, **more: Any) -> Kind:
    return Kind(
        word=word,
        member=word,
        rows=rows,
        arn=f"{word}Arn",
        name=f"{word}Name",
        there=there,
        gone=gone,
        more=tuple(more.items()),
    )


KINDS = {
    "scaling": _kind(
        "AutoScalingConfiguration", "AutoScalingConfigurationSummaryList", "active", "inactive"
    ),
    "tracing": _kind(
        "ObservabilityConfiguration", "ObservabilityConfigurationSummaryList", "ACTIVE", "INACTIVE"
    ),
    "connector": _kind("VpcConnector", "VpcConnectors", "ACTIVE", "INACTIVE", Subnets=["subnet-1"]),
    "connection": _kind("Connection", "ConnectionSummaryList", "", "", ProviderType="GITHUB"),
}
INGRESS = "VpcIngressConnectionArn"
UNKNOWN = "arn:aws:apprunner:us-east-1:000000000000:{}/nobody/1/" + "f" * 32
regions = st.sampled_from(REGIONS)
service_names = st.sampled_from(["alpha", "beta0", "gamma", "delta"])
names = st.sampled_from(["red0", "blue", "pink"])
domain_names = st.sampled_from(["a.example.com", "b.example.com", "*.example.com"])
images = st.sampled_from(["app:1", "app:2", "app:1", "missing:1"])
tag_tables = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "1"]), max_size=2
)
kinds = st.sampled_from(sorted(KINDS))


class ControlPlane(RuleBasedStateMachine):
    """An emulator that is called, killed and started again, and the model beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = looptime.new_event_loop(noop_cycles=0)  # nothing but timers here
        self.machine = Machine()
        self.settings = replace(SETTINGS, quotas=QUOTAS)
        self.account = Account()
        self.emulator: Emulator | None = None
        self.aws: Aws | None = None
        self.lethal = 0  # the effect of the next call at which the emulator dies

    @initialize(at_pace=st.booleans())
    def start(self, at_pace: bool) -> None:
        if at_pace:
            pace = Pace(mode=PaceMode.REALISTIC, speed=SPEED)
            self.settings = replace(self.settings, pace=pace)
        self.account = Account(reference.REALISTIC if at_pace else FAST)
        self._do(self._begin())
        for region in REGIONS:
            for kind in KINDS:
                self._make(kind, region, "red0", {})
            scaling, tracing, connector = (
                self.account.live(kind, region)[0].arn
                for kind in ("scaling", "tracing", "connector")
            )
            wanted = Wanted(scaling=scaling, tracing=tracing, connector=connector)
            self._create_service(region, "alpha", wanted, {"a": "1"})
        self._do(self._tick(60.0))

    def teardown(self) -> None:
        if self.emulator is not None:
            self._do(self.emulator.__aexit__(None, None, None))
        self.loop.close()

    # -- calls ---------------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def _begin(self) -> None:
        self.emulator = await Emulator(self.machine, settings=self.settings).__aenter__()
        self.aws = Aws(self.emulator)

    async def _revive(self) -> None:
        if self.emulator.dead:
            await self.emulator.__aexit__(None, None, None)
            await self._begin()

    async def _tick(self, seconds: float = TICK) -> None:
        """Whoever dies is back soon: an operation that waits for longer is given up."""
        await self._revive()
        end = self.loop.time() + seconds
        while (left := end - self.loop.time()) > TICK / 2:
            await self.machine.clock.sleep(min(left, DOWN))
            await self._revive()

    @property
    def now(self) -> float:
        """Policy time, as all that is shown."""
        return self.machine.policy.timeline.at(self.machine.clock.start + self.loop.time())

    def _request(
        self,
        region: str,
        operation: str,
        members: Answer,
        verdict: Callable[[], str | set[str]],
        traced: Callable[[Aws], Coroutine[Any, Any, Answer | None]],
    ) -> Answer | None:
        """The answer of a call that was accepted, None of one that was not.

        `verdict` is asked for when all is seen as the call will find it. `traced` finds out
        whether a call whose answer was lost has been accepted, and what it would have answered.
        """

        async def asked() -> Answer | Refusal | None:
            await self._tick()
            await self._see_services()
            allowed = verdict()
            body = json.dumps(members).encode()
            if self.lethal:
                self._kill_after(self.lethal)
                self.lethal = 0
            try:
                reply = await self.aws.at(region).raw(operation, body)
            except Killed:
                await self._revive()
                return await traced(self.aws.at(region))
            right = {allowed} if isinstance(allowed, str) else allowed
            assert reply.code in right, f"{operation} {members}: {reply}, not {right}"
            return None if reply.code else json.loads(reply.body)

        return self._do(asked())

    async def _see_services(self) -> None:
        """Whose operation is over?"""
        for service in list(self.account.services):
            found = await self._described(service)
            if found is not None and found["Status"] != BUSY:
                service.seen_at_rest()
                service.deleted = found.get("DeletedAt")

    async def _described(self, service: Service) -> Answer | None:
        aws = self.aws.at(service.region)
        if self.account.may_be_gone(service.deleted, self.now):
            reply = await aws.raw(
                "DescribeService", json.dumps({"ServiceArn": service.arn}).encode()
            )
            if reply.code == MISSING:
                self.account.forget(service)
                return None
        assert not self.account.must_be_gone(service.deleted, self.now), service
        return await aws.described(service.arn)

    # -- services ------------------------------------------------------------------------------

    def _reference(self, data: st.DataObject, kind: str, region: str) -> str:
        """Mostly none or a right one."""
        word = {"scaling": "autoscalingconfiguration", "tracing": "observabilityconfiguration"}
        unknown = UNKNOWN.format(word.get(kind, "vpcconnector"))
        right = [t.arn for t in self.account.live(kind, region)]
        wrong = [unknown, *(t.arn for t in self.account.kind(kind) if t.arn not in right)]
        pools = [[""], [""], [""], right or [""], right or [""], right or [""], wrong]
        return data.draw(st.sampled_from(pools).flatmap(st.sampled_from), label=kind)

    def _wanted(self, data: st.DataObject, region: str) -> Wanted:
        return Wanted(
            image=data.draw(images, label="image"),
            scaling=self._reference(data, "scaling", region),
            tracing=self._reference(data, "tracing", region),
            connector=self._reference(data, "connector", region),
            public=data.draw(st.booleans(), label="public"),
        )

    @rule(data=st.data(), region=regions, name=service_names, tags=tag_tables)
    def create_service(self, data, region, name, tags):
        wanted = self._wanted(data, region)
        self._create_service(region, name, wanted, tags)

    def _create_service(self, region: str, name: str, wanted: Wanted, tags: dict) -> None:
        members = {"ServiceName": name, "Tags": _tags(tags), **_members(wanted)}
        known = {s.arn for s in self.account.services}

        async def traced(aws: Aws) -> Answer | None:
            rows = (await aws("ListServices"))["ServiceSummaryList"]
            new = [row for row in rows if row["ServiceArn"] not in known]
            if not new:
                return None
            assert [row["ServiceName"] for row in new] == [name]
            return await _last_operation(aws, new[0]["ServiceArn"])

        answer = self._request(
            region,
            "CreateService",
            members,
            lambda: self.account.may_create(region, name, wanted),
            traced,
        )
        if answer is not None:
            wanted = replace(wanted, scaling=wanted.scaling or self.account.default[region])
            service = Service(region, name, answer["Service"]["ServiceArn"], wanted, tags)
            service.begin(answer["OperationId"], "CREATE_SERVICE")
            self.account.services.append(service)

    @precondition(lambda self: self.account.services)
    @rule(data=st.data())
    def update_service(self, data):
        service = self._service(data)
        new = self._wanted(data, service.region)
        parts = data.draw(st.sets(st.sampled_from(sorted(vars(new)))), label="parts")
        chosen = {part: getattr(new, part) for part in parts if getattr(new, part) != ""}
        members = {"ServiceArn": service.arn, **_members(changed(Wanted(), **chosen), set(chosen))}
        self._operate(
            service,
            "UpdateService",
            members,
            lambda: self.account.may_update(service, changed(service.wanted, **chosen)),
            lambda: setattr(service, "wanted", changed(service.wanted, **chosen)),
        )

    @precondition(lambda self: self.account.services)
    @rule(
        data=st.data(),
        operation=st.sampled_from(
            ["PauseService", "ResumeService", "StartDeployment", "DeleteService"]
        ),
    )
    def act(self, data, operation):
        service = self._service(data)
        self._operate(
            service,
            operation,
            {"ServiceArn": service.arn},
            lambda: self.account.may_act(service, operation),
        )

    def _service(self, data: st.DataObject) -> Service:
        live = [s for s in self.account.services if s.live]
        return data.draw(st.sampled_from([*live, *live, *self.account.services]), label="service")

    def _operate(
        self,
        service: Service,
        operation: str,
        members: Answer,
        verdict: Callable[[], str],
        apply: Callable[[], None] = lambda: None,
    ) -> None:
        known = {o.id for o in service.operations}

        async def traced(aws: Aws) -> Answer | None:
            answer = await _last_operation(aws, service.arn)
            return answer if answer["OperationId"] not in known else None

        answer = self._request(service.region, operation, members, verdict, traced)
        if answer is not None and "OperationId" in answer:
            apply()
            words = {"StartDeployment": "START_DEPLOYMENT"}
            type_ = words.get(operation, operation.removesuffix("Service").upper() + "_SERVICE")
            service.begin(answer["OperationId"], type_)
        elif answer is not None:
            no_news = {"PauseService": "PAUSED", "ResumeService": "RUNNING"}
            assert service.shown == no_news[operation]

    # -- the other resources -------------------------------------------------------------------

    @rule(kind=kinds, region=regions, name=names, tags=tag_tables)
    def make(self, kind, region, name, tags):
        self._make(kind, region, name, tags)

    def _make(self, kind: str, region: str, name: str, tags: dict) -> None:
        spelt = KINDS[kind]
        known = {t.arn for t in self.account.things}

        async def traced(aws: Aws) -> Answer | None:
            rows = (await aws(f"List{spelt.word}s"))[spelt.rows]
            new = [row for row in rows if row[spelt.arn] not in known]
            return {spelt.member: await _view(aws, spelt, new[0])} if new else None

        answer = self._request(
            region,
            f"Create{spelt.word}",
            spelt.made(name) | {"Tags": _tags(tags)},
            lambda: self.account.may_make(kind, region, name),
            traced,
        )
        if answer is not None:
            view = answer[spelt.member]
            revision = self.account.next_revision(kind, region, name)
            arn, created = view[spelt.arn], view["CreatedAt"]
            thing = Thing(kind, region, name, arn, created, tags, revision)
            if kind in {"scaling", "tracing"}:
                assert view[f"{spelt.word}Revision"] == revision
            self.account.things.append(thing)

    @rule(data=st.data(), kind=kinds)
    def unmake(self, data, kind):
        things = self.account.kind(kind)
        if not things:
            return
        thing = data.draw(st.sampled_from(things), label="thing")
        self._unmake([thing], {KINDS[kind].arn: thing.arn}, lambda: self._may_unmake(thing))

    def _may_unmake(self, thing: Thing) -> str | set[str]:
        """What is about to be forgotten may be forgotten already."""
        verdict = self.account.may_unmake(thing)
        return {verdict, MISSING} if self.account.may_be_gone(thing.deleted, self.now) else verdict

    @rule(region=regions, name=names)
    def unmake_all_revisions(self, region, name):
        things = [t for t in self.account.live("scaling", region) if t.name == name]
        if not things:
            return
        arn = things[0].arn.rsplit("/", 2)[0]
        members = {"AutoScalingConfigurationArn": arn, "DeleteAllRevisions": True}
        self._unmake(things, members, lambda: self.account.may_unmake_all(things))

    def _unmake(
        self, things: list[Thing], members: Answer, verdict: Callable[[], str | set[str]]
    ) -> None:
        spelt = KINDS[things[0].kind]

        async def traced(aws: Aws) -> Answer | None:
            rows = (await aws(f"List{spelt.word}s"))[spelt.rows]
            left = {row[spelt.arn] for row in rows} & {t.arn for t in things}
            assert len(left) in {0, len(things)}
            if left:
                return None
            return {spelt.member: await _view(aws, spelt, {spelt.arn: things[0].arn})}

        was_live = things[0].live
        answer = self._request(things[0].region, f"Delete{spelt.word}", members, verdict, traced)
        if answer is not None and was_live:
            for thing in things:
                thing.deleted = answer[spelt.member].get("DeletedAt", self.now)

    @rule(data=st.data())
    def set_default(self, data):
        thing = data.draw(st.sampled_from(self.account.kind("scaling")), label="thing")

        async def traced(aws: Aws) -> Answer | None:
            return {} if await _default(aws) == [thing.arn] else None

        answer = self._request(
            thing.region,
            "UpdateDefaultAutoScalingConfiguration",
            {"AutoScalingConfigurationArn": thing.arn},
            lambda: "" if thing.live else MISSING,
            traced,
        )
        if answer is not None:
            self.account.default[thing.region] = thing.arn

    @precondition(lambda self: self.account.waits.handshake)
    @rule(region=regions, name=names)
    def authorize(self, region, name):
        found = [t for t in self.account.live("connection", region) if t.name == name]

        async def clicked() -> bool:
            await self._tick()
            try:
                await self.emulator.platform.account.connections.authorize(region, name)
            except Killed:
                await self._revive()
                rows = (await self.aws.at(region)("ListConnections"))["ConnectionSummaryList"]
                return any((r["ConnectionName"], r["Status"]) == (name, "AVAILABLE") for r in rows)
            return True

        if found and self._do(clicked()):
            found[0].authorized = True

    @precondition(lambda self: self.account.services)
    @rule(data=st.data(), name=names, tags=tag_tables)
    def lead_a_vpc_to_it(self, data, name, tags):
        service = self._service(data)
        known = {t.arn for t in self.account.things}

        async def traced(aws: Aws) -> Answer | None:
            answer = await aws("ListVpcIngressConnections")
            rows = answer["VpcIngressConnectionSummaryList"]
            new = [row for row in rows if row[INGRESS] not in known]
            return (
                await aws("DescribeVpcIngressConnection", **{INGRESS: new[0][INGRESS]})
                if new
                else None
            )

        answer = self._request(
            service.region,
            "CreateVpcIngressConnection",
            {
                "ServiceArn": service.arn,
                "VpcIngressConnectionName": name,
                "IngressVpcConfiguration": {"VpcId": "vpc-1"},
                "Tags": _tags(tags),
            },
            lambda: self.account.may_lead(service, name),
            traced,
        )
        if answer is not None:
            view = answer["VpcIngressConnection"]
            thing = Thing("ingress", service.region, name, view[INGRESS], view["CreatedAt"], tags)
            thing.service = service.arn
            self.account.things.append(thing)

    @precondition(lambda self: self.account.kind("ingress"))
    @rule(data=st.data(), verb=st.sampled_from(["Update", "Delete"]))
    def change_the_way(self, data, verb):
        thing = data.draw(st.sampled_from(self.account.kind("ingress")), label="ingress")
        pending = f"PENDING_{'UPDATE' if verb == 'Update' else 'DELETION'}"

        def verdict() -> set[str]:
            statuses = self.account.ingress_statuses(thing, self.now)
            found = {"" if each == "AVAILABLE" else reference.STATE for each in statuses}
            gone = self.account.may_be_gone(thing.deleted, self.now)
            return found | ({MISSING} if gone else set())

        async def traced(aws: Aws) -> Answer | None:
            answer = await aws("DescribeVpcIngressConnection", **{INGRESS: thing.arn})
            return answer if answer["VpcIngressConnection"]["Status"] == pending else None

        more = {"IngressVpcConfiguration": {"VpcId": "vpc-2"}} if verb == "Update" else {}
        answer = self._request(
            thing.region,
            f"{verb}VpcIngressConnection",
            {INGRESS: thing.arn} | more,
            verdict,
            traced,
        )
        if answer is not None:
            assert answer["VpcIngressConnection"]["Status"] == pending
            setattr(thing, "updated" if verb == "Update" else "deleted", self.now)

    # -- domains and tags ----------------------------------------------------------------------

    @precondition(lambda self: self.account.services)
    @rule(data=st.data(), name=domain_names)
    def associate(self, data, name):
        service = self._service(data)
        answer = self._request(
            service.region,
            "AssociateCustomDomain",
            {"ServiceArn": service.arn, "DomainName": name},
            lambda: self.account.may_associate(service, name),
            lambda aws: self._domain(aws, service, name, "creating"),
        )
        if answer is not None:
            old = [d for d in self.account.domains if (d.service, d.name) == (service.arn, name)]
            for each in old:
                self.account.domains.remove(each)
            self.account.domains.append(Domain(service.arn, name, self.now))

    @precondition(lambda self: self.account.services)
    @rule(data=st.data(), name=domain_names)
    def disassociate(self, data, name):
        service = self._service(data)
        answer = self._request(
            service.region,
            "DisassociateCustomDomain",
            {"ServiceArn": service.arn, "DomainName": name},
            lambda: self.account.may_disassociate(service, name, self.now),
            lambda aws: self._domain(aws, service, name, "deleting"),
        )
        if answer is not None:
            assert answer["CustomDomain"]["Status"] == "deleting"
            for domain in self.account.domains:
                if (domain.service, domain.name) == (service.arn, name):
                    domain.deleted = domain.deleted or self.now

    async def _domain(self, aws: Aws, service: Service, name: str, status: str) -> Answer | None:
        found = (await aws("DescribeCustomDomains", ServiceArn=service.arn))["CustomDomains"]
        for domain in found:
            if (domain["DomainName"], domain["Status"]) == (name, status):
                return {"CustomDomain": domain}
        return None

    @rule(
        data=st.data(), new=tag_tables, gone=st.sets(st.sampled_from(["a", "b", "c"]), min_size=1)
    )
    def tag(self, data, new, gone):
        found = list(tagged(self.account.things, self.account.services))
        if not found:
            return
        thing = data.draw(st.sampled_from(found), label="thing")
        after = thing.tags | new
        operation, members = "TagResource", {"Tags": _tags(new)}
        if not new:
            after = {key: value for key, value in thing.tags.items() if key not in gone}
            operation, members = "UntagResource", {"TagKeys": sorted(gone)}

        async def traced(aws: Aws) -> Answer | None:
            return {} if await aws.tags(thing.arn) == after else None

        answer = self._request(
            thing.region,
            operation,
            {"ResourceArn": thing.arn} | members,
            lambda: "" if thing.live else MISSING,
            traced,
        )
        if answer is not None:
            thing.tags = after

    # -- what happens to the emulator ----------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 0.6, 1.0, 3.0, 20.0, 60.0, 900.0, 3800.0]))
    def time_passes(self, seconds):
        """Long enough is in two parts: what has ended must be seen before it is forgotten."""

        async def passed() -> None:
            await self._tick(min(seconds, SETTLED))
            await self._see_services()
            await self._tick(max(0.0, seconds - SETTLED))

        self._do(passed())

    @rule(effects=st.integers(1, 40))
    def crash_soon(self, effects):
        """At one of the next effects, in the middle of whatever is under way then."""
        self._kill_after(effects)

    @rule(effects=st.integers(1, 6))
    def crash_in_the_next_call(self, effects):
        self.lethal = effects

    def _kill_after(self, effects: int) -> None:
        self.emulator.fuse.at = self.emulator.fuse.count + effects

    @rule()
    def restart(self):
        async def restarted() -> None:
            await self.emulator.__aexit__(None, None, None)
            await self._begin()

        self._do(restarted())

    # -- what must hold ------------------------------------------------------------------------

    @invariant()
    def the_api_shows_what_the_model_has(self):
        if self.emulator is not None:
            self._do(self._checked())

    async def _checked(self) -> None:
        """All in one moment; a crash meanwhile is as good as one at any other time."""
        while True:
            await self._tick()
            try:
                await self._check()
            except Killed:
                continue
            return

    async def _check(self) -> None:
        await self._see_services()
        for service in self.account.services:
            await self._check_service(service)
        for region in REGIONS:
            await self._check_lists(self.aws.at(region))
        for thing in list(self.account.things):
            await self._check_thing(self.aws.at(thing.region), thing)

    async def _check_service(self, service: Service) -> None:
        aws = self.aws.at(service.region)
        shown = await aws.described(service.arn)
        wanted = service.wanted
        assert shown["Status"] == service.shown
        assert shown["ServiceName"] == service.name
        assert _as_shown(shown) == wanted
        assert bool(shown["ServiceUrl"]) == wanted.public
        await self._check_operations(aws, service)
        await self._check_tags(aws, service)
        answer = await aws("DescribeCustomDomains", ServiceArn=service.arn)
        ways = {way[INGRESS] for way in answer["VpcDNSTargets"]}
        assert ways == {t.arn for t in self.account.ways_to(service)}
        found = {d["DomainName"]: d["Status"] for d in answer["CustomDomains"]}
        expected = self.account.domains_of(service, self.now)
        allowed = {d.name: self.account.domain_statuses(d, self.now) for d in expected}
        assert found.keys() <= allowed.keys()
        for name, statuses in allowed.items():
            assert found.get(name, "") in statuses
        for other in REGIONS:
            if other != service.region:
                refusal = await self.aws.at(other).refused(
                    "DescribeService", ServiceArn=service.arn
                )
                assert refusal.code == MISSING

    async def _check_operations(self, aws: Aws, service: Service) -> None:
        found = await aws.operations(service.arn)
        assert [o["Id"] for o in found] == [o.id for o in service.operations]
        assert [o["Type"] for o in found] == [o.type for o in service.operations]
        under_way = {"PENDING", "IN_PROGRESS", "ROLLBACK_IN_PROGRESS"}
        for shown, expected in zip(found, service.operations, strict=True):
            if expected is service.pending:
                assert shown["Status"] in under_way
                assert "EndedAt" not in shown
            else:
                assert shown["Status"] == expected.outcome
                assert shown["StartedAt"] <= shown["EndedAt"] <= self.now + 0.001

    async def _check_tags(self, aws: Aws, tagged_: Service | Thing) -> None:
        if tagged_.live:
            assert await aws.tags(tagged_.arn) == tagged_.tags
        else:
            refusal = await aws.refused("ListTagsForResource", ResourceArn=tagged_.arn)
            assert refusal.code == MISSING

    async def _check_lists(self, aws: Aws) -> None:
        services = self.account.live_services(aws.region)
        rows = (await aws("ListServices"))["ServiceSummaryList"]
        assert [row["ServiceArn"] for row in rows] == [s.arn for s in services]
        assert [row["Status"] for row in rows] == [s.shown for s in services]
        assert len({row["ServiceName"] for row in rows}) == len(rows) <= reference.SERVICES
        for kind, spelt in KINDS.items():
            found = (await aws(f"List{spelt.word}s"))[spelt.rows]
            expected = [t.arn for t in self.account.live(kind, aws.region)]
            assert [row[spelt.arn] for row in found] == expected
        assert await _default(aws) == [self.account.default[aws.region]]
        answer = await aws("ListVpcIngressConnections")
        ways = [t.arn for t in self.account.live("ingress", aws.region)]
        assert [row[INGRESS] for row in answer["VpcIngressConnectionSummaryList"]] == ways

    async def _check_thing(self, aws: Aws, thing: Thing) -> None:
        built_in = thing.name == "DefaultConfiguration"
        if thing.live and not built_in:
            await self._check_tags(aws, thing)
        if thing.kind == "connection":
            await self._check_connection(aws, thing)
            return
        view = await self._seen(aws, thing)
        if view is None:
            return
        if thing.kind == "ingress":
            assert view["Status"] in self.account.ingress_statuses(thing, self.now)
            assert view["ServiceArn"] == thing.service
            return
        spelt = KINDS[thing.kind]
        assert view["Status"] == (spelt.there if thing.live else spelt.gone)
        if thing.kind != "connector":
            assert view[f"{spelt.word}Revision"] == thing.revision
            assert view["Latest"] == (thing.arn in self.account.latest(thing.kind, thing.region))
        if thing.kind == "scaling":
            assert view["HasAssociatedService"] == self.account.used(thing.arn)
            assert view["IsDefault"] == (self.account.default[thing.region] == thing.arn)

    async def _seen(self, aws: Aws, thing: Thing) -> Answer | None:
        """None once it is forgotten; where it may be, that is found out here."""
        word = "VpcIngressConnection" if thing.kind == "ingress" else KINDS[thing.kind].word
        operation, members = f"Describe{word}", {f"{word}Arn": thing.arn}
        if self.account.may_be_gone(thing.deleted, self.now):
            reply = await aws.raw(operation, json.dumps(members).encode())
            if reply.code == MISSING and thing.name != "DefaultConfiguration":
                self.account.forget(thing)
                return None
            if thing.name != "DefaultConfiguration":
                assert not self.account.must_be_gone(thing.deleted, self.now), thing
        return (await aws(operation, **members))[word]

    async def _check_connection(self, aws: Aws, thing: Thing) -> None:
        rows = (await aws("ListConnections", ConnectionName=thing.name))["ConnectionSummaryList"]
        mine = [row for row in rows if row["ConnectionArn"] == thing.arn]
        ready = thing.authorized or not self.account.waits.handshake
        status = "AVAILABLE" if ready else "PENDING_HANDSHAKE"
        assert [row["Status"] for row in mine] == ([status] if thing.live else [])
        assert len(rows) <= 1


# -- spelling --------------------------------------------------------------------------------------


def _tags(table: dict[str, str]) -> list[Answer]:
    return [{"Key": key, "Value": value} for key, value in table.items()]


def _members(wanted: Wanted, parts: set[str] | None = None) -> Answer:
    """CreateService's; only `parts` of them for an update."""
    egress = {"EgressType": "VPC", "VpcConnectorArn": wanted.connector}
    network: Answer = {}
    if parts is None or "public" in parts:
        network["IngressConfiguration"] = {"IsPubliclyAccessible": wanted.public}
    if wanted.connector:
        network["EgressConfiguration"] = egress
    found: Answer = {"NetworkConfiguration": network} if network else {}
    if parts is None or "image" in parts:
        found |= image_source(wanted.image)
    if wanted.scaling:
        found["AutoScalingConfigurationArn"] = wanted.scaling
    if wanted.tracing:
        found["ObservabilityConfiguration"] = {
            "ObservabilityEnabled": True,
            "ObservabilityConfigurationArn": wanted.tracing,
        }
    return found


def _as_shown(view: Answer) -> Wanted:
    network = view["NetworkConfiguration"]
    tracing = view.get("ObservabilityConfiguration", {})
    return Wanted(
        image=view["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"],
        scaling=view["AutoScalingConfigurationSummary"]["AutoScalingConfigurationArn"],
        tracing=tracing.get("ObservabilityConfigurationArn", ""),
        connector=network["EgressConfiguration"].get("VpcConnectorArn", ""),
        public=network["IngressConfiguration"]["IsPubliclyAccessible"],
    )


async def _last_operation(aws: Aws, arn: str) -> Answer:
    """As the call that began it would have answered."""
    operations = await aws.operations(arn)
    return {"Service": await aws.described(arn), "OperationId": operations[0]["Id"]}


async def _view(aws: Aws, spelt: Kind, row: Answer) -> Answer:
    if spelt.word == "Connection":
        return row
    answer = await aws(f"Describe{spelt.word}", **{spelt.arn: row[spelt.arn]})
    return answer[spelt.member]


async def _default(aws: Aws) -> list[str]:
    answer = await aws("ListAutoScalingConfigurations")
    rows = answer["AutoScalingConfigurationSummaryList"]
    return [row["AutoScalingConfigurationArn"] for row in rows if row["IsDefault"]]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_control_plane_is_what_its_model_is():
    chosen = settings()
    if settings.get_current_profile_name() != "long":
        chosen = settings(max_examples=100, stateful_step_count=50, derandomize=True, database=None)
    run_state_machine_as_test(ControlPlane, settings=chosen)
