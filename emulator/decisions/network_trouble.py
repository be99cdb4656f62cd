"""What a failed build says when it cannot reach a host, and what its author can do about it.

The messages are those of the programs that builds run; a further one is a further row.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_HOST = r"(?P<host>[\w.-]+\.[A-Za-z][\w-]*|\[?[0-9a-fA-F.:]*[.:][0-9a-fA-F.:]*\]?)"


class Trouble(StrEnum):
    """With a host."""

    NAME = "could not be resolved"
    WAY = "could not be reached"
    TRUST = "has a certificate that the build does not trust"
    PROXY = "is behind a proxy that does not let the build through"


def _row(trouble: Trouble, *patterns: str) -> tuple[Trouble, tuple[re.Pattern[str], ...]]:
    return trouble, tuple(re.compile(p.replace("HOST", _HOST), re.IGNORECASE) for p in patterns)


# The most telling first: a program may report more than one of them.
_KNOWN = (
    _row(
        Trouble.PROXY,
        r"proxy authentication required",  # pip, curl, npm, git, go, Maven
        r"cannot connect to proxy",  # pip
        r"HTTP code \d+ from proxy after CONNECT",  # curl, git, composer
        r"tunneling socket could not be established",  # npm
        r"unable to tunnel through proxy",  # Java
    ),
    _row(
        Trouble.TRUST,
        r"certificate[_ ]verify[_ ]failed",  # pip, Ruby
        r"UNABLE_TO_(?:GET_ISSUER_CERT|VERIFY_LEAF_SIGNATURE)|(?:SELF|DEPTH_ZERO_SELF)_SIGNED_CERT",
        r"self.signed certificate",  # npm, curl, git
        r"SSL certificate problem",  # curl, git, composer
        r"(?:server )?certificate verification failed",  # git with GnuTLS, apt
        r"x509: certificate",  # Go
        r"PKIX path (?:building|validation) failed",  # Maven, Gradle
        r"SSL connection could not be established",  # .NET
        r"cannot verify \S+'s certificate",  # wget
    ),
    _row(
        Trouble.NAME,
        r"getaddrinfo \w+ HOST",  # npm, yarn
        r"failed to resolve '?HOST",  # pip
        r"could not resolve (?:host(?:name)?:? )?'?HOST",  # curl, git, composer, apt, ssh
        r"temporary failure resolving '?HOST",  # apt
        r"unable to resolve host address \W?HOST",  # wget
        r"bad address '?HOST",  # wget of BusyBox
        r"lookup HOST[^:]*(?::\d+)?:? .*(?:no such host|server misbehaving|i/o timeout)",  # Go
        r"unknown ?host(?:exception)?:? '?HOST",  # Maven, Gradle
        r"HOST: (?:temporary failure in name resolution|name or service not known)",  # Java
        r"could not reach host HOST",  # Bundler
        r"(?:name or service not known|resource temporarily unavailable) \(HOST",  # .NET
        r"temporary failure in name resolution|name or service not known|nodename nor servname",
        r"\bENOTFOUND\b|\bEAI_AGAIN\b|DNS lookup error",
    ),
    _row(
        Trouble.WAY,
        r"connect E\w+ HOST",  # npm, yarn
        r"failed to (?:connect to|open TCP connection to) HOST",  # curl, git, Ruby
        r"could not connect to HOST",  # apt
        r"connect to HOST[^ ]* .*(?:failed|refused|timed out)",  # Maven, wget
        r"dial tcp HOST",  # Go
        r"unable to load the service index for source https?://HOST",  # .NET
        r"connection (?:refused|timed out)|connecttimeouterror|newconnectionerror",
        r"network is unreachable|no route to host|ETIMEDOUT|ECONNREFUSED|ENETUNREACH|EHOSTUNREACH",
        r"could not fetch specs from https?://HOST",  # Bundler
    ),
)
_ELSEWHERE = (  # where a message does not say which host it is about
    re.compile(rf"host='{_HOST}'"),
    re.compile(rf"\w+://(?:[^\s/@]+@)?{_HOST}"),
)
_NEAR = 6  # lines before the message, and after it
_LOOPBACK = re.compile(r"localhost|127\.|\[?::1\]?$|0\.0\.0\.0$")
_ALL = (
    "HTTP_PROXY, HTTPS_PROXY, NO_PROXY, PIP_INDEX_URL or pip.conf, NPM_CONFIG_REGISTRY or .npmrc, "
    "GOPROXY, BUNDLE_MIRROR__ALL, Maven's mirrors"
)
_ADVICE = {
    Trouble.NAME: f"Builds get this machine's {_ALL}: set what leads there",
    Trouble.WAY: f"Builds get this machine's {_ALL}: set what leads there",
    Trouble.TRUST: "Builds trust the CA certificates of this machine: name a bundle that has the"
    " right one in SSL_CERT_FILE",
    Trouble.PROXY: "Builds get this machine's HTTP_PROXY, HTTPS_PROXY and NO_PROXY: check the"
    " address, name and password in them",
}


@dataclass(frozen=True, slots=True)
class _Found:
    trouble: Trouble
    host: str


def hint(lines: Sequence[str]) -> str:
    """Of the last lines of a build that failed; "" where no host was out of reach. The build's own
    loopback is not the network's fault.
    """
    for trouble, patterns in _KNOWN:
        for at in range(len(lines) - 1, -1, -1):
            found = next((f for p in patterns if (f := p.search(lines[at]))), None)
            if found is None:
                continue
            named = found.groupdict().get("host") or _host_near(lines, at)
            if named and _LOOPBACK.match(named):
                continue
            host = named.rstrip(".:") or "A host"
            return f"{host} {trouble}. {_ADVICE[trouble]} where the emulator is started, then redeploy."
    return ""


def _host_near(lines: Sequence[str], at: int) -> str:
    near = (lines[at], *lines[max(0, at - _NEAR) : at][::-1], *lines[at + 1 : at + 1 + _NEAR])
    for pattern in _ELSEWHERE:
        for line in near:
            if found := pattern.search(line):
                return found["host"]
    return ""
