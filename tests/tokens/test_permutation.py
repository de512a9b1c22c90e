"""The keyed permutation is one, for every size and key."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fromscratch.tokens.keys import key_of, mix, uniform
from fromscratch.tokens.permutation import permute


def permuted(size: int, key: int) -> list[int]:
    return permute(np.arange(size), np.full(size, size), np.full(size, key, dtype=np.uint64)).tolist()


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_every_size_and_key_gives_a_bijection(size: int, key: int) -> None:
    assert sorted(permuted(size, key)) == list(range(size))


@settings(max_examples=50, deadline=None)
@given(st.integers(2**40, 2**61), st.integers(0, 2**64 - 1))
def test_sizes_far_beyond_memory_stay_distinct_and_within(size: int, key: int) -> None:
    index = np.unique(np.linspace(0, size - 1, 500).astype(np.int64))
    places = permute(index, np.full_like(index, size), np.full(len(index), key, dtype=np.uint64))
    assert len(np.unique(places)) == len(index) and places.min() >= 0 and places.max() < size


def test_keys_give_different_orders_that_look_random() -> None:
    assert len({tuple(permuted(4, key)) for key in range(400)}) == 24
    places = np.array([permuted(100, key) for key in range(2000)])
    counts = np.stack([np.bincount(places[:, place], minlength=100) for place in range(100)])
    assert 0.9 < counts.var() / counts.mean() < 1.1  # as of independent draws
    assert 0.8 < (places == np.arange(100)).sum(axis=1).mean() < 1.2  # fixed points


def test_one_call_may_mix_sizes_and_keys() -> None:
    index, size, key = np.array([3, 3, 0]), np.array([10, 999, 1]), np.array([5, 6, 7], dtype=np.uint64)
    assert permute(index, size, key).tolist() == [permuted(10, 5)[3], permuted(999, 6)[3], 0]


def test_the_permutation_never_changes_since_it_decides_what_a_released_model_saw() -> None:
    assert permuted(12, key_of("windows", 1, "en/books")) == [9, 2, 7, 11, 1, 10, 6, 8, 5, 4, 3, 0]


def test_mixing_is_splitmix64() -> None:
    # The first outputs of SplitMix64 with seed 0, as its authors' C code gives them.
    states = np.array([0, 0x9E3779B97F4A7C15], dtype=np.uint64)
    assert [hex(each) for each in mix(states)] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4"]
    assert uniform(np.array([0, 2**64 - 1], dtype=np.uint64)).tolist() == [0.0, 1 - 2**-53]
