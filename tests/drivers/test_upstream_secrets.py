"""Secrets of another AWS emulator, asked for over the wire."""

import asyncio
import base64
import json
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from emulator.drivers.secrets import ConfiguredSecrets
from emulator.drivers.upstream_secrets import UpstreamSecrets
from emulator.model.errors import ConfigurationError

VALUE = "hunter2"
ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbC123"
PARAMETER = "arn:aws:ssm:eu-west-1:111122223333:parameter"


@dataclass
class Upstream:
    """Another emulator: secrets by id and version, parameters by name, and what it was asked."""

    secrets: dict = field(default_factory=dict)
    parameters: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)  # (target, credential, body)

    async def answer(self, request):
        assert (request.method, request.path) == ("POST", "/")
        assert request.content_type == "application/x-amz-json-1.1"
        target = request.headers["X-Amz-Target"]
        body = await request.json()
        authorization = request.headers["Authorization"]
        assert authorization.startswith("AWS4-HMAC-SHA256 Credential=")
        self.asked.append((target, authorization.split("=")[1].split(",")[0], body))
        if target == "secretsmanager.GetSecretValue":
            found = self.secrets.get(tuple(body.values()))
            return found or refused("com.amazonaws.secretsmanager#ResourceNotFoundException")
        assert target == "AmazonSSM.GetParameter"
        assert body["WithDecryption"] is True
        if body["Name"] not in self.parameters:
            return refused("ParameterNotFound")
        return answered({"Parameter": {"Value": self.parameters[body["Name"]], "Version": 1}})


def answered(document, status=200):
    # As AWS has it; aiohttp itself would only read its own JSON type.
    return web.Response(
        text=json.dumps(document), content_type="application/x-amz-json-1.1", status=status
    )


def refused(code):
    return answered({"__type": code, "message": f"{VALUE} could be in here"}, status=400)


def text(value):
    return answered({"SecretString": value, "VersionId": "1"})


@asynccontextmanager
async def secrets(upstream, table=None):
    handler = upstream.answer if isinstance(upstream, Upstream) else upstream
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app, host="127.0.0.1") as serving:
        address = f"http://me:hidden@127.0.0.1:{serving.port}/"
        yield ConfiguredSecrets(table or {}, {}, address)


async def test_a_secret_is_asked_for_by_its_arn_in_its_own_region_and_account():
    upstream = Upstream(secrets={(ARN,): text(VALUE)})
    async with secrets(upstream) as found:
        assert await found.value(ARN, region="us-east-1") == VALUE
    credential = "111122223333/20260101/eu-west-1/secretsmanager/aws4_request"
    expected = ("secretsmanager.GetSecretValue", credential, {"SecretId": ARN})
    assert upstream.asked == [expected]


@pytest.mark.documented(source="developer guide, config-file-ref")
async def test_key_stage_and_version_of_a_reference_are_heeded():
    document = '{"user": "ann", "port": 5432}'
    upstream = Upstream(
        secrets={
            (ARN, "AWSPREVIOUS"): text(document),
            (ARN, "AWSCURRENT", "v1"): text(document),
            (ARN, "v1"): text(document),
            (ARN,): text(document),
        }
    )
    async with secrets(upstream) as found:
        assert await found.value(f"{ARN}:user::", region="r") == "ann"
        assert await found.value(f"{ARN}:user:AWSPREVIOUS:", region="r") == "ann"
        assert await found.value(f"{ARN}:port::v1", region="r") == "5432"
        assert await found.value(f"{ARN}::AWSCURRENT:v1", region="r") == document
    assert [body for _, _, body in upstream.asked] == [
        {"SecretId": ARN},
        {"SecretId": ARN, "VersionStage": "AWSPREVIOUS"},
        {"SecretId": ARN, "VersionId": "v1"},
        {"SecretId": ARN, "VersionStage": "AWSCURRENT", "VersionId": "v1"},
    ]


@pytest.mark.parametrize("known", ["prod/db-AbC123", "prod/db"])
async def test_a_secret_is_found_by_name_where_the_accounts_differ(known):
    async with secrets(Upstream(secrets={(known,): text(VALUE)})) as found:
        assert await found.value(ARN, region="us-east-1") == VALUE


async def test_a_binary_secret_is_text_in_the_end():
    packed = base64.b64encode("grün".encode()).decode()
    upstream = Upstream(secrets={(ARN,): answered({"SecretBinary": packed})})
    async with secrets(upstream) as found:
        assert await found.value(ARN, region="us-east-1") == "grün"


@pytest.mark.parametrize(
    ("reference", "name", "region"),
    [
        (f"{PARAMETER}/prod/db", "/prod/db", "eu-west-1"),
        (f"{PARAMETER}/db", "db", "eu-west-1"),
        (f"{PARAMETER}/db", "/db", "eu-west-1"),
        ("/prod/db", "/prod/db", "us-east-1"),
        ("db", "db", "us-east-1"),
    ],
)
async def test_a_parameter_is_asked_for_by_name(reference, name, region):
    upstream = Upstream(parameters={name: VALUE})
    async with secrets(upstream) as found:
        assert await found.value(reference, region="us-east-1") == VALUE
    target, credential, _ = upstream.asked[-1]
    assert target == "AmazonSSM.GetParameter"
    assert credential.endswith(f"/{region}/ssm/aws4_request")


async def test_what_emulator_toml_says_comes_first():
    upstream = Upstream(parameters={"db": "theirs"})
    async with secrets(upstream, {"db": {"value": "ours"}}) as found:
        assert await found.value("db", region="us-east-1") == "ours"
    assert upstream.asked == []


@pytest.mark.parametrize("reference", [ARN, f"{ARN}:user::", f"{PARAMETER}/db", "db"])
async def test_what_nobody_has_is_named_with_both_settings(reference):
    async with secrets(Upstream()) as found:
        with pytest.raises(ConfigurationError) as error:
            await found.value(reference, region="us-east-1")
    said = str(error.value)
    assert json.dumps(reference) in said
    assert "under [secrets]" in said
    assert "[upstream] url" in said
    assert "eu-west-1" in said or "us-east-1" in said


REDIRECT = web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"})


@pytest.mark.parametrize(
    ("reference", "answer", "message"),
    [
        (ARN, refused("a.b#AccessDeniedException"), "GetSecretValue with AccessDeniedException"),
        ("db", refused("InternalServerError"), "answered GetParameter with InternalServerError"),
        ("db", web.Response(text=VALUE, status=500), "GetParameter with HTTP 500, and no JSON"),
        ("db", web.Response(text=VALUE), "HTTP 200, and no JSON"),
        ("db", web.Response(text="[" * 100_000), "HTTP 200, and no JSON"),
        ("db", answered([VALUE]), "HTTP 200, and no JSON"),
        ("db", answered({"Value": VALUE}), "GetParameter without a value"),
        ("db", answered({"__type": VALUE + " \n", "message": VALUE}, 400), "with HTTP 400"),
        ("db", REDIRECT, "with HTTP 307"),
        (ARN, answered({"Value": VALUE}), "neither text nor binary"),
        (ARN, answered({"SecretBinary": "hunter2!"}), "binary and not UTF-8"),
        (ARN, answered({"SecretBinary": "//79"}), "binary and not UTF-8"),
        (f"{ARN}:user::", text(VALUE), "not a JSON object with the key 'user'"),
    ],
)
async def test_what_is_wrong_is_told_and_never_the_value(reference, answer, message, caplog):
    caplog.set_level(logging.DEBUG)

    async def give(_):
        return answer

    async with secrets(give) as found:
        with pytest.raises(ConfigurationError) as error:
            await found.value(reference, region="us-east-1")
    assert message in str(error.value)
    assert reference in str(error.value)
    for text_ in (str(error.value), repr(error.value), caplog.text):
        assert VALUE not in text_
        assert "hidden" not in text_


async def test_an_emulator_that_is_not_there_is_named_with_its_setting():
    found = ConfiguredSecrets({}, {}, "http://me:hidden@127.0.0.1:1")
    with pytest.raises(ConfigurationError) as error:
        await found.value("db", region="us-east-1")
    assert "[upstream] url: http://127.0.0.1:1 does not answer" in str(error.value)
    assert "hidden" not in str(error.value)


async def test_an_emulator_that_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("emulator.drivers.upstream_secrets.TIMEOUT", 0.05)
    done = asyncio.Event()

    async def never(_):
        await done.wait()
        return web.Response()

    async with secrets(never) as found:
        with pytest.raises(ConfigurationError, match="did not answer within"):
            await found.value("db", region="us-east-1")
        done.set()


async def test_nothing_is_asked_that_a_repr_would_show():
    assert VALUE not in repr(UpstreamSecrets(f"http://me:{VALUE}@127.0.0.1:1"))
    assert VALUE not in str(UpstreamSecrets(f"http://me:{VALUE}@127.0.0.1:1"))
