"""Custom domains of a service."""

from emulator.decisions.provisioning import DomainStatus
from emulator.model.resources import CustomDomain
from emulator.model.service import Service
from emulator.surfaces.api import views
from emulator.surfaces.api.operations.call import Answer, Call
from emulator.surfaces.api.pages import page


def _frame(call: Call, service: Service) -> Answer:
    """What all three answers have. VpcDNSTargets is there also when it is empty (recorded)."""
    return {
        "DNSTarget": views.target(call.platform, service),
        "ServiceArn": service.arn,
        "VpcDNSTargets": [
            {
                "VpcIngressConnectionArn": way.arn,
                "VpcId": way.vpc,
                "DomainName": views.ingress_domain(way),
            }
            for way in call.account.ingress.of(service)
        ],
    }


def _view(call: Call, value: CustomDomain) -> Answer:
    status = call.account.domains.status(value) or DomainStatus.DELETING
    return {
        "DomainName": value.domain,
        "EnableWWWSubdomain": value.www,
        "CertificateValidationRecords": views.validation_records(value, status),
        "Status": status,
    }


async def associate_custom_domain(call: Call) -> Answer:
    service = call.live_service()
    made = await call.account.domains.associate(
        service, call.members["DomainName"], www=call.members.get("EnableWWWSubdomain", True)
    )
    return {**_frame(call, service), "CustomDomain": _view(call, made)}


async def disassociate_custom_domain(call: Call) -> Answer:
    service = call.live_service()
    gone = await call.account.domains.disassociate(service, call.members["DomainName"])
    return {**_frame(call, service), "CustomDomain": _view(call, gone)}


async def describe_custom_domains(call: Call) -> Answer:
    service = call.service()
    domains = call.account.domains.of(service.id)
    shown, token = page(domains, lambda d: d.domain, call.members, question=call.question)
    rows = [_view(call, value) for value in shown]
    return {**_frame(call, service), "CustomDomains": rows, "NextToken": token}
