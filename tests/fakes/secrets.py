"""Secrets that the test sets."""

import json

from emulator.model.errors import ConfigurationError, Place


class FakeSecrets:
    """`values` by reference; `asked` holds each reference with its region."""

    def __init__(self, values=None) -> None:
        self.values = dict(values or {})
        self.asked = []

    async def value(self, reference, *, region):
        self.asked.append((reference, region))
        if reference not in self.values:
            place = Place(file="emulator.toml", key=f"secrets.{json.dumps(reference)}")
            raise ConfigurationError(place, "no such secret; add it under [secrets]")
        return self.values[reference]
