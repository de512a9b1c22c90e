"""Safety: pages that offer harm go, texts that speak of such things stay, and a model may judge as well."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fromscratch.corpus.filters.safety import Safety
from tests.conftest import Golden
from tests.corpus.filters.pages import batch_of, judged, judged_pages

PLAIN = "The committee met on Tuesday and agreed on a budget for the coming year. " * 3


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Free porn videos, live sex cams and horny girls. " + PLAIN, "en", "unsafe"),
        ("Online casino with a no deposit bonus and free spins! " + PLAIN, "en", "unsafe"),
        ("Buy Viagra without prescription at our online pharmacy.", "en", "unsafe"),
        ("澳门新葡京在线赌场，真人百家乐，注册送彩金。", "zh", "unsafe"),
        ("代开发票，办证刻章，联系微信。", "zh", "unsafe"),
        ("An online casino is a virtual version of a casino. Online casino games are a form of gambling.", "en", None),
        ("Counterfeit money is currency produced without the sanction of the state. Heroin is a drug.", "en", None),
        ("百家乐是一种纸牌游戏。", "zh", None),
        ("警方破获一起网上贩卖毒品案，缴获海洛因两公斤。", "zh", None),
        ("free porn " * 50, "en", None),  # one phrase is no proof
        (PLAIN, "en", None),
        ("", "en", None),
    ],
)
def test_verdicts_on_short_texts(text: str, language: str, expected: str | None) -> None:
    assert judged(Safety(), batch_of([text], language))[0][0] == expected


def test_a_long_text_that_mentions_several_phrases_stays_and_the_evidence_names_them() -> None:
    offer = "Free porn videos, live sex cams and horny girls. "
    (short, said), (long, _) = judged(Safety(), batch_of([offer + PLAIN, offer + PLAIN * 30]))
    assert (short, long) == ("unsafe", None)
    assert said == "score 0.95, most 0.75: free porn, horny girls, live sex cams"
    scores = Safety().judge(batch_of([offer + PLAIN, offer + PLAIN * 30, PLAIN])).columns["safety"]
    assert scores[0] > 0.9 and 0 < scores[1] < 0.6 and scores[2] == 0
    assert judged(Safety(most=0.97), batch_of([offer + PLAIN]))[0] == (None, None)


def test_a_model_trained_on_examples_finds_what_no_phrase_names(tmp_path: Path) -> None:
    def read(name: str) -> Iterator[tuple[str, str]]:
        word = {"harmless": "meadow", "harmful": "venom"}[name]
        return ((str(number), f"{PLAIN} {word} {number} " * 3) for number in range(100))

    model = {"kind": "trained", "good": ("harmless",), "bad": ("harmful",), "bits": 12}
    safety = Safety.model_validate({"languages": {"en": model}})
    assert safety.reads == {"languages.en.good": ("harmless",), "languages.en.bad": ("harmful",)}
    safety.prepare(tmp_path, read)
    texts = [f"{PLAIN} venom 7", f"{PLAIN} meadow 7", "free porn videos, porn tube, live sex cams", f"{PLAIN} venom 7"]
    verdicts = judged(safety, batch_of(texts, ["en", "en", "en", "zh"], models=tmp_path))
    assert [reason for reason, _ in verdicts] == ["unsafe", None, "unsafe", None]
    assert verdicts[0][1] is not None and verdicts[0][1].endswith("by the model")


def test_verdicts_on_real_pages_are_the_golden_ones(golden: Golden) -> None:
    golden.check("corpus/filters/safety.json", judged_pages(Safety()))
