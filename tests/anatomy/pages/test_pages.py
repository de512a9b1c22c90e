"""The pages of a comparison: whole, safe to open, the same figures everywhere."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.console import Console

from fromscratch.anatomy.compare import Comparison, compare_checkpoints
from fromscratch.anatomy.pages.html import comparison_html
from fromscratch.anatomy.pages.plain import comparison_json
from fromscratch.anatomy.pages.terminal import comparison_page
from fromscratch.anatomy.pages.wording import bound, renames, short
from tests.anatomy.zoo import Zoo


@pytest.fixture(scope="module")
def renamed(zoo: Zoo) -> Comparison:
    return compare_checkpoints(zoo.checkpoint("base"), zoo.derived("renamed_as_in_the_affair").checkpoint)


@pytest.fixture(scope="module")
def stacked(zoo: Zoo) -> Comparison:
    return compare_checkpoints(zoo.checkpoint("base"), zoo.derived("stacked_tuned_halved").checkpoint)


def on_terminal(found: Comparison, width: int = 120) -> str:
    console = Console(width=width, highlight=False, no_color=True)
    with console.capture() as captured:
        console.print(comparison_page(found))
    return captured.get()


class Reader(HTMLParser):
    """Collects what a browser would load or run, and the texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [
            f"{name}={value}" for name, value in attrs if name in ("src", "href", "data", "action", "style")
        ]
        if tag not in ("meta", "rect", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_the_page_loads_nothing_runs_nothing_and_is_well_formed(renamed: Comparison) -> None:
    reader = Reader(comparison_html(renamed))
    assert reader.loaded == [] and "script" not in reader.tags and reader.open == []


def test_what_a_checkpoint_says_of_itself_is_text_and_no_mark_up(renamed: Comparison) -> None:
    bad = "<script>alert(1)</script>"
    sides = {side: replace(getattr(renamed, side), place=f"/tmp/{bad}") for side in ("a", "b")}
    lineage = tuple(replace(each, name=bad, note=bad) for each in renamed.duties.lineage)
    found = replace(renamed, **sides, duties=replace(renamed.duties, lineage=lineage))
    assert "script" not in Reader(comparison_html(found)).tags
    assert bad in on_terminal(found).replace("\n", "")


def test_the_map_has_every_layer_of_both_sides_and_where_each_comes_from(stacked: Comparison) -> None:
    page = comparison_html(stacked)
    lines = re.findall(r"layer (\d+) of B comes from layer (\d+) of A", page)
    assert [(int(b), int(a)) for b, a in lines] == list(enumerate((0, 1, 2, 1, 2, 3)))
    assert page.count('<rect class="layer') == 4 + 6
    cells = re.findall(r'class="on \w+">([^<]*)<', page)
    assert len(cells) == 6 * 9 and all(re.fullmatch(r"equal|1\.000|0\.\d{3}", each) for each in cells)


def test_labels_of_the_map_fit_into_their_boxes(stacked: Comparison) -> None:
    page = comparison_html(stacked)
    width = float(re.search(r'viewBox="0 0 (\d+)', page)[1])  # type: ignore[index]
    for x, text in re.findall(r'<text x="([\d.]+)"[^>]*>([^<]*)</text>', page):
        half = len(text) * 3.4  # a generous half width of a letter at 11.5 px
        assert float(x) - half >= 0 and float(x) + half <= width
        assert len(text) * 6.8 <= 66


def test_the_terminal_begins_with_the_three_answers(renamed: Comparison) -> None:
    page = on_terminal(renamed)
    head = page.split("Architecture")[0]
    assert (
        "same, up to renaming" in head and "identical up to a transform: renamed" in head and "no lineage" not in head
    )
    assert "model.layers.{i}.ln1.weight" in page and "× 4" in page
    assert max(map(len, page.splitlines())) <= 120


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_terminal_page_fits_any_width(stacked: Comparison, width: int) -> None:
    page = on_terminal(stacked, width)
    assert max(map(len, page.splitlines())) <= width and "0 1 2 1 2 3" in page


def test_json_has_everything_and_only_what_json_knows(stacked: Comparison) -> None:
    found: dict[str, Any] = json.loads(json.dumps(comparison_json(stacked), allow_nan=False))
    assert found["schema"] == "fromscratch.compare.1"
    assert found["weights"]["relation"] == "layers reused"
    assert [layer["a"] for layer in found["weights"]["layers"]] == [0, 1, 2, 1, 2, 3]
    assert {"architecture", "weights", "duties", "a", "b", "blind", "seconds"} < found.keys()


@pytest.mark.parametrize(
    ("log10_p", "told"),
    [(0.0, "p ≤ 1"), (-0.3, "p ≤ 0.5"), (-3.5, "p ≤ 4e-4"), (-852.6, "p ≤ 3e-853"), (float("-inf"), "p = 0")],
)
def test_bounds_are_told_so_that_they_still_hold(log10_p: float, told: str) -> None:
    assert bound(log10_p) == told


def test_renames_of_all_layers_stand_in_one_line(renamed: Comparison) -> None:
    assert [(each.a, each.b, each.count) for each in renames(renamed.architecture.pairings)] == [
        ("model.layers.{i}.input_layernorm.weight", "model.layers.{i}.ln1.weight", 4),
        ("model.layers.{i}.post_attention_layernorm.weight", "model.layers.{i}.ln2.weight", 4),
    ]


def test_places_are_called_by_their_last_part() -> None:
    assert short("/models/base") == "base" and short("s3://bucket/yi/model.safetensors") == "model.safetensors"
