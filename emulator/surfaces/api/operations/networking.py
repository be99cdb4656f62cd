"""VPC connectors and VPC ingress connections."""

from emulator.controllers.account.vpc import IngressVpc, Vpc
from emulator.decisions.provisioning import IngressStatus
from emulator.model.resources import VpcConnector, VpcIngressConnection
from emulator.surfaces.api import requests, views
from emulator.surfaces.api.operations.call import Answer, Call
from emulator.surfaces.api.pages import page


def _connector(value: VpcConnector) -> Answer:
    return {
        "VpcConnectorName": value.name,
        "VpcConnectorArn": value.arn,
        "VpcConnectorRevision": value.revision,
        "Subnets": value.subnets,
        "SecurityGroups": value.security_groups,
        "Status": "ACTIVE" if value.live else "INACTIVE",
        "CreatedAt": value.created_at,
        "DeletedAt": value.deleted_at,
    }


async def create_vpc_connector(call: Call) -> Answer:
    vpc = Vpc(
        subnets=call.members["Subnets"], security_groups=call.members.get("SecurityGroups", ())
    )
    made = await call.account.vpc_connectors.create(
        call.region,
        call.members["VpcConnectorName"],
        vpc,
        requests.tags(call.members.get("Tags")),
    )
    return {"VpcConnector": _connector(made)}


async def describe_vpc_connector(call: Call) -> Answer:
    arn = call.members["VpcConnectorArn"]
    return {"VpcConnector": _connector(call.account.registry.find(VpcConnector, call.region, arn))}


async def delete_vpc_connector(call: Call) -> Answer:
    arn = call.members["VpcConnectorArn"]
    return {"VpcConnector": _connector(await call.account.vpc_connectors.delete(call.region, arn))}


async def list_vpc_connectors(call: Call) -> Answer:
    live = call.account.registry.live(VpcConnector, call.region)
    shown, token = page(live, lambda c: c.arn, call.members, question=call.question)
    return {"VpcConnectors": [_connector(value) for value in shown], "NextToken": token}


# -- ingress ---------------------------------------------------------------------------------------


def _ingress(call: Call, value: VpcIngressConnection) -> Answer:
    status = call.account.ingress.status(value)
    return {
        "VpcIngressConnection": {
            "VpcIngressConnectionArn": value.arn,
            "VpcIngressConnectionName": value.name,
            "ServiceArn": value.service,
            "Status": status,
            "AccountId": value.account,
            "DomainName": views.ingress_domain(value),
            "IngressVpcConfiguration": {"VpcId": value.vpc, "VpcEndpointId": value.endpoint},
            "CreatedAt": value.created_at,
            "DeletedAt": value.deleted_at if status is IngressStatus.DELETED else None,
        }
    }


def _asked(call: Call) -> IngressVpc:
    wanted = call.members["IngressVpcConfiguration"]
    return IngressVpc(vpc=wanted.get("VpcId"), endpoint=wanted.get("VpcEndpointId"))


async def create_vpc_ingress_connection(call: Call) -> Answer:
    made = await call.account.ingress.create(
        call.live_service(),
        call.members["VpcIngressConnectionName"],
        _asked(call),
        requests.tags(call.members.get("Tags")),
    )
    return _ingress(call, made)


async def describe_vpc_ingress_connection(call: Call) -> Answer:
    arn = call.members["VpcIngressConnectionArn"]
    return _ingress(call, call.account.registry.find(VpcIngressConnection, call.region, arn))


async def update_vpc_ingress_connection(call: Call) -> Answer:
    arn = call.members["VpcIngressConnectionArn"]
    return _ingress(call, await call.account.ingress.update(call.region, arn, _asked(call)))


async def delete_vpc_ingress_connection(call: Call) -> Answer:
    arn = call.members["VpcIngressConnectionArn"]
    return _ingress(call, await call.account.ingress.delete(call.region, arn))


async def list_vpc_ingress_connections(call: Call) -> Answer:
    asked = call.members.get("Filter", {})
    live = call.account.registry.live(VpcIngressConnection, call.region)
    wanted = [
        c
        for c in live
        if asked.get("ServiceArn") in {None, c.service}
        and asked.get("VpcEndpointId") in {None, c.endpoint}
    ]
    shown, token = page(wanted, lambda c: c.arn, call.members, question=call.question)
    rows = [{"VpcIngressConnectionArn": c.arn, "ServiceArn": c.service} for c in shown]
    return {"VpcIngressConnectionSummaryList": rows, "NextToken": token}
