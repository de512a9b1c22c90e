"""Shares are exact, from the first sequence on, and wrong names are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fromscratch.core.errors import FromScratchError
from fromscratch.tokens.mixture import BLOCK_SEQUENCES, assign_groups, block_counts, drawn_before, group_weights

AVAILABLE = {"en/books": 300, "en/technical": 100, "zh/books": 50, "code/code": 40, "fr/web": 0}
WEIGHTS = st.lists(st.floats(0.001, 1), min_size=1, max_size=12)


def test_a_language_is_spread_over_its_groups_by_what_there_is() -> None:
    assert group_weights({"en": 2, "zh/*": 1, "code/code": 1}, AVAILABLE) == {
        "code/code": 0.25,
        "en/books": 0.375,
        "en/technical": 0.125,
        "zh/books": 0.25,
    }
    assert group_weights({"en/books": 3, "zh": 1, "code": 0}, AVAILABLE) == {"en/books": 0.75, "zh/books": 0.25}


def test_without_weights_each_group_has_its_natural_share() -> None:
    natural = group_weights(None, AVAILABLE)
    assert natural == {"code/code": 40 / 490, "en/books": 300 / 490, "en/technical": 100 / 490, "zh/books": 50 / 490}


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        ({"en/boks": 1}, "nothing to train on of `en/boks`", "did you mean `en/books`?"),
        ({"fr/web": 1}, "nothing to train on of `fr/web`", "known: "),
        ({"en": 1, "en/books": 2}, "`en/books` is asked for twice, by `en` and by `en/books`", "name each group once"),
        ({"en": -1}, "`en` = -1 is no weight", "0 or more"),
        ({"en": float("nan")}, "`en` = nan is no weight", "0 or more"),
        ({"en": 0, "zh": 0.0}, "all weights are 0", "above 0"),
        ({}, "all weights are 0", "above 0"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(asked: dict[str, float], message: str, hint: str) -> None:
    with pytest.raises(FromScratchError) as refused:
        group_weights(asked, AVAILABLE)
    assert message in refused.value.message and hint in refused.value.hint


@settings(max_examples=50, deadline=None)
@given(WEIGHTS)
def test_a_block_holds_each_weight_to_within_one_sequence(weights: list[float]) -> None:
    shares = np.array(weights) / sum(weights)
    counts = block_counts(shares.tolist())
    assert sum(counts) == BLOCK_SEQUENCES and min(counts) >= 1
    assert np.abs(np.array(counts) - shares * BLOCK_SEQUENCES).max() < 1.0 + 1e-9


def test_a_tiny_weight_still_gets_its_turn() -> None:
    assert block_counts([1e-9, 0.5, 0.5 - 1e-9]) == (1, 2048, 2047)
    assert block_counts([1e-9] * 100 + [1 - 1e-7])[-1] == BLOCK_SEQUENCES - 100


@settings(max_examples=20, deadline=None)
@given(WEIGHTS, st.integers(0, 99))
def test_every_prefix_is_close_to_the_shares(weights: list[float], seed: int) -> None:
    counts = block_counts((np.array(weights) / sum(weights)).tolist())
    group, _ = assign_groups(counts, seed, 0, 2 * BLOCK_SEQUENCES)
    drawn = np.cumsum(np.eye(len(counts))[group], axis=0)
    exact = np.arange(1, len(group) + 1)[:, None] * np.array(counts) / BLOCK_SEQUENCES
    assert np.abs(drawn - exact).max() <= 1 + len(counts)
    assert drawn[BLOCK_SEQUENCES - 1].tolist() == list(counts)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 3 * BLOCK_SEQUENCES), st.integers(1, BLOCK_SEQUENCES + 50))
def test_any_stretch_is_a_part_of_the_whole(first: int, number: int) -> None:
    group, earlier = assign_groups(COUNTS, 7, first, number)
    assert group.tolist() == WHOLE_GROUP[first : first + number].tolist()
    assert earlier.tolist() == WHOLE_EARLIER[first : first + number].tolist()
    assert drawn_before(COUNTS, 7, first) == np.bincount(WHOLE_GROUP[:first], minlength=3).tolist()


COUNTS = (1000, 96, 3000)
WHOLE_GROUP, _ = assign_groups(COUNTS, 7, 0, 5 * BLOCK_SEQUENCES)
WHOLE_EARLIER = np.array([np.count_nonzero(WHOLE_GROUP[:n] == group) for n, group in enumerate(WHOLE_GROUP)])


def test_blocks_and_seeds_differ_in_order() -> None:
    first, second = WHOLE_GROUP[:BLOCK_SEQUENCES], WHOLE_GROUP[BLOCK_SEQUENCES : 2 * BLOCK_SEQUENCES]
    other_seed, _ = assign_groups(COUNTS, 8, 0, BLOCK_SEQUENCES)
    assert not np.array_equal(first, second) and not np.array_equal(first, other_seed)
