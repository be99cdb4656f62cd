"""Writes plots as the file's name asks for: SVG by itself, PNG with Pillow (extra `plot`)."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emulator.cli.failure import Failure
from emulator.decisions.plot import Line, Plot, Text, svg

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SCALE = 2  # pixels of a PNG for each of the plot's
FONT = 12
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def writer(path: str) -> Callable[[Plot], None]:
    """What writes a plot to `path`; told before the work is done if that will not be possible."""
    if not Path(path).parent.is_dir():
        raise click.UsageError(f"--plot: there is no directory {Path(path).parent}.")
    match Path(path).suffix.lower():
        case ".svg":
            return lambda plot: _write(path, svg(plot).encode())
        case ".png":
            return _png(path)
        case _:
            raise click.UsageError(f"--plot takes a name that ends in .svg or .png, not {path}.")


def _png(path: str) -> Callable[[Plot], None]:
    try:
        from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415 - optional
    except ImportError:
        raise Failure(
            "A PNG needs Pillow.",
            "pip install 'apprunner-emulator[plot]' brings it; a name that ends in .svg needs nothing.",
        ) from None

    def write(plot: Plot) -> None:
        image = Image.new("RGB", (plot.width * SCALE, plot.height * SCALE), "white")
        pen, font = ImageDraw.Draw(image), ImageFont.load_default(FONT * SCALE)
        for shape in plot.shapes:
            match shape:
                case Line():
                    _line(pen, shape)
                case Text(at=(x, y), text=text, anchor=anchor, colour=colour):
                    where = (x * SCALE, y * SCALE)
                    pen.text(where, text, fill=colour, anchor=_ANCHORS[anchor], font=font)
        image.save(path, "PNG")

    return write


def _line(pen: "ImageDraw", shape: Line) -> None:
    points = [(x * SCALE, y * SCALE) for x, y in shape.points]
    pen.line(points, fill=shape.colour, width=max(1, round(shape.width * SCALE)))


def _write(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
