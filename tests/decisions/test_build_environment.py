"""The lines that let the host's certificates and indexes into a build, and nothing into the image."""

from emulator.decisions.build_environment import (
    BuildEnvironment,
    insert_prelude,
    prelude,
    reach_host,
    remote_addresses,
)

FULL = BuildEnvironment(
    arguments={"PIP_INDEX_URL": "http://x", "HTTP_PROXY": "http://p", "no_proxy": "a"},
    files="host:1",
    ca=True,
    npmrc=True,
)


def test_nothing_of_the_host_needs_no_lines():
    assert prelude(BuildEnvironment()) == ()
    assert insert_prelude("FROM a\n", BuildEnvironment()).text == "FROM a\n"


def test_variables_come_as_arguments_and_never_as_the_image_s_own():
    lines = prelude(FULL)
    assert lines[-1].startswith("ARG PIP_INDEX_URL ")
    assert not [line for line in lines if line.startswith("ENV")]


def test_values_are_not_written_into_the_dockerfile():
    assert "http://x" not in "\n".join(prelude(FULL))


def test_proxies_need_no_declaration():
    assert "PROXY" not in "\n".join(prelude(FULL)).upper()


def test_every_tool_is_told_of_the_certificates():
    text = "\n".join(prelude(FULL))
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        assert f" {name}=/" in text
    for name in ("NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"):
        assert f" {name}=/" in text
    assert "COPY --from=host:1 /ca.crt /etc/ssl/certs/ca-certificates.crt" in text


def test_npm_s_key_comes_only_where_there_is_one():
    without = BuildEnvironment(arguments={}, files="host:1", ca=True)
    assert "npmrc" in "\n".join(prelude(FULL))
    assert "npmrc" not in "\n".join(prelude(without))


def test_lines_follow_every_from_as_far_as_the_stage_needs_them():
    text = "ARG V=1\nFROM a:$V AS one\nRUN x\nFROM one\nFROM scratch\nCOPY --from=one /x /x\n"
    lines = insert_prelude(text, FULL, {"role": "build"}).text.split("\n")
    assert lines[:3] == ["ARG V=1", "FROM a:$V AS one", 'LABEL role="build"']
    assert lines[3].startswith("COPY --from=host:1 /ca.crt")
    second = lines.index("FROM one")
    assert lines[second + 1].startswith("ARG ")
    assert lines[second + 2] == "FROM scratch"
    assert lines[second + 3] == "COPY --from=one /x /x"


def test_the_image_s_labels_are_one_last_step():
    for text in ("FROM a\nRUN x", "FROM a\nRUN x\n\n", "FROM a\nRUN x \\\n"):
        prepared = insert_prelude(text, BuildEnvironment(), image_labels={"a": "1", "b": "2"})
        assert prepared.text == 'FROM a\nRUN x\nLABEL a="1" b="2"\n'
        assert prepared.inserted == (3,)


def test_a_line_is_traced_back_to_where_its_author_wrote_it():
    text = "FROM a\nRUN x\nFROM b\nRUN y\n"
    prepared = insert_prelude(text, FULL)
    written = text.split("\n")
    ours = set(prepared.inserted)
    for number, line in enumerate(prepared.text.split("\n"), start=1):
        if number not in ours:
            assert written[prepared.original_line(number) - 1] == line


def test_the_host_s_loopback_is_reached_by_the_gateway():
    reached, notes = reach_host(
        {
            "HTTP_PROXY": "http://user:word@localhost:3128",
            "https_proxy": "127.0.0.1:3128",
            "ALL_PROXY": "socks5://[::1]:1080",
            "PIP_EXTRA_INDEX_URL": "https://a/x http://localhost/simple",
            "PIP_TRUSTED_HOST": "localhost",
            "NO_PROXY": "localhost,127.0.0.1",
            "PIP_INDEX_URL": "http://localhost.example.org/simple",
        },
        "172.18.0.1",
    )
    assert reached == {
        "HTTP_PROXY": "http://user:word@172.18.0.1:3128",
        "https_proxy": "172.18.0.1:3128",
        "ALL_PROXY": "socks5://172.18.0.1:1080",
        "PIP_EXTRA_INDEX_URL": "https://a/x http://172.18.0.1/simple",
        "PIP_TRUSTED_HOST": "172.18.0.1",
        "NO_PROXY": "localhost,127.0.0.1",
        "PIP_INDEX_URL": "http://localhost.example.org/simple",
    }
    assert [note.split()[0] for note in notes] == [
        "ALL_PROXY",
        "HTTP_PROXY",
        "PIP_EXTRA_INDEX_URL",
        "PIP_TRUSTED_HOST",
        "https_proxy",
    ]
    assert "word" not in " ".join(notes)


def test_files_of_the_host_mean_nothing_inside():
    assert remote_addresses(["file:///x", "/wheels", "https://a/b", "http://c"]) == (
        "https://a/b http://c"
    )
