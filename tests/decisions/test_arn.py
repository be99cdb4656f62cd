"""ARNs: what is written is read again, and what is none is told."""

import pytest
from hypothesis import given
from hypothesis.strategies import booleans, builds, from_regex, integers, sampled_from, text

from emulator.model.arn import REVISED, Arn, Kind, parse

REGIONS = sampled_from(["us-east-1", "ap-southeast-2"])
ACCOUNTS = from_regex(r"[0-9]{12}", fullmatch=True)
NAMES = from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{3,31}", fullmatch=True)
IDS = from_regex(r"[0-9a-f]{32}", fullmatch=True)


def made(kind, region, account, name, revision, id_) -> Arn:
    revised = kind in REVISED
    return Arn(
        region=region,
        account=account,
        kind=kind,
        name=name,
        revision=revision if revised else None,
        id=id_,
    )


ARNS = builds(made, sampled_from(Kind), REGIONS, ACCOUNTS, NAMES, integers(1, 10**6), IDS)


@given(ARNS)
def test_what_is_written_is_read_again(arn):
    assert parse(str(arn)) == arn


@given(ARNS, booleans())
def test_a_partial_arn_lacks_its_id_and_perhaps_its_revision(arn, whole):
    parts = str(arn).split("/")
    revision = arn.revision if whole else None
    kept = 3 if revision is not None else 2
    found = parse("/".join(parts[:kept]))
    assert (found.name, found.revision, found.id) == (arn.name, revision, None)


@given(text())
def test_nothing_else_is_an_error(anything):
    assert parse(anything) is None


@pytest.mark.parametrize(
    "wrong",
    [
        "arn:aws:s3:::bucket/key",
        "arn:aws:apprunner:us-east-1:000000000000:balloon/x/1",
        "arn:aws:apprunner:us-east-1:000000000000:service",
        "arn:aws:apprunner:us-east-1:0:service/x/1",
        "arn:aws:apprunner:us-east-1:000000000000:service/x/1/2",
        "arn:aws:apprunner:us-east-1:000000000000:autoscalingconfiguration/x/one/1",
        "arn:aws:apprunner:us-east-1:000000000000:autoscalingconfiguration/x/0/1",
        "arn:aws:apprunner:us-east-1:000000000000:autoscalingconfiguration/x/1/1/1",
        f"arn:aws:apprunner:us-east-1:000000000000:autoscalingconfiguration/x/{'9' * 5000}/1",
    ],
)
def test_what_names_no_resource_of_app_runner_is_told(wrong):
    assert parse(wrong) is None


def test_other_partitions_are_read_too():
    assert parse("arn:aws-us-gov:apprunner:us-gov-west-1:000000000000:service/abcd/1") is not None
