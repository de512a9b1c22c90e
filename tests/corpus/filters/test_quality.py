"""Quality rules: every bound drops for its reason, exactly beyond the bound; real pages have golden verdicts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.corpus.extraction.extract import extract_text
from fromscratch.corpus.extraction.settings import ExtractionSettings
from fromscratch.corpus.filters.language import Language
from fromscratch.corpus.filters.quality import RULES, Quality, Rule, judge_metrics
from fromscratch.corpus.kernels.metrics import METRIC_NAMES, Metric
from fromscratch.corpus.language import identify_languages
from fromscratch.corpus.readers.pages import read_pages
from fromscratch.corpus.readers.plan import plan_reads
from fromscratch.corpus.shard import measure_texts
from fromscratch.corpus.sources import FilesSource
from tests.conftest import Golden

PAGES = Path(__file__).parent.parent.parent / "fixtures" / "pages"
CLASSES = {"en": "english", "zh": "chinese", "code": "code"}
GOOD = {
    "characters": 2000, "words": 400, "mean_word_characters": 5, "alphabetic_word_share": 0.95, "stop_words": 6,
    "common_han_share": 0.98, "letter_share": 0.95, "alphanumeric_share": 0.8, "lines": 20, "mean_line_characters": 60,
    "max_line_characters": 99, "punctuated_line_share": 0.9,
}  # fmt: skip


def verdict(language: str, domain: str = "web", quality: Quality | None = None, **metrics: float) -> str | None:
    row = np.array([[{**GOOD, **metrics}.get(name, 0) for name in METRIC_NAMES]], np.float32)
    of_one = (np.array([language], object), np.array([domain], object))
    reason: str | None = judge_metrics(*of_one, row, quality or Quality())[0][0]
    return reason


def bound_of(language: str, rule: Rule) -> float | None:
    bound: float | None = getattr(getattr(Quality(), CLASSES[language]), rule.bound, None)
    return bound


BOUNDED = [(language, rule) for language in CLASSES for rule in RULES if bound_of(language, rule) is not None]


@pytest.mark.parametrize(("language", "rule"), BOUNDED, ids=[f"{each[0]}-{each[1].bound}" for each in BOUNDED])
def test_a_document_at_the_bound_stays_and_one_beyond_it_goes(language: str, rule: Rule) -> None:
    bound = bound_of(language, rule)
    assert bound is not None
    name, beyond = rule.metric.name.lower(), -1 if rule.side == "least" else 1
    at_bound, past_bound = np.float32(bound), np.nextafter(np.float32(bound), np.float32(beyond * np.inf))
    assert verdict(language) is None
    assert verdict(language, **{name: at_bound}) is None
    if past_bound >= 0:
        assert verdict(language, **{name: past_bound}) == rule.reason


def test_every_bound_of_the_settings_has_a_rule() -> None:
    tried = {rule.bound for rule in RULES} | {"domains", "short_words"}
    for name in CLASSES.values():
        bounds = getattr(Quality(), name).model_dump()
        assert bounds.keys() <= tried, name


def test_the_first_failing_rule_gives_the_reason() -> None:
    assert verdict("en", characters=5, garbled_share=1, top_2_gram_share=1) == "too_short"
    assert verdict("en", garbled_share=1, top_2_gram_share=1) == "garbled"
    assert verdict("en", top_2_gram_share=1) == "too_repetitive"


def test_each_class_of_language_has_bounds_of_its_own() -> None:
    assert verdict("en", stop_words=0) == "not_prose"
    assert verdict("de", stop_words=0) == "not_prose"
    assert verdict("zh", stop_words=0) is None
    assert verdict("code", mean_line_characters=101) == "long_lines"
    assert verdict("zh", mean_line_characters=101) is None


def test_short_documents_may_repeat_a_phrase_and_need_no_full_stop() -> None:
    short = {"words": 60, "characters": 400}
    assert verdict("en", **short, top_4_gram_share=0.3, punctuated_line_share=0, stop_words=1) is None
    assert verdict("en", **short, top_4_gram_share=0.33) == "too_repetitive"
    assert verdict("en", **short, stop_words=0) == "not_prose"


def test_a_domain_may_have_other_bounds() -> None:
    quality = Quality.model_validate({"chinese": {"domains": {"dictionary": {"least_characters": 5}}}})
    assert verdict("zh", domain="dictionary", quality=quality, characters=9) is None
    assert verdict("zh", domain="web", quality=quality, characters=9) == "too_short"
    assert verdict("en", domain="dictionary", quality=quality, characters=9) == "too_short"


def test_an_unknown_bound_of_a_domain_is_refused_with_a_suggestion() -> None:
    data = {"chinese": {"domains": {"dictionary": {"least_charcters": 5}}}}
    with pytest.raises(FromScratchError) as refused:
        validate_settings(Quality, data, "recipe.toml")
    assert "`chinese.domains.dictionary.least_charcters`" in refused.value.message
    assert "least_characters" in refused.value.hint


def judged_pages() -> list[dict[str, Any]]:
    """Language, reason and all metrics of each page and text of the fixtures."""
    settings = FilesSource(path=str(PAGES), members=("**/*.html", "**/*.txt"), domain="web", license="CC0-1.0")
    judged = []
    for task in plan_reads({}, {"pages": settings}, None):
        for table in read_pages(task):
            pages = extract_text(table, ExtractionSettings())
            texts = pages["text"].combine_chunks()
            metrics = measure_texts(texts)
            kinds, hints = (np.asarray(pages[name], dtype=object) for name in ("kind", "language_hint"))
            languages, _ = identify_languages(texts, kinds, hints, metrics, Language())
            domains = np.array(["web"] * len(texts), object)
            reasons, _ = judge_metrics(languages, domains, metrics, Quality())
            for place, url in enumerate(pages["url"].to_pylist()):
                judged.append(
                    {"page": url, "language": languages[place], "reason": reasons[place], "metrics": metrics[place]}
                )
    return judged


def test_verdicts_on_real_pages_are_the_golden_ones(golden: Golden) -> None:
    kept = Language().keep
    verdicts = {
        each["page"]: f"{each['language']}: "
        + ("wrong_language" if each["language"] not in kept else each["reason"] or "keep")
        for each in judged_pages()
    }
    files = [each["path"] for each in json.loads((PAGES / "MANIFEST.json").read_text(encoding="utf-8"))]
    assert verdicts.keys() == {f"pages/{each}" for each in files if each.endswith((".html", ".txt"))}
    golden.check("corpus/verdicts.json", verdicts)


def test_good_chinese_pages_stay_though_english_bounds_would_drop_them() -> None:
    chinese = [each for each in judged_pages() if each["language"] == "zh"]
    metrics = np.stack([each["metrics"] for each in chinese])
    english, _ = judge_metrics(
        np.array(["en"] * len(chinese), object), np.array(["web"] * len(chinese), object), metrics, Quality()
    )
    kept = sum(each["reason"] is None for each in chinese)
    kept_as_english = sum(reason is None for reason in english)
    assert len(chinese) > 20
    assert kept >= 0.9 * len(chinese)
    assert kept_as_english <= 0.05 * len(chinese)
    assert metrics[:, Metric.HAN_SHARE].min() > 0.2


def test_no_documents_are_no_verdicts() -> None:
    none = np.array([], object)
    assert len(judge_metrics(none, none, np.zeros((0, len(Metric)), np.float32), Quality())[0]) == 0
    assert measure_texts(pa.array([], pa.large_string())).shape == (0, len(Metric))
