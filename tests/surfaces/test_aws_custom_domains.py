"""Custom domains through the API: who has one, and the states that clients wait for."""

import asyncio
import json
import re

import pytest

from emulator.model.settings import PaceMode
from tests.surfaces.aws_calls import OTHER_REGION, at_pace, calling

documented, observed, assumed = pytest.mark.documented, pytest.mark.observed, pytest.mark.assumed
pytestmark = [pytest.mark.looptime, pytest.mark.timeout(20)]
CREATING, PENDING = "creating", "pending_certificate_dns_validation"
BINDING, ACTIVE, DELETING = "binding_certificate", "active", "deleting"
WAITS = {PaceMode.FAST: (1, 15, 1), PaceMode.REALISTIC: (15, 300, 120)}


async def shown(aws, arn, name="example.com"):
    domains = (await aws("DescribeCustomDomains", ServiceArn=arn))["CustomDomains"]
    return next(each for each in domains if each["DomainName"] == name)


async def refused(aws, arn, name="example.com", operation="AssociateCustomDomain"):
    return await aws.refused(operation, ServiceArn=arn, DomainName=name)


class TestAssociate:
    @observed(source="recorded: VpcDNSTargets is there also when it is empty; lower case states")
    async def test_answers_with_the_target_of_its_dns_record(self, aws):
        arn = (await aws.service())["ServiceArn"]
        answer = await aws("AssociateCustomDomain", ServiceArn=arn, DomainName="example.com")
        url = (await aws.described(arn))["ServiceUrl"]
        frame = {"DNSTarget": url, "ServiceArn": arn, "VpcDNSTargets": []}
        domain = {
            "DomainName": "example.com",
            "EnableWWWSubdomain": True,
            "CertificateValidationRecords": [],
            "Status": CREATING,
        }
        assert answer == frame | {"CustomDomain": domain}
        described = await aws("DescribeCustomDomains", ServiceArn=arn)
        assert described == frame | {"CustomDomains": [domain]}

    @documented(source="service model: EnableWWWSubdomain, default true")
    @pytest.mark.parametrize("www", [True, False])
    async def test_takes_www_along_if_wanted(self, aws, www):
        arn = (await aws.service())["ServiceArn"]
        made = await aws.domain(arn, EnableWWWSubdomain=www)
        assert made["EnableWWWSubdomain"] is www
        platform = aws.emulator.platform
        hosts = platform.hosts(platform.ledger("hello").service)
        assert ("example.com" in hosts, "www.example.com" in hosts) == (True, www)

    @documented(source="developer guide: a wildcard covers immediate subdomains, without www")
    async def test_takes_wildcards_without_www(self, aws):
        arn = (await aws.service())["ServiceArn"]
        await aws.domain(arn, "*.example.com")
        platform = aws.emulator.platform
        hosts = platform.hosts(platform.ledger("hello").service)
        assert "*.example.com" in hosts
        assert not any("www" in host for host in hosts)

    @observed(source="clients.md 2.1: Terraform sends two of them ten milliseconds apart")
    async def test_takes_two_at_once(self, aws):
        arn = (await aws.service())["ServiceArn"]
        bodies = [{"ServiceArn": arn, "DomainName": f"{name}.com"} for name in "ab"]
        calls = [aws.raw("AssociateCustomDomain", json.dumps(body).encode()) for body in bodies]
        replies = await asyncio.gather(*calls)
        assert [reply.status for reply in replies] == [200, 200]
        assert await aws.domains(arn) == {"a.com": CREATING, "b.com": CREATING}

    @documented(source="roadmap issue 249: five; the operation declares no quota error")
    async def test_stops_at_five(self, aws):
        arn = (await aws.service())["ServiceArn"]
        for number in range(5):
            await aws.domain(arn, f"{number}.example.com")
        refusal = await refused(aws, arn)
        assert (refusal.status, refusal.code) == (400, "InvalidRequestException")
        assert "5 custom domains" in refusal.message
        await aws("DisassociateCustomDomain", ServiceArn=arn, DomainName="0.example.com")
        await aws.domain(arn)

    async def test_of_a_name_that_is_taken_is_refused(self, aws):
        arn = (await aws.service())["ServiceArn"]
        other = (await aws.service("other"))["ServiceArn"]
        await aws.domain(arn)
        assert "this service" in (await refused(aws, arn)).message
        assert "another service" in (await refused(aws, other)).message
        assert (await refused(aws, other, "EXAMPLE.com")).code == "InvalidRequestException"
        await aws("DisassociateCustomDomain", ServiceArn=arn, DomainName="example.com")
        await aws.domain(other)

    async def test_takes_the_names_of_a_deleted_service(self, aws):
        arn = (await aws.service())["ServiceArn"]
        other = (await aws.service("other"))["ServiceArn"]
        await aws.domain(arn)
        await aws.changed("DeleteService", arn)
        await aws.passes(1)
        await aws.domain(other)
        assert await aws.domains(arn) == {}

    async def test_that_waited_for_its_turn_finds_the_service_gone(self, aws):
        """It is not as if it had come before the deletion."""
        arn = (await aws.service())["ServiceArn"]
        registry = aws.emulator.platform.account.registry
        body = json.dumps({"ServiceArn": arn, "DomainName": "example.com"}).encode()
        async with registry.lock:
            late = asyncio.gather(aws.raw("AssociateCustomDomain", body))
            await aws.emulator.platform.delete(arn)
            await aws.settled(arn)
        (reply,) = await late
        assert reply.code == "InvalidRequestException"
        other = (await aws.service("other"))["ServiceArn"]
        await aws.domain(other)

    @assumed(why="DNS does not tell upper case from lower")
    async def test_shows_names_in_lower_case(self, aws):
        arn = (await aws.service())["ServiceArn"]
        assert (await aws.domain(arn, "WWW.Example.COM"))["DomainName"] == "www.example.com"

    @pytest.mark.parametrize(
        "name",
        [
            "example",
            "-a.com",
            "a-.com",
            "a..com",
            ".com",
            "*.*.com",
            "a*.com",
            "*",
            "x" * 64 + ".com",
        ],
    )
    @assumed(why="the model's pattern is wider than what a name in the DNS can be")
    async def test_of_what_is_no_domain_name_is_refused(self, aws, name):
        arn = (await aws.service())["ServiceArn"]
        assert (await refused(aws, arn, name)).code == "InvalidRequestException"
        assert await aws.domains(arn) == {}

    @documented(source="service model: DomainName")
    @pytest.mark.parametrize("name", ["", "exa_mple.com", "exämple.com", "a b.com", "x" * 256])
    async def test_of_what_the_model_does_not_allow_is_refused(self, aws, name):
        arn = (await aws.service())["ServiceArn"]
        refusal = await refused(aws, arn, name)
        assert refusal.code == "InvalidRequestException"
        assert "'domainName'" in refusal.message


class TestStates:
    @assumed(why="long enough for the Terraform provider to see each; minutes at AWS's pace")
    @pytest.mark.parametrize("pace", PaceMode)
    async def test_come_one_after_the_other(self, pace):
        async with calling(at_pace(pace)) as aws:
            arn = (await aws.begin())["Service"]["ServiceArn"]
            await aws.settled(arn, within=300)
            await aws.domain(arn)
            seen = []
            for wait in (*WAITS[pace], 1):
                await aws.passes(0.01)
                seen.append((await aws.domains(arn))["example.com"])
                await aws.passes(wait - 0.02)
                assert (await aws.domains(arn))["example.com"] == seen[-1]
                await aws.passes(0.01)
            assert seen == [CREATING, PENDING, BINDING, ACTIVE]

    @observed(source="clients.md 2.1: active before the first look fails the provider")
    async def test_are_seen_by_a_client_that_looks_ever_less_often(self, aws):
        arn = (await aws.service())["ServiceArn"]
        await aws.domain(arn)
        seen = []
        for pause in (0, 0.25, 0.4, 0.85, 1.6, 3.2):
            await aws.passes(pause)
            seen.append((await aws.domains(arn))["example.com"])
        assert seen[0] == CREATING
        assert seen[-1] == PENDING
        assert set(seen) == {CREATING, PENDING}

    async def test_do_not_start_over_with_the_emulator(self, aws):
        arn = (await aws.service())["ServiceArn"]
        await aws.domain(arn)
        await aws.passes(17.5)
        await aws.emulator.__aexit__(None, None, None)
        async with calling(machine=aws.machine) as again:
            assert await again.domains(arn) == {"example.com": ACTIVE}
            platform = again.emulator.platform
            assert "example.com" in platform.hosts(platform.ledger("hello").service)

    @observed(source="clients.md 2.2: three records with www; recorded: their form")
    @pytest.mark.parametrize(
        ("name", "www", "owners"),
        [
            ("example.com", True, {"example.com", "www.example.com", "2a57j77.example.com"}),
            ("example.com", False, {"example.com", "2a57j77.example.com"}),
            ("*.example.com", True, {"example.com", "2a57j77.example.com"}),
        ],
    )
    async def test_bring_records_to_validate(self, aws, name, www, owners):
        arn = (await aws.service())["ServiceArn"]
        await aws.domain(arn, name, EnableWWWSubdomain=www)
        await aws.passes(2)
        records = (await shown(aws, arn, name))["CertificateValidationRecords"]
        found = set()
        for record in records:
            owner = re.fullmatch(r"_[0-9a-f]{32}\.(.+)\.", record["Name"])
            assert owner, record
            found.add(owner[1])
            value = r"_[0-9a-f]{32}\.[a-z0-9]{10}\.acm-validations\.aws\."
            assert re.fullmatch(value, record["Value"])
            assert (record["Type"], record["Status"]) == ("CNAME", "PENDING_VALIDATION")
        assert found == owners
        assert len(records) == len(owners)
        await aws.passes(20)
        validated = (await shown(aws, arn, name))["CertificateValidationRecords"]
        assert validated == [record | {"Status": "SUCCESS"} for record in records]


class TestDisassociate:
    @observed(source="clients.md 2.1: `deleting`, then gone")
    @pytest.mark.parametrize("after", [0, 2, 16.5, 30])
    async def test_is_seen_and_then_done(self, aws, after):
        arn = (await aws.service())["ServiceArn"]
        await aws.domain(arn)
        await aws.passes(after)
        answer = await aws("DisassociateCustomDomain", ServiceArn=arn, DomainName="example.com")
        assert answer.keys() == {"DNSTarget", "ServiceArn", "VpcDNSTargets", "CustomDomain"}
        assert answer["CustomDomain"]["Status"] == DELETING
        await aws.passes(0.9)
        assert await aws.domains(arn) == {"example.com": DELETING}
        await aws.passes(0.2)
        assert await aws.domains(arn) == {}
        refusal = await refused(aws, arn, operation="DisassociateCustomDomain")
        assert refusal.code == "ResourceNotFoundException"

    async def test_ends_the_routing_at_once(self, aws):
        arn = (await aws.service())["ServiceArn"]
        await aws.domain(arn)
        await aws("DisassociateCustomDomain", ServiceArn=arn, DomainName="example.com")
        platform = aws.emulator.platform
        assert "example.com" not in platform.hosts(platform.ledger("hello").service)

    async def test_can_be_followed_by_another_association(self, aws):
        arn = (await aws.service())["ServiceArn"]
        await aws.domain(arn)
        await aws.passes(20)
        await aws("DisassociateCustomDomain", ServiceArn=arn, DomainName="example.com")
        assert (await aws.domain(arn))["Status"] == CREATING
        await aws.passes(2)
        assert await aws.domains(arn) == {"example.com": PENDING}

    async def test_of_what_is_not_associated_is_not_found(self, aws):
        arn = (await aws.service())["ServiceArn"]
        other = (await aws.service("other"))["ServiceArn"]
        await aws.domain(other)
        refusal = await refused(aws, arn, operation="DisassociateCustomDomain")
        assert refusal.code == "ResourceNotFoundException"
        assert await aws.domains(other) == {"example.com": CREATING}


@documented(source="service model: MaxResults from 1 to 5, in pages")
async def test_the_domains_of_a_service_come_in_pages(aws):
    arn = (await aws.service())["ServiceArn"]
    names = [f"{number}.example.com" for number in range(5)]
    for name in names:
        await aws.domain(arn, name)
    seen, more = [], {}
    while True:
        answer = await aws("DescribeCustomDomains", ServiceArn=arn, MaxResults=2, **more)
        seen += [domain["DomainName"] for domain in answer["CustomDomains"]]
        if "NextToken" not in answer:
            break
        more = {"NextToken": answer["NextToken"]}
    assert seen == names


async def test_the_domains_of_a_region_are_asked_for_there(aws):
    arn = (await aws.service())["ServiceArn"]
    await aws.domain(arn)
    elsewhere = aws.at(OTHER_REGION)
    refusal = await elsewhere.refused("DescribeCustomDomains", ServiceArn=arn)
    assert refusal.code == "ResourceNotFoundException"
    other = (await elsewhere.service())["ServiceArn"]
    assert await elsewhere.domains(other) == {}
    assert (await refused(elsewhere, other)).code == "InvalidRequestException"


async def test_a_deletion_that_dies_at_any_effect_frees_the_domains():
    for effects in range(1, 40):
        async with calling() as aws:
            arn = (await aws.service())["ServiceArn"]
            await aws.domain(arn)
            await aws("DeleteService", ServiceArn=arn)
            aws.emulator.fuse.at = aws.emulator.fuse.count + effects
            await aws.passes(10)
            died = aws.emulator.dead
        async with calling(machine=aws.machine) as again:
            assert (await again.settled(arn))["Status"] == "DELETED"
            await again.passes(1)
            assert await again.domains(arn) == {}
            other = (await again.service("other"))["ServiceArn"]
            await again.domain(other)
        if not died:
            return
    raise AssertionError("a deletion has more effects than that")
