"""What is not App Runner, asked for by real SDKs and passed on to a small upstream."""

import asyncio
import gzip
import json
import logging
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import boto3
import pytest
from aiohttp import web
from botocore.exceptions import ClientError
from botocore.parsers import create_parser
from yarl import URL

from emulator.surfaces.api.neighbours import PASSED, Neighbours
from tests.helpers import on_both_loops

ACCOUNT = "123456789012"
BIG = 5_000_000
AWS = Path(sys.executable).parent / "aws"
CREDENTIALS = {
    "region_name": "eu-west-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
}

pytestmark = pytest.mark.timeout(60)


@asynccontextmanager
async def serving(handler):
    """Any method, any path, as the emulator serves them."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def emulator(upstream=""):
    """Its address, and how often it was asked."""
    neighbours = Neighbours(upstream, ACCOUNT)
    count = Counter()

    async def answer(request):
        count[request.method] += 1
        return await neighbours.answer(request)

    try:
        async with serving(answer) as address:
            yield address, count
    finally:
        await neighbours.close()


@asynccontextmanager
async def passed_on(handler):
    """An emulator with this upstream."""
    async with serving(handler) as upstream, emulator(upstream) as (address, _):
        yield address


@asynccontextmanager
async def asked(method, url, **more):
    """The answer to one request."""
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, url, **more) as answer,
    ):
        yield answer


def client(service, address):
    return boto3.client(service, endpoint_url=address, **CREDENTIALS)


def failure(service, address, call):
    """What a caller reads, with the retries that boto3 makes by itself."""
    talking = client(service, address)
    try:
        call(talking)
    except ClientError as error:
        return error.response["Error"]
    finally:
        talking.close()
    raise AssertionError("no error")


class TestCallerIdentity:
    async def test_is_the_root_of_our_account_to_boto3(self):
        async with emulator() as (address, _):
            sts = client("sts", address)
            found = await asyncio.to_thread(sts.get_caller_identity)
            sts.close()
        assert found["Account"] == ACCOUNT
        assert found["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"
        assert found["UserId"] == ACCOUNT
        assert found["ResponseMetadata"]["RequestId"]

    @pytest.mark.slow
    async def test_and_to_the_command_line(self, tmp_path):
        async with emulator() as (address, _):
            command = [AWS, "sts", "get-caller-identity", "--endpoint-url", address]
            env = {
                "PATH": "/usr/bin:/bin",
                "HOME": str(tmp_path),
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "eu-west-1",
            }
            done = await asyncio.to_thread(
                subprocess.run, command, env=env, capture_output=True, check=True
            )
        assert json.loads(done.stdout)["Account"] == ACCOUNT

    async def test_is_answered_here_although_there_is_an_upstream(self):
        async def another(_):
            return web.Response(text="<Account>000000000000</Account>")

        query = {"Action": "GetCallerIdentity", "Version": "2011-06-15"}
        async with passed_on(another) as address:
            for way in (asked("POST", address, data=query), asked("GET", address, params=query)):
                async with way as answer:
                    assert f"<Account>{ACCOUNT}</Account>" in await answer.text()

    async def test_is_answered_in_json_to_who_asks_in_json(self):
        headers = {"X-Amz-Target": "AWSSecurityTokenServiceV20110615.GetCallerIdentity"}
        async with (
            emulator() as (address, _),
            asked("POST", address, data=b"{}", headers=headers) as answer,
        ):
            assert (await answer.json())["Account"] == ACCOUNT


class TestWithoutAnUpstream:
    @pytest.mark.parametrize(
        ("service", "call"),
        [
            ("s3", lambda s3: s3.list_buckets()),
            ("s3", lambda s3: s3.put_object(Bucket="bucket", Key="a key", Body=b"x" * 100_000)),
            ("dynamodb", lambda dynamodb: dynamodb.list_tables()),
            ("sqs", lambda sqs: sqs.list_queues()),
            ("ssm", lambda ssm: ssm.get_parameter(Name="/db")),
            ("sts", lambda sts: sts.assume_role(RoleArn="a" * 20, RoleSessionName="me")),
            ("iam", lambda iam: iam.list_roles()),
            ("ec2", lambda ec2: ec2.describe_vpcs()),
            ("lambda", lambda functions: functions.list_functions()),
            ("route53", lambda route53: route53.list_hosted_zones()),
            ("cloudwatch", lambda cloudwatch: cloudwatch.list_metrics()),
        ],
    )
    async def test_an_sdk_is_told_the_setting_at_once(self, service, call):
        async with emulator() as (address, count):
            error = await asyncio.to_thread(failure, service, address, call)
        assert error["Code"] == "UpstreamNotConfigured"
        assert (
            f"was asked for '{service if service != 'cloudwatch' else 'monitoring'}'"
            in (error["Message"])
        )
        assert "[upstream] url" in error["Message"]
        assert count.total() == 1

    async def test_the_newest_protocol_is_spoken_as_well(self):
        headers = {"smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor"}
        async with (
            emulator() as (address, _),
            asked("POST", f"{address}/service/X/operation/Y", headers=headers) as answer,
        ):
            assert answer.headers["smithy-protocol"] == "rpc-v2-cbor"
            received = {
                "status_code": answer.status,
                "headers": dict(answer.headers),
                "body": await answer.read(),
            }
        error = create_parser("smithy-rpc-v2-cbor").parse(received, None)["Error"]
        assert error["Code"] == "UpstreamNotConfigured"
        assert "[upstream] url" in error["Message"]

    @pytest.mark.parametrize(
        ("headers", "what"),
        [
            ({}, "GET /some/path"),
            ({"X-Amz-Target": "Logs_20140328.PutLogEvents"}, "Logs_20140328"),
            ({"X-Amz-Target": "<i>'\u00e4.X"}, "?i???"),
        ],
    )
    async def test_what_was_asked_for_is_named_without_a_signature(self, headers, what):
        async with (
            emulator() as (address, _),
            asked("GET", f"{address}/some/path?x=1", headers=headers) as answer,
        ):
            assert answer.status == 400
            assert f"was asked for '{what}'" in await answer.text()

    async def test_head_is_refused_without_a_body(self):
        async with emulator() as (address, _), asked("HEAD", f"{address}/bucket/key") as answer:
            assert answer.status == 400
            assert await answer.read() == b""


async def echo(request):
    """Every byte that arrived, in JSON."""
    body = await request.read()
    return web.json_response(
        {
            "method": request.method,
            "target": request.raw_path,
            "headers": [[name, value] for name, value in request.headers.items()],
            "body": body.decode("latin-1"),
        }
    )


class TestForwarding:
    @pytest.mark.parametrize(
        "target",
        [
            "/",
            "/bucket/a%2Fb%20c/%C3%A4?list-type=2&prefix=a%2fb&x=%zz&y=a+b&&=;acl",
            "//double//slash/../dots/.?acl",
        ],
    )
    async def test_the_target_arrives_as_it_was_sent(self, target):
        async with passed_on(echo) as address:
            url = URL(address)
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["target"] == target

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
    async def test_so_do_method_and_headers_with_nothing_added_but_our_mark(self, method):
        headers = {
            "Host": "bucket.s3.eu-west-1.amazonaws.com",
            "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/s3/aws4_request, X",
            "x-amz-META-Note": "grün",
            "Cookie": "a=b",
        }
        auto = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
        async with (
            passed_on(echo) as address,
            asked(method, address, headers=headers, skip_auto_headers=auto) as answer,
        ):
            seen = await answer.json()
        assert seen["method"] == method
        arrived = dict(seen["headers"])
        assert arrived.pop(PASSED)
        arrived.pop("Content-Length", None)
        assert arrived.pop("Connection") == "close"
        assert arrived == headers

    async def test_a_header_may_be_there_twice_both_ways(self):
        async def twice(request):
            assert request.headers.getall("X-A") == ["1", "2"]
            return web.Response(headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])

        sent = [("X-A", "1"), ("X-A", "2")]
        async with passed_on(twice) as address, asked("GET", address, headers=sent) as answer:
            assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]

    async def test_headers_of_one_connection_stay_there(self):
        async def hops(request):
            names = {name.lower() for name in request.headers}
            assert not names & {"te", "keep-alive", "x-hop", "upgrade", "expect"}
            return web.Response(headers={"Keep-Alive": "timeout=1", "X-Stay": "1"})

        sent = {"TE": "trailers", "Connection": "X-Hop, keep-alive", "X-Hop": "1", "Upgrade": "h2c"}
        async with (
            passed_on(hops) as address,
            asked("PUT", address, data=b"x", headers=sent, expect100=True) as answer,
        ):
            assert answer.status == 200
            assert "Keep-Alive" not in answer.headers
            assert answer.headers["X-Stay"] == "1"

    async def test_binary_bodies_are_passed_on(self):
        body = bytes(range(256)) * 4
        async with passed_on(echo) as address, asked("PUT", f"{address}/key", data=body) as answer:
            seen = await answer.json()
        assert seen["body"].encode("latin-1") == body
        assert ["Content-Length", str(len(body))] in seen["headers"]

    async def test_what_is_compressed_stays_so_both_ways(self):
        packed = gzip.compress(b"text" * 1000)

        async def compressed(request):
            assert request.headers["Content-Encoding"] == "gzip"
            assert request.headers["Content-Length"] == str(len(packed))
            assert await request.read() == packed
            return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

        sent = {"data": packed, "headers": {"Content-Encoding": "gzip"}}
        async with passed_on(compressed) as address, asked("PUT", address, **sent) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert await answer.read() == packed

    async def test_a_form_of_the_query_protocol_is_passed_on_whole(self):
        async with (
            passed_on(echo) as address,
            asked("POST", address, data={"Action": "ListQueues", "X": "ä&="}) as answer,
        ):
            seen = await answer.json()
        assert seen["body"] == "Action=ListQueues&X=%C3%A4%26%3D"

    async def test_large_bodies_are_streamed_both_ways(self):
        """The answer begins before the request has ended: nothing waits for a whole body."""

        async def mirror(request):
            response = web.StreamResponse()
            await response.prepare(request)
            async for chunk in request.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

        answered = asyncio.Event()

        async def body():
            yield b"first"
            await answered.wait()
            for _ in range(BIG // 50_000):
                yield b"x" * 50_000

        async with passed_on(mirror) as address, asked("PUT", address, data=body()) as answer:
            assert await answer.content.readexactly(5) == b"first"
            answered.set()
            assert await answer.content.readexactly(BIG) == b"x" * BIG
            assert await answer.read() == b""
            assert answer.headers["Transfer-Encoding"] == "chunked"

    async def test_an_answer_to_head_keeps_the_length_of_what_it_does_not_hold(self):
        async def head(_):
            return web.Response(body=b"x" * 1234, headers={"ETag": '"1"'})

        async with passed_on(head) as address, asked("HEAD", f"{address}/bucket/key") as answer:
            assert answer.headers["Content-Length"] == "1234"
            assert answer.headers["ETag"] == '"1"'
            assert await answer.read() == b""

    @pytest.mark.parametrize("status", [200, 204, 304, 307, 404, 418, 500, 503])
    async def test_any_status_is_passed_on_and_no_redirect_followed(self, status):
        async def answering(_):
            return web.Response(status=status, reason="As Is", headers={"Location": "/elsewhere"})

        async with (
            passed_on(answering) as address,
            asked("GET", address, allow_redirects=False) as answer,
        ):
            assert (answer.status, answer.reason) == (status, "As Is")
            assert answer.headers["Location"] == "/elsewhere"

    async def test_the_upstream_s_address_may_have_a_path(self):
        async with (
            serving(echo) as upstream,
            emulator(f"{upstream}/aws/") as (address, _),
            asked("GET", f"{address}/a?b") as answer,
        ):
            assert (await answer.json())["target"] == "/aws/a?b"

    async def test_boto3_reaches_another_emulator(self):
        async def dynamodb(request):
            assert request.headers["X-Amz-Target"] == "DynamoDB_20120810.ListTables"
            headers = {"Content-Type": "application/x-amz-json-1.0"}
            return web.Response(text='{"TableNames": ["one"]}', headers=headers)

        async with serving(dynamodb) as upstream, emulator(upstream) as (address, _):
            talking = client("dynamodb", address)
            found = await asyncio.to_thread(talking.list_tables)
            talking.close()
        assert found["TableNames"] == ["one"]

    async def test_a_file_of_boto3_s_arrives_in_another_emulator(self):
        stored = []

        async def s3(request):
            stored.append(await request.read())
            return web.Response(headers={"ETag": '"1"'})

        async with serving(s3) as upstream, emulator(upstream) as (address, _):
            talking = client("s3", address)
            put = {"Bucket": "b", "Key": "a/b", "Body": b"\x00\xff" * 100_000}
            await asyncio.to_thread(lambda: talking.put_object(**put))
            talking.close()
        assert b"\x00\xff" * 1000 in stored[0]


@asynccontextmanager
async def raw(answer):
    """An upstream that sends these bytes and hangs up."""

    async def speak(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class TestTrouble:
    @pytest.mark.parametrize("service", ["s3", "sqs"])
    async def test_an_upstream_that_is_not_there_is_named_at_once(self, service):
        calls = {"s3": lambda s3: s3.list_buckets(), "sqs": lambda sqs: sqs.list_queues()}
        async with emulator("http://me:hidden@127.0.0.1:1") as (address, count):
            error = await asyncio.to_thread(failure, service, address, calls[service])
        assert error["Code"] == "UpstreamUnreachable"
        assert "[upstream] url (http://127.0.0.1:1) does not answer" in error["Message"]
        assert "hidden" not in error["Message"]
        assert count.total() == 1

    @pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200"])
    async def test_an_upstream_that_says_nothing_of_use_is_named(self, said):
        async with (
            raw(said) as upstream,
            emulator(upstream) as (address, _),
            asked("GET", address) as answer,
        ):
            assert answer.status == 400
            assert "UpstreamUnreachable" in await answer.text()

    async def test_an_upstream_that_dies_during_an_upload_is_named(self):
        async def body():
            for _ in range(BIG // 50_000):
                yield b"x" * 50_000

        async with (
            raw(b"") as upstream,
            emulator(upstream) as (address, _),
            asked("PUT", address, data=body()) as answer,
        ):
            assert answer.status == 400
            assert "does not answer" in await answer.text()

    async def test_an_emulator_that_leads_back_to_itself_says_so(self):
        there = []

        async def relayed(request):
            return await there[0].answer(request)

        async with serving(relayed) as address:
            there.append(Neighbours(address, ACCOUNT))
            async with asked("GET", address) as answer:
                text = await answer.text()
            await there[0].close()
        assert "UpstreamLoop" in text
        assert "leads back to this emulator" in text


@pytest.mark.parametrize(
    "half",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
@on_both_loops
async def test_half_an_answer_does_not_look_like_a_whole_one(half, caplog):
    async with raw(half) as upstream, emulator(upstream) as (address, _):
        with pytest.raises(aiohttp.ClientError):
            async with asked("GET", address) as answer:
                await answer.read()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@on_both_loops
async def test_a_caller_that_goes_away_lets_go_of_the_upstream(caplog):
    gone = asyncio.Event()

    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"x" * 100_000)
        gone.set()
        return response

    async with passed_on(endless) as address:
        async with asked("GET", address) as answer:
            await answer.content.readexactly(1000)
            answer.close()
        async with asyncio.timeout(10):
            await gone.wait()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
