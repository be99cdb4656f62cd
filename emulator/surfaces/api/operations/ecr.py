"""Amazon ECR, as far as the way from an image to a service goes: what scripts, the AWS CLI and
Terraform's aws_ecr_repository ask of a private registry. Only where the emulator has one.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from emulator.controllers.account.image_repositories import ImageRepositories
from emulator.model.errors import (
    ImageNotFoundException,
    InvalidParameterException,
    RepositoryNotFoundException,
)
from emulator.model.identifiers import Epoch
from emulator.model.pushed_image import PushedImage
from emulator.model.resources import ImageRepository
from emulator.surfaces.api import requests
from emulator.surfaces.api.operations.call import Answer, Call, Members
from emulator.surfaces.api.pages import page

USER = "AWS"
TOKEN_SECONDS = 12 * 3600.0  # documented
_MUTABILITY = ("MUTABLE", "IMMUTABLE")


def _repositories(call: Call) -> ImageRepositories:
    """Of the account that the caller means: there is no other."""
    found = call.account.repositories
    meant = call.members.get("registryId", call.account.registry.account)
    if found is None or meant != call.account.registry.account:
        raise InvalidParameterException(f"There is no registry with id '{meant}' here.")
    return found


async def _named(call: Call) -> ImageRepository:
    return await _repositories(call).find(call.region, call.members["repositoryName"])


async def _meant(call: Call) -> ImageRepository:
    arn = call.members["resourceArn"]
    for each in await _repositories(call).all(call.region):
        if each.arn == arn:
            return each
    raise RepositoryNotFoundException(f"There is no repository {arn}")


def _view(call: Call, repository: ImageRepository) -> Answer:
    return {
        "repositoryArn": repository.arn,
        "registryId": repository.account,
        "repositoryName": repository.name,
        "repositoryUri": _repositories(call).uri(repository),
        "createdAt": repository.created_at,
        "imageTagMutability": repository.tag_mutability,
        "imageScanningConfiguration": {"scanOnPush": repository.scan_on_push},
        "encryptionConfiguration": {
            "encryptionType": repository.encryption,
            "kmsKey": repository.kms_key,
        },
    }


def _page(call: Call, items: Sequence[Any], key: Any) -> tuple[list[Any], str | None]:  # noqa: ANN401 - a function of an item
    """ECR begins its members in lower case."""
    members = {name[:1].upper() + name[1:]: value for name, value in call.members.items()}
    return page(items, key, members, question=call.question)


# -- repositories --------------------------------------------------------------------------------


async def create_repository(call: Call) -> Answer:
    members = call.members
    encryption = members.get("encryptionConfiguration") or {"encryptionType": "AES256"}
    wanted = ImageRepository(
        region=call.region,
        account="",
        name=members["repositoryName"],
        created_at=Epoch(0.0),
        tags=requests.tags(members.get("tags")),
        tag_mutability=_mutability(members),
        scan_on_push=_scanned(members),
        encryption=encryption["encryptionType"],
        kms_key=encryption.get("kmsKey"),
    )
    return {"repository": _view(call, await _repositories(call).create(wanted))}


def _mutability(members: Members) -> str:
    wanted: str = members.get("imageTagMutability", _MUTABILITY[0])
    if wanted not in _MUTABILITY:
        raise InvalidParameterException(f"Here imageTagMutability is {' or '.join(_MUTABILITY)}.")
    return wanted


def _scanned(members: Members) -> bool:
    configuration = members.get("imageScanningConfiguration") or {}
    return bool(configuration.get("scanOnPush", False))


async def describe_repositories(call: Call) -> Answer:
    repositories = _repositories(call)
    if names := call.members.get("repositoryNames"):
        found = [await repositories.find(call.region, name) for name in names]
        return {"repositories": [_view(call, each) for each in found]}
    shown, token = _page(call, await repositories.all(call.region), lambda each: each.arn)
    return {"repositories": [_view(call, each) for each in shown], "nextToken": token}


async def delete_repository(call: Call) -> Answer:
    force = call.members.get("force", False)
    name = call.members["repositoryName"]
    deleted = await _repositories(call).delete(call.region, name, force=force)
    return {"repository": _view(call, deleted)}


async def put_image_tag_mutability(call: Call) -> Answer:
    changed = replace(await _named(call), tag_mutability=_mutability(call.members))
    await _repositories(call).change(changed)
    return {**_whose(changed), "imageTagMutability": changed.tag_mutability}


async def put_image_scanning_configuration(call: Call) -> Answer:
    changed = replace(await _named(call), scan_on_push=_scanned(call.members))
    await _repositories(call).change(changed)
    return {**_whose(changed), "imageScanningConfiguration": {"scanOnPush": changed.scan_on_push}}


def _whose(repository: ImageRepository) -> Answer:
    return {"registryId": repository.account, "repositoryName": repository.name}


async def list_tags_for_resource(call: Call) -> Answer:
    found = await _meant(call)
    return {"tags": [{"Key": key, "Value": value} for key, value in found.tags.items()]}


async def tag_resource(call: Call) -> Answer:
    found = await _meant(call)
    tags = requests.within_limit({**found.tags, **requests.tags(call.members["tags"])})
    await _repositories(call).tag(found, tags)
    return {}


async def untag_resource(call: Call) -> Answer:
    found = await _meant(call)
    gone = set(call.members["tagKeys"])
    kept = {key: value for key, value in found.tags.items() if key not in gone}
    await _repositories(call).tag(found, kept)
    return {}


# -- images --------------------------------------------------------------------------------------


async def describe_images(call: Call) -> Answer:
    repository = await _named(call)
    if wanted := call.members.get("imageIds"):
        found = [await _image(call, each) for each in wanted]
        return {"imageDetails": [_detail(repository, each) for each in found]}
    shown, token = _page(call, await _filtered(call), lambda each: each.digest)
    return {"imageDetails": [_detail(repository, each) for each in shown], "nextToken": token}


async def list_images(call: Call) -> Answer:
    """A row for each tag."""
    rows = [
        {"imageDigest": image.digest, "imageTag": tag}
        for image in await _filtered(call)
        for tag in image.tags or (None,)
    ]
    shown, token = _page(call, rows, lambda row: f"{row['imageDigest']} {row['imageTag']}")
    return {"imageIds": shown, "nextToken": token}


async def batch_get_image(call: Call) -> Answer:
    """As they were pushed, whatever `acceptedMediaTypes` says."""
    repository = await _named(call)
    found, failures = [], []
    for wanted in call.members["imageIds"]:
        try:
            image = await _image(call, wanted)
        except ImageNotFoundException:
            failures.append(_failure(wanted))
        else:
            identity = {"imageDigest": image.digest, "imageTag": wanted.get("imageTag")}
            found.append(
                {
                    **_whose(repository),
                    "imageId": identity,
                    "imageManifest": image.manifest,
                    "imageManifestMediaType": image.media_type,
                }
            )
    return {"images": found, "failures": failures}


async def batch_delete_image(call: Call) -> Answer:
    await _named(call)
    deleted, failures = [], []
    for wanted in call.members["imageIds"]:
        tag = wanted.get("imageTag")
        try:
            image = await _image(call, wanted)
        except ImageNotFoundException:
            failures.append(_failure(wanted))
        else:
            name = call.members["repositoryName"]
            await _repositories(call).remove_image(name, image, tag)
            deleted.append({"imageDigest": image.digest, "imageTag": tag})
    return {"imageIds": deleted, "failures": failures}


async def _image(call: Call, wanted: Mapping[str, str]) -> PushedImage:
    repositories, name = _repositories(call), call.members["repositoryName"]
    tag, digest = wanted.get("imageTag"), wanted.get("imageDigest")
    if tag is None and digest is None:
        raise InvalidParameterException("Each imageId needs an imageTag or an imageDigest.")
    return repositories.chosen(await repositories.images(call.region, name), name, tag, digest)


async def _filtered(call: Call) -> list[PushedImage]:
    name = call.members["repositoryName"]
    status = (call.members.get("filter") or {}).get("tagStatus", "ANY")
    images = await _repositories(call).images(call.region, name)
    return [each for each in images if status in {"ANY", "TAGGED" if each.tags else "UNTAGGED"}]


def _detail(repository: ImageRepository, image: PushedImage) -> Answer:
    return {
        **_whose(repository),
        "imageDigest": image.digest,
        "imageTags": list(image.tags) or None,
        "imageSizeInBytes": image.size,
        "imagePushedAt": image.pushed_at,
        "imageManifestMediaType": image.media_type,
    }


def _failure(wanted: Mapping[str, str]) -> Answer:
    return {
        "imageId": dict(wanted),
        "failureCode": "ImageNotFound",
        "failureReason": "Requested image not found",
    }


# -- the way in ----------------------------------------------------------------------------------


async def get_authorization_token(call: Call) -> Answer:
    """For `docker login`; the registry listens on loopback only, and lets everybody in."""
    ports = call.platform.ports
    token = base64.b64encode(f"{USER}:{ports.identifiers.hexadecimal()}".encode()).decode()
    data = {
        "authorizationToken": token,
        "expiresAt": ports.machine.now() + TOKEN_SECONDS,
        "proxyEndpoint": f"http://{_repositories(call).address}",
    }
    return {"authorizationData": [data]}
