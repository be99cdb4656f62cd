"""Which revisions can be returned to."""

from hypothesis import given
from hypothesis.strategies import booleans, integers, lists, sampled_from, tuples

from emulator.decisions.keeping import kept
from emulator.model.identifiers import Epoch, RevisionId, ServiceId
from emulator.model.revision import Revision


def revisions(images):
    return [
        Revision(
            id=RevisionId(f"r{number}"),
            service=ServiceId("s"),
            image=image,
            created_at=Epoch(number),
        )
        for number, image in enumerate(images, start=1)
    ]


def test_revisions_of_one_image_share_its_place():
    made = revisions("aabbbc")
    served = {r.id for r in made}
    assert [r.id for r in kept(made, served, 2)] == ["r3", "r4", "r5", "r6"]
    assert [r.id for r in kept(made, served, 1)] == ["r6"]


@given(lists(tuples(sampled_from("abcdef"), booleans()), max_size=12), integers(1, 5))
def test_only_what_served_is_kept_and_of_no_more_than_so_many_images(made, keep):
    every = revisions(image for image, _ in made)
    served = {r.id for r, (_, well) in zip(every, made, strict=True) if well}
    found = kept(every, served, keep)
    able = [r for r in every if r.id in served]
    assert {r.id for r in found} <= served
    assert len({r.image for r in found}) == min(keep, len({r.image for r in able}))
    assert not able or able[-1] in found
    newest_gone = max((r.created_at for r in able if r not in found), default=0)
    assert all(
        max(r.created_at for r in able if r.image == image) > newest_gone
        for image in {r.image for r in found}
    )
