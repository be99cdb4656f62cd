"""Signatures, against requests that botocore, boto3 and others sign for real."""

import asyncio
import hashlib
import string
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import boto3
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import given, strategies as st
from multidict import CIMultiDict

from emulator.drivers.clock import SystemClock
from emulator.model.settings import Auth
from emulator.surfaces.api.signatures import ALGORITHM, Scope, Signatures, scope

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TARGET = "AppRunner.ListServices"
PATH = "/some/path?name=a%20b&flag"
BODY = b'{"MaxResults": 5, "NextToken": "\xc3\xa4"}'


class ClockOff:
    """The machine's clock, some seconds off."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def now(self):
        return SystemClock().now() + self.seconds


class ClockStopped:
    """One that stands still."""

    def __init__(self):
        self.at = SystemClock().now()

    def now(self):
        return self.at


class Wholly(SigV4Auth):
    """Signs every header, as the SDKs for .NET and Java 1 do; botocore itself leaves some out."""

    def headers_to_sign(self, request):
        headers = HTTPHeaders()
        for name, value in request.headers.items():
            headers[name.lower()] = value
        return headers


def signatures(*, off=0.0, verify=True):
    return Signatures(Auth(verify_sigv4=verify, keys={KEY: SECRET}), ClockOff(off))


def signed(*, path=PATH, body=BODY, key=KEY, secret=SECRET, signer=SigV4Auth, **more):
    """The headers of a request as botocore signs it."""
    headers = {"Host": "localhost:8400", "X-Amz-Target": TARGET, **more}
    request = AWSRequest("POST", f"http://localhost:8400{path}", headers, body)
    signer(Credentials(key, secret), "apprunner", "eu-west-1").add_auth(request)
    return CIMultiDict(request.headers.items())


def refusal(headers, *, path=PATH, body=BODY, off=0.0, method="POST"):
    return signatures(off=off).check(method, path, headers, body)


def replaced(headers, old, new):
    """The Authorization header, with a part of it changed."""
    authorization = headers["Authorization"]
    assert old in authorization
    headers["Authorization"] = authorization.replace(old, new)
    return headers


def test_a_good_signature_is_let_in():
    assert refusal(signed()) is None


@pytest.mark.parametrize("path", ["/", "/?", "/a//b/../c", "/a%2Fb/%C3%A4?b=2&a=1&a=0&=%26&c"])
def test_whatever_the_path_looks_like(path):
    assert refusal(signed(path=path), path=path) is None


def test_a_body_may_be_empty():
    assert refusal(signed(body=b""), body=b"") is None


def test_only_the_signed_headers_count():
    headers = signed()
    headers["User-Agent"] = "aws-cli/2"
    headers["Accept-Encoding"] = "gzip"
    assert refusal(headers) is None


def test_a_user_agent_may_be_signed_as_well():
    headers = signed(signer=Wholly, **{"User-Agent": "aws-sdk-dotnet/3"})
    assert "user-agent" in headers["Authorization"]
    assert refusal(headers) is None
    headers["User-Agent"] = "curl"
    assert refusal(headers).code == "InvalidSignatureException"


def test_spaces_in_a_header_count_as_one_as_aws_says():
    headers = signed(**{"X-Amz-Note": "a b"})
    headers["X-Amz-Note"] = "a   b"
    assert refusal(headers) is None


def test_a_header_that_is_sent_twice_is_signed_as_a_list():
    headers = signed(**{"X-Amz-Note": "a,b"})
    headers.popall("X-Amz-Note")
    headers.extend([("X-Amz-Note", "a"), ("x-amz-note", "b")])
    assert refusal(headers) is None


def test_everybody_is_let_in_where_nothing_is_verified():
    assert signatures(verify=False).check("POST", "/", CIMultiDict(), b"") is None


def test_who_does_not_sign_is_told_so():
    found = refusal(CIMultiDict())
    assert (found.status, found.code) == (403, "MissingAuthenticationTokenException")
    assert found.message == "Missing Authentication Token"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("AWS4-HMAC-SHA256 ", "Bearer ", "must begin with AWS4-HMAC-SHA256"),
        ("Credential=", "Credentials=", "requires 'Credential' parameter"),
        ("Signature=", "Sig=", "requires 'Signature' parameter"),
        ("SignedHeaders=", "Headers=", "requires 'SignedHeaders' parameter"),
        ("host;", "", "'host' must be a 'SignedHeader'"),
        ("x-amz-date;", "", "'x-amz-date' must be a 'SignedHeader'"),
        (";x-amz-target", "", "'x-amz-target' must be a 'SignedHeader'"),
        ("/aws4_request", "/aws5_request", "<key>/<date>/<region>/<service>/aws4_request"),
        ("/eu-west-1/", "", "<key>/<date>/<region>/<service>/aws4_request"),
    ],
)
def test_what_is_malformed_is_named(old, new, message):
    found = refusal(replaced(signed(), old, new))
    assert (found.status, found.code) == (403, "IncompleteSignatureException")
    assert message in found.message


@pytest.mark.parametrize("time", [None, "", "yesterday", "20260231T000000Z", "2026-01-01T00:00Z"])
def test_a_request_without_a_time_is_incomplete(time):
    headers = signed()
    day = headers.pop("X-Amz-Date")[:8]
    if time is not None:
        headers["X-Amz-Date"] = time
        headers = replaced(headers, day, time[:8])
    assert refusal(headers).code == "IncompleteSignatureException"


def test_an_unknown_access_key_is_refused():
    found = refusal(signed(key="AKIDNOBODY"))
    assert (found.status, found.code) == (403, "UnrecognizedClientException")
    assert found.message == "The security token included in the request is invalid."


def test_a_wrong_secret_is_refused_and_no_secret_is_told():
    found = refusal(signed(secret="guessed"))
    assert (found.status, found.code) == (403, "InvalidSignatureException")
    assert found.message.startswith("The request signature we calculated does not match")
    assert SECRET not in found.message


def test_another_method_is_another_request():
    assert refusal(signed(), method="PUT").code == "InvalidSignatureException"


def test_a_fragment_is_no_way_to_hide_a_part_of_the_path():
    assert refusal(signed(), path=f"{PATH}#more").code == "InvalidSignatureException"


def test_the_date_of_the_scope_is_the_date_of_the_request():
    headers = signed()
    day = headers["X-Amz-Date"][:8]
    found = refusal(replaced(headers, f"/{day}/", "/20200101/"))
    assert found.code == "InvalidSignatureException"
    assert f"'20200101' != '{day}'" in found.message


def test_an_unsigned_payload_is_no_way_around_the_body():
    """Which AWS allows for S3 and others, not for JSON services."""
    headers = signed(**{"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    assert refusal(headers).code == "InvalidSignatureException"


def test_a_hash_of_the_body_that_is_signed_is_checked():
    headers = signed(**{"X-Amz-Content-SHA256": hashlib.sha256(BODY).hexdigest()})
    assert refusal(headers) is None
    assert refusal(headers, body=BODY + b" ").code == "InvalidSignatureException"


def test_a_start_does_not_wait_for_botocore():
    program = "import sys, emulator.surfaces.api.signatures; sys.exit('botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class TestTime:
    @pytest.mark.parametrize("off", [-290, -60, 0, 60, 290])
    def test_a_clock_may_be_five_minutes_off(self, off):
        assert refusal(signed(), off=off) is None

    def test_a_signature_expires(self):
        headers = signed()
        found = refusal(headers, off=310)
        assert (found.status, found.code) == (403, "InvalidSignatureException")
        assert found.message.startswith(
            f"Signature expired: {headers['X-Amz-Date']} is now earlier"
        )
        assert found.message.endswith(" - 5 min.)")

    def test_a_signature_from_the_future_is_not_yet_current(self):
        found = refusal(signed(), off=-310)
        assert found.code == "InvalidSignatureException"
        assert "Signature not yet current: " in found.message
        assert found.message.endswith(" + 5 min.)")

    def test_the_time_cannot_be_moved_to_replay_a_request(self):
        headers = signed()
        later = SystemClock().now() + 3600
        headers["X-Amz-Date"] = datetime.fromtimestamp(later, UTC).strftime("%Y%m%dT%H%M%SZ")
        assert refusal(headers, off=3600) is not None


SIGNED = signed(**{"Content-Type": "application/x-amz-json-1.0"})
STILL = Signatures(Auth(verify_sigv4=True, keys={KEY: SECRET}), ClockStopped())
PRINTABLE = string.ascii_letters + string.digits + string.punctuation


def still(headers, *, path=PATH, body=BODY):
    """At the moment of signing, however long the tests have been running."""
    return STILL.check("POST", path, headers, body)


def changed(text: str, where: int, to: str) -> str:
    return text[:where] + to + text[where + 1 :]


def single_changes(text: str):
    """Another printable character in one place."""
    places = st.integers(0, len(text) - 1)
    return st.tuples(places, st.sampled_from(PRINTABLE)).filter(lambda c: text[c[0]] != c[1])


class TestAnySingleByte:
    """None can be changed."""

    def test_and_without_a_change_it_is_let_in(self):
        assert still(SIGNED) is None

    @given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
    def test_of_the_body(self, where, bits):
        body = BODY[:where] + bytes([BODY[where] ^ bits]) + BODY[where + 1 :]
        assert still(SIGNED, body=body) is not None

    @given(single_changes(PATH))
    def test_of_the_path_and_query(self, change):
        assert still(SIGNED, path=changed(PATH, *change)) is not None

    @given(st.data())
    def test_of_a_header(self, data):
        name = data.draw(st.sampled_from(sorted(SIGNED)))
        headers = CIMultiDict(SIGNED)
        headers[name] = changed(SIGNED[name], *data.draw(single_changes(SIGNED[name])))
        assert still(headers) is not None

    @given(st.text(max_size=200), st.dictionaries(st.sampled_from(sorted(SIGNED)), st.text()))
    def test_nothing_makes_it_raise(self, path, headers):
        received = CIMultiDict({**SIGNED, **headers})
        scope(received)
        still(received, path=path)

    @given(st.sampled_from(["host", "x-amz-target", "content-type"]))
    def test_nor_do_bytes_that_are_no_text(self, name):
        headers = CIMultiDict(SIGNED)
        headers[name] = "caf\udce9"  # how aiohttp gives what is not UTF-8
        assert still(headers).code == "InvalidSignatureException"


class TestScope:
    def test_is_what_the_caller_signed_for(self):
        assert scope(signed()) == Scope(region="eu-west-1", service="apprunner")

    def test_is_read_whoever_signed(self):
        written = (
            f"{ALGORITHM} Credential=test/20260101/us-east-1/s3/aws4_request,"
            "SignedHeaders=host,Signature=0"
        )
        assert scope(CIMultiDict(authorization=written)) == Scope(region="us-east-1", service="s3")

    @pytest.mark.parametrize(
        "authorization", ["", "Bearer x", "AWS AKID:x", f"{ALGORITHM} Credential=a/b/../c/x"]
    )
    def test_may_be_absent(self, authorization):
        assert scope(CIMultiDict(Authorization=authorization)) is None
        assert scope(CIMultiDict()) is None


@asynccontextmanager
async def server():
    """One that answers whom it knows."""
    verifying = signatures()
    await asyncio.to_thread(verifying.load)

    async def answer(request):
        body = await request.read()
        found = verifying.check(request.method, request.path_qs, request.headers, body)
        if found is None:
            return web.json_response({"ServiceSummaryList": []})
        error = {"__type": found.code, "Message": found.message}
        return web.json_response(error, status=found.status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as serving:
        yield f"http://127.0.0.1:{serving.port}"


def list_services(address, secret):
    client = boto3.client(
        "apprunner",
        endpoint_url=address,
        region_name="eu-west-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=secret,
        aws_session_token="session",
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        return client.list_services(MaxResults=5, NextToken="ä")["ServiceSummaryList"]
    except ClientError as error:
        return error.response["Error"]["Code"]
    finally:
        client.close()


async def test_boto3_is_let_in_with_the_right_secret_only():
    async with server() as address:
        assert await asyncio.to_thread(list_services, address, SECRET) == []
        refused = await asyncio.to_thread(list_services, address, "guessed")
        assert refused == "InvalidSignatureException"
