"""Charts: every point is drawn, ticks are round, and odd series do not break them."""

import pytest

from fromscratch.release.charts import BOX_HEIGHT, BOX_WIDTH, Plot, line_plot, log_ticks, round_ticks


def coordinates(path: str) -> list[tuple[float, float]]:
    pairs = (each.split() for each in path.removeprefix("M").removesuffix("Z").split("L"))
    return [(float(x), float(y)) for x, y in pairs]


def plotted(points: list[tuple[float, float]], **options: bool) -> Plot:
    plot = line_plot("title", points, **options)
    assert plot is not None
    return plot


def test_few_points_are_all_drawn_in_order() -> None:
    plot = plotted([(step, step % 7) for step in range(1, 400)])
    drawn = coordinates(plot.band)
    assert len(drawn) == 399 and not plot.is_area
    assert (drawn[0][0], drawn[-1][0]) == (0, BOX_WIDTH)


def test_the_band_of_many_points_holds_every_one_of_them() -> None:
    points = [(float(step), 2.0 + (step % 5) / 10) for step in range(1, 20_001)]
    points[13_579] = (13_580.0, 9.0)
    points[4_321] = (4_322.0, 0.5)
    plot = plotted(points)
    drawn = coordinates(plot.band)
    assert plot.is_area and len(drawn) <= 1000
    high, low = min(y for _, y in drawn), max(y for _, y in drawn)
    assert drawn[[y for _, y in drawn].index(high)][0] == pytest.approx(BOX_WIDTH * 13_579 / 19_999, abs=2)
    assert drawn[[y for _, y in drawn].index(low)][0] == pytest.approx(BOX_WIDTH * 4_321 / 19_999, abs=2)
    line = [y for _, y in coordinates(plot.line)][10:-10]  # at both ends there are few neighbours
    assert max(line) - min(line) < 5, "the line is not lifted by a single spike"


@pytest.mark.parametrize("log", [False, True])
def test_everything_lies_within_the_box(log: bool) -> None:
    plot = plotted([(step, 10.0 / step) for step in range(1, 3000)], log=log)
    for x, y in [*coordinates(plot.band), *coordinates(plot.line)]:
        assert 0 <= x <= BOX_WIDTH and 0 <= y <= BOX_HEIGHT
    for tick in [*plot.x_ticks, *plot.y_ticks]:
        assert 0 <= tick.at <= 100
    assert 3 <= len(plot.y_ticks) <= 10


def test_odd_series_have_a_plot_or_none() -> None:
    assert line_plot("none", []) is None and line_plot("one", [(1, 2)]) is None
    assert plotted([(1, 3.0), (2, 3.0)]).y_ticks
    assert plotted([(1, 0.0), (2, 0.0)], log=True).y_ticks


def test_ticks_are_round_and_not_too_many() -> None:
    assert round_ticks(0, 5.15) == [0, 1, 2, 3, 4, 5]
    assert round_ticks(1, 3000) == [500, 1000, 1500, 2000, 2500, 3000]
    assert round_ticks(0.0, 0.0209) == [0, 0.005, 0.01, 0.015, 0.02]
    assert log_ticks(0.2, 20) == [0.3, 1, 3, 10]
    for low, high in ((2.7, 10.3), (1.7, 3.3), (2.95, 3.05), (1e-3, 1e4)):
        ticks = log_ticks(low, high)
        assert 3 <= len(ticks) <= 9 and ticks == sorted(ticks) and low <= ticks[0] and ticks[-1] <= high
