"""Price files: the one that comes with the emulator, and the user's own over it."""

from collections.abc import Mapping
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import tomli

from emulator.cli.configuration_file import Document
from emulator.decisions import price_list
from emulator.model.errors import ConfigurationError, Place
from emulator.model.prices import PriceList

FILE = "prices.toml"


def builtin() -> PriceList:
    """What comes with the emulator."""
    return _listed(
        Document(path=Path(FILE), text=files("emulator").joinpath(FILE).read_text("utf-8"))
    )


def load(path: str | None) -> PriceList:
    """The prices in force: a file's tables over the built-in ones.

    Raises ConfigurationError with file, line and key.
    """
    return builtin() if path is None else _listed(_document(path)).over(builtin())


def tables(path: str) -> Mapping[str, Any]:
    """A file's content, once it is known to be right."""
    document = _document(path)
    _listed(document)
    return _parsed(document)


def _listed(document: Document) -> PriceList:
    return price_list.read(_parsed(document), document.error)


def _document(path: str) -> Document:
    try:
        return Document(path=Path(path), text=Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(Place(file=path), "there is no such file") from None
    except UnicodeDecodeError:
        raise ConfigurationError(Place(file=path), "expected UTF-8 text") from None
    except OSError as error:
        raise ConfigurationError(Place(file=path), f"{error.strerror}") from None


def _parsed(document: Document) -> dict[str, Any]:
    try:
        return tomli.loads(document.text, parse_float=Decimal)
    except tomli.TOMLDecodeError as error:
        message = f"expected TOML: {error.msg} (column {error.colno})"
        raise ConfigurationError(
            Place(file=str(document.path), line=error.lineno), message
        ) from None
