"""Which local images an ImageIdentifier means."""

import pytest
from hypothesis import given, strategies as st

from emulator.decisions.image_names import (
    concerns,
    in_registry,
    is_digest,
    local_names,
    may_deploy_automatically,
    short_name,
    split_reference,
)
from emulator.model.configuration import ImageSource

PRIVATE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
DIGEST = "sha256:" + "0f" * 32

words = st.text("abcz019", min_size=1, max_size=4)
hosts = st.sampled_from(
    ["", "localhost:5000/", "ghcr.io/", "docker.io/", f"{PRIVATE}/", "public.ecr.aws/alias/"]
)
paths = st.lists(words, min_size=1, max_size=3).map("/".join)
suffixes = st.one_of(st.just(""), words.map(":{}".format), st.just(f"@{DIGEST}"))
references = st.builds("{}{}{}".format, hosts, paths, suffixes)
mappings = st.dictionaries(references, references, max_size=2)


@pytest.mark.parametrize(
    ("identifier", "names"),
    [
        ("demo:dev", ("demo:dev",)),
        ("demo", ("demo:latest",)),
        ("localhost:5000/demo", ("localhost:5000/demo:latest",)),
        (f"{PRIVATE}/x/y:tag", (f"{PRIVATE}/x/y:tag", "x/y:tag")),
        (f"{PRIVATE}.cn/x/y", (f"{PRIVATE}.cn/x/y:latest", "x/y:latest")),
        (f"{PRIVATE}/y@{DIGEST}", (f"{PRIVATE}/y@{DIGEST}", f"y@{DIGEST}")),
        (f"y:1@{DIGEST}", (f"y:1@{DIGEST}",)),
        ("public.ecr.aws/me/web:1", ("public.ecr.aws/me/web:1", "me/web:1", "web:1")),
        (
            "public.ecr.aws/docker/library/nginx",
            (
                "public.ecr.aws/docker/library/nginx:latest",
                "docker/library/nginx:latest",
                "nginx:latest",
            ),
        ),
        ("1234.dkr.ecr.eu-west-1.amazonaws.com/y:1", ("1234.dkr.ecr.eu-west-1.amazonaws.com/y:1",)),
    ],
)
def test_the_identifier_comes_first_then_what_it_is_called_without_its_registry(identifier, names):
    assert local_names(identifier, {}) == names


@pytest.mark.parametrize("written", ["demo", "demo:latest", "docker.io/library/demo"])
@pytest.mark.parametrize("asked", ["demo", "demo:latest"])
def test_a_mapped_name_means_that_one_only_with_or_without_the_tag_latest(written, asked):
    assert local_names(asked, {written: "mine:dev"}) == ("mine:dev",)


def test_a_mapping_is_of_that_tag_alone():
    assert local_names("demo:2", {"demo": "mine:dev"}) == ("demo:2",)


@pytest.mark.parametrize(
    ("reference", "identifier", "whether"),
    [
        ("demo:dev", "demo:dev", True),
        ("demo:dev", "demo", False),
        ("demo:latest", "demo", True),
        ("x/y:1", f"{PRIVATE}/x/y:1", True),
        ("y:1", f"{PRIVATE}/x/y:1", False),
        ("nginx:1", "docker.io/library/nginx:1", True),
        ("mine:latest", "mapped:1", True),
        ("mapped:1", "mapped:1", False),
    ],
)
def test_a_tag_concerns_the_identifiers_that_may_mean_it(reference, identifier, whether):
    assert concerns(reference, identifier, {"mapped:1": "mine"}) is whether


@given(references, mappings)
def test_every_name_that_is_looked_for_concerns_its_identifier(identifier, images):
    names = local_names(identifier, images)
    assert names
    assert len(set(names)) == len(names)
    assert all(concerns(name, identifier, images) for name in names)


@given(references)
def test_a_short_name_is_its_own_and_always_says_which_version(reference):
    name = short_name(reference)
    assert short_name(name) == name
    assert split_reference(name)[1] == split_reference(reference)[1] != ""


@given(references)
def test_a_digest_is_kept_as_it_is(reference):
    assert all(("@" in name) == ("@" in reference) for name in local_names(reference, {}))


REGISTRY = "localhost:5000"


@pytest.mark.parametrize(
    ("identifier", "names"),
    [
        ("localhost:5000/x/y", ("localhost:5000/x/y:latest",)),
        ("127.0.0.1:5000/y:1", ("localhost:5000/y:1",)),
        (f"localhost:5000/y@{DIGEST}", (f"localhost:5000/y@{DIGEST}",)),
        (f"{PRIVATE}/x/y:1", ("localhost:5000/x/y:1", f"{PRIVATE}/x/y:1", "x/y:1")),
        ("localhost:5001/y:1", ("localhost:5001/y:1",)),
        ("y:1", ("y:1",)),
        ("public.ecr.aws/me/web:1", ("public.ecr.aws/me/web:1", "me/web:1", "web:1")),
    ],
)
def test_the_registry_has_its_own_names_and_private_ones_first(identifier, names):
    assert local_names(identifier, {}, REGISTRY) == names


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("localhost:5000/x/y", ("x/y", "latest")),
        ("127.0.0.1:5000/y:1", ("y", "1")),
        (f"localhost:5000/y:1@{DIGEST}", ("y", DIGEST)),
        ("localhost:5001/y", None),
        ("localhost:50001/y", None),
        ("y:1", None),
        ("localhost:5000/../y:1", None),
        ("localhost:5000/y:..", None),
        ("localhost:5000/Y", None),
        ("localhost:5000/", None),
        ("localhost:5000//etc/passwd", None),
    ],
)
def test_a_name_of_the_registry_is_a_repository_and_a_reference(name, found):
    assert in_registry(name, REGISTRY) == found
    assert in_registry(name, "") is None


@given(references, mappings)
def test_with_a_registry_too_every_name_that_is_looked_for_concerns_its_identifier(
    identifier, images
):
    names = local_names(identifier, images, REGISTRY)
    assert all(concerns(name, identifier, images, REGISTRY) for name in names)
    assert all(is_digest(name) == is_digest(names[0]) for name in names)


@pytest.mark.documented("API reference, SourceConfiguration: AutoDeploymentsEnabled")
def test_a_public_repository_is_never_watched():
    public = ImageSource(identifier="public.ecr.aws/a/b:1", repository_type="ECR_PUBLIC")
    assert not may_deploy_automatically(public)
    assert may_deploy_automatically(ImageSource(identifier="demo:dev"))
