"""What the control plane should be, in its plainest form: lists, and rules about them.

It knows no loop, no store and no instances. What takes time it does not predict, it is told: a
service has a `pending` operation until somebody has seen the service at rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

REGIONS = ("us-east-1", "eu-west-1")
INVALID, STATE = "InvalidRequestException", "InvalidStateException"
MISSING, QUOTA = "ResourceNotFoundException", "ServiceQuotaExceededException"
BUSY = "OPERATION_IN_PROGRESS"
DESCRIBABLE, SWEEP = 3600.0, 605.0  # seconds: for how long, and how much longer at most
BUILT_IN = "arn:aws:apprunner:{}:000000000000:autoscalingconfiguration/DefaultConfiguration/1/{}"
IMAGES = {"app:1": True, "app:2": True, "missing:1": False}  # whether it can be deployed
SERVICES, DOMAINS, REVISIONS = 3, 2, 3  # quotas
NAMES = {"connection": 2, "connector": 2, "scaling": 2, "tracing": 2}
NEAR = 0.002  # seconds: which side of a border a moment is on is nobody's business


@dataclass(frozen=True)
class Wanted:
    """What a service is asked to be; ARNs, empty for none."""

    image: str = "app:1"
    scaling: str = ""
    tracing: str = ""
    connector: str = ""
    public: bool = True


@dataclass
class Operation:
    """`outcome` is its status once it is over, `status` the service's then."""

    id: str
    type: str
    outcome: str
    status: str


@dataclass
class Service:
    """`status` is the one at rest, `serving` what was deployed last."""

    region: str
    name: str
    arn: str
    wanted: Wanted
    tags: dict[str, str]
    status: str = ""
    serving: Wanted | None = None
    pending: Operation | None = None
    operations: list[Operation] = field(default_factory=list)  # newest first
    deleted: float | None = None

    @property
    def live(self) -> bool:
        return self.status != "DELETED"

    @property
    def shown(self) -> str:
        return BUSY if self.pending else self.status

    def uses(self, arn: str) -> bool:
        both = [self.wanted, self.serving or self.wanted]
        return self.live and any(arn in {w.scaling, w.tracing, w.connector} for w in both)

    def begin(self, id_: str, type_: str) -> None:
        outcome, status = self._outcome(type_)
        self.pending = Operation(id_, type_, outcome, status)
        self.operations.insert(0, self.pending)

    def _outcome(self, type_: str) -> tuple[str, str]:
        after = {"PAUSE_SERVICE": "PAUSED", "DELETE_SERVICE": "DELETED"}
        deploys = type_ in {"CREATE_SERVICE", "UPDATE_SERVICE", "START_DEPLOYMENT"}
        if not deploys or IMAGES[self.wanted.image]:
            return "SUCCEEDED", after.get(type_, "RUNNING")
        if self.serving is None:
            return "FAILED", "CREATE_FAILED"
        return "ROLLBACK_SUCCEEDED", "RUNNING"

    def seen_at_rest(self) -> None:
        """Its operation has ended."""
        if self.pending is None:
            return
        ended, self.pending = self.pending, None
        self.status = ended.status
        if ended.outcome == "ROLLBACK_SUCCEEDED":
            self.wanted = self.serving or self.wanted
        elif ended.status == "RUNNING":
            self.serving = self.wanted


@dataclass
class Thing:
    """A resource beside services; `service` is where an ingress connection leads to."""

    kind: str
    region: str
    name: str
    arn: str
    created: float
    tags: dict[str, str] = field(default_factory=dict)
    revision: int = 1
    service: str = ""
    updated: float | None = None
    authorized: bool = False
    deleted: float | None = None

    @property
    def live(self) -> bool:
        return self.deleted is None


@dataclass
class Domain:
    """`service` is an ARN."""

    service: str
    name: str
    created: float
    deleted: float | None = None


@dataclass(frozen=True)
class Waits:
    """Seconds of the states that clients see passing."""

    ingress: float
    creating: float
    pending: float
    binding: float
    deleting: float
    handshake: bool  # somebody has to do it


FAST = Waits(0.5, 1.0, 15.0, 1.0, 1.0, handshake=False)

REALISTIC = Waits(60.0, 15.0, 300.0, 120.0, 30.0, handshake=True)


class Account:
    """Everything that was accepted, in order; a verdict is empty or an error's code."""

    def __init__(self, waits: Waits = FAST) -> None:
        self.waits = waits
        self.services: list[Service] = []
        self.things: list[Thing] = []
        self.domains: list[Domain] = []
        self.default = {region: BUILT_IN.format(region, "0" * 31 + "1") for region in REGIONS}
        for region, arn in self.default.items():
            self.things.append(Thing("scaling", region, "DefaultConfiguration", arn, 0.0))

    # -- questions -----------------------------------------------------------------------------

    def live_services(self, region: str) -> list[Service]:
        """Newest first."""
        return [s for s in self.services if s.region == region and s.live][::-1]

    def live(self, kind: str, region: str) -> list[Thing]:
        """Newest first."""
        mine = [t for t in self.things if (t.kind, t.region) == (kind, region) and t.live]
        return mine[::-1]

    def kind(self, kind: str) -> list[Thing]:
        return [t for t in self.things if t.kind == kind]

    def service(self, arn: str) -> Service | None:
        return next((s for s in self.services if s.arn == arn), None)

    def used(self, arn: str) -> bool:
        return any(s.uses(arn) for s in self.services)

    def latest(self, kind: str, region: str) -> set[str]:
        highest: dict[str, Thing] = {}
        for thing in sorted(self.live(kind, region), key=lambda t: t.revision):
            highest[thing.name] = thing
        return {thing.arn for thing in highest.values()}

    def next_revision(self, kind: str, region: str, name: str) -> int:
        live = [t.revision for t in self.live(kind, region) if t.name == name]
        return max(live, default=0) + 1

    def domains_of(self, service: Service, now: float) -> list[Domain]:
        """Those that are shown, oldest first; near a border those that may be."""
        if not service.live:
            return []
        mine = [d for d in self.domains if d.service == service.arn]
        return [d for d in mine if self.domain_statuses(d, now) != {""}]

    def domain_statuses(self, domain: Domain, now: float) -> set[str]:
        """Empty once it is gone."""
        return {self._domain_status(domain, now + each) for each in (-NEAR, NEAR)}

    def _domain_status(self, domain: Domain, now: float) -> str:
        waits = self.waits
        if domain.deleted is not None:
            return "deleting" if now - domain.deleted < waits.deleting else ""
        steps = {
            "creating": waits.creating,
            "pending_certificate_dns_validation": waits.pending,
            "binding_certificate": waits.binding,
        }
        end = domain.created
        for status, seconds in steps.items():
            end += seconds
            if now < end:
                return status
        return "active"

    def ingress_statuses(self, thing: Thing, now: float) -> set[str]:
        return {self._ingress_status(thing, now + each) for each in (-NEAR, NEAR)}

    def _ingress_status(self, thing: Thing, now: float) -> str:
        if thing.deleted is not None:
            return "PENDING_DELETION" if now < thing.deleted + self.waits.ingress else "DELETED"
        if now < thing.created + self.waits.ingress:
            return "PENDING_CREATION"
        if thing.updated is not None and now < thing.updated + self.waits.ingress:
            return "PENDING_UPDATE"
        return "AVAILABLE"

    # -- verdicts ------------------------------------------------------------------------------

    def refers(self, region: str, wanted: Wanted, current: Wanted | None = None) -> str:
        """Only what is new is looked at."""
        old = current or Wanted()
        pairs = [
            ("scaling", wanted.scaling, old.scaling),
            ("tracing", wanted.tracing, old.tracing),
            ("connector", wanted.connector, old.connector),
        ]
        for kind, arn, before in pairs:
            if arn and arn != before and arn not in {t.arn for t in self.live(kind, region)}:
                return INVALID
        return ""

    def may_create(self, region: str, name: str, wanted: Wanted) -> str:
        live = self.live_services(region)
        if self.refers(region, wanted) or name in {s.name for s in live}:
            return INVALID
        return QUOTA if len(live) >= SERVICES else ""

    def may_update(self, service: Service, wanted: Wanted) -> str:
        if not service.live:
            return MISSING
        if service.shown not in {"RUNNING", "CREATE_FAILED"}:
            return STATE
        return self.refers(service.region, wanted, service.wanted)

    def may_act(self, service: Service, operation: str) -> str:
        allowed = {
            "PauseService": {"RUNNING", "PAUSED"},
            "ResumeService": {"RUNNING", "PAUSED"},
            "StartDeployment": {"RUNNING"},
            "DeleteService": {"RUNNING", "PAUSED", "CREATE_FAILED"},
        }
        if not service.live:
            return MISSING
        if operation == "DeleteService" and self.ways_to(service):
            return STATE
        if service.shown in allowed[operation]:
            return ""
        return INVALID if operation == "StartDeployment" else STATE

    def ways_to(self, service: Service) -> list[Thing]:
        return [t for t in self.live("ingress", service.region) if t.service == service.arn]

    def may_make(self, kind: str, region: str, name: str) -> str:
        """Everything but services and ingress connections."""
        live = [t for t in self.live(kind, region) if t.name != "DefaultConfiguration"]
        names = [t.name for t in live]
        if kind in {"scaling", "tracing"}:
            over = name not in names and len(set(names)) >= NAMES[kind]
            return QUOTA if over or names.count(name) >= REVISIONS else ""
        if name in names:
            return INVALID
        return QUOTA if len(names) >= NAMES[kind] else ""

    def may_lead(self, service: Service, name: str) -> str:
        if not service.live:
            return INVALID
        if service.pending:
            return STATE
        if name in {t.name for t in self.live("ingress", service.region)}:
            return INVALID
        return QUOTA if self.ways_to(service) else ""

    def may_unmake(self, thing: Thing) -> str:
        revised = thing.kind in {"scaling", "tracing"}
        if not thing.live:
            return INVALID if revised else MISSING
        if thing.arn == self.default[thing.region] or self.used(thing.arn):
            return INVALID
        return ""

    def may_unmake_all(self, things: list[Thing]) -> str:
        return next((verdict for verdict in map(self.may_unmake, things) if verdict), "")

    def may_associate(self, service: Service, name: str) -> str:
        if not service.live:
            return INVALID
        if service.shown != "RUNNING":
            return STATE
        taken = [d for d in self.domains if d.deleted is None and self._alive(d)]
        mine = [d for d in taken if d.service == service.arn]
        return INVALID if name in {d.name for d in taken} or len(mine) >= DOMAINS else ""

    def _alive(self, domain: Domain) -> bool:
        service = self.service(domain.service)
        return service is not None and service.live

    def may_disassociate(self, service: Service, name: str, now: float) -> set[str]:
        if not service.live:
            return {MISSING}
        if service.shown != "RUNNING":
            return {STATE}
        found = [d for d in self.domains_of(service, now) if d.name == name]
        if not found:
            return {MISSING}
        return {"", MISSING} if "" in self.domain_statuses(found[-1], now) else {""}

    # -- what is forgotten ---------------------------------------------------------------------

    def may_be_gone(self, deleted: float | None, now: float) -> bool:
        return deleted is not None and now > deleted + DESCRIBABLE - 1

    def must_be_gone(self, deleted: float | None, now: float) -> bool:
        return deleted is not None and now > deleted + DESCRIBABLE + SWEEP

    def forget(self, gone: Service | Thing) -> None:
        if isinstance(gone, Service):
            self.services.remove(gone)
        else:
            self.things.remove(gone)


def changed(wanted: Wanted, **members: Any) -> Wanted:
    """What is None stays."""
    return replace(wanted, **{key: value for key, value in members.items() if value is not None})


def tagged(things: list[Thing], services: list[Service]) -> Iterator[Thing | Service]:
    """Whatever can have tags, but for what every account has."""
    yield from (t for t in things if t.name != "DefaultConfiguration")
    yield from services
