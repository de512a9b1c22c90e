"""The picture of the funnel: to scale, within its box, a line for each label, every reason accounted for."""

import re
from itertools import pairwise
from typing import Any

import pytest

from fromscratch.release.funnel import SMALL_SHARE, funnel_chapter
from fromscratch.release.sankey import LABEL_LEFT, ROW, STREAM_LEFT, STREAM_WIDTH, Part, Sankey, Stretch, draw_sankey
from tests.release.conftest import made_funnel

LINE = 16  # units between two lines of one label to the left


def numbers(path: str) -> list[float]:
    return [float(each) for each in re.findall(r"-?[\d.]+", path)]


def crowded_funnel() -> dict[str, Any]:
    """A crawl of petabytes through 16 steps with 34 reasons, some of them for next to nothing, one adding bytes."""
    documents, size, steps = 30_210_987_654, 3_000_000_000_000_000, []
    for number in range(16):
        names = [
            f"{each}_is_a_reason_that_takes_many_words_to_say_{number}"
            for each in range(12 if number == 5 else 2 if number % 2 else 1)
        ]
        shares = [0.2 / 4**each for each in range(len(names))]
        dropped = {
            name: {"documents": int(documents * part), "bytes": int(size * part)}
            for name, part in zip(names, shares, strict=True)
        }
        dropped["cut"] = {"documents": 0, "bytes": -1_000 if number == 9 else 0}
        entered = {"documents": documents, "bytes": size}
        documents, size = (entered[unit] - sum(each[unit] for each in dropped.values()) for unit in entered)
        halves = {unit: value // 2 for unit, value in (("documents", documents), ("bytes", size))}
        rest = {"documents": documents - halves["documents"], "bytes": size - halves["bytes"]}
        kept = {"documents": documents, "bytes": size}
        by_language = {"en": halves, "zh": rest}
        step = {"step": f"a long name of step {number}", "entered": entered, "kept": kept}
        steps.append({**step, "dropped": dropped, "kept_by_language": by_language})
    return {"steps": steps, "sources": {}, "unreadable": []}


@pytest.fixture(params=[made_funnel, crowded_funnel])
def drawn(request: pytest.FixtureRequest) -> tuple[dict[str, Any], Sankey]:
    funnel = request.param()
    return funnel, funnel_chapter(funnel)["picture"]


def test_labels_keep_their_distance_and_stay_in_the_box(drawn: tuple[dict[str, Any], Sankey]) -> None:
    _, picture = drawn
    assert all(after.y - before.y >= ROW for before, after in pairwise(picture.reasons))
    assert all(after.y - before.y >= 2 * LINE for before, after in pairwise(picture.steps))
    assert picture.reasons[-1].y < picture.height - ROW / 2 and picture.steps[-1].y + LINE < picture.height
    widest = max(len(f"{each.text} {each.note}") for each in picture.reasons)
    assert LABEL_LEFT + 6.3 * widest < picture.width, "6.3 units is more than the mean of a character in 12.5 pixels"
    assert all(6.3 * max(len(each.text), len(each.note)) < STREAM_LEFT for each in picture.steps)


def test_shapes_stay_between_the_labels(drawn: tuple[dict[str, Any], Sankey]) -> None:
    _, picture = drawn
    for shape in (*picture.stream, *picture.ribbons, *picture.bars):
        assert all(0 <= each <= max(LABEL_LEFT, picture.height) for each in numbers(shape.path))
    ends = [float(found[1]) for each in picture.ribbons if (found := re.search(r"H([\d.]+)V", each.path))]
    assert len(ends) == len(picture.ribbons) and max(ends) < LABEL_LEFT


def test_widths_are_in_proportion_to_bytes(drawn: tuple[dict[str, Any], Sankey]) -> None:
    funnel, picture = drawn
    for step, bar in zip(funnel["steps"], picture.bars, strict=False):
        left, _, right, *_ = numbers(bar.path)
        gained = sum(max(0, -lost["bytes"]) for lost in step["dropped"].values())
        expected = (step["entered"]["bytes"] + gained) / funnel["steps"][0]["entered"]["bytes"] * STREAM_WIDTH
        assert right - left == pytest.approx(max(expected, 1), abs=0.1)


def test_every_reason_is_drawn_or_counted_among_the_others(drawn: tuple[dict[str, Any], Sankey]) -> None:
    funnel, picture = drawn
    shown = [each.text for each in picture.reasons]
    least = funnel["steps"][0]["entered"]["bytes"] * SMALL_SHARE
    for step in funnel["steps"]:
        lost = {reason: each for reason, each in step["dropped"].items() if each["bytes"] > 0 or each["documents"]}
        small = [reason for reason, each in lost.items() if each["bytes"] < least]
        named = [reason for reason in lost if reason not in small or len(small) == 1]
        assert all(any(reason.replace("_", " ").startswith(text.rstrip("…")) for text in shown) for reason in named)
        assert len(small) < 2 or f"other ({len(small)} reasons)" in shown


def test_ribbons_never_cross() -> None:
    lost = [Part("drop", size, "reason") for size in (30, 20, 5, 1)]
    picture = draw_sankey([Stretch("step", "", [Part("en", 44, "English")], lost)])
    corners = [(numbers(each.path)[0], numbers(each.path)[3]) for each in picture.ribbons]
    assert all(right < left and lower > upper for (left, upper), (right, lower) in pairwise(corners))


def test_an_empty_stretch_is_still_drawn() -> None:
    picture = draw_sankey([Stretch("nothing", "0 B", [Part("kept", 0, "Kept")], [])])
    assert picture.height > 40 and [each.text for each in picture.steps] == ["nothing"]
