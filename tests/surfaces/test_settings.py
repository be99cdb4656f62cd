"""Where settings come from, and how a mistake in them is told."""

from pathlib import Path

import pytest

from emulator.cli import prices
from emulator.cli.settings import load
from emulator.model.errors import ConfigurationError
from emulator.model.settings import Auth, Limits, Pace, PaceMode, Quotas, Settings


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(flags=None, **environment):
    return load(flags or {}, environment)


def refusal(flags=None, **environment) -> str:
    with pytest.raises(ConfigurationError) as refused:
        settings(flags, **environment)
    return str(refused.value)


def test_without_anything_the_defaults_hold():
    found = settings()
    assert (found.region, found.account, found.strict) == ("us-east-1", "000000000000", False)
    assert (found.addresses.host, found.addresses.api_port) == ("127.0.0.1", 8400)
    assert found == Settings(state_dir=found.state_dir, prices=prices.builtin())
    assert found.state_dir.endswith("apprunner-emulator")
    assert Path(found.state_dir).is_absolute()


def test_the_file_names_prices_relative_to_itself(here):
    (here / "other").mkdir()
    (here / "other" / "emulator.toml").write_text('prices = "p.toml"\n')
    (here / "other" / "p.toml").write_text("[lambda.eu-west-1]\ngb-second = 1\nrequest = 0\n")
    found = settings({"config": str(here / "other" / "emulator.toml")})
    assert found.prices.within("eu-west-1").functions["gb-second"] == 1


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(here):
    (here / "emulator.toml").write_text("[ports]\napi = 1\nhttps = 2\nhttp = 3\n")
    found = settings(
        {"api_port": 11}, APPRUNNER_API_PORT="21", APPRUNNER_HTTPS_PORT="22", APPRUNNER_REGION=""
    )
    addresses = found.addresses
    assert (addresses.api_port, addresses.https_port, addresses.http_port) == (11, 22, 3)
    assert found.region == "us-east-1"


def test_there_is_a_registry_only_where_a_port_is_named_for_it(here):
    assert settings().addresses.registry_port is None
    (here / "emulator.toml").write_text("[ports]\nregistry = 0\n")
    assert settings().addresses.registry_port == 0
    assert settings({"registry_port": 5000}).addresses.registry_port == 5000
    assert settings(APPRUNNER_REGISTRY_PORT="5001").addresses.registry_port == 5001


def test_every_option_has_its_variable(here):
    (here / "prices.toml").write_text("[load-balancer.eu-west-1]\nhour = 7\nlcu-hour = 1\n")
    found = settings(
        APPRUNNER_STATE_DIR="state",
        APPRUNNER_REGION="eu-west-1",
        APPRUNNER_ACCOUNT="123456789012",
        APPRUNNER_HOST="127.0.0.2",
        APPRUNNER_API_PORT="0",
        APPRUNNER_HTTPS_PORT="1",
        APPRUNNER_HTTP_PORT="2",
        APPRUNNER_STRICT="yes",
        APPRUNNER_PACE="realistic",
        APPRUNNER_UPSTREAM="http://127.0.0.1:4566",
        APPRUNNER_PRICES="prices.toml",
    )
    assert found.prices.within("eu-west-1").balancer["hour"] == 7
    assert found.state_dir == str(here / "state")
    assert (found.region, found.account, found.strict) == ("eu-west-1", "123456789012", True)
    addresses = found.addresses
    assert (addresses.host, addresses.api_port) == ("127.0.0.2", 0)
    assert (addresses.https_port, addresses.http_port) == (1, 2)
    assert (found.pace.mode, found.upstream) == (PaceMode.REALISTIC, "http://127.0.0.1:4566")


def test_a_pace_given_elsewhere_keeps_the_files_speed(here):
    (here / "emulator.toml").write_text("[pace]\nmode = 'fast'\nspeed = 2.5")
    realistic = Pace(mode=PaceMode.REALISTIC, speed=2.5)
    assert settings().pace == Pace(mode=PaceMode.FAST, speed=2.5)
    assert settings(APPRUNNER_PACE="realistic").pace == realistic
    assert settings({"pace": "realistic"}, APPRUNNER_PACE="fast").pace == realistic


def test_a_flag_that_switches_off_beats_a_variable_that_switches_on():
    assert settings({"strict": False}, APPRUNNER_STRICT="1").strict is False


def test_the_file_is_the_named_one_else_the_one_here(here):
    (here / "emulator.toml").write_text('region = "eu-west-1"')
    (here / "other.toml").write_text('region = "us-west-2"')
    (here / "third.toml").write_text('region = "us-east-2"')
    assert settings().region == "eu-west-1"
    assert settings(APPRUNNER_CONFIG="other.toml").region == "us-west-2"
    assert settings({"config": "third.toml"}, APPRUNNER_CONFIG="other.toml").region == "us-east-2"


def test_a_named_file_must_be_there():
    assert refusal({"config": "none.toml"}) == "none.toml: there is no such file"


def test_the_whole_file(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "emulator.toml").write_text(
        """
        host = "0.0.0.0"
        strict = true
        [limits]
        start = 5
        queue = 7
        [images]
        "public.ecr.aws/nginx/nginx:latest" = "my-web:dev"
        keep = 3
        [repositories]
        "https://github.com/me/app" = "../app"
        "https://github.com/me/other" = "/srv/other"
        [secrets]
        "arn:db" = { env = "DB_PASSWORD" }
        "plain" = "s3cret"
        "file" = { file = "secret.txt" }
        [pace]
        mode = "realistic"
        speed = 20
        [upstream]
        url = "http://127.0.0.1:4566"
        [quotas]
        services = 2
        custom_domains = 1
        [auth]
        verify_sigv4 = true
        [auth.keys]
        AKIAPLAIN = "s3cret"
        """
    )
    found = settings({"config": str(folder / "emulator.toml")})
    assert (found.addresses.host, found.strict) == ("0.0.0.0", True)
    assert (found.limits.start, found.limits.queue, found.limits.stop) == (5.0, 7, Limits().stop)
    assert found.images == {"public.ecr.aws/nginx/nginx:latest": "my-web:dev"}
    assert found.keep == 3
    assert found.repositories == {
        "https://github.com/me/app": str(tmp_path / "app"),
        "https://github.com/me/other": "/srv/other",
    }
    assert found.secrets == {
        "arn:db": {"env": "DB_PASSWORD"},
        "plain": {"value": "s3cret"},
        "file": {"file": str(folder / "secret.txt")},
    }
    assert found.pace == Pace(mode=PaceMode.REALISTIC, speed=20.0)
    assert found.upstream == "http://127.0.0.1:4566"
    assert found.quotas == Quotas(services=2, custom_domains=1)
    assert found.auth == Auth(verify_sigv4=True, keys={"AKIAPLAIN": "s3cret"})


def test_an_access_keys_secret_is_a_value_a_variable_or_a_file(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "key.txt").write_text("from a file\n")
    (folder / "emulator.toml").write_text(
        """
        [auth.keys]
        AKIAVALUE = { value = "as it is" }
        AKIAENV = { env = "MY_KEY" }
        AKIAFILE = { file = "key.txt" }
        """
    )
    found = settings({"config": str(folder / "emulator.toml")}, MY_KEY="from a variable")
    assert found.auth.keys == {
        "AKIAVALUE": "as it is",
        "AKIAENV": "from a variable",
        "AKIAFILE": "from a file",
    }
    assert not found.auth.verify_sigv4
    assert "MY_KEY" not in found.environment
    assert "from a" not in repr(found)


def test_a_secret_that_names_no_variable_is_read_with_the_environment_of_the_process(here):
    (here / "emulator.toml").write_text('[secrets]\ndb = "s3cret"')
    assert load({}).secrets == {"db": {"value": "s3cret"}}


def test_a_secrets_variable_is_resolved_and_stays_out_of_the_builds_environment(here):
    (here / "emulator.toml").write_text('[secrets]\ndb = { env = "DB_PASSWORD" }')
    found = settings(DB_PASSWORD="s3cret", HOME="/home/ann")
    assert found.secrets == {"db": {"value": "s3cret"}}
    assert found.environment == {"HOME": "/home/ann"}


def test_only_what_builds_and_the_engine_need_of_the_environment_is_kept():
    needed = {
        "HTTPS_PROXY": "p",
        "no_proxy": "n",
        "SSL_CERT_FILE": "c",
        "PIP_INDEX_URL": "i",
        "npm_config_registry": "r",
        "NPM_CONFIG_REGISTRY": "r",
        "DOCKER_HOST": "d",
        "PATH": "/bin",
    }
    assert settings(**needed, AWS_SECRET_ACCESS_KEY="x", MY_PATH="y").environment == needed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nregion = 5", ":2 (region): expected an AWS region"),
        ("account = 12", ":1 (account): expected 12 digits"),
        ("strict = 1", ":1 (strict): expected true or false, not 1"),
        ("# c\n[ports]\n\napi = 70000", ":4 (ports.api): expected a port from 0"),
        ("[ports]\napi = true", ":2 (ports.api): expected a port"),
        ("ports = { api = '8400' }", ":1 (ports.api): expected a port from 0 (any free one)"),
        ("ports.api = -1", ":1 (ports.api): expected a port"),
        ("ports = 8400", ":1 (ports): expected a table, not 8400"),
        (
            "[load_balancer]\nhttp2 = 1",
            ":2 (load_balancer.http2): expected true or false, not 1",
        ),
        ("[limits]\nstart = 0", ":2 (limits.start): expected a number above 0, not 0"),
        ("[limits]\nqueue = 1.5", ":2 (limits.queue): expected a whole number above 0, not 1.5"),
        ("[limits]\nstart = 1\nspeed = 2", ":3 (limits.speed): unknown key; expected one of start"),
        ('[images]\n"a:b" = 5', ':2 (images."a:b"): expected text in quotes, not 5'),
        ("[images]\nkeep = 0", ":2 (images.keep): expected a whole number above 0, not 0"),
        ("[images]\nkeep = true", ":2 (images.keep): expected a whole number above 0, not true"),
        ('[images]\n\nkeep = "5"', ':3 (images.keep): expected a whole number above 0, not "5"'),
        ("[images]\na = 'b'\n[image]\n", ":3 (image): unknown key; expected one of region"),
        ("[pace]\nmode = 'slow'", ':2 (pace.mode): expected "fast" or "realistic", not "slow"'),
        ("[upstream]\nurl = 'x'", ":2 (upstream.url): expected an address"),
        ("[secrets]\ndb = { variable = 'X' }", ":2 (secrets.db): expected { value = "),
        ("[pace]\nspeed = 1e9", ":2 (pace.speed): expected 86400 (a day per second) at most"),
        ("[pace]\nspeed = 0", ":2 (pace.speed): expected a number above 0, not 0"),
        ("[quotas]\nservices = 0", ":2 (quotas.services): expected a whole number above 0, not 0"),
        ("[quotas]\nservices = 1.5", ":2 (quotas.services): expected a whole number above 0"),
        ("[quotas]\nvpcs = 5", ":2 (quotas.vpcs): unknown key; expected one of services, conn"),
        ("[auth]\nverify_sigv4 = 1", ":2 (auth.verify_sigv4): expected true or false, not 1"),
        (
            "[auth]\n\nverify_sigv4 = true",
            ":3 (auth.verify_sigv4): expected a key to verify with; under [auth.keys] add",
        ),
        ("[auth.keys]\nA = { key = 'X' }", ":2 (auth.keys.A): expected { value = "),
        ("[auth.keys]\nA = ''", ":2 (auth.keys.A): expected a secret access key: it is empty"),
        (
            "[auth.keys]\nA = { env = 'UNSET' }",
            ":2 (auth.keys.A): expected a secret access key: the environment variable UNSET is not",
        ),
        ("[auth.keys]\nA = { file = 'none' }", ":2 (auth.keys.A): cannot read /"),
        ("region = ", ":1: expected TOML: "),
    ],
)
def test_a_mistake_is_told_with_file_line_key_and_what_was_expected(here, text, message):
    (here / "emulator.toml").write_text(text)
    assert refusal().startswith(f"emulator.toml{message}")


@pytest.mark.parametrize(
    "text",
    [
        "[secrets]\ndb = { value = 's3cret', env = 's3cret' }",
        "secrets = 's3cret'",
        "[auth]\nkeys = 's3cret'",
        "[auth]\nAKIA = 's3cret'",
        "[auth.keys]\nAKIA = ['s3cret']",
        "[auth.keys]\nAKIA = { value = ['s3cret'] }",
    ],
)
def test_a_mistaken_secret_is_not_shown(here, text):
    (here / "emulator.toml").write_text(text)
    assert "s3cret" not in refusal()


def test_a_secret_that_is_no_text_is_not_shown(here):
    (here / "key.bin").write_bytes(b"\xff s3cret")
    (here / "emulator.toml").write_text("[auth.keys]\nAKIA = { file = 'key.bin' }")
    assert refusal().endswith("key.bin is not UTF-8 text")


def test_a_mistaken_variable_is_told_by_its_name():
    assert refusal(APPRUNNER_API_PORT="x").startswith("APPRUNNER_API_PORT: expected a port")
    assert refusal(APPRUNNER_STRICT="maybe") == (
        'APPRUNNER_STRICT: expected true or false, not "maybe"'
    )
    assert refusal(APPRUNNER_PACE="slow") == (
        'APPRUNNER_PACE: expected "fast" or "realistic", not "slow"'
    )
    assert refusal({"upstream": "moto"}).startswith("--upstream: expected an address")
    assert refusal({"region": "moon"}).startswith("--region: expected an AWS region")
