"""Geometry of line charts: paths in a fixed box, ticks in percent; the template draws them at any width."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

__all__ = ["BOX_HEIGHT", "BOX_WIDTH", "Plot", "Tick", "line_plot", "log_ticks", "round_ticks"]

# The SVG is stretched to the width of the page while strokes and labels are not, so that one chart suits desktop,
# phone and paper: labels are HTML, placed in percent of the box.
BOX_WIDTH = 1000
BOX_HEIGHT = 400
COLUMNS = 500  # more points than this are drawn as the band from least to greatest of each column, which hides no spike

Point = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in percent from the left or from the bottom."""

    at: float
    label: str


@dataclass(frozen=True)
class Plot:
    """One series over its axes, as SVG paths in the box.

    ``band`` holds every point: as a line through them, or, with ``is_area``, as the area from least to greatest.
    ``line`` is a mean of neighbouring points, or the points themselves, and then there is no band.
    """

    title: str
    band: str
    line: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Tick]
    is_area: bool


def line_plot(
    title: str, points: Sequence[Point], *, log: bool = False, smooth: bool = True, marks: Sequence[float] = ()
) -> Plot | None:
    """Plot of ``points`` (x ascending, y finite), or None when there are fewer than two.

    ``log`` asks for a logarithmic y axis, which is taken when every y is positive. ``smooth`` draws the moving
    mean over the points; ``marks`` are places on the x axis to point out.
    """
    if len(points) < 2:
        return None
    log = log and all(y > 0 for _, y in points)
    x_low, x_high = points[0][0], points[-1][0]
    y_low, y_high = _margin([math.log10(y) if log else y for _, y in points])

    def place(x: float, y: float) -> str:
        across = (x - x_low) / (x_high - x_low) * BOX_WIDTH
        up = ((math.log10(y) if log else y) - y_low) / (y_high - y_low)
        return f"{across:.1f} {(1 - up) * BOX_HEIGHT:.1f}"

    columns = _columns(points)
    if columns is None:
        band = "M" + "L".join(place(x, y) for x, y in points)
    else:
        over = [place(x, high) for x, _, high in columns]
        under = [place(x, low) for x, low, _ in reversed(columns)]
        band = "M" + "L".join([*over, *under]) + "Z"
    line = "M" + "L".join(place(x, y) for x, y in (_moving_mean(points) if smooth else points))
    y_ticks = log_ticks(10**y_low, 10**y_high) if log else round_ticks(y_low, y_high)
    return Plot(
        title,
        band if smooth else "",
        line,
        [Tick((x - x_low) / (x_high - x_low) * 100, _short(x)) for x in round_ticks(x_low, x_high)],
        [Tick(((math.log10(y) if log else y) - y_low) / (y_high - y_low) * 100, _short(y)) for y in y_ticks],
        [Tick((x - x_low) / (x_high - x_low) * 100, _short(x)) for x in marks if x_low <= x <= x_high],
        columns is not None,
    )


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within [low, high]; between ``most`` / 2 and ``most`` of them."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * each for each in (1, 2, 5, 10) if span / (power * each) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round values within [low, high] that stand apart on a logarithmic axis: powers of ten, or 1-2-5, or finer."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    candidates: list[list[float]] = [
        [10.0**power * each for power in powers for each in digits]
        for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 6, 8), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))
    ]
    within = [[round(value, 12) for value in each if low <= value <= high] for each in candidates]
    return next((each for each in within if len(each) >= 4), round_ticks(low, high))


def _margin(values: Sequence[float]) -> tuple[float, float]:
    """Least and greatest with a little air, and apart even when they are equal."""
    low, high = min(values), max(values)
    air = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return (low if low == 0 else low - air), high + air


def _columns(points: Sequence[Point]) -> list[tuple[float, float, float]] | None:
    """(x, least, greatest) for each of COLUMNS stretches of the x axis, or None when every point can be drawn."""
    if len(points) <= COLUMNS:
        return None
    x_low, x_high = points[0][0], points[-1][0]
    found: dict[int, tuple[float, float, float]] = {}
    for x, y in points:
        column = min(COLUMNS - 1, int((x - x_low) / (x_high - x_low) * COLUMNS))
        _, low, high = found.get(column, (x, y, y))
        found[column] = (x_low + (column + 0.5) / COLUMNS * (x_high - x_low), min(low, y), max(high, y))
    columns = [found[column] for column in sorted(found)]
    # The band reaches both ends of the axis, not only the middle of the outer columns.
    return [(x_low, *columns[0][1:]), *columns[1:-1], (x_high, *columns[-1][1:])]


def _moving_mean(points: Sequence[Point]) -> list[Point]:
    """The trimmed mean of each point's neighbours, 1/50 of all points on either side; at most COLUMNS of them.

    The highest and the lowest quarter of the neighbours are left out, so that a spike does not lift the line for
    as long as it is near; the band shows it.
    """
    reach = max(2, len(points) // 50)
    means = []
    for index in range(0, len(points), max(1, len(points) // COLUMNS)):
        near = min(reach, index, len(points) - 1 - index)
        values = sorted(y for _, y in points[index - near : index + near + 1])
        quarter = len(values) // 4
        means.append((points[index][0], fmean(values[quarter : len(values) - quarter])))
    if means[-1][0] != points[-1][0]:
        means.append(points[-1])
    return means


def _short(value: float) -> str:
    """A tick's label: 0.02, 1.5, 40, 1,500, 12k, 3M, 1e-05."""
    if value and abs(value) < 1e-3:
        return f"{value:.2g}"
    if abs(value) < 10_000:
        return f"{value:,.6g}"
    return f"{value / 1e6:,.6g}M" if abs(value) >= 1e6 else f"{value / 1e3:,.6g}k"
