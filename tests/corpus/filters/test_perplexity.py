"""Perplexity: text unlike the examples goes, at a bound that is told by examples that were held back."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import digest_file
from fromscratch.corpus.filters.perplexity import Perplexity
from tests.conftest import Golden
from tests.corpus.filters.pages import PAGES, batch_of, judged, judged_pages

SETTINGS = {
    "languages": {
        "en": {"examples": ("plays",)},
        "zh": {"examples": ("novel",), "order": 2, "bound": {"kind": "quantile", "share": 0.9, "factor": 1.5}},
    }
}
SALAD = "zxq wvu kkj qpf mnb trw gfd hjk lkj poi uyt rew qas zxc vbn mlp " * 5


def read(name: str) -> Iterator[tuple[str, str]]:
    folder = PAGES / "text" / {"plays": "en", "novel": "zh"}[name]
    return ((each.name, each.read_text(encoding="utf-8")) for each in sorted(folder.glob("*.txt")))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    Perplexity.model_validate(SETTINGS).prepare(folder, read)
    return folder


def test_text_like_the_examples_stays_and_word_salad_goes_with_its_score(models: Path) -> None:
    play = next(read("plays"))[1][3000:5000]
    batch = batch_of([play, SALAD, SALAD[:100], SALAD], ["en", "en", "en", "fr"], models=models)
    verdicts = judged(Perplexity.model_validate(SETTINGS), batch)
    assert [reason for reason, _ in verdicts] == [None, "too_perplexing", None, None]
    bound = json.loads((models / "perplexity-en.json").read_text(encoding="utf-8"))["bound"]
    assert verdicts[1][1] is not None and f"most {bound:,.0f};" in verdicts[1][1]
    scores = Perplexity.model_validate(SETTINGS).judge(batch).columns["perplexity"]
    assert scores[0] < bound < scores[1] and np.isnan(scores[3])


def test_the_bound_is_a_multiple_of_what_is_usual_or_of_a_quantile(models: Path) -> None:
    english, chinese = (
        json.loads((models / f"perplexity-{each}.json").read_text(encoding="utf-8")) for each in ("en", "zh")
    )
    assert english["bound"] == pytest.approx(20 * english["held_back_perplexity"]["0.5"], rel=1e-3)
    assert chinese["bound"] == pytest.approx(1.5 * chinese["held_back_perplexity"]["0.9"], rel=1e-3)
    assert (english["order"], chinese["order"]) == (3, 2)


def test_preparing_again_gives_the_same_bytes_and_keeps_what_is_whole(models: Path, tmp_path: Path) -> None:
    settings = Perplexity.model_validate(SETTINGS)
    settings.prepare(tmp_path, read)
    names = sorted(each.name for each in models.iterdir())
    assert names == [f"perplexity-{language}.{kind}" for language in ("en", "zh") for kind in ("json", "npy")]
    assert all(digest_file(tmp_path / name) == digest_file(models / name) for name in names)

    def unread(name: str) -> Iterator[tuple[str, str]]:
        raise AssertionError(f"{name} is read again")

    settings.prepare(tmp_path, unread)


def test_examples_are_named_for_the_recipe_and_too_few_are_refused(tmp_path: Path) -> None:
    settings = Perplexity.model_validate(SETTINGS)
    assert settings.reads == {"languages.en.examples": ("plays",), "languages.zh.examples": ("novel",)}
    with pytest.raises(FromScratchError, match=r"`corpus\.filters\.perplexity\.languages\.en\.examples`: plays give 1"):
        settings.prepare(tmp_path, lambda name: iter([(name, "one line")]))


def test_verdicts_on_real_pages_are_the_golden_ones(models: Path, golden: Golden) -> None:
    class Prepared(Perplexity):
        def judge(self, batch):  # type: ignore[no-untyped-def]
            batch.models = models
            return super().judge(batch)

    golden.check("corpus/filters/perplexity.json", judged_pages(Prepared.model_validate(SETTINGS)))
