"""Names that count, so that a test can tell what comes next."""

import itertools
import string

_DIGITS = string.ascii_lowercase + string.digits


class CountingIdentifiers:
    """Each name is new; the same calls give the same names in every run."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def hexadecimal(self) -> str:
        """The counter comes first: people and tests look at the first eight digits."""
        return f"{next(self._numbers):08x}".ljust(32, "0")

    def uuid(self) -> str:
        return f"{next(self._numbers):08x}-0000-4000-8000-000000000000"

    def label(self) -> str:
        number, text = next(self._numbers), ""
        while number:
            number, digit = divmod(number, len(_DIGITS))
            text = _DIGITS[digit] + text
        return "l" + text.rjust(9, "0")
