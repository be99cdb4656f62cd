"""Price files: what comes with the emulator, and what a user's may say."""

from decimal import Decimal

import pytest

from emulator.cli import prices
from emulator.cli.settings import load
from emulator.model.errors import ConfigurationError

FARGATE = "[fargate.eu-west-1]\nvcpu-hour = 1\ngb-hour = 2.5\n"


@pytest.fixture
def refusal(tmp_path):
    def refused(text: str) -> str:
        path = tmp_path / "p.toml"
        path.write_text(text)
        with pytest.raises(ConfigurationError) as refused:
            prices.load(str(path))
        return str(refused.value).removeprefix(f"{tmp_path}/")

    return refused


def test_every_built_in_table_says_when_and_where_it_is_from():
    sheets = prices.builtin().sheets
    assert sheets
    assert [key for key, sheet in sheets.items() if not (sheet.date and sheet.source)] == []


def test_a_table_of_ones_own_replaces_that_table_alone(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(FARGATE)
    found = load({"state_dir": "x", "prices": str(path)}, {}).prices.within("eu-west-1")
    assert (found.fargate["gb-hour"], found.fargate.region) == (Decimal("2.5"), "eu-west-1")
    assert found.app_runner["gb-hour"] == Decimal("0.007")
    assert found.balancer.region == "us-east-1"


def test_a_borrowed_price_is_the_fallback_regions(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text('[lambda.eu-west-1]\nborrowed = ["request"]\ngb-second = 1\n')
    found = prices.load(str(path)).within("eu-west-1").functions
    assert (found["gb-second"], found["request"]) == (Decimal(1), Decimal("0.0000002"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[fargate.eu-west-1]\nvcpu-hour = 1\n",
            "p.toml:1 (fargate.eu-west-1): gb-hour is missing",
        ),
        (
            FARGATE.replace("1\n", '"1"\n', 1),
            'p.toml:2 (fargate.eu-west-1.vcpu-hour): expected a price in US dollars such as 0.064, not "1"',
        ),
        (FARGATE.replace("2.5", "-2.5"), "p.toml:3 (fargate.eu-west-1.gb-hour): expected a price"),
        (FARGATE.replace("2.5", "nan"), "p.toml:3 (fargate.eu-west-1.gb-hour): expected a price"),
        (FARGATE.replace("2.5", "true"), "p.toml:3 (fargate.eu-west-1.gb-hour): expected a price"),
        (FARGATE + "gbhour = 1\n", "p.toml:4 (fargate.eu-west-1.gbhour): unknown key; expected"),
        (FARGATE + "date = 'June'\n", "p.toml:4 (fargate.eu-west-1.date): expected a day such as"),
        (FARGATE + "borrowed = 'x'\n", "p.toml:4 (fargate.eu-west-1.borrowed): expected a list"),
        ("[fargate.europe]\n", "p.toml:1 (fargate.europe): expected an AWS region"),
        ("[fargat.eu-west-1]\n", "p.toml:1 (fargat): unknown table; expected one of apprunner"),
        ("fargate = 1\n", "p.toml:1 (fargate): expected a table per region"),
        ("[fargate]\neu-west-1 = 2\n", "p.toml:2 (fargate.eu-west-1): expected a table of prices"),
        (
            '[lambda.us-east-1]\nborrowed = ["request"]\ngb-second = 1\n',
            "p.toml:2 (lambda.us-east-1.borrowed): us-east-1 is where others borrow from",
        ),
        ("[fargate\n", "p.toml:1: expected TOML"),
    ],
)
def test_a_mistake_is_named_by_line_and_key(refusal, text, message):
    assert refusal(text).startswith(message)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: there is no such file"):
        prices.load("nowhere.toml")
