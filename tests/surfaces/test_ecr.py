"""Amazon ECR over the emulator's own registry, as boto3 and scripts ask for it."""

import asyncio
import base64
import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from emulator.surfaces.api.server import PUSHED
from tests.fakes.registry import FakeRegistry
from tests.surfaces.aws_world import InProcess, client, with_settings

ADDRESS = "localhost:5000"
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def emulator():
    made = InProcess()
    made.machine.registry = FakeRegistry(made.machine.builder)
    with made.running():
        yield made


@pytest.fixture(scope="module")
def talking(emulator):
    made = client(emulator.endpoint, "ecr")
    yield made
    made.close()


@pytest.fixture
def ecr(talking, emulator):
    """Of an empty registry."""
    emulator.machine.registry.pushed.clear()
    for each in talking.describe_repositories()["repositories"]:
        talking.delete_repository(repositoryName=each["repositoryName"], force=True)
    return talking


def push(emulator, repository, tag, image):
    """In the emulator's thread."""
    pushing = emulator.machine.registry.push(repository, tag, image, size=7)
    return asyncio.run_coroutine_threadsafe(pushing, emulator._loop).result(timeout=20)


def refused(call, **members):
    with pytest.raises(ClientError) as caught:
        call(**members)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def names(ecr):
    return [r["repositoryName"] for r in ecr.describe_repositories()["repositories"]]


class TestRepositories:
    def test_are_made_with_a_uri_that_docker_push_takes(self, ecr):
        tags = [{"Key": "team", "Value": "shop"}]
        made = ecr.create_repository(repositoryName="shop/web", tags=tags)["repository"]
        assert made["repositoryUri"] == f"{ADDRESS}/shop/web"
        arn = "arn:aws:ecr:us-east-1:000000000000:repository/shop/web"
        assert (made["repositoryArn"], made["registryId"]) == (arn, "000000000000")
        assert made["imageTagMutability"] == "MUTABLE"
        assert made["encryptionConfiguration"] == {"encryptionType": "AES256"}
        found = ecr.describe_repositories(repositoryNames=["shop/web"])["repositories"]
        assert found == [made]
        assert ecr.list_tags_for_resource(resourceArn=arn)["tags"] == tags

    def test_are_changed(self, ecr):
        arn = ecr.create_repository(repositoryName="web")["repository"]["repositoryArn"]
        ecr.put_image_tag_mutability(repositoryName="web", imageTagMutability="IMMUTABLE")
        scan = {"scanOnPush": True}
        ecr.put_image_scanning_configuration(repositoryName="web", imageScanningConfiguration=scan)
        ecr.tag_resource(resourceArn=arn, tags=[{"Key": k, "Value": k} for k in ("a", "b")])
        ecr.untag_resource(resourceArn=arn, tagKeys=["a"])
        (found,) = ecr.describe_repositories()["repositories"]
        assert found["imageTagMutability"] == "IMMUTABLE"
        assert found["imageScanningConfiguration"] == scan
        tags = ecr.list_tags_for_resource(resourceArn=arn)["tags"]
        assert tags == [{"Key": "b", "Value": "b"}]

    def test_are_there_once_whatever_the_region(self, ecr, emulator):
        ecr.create_repository(repositoryName="web")
        code, message = refused(ecr.create_repository, repositoryName="web")
        assert code == "RepositoryAlreadyExistsException"
        assert "'web' already exists in the registry with id '000000000000'" in message
        elsewhere = client(emulator.endpoint, "ecr", "eu-west-1")
        assert names(elsewhere) == []
        assert refused(elsewhere.create_repository, repositoryName="web")[0] == code
        elsewhere.close()

    def test_are_made_by_a_push_too(self, ecr, emulator):
        push(emulator, "web", "1", "sha256:a")
        (found,) = ecr.describe_repositories()["repositories"]
        assert found["repositoryName"] == "web"
        assert ecr.describe_repositories()["repositories"] == [found]

    def test_are_deleted_with_their_images_only_by_force(self, ecr, emulator):
        push(emulator, "web", "1", "sha256:a")
        code, message = refused(ecr.delete_repository, repositoryName="web")
        assert code == "RepositoryNotEmptyException"
        assert "cannot be deleted because it still contains images" in message
        ecr.delete_repository(repositoryName="web", force=True)
        assert emulator.machine.registry.pushed == {}
        assert refused(ecr.delete_repository, repositoryName="web")[0] == (
            "RepositoryNotFoundException"
        )

    def test_come_in_pages(self, ecr):
        for name in ("c1", "a1", "b1"):
            ecr.create_repository(repositoryName=name)
        pages = ecr.get_paginator("describe_repositories").paginate(
            PaginationConfig={"PageSize": 2}
        )
        found = [[r["repositoryName"] for r in p["repositories"]] for p in pages]
        assert found == [["a1", "b1"], ["c1"]]

    def test_of_another_account_are_not_here(self, ecr):
        code, message = refused(ecr.describe_repositories, registryId="123456789012")
        assert (code, "'123456789012'" in message) == ("InvalidParameterException", True)

    @pytest.mark.parametrize("name", ["Web", "a..b", "/web", "we/"])
    def test_are_named_as_the_model_says(self, ecr, name):
        code, message = refused(ecr.create_repository, repositoryName=name)
        assert code == "InvalidParameterException"
        assert f"Value '{name}' at 'repositoryName' failed to satisfy constraint" in message


class TestImages:
    @pytest.fixture
    def pushed(self, ecr, emulator):  # noqa: ARG002 - an empty registry
        old = push(emulator, "web", "1", "sha256:a")
        new = push(emulator, "web", "1", "sha256:b")
        push(emulator, "web", "latest", "sha256:b")
        return old, new

    def test_are_described_with_and_without_a_tag(self, ecr, pushed):
        old, new = pushed
        found = ecr.describe_images(repositoryName="web")["imageDetails"]
        assert {d["imageDigest"]: d.get("imageTags") for d in found} == {
            old: None,
            new: ["1", "latest"],
        }
        assert {d["imageSizeInBytes"] for d in found} == {7}
        tagged = ecr.describe_images(repositoryName="web", filter={"tagStatus": "TAGGED"})
        assert [d["imageDigest"] for d in tagged["imageDetails"]] == [new]
        one = ecr.describe_images(repositoryName="web", imageIds=[{"imageTag": "1"}])
        assert [d["imageDigest"] for d in one["imageDetails"]] == [new]
        code, message = refused(
            ecr.describe_images, repositoryName="web", imageIds=[{"imageTag": "2"}]
        )
        assert code == "ImageNotFoundException"
        assert "{imageDigest:'null', imageTag:'2'} does not exist" in message

    def test_are_listed_a_row_for_each_tag(self, ecr, pushed):
        old, new = pushed
        rows = ecr.list_images(repositoryName="web")["imageIds"]
        found = sorted((row["imageDigest"], row.get("imageTag")) for row in rows if len(row) > 1)
        assert found == [(new, "1"), (new, "latest")]
        assert {"imageDigest": old} in rows

    def test_are_had_with_their_manifests_and_those_that_are_not_there_named(self, ecr, pushed):
        wanted = [{"imageTag": "1"}, {"imageTag": "none"}]
        found = ecr.batch_get_image(repositoryName="web", imageIds=wanted)
        (image,) = found["images"]
        assert image["imageId"] == {"imageDigest": pushed[1], "imageTag": "1"}
        assert image["imageManifest"] == '{"schemaVersion": 2}'
        (failure,) = found["failures"]
        assert (failure["failureCode"], failure["imageId"]) == ("ImageNotFound", wanted[1])

    def test_lose_their_tags_one_by_one_and_go_with_the_last(self, ecr, pushed):
        def delete(**identity):
            return ecr.batch_delete_image(repositoryName="web", imageIds=[identity])

        assert delete(imageTag="latest")["imageIds"][0]["imageDigest"] == pushed[1]
        (kept,) = ecr.describe_images(repositoryName="web", imageIds=[{"imageTag": "1"}])[
            "imageDetails"
        ]
        assert kept["imageTags"] == ["1"]
        delete(imageTag="1")
        rows = ecr.list_images(repositoryName="web")["imageIds"]
        assert rows == [{"imageDigest": pushed[0]}]
        delete(imageDigest=pushed[0])
        assert ecr.list_images(repositoryName="web")["imageIds"] == []
        assert delete(imageTag="1")["failures"][0]["failureCode"] == "ImageNotFound"

    def test_of_no_repository_are_not_found(self, ecr):
        code, message = refused(ecr.list_images, repositoryName="nowhere")
        assert code == "RepositoryNotFoundException"
        assert "'nowhere' does not exist in the registry with id '000000000000'" in message


def test_a_token_is_a_user_and_a_password_for_the_registry(ecr):
    (data,) = ecr.get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    assert (user, data["proxyEndpoint"]) == ("AWS", f"http://{ADDRESS}")
    assert password


@pytest.mark.parametrize("upstream", ["", "http://127.0.0.1:1"])
def test_what_a_registry_of_one_machine_has_not_is_a_neighbours(upstream):
    made = InProcess(with_settings(upstream=upstream))
    made.machine.registry = FakeRegistry(made.machine.builder)
    with made.running():
        talking = client(made.endpoint, "ecr")
        assert names(talking) == []
        code, _ = refused(talking.describe_pull_through_cache_rules)
        talking.close()
    assert code == ("UpstreamUnreachable" if upstream else "UpstreamNotConfigured")


def test_without_a_registry_ecr_is_a_neighbour_and_the_setting_is_named():
    with InProcess().running() as alone:
        talking = client(alone.endpoint, "ecr")
        code, message = refused(talking.describe_repositories)
        talking.close()
    assert code == "UpstreamNotConfigured"
    assert "apprunner start --registry-port 5000" in message


class TestNotifications:
    """The registry's, in its own form."""

    def tell(self, emulator, body):
        request = Request(f"{emulator.endpoint}{PUSHED}", data=body, method="POST")
        try:
            with urlopen(request, timeout=20) as answer:
                return answer.status
        except HTTPError as error:
            return error.code

    def test_of_a_push_is_passed_on_and_of_layers_is_not(self, emulator, monkeypatch):
        heard = []

        async def pushed(repository, tag):
            heard.append((repository, tag))

        monkeypatch.setattr(emulator.emulator.platform, "pushed", pushed)
        image = {"repository": "shop/web", "tag": "1", "digest": "sha256:…"}
        events = [
            {"action": "push", "target": {"repository": "shop/web", "digest": "sha256:…"}},
            {"action": "push", "target": image},
            {"action": "pull", "target": image},
            {"action": "delete", "target": {"repository": "shop/web"}},
        ]
        assert self.tell(emulator, json.dumps({"events": events}).encode()) == 200
        assert heard == [("shop/web", "1")]

    @pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"not JSON", b'{"events": [{}]}'])
    def test_of_another_form_is_refused(self, emulator, body):
        assert self.tell(emulator, body) == 400
