"""Fresh names that nobody can guess: a service's label is all that keeps its URL private."""

import secrets
import string
import uuid

LABEL_LENGTH = 10
_LETTERS = string.ascii_lowercase
_LETTERS_AND_DIGITS = string.ascii_lowercase + string.digits


class RandomIdentifiers:
    """From the system's source of randomness."""

    def hexadecimal(self) -> str:
        return secrets.token_hex(16)

    def uuid(self) -> str:
        return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))

    def label(self) -> str:
        rest = (secrets.choice(_LETTERS_AND_DIGITS) for _ in range(LABEL_LENGTH - 1))
        return secrets.choice(_LETTERS) + "".join(rest)
