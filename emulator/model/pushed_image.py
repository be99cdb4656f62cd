"""What a registry holds of an image: what ECR would tell of it."""

from dataclasses import dataclass

from emulator.model.identifiers import Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedImage:
    """`digest` is its manifest's, `tags` those that mean it now, `size` that of its compressed
    layers in bytes, `manifest` the text of it as it was pushed.
    """

    digest: str
    tags: tuple[str, ...]
    pushed_at: Epoch
    media_type: str
    size: int
    manifest: str

    def __repr__(self) -> str:
        return f"<PushedImage {self.digest[:19]} {' '.join(self.tags)}>"
