"""docs/load-balancer.md names every setting with its default, and every fixed limit with its value."""

import ast
import importlib
import re
from dataclasses import fields
from pathlib import Path

from emulator import bootstrap
from emulator.cli.settings import load
from emulator.model.configuration import Extensions
from emulator.model.settings import Limits, LoadBalancer, Settings

PAGE = (Path(__file__).parents[2] / "docs" / "load-balancer.md").read_text()


def stated(section: str) -> dict[str, str]:
    """Names and defaults of the first table after a line."""
    table = PAGE.split(section, 1)[1].split("\n\n|", 1)[1].split("\n\n", 1)[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", "|" + table, re.MULTILINE))


def shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_every_setting_is_documented_with_its_default():
    expected = {f.name: shown(f.default) for f in fields(LoadBalancer)}
    assert stated("under `[load_balancer]`") == expected


def test_the_limits_of_services_are_documented_with_their_defaults():
    assert {name: float(value) for name, value in stated("Under `[limits]`").items()} == {
        name: getattr(Limits(), name) for name in ("queue", "queue_wait", "drain")
    }
    assert f"`emulator:request-timeout` | {Extensions().request_timeout:g} |" in PAGE
    assert f"`emulator:websockets` | {'on' if Extensions().websockets else 'off'} |" in PAGE


def test_every_fixed_limit_is_the_one_in_the_code():
    named = re.findall(r"\| `(\w+)\.(\w+)` `([^`]+)` \|", PAGE)
    assert len(named) == 12
    for module, name, value in named:
        found = getattr(importlib.import_module(f"emulator.surfaces.proxy.{module}"), name)
        assert found == ast.literal_eval(value), name


def test_settings_are_read_from_the_file(tmp_path):
    file = tmp_path / "emulator.toml"
    file.write_text("[load_balancer]\nheader_bytes = 8192\nhttp2 = false\nidle_timeout = 5\n")
    found = load({"config": str(file)}, {}).load_balancer
    assert found == LoadBalancer(header_bytes=8192, http2=False, idle_timeout=5)


def test_strict_shows_nothing_that_app_runner_does_not():
    wanted = LoadBalancer(waiting_page=True, server_timing=True)
    front = bootstrap._front(Settings(state_dir="/nowhere", load_balancer=wanted))
    strict = bootstrap._front(Settings(state_dir="/nowhere", load_balancer=wanted, strict=True))
    assert (front.waiting_page, front.server_timing) == (True, True)
    assert (strict.waiting_page, strict.server_timing) == (False, False)
