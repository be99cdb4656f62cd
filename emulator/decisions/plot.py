"""A plot of a replay: instances over time for each setting, requests per second below.

What is drawn is worked out once, as lines and texts; writing them as SVG needs nothing else.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 960, 560
LEFT, RIGHT, TOP, GAP, BOTTOM = 60, 24, 20, 46, 34
LEGEND = 18  # a line of it
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
GREY, BLACK = "#cccccc", "#222222"
TICKS = 5
FINEST = 0.001  # of a scale
SHARE = 0.68  # of the height for the instances

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Through these points, in pixels from the top left."""

    points: Sequence[Point]
    colour: str = BLACK
    width: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """`anchor`: which end of it stands at the point: start, middle or end."""

    at: Point
    text: str
    anchor: str = "start"
    colour: str = BLACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Shapes on a white ground, the later over the earlier."""

    width: int
    height: int
    shapes: Sequence[Line | Text]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """A value that holds from each moment on; seconds."""

    name: str
    steps: Sequence[Point] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Area:
    """Where a panel is drawn, and what it reaches to."""

    top: float
    height: float
    seconds: float
    most: float

    def at(self, moment: float, value: float) -> Point:
        across = min(1.0, moment / self.seconds) * (WIDTH - LEFT - RIGHT)
        return LEFT + across, self.top + self.height * (1 - value / self.most)


def replayed(settings: Sequence[Steps], arrivals: Steps, seconds: float) -> Plot:
    """`settings` hold numbers of instances, `arrivals` requests per second."""
    head = TOP + LEGEND * (len(settings) + 1)
    room = HEIGHT - head - GAP - BOTTOM
    upper = _area(head, room * SHARE, seconds, settings)
    lower = _area(head + room * SHARE + GAP, room * (1 - SHARE), seconds, [arrivals])
    shapes: list[Line | Text] = []
    for area, title in ((upper, "instances"), (lower, "requests per second")):
        shapes += _frame(area, title)
    for number, each in enumerate(settings):
        colour = COLOURS[number % len(COLOURS)]
        y = TOP + LEGEND * number
        shapes.append(Line(points=[(LEFT, y - 4), (LEFT + 24, y - 4)], colour=colour, width=3))
        shapes.append(Text(at=(LEFT + 32, y), text=each.name))
        shapes.append(Line(points=[*_stairs(each.steps, upper)], colour=colour, width=1.6))
    shapes.append(Line(points=[*_stairs(arrivals.steps, lower)], colour=COLOURS[-1]))
    return Plot(width=WIDTH, height=HEIGHT, shapes=shapes)


def _area(top: float, height: float, seconds: float, drawn: Iterable[Steps]) -> _Area:
    most = max((value for each in drawn for _, value in each.steps), default=0.0)
    return _Area(top=top, height=height, seconds=max(seconds, 1e-9), most=_round_up(most))


def _round_up(most: float) -> float:
    """To a value whose fifths are easy to read."""
    step = 1.0
    while most > 10 * step:
        step *= 10
    while most <= step and step > FINEST:
        step /= 10
    return next(f * step for f in (1, 2, 2.5, 5, 10) if f * step >= most)


def _frame(area: _Area, title: str) -> Iterator[Line | Text]:
    bottom = area.top + area.height
    for tick in range(TICKS + 1):
        value = area.most * tick / TICKS
        _, y = area.at(0, value)
        yield Line(points=[(LEFT, y), (WIDTH - RIGHT, y)], colour=GREY)
        yield Text(at=(LEFT - 8, y + 4), text=f"{value:g}", anchor="end")
        moment = area.seconds * tick / TICKS
        x, _ = area.at(moment, 0)
        anchor = "end" if tick == TICKS else "middle"
        yield Text(at=(x, bottom + 18), text=_clock(moment), anchor=anchor)
    yield Text(at=(LEFT, area.top - 8), text=title)


def _clock(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds:.3g} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def _stairs(steps: Sequence[Point], area: _Area) -> Iterator[Point]:
    if not steps:
        return
    yield area.at(*steps[0])
    for (_, before), (moment, value) in pairwise(steps):
        yield area.at(moment, before)
        yield area.at(moment, value)
    yield area.at(area.seconds, steps[-1][1])


def svg(plot: Plot) -> str:
    """As a document of its own."""
    size = f'width="{plot.width}" height="{plot.height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
            f'<rect {size} fill="white"/>',
            *map(_element, plot.shapes),
            "</svg>\n",
        ]
    )


def _element(shape: Line | Text) -> str:
    match shape:
        case Line(points=points, colour=colour, width=width):
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            return (
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
            )
        case Text(at=(x, y), text=text, anchor=anchor, colour=colour):
            where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
            return f'<text {where} fill="{colour}">{escape(text)}</text>'
