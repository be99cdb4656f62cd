"""Secrets from emulator.toml."""

import pytest

from emulator.drivers.secrets import ConfiguredSecrets
from emulator.model.errors import ConfigurationError
from tests.fakes.secrets import FakeSecrets

ARN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:db"
PARAMETER = "arn:aws:ssm:us-east-1:000000000000:parameter/prod/db"


async def value(table, reference, **environment) -> str:
    return await ConfiguredSecrets(table, environment).value(reference, region="us-east-1")


async def test_a_value():
    assert await value({ARN: {"value": "s3cret"}}, ARN) == "s3cret"


async def test_an_environment_variable():
    assert await value({ARN: {"env": "DB"}}, ARN, DB="s3cret") == "s3cret"


async def test_a_file_is_read_anew_at_each_deployment_without_its_last_newline(tmp_path):
    path = tmp_path / "db"
    table = {"db": {"file": str(path)}}
    path.write_text("one\ntwo\n")
    assert await value(table, "db") == "one\ntwo"
    path.write_text("three")
    assert await value(table, "db") == "three"


@pytest.mark.documented(source="developer guide, config-file-ref")
@pytest.mark.parametrize(
    ("configured", "reference"),
    [
        (f"{ARN}-AbC123", f"{ARN}-AbC123"),
        (ARN, f"{ARN}-AbC123"),
        ("db", f"{ARN}-AbC123"),
        ("db", f"{ARN}-AbC123:::"),
        (PARAMETER, PARAMETER),
        ("/prod/db", PARAMETER),
        ("prod/db", PARAMETER),
        ("my-parameter", "my-parameter"),
    ],
)
async def test_is_found_by_reference_arn_or_name(configured, reference):
    assert await value({configured: {"value": "s3cret"}}, reference) == "s3cret"


async def test_the_most_exact_name_wins():
    table = {"db": {"value": "name"}, ARN: {"value": "arn"}, f"{ARN}:user::": {"value": "exact"}}
    assert await value(table, f"{ARN}:user::") == "exact"
    assert await value(table, ARN) == "arn"


@pytest.mark.documented(source="developer guide, config-file-ref")
async def test_one_member_of_a_json_secret():
    table = {"db": {"value": '{"user": "ann", "port": 5432}'}}
    assert await value(table, f"{ARN}-AbC123:user::") == "ann"
    assert await value(table, f"{ARN}:port:AWSCURRENT:") == "5432"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, r"emulator\.toml.*no such secret; add .* under \[secrets\]"),
        ({"db": {"env": "DB"}}, "variable DB is not set"),
        ({"db": {"file": "/nowhere/at/all"}}, "cannot read /nowhere/at/all"),
        ({"db": {"value": "hunter2"}}, "not a JSON object with the key 'user'"),
        ({"db": {"value": '["hunter2"]'}}, "not a JSON object with the key 'user'"),
        ({"db": {}}, "expected one of value, env, file"),
        ({"db": {"value": "hunter2", "env": "DB"}}, "expected one of value, env, file"),
        ({"db": {"vault": "hunter2"}}, "expected one of value, env, file"),
    ],
)
async def test_says_what_is_wrong_and_never_the_value(table, expected):
    with pytest.raises(ConfigurationError, match=expected) as error:
        await value(table, f"{ARN}:user::")
    assert "db" in str(error.value)
    assert "hunter2" not in str(error.value)


async def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "db").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        await value({"db": {"file": str(tmp_path / "db")}}, "db")


@pytest.mark.parametrize(
    "made",
    [ConfiguredSecrets({"db": {"value": "s3cret"}}, {}), FakeSecrets({"db": "s3cret"})],
    ids=["driver", "fake"],
)
async def test_the_driver_and_its_fake_keep_the_same_promises(made):
    assert await made.value("db", region="us-east-1") == "s3cret"
    with pytest.raises(ConfigurationError, match=r"secrets\.\"nothing\".*\[secrets\]"):
        await made.value("nothing", region="us-east-1")
