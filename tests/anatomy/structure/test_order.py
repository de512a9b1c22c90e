"""Layers are put in order by likeness, also where it is noisy or misleads."""

import numpy as np
import pytest

from fromscratch.anatomy.structure.order import arrange, likeness, place_beside, second_moments

N = 24


def alike(random: np.random.Generator, noise: float) -> np.ndarray:
    distance = np.abs(np.arange(N)[:, None] - np.arange(N)[None])
    rough = noise * random.normal(size=(N, N))
    return np.exp(-distance / 3) + rough + rough.T


@pytest.mark.parametrize("seed", range(6))
def test_noisy_likeness_is_arranged(seed: int) -> None:
    random = np.random.default_rng(seed)
    known, shuffle = alike(random, 0.04), random.permutation(N)
    found = shuffle[arrange(known[np.ix_(shuffle, shuffle)])]
    found = found if found[0] < found[-1] else found[::-1]
    assert found.tolist() == list(range(N))


def test_first_and_last_layers_that_are_alike_do_not_close_the_ring() -> None:
    random = np.random.default_rng(0)
    known = alike(random, 0.02)
    known[0, -1] = known[-1, 0] = 0.9
    shuffle = random.permutation(N)
    found = shuffle[arrange(known[np.ix_(shuffle, shuffle)])]
    assert {int(found[0]), int(found[-1])} == {0, N - 1}


@pytest.mark.parametrize("seed", range(4))
def test_blocks_leave_a_wrong_guess_for_the_place_that_both_kinds_of_likeness_name(seed: int) -> None:
    random = np.random.default_rng(seed)
    cross = 0.5 * np.eye(N) + 0.08 * random.normal(size=(N, N))
    place = place_beside(cross, alike(random, 0.02), random.permutation(N))
    assert place.tolist() == list(range(N))


def test_likeness_knows_nothing_of_the_order_of_units() -> None:
    random = np.random.default_rng(0)
    units = random.normal(size=(5, 40, 12)).astype(np.float32)
    moments = np.stack([second_moments(each) for each in units])
    shuffled = np.stack([second_moments(random.permutation(each)) for each in units])
    assert np.allclose(likeness(moments, shuffled), likeness(moments, moments), atol=1e-5)
    assert np.allclose(np.diag(likeness(moments, shuffled)), 1, atol=1e-5)
