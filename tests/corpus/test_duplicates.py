"""Duplicates: the first of equals stays, near ones are verified exactly, and likeness is not passed along a chain."""

import random
import re

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from fromscratch.corpus.comparison.duplicates import (
    content_digests,
    find_exact_duplicates,
    find_near_duplicates,
    minhash_keys,
)
from fromscratch.corpus.comparison.settings import DuplicateSettings

DEFAULT = DuplicateSettings(containment=None)
Found = list[tuple[int, float]]


def column(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def near(texts: list[str], settings: DuplicateSettings = DEFAULT) -> Found:
    """Partner and similarity of each text."""
    read: list[int] = []

    def read_texts(places: NDArray[np.int64]) -> pa.LargeStringArray:
        read.extend(places.tolist())
        return column(texts).take(pa.array(places))

    found = find_near_duplicates(minhash_keys(column(texts), settings), read_texts, settings)
    assert read == sorted(read)
    assert {place for place in range(len(texts)) if found.partners[place] >= 0} <= set(read)
    return list(zip(found.partners.tolist(), found.similarities.tolist(), strict=True))


def exact(texts: list[str]) -> list[int]:
    return find_exact_duplicates(content_digests(column(texts))).tolist()


def shingles(text: str, size: int = 5) -> set[tuple[str, ...]]:
    """The definition in plain Python: Han characters one by one, other words in lower case, nothing else."""
    units = re.findall(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+", text.lower())
    return {tuple(units[at : at + size]) for at in range(max(1, len(units) - size + 1))} if units else set()


def jaccard(first: str, second: str) -> float:
    one, other = shingles(first), shingles(second)
    return len(one & other) / len(one | other)


def words(seed: int, count: int) -> list[str]:
    return [f"w{random.Random(f'{seed}-{place}').randrange(10**6)}" for place in range(count)]


def test_texts_equal_but_for_white_space_are_exact_duplicates_of_the_first() -> None:
    texts = ["one two", "other", "one  two\n", "One two", "\tone two", "", "  "]
    assert exact(texts) == [-1, -1, 0, -1, 0, -1, 5]


def test_no_texts_have_no_duplicates() -> None:
    assert exact([]) == []
    assert near([]) == []


def test_a_near_duplicate_names_the_kept_one_and_the_exact_similarity() -> None:
    text = words(1, 200)
    changed = " ".join([*text[:100], "changed", *text[101:]])
    base = " ".join(text)
    [first, second] = near([base, changed])
    assert first == (-1, 0.0)
    assert second[0] == 0
    assert second[1] == pytest.approx(jaccard(base, changed))
    assert 0.9 < second[1] < 1


def test_chinese_is_compared_by_characters() -> None:
    base = "话说天下大势分久必合合久必分周末七国分争并入于秦及秦灭之后楚汉分争又并入于汉汉朝自高祖斩白蛇而起义一统天下"
    changed = base.replace("高祖", "高帝")
    [_, (partner, found)] = near([base, changed])
    assert partner == 0
    assert found == pytest.approx(jaccard(base, changed))


def test_case_punctuation_and_layout_do_not_tell_texts_apart() -> None:
    assert near(["The quick, brown fox: jumps over!", "the QUICK brown\nfox jumps (over)"])[1] == (0, 1.0)


def test_texts_below_the_threshold_stay_even_when_they_are_candidates() -> None:
    template = words(2, 60)
    texts = [" ".join([*template, *words(seed, 20)]) for seed in range(3, 40)]
    keys = minhash_keys(column(texts), DEFAULT)
    assert any(len(set(band.tolist())) < len(texts) for band in keys.T), "no candidates, so nothing was verified"
    assert 0.4 < jaccard(texts[0], texts[1]) < 0.8
    assert all(partner == -1 for partner, _ in near(texts))
    loose = DuplicateSettings(threshold=0.4, bands=60, rows=2, containment=None)  # all pairs become candidates
    assert [partner for partner, _ in near(texts, loose)] == [-1] + [0] * (len(texts) - 1)


def test_likeness_is_not_passed_along_a_chain() -> None:
    text = words(5, 300)
    chain = [" ".join(text[10 * step : 200 + 10 * step]) for step in range(4)]
    assert jaccard(chain[0], chain[1]) > 0.8 > jaccard(chain[0], chain[3])
    assert jaccard(chain[2], chain[3]) > 0.8
    partners = [partner for partner, _ in near(chain)]
    assert partners == [-1, 0, 0, -1], "the last is like the third only, which was dropped for the first"


def test_the_most_similar_kept_document_is_the_partner() -> None:
    text = words(6, 200)
    first, second = " ".join(text[:180]), " ".join(text[20:])
    third = " ".join(text[18:])
    assert jaccard(first, second) < 0.81 < jaccard(second, third)
    settings = DuplicateSettings(threshold=0.81, containment=None)
    assert near([first, second, third], settings)[2] == (1, pytest.approx(jaccard(second, third)))


def test_a_document_that_may_not_stay_has_partners_and_is_none() -> None:
    text = words(8, 100)
    texts = column([" ".join(text), " ".join(text[1:]), " ".join(text[2:])])
    for stay, partners in (
        ([True] * 3, [-1, 0, 0]),
        ([False, True, True], [-1, -1, 1]),
        ([True, False, True], [-1, 0, 0]),
    ):
        keys, places = minhash_keys(texts, DEFAULT), np.array(stay)
        found = find_near_duplicates(keys, lambda wanted: texts.take(pa.array(wanted)), DEFAULT, places)
        assert found.partners.tolist() == partners
        assert not found.taken[~places].any()


def test_texts_without_words_resemble_nothing() -> None:
    assert near(["!!!", "!!!", "", "", "——"]) == [(-1, 0.0)] * 5


def test_texts_shorter_than_a_shingle_are_compared_whole() -> None:
    assert near(["Good morning.", "good morning", "Good evening."]) == [(-1, 0.0), (0, 1.0), (-1, 0.0)]


def family(seed: int) -> list[str]:
    """Texts that share more and less with one another: each a base with some of its words replaced."""
    draw = random.Random(seed)
    texts = []
    for base_seed in range(12):
        base = words(1000 * seed + base_seed, draw.randrange(20, 150))
        for _ in range(draw.randrange(1, 12)):
            rate = draw.choice([0, 0.005, 0.01, 0.02, 0.04, 0.08])
            texts.append(" ".join(f"x{draw.random()}" if draw.random() < rate else word for word in base))
    draw.shuffle(texts)
    return texts


@pytest.mark.parametrize("seed", range(4))
def test_what_is_found_agrees_with_comparing_every_pair(seed: int) -> None:
    texts = family(seed)
    expected: list[int] = []
    similarity = [[jaccard(one, other) for other in texts] for one in texts]
    for place in range(len(texts)):
        like = [other for other in range(place) if expected[other] == -1 and similarity[place][other] >= 0.8]
        expected.append(max(like, key=lambda other: (similarity[place][other], -other)) if like else -1)
    found = near(texts)
    assert 10 < sum(partner >= 0 for partner in expected) < len(texts) - 10
    assert [partner for partner, _ in found] == expected
    for place, (partner, similar) in enumerate(found):
        if partner >= 0:
            assert similar == pytest.approx(similarity[place][partner])


def test_candidates_are_found_as_often_as_the_formula_says() -> None:
    settings = DuplicateSettings(bands=5, rows=4)
    pairs = 400
    texts = []
    for seed in range(pairs):
        text = words(seed + 7000, 300)
        texts += [" ".join(text[:270]), " ".join(text[30:])]
    similar = jaccard(texts[0], texts[1])
    keys = minhash_keys(column(texts), settings)
    found = float(np.mean((keys[0::2] == keys[1::2]).any(axis=1)))
    expected = 1 - (1 - similar**settings.rows) ** settings.bands
    assert 0.3 < expected < 0.95
    assert found == pytest.approx(expected, abs=4 * (expected * (1 - expected) / pairs) ** 0.5)
    strangers = (keys[0:-2:2] == keys[2::2]).any(axis=1)
    assert not strangers.any()
