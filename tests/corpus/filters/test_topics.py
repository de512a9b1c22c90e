"""Topics: nearly every document gets one, and of advertisement a share stays, chosen by the documents' ids."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.corpus.filters.topics import TOPICS, Topics
from fromscratch.corpus.learning.lexicons import load_lexicon
from tests.conftest import Golden
from tests.corpus.filters.pages import batch_of, judged_pages

OFFER = "Buy now! Free shipping on all orders, limited time offer, add to cart and save up to 50 %."
CHINESE_OFFER = "限时优惠！全国包邮，点击购买，加微信领取优惠券，货到付款。"


@pytest.mark.parametrize(
    ("text", "language", "topic"),
    [
        ("The theorem has a proof in algebra and geometry.", "en", "mathematics"),
        ("The disease has few symptoms, and patients are treated in hospital.", "en", "medicine"),
        ("The team won the championship and the league in one season.", "en", "sports"),
        ("张飞引兵出战，大败敌军，诸侯的大军兵马围住营寨。", "zh", "military"),
        ("点击工具栏上的选项，打开对话框，设置文件名和目录。", "zh", "computing"),
        ("国务院总理会见外交部长，会谈中谈到两国政府的条约。", "zh", "law_and_politics"),
        (OFFER, "en", "advertisement"),
        (CHINESE_OFFER, "zh", "advertisement"),
        ("The hotel gives a coupon to visitors of the beach resort.", "en", "travel"),
        ("It is what it is.", "en", "other"),
        ("", "zh", "other"),
        ("import this", "code", "code"),
    ],
)
def test_the_lexicon_tells_topics(text: str, language: str, topic: str) -> None:
    assert Topics().judge(batch_of([text], language)).columns["topic"].tolist() == [topic]


def test_the_settings_know_the_lexicons_topics_and_each_has_words_in_both_languages() -> None:
    lexicon = load_lexicon("topics")
    assert lexicon.groups == TOPICS
    assert (lexicon.weights.sum(axis=0) >= 40).all()


def test_of_advertisement_a_tenth_stays_whatever_the_batch() -> None:
    batch = batch_of([OFFER] * 1000 + ["The theorem has a proof."] * 5)
    verdict = Topics().judge(batch)
    kept = verdict.reasons == None  # noqa: E711
    assert 60 < kept[:1000].sum() < 140 and kept[1000:].all()
    assert set(verdict.reasons[~kept]) == {"downsampled_topic"}
    assert verdict.evidence is not None
    assert verdict.evidence[~kept][0] == "advertisement, score 0.83, of which 10% stays"
    some = np.array([999, 3, 500, 7])
    assert (Topics().judge(batch.take(some)).reasons == verdict.reasons[some]).all()
    all_stay = Topics(keep_share={}).judge(batch).reasons
    assert (all_stay == None).all()  # noqa: E711


def test_a_model_learns_topics_of_its_own(tmp_path: Path) -> None:
    words = {"cooking": "pan oven dough stir", "sailing": "mast keel harbour wind", "law": "court judge plea verdict"}

    def read(name: str) -> Iterator[tuple[str, str]]:
        chance = np.random.default_rng(len(name))
        return ((str(at), " ".join(chance.choice(words[name].split(), 30))) for at in range(100))

    by = {"kind": "learned", "examples": {name: (name,) for name in words}, "bits": 12}
    topics = Topics.model_validate({"by": by, "keep_share": {"law": 0.0}})
    assert topics.reads == {f"by.examples.{name}": (name,) for name in words}
    topics.prepare(tmp_path, read)
    texts = ["stir the dough in the pan", "the wind in the mast", "the judge and the verdict of the court"]
    verdict = topics.judge(batch_of(texts, models=tmp_path))
    assert verdict.columns["topic"].tolist() == list(words)
    assert verdict.reasons.tolist() == [None, None, "downsampled_topic"]
    assert (verdict.columns["topic_score"] > 0.4).all()


def test_an_unknown_topic_is_refused_with_a_suggestion() -> None:
    with pytest.raises(FromScratchError) as refused:
        validate_settings(Topics, {"keep_share": {"advertisements": 0.5}}, "recipe.toml")
    assert "`keep_share.advertisements` is not a topic" in refused.value.message
    assert refused.value.hint == "did you mean `advertisement`?"


def test_verdicts_on_real_pages_are_the_golden_ones(golden: Golden) -> None:
    golden.check("corpus/filters/topics.json", judged_pages(Topics()))
