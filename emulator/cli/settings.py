"""Settings from flags, the environment, emulator.toml and defaults, in this order; read once.

Nothing else reads the environment or emulator.toml.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from emulator.cli import configuration_file as file
from emulator.model.errors import ConfigurationError, Place
from emulator.model.prices import PriceList
from emulator.model.settings import (
    Addresses,
    Auth,
    Limits,
    LoadBalancer,
    Pace,
    PaceMode,
    Quotas,
    Settings,
)

FILE = "emulator.toml"
PREFIX = "APPRUNNER_"
# option -> where emulator.toml has it, and what it must be
OPTIONS: Mapping[str, tuple[file.Key, file.Check]] = {
    "region": (("region",), file.region),
    "account": (("account",), file.account),
    "host": (("host",), file.text),
    "strict": (("strict",), file.boolean),
    "pace": (("pace", "mode"), file.one_of(PaceMode)),
    "upstream": (("upstream", "url"), file.address),
    "prices": (("prices",), file.readable),
    "api_port": (("ports", "api"), file.port),
    "https_port": (("ports", "https"), file.port),
    "http_port": (("ports", "http"), file.port),
    "registry_port": (("ports", "registry"), file.port),
}
TRUTH = {"1": True, "true": True, "yes": True, "on": True}
TRUTH |= {"0": False, "false": False, "no": False, "off": False}
# What builds and the engine may need of this machine; proxies and npm's are spelt both ways.
_PASSED = re.compile(
    r"(?i:(HTTP|HTTPS|FTP|ALL|NO)_PROXY|NPM_CONFIG_\w+)"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS"
    r"|PIP_\w+|DOCKER_\w+|HOME|PATH|XDG_RUNTIME_DIR|XDG_CONFIG_HOME"
    r"|DBUS_SESSION_BUS_ADDRESS|GNUPGHOME|PASSWORD_STORE_DIR"  # where key rings are
)


def load(flags: Mapping[str, object], environment: Mapping[str, str] | None = None) -> Settings:
    """The settings; a flag that is None or missing was not given.

    Raises ConfigurationError naming file (or flag, or variable), line and key.
    """
    env = os.environ if environment is None else environment
    document = _document(_named(flags, env, "config"))
    stated = file.EVERYTHING(document, (), document.data)
    given = {name: _option(name, flags, env, stated) for name in OPTIONS}
    return Settings(
        state_dir=state_dir(flags, env),
        addresses=_dataclass(Addresses, given),
        limits=Limits(**stated.get("limits", {})),
        load_balancer=LoadBalancer(**stated.get("load_balancer", {})),
        pace=Pace(**stated.get("pace", {}) | _present({"mode": given["pace"]})),
        quotas=Quotas(**stated.get("quotas", {})),
        auth=_auth(document, stated.get("auth", {}), env),
        images={n: i for n, i in stated.get("images", {}).items() if n != file.KEEP},
        repositories=stated.get("repositories", {}),
        secrets=_secrets(stated.get("secrets", {}), env),
        environment={k: v for k, v in env.items() if _PASSED.fullmatch(k)},
        prices=_prices(given["prices"]),
        **_present({"keep": stated.get("images", {}).get(file.KEEP)}),
        **_present({name: given[name] for name in ("region", "account", "strict", "upstream")}),
    )


def state_dir(flags: Mapping[str, object], environment: Mapping[str, str] | None = None) -> str:
    """Absolute; it need not exist. Cheap: small verbs need nothing else."""
    env = os.environ if environment is None else environment
    named = _named(flags, env, "state_dir")
    if named is not None:
        return str(Path(named).expanduser().absolute())
    import platformdirs  # noqa: PLC0415 - most runs name it or are tests

    return str(platformdirs.user_state_path("apprunner-emulator"))


def process_environment(**changes: str) -> dict[str, str]:
    """This process's whole environment, for a program run in the user's name."""
    return {**os.environ, **changes}


def wants_colour() -> bool:
    """Unless NO_COLOR says otherwise (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")


def _named(flags: Mapping[str, object], env: Mapping[str, str], name: str) -> str | None:
    value = flags.get(name) or env.get(PREFIX + name.upper())
    return str(value) if value else None


def _document(named: str | None) -> file.Document:
    import tomli  # noqa: PLC0415 - verbs that need only the state directory do without

    path = Path(named or FILE)
    try:
        text = path.read_text(encoding="utf-8")
        return file.Document(path=path, text=text, data=tomli.loads(text))
    except FileNotFoundError:
        if named is None:
            return file.Document()
        raise ConfigurationError(Place(file=named), "there is no such file") from None
    except tomli.TOMLDecodeError as error:
        message = f"expected TOML: {error.msg} (column {error.colno})"
        raise ConfigurationError(Place(file=str(path), line=error.lineno), message) from None
    except UnicodeDecodeError:
        raise ConfigurationError(Place(file=str(path)), "expected UTF-8 text") from None
    except OSError as error:
        raise ConfigurationError(Place(file=str(path)), f"{error.strerror}") from None


def _option(
    name: str, flags: Mapping[str, object], env: Mapping[str, str], stated: Mapping[str, Any]
) -> object:
    """Its value, None where nobody gives one."""
    keys, check = OPTIONS[name]
    if flags.get(name) is not None:
        place = file.Document(path=Path("--" + name.replace("_", "-")))
        return check(place, (), flags[name])
    if env.get(PREFIX + name.upper()):
        variable = PREFIX + name.upper()
        return check(file.Document(path=Path(variable)), (), _typed(check, env[variable]))
    for key in keys[:-1]:
        stated = stated.get(key, {})
    return stated.get(keys[-1])


def _typed(check: file.Check, text: str) -> object:
    """An environment variable's text as TOML's type; what does not fit is left to the check."""
    if check is file.port and text.isascii() and text.isdigit():
        return int(text)
    return TRUTH.get(text.lower(), text) if check is file.boolean else text


def _prices(path: object) -> PriceList:
    from emulator.cli import prices  # noqa: PLC0415 - TOML is read where it is wanted

    return prices.load(None if path is None else str(path))


def _dataclass(kind: type[Addresses], values: Mapping[str, Any]) -> Addresses:
    return kind(**_present({f.name: values[f.name] for f in fields(kind)}))


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _auth(document: file.Document, stated: Mapping[str, Any], env: Mapping[str, str]) -> Auth:
    """With every secret at hand: a request cannot wait until one is found."""
    keys = {
        name: _key(document, ("auth", "keys", name), kind, env)
        for name, kind in stated.get("keys", {}).items()
    }
    return Auth(verify_sigv4=stated.get("verify_sigv4", False), keys=keys)


def _key(
    document: file.Document, key: file.Key, kind: Mapping[str, str], env: Mapping[str, str]
) -> str:
    """A secret access key; no message holds it."""
    if variable := kind.get("env"):
        value = env.get(variable, "")
        found = f"the environment variable {variable} is not set: export it"
    elif path := kind.get("file"):
        value = _content(document, key, path)
        found = f"{path} is empty"
    else:
        value = kind.get("value", "")
        found = "it is empty"
    if not value:
        raise document.error(key, f"expected a secret access key: {found}")
    return value


def _content(document: file.Document, key: file.Key, path: str) -> str:
    """A file's text without the newline that editors put at its end."""
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        raise document.error(key, f"{path} is not UTF-8 text") from None
    except OSError as error:
        raise document.error(key, f"cannot read {path}: {error.strerror}") from None


def _secrets(
    stated: Mapping[str, Mapping[str, str]], env: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """With variables that are set already resolved: `Settings.environment` is for builds, which
    must not see them.
    """
    return {
        name: {"value": env[kind["env"]]} if kind.get("env", "") in env else dict(kind)
        for name, kind in stated.items()
    }
