"""N-gram models against Kneser-Ney smoothing written down in plain Python, and as probabilities that sum to one."""

import math
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fromscratch.corpus.learning.ngram_model import NgramModel, load_ngrams, perplexities, save_ngrams, train_ngrams

WORDS = [f"word{first}{second}" for first in "abcdefghijklmnopqrst" for second in "abcdefghijklmnopqrst"]
RARER = [1 / (rank + 1) for rank in range(len(WORDS))]
Gram = tuple[str, ...]


def made_texts(count: int, seed: int = 0) -> list[str]:
    """Texts in which a word depends on the two before, so that all lengths of n-grams matter."""
    chance = random.Random(seed)
    texts = []
    for _ in range(count):
        words = chance.choices(WORDS, RARER, k=2)
        for _ in range(chance.randrange(3, 40)):
            place = (WORDS.index(words[-1]) * 7 + WORDS.index(words[-2]) * 3) % len(WORDS)
            words.append(WORDS[place] if chance.random() < 0.5 else chance.choices(WORDS, RARER)[0])
        texts.append(" ".join(words))
    return texts


def arrow(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


class ByDefinition:
    """Chen and Goodman 1999, section 4.1.6; the longest n-grams that were seen once give all their mass away."""

    def __init__(self, texts: list[str], order: int) -> None:
        self.order = order
        padded = [("<s>",) * (order - 1) + tuple(text.split()) for text in texts]
        grams = {tuple(text[at - order + 1 : at + 1]) for text in padded for at in range(order - 1, len(text))}
        self.counts: dict[int, Counter[Gram]] = {
            order: Counter(
                tuple(text[at - order + 1 : at + 1]) for text in padded for at in range(order - 1, len(text))
            )
        }
        for length in range(order - 1, 0, -1):
            grams = set(self.counts[length + 1])
            self.counts[length] = Counter(gram[1:] for gram in grams)
        self.discounts = {length: self._discounts(length) for length in range(1, order + 1)}
        self.after: dict[int, dict[Gram, list[tuple[str, int]]]] = {}
        for length, counts in self.counts.items():
            self.after[length] = defaultdict(list)
            for gram, count in counts.items():
                self.after[length][gram[:-1]].append((gram[-1], count))

    def _discounts(self, length: int) -> list[float]:
        n = Counter(self.counts[length].values())
        found = [0.0, 0.5, 1.0, 1.5]  # where the counts are too few for the formula
        if n[1] and n[2] and n[3] and n[4]:
            y = n[1] / (n[1] + 2 * n[2])
            formula = [count - (count + 1) * y * n[count + 1] / n[count] for count in (1, 2, 3)]
            if all(0 < discount < count for count, discount in enumerate(formula, start=1)):
                found[1:] = formula
        if length == self.order:
            found[1] = 1.0
        return found

    def probability(self, word: str, context: Gram) -> float:
        length = len(context) + 1
        below = self.probability(word, context[1:]) if context else 1 / (len(self.counts[1]) + 1)
        followers = self.after[length].get(context)
        if followers is None:
            return below
        total = sum(count for _, count in followers)
        discounts = self.discounts[length]
        own = max((count - discounts[min(count, 3)] for follower, count in followers if follower == word), default=0.0)
        return own / total + sum(discounts[min(count, 3)] for _, count in followers) / total * below

    def perplexity(self, text: str) -> float:
        words = ("<s>",) * (self.order - 1) + tuple(text.split())
        first = self.order - 1
        logs = [math.log(self.probability(words[at], words[at - first : at])) for at in range(first, len(words))]
        return math.exp(-sum(logs) / len(logs))


@pytest.mark.parametrize("order", [2, 3, 4])
def test_perplexity_is_that_of_the_definition(order: int) -> None:
    texts = made_texts(1000)
    model, by_definition = train_ngrams(arrow(texts), order), ByDefinition(texts, order)
    assert by_definition.discounts[2][3] != 1.5  # the formula holds where there is enough to count
    unseen = [*made_texts(20, seed=1), "wordaa zebra wordaa wordab unknown wordac", "xylophone", texts[0]]
    found, units = perplexities(model, arrow(unseen))
    assert units.tolist() == [len(text.split()) for text in unseen]
    assert found == pytest.approx([by_definition.perplexity(text) for text in unseen], rel=1e-3)


def log_sum(model: NgramModel, text: str) -> float:
    found, units = perplexities(model, arrow([text]))
    return float(np.log(found[0]) * units[0])


@pytest.mark.parametrize("context", ["wordaa", "wordaa wordaa wordbc", "zebra", "wordaa zebra"])
def test_probabilities_after_any_context_sum_to_one(context: str) -> None:
    model = train_ngrams(arrow(made_texts(300)), 3)
    before = log_sum(model, context)
    after = [math.exp(before - log_sum(model, f"{context} {word}")) for word in (*WORDS, "unknown")]
    assert sum(after) == pytest.approx(1, rel=5e-3)


def test_han_characters_are_units_and_digits_and_case_do_not_matter() -> None:
    model = train_ngrams(arrow(["他来了，她也来了。", "Room 12 is big."] * 20), 2)
    found, units = perplexities(model, arrow(["他也来了", "room 99 IS big", ""]))
    assert units.tolist() == [4, 4, 0]
    assert found[1] == pytest.approx(perplexities(model, arrow(["Room 12 is big"]))[0][0])
    assert np.isnan(found[2])


def test_a_saved_model_is_mapped_and_says_the_same(tmp_path: Path) -> None:
    model = train_ngrams(arrow(made_texts(100)), 3)
    save_ngrams(model, tmp_path / "en")
    loaded = load_ngrams(tmp_path / "en")
    assert isinstance(loaded.table, np.memmap)
    assert loaded.report == model.report
    texts = arrow(made_texts(5, seed=2))
    assert perplexities(loaded, texts)[0].tolist() == perplexities(model, texts)[0].tolist()
    assert len(model.table) * 0.7 >= np.count_nonzero(model.table) == model.report["entries"]
