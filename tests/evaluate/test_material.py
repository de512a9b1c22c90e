"""What is scored is drawn without favour, and the baselines learn from the tokens that the model saw."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np

from fromscratch.evaluate.baselines import count_pairs
from fromscratch.evaluate.material import drawn_documents, group_pairs, trained_pairs
from fromscratch.tokens.batches import BatchPlan
from fromscratch.tokens.heldout import heldout_documents


def texts_of(folder: Path, group: str, tokens_at_most: int | None, seed: int) -> list[bytes]:
    return [tokens.tobytes() for tokens, _ in drawn_documents(folder, group, tokens_at_most, seed)]


def test_without_a_limit_all_documents_are_drawn(run: Path) -> None:
    everything = sorted(tokens.tobytes() for tokens, _, _ in heldout_documents(run / "tokens", "en/books"))
    assert sorted(texts_of(run / "tokens", "en/books", None, 0)) == everything


def test_a_draw_ends_with_the_document_that_reaches_the_limit(run: Path) -> None:
    drawn = drawn_documents(run / "tokens", "en/books", 100, 0)
    sizes = [len(tokens) for tokens, _ in drawn]
    assert sum(sizes) >= 100 > sum(sizes[:-1])
    assert texts_of(run / "tokens", "en/books", None, 0)[: len(drawn)] == texts_of(run / "tokens", "en/books", 100, 0)


def test_the_seed_decides_the_draw(run: Path) -> None:
    draws = {tuple(texts_of(run / "tokens", "en/books", 60, seed)) for seed in range(5)}
    assert len(draws) > 2


def test_the_trained_pairs_are_those_of_the_batches(run: Path) -> None:
    plan = BatchPlan(run / "tokens", {"zh": 3.0, "en/*": 1.0}, seed=5, sequence_tokens=16, batch_sequences=4)
    seen = count_pairs(trained_pairs(plan, steps=7), vocabulary=400)
    expected: Counter[tuple[int, int]] = Counter()
    for number in range(7):
        for sequence in plan.batch(number).tolist():
            expected.update(itertools.pairwise(sequence))
    assert {(b, a): n for b, a, n in zip(seen.before, seen.after, seen.counts, strict=True)} == expected
    assert seen.total == 7 * 4 * 16


def test_a_group_is_read_whole_with_the_first_token_of_its_shard(run: Path) -> None:
    seen = count_pairs(group_pairs(run / "tokens", "zh/books"), vocabulary=400)
    tokens = np.fromfile(run / "tokens" / "train" / "zh--books-00000.tokens", "<u2")
    assert seen.total == len(tokens)
    assert seen.of(np.array([2]), tokens[:1])[0] == 40  # each of the 40 documents begins with 第
