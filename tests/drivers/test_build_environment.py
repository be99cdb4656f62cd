"""What is read from a host, with a host made of a temporary directory."""

import base64

from emulator.drivers.docker.build_environment import read_host

CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def read(tmp_path, **variables):
    return read_host(variables, home=tmp_path / "home", root=tmp_path)


def test_a_host_without_anything_gives_nothing(tmp_path):
    host = read(tmp_path)
    assert (dict(host.environment.arguments), host.files) == ({}, ())
    assert not host.environment.ca
    assert not host.environment.files


def test_the_bundle_that_a_variable_names_wins(tmp_path):
    write(tmp_path / "etc/ssl/certs/ca-certificates.crt", CERTIFICATE)
    named = write(tmp_path / "own.pem", CERTIFICATE + b"own")
    host = read(tmp_path, SSL_CERT_FILE=str(tmp_path / "gone.pem"), REQUESTS_CA_BUNDLE=named)
    assert dict(host.files)["ca.crt"] == CERTIFICATE + b"own"
    assert host.environment.ca


def test_other_certificates_are_another_image(tmp_path):
    write(tmp_path / "etc/ssl/cert.pem", CERTIFICATE)
    first = read(tmp_path).environment.files
    write(tmp_path / "etc/ssl/cert.pem", CERTIFICATE * 2)
    assert first.startswith("apprunner-emulator/host:")
    assert read(tmp_path).environment.files != first


def test_a_file_without_certificates_is_no_bundle(tmp_path):
    assert read(tmp_path, SSL_CERT_FILE=write(tmp_path / "x", "nothing")).files == ()


def test_proxies_come_in_both_spellings(tmp_path):
    found = read(tmp_path, HTTP_PROXY="http://p", no_proxy="a,b").environment.arguments
    assert found == {
        "HTTP_PROXY": "http://p",
        "http_proxy": "http://p",
        "NO_PROXY": "a,b",
        "no_proxy": "a,b",
    }


def test_pip_s_variables_win_over_the_user_s_file_and_that_over_the_machine_s(tmp_path):
    write(tmp_path / "etc/pip.conf", "[global]\nindex-url=https://m/i\ntrusted-host=m\n")
    write(
        tmp_path / "home/.config/pip/pip.conf",
        "[global]\nindex-url=https://u/i\nextra-index-url=\n  file:///x\n  https://u/e\n",
    )
    found = read(tmp_path).environment.arguments
    assert found == {
        "PIP_INDEX_URL": "https://u/i",
        "PIP_EXTRA_INDEX_URL": "https://u/e",
        "PIP_TRUSTED_HOST": "m",
    }
    found = read(tmp_path, PIP_INDEX_URL="https://v/i", PIP_DEFAULT_TIMEOUT="9")
    assert found.environment.arguments["PIP_INDEX_URL"] == "https://v/i"
    assert found.environment.arguments["PIP_DEFAULT_TIMEOUT"] == "9"


def test_an_index_in_the_host_s_files_is_left_out(tmp_path):
    assert read(tmp_path, PIP_INDEX_URL="file:///pypi").environment.arguments == {}


def test_a_broken_pip_conf_is_passed_over(tmp_path):
    write(tmp_path / "etc/pip.conf", "index-url=x")
    assert read(tmp_path).environment.arguments == {}


def test_npm_s_registry_comes_with_its_key_and_no_other(tmp_path):
    write(
        tmp_path / "home/.npmrc",
        "registry=https://r.example/npm/\n; a comment\n"
        "//r.example/npm/:_authToken=${TOKEN}\n//other.example/:_authToken=secret\n",
    )
    host = read(tmp_path, TOKEN="abc")
    assert host.environment.arguments == {
        "NPM_CONFIG_REGISTRY": "https://r.example/npm/",
        "YARN_NPM_REGISTRY_SERVER": "https://r.example/npm",
        "COREPACK_NPM_REGISTRY": "https://r.example/npm",
    }
    assert dict(host.files) == {"npmrc": b"//r.example/npm/:_authToken=abc\n"}
    assert host.environment.npmrc
    assert read(tmp_path).files == ()


def test_a_key_without_a_registry_never_leaves_the_host(tmp_path):
    write(tmp_path / "home/.npmrc", "//registry.npmjs.org/:_authToken=secret\n")
    assert read(tmp_path).files == ()


def test_go_s_proxies_come_from_variables_and_from_go_s_own_file_but_no_folders(tmp_path):
    write(tmp_path / "home/.config/go/env", "GOSUMDB=sum.example\nGOPROXY=https://no.example\n")
    found = read(tmp_path, GOPROXY="file:///go,https://go.example,direct", GOFLAGS="-mod=mod")
    assert found.environment.arguments == {
        "GOPROXY": "https://go.example,direct",
        "GOSUMDB": "sum.example",
        "GOFLAGS": "-mod=mod",
    }


def test_bundler_s_mirrors_come_without_keys(tmp_path):
    write(
        tmp_path / "home/.bundle/config",
        '---\nBUNDLE_MIRROR__HTTPS://RUBYGEMS__ORG/: "https://gems.example"\n'
        'BUNDLE_GEMS__EXAMPLE: "me:secret"\n',
    )
    found = read(tmp_path, BUNDLE_GEMS__EXAMPLE="me:secret").environment.arguments
    assert found == {"BUNDLE_MIRROR__ALL": "https://gems.example"}


def test_maven_s_mirrors_come_without_keys(tmp_path):
    mirrors = "<mirrors><mirror><url>https://m.example</url></mirror></mirrors>"
    servers = "<servers><server><password>secret</password></server></servers>"
    write(tmp_path / "home/.m2/settings.xml", f"<settings>{servers}{mirrors}</settings>")
    host = read(tmp_path)
    assert dict(host.files) == {"settings.xml": f"<settings>{mirrors}</settings>\n".encode()}
    assert host.environment.maven


def test_java_trusts_the_host_s_certificates_where_there_are_some_it_can_read(tmp_path):
    variables = {"SSL_CERT_FILE": write(tmp_path / "x", CERTIFICATE)}
    assert "JAVA_TOOL_OPTIONS" not in read(tmp_path, **variables).environment.arguments
    certificate = base64.b64encode(b"0" * 300)
    bundle = b"-----BEGIN CERTIFICATE-----\n%b\n-----END CERTIFICATE-----\n" % certificate
    host = read(tmp_path, SSL_CERT_FILE=write(tmp_path / "x", bundle))
    assert b"0" * 300 in dict(host.files)["cacerts"]
    assert "/cacerts" in host.environment.arguments["JAVA_TOOL_OPTIONS"]
