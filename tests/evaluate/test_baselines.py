"""The baselines are proper distributions, and the bigram is Chen and Goodman's."""

import math
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from fromscratch.evaluate import baselines
from fromscratch.evaluate.baselines import PairCounts, baseline_bits, count_pairs, kneser_ney_bigram, uniform, unigram

Array = NDArray[np.int64]


def zipf_tokens(vocabulary: int, length: int, seed: int) -> Array:
    """Tokens with the long tail of real text, the last tenth of the vocabulary never used."""
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, vocabulary * 9 // 10 + 1)
    following = generator.permuted(np.tile(np.arange(len(weights)), (len(weights), 1)), axis=1)
    tokens = [0]
    for rank in generator.choice(len(weights), size=length - 1, p=weights / weights.sum()):
        tokens.append(int(following[tokens[-1], rank]))
    return np.array(tokens)


def counted(tokens: Array, vocabulary: int) -> PairCounts:
    return count_pairs([(tokens[:-1], tokens[1:])], vocabulary)


def all_pairs(vocabulary: int) -> tuple[Array, Array]:
    return np.repeat(np.arange(vocabulary), vocabulary), np.tile(np.arange(vocabulary), vocabulary)


def slow_kneser_ney(pairs: list[tuple[int, int]], vocabulary: int) -> dict[tuple[int, int], float]:
    """The published formula, one probability at a time, with dictionaries."""

    def discount_of(counts: list[int]) -> dict[int, float]:
        n = Counter(counts)
        y = n[1] / (n[1] + 2 * n[2])
        return {1: 1 - 2 * y * n[2] / n[1], 2: 2 - 3 * y * n[3] / n[2], 3: 3 - 4 * y * n[4] / n[3]}

    seen = Counter(pairs)
    continuations = Counter(after for _, after in seen)
    low, high = discount_of(list(continuations.values())), discount_of(list(seen.values()))
    distinct = len(seen)
    low_freed = sum(low[min(count, 3)] for count in continuations.values()) / distinct
    found = {}
    for before in range(vocabulary):
        counts = {after: count for (left, after), count in seen.items() if left == before}
        total = sum(counts.values())
        freed = sum(high[min(count, 3)] for count in counts.values()) / total if total else 1.0
        for after in range(vocabulary):
            lower = low_freed / vocabulary
            if continuations[after]:
                lower += (continuations[after] - low[min(continuations[after], 3)]) / distinct
            count = counts.get(after, 0)
            kept = (count - high[min(count, 3)]) / total if count else 0.0
            found[before, after] = kept + freed * lower
    return found


@pytest.mark.parametrize("length", [2, 30, 3_000, 60_000])
@pytest.mark.parametrize("name", ["unigram", "kneser_ney_bigram"])
def test_probabilities_sum_to_one_after_every_token(name: str, length: int) -> None:
    vocabulary = 100
    baseline = getattr(baselines, name)(counted(zipf_tokens(vocabulary, length, seed=length), vocabulary))
    probabilities = 2.0 ** -baseline(*all_pairs(vocabulary))
    assert probabilities.min() > 0
    np.testing.assert_allclose(probabilities.reshape(vocabulary, vocabulary).sum(axis=1), 1, rtol=1e-12)


def test_the_bigram_is_the_published_formula() -> None:
    vocabulary, tokens = 200, zipf_tokens(200, 800, seed=2)
    seen = counted(tokens, vocabulary)
    for counts in (seen.counts, np.bincount(seen.after)):
        assert baselines.modified_discounts(counts) != baselines.FALLBACK_DISCOUNTS
    before, after = all_pairs(vocabulary)
    slow = slow_kneser_ney(list(zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True)), vocabulary)
    expected = [-math.log2(slow[pair]) for pair in zip(before.tolist(), after.tolist(), strict=True)]
    np.testing.assert_allclose(kneser_ney_bigram(seen)(before, after), expected, rtol=1e-10)


def test_the_bigram_by_hand() -> None:
    """Three pairs, a→b twice and b→a once, vocabulary of four: too few counts, so D = 0.5, 1, 1.5."""
    seen = count_pairs([(np.array([0, 0, 1]), np.array([1, 1, 0]))], vocabulary=4)
    # Lower order: a and b each follow one token, so (1 − 0.5) / 2 each, and 2 · 0.5 / 2 spread over four tokens.
    lower_of_b = 0.25 + 0.5 / 4
    expected = {(0, 1): (2 - 1) / 2 + 1 / 2 * lower_of_b, (0, 3): 1 / 2 * 0.5 / 4, (2, 1): lower_of_b, (3, 3): 0.125}
    for (before, after), probability in expected.items():
        assert 2 ** -kneser_ney_bigram(seen)(np.array([before]), np.array([after]))[0] == pytest.approx(probability)


def test_discounts_fall_back_where_counts_of_counts_are_no_help() -> None:
    assert baselines.modified_discounts(np.array([1, 1, 2, 3])) == (0.5, 1.0, 1.5)
    assert baselines.modified_discounts(np.array([1, 2, 3, *[3] * 50, 4])) == (0.5, 1.0, 1.5)  # D(2) would be negative


def test_the_bigram_beats_the_unigram_which_beats_the_uniform_on_unseen_text() -> None:
    tokens = zipf_tokens(200, 40_000, seed=3)
    seen, held_out = counted(tokens[:30_000], 200), tokens[30_000:]
    costs = [
        float(baseline(held_out[:-1], held_out[1:]).mean())
        for baseline in (kneser_ney_bigram(seen), unigram(seen), uniform(200))
    ]
    assert costs[0] < costs[1] - 0.5 and costs[1] < costs[2]


def test_pairs_are_counted_once_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = zipf_tokens(50, 5_000, seed=1)
    whole = counted(tokens, 50)
    monkeypatch.setattr(baselines, "PAIRS_PER_SORT", 700)
    blocks = [(tokens[:-1][at : at + 300].reshape(-1, 1), tokens[1:][at : at + 300]) for at in range(0, 4_999, 300)]
    in_blocks = count_pairs(blocks, 50)
    assert in_blocks.total == 4_999
    np.testing.assert_array_equal(in_blocks.pairs, whole.pairs)
    np.testing.assert_array_equal(in_blocks.counts, whole.counts)
    naive = Counter(zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True))
    assert {(b, a): c for b, a, c in zip(whole.before, whole.after, whole.counts, strict=True)} == naive


def test_a_large_vocabulary_does_not_wrap_around() -> None:
    seen = count_pairs([(np.array([99_999, 99_999], np.int32), np.array([99_998, 1], np.int32))], vocabulary=100_000)
    assert seen.before.tolist() == [99_999, 99_999] and seen.after.tolist() == [1, 99_998]
    assert seen.of(np.array([99_999]), np.array([99_998])).tolist() == [1]


def test_no_training_text_leaves_the_uniform_distribution() -> None:
    seen = count_pairs([], vocabulary=8)
    np.testing.assert_allclose(kneser_ney_bigram(seen)(*all_pairs(8)), 3.0)
    np.testing.assert_allclose(unigram(seen)(*all_pairs(8)), 3.0)


def test_each_document_begins_after_an_end_of_document() -> None:
    seen = counted(zipf_tokens(50, 5_000, seed=2), 50)
    documents = [np.array([3, 4, 2]), np.array([5], np.uint16), np.array([7, 7])]  # not all of them hold their end
    found = baseline_bits(kneser_ney_bigram(seen), documents, end_of_document=2)
    expected = [float(kneser_ney_bigram(seen)(np.array([2, *document[:-1]]), document).sum()) for document in documents]
    np.testing.assert_allclose(found, expected)
