"""The messages of the programs that builds run, as they print them."""

import pytest

from emulator.decisions.network_trouble import Trouble, hint

PIP = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after"
    " connection broken by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection"
    " object at 0x7f>: Failed to establish a new connection: {why}')': /simple/flask/\n"
    "ERROR: Could not find a version that satisfies the requirement flask (from versions: none)\n"
    "ERROR: No matching distribution found for flask"
)
PIP_TLS = (
    "Could not fetch URL https://pypi.org/simple/flask/: There was a problem confirming the ssl"
    " certificate: HTTPSConnectionPool(host='pypi.org', port=443): Max retries exceeded with url:"
    " /simple/flask/ (Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]"
    " certificate verify failed: unable to get local issuer certificate (_ssl.c:1006)'))) - skipping"
)
PIP_NAME = (
    "WARNING: Retrying (Retry(total=4)) after connection broken by 'NameResolutionError(\"<pip._vendor."
    "urllib3.connection.HTTPSConnection object at 0x7f>: Failed to resolve 'pypi.org' ([Errno -3]"
    " Temporary failure in name resolution)\")': /simple/flask/"
)
GO = (
    "go: github.com/gin-gonic/gin@v1.9.1: Get "
    '"https://proxy.golang.org/github.com/gin-gonic/gin/@v/v1.9.1.mod": dial tcp'
)
MAVEN = (
    "[ERROR] Non-resolvable parent POM for com.example:app:1: Could not transfer artifact"
    " org.springframework.boot:spring-boot-starter-parent:pom:3.2.0 from/to central"
    " (https://repo.maven.apache.org/maven2): "
)
COMPOSER = "curl error 6 while downloading https://repo.packagist.org/packages.json: "
RUBY = "Unable to download data from https://rubygems.org/ - SocketError: Failed to open TCP"
N, W, T, P = Trouble.NAME, Trouble.WAY, Trouble.TRUST, Trouble.PROXY


@pytest.mark.parametrize(
    ("said", "host", "trouble"),
    [
        (PIP_NAME, "pypi.org", N),
        ("Looking in indexes: http://index.example.com/simple\n" + PIP.format(why="[Errno 111] Connection refused"), "index.example.com", W),
        (PIP_TLS, "pypi.org", T),
        ("npm error code EAI_AGAIN\nnpm error request to https://registry.npmjs.org/express failed, reason: getaddrinfo EAI_AGAIN registry.npmjs.org", "registry.npmjs.org", N),
        ("npm ERR! code ENOTFOUND\nnpm ERR! network request to https://registry.npmjs.org/x failed, reason: getaddrinfo ENOTFOUND registry.npmjs.org\nnpm ERR! network This is a problem related to network connectivity.", "registry.npmjs.org", N),
        ("npm error FetchError: request to https://npm.example.com/x failed, reason: connect ECONNREFUSED 10.0.0.7:4873", "10.0.0.7:4873", W),
        ("npm error code SELF_SIGNED_CERT_IN_CHAIN\nnpm error request to https://registry.npmjs.org/x failed, reason: self-signed certificate in certificate chain", "registry.npmjs.org", T),
        ('error An unexpected error occurred: "https://registry.yarnpkg.com/x: getaddrinfo EAI_AGAIN registry.yarnpkg.com".', "registry.yarnpkg.com", N),
        ("W: Failed to fetch http://deb.debian.org/debian/dists/bookworm/InRelease  Temporary failure resolving 'deb.debian.org'\nE: Unable to locate package x", "deb.debian.org", N),
        ("Err:1 http://deb.debian.org/debian bookworm InRelease\n  Could not connect to deb.debian.org:80 (151.101.2.132), connection timed out", "deb.debian.org", W),
        (MAVEN + "repo.maven.apache.org: Temporary failure in name resolution and 'parent.relativePath' points at wrong local POM", "repo.maven.apache.org", N),
        (MAVEN + "Unknown host repo.maven.apache.org", "repo.maven.apache.org", N),
        (MAVEN + "PKIX path building failed: sun.security.provider.certpath.SunCertPathBuilderException", "repo.maven.apache.org", T),
        (MAVEN + "Connect to repo.maven.apache.org:443 [repo.maven.apache.org/1.2.3.4] failed: Connection refused", "repo.maven.apache.org", W),
        ('Exception in thread "main" java.net.UnknownHostException: services.gradle.org', "services.gradle.org", N),
        (GO + ": lookup proxy.golang.org on 127.0.0.11:53: server misbehaving", "proxy.golang.org", N),
        (GO + " 142.250.1.1:443: connect: connection refused", "142.250.1.1:443", W),
        (GO.replace("dial tcp", "x509: certificate signed by unknown authority"), "proxy.golang.org", T),
        (COMPOSER + "Could not resolve host: repo.packagist.org", "repo.packagist.org", N),
        (RUBY + " connection to rubygems.org:443 (getaddrinfo: Temporary failure in name resolution)", "rubygems.org", N),
        ("Could not reach host index.rubygems.org. Check your network connection and try again.", "index.rubygems.org", N),
        ("error NU1301: Unable to load the service index for source https://api.nuget.org/v3/index.json.", "api.nuget.org", W),
        ("curl: (6) Could not resolve host: example.com", "example.com", N),
        ("curl: (7) Failed to connect to example.com port 443 after 1 ms: Couldn't connect to server", "example.com", W),
        ("wget: unable to resolve host address \u2018example.com\u2019", "example.com", N),
        ("fatal: unable to access 'https://github.com/me/x/': Could not resolve host: github.com", "github.com", N),
        ("fatal: unable to access 'https://github.com/me/x/': server certificate verification failed. CAfile: none CRLfile: none", "github.com", T),
        ("fatal: unable to access 'https://github.com/me/x/': Received HTTP code 407 from proxy after CONNECT", "github.com", P),
        ("ADD failed: Get https://example.com/x: dial tcp: lookup example.com: no such host", "example.com", N),
        ("curl: (28) Connection timed out after 5000 ms", "A host", W),
    ],
)  # fmt: skip
def test_the_host_and_what_is_wrong_with_it_are_named(said, host, trouble):
    told = hint([*said.splitlines(), "", "make: *** [install] Error 1"])
    assert told.startswith(f"{host} {trouble}. Builds ")


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: No matching distribution found for flask==99",
        "AssertionError: 1 != 2",
        "connect to 127.0.0.1:5432 failed: Connection refused\nurl: postgres://localhost.local/x",
        "npm error code E404",
        "",
    ],
)
def test_what_is_not_the_network_s_fault_gets_no_hint(said):
    assert hint(said.splitlines()) == ""
