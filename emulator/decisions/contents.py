r"""What planning sees of a file: within bounds, whatever somebody put into it.

The buildpacks' patterns are ordinary regular expressions. Over a run of a million blanks one
`\s*` at every position takes hours, and nothing else would happen meanwhile: so long runs are
folded, and where the beginning tells enough no more is looked at.
"""

import re

HEAD = 200_000  # bytes
_RUN = re.compile(r"\s{64,}")


def folded(text: str) -> str:
    """Runs of blanks made short: a line break if there was one, else a blank."""
    return _RUN.sub(lambda run: "\n" if "\n" in run[0] else " ", text)


def head(content: bytes) -> str:
    """The beginning as text, for patterns."""
    return folded(content[:HEAD].decode("utf-8", "replace"))
