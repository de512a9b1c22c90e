"""Geometry of the picture of the funnel: a stream that goes down from step to step, and what leaves it to the right."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Part", "Sankey", "Stretch", "draw_sankey"]

# In units of the drawing, which is as wide as the page's text; a unit is about a pixel.
WIDTH = 1000
STREAM_LEFT, STREAM_WIDTH = 200, 360
LABEL_LEFT = 630
RIBBON_RIGHT = LABEL_LEFT - 8
ROW = 19  # a label to the right
STRETCH_LEAST = 46  # two lines to the left
BAR = 5
AIR = 5


@dataclass(frozen=True)
class Part:
    """A part of the stream: its color, its size, and words for it."""

    color: str
    size: float
    label: str
    note: str = ""


@dataclass(frozen=True)
class Stretch:
    """The stream below one step: what goes on, from left to right, and what leaves it, the topmost first."""

    label: str
    note: str
    kept: Sequence[Part]
    lost: Sequence[Part]


@dataclass(frozen=True)
class Shape:
    """A filled path."""

    color: str
    path: str
    title: str


@dataclass(frozen=True)
class Label:
    """One line of text that begins at x, with its middle at y; ``note`` follows in a softer tone."""

    x: float
    y: float
    text: str
    note: str


@dataclass(frozen=True)
class Sankey:
    """What the template draws, in this order, in a box of ``width`` and ``height``."""

    width: int
    height: float
    stream: list[Shape]
    ribbons: list[Shape]
    bars: list[Shape]
    steps: list[Label]
    reasons: list[Label]


def draw_sankey(stretches: Sequence[Stretch]) -> Sankey:
    """Widths are in proportion to sizes; the widest stretch fills the stream's full width.

    Each leaving part has a row of its own, so that labels never meet, and the part that is outermost has the topmost
    row, so that ribbons never cross.
    """
    widest = max((_whole(each) for each in stretches), default=0) or 1
    scale = STREAM_WIDTH / widest
    picture = Sankey(WIDTH, 0, [], [], [], [], [])
    top = float(AIR)
    for each in stretches:
        top = _draw(picture, each, top, scale)
    return Sankey(WIDTH, top + AIR, *(getattr(picture, name) for name in list(Sankey.__annotations__)[2:]))


def _whole(stretch: Stretch) -> float:
    return sum(max(0, each.size) for each in (*stretch.kept, *stretch.lost))


def _draw(picture: Sankey, stretch: Stretch, top: float, scale: float) -> float:
    """Add one stretch whose bar is at ``top``; return where the next one's bar is."""
    begin = top + BAR
    rows = [max(ROW, each.size * scale + AIR) for each in stretch.lost]
    end = begin + max(STRETCH_LEAST, sum(rows) + 2 * AIR)
    right = STREAM_LEFT + max(1, _whole(stretch) * scale)
    title = f"{stretch.label}: {stretch.note}"
    picture.bars.append(Shape("bar", f"M{STREAM_LEFT} {top:.1f}H{right:.1f}V{begin:.1f}H{STREAM_LEFT}Z", title))
    picture.steps.append(Label(0, begin + 7, stretch.label, stretch.note))
    left = float(STREAM_LEFT)
    for part in stretch.kept:
        edge = left + max(0, part.size) * scale
        path = f"M{left:.2f} {begin:.1f}H{edge:.2f}V{end:.1f}H{left:.2f}Z"
        picture.stream.append(Shape(part.color, path, f"{part.label} {part.note}"))
        left = edge
    row = begin + AIR
    for part, height in zip(stretch.lost, rows, strict=True):
        thick = max(0, part.size) * scale
        middle = row + height / 2
        path = _ribbon(right - thick, right, begin, middle - thick / 2, thick)
        picture.ribbons.append(Shape(part.color, path, f"{part.label} {part.note}"))
        picture.reasons.append(Label(LABEL_LEFT, middle, part.label, part.note))
        right -= thick
        row += height
    return end


def _ribbon(left: float, right: float, top: float, upper: float, thick: float) -> str:
    """From the bar's stretch [left, right] down and round to the right, where it is as thick as it was wide."""
    thick = max(thick, 1.2)  # a hair shows that something left
    lower = upper + thick
    outer = min(upper - top, RIBBON_RIGHT - right)
    inner = min(lower - top, RIBBON_RIGHT - left)
    return (
        f"M{right:.2f} {top:.1f}Q{right:.2f} {upper:.2f} {right + outer:.2f} {upper:.2f}H{RIBBON_RIGHT}"
        f"V{lower:.2f}H{left + inner:.2f}Q{left:.2f} {lower:.2f} {left:.2f} {top:.1f}Z"
    )
