"""AWS JSON 1.0 over real HTTP: what no SDK would send is answered all the same, never by a 5xx."""

import asyncio
import gzip
import io
import json
import re

import pytest
from aiohttp.test_utils import TestClient, TestServer

from emulator.surfaces.api.server import BODY_LIMIT, Api
from tests.conformance.answers import document
from tests.fakes.emulators import Emulator, Machine
from tests.surfaces.aws_calls import OTHER_REGION, REGION, image_source

JSON = "application/x-amz-json-1.0"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
UNKNOWN, UNREADABLE = "UnknownOperationException", "SerializationException"
assumed = pytest.mark.assumed
observed = pytest.mark.observed
documented = pytest.mark.documented
pytestmark = pytest.mark.timeout(60)


def signed(region=REGION, service="apprunner", algorithm="AWS4-HMAC-SHA256"):
    scope = f"Credential=test/20270115/{region}/{service}/aws4_request"
    return f"{algorithm} {scope}, SignedHeaders=host;x-amz-date, Signature=00"


class Caller:
    """Sends bytes as a client would, and whatever else is asked for; None leaves a header out."""

    def __init__(self, client):
        self.client = client

    async def send(self, body=b"{}", *, target="AppRunner.ListServices", method="POST", **more):
        headers = {
            "X-Amz-Target": target,
            "Content-Type": JSON,
            "Authorization": signed(),
        } | more.pop("headers", {})
        sent = {name: value for name, value in headers.items() if value is not None}
        kept = {} if headers.get("Content-Type") else {"skip_auto_headers": ["Content-Type"]}
        path = more.pop("path", "/")
        return await self.client.request(method, path, data=body, headers=sent, **kept, **more)

    async def ask(self, operation, region=REGION, **members):
        headers = {"Authorization": signed(region)}
        body = json.dumps(members).encode()
        answer = await self.send(body, target=f"AppRunner.{operation}", headers=headers)
        assert answer.status == 200, await answer.text()
        return await answer.json(content_type=JSON)


@pytest.fixture
async def api():
    async with Emulator(Machine()) as emulator:
        application = Api(emulator.platform, status=dict, stop=lambda _: None).application()
        async with TestClient(TestServer(application, host="127.0.0.1")) as client:
            yield Caller(client)


async def failed(answer, code, status=400):
    """An error as SDKs read it, for its message."""
    body = document(await answer.read())
    assert (answer.status, body["__type"]) == (status, code), body
    assert answer.headers["x-amzn-errortype"] == code
    assert answer.headers["Content-Type"] == JSON
    assert UUID.fullmatch(answer.headers["x-amzn-requestid"])
    assert 0 < len(body["Message"]) <= 600
    assert body.keys() == {"__type", "Message"}
    return body["Message"]


class TestAnswers:
    @documented(source="apprunner.md 1.1: headers of recorded answers")
    async def test_say_what_they_are_and_which_request_they_belong_to(self, api):
        first, second = await api.send(), await api.send()
        assert await first.json(content_type=JSON) == {"ServiceSummaryList": []}
        assert first.headers["Content-Type"] == JSON
        assert "x-amzn-errortype" not in first.headers
        ids = [answer.headers["x-amzn-requestid"] for answer in (first, second)]
        assert all(UUID.fullmatch(each) for each in ids)
        assert len(set(ids)) == 2

    @observed(source="clients.md 1.1: boto3 reads the body's __type, Go and JavaScript either")
    async def test_name_an_error_in_the_body_and_in_a_header(self, api):
        body = b'{"ServiceArn": "x"}'
        answer = await api.send(body, target="AppRunner.DescribeService")
        message = await failed(answer, "InvalidRequestException")
        assert message.startswith("1 validation error detected: Value 'x' at 'serviceArn' failed")

    @assumed(why="the API reference has 402, and no client looks")
    async def test_a_quota_that_is_used_up_is_http_402(self, api):
        for number in range(10):
            name = f"name{number}"
            await api.ask("CreateConnection", ConnectionName=name, ProviderType="GITHUB")
        body = b'{"ConnectionName": "eleventh", "ProviderType": "GITHUB"}'
        answer = await api.send(body, target="AppRunner.CreateConnection")
        await failed(answer, "ServiceQuotaExceededException", status=402)

    @documented(source="service model: TagResource and UntagResource answer {}")
    async def test_are_an_object_also_when_they_are_empty(self, api):
        arn = f"arn:aws:apprunner:{REGION}:000000000000:autoscalingconfiguration"
        arn = f"{arn}/DefaultConfiguration/1/{'0' * 31}1"
        assert await api.ask("TagResource", ResourceArn=arn, Tags=[]) == {}
        assert await api.ask("UntagResource", ResourceArn=arn, TagKeys=["x"]) == {}


BODIES = {
    "nothing": b"",
    "blank": b" ",
    "half": b'{"MaxResults": 1',
    "too much": b"{}{}",
    "a comment": b"{} // hello",
    "single quotes": b"{'MaxResults': 1}",
    "a form": b"Action=ListServices&Version=2020-05-15",
    "xml": b"<ListServices/>",
    "null": b"null",
    "a list": b"[]",
    "a number": b"1",
    "a text": b'"{}"',
    "true": b"true",
    "NaN": b'{"MaxResults": NaN}',
    "Infinity": b'{"MaxResults": -Infinity}',
    "bare NaN": b"NaN",
    "beyond a double": b'{"MaxResults": 1e400}',
    "a fraction": b'{"MaxResults": 1.5}',
    "a whole fraction": b'{"MaxResults": 1.0}',
    "beyond 32 bits": b'{"MaxResults": 2147483648}',
    "below 32 bits": b'{"MaxResults": -2147483649}',
    "four hundred digits": b'{"MaxResults": 1%s}' % (b"0" * 400),
    "more digits than Python reads": b'{"MaxResults": 1%s}' % (b"0" * 5000),
    "a text for a number": b'{"MaxResults": "1"}',
    "true for a number": b'{"MaxResults": true}',
    "a lone surrogate": b'{"NextToken": "\\ud800"}',
    "a NUL": b'{"NextToken": "a\\u0000b"}',
    "a raw NUL": b'{"NextToken": "a\x00b"}',
    "a raw line feed": b'{"NextToken": "a\nb"}',
    "latin-1": b'{"NextToken": "\xe9"}',
    "bytes": bytes(range(256)),
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep and whole": b'{"NextToken":' + b"[" * 90_000 + b"]" * 90_000 + b"}",
    "deep and unknown": b'{"Strange":' + b'{"a":' * 90_000 + b"1" + b"}" * 90_000 + b"}",
}


class TestBodies:
    @pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
    @observed(source="clients.md 6: bad requests that found bugs in a plain Python server")
    async def test_that_are_no_request_cannot_be_read(self, api, body):
        await failed(await api.send(body), UNREADABLE)
        assert (await api.send()).status == 200

    @assumed(why="a name that is there twice counts as its last value, as in most JSON readers")
    async def test_with_a_name_twice_count_the_last_one(self, api):
        assert (await api.send(b'{"MaxResults": 0, "MaxResults": 1}')).status == 200
        answer = await api.send(b'{"MaxResults": 1, "MaxResults": 0}')
        await failed(answer, "InvalidRequestException")

    @pytest.mark.parametrize("body", [b"{}", b" {\r\n}\n", b"\xef\xbb\xbf{}", b'{"MaxResults":1}'])
    async def test_may_have_blanks_and_a_byte_order_mark(self, api, body):
        assert (await api.send(body)).status == 200

    async def test_may_come_in_pieces_or_packed(self, api):
        async def pieces():
            yield b"{"
            yield b"}"

        assert (await api.send(pieces())).status == 200
        packed = {"Content-Encoding": "gzip"}
        assert (await api.send(gzip.compress(b"{}"), headers=packed)).status == 200

    async def test_that_are_packed_badly_are_refused(self, api):
        for encoding in ("gzip", "deflate"):
            answer = await api.send(b"not packed", headers={"Content-Encoding": encoding})
            await failed(answer, UNREADABLE)

    @observed(source="clients.md 6: values of 51,200 characters are legal")
    async def test_may_be_of_eight_mebibytes_and_no_more(self, api):
        frame = len(b'{"ServiceName": ""}')
        body = b'{"ServiceName": "%s"}' % (b"x" * (BODY_LIMIT - frame))
        assert len(body) == 8 * 1024 * 1024
        answer = await api.send(io.BytesIO(body), target="AppRunner.CreateService")
        message = await failed(answer, "InvalidRequestException")
        assert "less than or equal to 40" in message
        answer = await api.send(io.BytesIO(body + b" "), target="AppRunner.CreateService")
        await failed(answer, "RequestEntityTooLargeException", status=413)


class TestTargets:
    @pytest.mark.parametrize(
        "target",
        [
            "AppRunner.NoSuchOperation",
            "AppRunner.listServices",
            "AppRunner.",
            "AppRunner.ListServices ",
            "AppRunner.AppRunner.ListServices",
            "AppRunner.__class__",
            "AppRunner.page",
            "AppRunner.%00",
            f"AppRunner.{'x' * 4000}",
            "",
            None,
        ],
    )
    @assumed(why="what AWS JSON services answer in general")
    async def test_that_are_none_of_ours_are_unknown_operations(self, api, target):
        sent = target.strip() if target and target.endswith(" ") else target
        answer = await api.send(target=sent)
        if target and target.endswith(" "):
            assert answer.status == 200  # HTTP has no blanks at the end of a header
        else:
            await failed(answer, UNKNOWN)

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
    async def test_are_asked_for_with_post_only(self, api, method):
        assert "POST /" in await failed(await api.send(method=method), UNKNOWN)

    async def test_are_not_asked_for_with_head(self, api):
        answer = await api.send(method="HEAD")
        assert answer.status == 400
        assert answer.headers["x-amzn-errortype"] == UNKNOWN

    @pytest.mark.parametrize("path", ["/x", "/%2f", "/_emulatorx", "/" + "x" * 3000])
    async def test_are_asked_for_at_the_root_only(self, api, path):
        await failed(await api.send(path=path), UNKNOWN)

    async def test_do_not_mind_a_query(self, api):
        assert (await api.send(path="/?x=1")).status == 200


class TestContentTypes:
    @pytest.mark.parametrize(
        "type_", [JSON, f"{JSON}; charset=utf-8", JSON.upper(), "application/x-amz-json-1.1"]
    )
    async def test_of_aws_json_are_taken(self, api, type_):
        assert (await api.send(headers={"Content-Type": type_})).status == 200

    @pytest.mark.parametrize(
        "type_", [None, "text/plain", "application/x-www-form-urlencoded", "json", "x" * 500]
    )
    @assumed(why="a page in a browser could send these without asking first")
    async def test_of_anything_else_are_refused(self, api, type_):
        message = await failed(await api.send(headers={"Content-Type": type_}), UNREADABLE)
        assert JSON in message


class TestSignatures:
    @pytest.mark.parametrize(
        "authorization",
        [
            None,
            "",
            "garbage",
            "Basic dGVzdDp0ZXN0",
            "AWS4-HMAC-SHA256",
            "AWS4-HMAC-SHA256 Credential=",
            "AWS4-HMAC-SHA256 Credential=a/b/c/d/e",
            signed(region="Nowhere"),
            signed(region="x" * 5000),
            signed(region="us_east_1"),
        ],
    )
    @observed(source="clients.md 1.16: a missing header must not give 5xx")
    async def test_that_say_nothing_mean_the_emulators_own_region(self, api, authorization):
        await api.ask("CreateService", ServiceName="here", **image_source())
        answer = await api.send(headers={"Authorization": authorization})
        assert answer.status == 200
        (row,) = (await answer.json(content_type=JSON))["ServiceSummaryList"]
        assert f":{REGION}:" in row["ServiceArn"]

    @observed(source="clients.md 1.16: the Region is the credential scope's")
    async def test_name_the_region(self, api):
        made = await api.ask("CreateService", OTHER_REGION, ServiceName="here", **image_source())
        arn = made["Service"]["ServiceArn"]
        assert f":{OTHER_REGION}:" in arn
        assert (await api.ask("ListServices"))["ServiceSummaryList"] == []
        (row,) = (await api.ask("ListServices", OTHER_REGION))["ServiceSummaryList"]
        assert row["ServiceArn"] == arn
        body = json.dumps({"ServiceArn": arn}).encode()
        answer = await api.send(body, target="AppRunner.DescribeService")
        await failed(answer, "ResourceNotFoundException")

    async def test_for_another_service_are_not_ours_to_answer(self, api):
        headers = {"Authorization": signed(service="ecs"), "X-Amz-Target": None}
        answer = await api.send(headers=headers)
        assert answer.status < 500
        assert "ServiceSummaryList" not in await answer.text()


class TestPages:
    """Web pages, that is: none of them may drive the emulator."""

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
    async def test_of_another_origin_are_shut_out(self, api, origin):
        assert (await api.send(headers={"Origin": origin})).status == 403

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "evil.example:8400", "localhost.evil.example", "10.0.0.1:80", "[::2]"],
    )
    async def test_at_a_name_that_was_turned_to_us_are_shut_out(self, api, host):
        assert (await api.send(headers={"Host": host})).status == 403

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8400", "[::1]:8400", "LOCALHOST:1"])
    async def test_no_tool_on_this_machine_is(self, api, host):
        assert (await api.send(headers={"Host": host})).status == 200
        own = {"Host": host, "Origin": f"http://{host}"}
        assert (await api.send(headers=own)).status == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost:\r\nContent-Length: 2\r\n\r\n{}",
        b"POST http://localhost/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        b"POST * HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n{}",
        b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"hello\r\n\r\n",
    ],
)
async def test_what_is_hardly_http_gets_no_5xx(api, request_):
    server = api.client.server
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(request_)
    status_line = await reader.readline()
    writer.close()
    assert re.match(rb"HTTP/1\.[01] [24]\d\d ", status_line), status_line
    assert (await api.send()).status == 200
