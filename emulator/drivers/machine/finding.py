"""What the doctor found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`remedy` is a command or a sentence that mends it; `fixable` ones are mended by `--fix`.

    Without what is `required` nothing works; the rest is advice.
    """

    check: str
    ok: bool
    detail: str
    remedy: str = ""
    fixable: bool = False
    required: bool = True
