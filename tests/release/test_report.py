"""The report: one page that loads nothing, escapes everything, and shows what the artifacts say."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fromscratch.core.artifact import Origin, begin_artifact
from fromscratch.core.ledger import Ledger
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.release.evidence import gather
from fromscratch.release.report import render_report, write_report
from tests.release.conftest import BITS, MadeRun, made_funnel, made_scores, make_made_run

VOID = {"meta", "rect", "path", "br", "link", "img"}


class Page(HTMLParser):
    """Collects what tests ask for, and complains about tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.classes: set[str] = set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [value for name, value in attrs if name in ("href", "src", "data", "srcset") and value]
        self.ids += [given["id"]] if given.get("id") else []
        self.classes |= set((given.get("class") or "").split())
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def text(made_run: MadeRun) -> str:
    return render_report(made_run.inputs, made_run.ledger, "demo")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_loads_nothing_and_its_links_stay_within_it(text: str, page: Page) -> None:
    assert page.links and all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not re.search(r"@import|url\(|<script|<link|https?://", text)
    assert "default-src 'none'" in text


def test_text_from_outside_is_escaped(text: str) -> None:
    assert "Tell me a &lt;b&gt;joke&lt;/b&gt;." in text and "<b>joke</b>" not in text
    assert "data/&lt;b&gt;odd &amp; old&lt;/b&gt;.html" in text


def test_each_class_of_the_page_has_a_style(text: str, page: Page) -> None:
    style = text.partition("<style>")[2].partition("</style>")[0]
    unstyled = {name for name in page.classes if f".{name}" not in style}
    assert unstyled == {"uniform", "kept"} & unstyled


def test_the_table_of_scores_is_that_of_the_artifact(text: str, page: Page) -> None:
    table = next(table for table in page.tables if table[0][0].startswith("Bits per byte"))
    assert [row[0] for row in table[1:]] == [
        "English", "books", "encyclopedia", "technical", "Chinese", "books", "dictionary", "technical", "Code",
    ]  # fmt: skip
    encyclopedia = next(row for row in table if row[0] == "encyclopedia")
    assert encyclopedia[3:8] == [f"{each:.3f}" for each in BITS["en/encyclopedia"][3:]]
    assert encyclopedia[8] == "+0.6\u00a0%"
    assert '<td class="n bad">+0.6\u00a0%</td>' in text and '<td class="n good">−11.0\u00a0%</td>' in text
    english = made_scores()["by_language"]["en"]
    assert table[1][6:8] == [f"{english['model']:.3f}", f"{english['chat_model']:.3f}"]


def test_each_step_of_the_funnel_names_what_it_dropped(made_run: MadeRun, page: Page) -> None:
    table = next(table for table in page.tables if table[0][0] == "Step and reason")
    expected = []
    for step in gather(made_run.inputs, made_run.ledger).funnel["steps"]:
        reasons = sorted(step["dropped"], key=lambda each: (-step["dropped"][each]["bytes"], each))
        expected += [step["step"].capitalize(), *(each.replace("_", " ") for each in reasons), "kept"]
    assert [row[0] for row in table[1:]] == expected
    assert ["markup", "0", "−20.9\u00a0MB", "17.3\u00a0%"] in table


def test_groups_and_topics_are_shown_where_the_funnel_has_them(tmp_path: Path) -> None:
    run = make_made_run(tmp_path)
    group = {"documents": 30, "bytes": 9_000, "characters": 6_000, "scores": {"language_score": 0.91}}
    funnel = {**made_funnel(), "groups": {"zh/books": group, "en/books": {**group, "bytes": 27_000, "scores": {}}}}
    funnel["topics"] = {"<sport>": {"documents": 3, "bytes": 12}}
    draft = begin_artifact(tmp_path / "other", Origin("corpus", {}, {}))
    (draft.folder / "funnel.json").write_text(json.dumps(funnel), encoding="utf-8")
    page = Page(render_report({**run.inputs, "corpus": draft.finish()}, run.ledger, "demo"))
    groups = next(table for table in page.tables if table[0][-1] == "Mean language score")
    assert groups[1:] == [
        ["en/books", "30", "27.0\u00a0kB", "75.0\u00a0%", "200", "–"],
        ["zh/books", "30", "9.00\u00a0kB", "25.0\u00a0%", "200", "0.91"],
    ]
    assert ["<sport>", "3", "12\u00a0B", "100\u00a0%"] in next(table for table in page.tables if table[0][0] == "Topic")


def test_a_loss_spike_is_drawn_and_named(text: str, made_run: MadeRun) -> None:
    steps = gather(made_run.inputs, made_run.ledger).trainings["pretrain"].steps
    worst = max(steps[100:], key=lambda each: each.loss)
    assert worst.step == 1207
    band = re.search(r'aria-label="Loss, nats per token"><path class="band area" d="M([^"]+)Z"', text)
    assert band is not None
    points = [tuple(map(float, each.split())) for each in band[1].split("L")]
    near = [y for x, y in points if abs(x - 1000 * (1207 - 1) / (len(steps) - 1)) < 3]
    around = [y for x, y in points if 350 < x < 450]
    assert min(near) == min(around) < sorted(around)[len(around) // 2] - 100
    assert "at step 1,207" in text


def test_a_stop_is_told_and_marked(text: str, page: Page) -> None:
    assert "taken up again after a stop, at step 1,650" in text and "Taken up again after a stop: pretrain (1×)" in text
    assert "mark" in page.classes


def test_lost_ground_is_said_as_plainly_as_gains(tmp_path: Path) -> None:
    run = make_made_run(tmp_path)
    scores = made_scores()
    scores["by_language"]["zh"]["model"] = 3.0
    draft = begin_artifact(tmp_path / "other", Origin("evaluate", {}, {}))
    (draft.folder / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    text = render_report({**run.inputs, "evaluate": draft.finish()}, run.ledger, "demo")
    assert "It beats the bigram in English and code, but not in Chinese." in text
    assert "23.4\u00a0% more in Chinese" in text and '<b class="bad">3.000</b>' in text


def test_a_run_without_a_ledger_has_a_report_without_curves(made_run: MadeRun, tmp_path: Path) -> None:
    text = render_report(made_run.inputs, tmp_path / "none.jsonl", "demo")
    Page(text)
    assert "holds no training steps" in text and "working time" not in text


def test_unchecked_gates_are_not_passed_over(tmp_path: Path) -> None:
    run = make_made_run(tmp_path)
    gates = [{"name": "logits", "title": "Logits", "verdict": "not checked", "reason": "transformers is not installed"}]
    draft = begin_artifact(tmp_path / "other", Origin("release", {}, {}))
    for name, value in (("record/gates.json", {"gates": gates}), ("model/fromscratch.json", {"name": ""})):
        (draft.folder / name).parent.mkdir()
        (draft.folder / name).write_text(json.dumps(value), encoding="utf-8")
    text = render_report({**run.inputs, "release": draft.finish()}, run.ledger, "demo")
    assert "Not all of the release was checked: Logits" in text and "0 of 1" in text
    assert "<h1>demo</h1>" in text


def test_the_stage_writes_one_file(made_run: MadeRun, tmp_path: Path) -> None:
    draft = begin_artifact(tmp_path / "report", Origin("report", {}, {}))
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        facts = write_report(draft, made_run.inputs, Workplace(Machine(), ledger), name="demo")
    report = draft.finish(facts)
    assert list(report.manifest["files"]) == ["report.html"]
    assert report.facts["bytes"] == report.file("report.html").stat().st_size < 400_000
